// How a Subscription is read, and every way in which it ends.
import { MessageChannel } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub, Subscription } from "@alkdev/pubsub";
import { createMessagePortEventTarget, messagePortChannel } from "@alkdev/pubsub/event-target-message-port";
import { connectLink, defineEventTarget } from "@alkdev/pubsub/transport";
import { HandTransport, settled } from "./pubsub-support.ts";

const DONE = { value: undefined, done: true };

async function publish(pubsub: PubSub, ...payloads: unknown[]): Promise<void> {
  for (const payload of payloads) await pubsub.publish("a", "", payload);
}

async function drain(events: AsyncIterable<EventEnvelope>): Promise<unknown[]> {
  const seen: unknown[] = [];
  for await (const { payload } of events) seen.push(payload);
  return seen;
}

describe("reading", () => {
  test("several parked next() calls are answered in their order", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    const order: unknown[] = [];
    const parked = Array.from({ length: 5 }, async (_, i) => order.push([i, (await events.next()).value?.payload]));
    await publish(pubsub, 0, 1, 2);
    parked.push(events.next().then(({ value }) => order.push([5, value?.payload])));
    await publish(pubsub, 3, 4, 5, 6);
    await Promise.all(parked);
    expect(order).toEqual([0, 1, 2, 3, 4, 5].map((n) => [n, n]));
    expect((await events.next()).value?.payload).toBe(6);
  });

  test("the iterator of a subscription is itself: two loops share its events", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1, 2, 3);
    expect((await events.next()).value?.payload).toBe(1);
    expect((await events[Symbol.asyncIterator]().next()).value?.payload).toBe(2);
  });

  test("an event that is delivered to a parked next() is not buffered", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a", { buffer: { limit: 1 } });
    for (let i = 0; i < 100; i++) {
      const next = events.next();
      await publish(pubsub, i);
      expect((await next).value?.payload).toBe(i);
    }
    expect([events.received, events.dropped]).toEqual([100, 0]);
  });

  test("received counts what came before the end, and nothing after it", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1, 2);
    await events.return();
    await publish(pubsub, 3);
    expect(events.received).toBe(2);
  });
});

describe("batches()", () => {
  test("gives whatever has arrived, and waits for the first", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    const batches = events.batches();
    await publish(pubsub, 1, 2, 3);
    expect((await batches.next()).value?.map((event) => event.payload)).toEqual([1, 2, 3]);
    const waiting = batches.next();
    void pubsub.publish("a", "", 4);
    void pubsub.publish("a", "", 5);
    expect((await waiting).value?.map((event) => event.payload)).toEqual([4, 5]);
  });

  test("are never empty, however many wait", async () => {
    const pubsub = createPubSub();
    const batches = (await pubsub.subscribe("a")).batches();
    const waiting = [batches.next(), batches.next(), batches.next()];
    void pubsub.publish("a", "", 1);
    await settled();
    void pubsub.publish("a", "", 2);
    await settled();
    void pubsub.publish("a", "", 3);
    const sizes = (await Promise.all(waiting)).map((result) => result.value?.length);
    expect(sizes).toEqual([1, 1, 1]);
  });

  test("share the order with next()", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1, 2, 3);
    await events.next();
    expect((await events.batches().next()).value?.map((event) => event.payload)).toEqual([2, 3]);
    await publish(pubsub, 4);
    expect((await events.next()).value?.payload).toBe(4);
  });

  test("hold all of a buffer that wrapped around", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    const expected: number[] = [];
    for (let i = 0; i < 100; i++) {
      await publish(pubsub, i);
      if (i % 3 === 0) expect((await events.next()).value?.payload).toBe(expected.shift() ?? i);
      if (i % 3 !== 0 || expected.length > 0) expected.push(i);
    }
    expect((await events.batches().next()).value?.map((event) => event.payload)).toEqual(expected);
  });

  test("end where the subscription ends: break, dispose, close and abort", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1);
    for await (const batch of events.batches()) {
      expect(batch).toHaveLength(1);
      break;
    }
    expect(await events.next()).toEqual(DONE);

    const disposed = await pubsub.subscribe("a");
    const waiting = disposed.batches().next();
    await disposed[Symbol.asyncDispose]();
    expect(await waiting).toEqual(DONE);

    const abort = new AbortController();
    const aborted = (await pubsub.subscribe("a", { signal: abort.signal })).batches().next();
    abort.abort();
    expect(await aborted).toEqual(DONE);

    const closed = await pubsub.subscribe("a");
    const parked = (await pubsub.subscribe("b")).batches().next();
    await publish(pubsub, 1, 2);
    await pubsub.close();
    const sizes: number[] = [];
    for await (const batch of closed.batches()) sizes.push(batch.length);
    expect(sizes).toEqual([2]);
    expect(await parked).toEqual(DONE);
  });
});

