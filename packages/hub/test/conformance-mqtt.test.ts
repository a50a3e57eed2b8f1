import { runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import { openMqtt, startMqtt } from "../../pubsub/test/fixtures/mqtt.ts";
import { throughHub } from "./fixtures/harness-hub.ts";
import type { OpenBackplane } from "./fixtures/harness-hub.ts";

const overMqtt =
  (protocolVersion: 4 | 5): OpenBackplane =>
  async (opened) => {
    const server = await startMqtt();
    opened.add(() => server.end());
    return () => openMqtt(opened, server.port, { onError: () => undefined }, { protocolVersion }).target;
  };

runConformance("through a hub over MQTT 3.1.1", () => throughHub(overMqtt(4), 1, false));
runConformance("through two hubs over MQTT 5", () => throughHub(overMqtt(5), 2, true));
