// What `on`, `subscribe`, `publish` and `close` promise, in process and over a transport.
import { describe, expect, test } from "vitest";
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, PubSubOptions, Status } from "@alkdev/pubsub";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import { deferred, HandTransport, settled, uncaughtDuring } from "./pubsub-support.ts";

/** Both kinds of core that match by themselves. */
const cores: Record<string, () => PubSubOptions> = {
  "in process": () => ({}),
  "over a transport": () => ({ eventTarget: defineEventTarget(new HandTransport()) }),
  "over a transport that answers later": () => {
    const transport = new HandTransport();
    transport.opening = deferred();
    setImmediate(() => transport.opening?.resolve());
    const publish = transport.publish.bind(transport);
    transport.publish = async (envelope) => {
      await settled();
      await publish(envelope);
    };
    return { eventTarget: defineEventTarget(transport) };
  },
};

describe.each(Object.entries(cores))("order, %s", (_, core) => {
  test("listeners are called in the order of subscribing, exact, pattern and any id alike", async () => {
    const pubsub = createPubSub(core());
    const seen: string[] = [];
    const add = (name: string, type: string, id?: string) => pubsub.on(type, id, () => seen.push(name));
    await add("pattern", "a.*");
    await add("exact", "a.b", "1");
    await add("any id", "a.b");
    await add("all", "**", "1");
    const stop = await add("stopped", "a.**", "1");
    await add("exact too", "a.b", "1");
    await add("pattern too", "*.b");
    await add("other id", "a.b", "2");
    stop();
    await add("last", "a.b", "1");
    await pubsub.publish("a.b", "1", null);
    expect(seen).toEqual(["pattern", "exact", "any id", "all", "exact too", "pattern too", "last"]);
  });

  test("a publish inside a listener is dispatched after the current event is done", async () => {
    const pubsub = createPubSub(core());
    const seen: unknown[] = [];
    let nested: Promise<void> | undefined;
    await pubsub.on("a", ({ payload }) => {
      seen.push(["first", payload]);
      if (payload === 1) nested = pubsub.publish("a", "", 2);
      if (payload === 2) nested = pubsub.publish("a", "", 3);
    });
    await pubsub.on("a", ({ payload }) => seen.push(["second", payload]));
    await pubsub.publish("a", "", 1);
    while (seen.length < 6) await nested;
    expect(seen).toEqual(
      [1, 2, 3].flatMap((n) => [
        ["first", n],
        ["second", n],
      ]),
    );
  });

  test("events of one publisher come in the order of publishing", async () => {
    const pubsub = createPubSub(core());
    const events = await pubsub.subscribe("a");
    await Promise.all(Array.from({ length: 100 }, (_, i) => pubsub.publish("a", String(i % 3), i)));
    const seen: unknown[] = [];
    while (seen.length < 100) seen.push((await events.next()).value?.payload);
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  test("a listener that is added meanwhile misses the current event, whatever it listens to", async () => {
    const pubsub = createPubSub(core());
    const late: unknown[] = [];
    let added: Promise<unknown> | undefined;
    await pubsub.on("a", "1", () => {
      added ??= Promise.all(
        ["a", "*", "**"].flatMap((type) =>
          [undefined, "1"].map((id) => pubsub.on(type, id, (e) => late.push(e.payload))),
        ),
      );
    });
    await pubsub.publish("a", "1", "current");
    await added;
    expect(late).toEqual([]);
    await pubsub.publish("a", "1", "next");
    expect(late).toEqual(Array.from({ length: 6 }, () => "next"));
  });

  test.each([
    ["a", "1"],
    ["a", undefined],
    ["*", "1"],
    ["**", undefined],
  ])("an equal listener (%s, %s) that is added meanwhile misses the current event", async (type, id) => {
    const pubsub = createPubSub(core());
    const late: unknown[] = [];
    const added: Promise<unknown>[] = [];
    for (let i = 0; i < 2; i++)
      await pubsub.on(type, id, ({ payload }) => {
        if (payload === "current") added.push(pubsub.on(type, id, (event) => late.push(event.payload)));
      });
    await pubsub.publish("a", "1", "current");
    await Promise.all(added);
    expect(late).toEqual([]);
    await pubsub.publish("a", "1", "next");
    expect(late).toEqual(["next", "next"]);
  });

  test("a listener that is removed meanwhile is skipped", async () => {
    const pubsub = createPubSub(core());
    const seen: string[] = [];
    const stops: (() => void)[] = [];
    await pubsub.on("a", "1", () => {
      seen.push("first");
      for (const stop of stops) stop();
    });
    for (const type of ["a", "*", "**"])
      for (const id of [undefined, "1"]) stops.push(await pubsub.on(type, id, () => seen.push("removed")));
    await pubsub.on("a", "1", () => seen.push("last"));
    await pubsub.publish("a", "1", null);
    expect(seen).toEqual(["first", "last"]);
  });

  test("a listener may stop itself, and the next one is still called", async () => {
    const pubsub = createPubSub(core());
    let calls = 0;
    const stop: () => void = await pubsub.on("a", () => stop());
    await pubsub.on("a", () => calls++);
    await pubsub.publish("a", "", null);
    await pubsub.publish("a", "", null);
    expect(calls).toBe(2);
  });

  test("the same function listens as often as it was given", async () => {
    const pubsub = createPubSub(core());
    let calls = 0;
    const count = () => calls++;
    const stop = await pubsub.on("a", count);
    await pubsub.on("a", count);
    await pubsub.publish("a", "", null);
    expect(calls).toBe(2);
    stop();
    stop();
    await pubsub.publish("a", "", null);
    expect(calls).toBe(3);
  });

  test("a publish reaches a subscriber of several patterns once for each subscription", async () => {
    const pubsub = createPubSub(core());
    const one = await pubsub.subscribe("a.*");
    const two = await pubsub.subscribe("a.b", "1");
    await pubsub.publish("a.b", "1", null);
    expect([one.received, two.received]).toEqual([1, 1]);
    expect((await one.next()).value).toEqual({ type: "a.b", id: "1", payload: null });
  });

  test("own: false skips what this publishes, and nothing else does", async () => {
    const pubsub = createPubSub(core());
    const without = await pubsub.subscribe("a", { own: false });
    const stop = await pubsub.on("a", undefined, () => expect.unreachable(), { own: false });
    const withOwn = await pubsub.subscribe("a", undefined, { own: true });
    await pubsub.publish("a", "", 1);
    expect([without.received, withOwn.received]).toEqual([0, 1]);
    stop();
  });
});

describe("over a transport", () => {
  test("an event from outside that comes during a dispatch waits its turn, and is no own event", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const seen: unknown[] = [];
    await pubsub.on("a", ({ payload }) => {
      seen.push(["first", payload]);
      if (payload === "own") transport.receiver.deliver({ type: "a", id: "", payload: "foreign" });
    });
    await pubsub.on("a", undefined, ({ payload }) => seen.push(["without own", payload]), { own: false });
    await pubsub.publish("a", "", "own");
    expect(seen).toEqual([
      ["first", "own"],
      ["first", "foreign"],
      ["without own", "foreign"],
    ]);
  });

  test("own events come in the order of publishing whatever order the answers have; one that failed does not come", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const events = await pubsub.subscribe("a");
    const answers = [deferred(), deferred(), deferred(), deferred()];
    transport.publish = ({ payload }) => answers[payload as number]?.promise;
    const published = answers.map((_, i) => pubsub.publish("a", "", i));
    const outcome = Promise.allSettled(published);
    answers[3]?.resolve();
    answers[2]?.resolve();
    await settled();
    expect(events.received).toBe(0);
    answers[1]?.reject(new Error("no"));
    await settled();
    expect(events.received).toBe(0);
    answers[0]?.resolve();
    expect((await outcome).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
    const batch = await events.batches().next();
    expect(batch.value?.map(({ payload }) => payload)).toEqual([0, 2, 3]);
  });

  test("a failed publish at the front does not hold up those behind it", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const events = await pubsub.subscribe("a");
    const answers = [deferred(), deferred()];
    transport.publish = ({ payload }) => answers[payload as number]?.promise;
    const outcome = Promise.allSettled([pubsub.publish("a", "", 0), pubsub.publish("a", "", 1)]);
    answers[0]?.reject(new Error("no"));
    answers[1]?.resolve();
    await outcome;
    expect((await events.next()).value?.payload).toBe(1);
  });

  test("a listener that publishes while it hears its own event is answered after that event", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const seen: unknown[] = [];
    await pubsub.on("a", ({ payload }) => {
      seen.push(payload);
      if (payload === 1) void pubsub.publish("a", "", 2);
      seen.push("end");
    });
    await pubsub.publish("a", "", 1);
    expect(seen).toEqual([1, "end", 2, "end"]);
  });

  test("publishes wait for the connection, in order, up to a thousand; the next is NOT_READY", async () => {
    const transport = new HandTransport();
    transport.opening = deferred();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const events = await Promise.race([pubsub.subscribe("a"), settled()]);
    expect(events).toBeUndefined();
    const waiting = Array.from({ length: 1024 }, (_, i) => pubsub.publish("a", "", i));
    await expect(pubsub.publish("a", "", "one too many")).rejects.toMatchObject({ code: "NOT_READY" });
    transport.opening.resolve();
    await Promise.all(waiting);
    expect(transport.published.map(({ payload }) => payload)).toEqual(Array.from({ length: 1024 }, (_, i) => i));
  });
});

