// Clients at brokers: connecting, calls, events, several brokers, networks, and what becomes of interruptions.
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { KadiClient, OperationError } from "@alkdev/kadi";
import type { EventLoss } from "@alkdev/kadi";
import { PubSubError } from "@alkdev/pubsub";
import { expect, onTestFinished, test } from "vitest";
import { WebSocketServer } from "ws";
import { openBroker as connectTo } from "../src/broker-connection.ts";
import { abilityAt, collector, firstLine, openClient, startEcho, startProgram } from "./fixtures/client.ts";
import { openBroker, until } from "./fixtures/open.ts";

test("both generations of the constructor connect, and resolve with the agent id", async () => {
  const { url } = await openBroker();
  const forms = [
    { broker: url },
    { brokers: { remote: url }, defaultBroker: "remote", transport: "broker", networks: ["global"] },
    { brokers: { default: { url: `${url}/kadi`, networks: ["global"] } } },
  ] as const;
  for (const form of forms) {
    const client = openClient(form);
    const id = await client.connect();
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(client.agentId).toBe(id);
    expect(await client.connectToBrokers()).toBe(id);
  }
});

test("a tool is called by its agent's name, or by whoever has it, and fails with the codes that it has everywhere", async () => {
  const { url } = await openBroker();
  await startEcho(url);
  const client = openClient({ broker: url });
  expect(await client.callTool("echo-js", "echo", { message: "hi" })).toMatchObject({ echo: "hi", length: 2 });
  expect(await client.invokeRemote("hasty")).toBe("done");
  await expect(client.callTool("echo-js", "echo", {})).rejects.toMatchObject({
    code: "INVALID_INPUT",
    details: { issues: [{ path: ["message"] }] },
  });
  await expect(client.callTool("echo-js", "fail")).rejects.toMatchObject({
    code: "HANDLER_ERROR",
    message: "it broke",
  });
  await expect(client.callTool("echo-js", "none")).rejects.toMatchObject({ code: "OPERATION_NOT_FOUND" });
  await expect(client.callTool("echo-js", "crash", { code: 1 })).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("an ability at a broker is loaded by name, with its tools", async () => {
  const { url } = await openBroker();
  await startEcho(url);
  const client = openClient({ broker: url });
  const ability = await client.load("echo-js", "broker");
  expect(ability.getTools().find(({ name }) => name === "echo")?.inputSchema).toMatchObject({ required: ["message"] });
  const { events, callback } = collector();
  await ability.subscribeToEvent("echo.#", callback);
  expect(await ability["echo"]({ message: "hi" })).toMatchObject({ length: 2 });
  expect(events).toMatchObject([
    { channel: "echo.test-event", data: { from: "message echo" }, transport: "broker", networkId: "global" },
    { channel: "echo.test-event", data: { from: "message echo 2" } },
  ]);
  await expect(client.loadBroker("nobody")).rejects.toMatchObject({ code: "OPERATION_NOT_FOUND" });
});

test("a call ends by time and by a signal, of which the handler at the other end is told", async () => {
  const { url } = await openBroker();
  const provider = openClient({ name: "provider", broker: url });
  let told = 0;
  provider.registerTool("wait", (_input, { signal, callerAgentId }) => {
    signal.addEventListener("abort", () => told++);
    return new Promise(() => expect(callerAgentId).toBe(client.agentId));
  });
  await provider.connect();
  const client = openClient({ broker: url });
  await client.connect();
  await expect(client.callTool("provider", "wait", {}, { timeout: 500 })).rejects.toMatchObject({ code: "TIMEOUT" });
  const controller = new AbortController();
  const call = client.callTool("provider", "wait", {}, { signal: controller.signal });
  await until(() => told === 1);
  controller.abort();
  await expect(call).rejects.toMatchObject({ code: "ABORTED" });
  await until(() => told === 2);
});

test("a tool that is registered after connecting can be called, and replaces one of its name", async () => {
  const { url } = await openBroker();
  const provider = openClient({ name: "provider", broker: url });
  await provider.connect();
  const client = openClient({ broker: url });
  await expect(client.callTool("provider", "late")).rejects.toMatchObject({ code: "OPERATION_NOT_FOUND" });
  provider.registerTool("late", () => 1);
  provider.registerTool("late", () => 2);
  await until(() => true);
  let answer: unknown;
  while (answer === undefined) answer = await client.callTool("provider", "late").catch(() => undefined);
  expect(answer).toBe(2);
});

test("a client with several brokers hears all, calls the first that has the tool, and publishes where it says", async () => {
  const [one, two] = await Promise.all([openBroker(), openBroker()]);
  const provider = openClient({ name: "provider", broker: two.url });
  provider.registerTool("here", () => "two");
  await provider.connect();
  const client = openClient({ brokers: { one: one.url, two: two.url } });
  const { events, callback } = collector();
  await client.subscribeToEvent("a.#", callback);
  expect(await client.callTool("provider", "here")).toBe("two");
  const listener = openClient({ broker: two.url });
  const heard = collector();
  await listener.subscribeToEvent("a.#", heard.callback);
  await client.publishEvent("a.first", 1);
  await client.publishEvent("a.second", 2, { broker: "two" });
  await provider.publishEvent("a.third", 3);
  await until(() => events.length === 3 && heard.events.length === 2);
  // Its own reach it at once.
  expect(events.map(({ channel, source }) => `${channel} ${source}`)).toEqual([
    "a.first tester",
    "a.second tester",
    "a.third two",
  ]);
  expect(heard.events.map(({ data }) => data as number)).toEqual([2, 3]);
  await expect(client.publishEvent("a", 1, { broker: "three" })).rejects.toThrow("there are one, two");
});

test("networks keep tools and events apart, and one that may not be joined refuses the client", async () => {
  const { url } = await openBroker({ authorize: ({ networks }) => networks.filter((name) => name !== "secret") });
  const inside = openClient({ name: "inside", broker: url, networks: ["team"] });
  inside.registerTool("here", () => "inside");
  await inside.connect();
  const both = openClient({ name: "both", broker: url, networks: ["global", "team"] });
  const outside = openClient({ name: "outside", broker: url });
  const [heard, missed] = [collector(), collector()];
  await both.subscribeToEvent("#", heard.callback);
  await outside.subscribeToEvent("#", missed.callback);
  await inside.publishEvent("a", 1);
  await both.publishEvent("b", 2, { network: "team" });
  await both.publishEvent("c", 3);
  await until(() => missed.events.length > 0);
  expect(missed.events).toMatchObject([{ channel: "c", networkId: "global", agentId: both.agentId }]);
  expect(heard.events.map(({ channel }) => channel)).toEqual(["a", "b", "c"]);
  expect(await both.callTool("inside", "here")).toBe("inside");
  await expect(outside.callTool("inside", "here")).rejects.toMatchObject({ code: "OPERATION_NOT_FOUND" });
  await expect(openClient({ broker: url, networks: ["secret"] }).connect()).rejects.toMatchObject({ code: "REFUSED" });
});

test("an ability that is loaded, and is at the same broker, is heard once", async () => {
  const { url } = await openBroker();
  const client = openClient({ broker: url });
  const { events, callback } = collector();
  await client.subscribeToEvent("echo.#", callback);
  const { default: echo } = (await import(`${abilityAt("echo-js")}/index.mjs`)) as { default: KadiClient };
  const native = await client.loadNative("native", { path: abilityAt("echo-js") });
  const child = await client.loadStdio("child", {
    command: process.execPath,
    args: [`${abilityAt("echo-js")}/index.mjs`, "both", url],
  });
  expect(echo.name).toBe("echo-js");
  await native.invoke("hasty");
  await child.invoke("hasty", { data: "child" });
  // What comes after the last of them.
  await client.publishEvent("echo.last", null);
  const other = openClient({ broker: url });
  await other.publishEvent("echo.over", null);
  await until(() => events.some(({ channel }) => channel === "echo.over"));
  expect(events.map(({ channel, source }) => `${channel} ${source}`)).toEqual([
    "echo.hasty echo-js",
    "echo.hasty child",
    "echo.last tester",
    "echo.over default",
  ]);
});

test("a client's own events come once, however many are on their way to its broker", async () => {
  const { url } = await openBroker({ limits: { rate: 1_000_000 } });
  const client = openClient({ broker: url });
  let received = 0;
  await client.subscribeToEvent("a.*", () => received++);
  const count = 10_000;
  await Promise.all(Array.from({ length: count }, (_, i) => client.publishEvent("a.b", i)));
  // Comes after what the broker would have sent back.
  const other = openClient({ broker: url });
  const last = collector();
  await client.subscribeToEvent("last", last.callback);
  await other.publishEvent("last", null);
  await until(() => last.events.length === 1);
  expect(received).toBe(count);
});

test("a broker that was away is connected to again: the gap is told, tools are offered and events come", async () => {
  const first = await openBroker();
  const { port, url } = first;
  const client = openClient({ name: "me", broker: url });
  client.registerTool("own", () => "own");
  await client.connect();
  const id = client.agentId;
  const losses: EventLoss[] = [];
  const { events, callback } = collector();
  await client.subscribeToEvent("a.#", callback, { onLoss: (loss) => losses.push(loss) });
  await first.close();
  await openBroker({ port });
  await until(() => losses.length > 0);
  expect(losses).toMatchObject([{ reason: "reconnect", transport: "broker", source: "default" }]);
  const other = openClient({ broker: url });
  await other.publishEvent("a.b", 1);
  await until(() => events.length === 1);
  expect(await other.callTool("me", "own")).toBe("own");
  expect(await client.connect()).toBe(id);
});

test("where no broker answers, connecting, subscribing, publishing and calling say so, and may be tried again", async () => {
  const gone = await openBroker();
  const { port, url } = gone;
  await gone.close();
  const client = openClient({ broker: url });
  await expect(client.connect()).rejects.toMatchObject({ code: "NOT_READY" });
  const { events, callback } = collector();
  await expect(client.subscribeToEvent("a", callback)).rejects.toMatchObject({ code: "NOT_READY" });
  await expect(client.publishEvent("a", 1)).rejects.toMatchObject({ code: "NOT_READY" });
  await expect(client.callTool("echo-js", "echo")).rejects.toMatchObject({ code: "NOT_READY" });
  await openBroker({ port });
  await client.connect();
  await client.publishEvent("a", 1);
  expect(events).toEqual([]);
  expect(client.errors).toEqual([]);
});

test("disconnecting while something that is no broker is silent ends the attempt, which says so", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void silent.close());
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const client = openClient({ broker: `ws://127.0.0.1:${port}` });
  const accepted = once(silent, "connection");
  const connecting = expect(client.connect()).rejects.toMatchObject({
    code: "CLOSED",
    message: `The client was disconnected while it connected to the broker ws://127.0.0.1:${port}.`,
  });
  await accepted;
  await client.disconnect();
  await connecting;
});

