import { createPubSub } from "@alkdev/pubsub";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import { expect, test } from "vitest";

test("a subscription made in the very tick in which the last one of its topic is gone becomes live", async () => {
  for (let ticks = 0; ticks < 20; ticks++) {
    const target = defineEventTarget(createMemoryTransport(createMemoryBroker()));
    const pubsub = createPubSub({ eventTarget: target });
    const stop = await pubsub.on("a.b", () => undefined);
    stop();
    for (let i = 0; i < ticks; i++) await undefined;
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
