// `kadi mcp`, as a process of its own, by the official client over its standard input and output.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { expect, onTestFinished, test } from "vitest";
import { start } from "../../hub/test/cli-support.ts";
import { openAbility, openBroker, until } from "./fixtures/open.ts";

const BIN = fileURLToPath(new URL("../bin/kadi.js", import.meta.url));

interface Connected {
  readonly client: Client;
  readonly changes: () => number;
  readonly stderr: () => string;
}

async function connect(url: string, ...args: string[]): Promise<Connected> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [BIN, "mcp", "--url", url, ...args],
    stderr: "pipe",
  });
  let stderr = "";
  transport.stderr?.on("data", (text: Buffer) => (stderr += text.toString()));
  const client = new Client({ name: "assistant", version: "1" });
  let changes = 0;
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void changes++);
  onTestFinished(() => client.close());
  await client.connect(transport);
  return { client, changes: () => changes, stderr: () => stderr };
}

async function names({ client }: Connected): Promise<string[]> {
  return (await client.listTools()).tools.map(({ name }) => name);
}

test("the official client connects, lists, calls and reads what a tool says that fails", async () => {
  const broker = await openBroker();
  await openAbility(broker.url, {
    who: (_, __, { callerName }) => ({ callerName }),
    fail: () => {
      throw new Error("out of paper");
    },
  });
  const connected = await connect(broker.url);
  const { client } = connected;
  expect(client.getServerVersion()).toMatchObject({ name: "kadi" });
  expect(await names(connected)).toEqual(["who", "fail"]);
  expect(await client.callTool({ name: "who" })).toEqual({
    content: [{ type: "text", text: '{"callerName":"assistant"}' }],
  });
  expect(await client.callTool({ name: "fail" })).toMatchObject({ isError: true, content: [{ text: "out of paper" }] });
  await expect(client.callTool({ name: "nothing" })).rejects.toMatchObject({ code: -32_602 });
});

test("a call that the client cancels is cancelled at its provider", async () => {
  const broker = await openBroker();
  const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined), fast: () => 1 });
  const { client } = await connect(broker.url);
  const controller = new AbortController();
  const call = client.callTool({ name: "slow" }, undefined, { signal: controller.signal });
  const { requestId } = await provider.next("kadi.ability.request");
  controller.abort("enough");
  await expect(call).rejects.toThrow("enough");
  expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
  expect(await client.callTool({ name: "fast" })).toMatchObject({ content: [{ text: "1" }] });
});

test("it is in the networks that it was given, and tells of what changes there alone", async () => {
  const broker = await openBroker({ authorize: ({ networks }) => networks });
  const connected = await connect(broker.url, "--network", "team");
  expect(await names(connected)).toEqual([]);
  // That it is connected now is the first change.
  await until(() => connected.changes() === 1);
  await openAbility(broker.url, { elsewhere: () => 1 });
  const provider = await openAbility(broker.url, { here: () => 1 }, { networks: ["team"] });
  await until(() => connected.changes() === 2);
  expect(await names(connected)).toEqual(["here"]);
  provider.socket.terminate();
  await until(() => connected.changes() === 3);
  expect(await names(connected)).toEqual([]);
});

test("where there is no broker it has no tools, says why on stderr, and tells of those there are once there is one", async () => {
  const gone = await openBroker();
  await gone.close();
  const connected = await connect(gone.url);
  expect(await names(connected)).toEqual([]);
  expect(connected.stderr()).toContain(`kadi: No broker at ${gone.url}: `);
  await expect(connected.client.callTool({ name: "tool" })).rejects.toMatchObject({
    code: -32_007,
    message: expect.stringContaining(`No broker at ${gone.url}`) as string,
  });
  const broker = await openBroker({ port: gone.port });
  await openAbility(broker.url, { tool: () => 1 });
  await until(() => connected.changes() > 0);
  expect(await connected.client.callTool({ name: "tool" })).toMatchObject({ content: [{ text: "1" }] });
});

