import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { Filter } from "@alkdev/pubsub";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import type { Receiver } from "@alkdev/pubsub/transport";
import { expect, test } from "vitest";

test("a subscription made in the very tick in which the last one of its topic is gone becomes live", async () => {
  for (let ticks = 0; ticks < 20; ticks++) {
    const target = defineEventTarget(createMemoryTransport(createMemoryBroker()));
    const pubsub = createPubSub({ eventTarget: target });
    const stop = await pubsub.on("a.b", () => undefined);
    stop();
    for (let i = 0; i < ticks; i++) await Promise.resolve();
    await pubsub.subscribe("a.b");
    await target.close();
  }
});

test("a signal that is aborted while a subscription drains discards the rest", async () => {
  const pubsub = createPubSub();
  const abort = new AbortController();
  const events = await pubsub.subscribe("a.b", { signal: abort.signal });
  for (let i = 0; i < 3; i++) await pubsub.publish("a.b", "", i);
  await pubsub.close();
  expect((await events.next()).value?.payload).toBe(0);
  abort.abort();
  expect(await events.next()).toEqual({ value: undefined, done: true });
});

test("a cut in the very tick in which the connection opened is noticed", async () => {
  for (let ticks = 0; ticks < 20; ticks++) {
    const transport = createMemoryTransport(createMemoryBroker());
    const target = defineEventTarget(transport, { onError: () => undefined });
    const pubsub = createPubSub({ eventTarget: target });
    const first = pubsub.publish("a.b", "", 1).catch((error: unknown) => error);
    for (let i = 0; i < ticks; i++) await Promise.resolve();
    transport.cut();
    transport.reconnect();
    await first;
    await pubsub.publish("a.b", "", 2).catch(() => undefined);
    const events = await pubsub.subscribe("a.b");
    await pubsub.publish("a.b", "", 3);
    expect((await events.next()).value?.payload).toBe(3);
    await target.close();
  }
});

test("members of a group on one event target are served in turn, as those on different ones are", async () => {
  const broker = createMemoryBroker();
  const supports = { groups: true, echo: true, overlap: "per-filter" } as const;
  const pubsubs = [0, 1].map(() =>
    createPubSub({ eventTarget: defineEventTarget(createMemoryTransport(broker, { supports })) }),
  );
  const [first, second] = pubsubs as [(typeof pubsubs)[0], (typeof pubsubs)[0]];
  const seen: unknown[][] = [[], [], []];
  for (const [i, pubsub] of [first, first, second].entries())
    await pubsub.on("a.b", ({ payload }) => void seen[i]?.push(payload), { group: "workers" });
  for (let i = 0; i < 8; i++) await second.publish("a.b", "", i);
  const control = await first.subscribe("a.b");
  await second.publish("a.b", "", 8);
  await control.next();
  expect(seen.flat()).toHaveLength(9);
  expect(new Set(seen.flat())).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8]));
  expect(Math.min(...seen.map(({ length }) => length))).toBe(2);
});

test("a filter that was being unsubscribed when the link was cut is asked for again, also where the rest was kept", async () => {
  for (let ticks = 0; ticks < 20; ticks++) {
    const broker = createMemoryBroker();
    const transport = createMemoryTransport(broker);
    const target = defineEventTarget(transport);
    const pubsub = createPubSub({ eventTarget: target });
    const far = createPubSub({ eventTarget: defineEventTarget(createMemoryTransport(broker)) });
    const stop = await pubsub.on("a.b", () => undefined);
    stop();
    const again = pubsub.subscribe("a.b", { onGap: "ignore" });
    for (let i = 0; i < ticks; i++) await Promise.resolve();
    transport.cut();
    transport.reconnect({ kept: true });
    const events = await again;
    // A task later every microtask of the memory broker has run.
    await new Promise(setImmediate);
    await far.publish("a.b", "", ticks);
    expect(broker.filters).toBe(1);
    expect((await events.next()).value?.payload).toBe(ticks);
    await target.close();
  }
});

test("a filter that is acknowledged and taken away in one tick is live for nobody, also not for who comes meanwhile", async () => {
  for (let ticks = 0; ticks < 10; ticks++) {
    let receiver: Receiver | undefined;
    let first = true;
    const far = new Set<Filter>();
    const { supports } = createMemoryTransport(createMemoryBroker());
    const target = defineEventTarget({
      supports,
      open: (given) => void (receiver = given),
      async subscribe(filter) {
        far.add(filter);
        if (!first) return;
        first = false;
        queueMicrotask(() => {
          far.delete(filter);
          receiver?.revoked(filter, new PubSubError("REFUSED", "Taken away."));
        });
      },
      unsubscribe: (filter) => void far.delete(filter),
      publish: () => undefined,
      close: () => undefined,
    });
    const pubsub = createPubSub({ eventTarget: target });
    await pubsub.publish("a.b", "", 0);
    const refused = pubsub.subscribe("a.b").catch(() => undefined);
    for (let i = 0; i < ticks; i++) await Promise.resolve();
    const joined = await pubsub.subscribe("a.b").catch(() => undefined);
    let ended = joined === undefined;
    joined?.next().catch(() => (ended = true));
    // A task later every microtask has run.
    await new Promise(setImmediate);
    expect(ended || far.size === 1).toBe(true);
    await refused;
    await target.close();
  }
});
