import { runConformance } from "./fixtures/conformance.ts";
import { throughMemoryUrl } from "./fixtures/harness-memory-url.ts";

runConformance("through memory:", throughMemoryUrl);
