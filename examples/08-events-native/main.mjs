#!/usr/bin/env node
/**
 * Events of an ability that runs in this process: all that it publishes before it answers come before the answer.
 *
 *     npm run example -- 08-events-native
 */
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { KadiClient } from "@alkdev/kadi";

const path = fileURLToPath(new URL("../abilities/echo-js", import.meta.url));
const line = (value) => inspect(value, { breakLength: Infinity });

const client = new KadiClient({ name: "events-native" });
await client.loadNative("echo-js", { path });
console.log("Loaded echo-js (native)");
for (const pattern of ["echo.*", "echo.test-event"])
  await client.subscribeToEvent(pattern, (data) => console.log(`[event] ${pattern} -> ${line(data)}`));
const result = await client.callTool("echo-js", "echo", { message: "Hello from the same process." });
console.log(`[result] echo-js.echo -> ${line(result)}`);
await client.disconnect();
