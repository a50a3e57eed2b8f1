#!/usr/bin/env node
/**
 * What an assistant that speaks MCP sees of KADI's tools, over both ways: at a broker's /mcp, and through the process
 * `kadi mcp` that it starts itself. The tools are those of an agent that knows nothing of MCP.
 *
 *     npm run example -- mcp
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { createKadiBroker } from "@alkdev/kadi/broker";
import { openAbility } from "./ability.mjs";

// Whoever reads the output may go away at any time (`| head`).
process.stdout.on("error", () => process.exit(1));
const print = (text) => void process.stdout.write(`${text}\n`);

const forecast = {
  name: "forecast",
  description: "What the weather will be in a city.",
  inputSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  outputSchema: { type: "object", properties: { degrees: { type: "number" } }, required: ["degrees"] },
  run({ city }) {
    if (city === "Atlantis") throw new Error("Atlantis has no weather any more.");
    return { degrees: city.length * 3 };
  },
};
const greet = {
  name: "greet",
  description: "Greets whoever calls.",
  inputSchema: { type: "object" },
  run: (_, callerName) => `Hello, ${callerName}!`,
};

const token = randomBytes(32).toString("hex");
const broker = await createKadiBroker({ port: 0, mcp: { token } });
const ability = await openAbility(broker.url, "weather", [forecast]);

async function list(client) {
  const { tools } = await client.listTools();
  for (const { name, description } of tools) print(`  ${name}: ${description}`);
}

async function call(client, name, args) {
  const { content, isError } = await client.callTool({ name, arguments: args });
  print(`  ${name} ${JSON.stringify(args)} ${isError ? "fails:" : "->"} ${content[0].text}`);
}

print("An assistant connects to the broker over HTTP, with the token. It sees");
const remote = new Client({ name: "remote-assistant", version: "1.0.0" });
const changed = new EventTarget();
remote.setNotificationHandler(
  ToolListChangedNotificationSchema,
  () => void changed.dispatchEvent(new Event("changed")),
);
await remote.connect(
  new StreamableHTTPClientTransport(new URL(`${broker.url.replace("ws:", "http:")}/mcp`), {
    requestInit: { headers: { authorization: `Bearer ${token}` } },
  }),
);
await list(remote);
print("and calls");
await call(remote, "forecast", { city: "Oslo" });
await call(remote, "forecast", { city: "Atlantis" });

print("The ability offers another tool, and the assistant is told:");
const told = once(changed, "changed");
await ability.offer([forecast, greet]);
await told;
await list(remote);
await call(remote, "greet", {});

print("Another assistant starts `kadi mcp` itself:");
const local = new Client({ name: "local-assistant", version: "1.0.0" });
await local.connect(
  new StdioClientTransport({
    command: process.execPath,
    args: [fileURLToPath(new URL("../../packages/kadi/bin/kadi.js", import.meta.url)), "mcp"],
    env: { ...process.env, KADI_URL: broker.url },
    stderr: "ignore",
  }),
);
await list(local);
await call(local, "greet", {});

print("Without the token nobody comes in:");
const stranger = new Client({ name: "stranger", version: "1.0.0" });
const refused = await stranger
  .connect(new StreamableHTTPClientTransport(new URL(`${broker.url.replace("ws:", "http:")}/mcp`)))
  .catch((error) => error);
print(`  ${refused.code}`);

await local.close();
await remote.close();
ability.close();
await broker.close();
