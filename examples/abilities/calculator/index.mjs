// Two tools: one described by zod, one by JSON Schema.
import process from "node:process";
import { fileURLToPath } from "node:url";
import { KadiClient, z } from "@alkdev/kadi";

const client = new KadiClient({
  name: "calculator",
  version: "1.0.0",
  role: "ability",
  broker: process.env.KADI_BROKER_URL,
});

client.registerTool(
  {
    name: "add",
    description: "Adds two numbers",
    input: z.object({ a: z.number(), b: z.number() }),
    output: z.object({ result: z.number() }),
  },
  ({ a, b }) => ({ result: a + b }),
);

client.registerTool(
  "divide",
  ({ a, b }) => {
    if (b === 0) throw new Error("Nothing can be divided by zero.");
    return { result: a / b };
  },
  {
    description: "Divides one number by another",
    inputSchema: {
      type: "object",
      properties: { a: { type: "number" }, b: { type: "number" } },
      required: ["a", "b"],
    },
  },
);

export default client;

if (process.argv[1] === fileURLToPath(import.meta.url))
  await client.serve(process.argv[2] === "stdio" ? "stdio" : "broker");
