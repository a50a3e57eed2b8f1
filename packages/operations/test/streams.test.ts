// Streams: in order, bounded on both sides, and ended by whoever has had enough.
import type { EventEnvelope, PubSub } from "@alkdev/pubsub";
import type { OperationError } from "@alkdev/operations";
import { describe, expect, test } from "vitest";
import {
  aborted,
  deferred,
  failure,
  open,
  openPorts,
  openPubSub,
  openRouter,
  openSpoke,
  until,
} from "./fixtures/open.ts";

async function routed(): Promise<readonly [PubSub, PubSub]> {
  const router = openRouter();
  const [one, two] = [await openSpoke(router), await openSpoke(router)];
  await one.operations.close();
  await two.operations.close();
  return [one.pubsub, two.pubsub];
}

describe.each([
  ["in process", (): readonly [PubSub, PubSub] => Array(2).fill(openPubSub()) as never, false],
  ["over a pipe", openPorts, false],
  ["through a router", routed, true],
])("a stream %s", (_, ends, router) => {
  test("has all items in order, and its end", async () => {
    const [near, far] = await ends();
    await open(far, { router }).handle("count", async function* (n: number) {
      for (let i = 0; i < n; i++) yield i;
    });
    const caller = open(near, { router });
    const items: unknown[] = [];
    for await (const item of caller.stream("count", 3000)) items.push(item);
    expect(items).toEqual(Array.from({ length: 3000 }, (_, i) => i));
    const none = caller.stream("count", 0);
    expect(await none.next()).toEqual({ value: undefined, done: true });
    expect(await none.next()).toEqual({ value: undefined, done: true });
  });

  test("whose consumer breaks aborts its handler, whose finally runs", async () => {
    const [near, far] = await ends();
    const ended = deferred<unknown>();
    await open(far, { router }).handle("ticks", async function* (_: unknown, { signal }) {
      try {
        for (let i = 0; ; i++) {
          yield i;
          // Parked when the consumer breaks: the signal wakes it.
          if (i === 2) await aborted(signal);
        }
      } finally {
        ended.resolve((signal.reason as OperationError).code);
      }
    });
    for await (const item of open(near, { router }).stream("ticks", null)) if (item === 2) break;
    expect(await ended.promise).toBe("ABORTED");
  });

  test("holds its handler back while nobody reads, and loses nothing", async () => {
    const [near, far] = await ends();
    let made = 0;
    await open(far, { router }).handle("fast", async function* () {
      for (let i = 0; i < 1000; i++) {
        made++;
        yield i;
      }
    });
    const caller = open(near, { router });
    const items = caller.stream("fast", null, { buffer: 8 });
    expect(await items.next()).toEqual({ value: 0, done: false });
    await until(() => made >= 8);
    // Whatever else is said in the meantime, the handler makes no more than fit.
    for (let n = 0; n < 20; n++) await failure(caller.call("none", n));
    expect(made).toBeLessThanOrEqual(16);
    const rest: unknown[] = [];
    for await (const item of items) rest.push(item);
    expect(rest).toEqual(Array.from({ length: 999 }, (_, i) => i + 1));
    expect(made).toBe(1000);
  });

  test("that fails in the middle gives what came before, then the error, once", async () => {
    const [near, far] = await ends();
    await open(far, { router }).handle("breaks", async function* () {
      yield 1;
      yield 2;
      throw new Error("no more paper");
    });
    const items = open(near, { router }).stream("breaks", null);
    expect((await items.next()).value).toBe(1);
    expect((await items.next()).value).toBe(2);
    expect(await failure(items.next())).toMatchObject({ code: "HANDLER_ERROR", message: "no more paper" });
    expect(await items.next()).toEqual({ value: undefined, done: true });
  });

  test("ends with its signal and with its time", async () => {
    const [near, far] = await ends();
    const ended: string[] = [];
    await open(far, { router }).handle("silent", async function* (name: string, { signal }) {
      try {
        yield 1;
        await aborted(signal);
      } finally {
        ended.push(name);
      }
    });
    const caller = open(near, { router });
    const controller = new AbortController();
    const one = caller.stream("silent", "one", { signal: controller.signal });
    await one.next();
    const parked = failure(one.next());
    controller.abort();
    expect(await parked).toMatchObject({ code: "ABORTED" });
    // On a slow machine the time may be up before the handler has it.
    await until(() => ended.length === 1);
    for (; ended.length === 1;) {
      const items = caller.stream("silent", "two", { timeout: 40 });
      const reading = async (): Promise<void> => {
        while ((await items.next()).done !== true);
      };
      expect(await failure(reading())).toMatchObject({ code: "TIMEOUT" });
    }
    expect(ended.slice(0, 2)).toEqual(["one", "two"]);
  });

  test("is asked for with the first next(), and not at all without", async () => {
    const [near, far] = await ends();
    const handlers = open(far, { router });
    let asked = 0;
    await handlers.handle("x", async function* () {
      asked++;
      yield 1;
    });
    const caller = open(near, { router });
    const stream = caller.stream("x", null);
    expect(await stream.return()).toEqual({ value: undefined, done: true });
    expect(await stream.next()).toEqual({ value: undefined, done: true });
    expect(await caller.call("x", null)).toBe(1);
    expect(asked).toBe(1);
  });

  test("and a call of one name both get what they want: an item, or a stream of one answer", async () => {
    const [near, far] = await ends();
    const handlers = open(far, { router });
    const ended = deferred();
    await handlers.handle("many", async function* () {
      try {
        for (let i = 5; ; i++) yield i;
      } finally {
        ended.resolve();
      }
    });
    await handlers.handle("one", () => "only");
    await handlers.handle("none", async function* () {});
    const caller = open(near, { router });
    expect(await caller.call("many", null)).toBe(5);
    await ended.promise;
    expect(await caller.call("none", null)).toBeUndefined();
    const items: unknown[] = [];
    for await (const item of caller.stream("one", null)) items.push(item);
    expect(items).toEqual(["only"]);
  });

  test("to a caller that knows nothing of windows is sent as it comes, then completed", async () => {
    const [near, far] = await ends();
    await open(far, { router }).handle("count", async function* (n: number) {
      for (let i = 0; i < n; i++) yield i;
    });
    const events = await near.subscribe("call.*", "s1", { own: near === far });
    await near.publish("call.requested", "s1", { requestId: "s1", operationId: "count", input: 600 });
    const got: unknown[] = [];
    for await (const { type, payload } of events as AsyncIterable<EventEnvelope<string, { output?: number }>>) {
      if (type === "call.responded") got.push(payload.output);
      if (type === "call.completed") break;
    }
    expect(got).toEqual(Array.from({ length: 600 }, (_, i) => i));
  });
});