/** Each ends the subscription from the consumer's side. */
const endings: Record<string, (events: Subscription, abort: AbortController) => unknown> = {
  "return()": (events) => events.return(),
  disposing: (events) => events[Symbol.asyncDispose](),
  "an abort": (_, abort) => abort.abort(),
  "return() of its batches": (events) => events.batches().return?.(),
};

describe.each(Object.entries(endings))("%s", (_, end) => {
  const start = async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const abort = new AbortController();
    const events = await pubsub.subscribe("a", { signal: abort.signal });
    return { transport, pubsub, abort, events };
  };

  test("discards what is buffered and unsubscribes", async () => {
    const { transport, pubsub, abort, events } = await start();
    await publish(pubsub, 1, 2, 3);
    await end(events, abort);
    expect(await events.next()).toEqual(DONE);
    expect(await events.batches().next()).toEqual(DONE);
    await publish(pubsub, 4);
    expect(events.received).toBe(3);
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });

  test("answers every parked next() at once", async () => {
    const { abort, events } = await start();
    const parked = [events.next(), events.next(), events.next()];
    await end(events, abort);
    expect(await Promise.all(parked)).toEqual([DONE, DONE, DONE]);
  });

  test("may come twice, and after the end", async () => {
    const { abort, events, transport } = await start();
    await end(events, abort);
    await end(events, abort);
    expect(await events.return()).toEqual(DONE);
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });

  test("ends a loop that waits", async () => {
    const { pubsub, abort, events } = await start();
    await publish(pubsub, 1);
    const loop = drain(events);
    await settled();
    await end(events, abort);
    expect(await loop).toEqual([1]);
  });

  test("comes before an error that was to be thrown", async () => {
    const { pubsub, transport, abort, events } = await start();
    await publish(pubsub, 1);
    transport.receiver.ended(new Error("gone"));
    await end(events, abort);
    expect(await events.next()).toEqual(DONE);
  });

  test("ends a drain that a close began", async () => {
    const { pubsub, abort, events } = await start();
    await publish(pubsub, 1, 2);
    await pubsub.close();
    expect((await events.next()).value?.payload).toBe(1);
    await end(events, abort);
    expect(await events.next()).toEqual(DONE);
  });
});

describe("a loop over a subscription", () => {
  test.each(["break", "throw", "return"])("that is left by %s unsubscribes", async (how) => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1, 2);
    const loop = async () => {
      for await (const _ of events) {
        if (how === "break") break;
        if (how === "throw") throw new Error("out");
        return;
      }
    };
    await loop().catch(() => undefined);
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
    expect(await events.next()).toEqual(DONE);
  });

  test("that `await using` holds unsubscribes at the end of its block", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    {
      // oxlint-disable-next-line typescript/await-thenable -- the linter knows no disposables
      await using events = await pubsub.subscribe("a");
      expect(events.received).toBe(0);
    }
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });

  test("unsubscribes at the far end with the last reader, not before", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const [one, two] = [await pubsub.subscribe("a"), await pubsub.subscribe("a")];
    expect(transport.subscribed).toHaveLength(1);
    await one.return();
    await settled();
    expect(transport.unsubscribed).toHaveLength(0);
    await two.return();
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });
});

