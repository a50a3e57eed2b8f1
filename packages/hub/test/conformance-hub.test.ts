import { runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import { hubsOwnPlace, throughHub } from "./fixtures/harness-hub.ts";

runConformance("through a hub", () => throughHub());
runConformance("a hub's own place, and a link over a port", hubsOwnPlace);