test("a stream has an item for whoever waits, and options that make sense", async () => {
  const operations = open(openPubSub());
  await operations.handle("two", async function* () {
    yield 1;
    yield 2;
  });
  const items = operations.stream("two", null);
  expect(await Promise.all([items.next(), items.next(), items.next(), items.next()])).toEqual([
    { value: 1, done: false },
    { value: 2, done: false },
    { value: undefined, done: true },
    { value: undefined, done: true },
  ]);
  expect(await failure(operations.stream("two", null, { buffer: 0 }).next())).toMatchObject({ code: "INVALID_OPTION" });
});

test("a handler that knows nothing of windows fails a stream whose buffer is full, after what fits, and is aborted", async () => {
  const [near, far] = openPorts();
  const told = deferred<string>();
  await far.on("call.requested", async ({ id }: EventEnvelope) => {
    for (let output = 0; output < 10; output++) await far.publish("call.responded", id, { requestId: id, output });
  });
  await far.on("call.aborted", ({ id }: EventEnvelope) => told.resolve(id));
  const items = open(near).stream("flood", null, { buffer: 4 });
  expect((await items.next()).value).toBe(0);
  await told.promise;
  const rest: unknown[] = [];
  const reading = async (): Promise<void> => {
    for await (const item of items) rest.push(item);
  };
  expect(await failure(reading())).toMatchObject({ code: "OVERFLOW" });
  expect(rest).toEqual([1, 2, 3, 4]);
});
