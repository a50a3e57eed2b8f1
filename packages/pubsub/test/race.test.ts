import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import { afterEach, describe, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { race } from "./fixtures/race.ts";
import type { Publish } from "./fixtures/race.ts";
import { startChild } from "./fixtures/stdio.ts";
import { over, startSockets } from "./fixtures/websocket.ts";
import { startWorker } from "./fixtures/worker.ts";

const COLD = 200;
/** Milliseconds that the subscriber's path is slower. The signal to publish does not take it. */
const DELAY = 1;

const opened = new Opened();
afterEach(() => opened.end());

describe.each([
  ["a worker thread", "threads", startWorker],
  ["a child process", "processes", startChild],
] as const)("publishing from %s in the instant after subscribe", (_, many, start) => {
  async function open(delay: number): Promise<{ near: PubSub; publish: Publish }> {
    const ends = start(delay);
    opened.add(() => ends.end());
    const { target, far } = ends;
    const near = createPubSub({ eventTarget: target });
    // It is up: rounds are about subscriptions, not about starting.
    await near.subscribe("race.begin");
    return { near, publish: (type, number) => far.publish(type, `${number}`, number) };
  }

  test("loses none of 10,000 events once subscribe has resolved", async () => {
    const { near, publish } = await open(0);
    expect(await race(near, publish, true)).toBe(0);
  });

  test("loses none of 10,000 events on a path that is a millisecond slower", async () => {
    const { near, publish } = await open(DELAY);
    expect(await race(near, publish, true)).toBe(0);
  });

  test("loses events there when subscribe is not awaited (the control)", async () => {
    const { near, publish } = await open(DELAY);
    expect(await race(near, publish, false)).toBeGreaterThan(0);
  });

  test(`loses none when each of 20 ${many} is still starting`, async () => {
    for (let i = 0; i < 20; i++) {
      const ends = start(DELAY);
      opened.add(() => ends.end());
      const { target, far } = ends;
      const events = await createPubSub({ eventTarget: target }).subscribe("race.cold", "0");
      await far.publish("race.cold", "0", 0);
      expect((await events.next()).value?.payload).toBe(0);
      await opened.end();
    }
  });
});

describe("publishing from the other end of a WebSocket in the instant after subscribe", () => {
  async function open(delay: number): Promise<{ near: PubSub; publish: Publish }> {
    const sockets = await startSockets(delay);
    opened.add(() => sockets.end());
    const target = over(sockets.connect());
    const near = createPubSub({ eventTarget: target });
    const { value: socket } = await sockets.accepted.next();
    const farTarget = over(socket!);
    const far = createPubSub({ eventTarget: farTarget });
    opened.add(() => Promise.all([target.close(), farTarget.close()]));
    await near.subscribe("race.begin");
    return { near, publish: (type, number) => far.publish(type, `${number}`, number) };
  }

  test("loses none of 10,000 events once subscribe has resolved", async () => {
    const { near, publish } = await open(0);
    expect(await race(near, publish, true)).toBe(0);
  });

  test("loses none of 10,000 events on a path that is a millisecond slower", async () => {
    const { near, publish } = await open(DELAY);
    expect(await race(near, publish, true)).toBe(0);
  });

  test("loses events there when subscribe is not awaited (the control)", async () => {
    const { near, publish } = await open(DELAY);
    expect(await race(near, publish, false)).toBeGreaterThan(0);
  });

  /** One connection a round, subscribed to while it is still opening. @returns how many events were lost */
  async function cold(awaited: boolean): Promise<number> {
    const lost = await Promise.all(
      Array.from({ length: COLD / 20 }, async () => {
        const sockets = await startSockets(DELAY);
        opened.add(() => sockets.end());
        let lost = 0;
        for (let i = 0; i < 20; i++) {
          const target = over(sockets.connect());
          const pending = createPubSub({ eventTarget: target }).subscribe("race.cold", "");
          // The server's side exists as soon as the connection is accepted; the subscription is still on its way.
          const { value: socket } = await sockets.accepted.next();
          const farTarget = over(socket!);
          const far = createPubSub({ eventTarget: farTarget });
          if (awaited) await pending;
          await far.publish("race.cold", "", "first");
          const events = await pending;
          await far.publish("race.cold", "", "second");
          if ((await events.next()).value?.payload === "second") lost++;
          await Promise.all([target.close(), farTarget.close()]);
        }
        return lost;
      }),
    );
    return lost.reduce((sum, each) => sum + each, 0);
  }

  test("loses none on 200 connections that are still opening", async () => {
    expect(await cold(true)).toBe(0);
  });

  test("loses events on connections that are still opening when subscribe is not awaited (the control)", async () => {
    expect(await cold(false)).toBeGreaterThan(0);
  });
});
