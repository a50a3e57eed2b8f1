// The command, as a process of its own.
import { fileURLToPath } from "node:url";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { start } from "../../hub/test/cli-support.ts";
import type { Run } from "../../hub/test/cli-support.ts";
import { startServer } from "../../pubsub/test/fixtures/servers.ts";
import { BACKPLANES } from "./fixtures/backplanes.ts";
import { call, openAbility, openAgent, openBroker } from "./fixtures/open.ts";

const BIN = fileURLToPath(new URL("../bin/kadi.js", import.meta.url));
const kadi = (...args: string[]): Run => start(process.execPath, [BIN, ...args]);

async function broker(...args: string[]): Promise<{ run: Run; url: string }> {
  const run = kadi("broker", "--port", "0", ...args);
  const [, url = ""] = await run.said("stdout", /^broker: (ws:\S+),.*\n/);
  return { run, url };
}

test("kadi broker says where it listens, and agents meet there", async () => {
  const { run, url } = await broker("--network", "team");
  expect(run.stdout).toBe(`broker: ${url}, figures at GET ${url.replace("ws:", "http:")}/status\n`);
  expect(url).toMatch(/^ws:\/\/127\.0\.0\.1:[1-9]\d*$/);
  await openAbility(url, { tool: () => 1 }, { networks: ["team"] });
  expect(await call(await openAgent(url, { networks: ["global", "team"] }), "tool")).toBe(1);
  await expect(openAgent(url, { networks: ["other"] })).rejects.toMatchObject({ code: -32_002 });
  expect(run.stderr).toBe("");
});

test.each(["SIGINT", "SIGTERM"] as const)("%s closes every session and exits with 0", async (signal) => {
  const { run, url } = await broker();
  const agent = await openAgent(url);
  run.child.kill(signal);
  expect(await agent.closed).toMatchObject({ code: 1001 });
  expect(await run.ended).toBe(0);
});

test("kadi broker lets MCP clients in with a token of the command line or the environment, and says where", async () => {
  const mcp = async (run: Run, token: string): Promise<number> => {
    const [, url = ""] = await run.said("stdout", /^mcp: (http:\S+\/mcp),.*\n/m);
    const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream" };
    // With the token, what is missing is a session.
    return (await fetch(url, { headers })).status;
  };
  const byOption = kadi("broker", "--port", "0", "--mcp-token", "of-the-line", "--mcp-network", "team");
  expect(await mcp(byOption, "of-the-line")).toBe(400);
  expect(byOption.stdout).toContain("for whoever has the token: team\n");
  const env = { ...process.env, KADI_MCP_TOKEN: "of-the-environment" };
  const byEnvironment = start(process.execPath, [BIN, "broker", "--port", "0"], { env });
  expect(await mcp(byEnvironment, "of-the-environment")).toBe(400);
  expect(await mcp(byEnvironment, "of-the-line")).toBe(401);
});

test("without MCP's SDK a broker runs, and whoever wants MCP is told what to install", async () => {
  const without = fileURLToPath(new URL("fixtures/without-sdk.mjs", import.meta.url));
  const bare = (...args: string[]): Run => start(process.execPath, ["--import", without, BIN, ...args]);
  await bare("broker", "--port", "0").said("stdout", /^broker: ws:/);
  for (const run of [bare("broker", "--port", "0", "--mcp-token", "token"), bare("mcp")]) {
    expect(await run.ended).toBe(1);
    expect(run.stderr).toMatch(/^kadi: MCP needs the package @modelcontextprotocol\/sdk, .*npm install/);
    expect(run.stdout).toBe("");
  }
});

test.each(Object.entries(BACKPLANES).filter(([, { quick }]) => quick))(
  "two with the same --backplane are one: %s",
  async (_, { open }) => {
    const shared = await open();
    const url = shared.url(shared.port);
    const [one, other] = await Promise.all([
      broker("--backplane", url),
      broker("--backplane", url, "--network", "team"),
    ]);
    expect(one.run.stdout).toContain(`/status, joined with others by ${url}\n`);
    await openAbility(one.url, { tool: () => 1 });
    expect(await call(await openAgent(other.url), "tool")).toBe(1);
    await shared.restart();
    await one.run.said("stderr", /^backplane interrupted: .*; connecting again\n[^]*backplane ready\n/);
    one.run.child.kill("SIGINT");
    expect(await one.run.ended).toBe(0);
  },
);

test("what brokers are to share and cannot be reached is said in one line; it may be in the environment", async () => {
  const server = await startServer("redis", { args: ["--requirepass", "right"] });
  onTestFinished(() => server.end());
  const env = { KADI_BACKPLANE: `redis://:s3cret@127.0.0.1:${server.port}` };
  const refused = start(process.execPath, [BIN, "broker", "--port", "0"], { env });
  expect(await refused.ended).toBe(1);
  expect(refused.stderr).toMatch(/^kadi: redis:\/\/127\.0\.0\.1:\d+ does not let this client in: .*\n$/);
  expect(refused.stderr).not.toContain("s3cret");
  const nobody = kadi("broker", "--port", "0", "--backplane", "ws://127.0.0.1:1");
  expect(await nobody.ended).toBe(1);
  expect(nobody.stderr).toBe(
    "kadi: no hub at ws://127.0.0.1:1 (connection refused); start one with: pubsub hub --port 1\n",
  );
});

