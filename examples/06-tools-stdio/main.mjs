#!/usr/bin/env node
/**
 * Calls the tools of an ability that runs in a child process.
 *
 *     npm run example -- 06-tools-stdio
 */
import { fileURLToPath } from "node:url";
import { KadiClient } from "@alkdev/kadi";
import { calculate } from "../abilities/calculate.mjs";

const path = fileURLToPath(new URL("../abilities/calculator", import.meta.url));

const client = new KadiClient({ name: "tools-stdio" });
const calculator = await client.loadStdio("calculator", { path });
console.log("Loaded calculator (stdio)");
await calculate(calculator);
await client.disconnect();
