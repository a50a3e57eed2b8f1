// What comes and goes leaves nothing behind.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createHub } from "@alkdev/hub";
import type { Hub } from "@alkdev/hub";
import { workerChannel } from "@alkdev/pubsub/event-target-worker";
import { MessageChannel } from "node:worker_threads";
import { expect, onTestFinished, test } from "vitest";
import { openClient, openHub, over, until } from "./fixtures/open.ts";
import { dial, envelope } from "./fixtures/peer.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

/** What a hub holds inside. */
function held(hub: Hub): { filters: number; links: number } {
  const { filters, links } = hub.status();
  return { filters, links: links.length };
}

/** Bytes in use once all that can be collected is. */
async function heapUsed(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

/** Timers, sockets and ports that keep a process alive. */
const active = (): number => process.getActiveResourcesInfo().length;

test("100,000 subscriptions that come and go leave no filter, and memory as it was", { timeout: 120_000 }, async () => {
  const { url, hub } = await openHub();
  const client = openClient(url);
  const types = ["cycle.exact", "cycle.*", "cycle.**"];
  const rounds = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += 500) {
      const subscriptions = await Promise.all(
        Array.from({ length: 500 }, (_, i) => client.subscribe(types[(n + i) % 3] ?? "", String(n + i))),
      );
      for (const events of subscriptions) void events.return();
    }
    // The far end has read all that was sent before.
    await client.publish("cycle.end", "", null);
  };
  await rounds(5000);
  const before = await heapUsed();
  const handles = active();
  await rounds(100_000);
  expect(held(hub)).toEqual({ filters: 0, links: 1 });
  expect(hub.status().subscriptions).toBe(0);
  expect(active()).toBeLessThanOrEqual(handles + 2);
  expect(((await heapUsed()) - before) / 1e6).toBeLessThan(5);
});

test(
  "2,000 connections that come and go, politely or not, leave no link, filter, timer or listener",
  { timeout: 120_000 },
  async () => {
    const { url, hub } = await openHub();
    const cycle = async (n: number): Promise<void> => {
      const peer = dial(url);
      await peer.shakeHands();
      peer.send(
        envelope("$subscribe", { ref: 1, type: "cycle.*" }),
        envelope("$subscribe", { ref: 2, type: "cycle.a", id: "1" }),
      );
      await peer.next("$subscribed", ({ ref }) => (ref as unknown) === 2);
      if (n % 3 === 0) peer.socket.terminate();
      else if (n % 3 === 1) peer.socket.close();
      else peer.send(envelope("$bye", { code: "CLOSED" }));
      await peer.closed;
    };
    const cycles = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => cycle(n + i)));
      await until(() => hub.status().links.length === 0);
    };
    await cycles(200);
    await until(() => !process.getActiveResourcesInfo().includes("TCPSocketWrap"));
    const handles = active();
    await cycles(2000);
    expect(held(hub)).toEqual({ filters: 0, links: 0 });
    await until(() => active() <= handles);
  },
);

test("clients that connect, subscribe and close leave a process without handles and a heap as it was", async () => {
  const { url, hub } = await openHub();
  const cycles = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += 20)
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const client = openClient(url);
          const events = await client.subscribe("cycle.*");
          await client.publish("cycle.a", "", null);
          await events.next();
          await client.target.close();
        }),
      );
    await until(() => hub.status().links.length === 0);
  };
  await cycles(100);
  const handles = active();
  await cycles(300);
  expect(held(hub)).toEqual({ filters: 0, links: 0 });
  await until(() => active() <= handles);
});

test("links over ports that come and go leave nothing in the hub", async () => {
  const hub = createHub();
  onTestFinished(() => hub.close());
  const own = over(hub.eventTarget);
  for (let n = 0; n < 500; n++) {
    const { port1, port2 } = new MessageChannel();
    const link = hub.connect(workerChannel(port1));
    port2.postMessage([envelope("$subscribe", { ref: 1, type: "a.*" }), envelope("a.b", n)]);
    if (n % 2 === 0) {
      await until(() => hub.status().links[0]?.received === 1);
      link.close("CLOSED");
      port2.close();
    } else port2.close();
    await link.closed;
  }
  expect(held(hub)).toEqual({ filters: 0, links: 0 });
  await own.publish("a.b", "", null);
  expect(hub.status()).toMatchObject({ sent: 500, subscriptions: 0 });
});
