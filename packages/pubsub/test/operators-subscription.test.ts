// Operators on what `subscribe` gives.
import { describe, expect, test } from "vitest";
import { batch, filter, flat, groupBy, map, merge, pipe, take, toArray } from "../src/operators/index.ts";
import type { Group } from "../src/operators/index.ts";
import { poll } from "../src/poll.ts";
import { createPubSub } from "../src/pubsub.ts";
import { DONE, item, TestClock } from "./operators-sources.ts";

type Events = { count: number };

describe("a pipe on a subscription", () => {
  test("reads the promise of one, polls what is buffered, and unsubscribes when it has enough", async () => {
    const pubsub = createPubSub<Events>();
    const subscribing = pubsub.subscribe("count", "a");
    const subscription = await subscribing;
    const pipeline = pipe(
      subscribing,
      filter(({ payload }) => payload % 2 === 0),
      map(({ payload }) => payload),
      take(2),
      batch(2),
    );
    for (const n of [1, 2, 3, 4, 5]) await pubsub.publish("count", "a", n);
    expect(pipeline[poll]()).toEqual([2, 4]);
    const { received } = subscription;
    await pubsub.publish("count", "a", 6);
    expect(subscription.received).toBe(received);
    expect(await pipeline.next()).toEqual(DONE);
  });

  test("throws why subscribing failed", async () => {
    const pubsub = createPubSub<Events>();
    await pubsub.close();
    const result = pipe(pubsub.subscribe("count", "a"), take(1), toArray());
    await expect(result).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("gives a batch of what had come before an overflow, then throws it", async () => {
    const pubsub = createPubSub<Events>();
    const subscription = await pubsub.subscribe("count", "a", { buffer: { limit: 2 } });
    for (const n of [1, 2, 3]) await pubsub.publish("count", "a", n);
    const pipeline = pipe(
      subscription,
      map(({ payload }) => payload),
      batch(10),
    );
    expect(await pipeline.next()).toEqual(item([1, 2]));
    await expect(pipeline.next()).rejects.toMatchObject({ code: "OVERFLOW" });
    expect(await pipeline.next()).toEqual(DONE);
  });

  test("is done when the subscription is aborted while it waits, and stops the time of a batch", async () => {
    const pubsub = createPubSub<Events>();
    const clock = new TestClock();
    const controller = new AbortController();
    const subscription = await pubsub.subscribe("count", "a", { signal: controller.signal });
    const pipeline = pipe(
      subscription,
      batch({ count: 3, time: 100, clock }),
      map(({ length }) => length),
    );
    const first = pipeline.next();
    await pubsub.publish("count", "a", 1);
    await pubsub.publish("count", "a", 2);
    await pubsub.publish("count", "a", 3);
    expect(await first).toEqual(item(3));
    const next = pipeline.next();
    controller.abort();
    expect(await next).toEqual(DONE);
    expect(clock.timers).toBe(0);
  });

  test("of two subscriptions merges what they have, and unsubscribes both", async () => {
    const pubsub = createPubSub<Events>();
    const [a, b] = [await pubsub.subscribe("count", "a"), await pubsub.subscribe("count", "b")];
    for (const n of [1, 2]) {
      await pubsub.publish("count", "a", n);
      await pubsub.publish("count", "b", n * 10);
    }
    const first = pipe(
      merge(a, b),
      map(({ payload }) => payload),
      take(3),
      toArray(),
    );
    expect(await first).toEqual([1, 10, 2]);
    await pubsub.publish("count", "b", 30);
    expect([a.received, b.received]).toEqual([2, 2]);
  });

  test("sorts the events of any id by id, and waits for those of one", async () => {
    const pubsub = createPubSub<Events>();
    const groups = pipe(
      pubsub.subscribe("count"),
      groupBy(({ id }) => id),
    );
    const next = groups.next();
    await pubsub.publish("count", "a", 1);
    const [id, group] = (await next).value ?? [];
    expect(id).toBe("a");
    expect((await group?.next())?.value?.payload).toBe(1);
    const second = group?.next();
    for (const n of [2, 3]) await pubsub.publish("count", "b", n);
    await pubsub.publish("count", "a", 4);
    expect((await second)?.value?.payload).toBe(4);
    const [other, others] = (await groups.next()).value ?? [];
    expect(other).toBe("b");
    await pubsub.close();
    expect(
      await pipe(
        others as Group<{ payload: number }>,
        map(({ payload }) => payload),
        toArray(),
      ),
    ).toEqual([2, 3]);
    expect(await groups.next()).toEqual(DONE);
  });

  test("flattens its batches", async () => {
    const pubsub = createPubSub<Events>();
    const subscription = await pubsub.subscribe("count", "a");
    for (const n of [1, 2, 3]) await pubsub.publish("count", "a", n);
    const events = pipe(
      subscription.batches(),
      flat(),
      map(({ payload }) => payload),
    );
    expect([await events.next(), await events.next()]).toEqual([item(1), item(2)]);
    await events.return();
    await pubsub.publish("count", "a", 4);
    expect(subscription.received).toBe(3);
  });
});
