import { runConformance } from "./fixtures/conformance.ts";
import { broadcastChannel } from "./fixtures/harness-broadcast-channel.ts";

runConformance("a BroadcastChannel", broadcastChannel);