test("a broker that ends fails the calls that are pending, and is connected to again", async () => {
  const first = await openBroker();
  const provider = await openAbility(first.url, { slow: () => new Promise(() => undefined) });
  const connected = await connect(first.url);
  const call = connected.client.callTool({ name: "slow" });
  await provider.next("kadi.ability.request");
  const failed = expect(call).rejects.toMatchObject({
    code: -32_007,
    message: expect.stringMatching(/The session at ws:\S+ ended \(1001 .*The tool may have run\./) as string,
  });
  await first.close();
  await failed;
  const changes = connected.changes();
  const second = await openBroker({ port: first.port });
  await openAbility(second.url, { fast: () => "again" });
  await until(() => connected.changes() > changes);
  expect(await connected.client.callTool({ name: "fast" })).toMatchObject({ content: [{ text: "again" }] });
  expect(connected.stderr()).toContain("kadi: ");
});

test("stdout carries MCP alone, and the end of stdin is its end, with 0", async () => {
  const broker = await openBroker();
  const run = start(process.execPath, [BIN, "mcp", "--url", broker.url]);
  const say = (message: object): void =>
    void run.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } };
  say({ id: 1, method: "initialize", params });
  say({ method: "notifications/initialized" });
  say({ id: 2, method: "tools/list" });
  await run.said("stdout", /"id":2/);
  run.child.stdin.end();
  expect(await run.ended).toBe(0);
  for (const line of run.lines) expect(JSON.parse(line)).toMatchObject({ jsonrpc: "2.0" });
  await until(() => broker.status().sessions === 0);
});

test("what was asked is answered also where stdin ends right behind it, and nothing is said of it", async () => {
  const broker = await openBroker();
  const provider = await openAbility(broker.url, { late: () => new Promise(() => undefined), last: () => "at last" });
  const run = start(process.execPath, [BIN, "mcp", "--url", broker.url]);
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } };
  const messages = [
    { id: 1, method: "initialize", params },
    { method: "notifications/initialized" },
    { id: 2, method: "tools/list" },
    { id: 3, method: "tools/call", params: { name: "last", arguments: {} } },
  ];
  run.child.stdin.end(messages.map((message) => `${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`).join(""));
  expect(await run.ended).toBe(0);
  const answers = run.lines.map((line) => JSON.parse(line) as { id?: number; result?: unknown });
  expect(answers.find(({ id }) => id === 2)?.result).toMatchObject({ tools: [{ name: "late" }, { name: "last" }] });
  expect(answers.find(({ id }) => id === 3)?.result).toEqual({ content: [{ type: "text", text: "at last" }] });
  expect(run.stderr.replace("ready\n", "")).toBe("");
  // A call that its client has cancelled is not waited for.
  const other = start(process.execPath, [BIN, "mcp", "--url", broker.url]);
  const say = (message: object): void =>
    void other.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  await provider.next("kadi.ability.request");
  for (const message of messages.slice(0, 3)) say(message);
  say({ id: 4, method: "tools/call", params: { name: "late", arguments: {} } });
  expect(await provider.next("kadi.ability.request")).toMatchObject({ toolName: "late" });
  say({ method: "notifications/cancelled", params: { requestId: 4 } });
  other.child.stdin.end();
  expect(await other.ended).toBe(0);
});

test.each(["SIGINT", "SIGTERM"] as const)("%s is its end, with 0", async (signal) => {
  const run = start(process.execPath, [BIN, "mcp", "--url", "ws://127.0.0.1:1"]);
  run.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" })}\n`);
  await run.said("stdout", /"id":1/);
  run.child.kill(signal);
  expect(await run.ended).toBe(0);
});

test("the example shows both ways, and prints what it says", () => {
  const script = fileURLToPath(new URL("../../../scripts/example.mjs", import.meta.url));
  const run = spawnSync(process.execPath, [script, "mcp"], { encoding: "utf8", timeout: 60_000 });
  expect(run.stderr).toBe("");
  expect(run.stdout).toBe(`An assistant connects to the broker over HTTP, with the token. It sees
  forecast: What the weather will be in a city.
and calls
  forecast {"city":"Oslo"} -> {"degrees":12}
  forecast {"city":"Atlantis"} fails: Atlantis has no weather any more.
The ability offers another tool, and the assistant is told:
  forecast: What the weather will be in a city.
  greet: Greets whoever calls.
  greet {} -> Hello, remote-assistant!
Another assistant starts \`kadi mcp\` itself:
  forecast: What the weather will be in a city.
  greet: Greets whoever calls.
  greet {} -> Hello, local-assistant!
Without the token nobody comes in:
  401
`);
  expect(run.status).toBe(0);
});
