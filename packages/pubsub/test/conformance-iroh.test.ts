import { runInWorld } from "./fixtures/world.ts";

await runInWorld("an iroh connection", new URL("fixtures/iroh-conformance.ts", import.meta.url));
