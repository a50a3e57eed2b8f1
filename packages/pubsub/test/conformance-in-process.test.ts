import { runConformance } from "./fixtures/conformance.ts";
import { inProcess } from "./fixtures/harness-in-process.ts";

runConformance("in process", inProcess);