describe("an overflow", () => {
  test("drains what was buffered, throws OVERFLOW once, and is then done", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport), buffer: { limit: 3 } });
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1, 2, 3, 4, 5);
    for (const payload of [1, 2, 3]) expect((await events.next()).value?.payload).toBe(payload);
    const error: unknown = await events.next().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(PubSubError);
    expect(error).toMatchObject({
      code: "OVERFLOW",
      message: expect.stringMatching(/3 events.*buffer\.limit/) as string,
    });
    expect(await events.next()).toEqual(DONE);
    expect(await events.batches().next()).toEqual(DONE);
    expect([events.received, events.dropped, events.gaps]).toEqual([4, 1, 0]);
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });

  test("reads as one last batch, then the error", async () => {
    const pubsub = createPubSub({ buffer: { limit: 3 } });
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1, 2, 3, 4);
    const batches = events.batches();
    expect((await batches.next()).value?.length).toBe(3);
    await expect(batches.next()).rejects.toMatchObject({ code: "OVERFLOW" });
    expect(await batches.next()).toEqual(DONE);
  });

  test("stops no other subscription and no publish", async () => {
    const pubsub = createPubSub();
    const small = await pubsub.subscribe("a", { buffer: { limit: 1 } });
    const large = await pubsub.subscribe("a");
    await publish(pubsub, 1, 2, 3);
    expect(large.received).toBe(3);
    expect(small.dropped).toBe(1);
  });

  test("comes at 16,385 unread events where nothing else was said", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    for (let i = 0; i < 16_384; i++) void pubsub.publish("a", "", i);
    expect(events.dropped).toBe(0);
    void pubsub.publish("a", "", "one more");
    expect(events.dropped).toBe(1);
    expect((await events.batches().next()).value?.length).toBe(16_384);
    await expect(events.next()).rejects.toMatchObject({ code: "OVERFLOW" });
  });

  test("takes the limit of the PubSub where the subscription gives only a policy, and the reverse", async () => {
    const pubsub = createPubSub({ buffer: { limit: 2, overflow: "drop-newest" }, onGap: "ignore" });
    const policy = await pubsub.subscribe("a", { buffer: { overflow: "drop-oldest" } });
    const limit = await pubsub.subscribe("a", { buffer: { limit: 1 } });
    await publish(pubsub, 1, 2, 3);
    await pubsub.close();
    expect(await drain(policy)).toEqual([2, 3]);
    expect(await drain(limit)).toEqual([1]);
  });
});

describe("a transport that ended from outside", () => {
  test("drains, then throws DISCONNECTED with its cause, never done; then done", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const events = await pubsub.subscribe("a");
    const parked = (await pubsub.subscribe("b")).next();
    const parkedBatch = (await pubsub.subscribe("c")).batches().next();
    await publish(pubsub, 1, 2);
    const cause = new Error("gone");
    transport.receiver.ended(cause);
    await expect(parked).rejects.toMatchObject({ code: "DISCONNECTED", cause });
    await expect(parkedBatch).rejects.toMatchObject({ code: "DISCONNECTED", cause });
    expect((await events.next()).value?.payload).toBe(1);
    expect((await events.next()).value?.payload).toBe(2);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED", cause });
    expect(await events.next()).toEqual(DONE);
    await expect(pubsub.publish("a", "", 3)).rejects.toMatchObject({ code: "DISCONNECTED" });
    await expect(pubsub.subscribe("a")).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  test("gives the error to the first of several parked next() calls, and done to the rest", async () => {
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    const events = await pubsub.subscribe("a");
    const parked = Promise.allSettled([events.next(), events.next(), events.next()]);
    transport.receiver.ended("gone");
    expect((await parked).map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled"]);
  });

  test("tells listeners by onError, each once", async () => {
    const errors: unknown[] = [];
    const transport = new HandTransport();
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport), onError: (error) => errors.push(error) });
    await pubsub.on("a", () => {});
    await pubsub.on("b", () => {});
    transport.receiver.ended("gone");
    expect(errors).toMatchObject([{ code: "DISCONNECTED" }, { code: "DISCONNECTED" }]);
  });
});

test("a far end that takes a subscription away lets it drain, then throws its error", async () => {
  const transport = new HandTransport();
  const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
  const events = await pubsub.subscribe("a");
  await publish(pubsub, 1);
  const refused = new PubSubError("REFUSED", "Not any more.");
  transport.receiver.revoked(transport.subscribed.at(0)!, refused);
  expect((await events.next()).value?.payload).toBe(1);
  await expect(events.next()).rejects.toBe(refused);
  expect(await events.next()).toEqual(DONE);
});

test("an iterator that is left before its subscription is live answers those who wait for it", async () => {
  const transport = new HandTransport();
  transport.open = () => new Promise(() => {});
  const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
  const pending = pubsub.subscribe("a");
  const iterator = pending[Symbol.asyncIterator]();
  const next = iterator.next();
  await iterator.return();
  expect(await next).toEqual(DONE);
  expect(await pending).toBe(iterator);
});

test("a channel that comes once a link is closed is closed too, and its far end is not welcomed", async () => {
  const link = connectLink();
  const eventTarget = defineEventTarget(link);
  const pubsub = createPubSub({ eventTarget });
  const subscribed = pubsub.subscribe("a");
  await pubsub.close();
  await expect(subscribed).rejects.toMatchObject({ code: "CLOSED" });
  await eventTarget.close();
  const { port1, port2 } = new MessageChannel();
  const far = createPubSub({ eventTarget: createMessagePortEventTarget(port2, { connectTimeout: 300 }) });
  link.attach(messagePortChannel(port1));
  await expect(far.subscribe("a")).rejects.toMatchObject({ code: "NOT_READY" });
  port1.close();
});
