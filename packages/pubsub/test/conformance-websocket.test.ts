import { runConformance } from "./fixtures/conformance.ts";
import { webSocket } from "./fixtures/harness-websocket.ts";

runConformance("a WebSocket", () => webSocket());
