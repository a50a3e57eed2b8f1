// An ability for all three ways: loaded natively, as a child process (`node index.mjs stdio`), at a broker (`node index.mjs broker`).
import process from "node:process";
import { fileURLToPath } from "node:url";
import { KadiClient, z } from "@alkdev/kadi";

const client = new KadiClient({
  name: "echo-js",
  version: "1.0.0",
  role: "ability",
  broker: process.env.KADI_BROKER_URL,
});

client.registerTool(
  {
    name: "echo",
    description: "Says what it was told",
    input: z.object({ message: z.string() }),
    output: z.object({ echo: z.string(), timestamp: z.string(), length: z.number() }),
  },
  async ({ message }) => {
    await client.publishEvent("echo.test-event", { from: "message echo" });
    await client.publishEvent("echo.test-event", { from: "message echo 2" });
    return { echo: message, timestamp: new Date().toISOString(), length: message.length };
  },
);

export default client;

if (process.argv[1] === fileURLToPath(import.meta.url))
  await client.serve(process.argv[2] === "stdio" ? "stdio" : "broker");