test("kadi tools lists what there is, and kadi call calls it", async () => {
  const { url } = await openBroker();
  await openAbility(url, { add: ({ a, b }: { a: number; b: number }) => ({ sum: a + b }) }, { name: "math" });
  const tools = kadi("tools", "--url", url);
  expect(await tools.ended).toBe(0);
  expect(tools.stdout).toBe("math  add  add\n");
  const good = kadi("call", "math", "add", '{"a":1,"b":2}', "--json", "--url", url);
  expect(await good.ended).toBe(0);
  expect(good.stdout).toBe('{"sum":3}\n');
  const bad = kadi("call", "math", "nothing", "--url", url);
  expect(await bad.ended).toBe(1);
  expect(bad.stderr).toMatch(/^kadi: No agent "math" with the tool "nothing"/);
  expect(bad.stdout).toBe("");
});

test("^C cancels a call, and its provider is told", async () => {
  const { url } = await openBroker();
  const provider = await openAbility(url, { slow: () => new Promise(() => undefined) }, { name: "slow" });
  const run = kadi("call", "slow", "slow", "--url", url);
  const { requestId } = await provider.next("kadi.ability.request");
  run.child.kill("SIGINT");
  expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
  expect(await run.ended).toBe(130);
});

test("kadi events prints what is published once it says live, and ends after --count", async () => {
  const { url } = await openBroker();
  const run = kadi("events", "echo.*", "--json", "--count", "2", "--url", url);
  await run.said("stderr", /^live: echo\.\*\n/);
  const publisher = await openAgent(url);
  for (const channel of ["echo.a", "other", "echo.b", "echo.c"])
    await publisher.request("kadi.event.publish", { channel, data: channel });
  expect(await run.ended).toBe(0);
  expect(run.lines.map((line) => (JSON.parse(line) as { data: string }).data)).toEqual(["echo.a", "echo.b"]);
});

test("kadi events goes on after a restart of the broker, with a gap in its place; and ^C ends it with 0", async () => {
  const broker = await openBroker();
  const run = kadi("events", "a", "a.#", "--json", "--url", broker.url);
  await run.said("stderr", /^live: a a\.#\n/);
  await (await openAgent(broker.url)).request("kadi.event.publish", { channel: "a", data: 1 });
  await run.said("stdout", /"data":1/);
  await broker.close();
  await run.said("stderr", /interrupted: .* ended \(1001 The broker was closed\.\)/);
  const { url } = await openBroker({ port: broker.port });
  await run.said("stderr", /^ready$/m);
  await (await openAgent(url)).request("kadi.event.publish", { channel: "a", data: 2 });
  await run.said("stdout", /"data":2/);
  run.child.kill("SIGINT");
  expect(await run.ended).toBe(0);
  expect(run.lines.map((line) => JSON.parse(line) as object)).toEqual([
    expect.objectContaining({ channel: "a", data: 1, networkId: "global" }),
    { gap: expect.objectContaining({ reason: "reconnect", lost: "unknown" }) },
    expect.objectContaining({ channel: "a", data: 2 }),
  ]);
});

test("an address where no broker is, is said to be so", async () => {
  const broker = await openBroker();
  await broker.close();
  const run = kadi("tools", "--url", broker.url);
  expect(await run.ended).toBe(1);
  expect(run.stderr).toContain(`kadi: No broker at ${broker.url}: `);
});

test("a port that is taken is said to be so, with another", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as AddressInfo;
  const run = kadi("broker", "--port", String(port));
  expect(await run.ended).toBe(1);
  expect(run.stderr).toMatch(
    new RegExp(`^kadi: port ${port} of 127\\.0\\.0\\.1 is in use, maybe by another broker; .*--port`),
  );
});

test.each([
  [["broker", "extra"], /^kadi: broker takes options only/],
  [["mcp", "extra"], /^kadi: mcp takes options only/],
  [["broker", "--mcp-network", "a"], /^kadi: MCP clients need a token/],
  [["broker", "--port", "x"], /^kadi: --port takes a whole number/],
  [["broker", "--backplane", "localhost:6379"], /^kadi: --backplane is "localhost:6379", which is not the address of/],
  [["broker", "--backplane", "smtp://localhost"], /^kadi: Nothing opens URLs that begin with "smtp:"\. Known are/],
  [["brokr"], /^kadi: there is no command "brokr"; did you mean broker\?\nSee: kadi help\n$/],
  [[], /^kadi: a command is missing: broker, events, tools, call or mcp/],
  [["events"], /^kadi: events needs a channel or a pattern/],
  [["call", "agent"], /^kadi: call needs an agent and a tool/],
  [["call", "agent", "tool", "{"], /^kadi: the input must be JSON/],
  [["tools", "--url", "http://x"], /^kadi: the broker's address must be like ws:/],
])("%j is a wrong command line: exit code 2, and what to do", async (args, said) => {
  const run = kadi(...args);
  expect(await run.ended).toBe(2);
  expect(run.stderr).toMatch(said);
  expect(run.stdout).toBe("");
});

test("the help is on stdout, and no line is wider than 110 columns", async () => {
  for (const args of [
    ["--help"],
    ["help", "broker"],
    ["events", "-h"],
    ["help", "tools"],
    ["call", "--help"],
    ["help", "mcp"],
  ]) {
    const run = kadi(...args);
    expect(await run.ended).toBe(0);
    expect(run.stdout).toContain("Usage: kadi ");
    for (const line of run.lines) expect(line.length).toBeLessThanOrEqual(110);
  }
});
