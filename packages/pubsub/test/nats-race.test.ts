// What is published in the instant after subscribe, from another connection: on every path on which it could be lost.
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { connectNats, openNats, startNats } from "./fixtures/nats.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { race } from "./fixtures/race.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startNats()));
afterAll(() => server.end());

const open = async (port: number): Promise<PubSub> =>
  createPubSub({ eventTarget: (await openNats(opened, port)).target });

async function slowed(milliseconds: number): Promise<number> {
  const proxy = await startProxy(server.port, { toServer: milliseconds, toClient: milliseconds });
  opened.add(() => proxy.close());
  return proxy.port;
}

async function lostOf(near: PubSub, awaited: boolean, rounds: number): Promise<number> {
  const far = await open(server.port);
  return race(near, (type, number) => far.publish(type, String(number), number), awaited, rounds);
}

test("a thousand events, each at once after its subscribe: none is lost", async () => {
  expect(await lostOf(await open(server.port), true, 1000)).toBe(0);
});

test("where the subscriber's path is a millisecond slower: none of a thousand is lost", async () => {
  expect(await lostOf(await open(await slowed(1)), true, 1000)).toBe(0);
});

test("one round after the other: none of a thousand is lost", async () => {
  const [near, far] = [await open(await slowed(1)), await open(server.port)];
  for (let i = 0; i < 1000; i++) {
    const events = await near.subscribe("race", String(i));
    await far.publish("race", String(i), i);
    expect((await events.next()).value?.payload).toBe(i);
    void events.return();
  }
});

test("where the subscriber's connection is still opening: none of two hundred is lost", async () => {
  const far = await open(server.port);
  const port = await slowed(1);
  const rounds = Array.from({ length: 200 }, async (_, i) => {
    const events = await (await open(port)).subscribe("race", String(i));
    await far.publish("race", String(i), i);
    return (await events.next()).value?.payload === i;
  });
  expect((await Promise.all(rounds)).filter((came) => !came)).toHaveLength(0);
});

test("without awaiting subscribe, on the slower path, all are lost (the control)", async () => {
  const near = await open(await slowed(20));
  await near.subscribe("warm");
  expect(await lostOf(near, false, 500)).toBe(500);
});

test("the client's own subscribe loses them too, unless it is flushed (the client's way, a control)", async () => {
  const [near, far] = [await connectNats(await slowed(20)), await connectNats(server.port)];
  opened.add(() => near.close());
  opened.add(() => far.close());
  let came = 0;
  for (let i = 0; i < 20; i++) {
    near.subscribe(`race.${i}`, { callback: () => void came++ });
    far.publish(`race.${i}`);
    await far.flush();
    await near.flush();
  }
  await near.flush();
  expect(came).toBe(0);
});