describe.each(["throws", "rejects", "gives a thenable that rejects"])("a listener that %s", (how) => {
  const boom = new Error("boom");
  const fail = (): unknown => {
    if (how === "throws") throw boom;
    if (how === "rejects") return Promise.reject(boom);
    // oxlint-disable-next-line unicorn/no-thenable -- which is the point
    return { then: (_: unknown, no: (error: unknown) => void) => no(boom) };
  };

  test("stops no other listener and no publish, and goes to onError", async () => {
    const errors: unknown[] = [];
    const pubsub = createPubSub({ onError: (error) => errors.push(error) });
    let after = 0;
    await pubsub.on("a", fail);
    await pubsub.on("a", () => after++);
    await pubsub.publish("a", "", null);
    await pubsub.publish("a", "", null);
    await settled();
    expect(after).toBe(2);
    expect(errors).toEqual([boom, boom]);
  });

  test("is an uncaught error without onError, as with an EventTarget", async () => {
    const pubsub = createPubSub();
    let after = 0;
    await pubsub.on("a", fail);
    await pubsub.on("a", () => after++);
    expect(await uncaughtDuring(() => pubsub.publish("a", "", null))).toEqual([boom]);
    expect(after).toBe(1);
  });
});

test("an onError that throws is an uncaught error and stops nothing", async () => {
  const worse = new Error("worse");
  const pubsub = createPubSub({
    onError: () => {
      throw worse;
    },
  });
  let after = 0;
  await pubsub.on("a", () => {
    throw new Error("boom");
  });
  await pubsub.on("a", () => after++);
  expect(await uncaughtDuring(() => pubsub.publish("a", "", null))).toEqual([worse]);
  expect(after).toBe(1);
});

