// What is published in the instant after subscribe, from another connection: on every path on which it could be lost.
import { createPubSub as createYogaPubSub } from "@graphql-yoga/subscription";
import { createRedisEventTarget as createYogaTarget } from "@graphql-yoga/redis-event-target";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub, Subscription } from "@alkdev/pubsub";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { CLIENTS, openRedis } from "./fixtures/redis.ts";
import { startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startServer("redis")));
afterAll(() => server.end());

type Pair = { readonly near: PubSub; readonly far: PubSub };
/** Subscribes to a topic and publishes "first" to it; gives the subscription. */
type Round = (pair: Pair, topic: string) => Promise<Subscription>;

const subscribeThen =
  (pause?: () => Promise<unknown>): Round =>
  async ({ near, far }, topic) => {
    const events = await near.subscribe("race", topic);
    await pause?.();
    await far.publish("race", topic, "first");
    return events;
  };

const atOnce = subscribeThen();

/** How many of the rounds lost their first event: then the second one, to a subscription that is live, comes first. */
async function lostOf(pair: Pair, count: number, round: Round, window: number): Promise<number> {
  let lost = 0;
  for (let from = 0; from < count; from += window) {
    const rounds = Array.from({ length: window }, async (_, i) => {
      const topic = String(from + i);
      const events = await round(pair, topic);
      await pair.far.publish("race", topic, "second");
      const { value } = await events.next();
      await events.return();
      return value?.payload === "first";
    });
    lost += (await Promise.all(rounds)).filter((came) => !came).length;
  }
  return lost;
}

describe.each(Object.keys(CLIENTS))("with %s", (client) => {
  const over = (port: number): PubSub => createPubSub({ eventTarget: openRedis(opened, client, port) });
  const pairAt = (near: number): Pair => ({ near: over(near), far: over(server.port) });

  test("a thousand events, each at once after its subscribe, one round after the other: none is lost", async () => {
    expect(await lostOf(pairAt(server.port), 1000, atOnce, 1)).toBe(0);
  });

  test("after a turn of the event loop, or a millisecond: none is lost", async () => {
    const turn = subscribeThen(() => new Promise((resolve) => setImmediate(resolve)));
    const later = subscribeThen(() => new Promise((resolve) => setTimeout(resolve, 1)));
    expect(await lostOf(pairAt(server.port), 1000, turn, 50)).toBe(0);
    expect(await lostOf(pairAt(server.port), 1000, later, 50)).toBe(0);
  });

  test("a thousand subscribes in one tick, then a thousand publishes at once: none is lost", async () => {
    const pair = pairAt(server.port);
    expect(await lostOf(pair, 1000, atOnce, 1000)).toBe(0);
    const all = await Promise.all(Array.from({ length: 1000 }, (_, i) => pair.near.subscribe("tick", String(i))));
    await Promise.all(all.map((_, i) => pair.far.publish("tick", String(i), i)));
    for (const [i, events] of all.entries()) expect((await events.next()).value?.payload).toBe(i);
  });

  test("where the subscriber's path is a millisecond slower: none of a thousand is lost", async () => {
    const slow = await startProxy(server.port, { toServer: 1, toClient: 1 });
    opened.add(() => slow.close());
    expect(await lostOf(pairAt(slow.port), 1000, atOnce, 50)).toBe(0);
  });

  test("where the subscriber's connection is still opening: none of two hundred is lost", async () => {
    const far = over(server.port);
    const cold: Round = async (_, topic) => {
      const events = await over(server.port).subscribe("race", topic);
      await far.publish("race", topic, "first");
      return events;
    };
    expect(await lostOf({ near: far, far }, 200, cold, 20)).toBe(0);
  });

  test("what is read only after the publish was there already: none of a thousand is lost", async () => {
    const { near, far } = pairAt(server.port);
    const all = await Promise.all(Array.from({ length: 1000 }, (_, i) => near.subscribe("lazy", String(i))));
    await Promise.all(all.map((_, i) => far.publish("lazy", String(i), i)));
    // It has come the same way, after all of these.
    const last = await near.subscribe("lazy", "last");
    await far.publish("lazy", "last", null);
    await last.next();
    for (const [i, events] of all.entries()) expect((await events.next()).value?.payload).toBe(i);
  });

  test("without awaiting subscribe, on the slower path, some are lost (the control)", async () => {
    const slow = await startProxy(server.port, { toServer: 20, toClient: 20 });
    opened.add(() => slow.close());
    const hasty: Round = async ({ near, far }, topic) => {
      const pending = near.subscribe("race", topic);
      await far.publish("race", topic, "first");
      return pending;
    };
    const pair = pairAt(slow.port);
    await pair.near.subscribe("warm");
    expect(await lostOf(pair, 100, hasty, 50)).toBeGreaterThan(0);
  });
});

test("Yoga's own target loses what is published at once on a slower path (the peer's way, a control)", async () => {
  const slow = await startProxy(server.port, { toServer: 20, toClient: 20 });
  opened.add(() => slow.close());
  const connect = (port: number): Redis => {
    const client = new Redis({ port, host: "127.0.0.1" });
    opened.add(() => client.disconnect());
    return client;
  };
  const [publishClient, subscribeClient, other] = [connect(server.port), connect(slow.port), connect(server.port)];
  const pubsub = createYogaPubSub({ eventTarget: createYogaTarget({ publishClient, subscribeClient }) });
  await subscribeClient.ping();
  let lost = 0;
  for (let i = 0; i < 20; i++) {
    const events = pubsub.subscribe(`race:${i}`);
    const next = events.next();
    await other.publish(`race:${i}`, '"first"');
    // Sent behind its SUBSCRIBE, answered after it.
    await subscribeClient.ping();
    await other.publish(`race:${i}`, '"second"');
    if ((await next).value === "second") lost++;
    await events.return();
  }
  // It awaits no answer to what it asks for, so that there has to be one before the end.
  await subscribeClient.ping();
  expect(lost).toBe(20);
});