test("an address where nobody says anything is named when the time is over", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void silent.close());
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const connection = connectTo(`ws://127.0.0.1:${port}`, { connectTimeout: 200 });
  onTestFinished(() => connection.close());
  await expect(connection.ready()).rejects.toMatchObject({
    code: "NOT_READY",
    message: `No broker at ws://127.0.0.1:${port}: no answer within 200 ms. Start one with "kadi broker", or check the address.`,
  });
});

test("so is one that accepts WebSockets, and answers nothing", async () => {
  const silent = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => silent.close());
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const connection = connectTo(`ws://127.0.0.1:${port}`, { connectTimeout: 200 });
  onTestFinished(() => connection.close());
  await expect(connection.ready()).rejects.toMatchObject({
    code: "NOT_READY",
    message: expect.stringContaining(`No broker at ws://127.0.0.1:${port}: no answer within 200 ms.`) as string,
  });
});

test("a broker that says nothing is waited for as long as connectTimeout says, and is named by its address", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void silent.close());
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const client = openClient({ broker: `ws://user:secret@127.0.0.1:${port}`, connectTimeout: 200 });
  const error = (await client.connect().catch((problem: unknown) => problem)) as Error;
  expect(error).toMatchObject({ code: "NOT_READY" });
  expect(error.message).toContain(`ws://127.0.0.1:${port}`);
  expect(error.message).toContain("200 ms");
  expect(() => new KadiClient({ connectTimeout: 0 })).toThrow("connectTimeout");
});