describe("subscribe", () => {
  test("listens from the moment it is called", async () => {
    const pubsub = createPubSub();
    const pending = pubsub.subscribe("a");
    await pubsub.publish("a", "", 1);
    expect((await (await pending).next()).value?.payload).toBe(1);
  });

  test("listens from the moment it is called over a transport too, for what this publishes", async () => {
    const transport = new HandTransport();
    transport.subscribing = deferred();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const pending = pubsub.subscribe("a");
    await pubsub.publish("a", "", 1);
    transport.subscribing.resolve();
    expect((await (await pending).next()).value?.payload).toBe(1);
  });

  test("resolves when the far end has acknowledged, and not before", async () => {
    const transport = new HandTransport();
    transport.subscribing = deferred();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    let live = false;
    const pending = pubsub.subscribe("a").then(() => (live = true));
    await settled();
    expect(transport.subscribed).toHaveLength(1);
    expect(live).toBe(false);
    transport.subscribing.resolve();
    await pending;
    expect(live).toBe(true);
  });

  test("can be iterated without awaiting it", async () => {
    const pubsub = createPubSub();
    const pending = pubsub.subscribe("a");
    await pubsub.publish("a", "", 1);
    await pubsub.publish("a", "", 2);
    const seen: unknown[] = [];
    for await (const { payload } of pending) if (seen.push(payload) === 2) break;
    expect(seen).toEqual([1, 2]);
    await pubsub.publish("a", "", 3);
    expect((await pending).received).toBe(2);
  });

  test("gives the same subscription to those who await and those who iterate", async () => {
    const pending = createPubSub().subscribe("a");
    expect(pending[Symbol.asyncIterator]()).toBe(await pending);
    expect((await pending)[Symbol.asyncIterator]()).toBe(await pending);
  });

  test("takes options where the id would stand, and after an undefined id", async () => {
    const pubsub = createPubSub();
    const one = await pubsub.subscribe("a", { buffer: { limit: 1, overflow: "drop-newest" } });
    const two = await pubsub.subscribe("a", undefined, { buffer: { limit: 1, overflow: "drop-newest" } });
    for (let i = 0; i < 3; i++) await pubsub.publish("a", String(i), i);
    expect([one.dropped, two.dropped]).toEqual([2, 2]);
  });

  test("that fails is an ordinary rejection without onError, never silence", async () => {
    const pubsub = createPubSub();
    const uncaught = await uncaughtDuring(() => {
      void pubsub.subscribe("a b");
      void pubsub.on("a b", () => {});
    });
    expect(uncaught).toMatchObject([{ code: "INVALID_TOPIC" }, { code: "INVALID_TOPIC" }]);
    expect(await uncaughtDuring(() => expect(pubsub.subscribe("a b")).rejects.toThrow("white space"))).toEqual([]);
  });

  test("that fails goes to onError and is handled, and still rejects for those who wait", async () => {
    const errors: unknown[] = [];
    const pubsub = createPubSub({ onError: (error) => errors.push(error) });
    const uncaught = await uncaughtDuring(async () => {
      void pubsub.subscribe("a b");
      void pubsub.on("a b", () => {});
      await expect(pubsub.subscribe("a b")).rejects.toThrow("white space");
    });
    expect(uncaught).toEqual([]);
    expect(errors).toHaveLength(3);
  });

  test("that fails is thrown by the first next() of those who iterate, once, and counts as handled", async () => {
    const uncaught = await uncaughtDuring(async () => {
      const iterator = createPubSub().subscribe("a b")[Symbol.asyncIterator]();
      await expect(iterator.next()).rejects.toMatchObject({ code: "INVALID_TOPIC" });
      expect(await iterator.next()).toEqual({ value: undefined, done: true });
    });
    expect(uncaught).toEqual([]);
  });

  test("that the far end refuses leaves nothing behind", async () => {
    const transport = new HandTransport();
    transport.subscribing = deferred();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const pending = pubsub.subscribe("a");
    const refused = new PubSubError("REFUSED", "No.");
    await settled();
    transport.subscribing.reject(refused);
    await expect(pending).rejects.toBe(refused);
    await pubsub.publish("a", "", null);
    transport.subscribing = undefined;
    expect((await pubsub.subscribe("a")).received).toBe(0);
    expect(transport.subscribed).toHaveLength(2);
  });

  test("to a group is UNSUPPORTED in process, and says what has groups", async () => {
    const error: unknown = await createPubSub()
      .subscribe("a", { group: "g" })
      .catch((error: unknown) => error);
    expect(error).toMatchObject({ code: "UNSUPPORTED", message: expect.stringContaining("groups: true") as string });
    await expect(createPubSub().on("a", () => {}, { group: "g" })).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });
});

