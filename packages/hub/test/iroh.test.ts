import { runInWorld } from "../../pubsub/test/fixtures/world.ts";

await runInWorld("a hub over iroh", new URL("fixtures/iroh-hub.ts", import.meta.url));
