import { runConformance } from "./fixtures/conformance.ts";
import { throughNats } from "./fixtures/harness-nats.ts";

runConformance("through NATS", throughNats);
runConformance("through NATS, with batches", () => throughNats({ batch: true }));