describe("an AbortSignal", () => {
  const reason = new Error("enough");

  test("that is aborted already rejects with its reason, and nothing was subscribed", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const signal = AbortSignal.abort(reason);
    await expect(pubsub.subscribe("a", { signal })).rejects.toBe(reason);
    await expect(pubsub.on("a", () => {}, { signal })).rejects.toBe(reason);
    await expect(pubsub.subscribe("a", { signal })[Symbol.asyncIterator]().next()).rejects.toBe(reason);
    await settled();
    expect(transport.subscribed).toEqual([]);
  });

  test("that is aborted before the subscription is live rejects with its reason, and cancels no other", async () => {
    const transport = new HandTransport();
    transport.subscribing = deferred();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const abort = new AbortController();
    const mine = pubsub.subscribe("a", { signal: abort.signal });
    const listening = pubsub.on("a", () => {}, { signal: abort.signal });
    const other = pubsub.subscribe("a");
    abort.abort(reason);
    await expect(mine).rejects.toBe(reason);
    await expect(listening).rejects.toBe(reason);
    transport.subscribing.resolve();
    await pubsub.publish("a", "", 1);
    expect((await (await other).next()).value?.payload).toBe(1);
  });

  test("that is aborted later discards what is buffered, and a parked next() is done at once", async () => {
    const pubsub = createPubSub();
    const abort = new AbortController();
    const events = await pubsub.subscribe("a", { signal: abort.signal });
    const parked = await pubsub.subscribe("a", { signal: abort.signal });
    await pubsub.publish("a", "", 1);
    await parked.next();
    const next = parked.next();
    abort.abort(reason);
    expect(await next).toEqual({ value: undefined, done: true });
    expect(await events.next()).toEqual({ value: undefined, done: true });
    await pubsub.publish("a", "", 2);
    expect(events.received).toBe(1);
  });

  test("stops a listener, during a dispatch too", async () => {
    const pubsub = createPubSub();
    const abort = new AbortController();
    let calls = 0;
    await pubsub.on("a", () => abort.abort());
    await pubsub.on("a", () => calls++, { signal: abort.signal });
    await pubsub.publish("a", "", null);
    expect(calls).toBe(0);
  });

  test("may serve a thousand subscriptions without a warning, and is let go of when they end", async () => {
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on("warning", warn);
    const pubsub = createPubSub();
    const { signal } = new AbortController();
    const counted = countListeners(signal);
    const events = await Promise.all(Array.from({ length: 500 }, () => pubsub.subscribe("a", { signal })));
    const stops = await Promise.all(Array.from({ length: 500 }, () => pubsub.on("a", () => {}, { signal })));
    expect(counted()).toBe(1000);
    for (const each of events) await each.return();
    for (const stop of stops) stop();
    expect(counted()).toBe(0);
    const waiting = new HandTransport();
    waiting.opening = deferred();
    const over = createPubSub({ eventTarget: defineEventTarget(waiting) });
    const pending = over.subscribe("a", { signal });
    await pending[Symbol.asyncIterator]().return();
    expect(counted()).toBe(0);
    await settled();
    process.off("warning", warn);
    expect(warnings).toEqual([]);
  });
});

