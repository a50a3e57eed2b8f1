#!/usr/bin/env node
/**
 * Events over a broker: subscriptions that were awaited miss nothing of what a tool publishes while it is called, and all of it
 * comes before the answer. Where no broker is at ws://localhost:8080 (or KADI_BROKER_URL), it starts one; and the ability, in a
 * process of its own.
 *
 *     npm run example -- 10-events-broker
 */
import process from "node:process";
import { inspect } from "node:util";
import { KadiClient } from "@alkdev/kadi";
import { connectAll } from "../abilities/processes.mjs";

const url = process.env.KADI_BROKER_URL ?? "ws://localhost:8080";
const line = (value) => inspect(value, { breakLength: Infinity });

const client = new KadiClient({ name: "events-broker", broker: url });
const stop = await connectAll(client, url, "echo-js");
console.log("Connected to broker at", url);
for (const pattern of ["echo.*", "echo.test-event"])
  await client.subscribeToEvent(pattern, (data) => console.log(`[event] ${pattern} -> ${line(data)}`));
const result = await client.callTool("echo-js", "echo", { message: "Hello from the other process." });
console.log(`[result] echo-js.echo -> ${line(result)}`);
await client.disconnect();
await stop();