test("a call of a tool whose broker is away waits for it as long as connectTimeout says, or until it is aborted", async () => {
  const broker = await openBroker();
  const { url, port } = broker;
  const client = openClient({ broker: url, connectTimeout: 1000 });
  await client.connect();
  await broker.close();
  await expect(client.callTool("late", "tool")).rejects.toMatchObject({
    code: "NOT_READY",
    message: expect.stringContaining("Not connected within 1000 ms") as string,
  });
  const controller = new AbortController();
  const aborted = expect(client.callTool("late", "tool", {}, { signal: controller.signal })).rejects.toMatchObject({
    code: "ABORTED",
  });
  controller.abort();
  await aborted;
  await openBroker({ port });
  const late = openClient({ name: "late", broker: url });
  late.registerTool("tool", () => "here");
  await late.connect();
  let answer: unknown;
  while (answer === undefined) answer = await client.callTool("late", "tool").catch(() => undefined);
  expect(answer).toBe("here");
});

test("messages name a broker by its address where it has no name, and by its name else", async () => {
  const { url } = await openBroker();
  await expect(openClient({ broker: url }).loadBroker("nobody")).rejects.toThrow(`At the broker ${url} nobody`);
  await expect(openClient({ brokers: { team: url } }).loadBroker("nobody")).rejects.toThrow(
    "At the broker team nobody",
  );
});