/** Counts the listeners of a signal from now on. */
function countListeners(signal: AbortSignal): () => number {
  let count = 0;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...args: Parameters<AbortSignal["addEventListener"]>) => (count++, add(...args));
  signal.removeEventListener = (...args: Parameters<AbortSignal["addEventListener"]>) => (count--, remove(...args));
  return () => count;
}

describe("publish", () => {
  test("in process is delivered before it returns", async () => {
    const pubsub = createPubSub();
    const seen: EventEnvelope[] = [];
    await pubsub.on("a", (envelope) => seen.push(envelope));
    const payload = { deep: [1] };
    void pubsub.publish("a", "1", payload);
    expect(seen).toEqual([{ type: "a", id: "1", payload }]);
  });

  test("of undefined is a PayloadError that names the topic and says what to do", async () => {
    await expect(createPubSub().publish("a.b", "1", undefined)).rejects.toMatchObject({
      name: "PayloadError",
      code: "PAYLOAD",
      type: "a.b",
      id: "1",
      message: expect.stringMatching(/use null.*a\.b:1/) as string,
    });
  });

  test.each([[null], [0], [false], [""], [NaN], [[]]])("carries %j", async (payload) => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", payload);
    expect((await events.next()).value?.payload).toBe(payload);
  });

  test("to nobody resolves", async () => {
    expect(await createPubSub().publish("a", "", null)).toBeUndefined();
  });
});

