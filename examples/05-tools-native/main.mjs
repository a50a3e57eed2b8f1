#!/usr/bin/env node
/**
 * Calls the tools of an ability that runs in this process.
 *
 *     npm run example -- 05-tools-native
 */
import { fileURLToPath } from "node:url";
import { KadiClient } from "@alkdev/kadi";
import { calculate } from "../abilities/calculate.mjs";

const path = fileURLToPath(new URL("../abilities/calculator", import.meta.url));

const client = new KadiClient({ name: "tools-native" });
const calculator = await client.loadNative("calculator", { path });
console.log("Loaded calculator (native)");
await calculate(calculator);
await client.disconnect();
