import { runConformance } from "./fixtures/conformance.ts";
import { throughNats } from "./fixtures/harness-nats.ts";

runConformance("through NATS", throughNats);