describe("close", () => {
  test("is idempotent, and is what `await using` calls", async () => {
    const pubsub = createPubSub();
    const first = pubsub.close();
    expect(pubsub.close()).toBe(first);
    await first;
    await pubsub[Symbol.asyncDispose]();
    expect(pubsub.status).toBe("closed");
  });

  test("makes publish, subscribe and on reject with CLOSED, from the call on", async () => {
    const pubsub = createPubSub();
    const closing = pubsub.close();
    const closed = { code: "CLOSED", message: expect.stringContaining("createPubSub()") as string };
    await expect(pubsub.publish("a", "", null)).rejects.toMatchObject(closed);
    await expect(pubsub.subscribe("a")).rejects.toMatchObject(closed);
    await expect(pubsub.on("a", () => {})).rejects.toMatchObject(closed);
    await closing;
    await expect(pubsub.publish("a", "", null)).rejects.toMatchObject(closed);
  });

  test("lets iterators drain, then they are done; listeners are called no more", async () => {
    const target = defineEventTarget(new HandTransport());
    const pubsub = createPubSub({ eventTarget: target });
    const other = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a");
    const parked = (await pubsub.subscribe("b")).next();
    let calls = 0;
    await pubsub.on("a", () => calls++);
    await pubsub.publish("a", "", 1);
    await pubsub.publish("a", "", 2);
    await pubsub.close();
    expect(await parked).toEqual({ value: undefined, done: true });
    await other.publish("a", "", 3);
    const seen: unknown[] = [];
    for await (const { payload } of events) seen.push(payload);
    expect(seen).toEqual([1, 2]);
    expect(calls).toBe(2);
  });

  test("tells the status once, and nothing of the target after that", async () => {
    const transport = new HandTransport();
    const target = defineEventTarget(transport);
    const pubsub = createPubSub({ eventTarget: target });
    const seen: Status[] = [];
    pubsub.onStatus((status) => seen.push(status));
    expect(pubsub.status).toBe("idle");
    await pubsub.publish("a", "", null);
    await pubsub.close();
    await pubsub.close();
    await target.close();
    expect(seen).toEqual(["connecting", "ready", "closed"]);
    pubsub.onStatus(() => expect.unreachable())();
  });

  test("tells the status once where the target was closed before", async () => {
    const target = defineEventTarget(new HandTransport());
    const pubsub = createPubSub({ eventTarget: target });
    const seen: Status[] = [];
    pubsub.onStatus((status) => seen.push(status));
    await target.close();
    await pubsub.close();
    expect(seen).toEqual(["closed"]);
  });

  test("is not stopped by a status listener that throws", async () => {
    const errors: unknown[] = [];
    const pubsub = createPubSub({ onError: (error) => errors.push(error) });
    const events = await pubsub.subscribe("a");
    const boom = new Error("boom");
    const seen: Status[] = [];
    pubsub.onStatus(() => {
      throw boom;
    });
    pubsub.onStatus((status) => seen.push(status));
    await pubsub.close();
    expect(await events.next()).toEqual({ value: undefined, done: true });
    expect(errors).toEqual([boom]);
    expect(seen).toEqual(["closed"]);
  });

  test("forgets a status listener that was stopped, each for itself", async () => {
    const pubsub = createPubSub();
    let calls = 0;
    const listener = () => calls++;
    const stop = pubsub.onStatus(listener);
    pubsub.onStatus(listener);
    stop();
    stop();
    await pubsub.close();
    expect(calls).toBe(1);
  });

  test("leaves the event target, and everyone else on it, open", async () => {
    const transport = new HandTransport();
    const target = defineEventTarget(transport);
    const [one, two] = [createPubSub({ eventTarget: target }), createPubSub({ eventTarget: target })];
    const [mine, theirs] = [await one.subscribe("a"), await two.subscribe("a")];
    await one.close();
    await two.publish("a", "", 1);
    expect(mine.received).toBe(0);
    expect((await theirs.next()).value?.payload).toBe(1);
    expect(transport.closed).toBe(0);
    expect(target.status).toBe("ready");
  });

  test.each([false, true])("lets publishes in flight settle (echo: %j)", async (echo) => {
    const transport = new HandTransport({ echo });
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    await pubsub.publish("a", "", 0);
    transport.publishing = deferred();
    const inFlight = pubsub.publish("a", "", 1);
    let closed = false;
    const closing = pubsub.close().then(() => (closed = true));
    await settled();
    expect(closed).toBe(false);
    transport.publishing.resolve();
    await closing;
    await inFlight;
  });

  test.each([false, true])("waits no longer than closeTimeout for them (echo: %j)", async (echo) => {
    const transport = new HandTransport({ echo });
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport), closeTimeout: 1 });
    await pubsub.publish("a", "", 0);
    transport.publishing = deferred();
    const inFlight = pubsub.publish("a", "", 1);
    const outcome = expect(inFlight).rejects.toMatchObject({
      code: "CLOSED",
      message: expect.stringContaining("may have been delivered") as string,
    });
    await pubsub.close();
    await outcome;
  });

  test("answers a subscribe that is not live yet, and an iterator that waits for it", async () => {
    const transport = new HandTransport();
    transport.opening = deferred();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const pending = pubsub.subscribe("a");
    const listening = pubsub.on("a", () => {});
    const next = pubsub.subscribe("a")[Symbol.asyncIterator]().next();
    const outcomes = Promise.all([
      expect(pending).rejects.toMatchObject({ code: "CLOSED" }),
      expect(listening).rejects.toMatchObject({ code: "CLOSED" }),
    ]);
    await pubsub.close();
    await outcomes;
    expect(await next).toEqual({ value: undefined, done: true });
  });
});

