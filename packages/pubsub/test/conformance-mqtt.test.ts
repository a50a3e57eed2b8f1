import { runConformance } from "./fixtures/conformance.ts";
import { throughMqtt } from "./fixtures/harness-mqtt.ts";

runConformance("through MQTT 5", () => throughMqtt(5, 1));
runConformance("through MQTT 3.1.1", () => throughMqtt(4, 1));
runConformance("through MQTT 5, with QoS 0", () => throughMqtt(5, 0));
runConformance("through MQTT 3.1.1, with QoS 2", () => throughMqtt(4, 2));
