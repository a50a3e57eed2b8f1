// Over the real thing: threads, processes, sockets; and over targets with groups, without a router.
import { createMessagePortEventTarget, messagePortChannel } from "@alkdev/pubsub/event-target-message-port";
import { createStdioEventTarget } from "@alkdev/pubsub/event-target-stdio";
import { createWebSocketEventTarget } from "@alkdev/pubsub/event-target-websocket";
import { createWorkerEventTarget } from "@alkdev/pubsub/event-target-worker";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { createHubEventTarget } from "@alkdev/hub";
import type { Operations } from "@alkdev/operations";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { MessageChannel, Worker } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { openHub } from "../../hub/test/fixtures/open.ts";
import { failure, open, openPorts, openPubSub, openRouter, until } from "./fixtures/open.ts";

const FAR_SIDE = new URL("fixtures/far-side.mjs", import.meta.url);

function startWorker(...argv: string[]): AlkEventTarget {
  const worker = new Worker(FAR_SIDE, { argv });
  onTestFinished(async () => void (await worker.terminate()));
  return createWorkerEventTarget(worker, { onError: () => undefined });
}

function startChild(...argv: string[]): AlkEventTarget {
  const child = spawn(process.execPath, [fileURLToPath(FAR_SIDE), ...argv], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  return createStdioEventTarget(child, { onError: () => undefined });
}

describe.each([
  ["a worker thread", startWorker, "thread"],
  ["a child process", startChild, "process"],
])("%s", (_, start, where) => {
  test("is called before it has started, and calls back", async () => {
    const operations = open(openPubSub(start()));
    await operations.handle("here", (input) => [input, "here"]);
    expect(
      await Promise.all([
        operations.call("math.add", { a: 1, b: 2 }),
        operations.call("pid.or.thread", null),
        operations.call("back", 7),
      ]),
    ).toEqual([3, where, [7, "here"]]);
    let sum = 0;
    for await (const n of operations.client<{ count: { input: number; stream: number } }>().stream("count", 1000))
      sum += n;
    expect(sum).toBe(499_500);
  });

  test("that dies makes every pending call UNAVAILABLE at once, and every later one too", async () => {
    const operations = open(openPubSub(start()));
    const pending = Array.from({ length: 10 }, () => failure(operations.call("hang", null, { timeout: Infinity })));
    expect(await failure(operations.call("crash", null, { timeout: Infinity }))).toMatchObject({
      code: "UNAVAILABLE",
      retryable: true,
    });
    for (const error of await Promise.all(pending)) expect(error).toMatchObject({ code: "UNAVAILABLE" });
    expect(await failure(operations.call("math.add", null))).toMatchObject({ code: "UNAVAILABLE" });
  });

  test("is one of a router's spokes; when it dies another one of its kind goes on", async () => {
    const router = openRouter();
    const pubsubs = [openPubSub(start("router")), openPubSub(start("router"))];
    for (const pubsub of pubsubs) router.connect(pubsub);
    await until(() => router.status().operations.some(({ name, spokes }) => name === "ran" && spokes === 2));
    expect(await failure(router.operations.call("crash", null))).toMatchObject({ code: "UNAVAILABLE" });
    expect(router.status().spokes).toBe(1);
    expect(await router.operations.call("math.add", { a: 1, b: 2 })).toBe(3);
  });
});

test("two ends of a WebSocket call each other", async () => {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  onTestFinished(() => {
    server.close();
  });
  await once(server, "listening");
  const connected = once(server, "connection") as Promise<[WebSocket]>;
  const client = open(
    openPubSub(createWebSocketEventTarget(new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`))),
  );
  const early = client.call("double", 21);
  const [socket] = await connected;
  const far = open(openPubSub(createWebSocketEventTarget(socket)));
  await far.handle("double", (n) => n * 2);
  await client.handle("half", (n) => n / 2);
  expect(await early).toBe(42);
  expect(await far.call("half", 42)).toBe(21);
  const pending = failure(client.call("hang", null, { timeout: Infinity }));
  socket.close();
  expect(await pending).toMatchObject({ code: expect.stringMatching(/UNAVAILABLE|OPERATION_NOT_FOUND/) });
});

test("on a link the subscription and the first request are in one frame", async () => {
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port2.close());
  // The far end welcomes before there is anything to send, and keeps the frames.
  const frames: unknown[] = [];
  const far = messagePortChannel(port2);
  far.open({
    maxFrame: 1 << 20,
    frame: (data) => {
      frames.push(data);
      const [first] = [data].flat() as { type: string; payload: { nonce: string } }[];
      if (first?.type !== "$hello") return;
      const payload = {
        nonce: first.payload.nonce,
        version: 1,
        session: "s",
        resumed: false,
        limits: { frame: 1 << 20 },
      };
      far.send({ type: "$welcome", id: "", payload });
      far.send({
        type: "$hello",
        id: "",
        payload: { nonce: "n", versions: [1], limits: { frame: 1 << 20 }, batch: true },
      });
      far.send({ type: "$subscribe", id: "", payload: { ref: 1, type: "call.*" } });
    },
    damaged: () => undefined,
    error: () => undefined,
    closed: () => undefined,
  });
  const target = createMessagePortEventTarget(port1);
  const pubsub = openPubSub(target);
  await new Promise<void>((resolve) => {
    if (target.status === "ready") resolve();
    else target.onStatus((status) => status === "ready" && resolve());
  });
  // The far end's subscription has arrived once its acknowledgement is among the frames.
  await until(() => JSON.stringify(frames).includes("$subscribed"));
  void failure(open(pubsub).call("x", 1, { timeout: 1000 }));
  const typesOf = (frame: unknown): string[] => [frame].flat().map((each) => (each as { type: string }).type);
  await until(() => frames.flatMap(typesOf).includes("call.requested"));
  const frame = frames.find((each) => typesOf(each).includes("call.requested"));
  expect(typesOf(frame).slice(0, 2)).toEqual(["$subscribe", "call.requested"]);
});

describe.each([
  [
    "a broker with groups",
    () => {
      const broker = createMemoryBroker();
      const supports = { groups: true, echo: true, overlap: "per-filter" } as const;
      return async (): Promise<AlkEventTarget> => defineEventTarget(createMemoryTransport(broker, { supports }));
    },
  ],
  [
    "a hub without a router",
    () => {
      const server = openHub();
      return async (): Promise<AlkEventTarget> => createHubEventTarget((await server).url);
    },
  ],
])("over %s", (_, connect) => {
  test("several handlers of one name share the requests, each of which is carried out once", async () => {
    const join = connect();
    const ran: string[] = [];
    const members: Operations[] = [];
    for (let n = 0; n < 3; n++) {
      const operations = open(openPubSub(await join()));
      members.push(operations);
      await operations.handle("work", (job: number, { identity }) => {
        ran.push(`${job} ${n} ${identity === undefined}`);
        return n;
      });
      await operations.handle(`own.${n}`, () => n);
    }
    const caller = open(openPubSub(await join()));
    const answers = await Promise.all(Array.from({ length: 30 }, (_each, job) => caller.call("work", job)));
    expect(ran.length).toBe(30);
    expect(new Set(answers)).toEqual(new Set([0, 1, 2]));
    // Each is a caller too, also of what it handles itself.
    for (const [n, member] of members.entries()) expect(await member.call(`own.${n}`, null)).toBe(n);
    expect(await members[0]?.call("own.2", null)).toBe(2);
    expect(await failure(caller.call("none", null, { timeout: 50 }))).toMatchObject({ code: "TIMEOUT" });
  });

  test("a stream is held back and ended by whoever reads it", async () => {
    const join = connect();
    const handlers = open(openPubSub(await join()));
    let ended = false;
    await handlers.handle("count", async function* () {
      try {
        for (let i = 0; ; i++) yield i;
      } finally {
        ended = true;
      }
    });
    const items: unknown[] = [];
    for await (const item of open(openPubSub(await join())).stream("count", null, { buffer: 4 })) {
      items.push(item);
      if (items.length === 100) break;
    }
    expect(items).toEqual(Array.from({ length: 100 }, (_each, n) => n));
    await until(() => ended);
  });
});

test("over groups a stream whose handler is gone without a word is TIMEOUT, but not one that waits for its reader", async () => {
  const broker = createMemoryBroker();
  const supports = { groups: true, echo: true, overlap: "per-filter" } as const;
  const transport = createMemoryTransport(broker, { supports });
  const handlers = open(openPubSub(defineEventTarget(transport)));
  let made = 0;
  await handlers.handle("count", async function* (_: unknown, { signal }) {
    for (; made < 6; made++) yield made;
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  });
  const caller = open(openPubSub(defineEventTarget(createMemoryTransport(broker, { supports }))));
  const items = caller.stream("count", null, { buffer: 2, idleTimeout: 50 });
  expect(await items.next()).toEqual({ value: 0, done: false });
  // Two more may wait here, and the handler waits for the reader: for longer than it may be silent.
  await until(() => made >= 2);
  await failure(caller.call("none", null, { timeout: 150 }));
  for (let n = 1; n < 6; n++) expect(await items.next()).toEqual({ value: n, done: false });
  transport.freeze();
  const error = await failure(items.next());
  expect(error).toMatchObject({ code: "TIMEOUT", message: expect.stringContaining("idleTimeout") });
  expect(await items.next()).toEqual({ value: undefined, done: true });
  transport.thaw();
});

test("at a pipe a stream ends for its silence where it is told to, and its handler is aborted", async () => {
  const [near, distant] = openPorts();
  const far = open(distant);
  const aborted: unknown[] = [];
  await far.handle("silent", async function* (_: unknown, { signal }) {
    yield 1;
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    aborted.push(signal.reason);
  });
  const caller = open(near);
  const items = caller.stream("silent", null, { idleTimeout: 30 });
  expect(await items.next()).toEqual({ value: 1, done: false });
  expect(await failure(items.next())).toMatchObject({ code: "TIMEOUT" });
  await until(() => aborted.length === 1);
  expect(await failure(caller.stream("silent", null, { idleTimeout: -1 }).next())).toMatchObject({
    code: "INVALID_OPTION",
  });
});

test("a target that can neither exclude nor choose among handlers takes none, unless told that there is no other", async () => {
  const broker = createMemoryBroker();
  const join = (): AlkEventTarget => defineEventTarget(createMemoryTransport(broker, { supports: { echo: true } }));
  expect(await failure(open(openPubSub(join())).handle("x", () => 1))).toMatchObject({ code: "UNSUPPORTED" });
  await open(openPubSub(join()), { alone: true }).handle("x", () => 1);
  const caller = open(openPubSub(join()));
  expect(await caller.call("x", null)).toBe(1);
  expect(await failure(caller.call("y", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
});

test("a gap makes what may have lost its answer UNAVAILABLE, and later calls are answered", async () => {
  const broker = createMemoryBroker();
  const transport = createMemoryTransport(broker, { supports: { echo: true } });
  const handlers = open(openPubSub(defineEventTarget(createMemoryTransport(broker, { supports: { echo: true } }))), {
    alone: true,
  });
  await handlers.handle("hang", () => new Promise(() => undefined));
  await handlers.handle("quick", () => 1);
  const caller = open(openPubSub(defineEventTarget(transport)), { grace: 60_000 });
  const pending = failure(caller.call("hang", null, { timeout: Infinity }));
  expect(await caller.call("quick", null)).toBe(1);
  transport.cut();
  transport.reconnect();
  expect(await pending).toMatchObject({ code: "UNAVAILABLE", retryable: true });
  let answer: unknown;
  for (; answer === undefined;) answer = await caller.call("quick", null).catch(() => undefined);
  expect(answer).toBe(1);
});