describe("the signal of a PubSub", () => {
  const reason = new Error("enough");

  test("ends everything at once: buffers are discarded, nothing is taken any more", async () => {
    const abort = new AbortController();
    const pubsub = createPubSub({ signal: abort.signal });
    const seen: [Status, unknown][] = [];
    pubsub.onStatus((...told) => seen.push(told));
    const events = await pubsub.subscribe("a");
    const parked = (await pubsub.subscribe("b")).next();
    let calls = 0;
    await pubsub.on("a", () => calls++);
    await pubsub.publish("a", "", 1);
    abort.abort(reason);
    expect(pubsub.status).toBe("closed");
    expect(seen).toEqual([["closed", reason]]);
    expect(await parked).toEqual({ value: undefined, done: true });
    expect(await events.next()).toEqual({ value: undefined, done: true });
    await expect(pubsub.publish("a", "", 2)).rejects.toMatchObject({ code: "CLOSED" });
    expect(calls).toBe(1);
    await pubsub.close();
    expect(seen).toHaveLength(1);
  });

  test("that is aborted already makes a PubSub that is closed", async () => {
    const pubsub = createPubSub({ signal: AbortSignal.abort(reason) });
    expect(pubsub.status).toBe("closed");
    await expect(pubsub.subscribe("a")).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("rejects a subscribe that is not live yet with its reason", async () => {
    const transport = new HandTransport();
    transport.opening = deferred();
    const abort = new AbortController();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport), signal: abort.signal });
    const pending = pubsub.subscribe("a");
    abort.abort(reason);
    await expect(pending).rejects.toBe(reason);
  });

  test("is let go of once the PubSub is closed", async () => {
    const { signal } = new AbortController();
    const counted = countListeners(signal);
    const pubsub = createPubSub({ signal });
    expect(counted()).toBe(1);
    await pubsub.close();
    expect(counted()).toBe(0);
  });

  test("aborted while it closes ends the wait", async () => {
    const transport = new HandTransport();
    const abort = new AbortController();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport), signal: abort.signal });
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", 0);
    transport.publishing = deferred();
    const outcome = expect(pubsub.publish("a", "", 1)).rejects.toMatchObject({ code: "CLOSED" });
    const closing = pubsub.close();
    abort.abort(reason);
    await outcome;
    await closing;
    expect(await events.next()).toEqual({ value: undefined, done: true });
  });
});
