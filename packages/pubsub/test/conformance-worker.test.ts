import { runConformance } from "./fixtures/conformance.ts";
import { workerThread } from "./fixtures/harness-worker.ts";

runConformance("a worker thread", workerThread);
