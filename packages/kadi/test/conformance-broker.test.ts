import { runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import { throughBroker } from "./fixtures/harness-broker.ts";

runConformance("through a KADI broker", throughBroker);
