// A client's standing connection, against a real broker and a proxy that does what networks do.
import { generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { expect, onTestFinished, test } from "vitest";
import { startProxy } from "../../pubsub/test/fixtures/proxy.ts";
import type { Proxy } from "../../pubsub/test/fixtures/proxy.ts";
import { openBroker as connectTo } from "../src/broker-connection.ts";
import type { BrokerConnection, BrokerConnectionOptions } from "../src/broker-connection.ts";
import { RpcError } from "../src/json-rpc.ts";
import { call, openAbility, openAgent, openBroker, until } from "./fixtures/open.ts";

function open(url: string, options: BrokerConnectionOptions = {}): BrokerConnection {
  const connection = connectTo(url, { backoff: { min: 5, max: 50 }, onError: () => undefined, ...options });
  onTestFinished(() => connection.close());
  return connection;
}

async function openProxy(port: number): Promise<Proxy & { url: string }> {
  const proxy = await startProxy(port);
  onTestFinished(() => proxy.close());
  return Object.assign(proxy, { url: `ws://127.0.0.1:${proxy.port}` });
}

const newKey = (): KeyObject => generateKeyPairSync("ed25519").privateKey;
const echo = [{ name: "echo", inputSchema: { type: "object" } }];
const never = (): Promise<never> => new Promise(() => undefined);

/** The next time that the target is interrupted, and then ready. */
async function interruption({ eventTarget }: BrokerConnection, cut: () => unknown): Promise<void> {
  const seen: string[] = [];
  const stop = eventTarget.onStatus((status) => seen.push(status));
  await cut();
  await until(() => seen.includes("interrupted") && eventTarget.status === "ready");
  stop();
}

test("it connects on first use, and has the agent id of its key, before and after a cut", async () => {
  const broker = await openBroker();
  const proxy = await openProxy(broker.port);
  const privateKey = newKey();
  const connection = open(proxy.url, { privateKey });
  expect(connection.agentId).toBeUndefined();
  const id = await connection.ready();
  expect(connection.agentId).toBe(id);
  await interruption(connection, () => proxy.cut());
  expect(await connection.ready()).toBe(id);
  expect(await open(broker.url, { privateKey }).ready()).toBe(id);
});

test("what keeps it from connecting is said, with the address and what to do; the next try may succeed", async () => {
  const gone = await openBroker();
  await gone.close();
  const nobody = open(gone.url);
  await expect(nobody.ready()).rejects.toMatchObject({
    code: "NOT_READY",
    message: expect.stringMatching(new RegExp(`^No broker at ${gone.url}: .*ECONNREFUSED.*kadi broker`)),
  });
  await openBroker({ port: gone.port });
  await nobody.ready();
  const stranger = open(gone.url, { networks: ["secret"] });
  await expect(stranger.ready()).rejects.toMatchObject({
    code: "REFUSED",
    message: expect.stringMatching(new RegExp(`^The broker at ${gone.url} refuses .*"secret".*authorize`)),
  });
  expect(() => connectTo("http://localhost")).toThrow(/ws:\/\/host:port/);
  const { privateKey } = generateKeyPairSync("x25519");
  await expect(open(gone.url, { privateKey }).ready()).rejects.toThrow();
});

test("a hundred events of a tool reach listeners and loops before its answer resolves, fifty times", async () => {
  const { url } = await openBroker({ limits: { rate: 100_000 } });
  const hundred = Array.from({ length: 100 }, (_, i) => i);
  const provider = open(url, {
    name: "echo-js",
    onRequest: async ({ toolInput }) => {
      // None is awaited: what was said first arrives first.
      for (const i of hundred) void pubsub.publish("kadi.event.echo.test-event", "global", i);
      return { echo: toolInput };
    },
  });
  const pubsub = createPubSub({ eventTarget: provider.eventTarget });
  await provider.register(echo);
  const caller = open(url);
  const events = createPubSub({ eventTarget: caller.eventTarget });
  const heard: unknown[] = [];
  const looped: unknown[] = [];
  await events.on("kadi.event.echo.*", "global", ({ payload }) => void heard.push(payload));
  const read = await events.subscribe("kadi.event.echo.test-event", "global");
  void (async () => {
    for await (const { payload } of read) looped.push(payload);
  })();
  for (let i = 0; i < 50; i++) {
    const result = await caller.call("echo", i, { targetAgent: "echo-js" });
    // Looked at in the very step in which the answer is known.
    expect([heard.splice(0), looped.splice(0), result]).toEqual([hundred, hundred, { echo: i }]);
  }
  await events.close();
});

test("an event tells who published it, in the network that is its id", async () => {
  const { url } = await openBroker({ authorize: ({ networks }) => networks });
  const [one, other] = [open(url, { networks: ["a", "b"] }), open(url, { networks: ["b", "c"] })];
  const seen: EventEnvelope[] = [];
  const events = createPubSub({ eventTarget: one.eventTarget });
  await events.on("kadi.event.**", (event) => void seen.push(event));
  await events.on("**", "b", (event) => void seen.push(event));
  const publisher = createPubSub({ eventTarget: other.eventTarget });
  await publisher.publish("kadi.event.x.y", "c", 1);
  await publisher.publish("kadi.event.x.y", "b", 2);
  await events.publish("kadi.event.x", "a", 3);
  await until(() => seen.length === 3);
  expect(seen.map(({ type, id, payload, meta }) => [type, id, payload, meta?.["agentId"]])).toEqual([
    ["kadi.event.x.y", "b", 2, other.agentId],
    ["kadi.event.x.y", "b", 2, other.agentId],
    ["kadi.event.x", "a", 3, one.agentId],
  ]);
  await expect(publisher.publish("kadi.event.x", "a", 1)).rejects.toMatchObject({ code: "REFUSED" });
  await expect(publisher.subscribe("kadi.event.x", "a")).rejects.toMatchObject({ code: "REFUSED" });
  for (const type of ["other", "kadi.broker", "*", "kadi.event"])
    await expect(publisher.subscribe(type, "b"), type).rejects.toMatchObject({ code: "UNSUPPORTED" });
});

test("a subscription without an id shares networks with one that has one, and leaving either keeps the other", async () => {
  const broker = await openBroker({ authorize: ({ networks }) => networks });
  const connection = open(broker.url, { networks: ["a", "b"] });
  const events = createPubSub({ eventTarget: connection.eventTarget });
  const everywhere = await events.subscribe("kadi.event.x");
  const there = await events.subscribe("kadi.event.x", "a");
  expect(broker.status().subscriptions).toBe(2);
  await everywhere.return();
  await until(() => broker.status().subscriptions === 1);
  await events.publish("kadi.event.x", "a", 1);
  expect((await there.next()).value?.payload).toBe(1);
  await there.return();
  await until(() => broker.status().subscriptions === 0);
});

test("after a cut its tools are there when it is ready, and its subscriptions, with a gap", async () => {
  const broker = await openBroker();
  const proxy = await openProxy(broker.port);
  const connection = open(proxy.url, { onRequest: async ({ toolInput }) => toolInput });
  await connection.register(echo);
  const gaps: Gap[] = [];
  const seen: unknown[] = [];
  const events = createPubSub({ eventTarget: connection.eventTarget });
  await events.on("kadi.event.x", "global", ({ payload }) => void seen.push(payload), {
    onGap: (gap) => void gaps.push(gap),
  });
  const agent = await openAgent(broker.url);
  for (let round = 1; round <= 3; round++) {
    await interruption(connection, () => proxy.cut());
    expect(await call(agent, "echo", { round })).toEqual({ round });
    await agent.request("kadi.event.publish", { channel: "x", data: round });
    await until(() => seen.includes(round));
    expect(gaps.map(({ reason }) => reason)).toEqual(Array.from({ length: round }, () => "reconnect"));
  }
  expect(seen).toEqual([1, 2, 3]);
});

test("a call that is pending when the session ends is rejected at once, one that is made meanwhile waits for the next", async () => {
  const broker = await openBroker();
  const proxy = await openProxy(broker.port);
  const provider = await openAbility(broker.url, { slow: never, fast: () => 1 });
  const connection = open(proxy.url);
  const pending = connection.call("slow", {});
  await provider.next("kadi.ability.request");
  let during: Promise<unknown> | undefined;
  connection.eventTarget.onStatus((status) => {
    if (status === "interrupted") during = connection.call("fast", {});
  });
  proxy.cut();
  await expect(pending).rejects.toMatchObject({ code: "DISCONNECTED" });
  await until(() => during !== undefined);
  expect(await during).toBe(1);
});

test("aborting a call rejects it with the reason and cancels it at the provider; so does its time-out", async () => {
  const { url } = await openBroker();
  const signals: AbortSignal[] = [];
  const provider = open(url, {
    onRequest: (_, signal) => {
      signals.push(signal);
      return never();
    },
  });
  await provider.register(echo);
  const caller = open(url);
  const abort = new AbortController();
  const aborted = caller.call("echo", {}, { signal: abort.signal });
  await until(() => signals.length === 1);
  const reason = new Error("not wanted");
  abort.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  await until(() => signals.at(0)?.aborted ?? false);
  await expect(caller.call("echo", {}, { signal: abort.signal })).rejects.toBe(reason);
  expect(signals).toHaveLength(1);
  await expect(caller.call("echo", {}, { timeout: 30 })).rejects.toMatchObject({ code: "TIMEOUT" });
  await until(() => signals.at(1)?.aborted ?? false);
});

test("what a tool throws is the error of the call: -32000 and its message, or the RpcError as it is", async () => {
  const { url } = await openBroker();
  const outcomes: Record<string, () => unknown> = {
    thrown: () => {
      throw new Error("no luck");
    },
    coded: () => {
      throw new RpcError(-1234, "mine", { why: 1 });
    },
    nothing: () => undefined,
    bigint: () => 1n,
    function: () => never,
    large: () => "x".repeat(2 * 1024 * 1024),
  };
  const provider = open(url, { onRequest: async ({ toolName }) => outcomes[toolName]?.() });
  await provider.register(Object.keys(outcomes).map((name) => ({ name })));
  const caller = open(url);
  await expect(caller.call("thrown", {})).rejects.toMatchObject({ code: -32_000, message: "no luck" });
  await expect(caller.call("coded", {})).rejects.toMatchObject({ code: -1234, message: "mine", data: { why: 1 } });
  expect(await caller.call("nothing", {})).toBeNull();
  for (const name of ["bigint", "function"])
    await expect(caller.call(name, {}), name).rejects.toMatchObject({ code: -32_000, message: /not JSON/ });
  await expect(caller.call("large", {})).rejects.toMatchObject({ code: -32_005 });
  await expect(caller.call("thrown", "x".repeat(2 * 1024 * 1024))).rejects.toMatchObject({ code: "PAYLOAD" });
  // Neither side lost its session for it.
  await expect(caller.call("nothing", {})).resolves.toBeNull();
});

test("the signal of a running tool is aborted when its session ends", async () => {
  const broker = await openBroker();
  const proxy = await openProxy(broker.port);
  const signals: AbortSignal[] = [];
  const provider = open(proxy.url, {
    onRequest: (_, signal) => {
      signals.push(signal);
      return never();
    },
  });
  await provider.register(echo);
  const pending = open(broker.url).call("echo", {});
  await until(() => signals.length === 1);
  proxy.cut();
  await expect(pending).rejects.toMatchObject({ code: -32_007 });
  await until(() => signals.at(0)?.aborted ?? false);
});

test("tools that a later session refuses are reported, and the rest goes on; a registration that is refused keeps those before", async () => {
  const broker = await openBroker();
  const proxy = await openProxy(broker.port);
  const errors: unknown[] = [];
  const connection = open(proxy.url, { onRequest: async () => 1, onError: (error) => void errors.push(error) });
  await connection.register(echo);
  const rival = open(broker.url, { onRequest: async () => 2 });
  await expect(rival.register(echo)).rejects.toMatchObject({ code: -32_004 });
  await rival.register([{ name: "other" }]);
  await expect(connection.register([{ name: "other" }])).rejects.toMatchObject({ code: -32_004 });
  expect(await rival.call("echo", {})).toBe(1);
  // While it is away somebody else takes its name.
  proxy.freeze();
  proxy.cut();
  await until(() => broker.status().agents === 1);
  await rival.register(echo);
  await until(() => connection.eventTarget.status === "interrupted");
  proxy.thaw();
  await connection.ready();
  expect(errors).toMatchObject([{ code: "REFUSED", message: /no longer takes this client's tools/ }]);
  expect(await connection.call("echo", {})).toBe(2);
});

test("tools() lists what can be seen", async () => {
  const { url } = await openBroker();
  const provider = open(url, { name: "math" });
  await provider.register([{ name: "add", description: "adds" }]);
  expect(await open(url).tools()).toEqual([
    { name: "add", description: "adds", agentId: provider.agentId, agentName: "math", networks: ["global"] },
  ]);
});

test("a broker that falls silent is left, and the next session begins when it can be reached again", async () => {
  const broker = await openBroker({ limits: { heartbeat: 20 } });
  const proxy = await openProxy(broker.port);
  const connection = open(proxy.url);
  await connection.ready();
  const interrupted = new Promise<unknown>((resolve) => {
    connection.eventTarget.onStatus((status, cause) => status === "interrupted" && resolve(cause));
  });
  proxy.freeze();
  await interrupted;
  const abort = new AbortController();
  const waiting = connection.ready(abort.signal);
  abort.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  proxy.thaw();
  await connection.ready();
});

test("closing says goodbye, settles what is pending and is final", async () => {
  const broker = await openBroker();
  const provider = await openAbility(broker.url, { slow: never });
  const connection = open(broker.url);
  const pending = connection.call("slow", {});
  const { requestId } = await provider.next("kadi.ability.request");
  const rejected = expect(pending).rejects.toMatchObject({ code: "DISCONNECTED" });
  await connection.close();
  await rejected;
  expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
  expect(broker.status().sessions).toBe(1);
  await expect(connection.ready()).rejects.toMatchObject({ code: "CLOSED" });
  await expect(connection.call("slow", {})).rejects.toMatchObject({ code: "CLOSED" });
  await connection.close();
});
