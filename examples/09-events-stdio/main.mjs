#!/usr/bin/env node
/**
 * Events of a child process, on both ways: its own, and those of an ability that it has loaded into itself. Each comes
 * once, and before the answer.
 *
 *     npm run example -- 09-events-stdio
 */
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { KadiClient } from "@alkdev/kadi";

const path = fileURLToPath(new URL("../abilities/relay", import.meta.url));
const line = (value) => inspect(value, { breakLength: Infinity });

const client = new KadiClient({ name: "events-stdio" });
// Those that are there first are subscribed to at each ability that is loaded.
for (const pattern of ["relay.*", "echo.#"])
  await client.subscribeToEvent(pattern, (data, { channel }) => console.log(`[event] ${channel} -> ${line(data)}`));
const relay = await client.loadStdio("relay", { path });
console.log("Loaded relay (stdio)");
console.log(`[result] relay.relay -> ${line(await relay.relay({ message: "Hello from the parent." }))}`);
await client.disconnect();
