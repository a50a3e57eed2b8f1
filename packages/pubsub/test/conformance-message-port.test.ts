import { runConformance } from "./fixtures/conformance.ts";
import { messagePort } from "./fixtures/harness-message-port.ts";

runConformance("a MessagePort", messagePort);