test("an event is not published while its broker is away, and that is what is said, at any moment of its going", async () => {
  const broker = await openBroker();
  const { url, port } = broker;
  const client = openClient({ broker: url });
  await client.connect();
  const own = collector();
  await client.subscribeToEvent("a", own.callback, { onLoss: () => undefined });
  let going = true;
  const closed = broker.close().then(() => (going = false));
  const messages = new Set<string>();
  for (let i = 0; going || i < 10; i++) {
    const error: unknown = await client.publishEvent("a", i).catch((problem: unknown) => problem);
    if (error instanceof PubSubError) messages.add(`${error.code} ${error.message}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  expect(messages.size).toBeGreaterThan(0);
  for (const message of messages)
    expect(message).toMatch(
      /^INTERRUPTED (a was not published at the broker ws:\S+, which is not connected now: .*|The session at ws:\S+ ended \(.*may have been delivered\.)$/,
    );
  await expect(client.publishEvent("a", 0)).rejects.toMatchObject({
    code: "INTERRUPTED",
    message: expect.stringMatching(/^a was not published at the broker .*not connected now/) as string,
  });
  // Who subscribes here has it all the same.
  expect(own.events.at(-1)?.data).toBe(0);
  await openBroker({ port });
  await client.callTool("nobody", "tool").catch(() => undefined);
  await client.publishEvent("a", 1);
});

test("tools that a broker does not take refuse the connection, and say whose name is taken", async () => {
  const { url } = await openBroker();
  const [first, second] = [openClient({ broker: url }), openClient({ broker: url })];
  for (const client of [first, second]) client.registerTool("same", () => null);
  await first.connect();
  await expect(second.connect()).rejects.toMatchObject({
    code: "REFUSED",
    message: expect.stringContaining('holds a tool named "same"'),
  });
});

test("serve ends by disconnect, and by SIGTERM with a goodbye", async () => {
  const broker = await openBroker();
  const client = openClient({ name: "served", broker: broker.url });
  client.registerTool("own", () => "own");
  const served = client.serve("broker");
  const caller = openClient({ broker: broker.url });
  await until(() => broker.status().agents === 1);
  expect(await caller.callTool("served", "own")).toBe("own");
  await client.disconnect();
  await served;
  const program = startProgram([`${abilityAt("echo-js")}/index.mjs`, "broker", broker.url]);
  const ended = once(program, "exit");
  await firstLine(program);
  await caller.callTool("echo-js", "hasty");
  program.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
  expect(broker.status().agents).toBe(0);
  await expect(client.serve("native")).rejects.toThrow("export default client");
});

test("a tool whose error has a code of its own is told so on the other side", async () => {
  const { url } = await openBroker();
  const provider = openClient({ name: "shop", broker: url });
  provider.registerTool("buy", () => {
    throw new OperationError("OUT_OF_STOCK", "Two are left.", { details: { left: 2 }, retryable: true });
  });
  await provider.connect();
  const error = { code: "OUT_OF_STOCK", message: "Two are left.", details: { left: 2 }, retryable: true };
  await expect(openClient({ broker: url }).callTool("shop", "buy")).rejects.toMatchObject(error);
  await expect(provider.callTool("shop", "buy")).rejects.toMatchObject(error);
});

test("a client that is disposed of is disconnected", async () => {
  const broker = await openBroker();
  {
    await using client = new KadiClient({ broker: broker.url });
    await client.connect();
    expect(broker.status().sessions).toBe(1);
  }
  await until(() => broker.status().sessions === 0);
});
