import { runConformance } from "./fixtures/conformance.ts";
import { childProcess } from "./fixtures/harness-stdio.ts";

runConformance("a child process", childProcess);
