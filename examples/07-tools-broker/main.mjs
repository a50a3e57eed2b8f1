#!/usr/bin/env node
/**
 * Calls the tools of an ability at a broker. Where none is at ws://localhost:8080 (or KADI_BROKER_URL), it starts one; and the
 * ability, in a process of its own.
 *
 *     npm run example -- 07-tools-broker
 */
import process from "node:process";
import { KadiClient } from "@alkdev/kadi";
import { calculate } from "../abilities/calculate.mjs";
import { connectAll } from "../abilities/processes.mjs";

const url = process.env.KADI_BROKER_URL ?? "ws://localhost:8080";

const client = new KadiClient({ name: "tools-broker", broker: url });
const stop = await connectAll(client, url, "calculator");
console.log("Connected to broker at", url);
const calculator = await client.load("calculator", "broker");
await calculate(calculator);
await client.disconnect();
await stop();
