// Several routers on one backplane are one registry: requests reach a spoke of any, once, and none hangs.
import type { PubSub } from "@alkdev/pubsub";
import { createMessagePortEventTarget, messagePortChannel } from "@alkdev/pubsub/event-target-message-port";
import { createHub } from "@alkdev/hub";
import type { Hub } from "@alkdev/hub";
import type { Identity, Operations, Router } from "@alkdev/operations";
import { MessageChannel } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { BACKPLANES } from "./fixtures/backplanes.ts";
import type { Way } from "./fixtures/backplanes.ts";
import { aborted, deferred, failure, open, openPubSub, openRouter, until } from "./fixtures/open.ts";

interface Place {
  readonly hub: Hub;
  readonly router: Router;
  readonly way: Way;
  /** A spoke of this hub. */
  spoke(identity?: string): Operations;
  pubsub(identity?: string): PubSub;
}

/** A hub with a router, as one process has it; both on the backplane. */
function openPlace(way: Way, lease?: number): Place {
  const hub = createHub({ backplane: way.target });
  onTestFinished(() => hub.close());
  const router = openRouter({ backplane: openPubSub(way.target), ...(lease !== undefined && { lease }) });
  router.join(hub, { identify: (id) => (id === undefined ? undefined : { id, scopes: [`is-${id}`] }) });
  const pubsub = (identity?: string): PubSub => {
    const { port1, port2 } = new MessageChannel();
    hub.connect(messagePortChannel(port1), identity);
    onTestFinished(() => port2.close());
    return openPubSub(createMessagePortEventTarget(port2));
  };
  return { hub, router, way, pubsub, spoke: (identity) => open(pubsub(identity), { router: true }) };
}

describe.each(Object.entries(BACKPLANES))("over %s", (_, openBackplane) => {
  async function openPlaces(count: number, lease?: number): Promise<Place[]> {
    const connect = await openBackplane();
    const places: Place[] = [];
    while (places.length < count) places.push(openPlace(await connect(), lease));
    await until(() => places.every(({ router }) => router.status().routers === count - 1));
    return places;
  }

  test("a request reaches a spoke of another hub as soon as it offers the operation, with the identity of its own link", async () => {
    const [here, there] = (await openPlaces(2)) as [Place, Place];
    const handlers = there.spoke("provider");
    const caller = here.spoke("ann");
    for (let n = 0; n < 20; n++) {
      const stop = await handlers.handle(`add.${n}`, ({ a, b }, { identity }) => [a + b, identity], {
        access: ["is-ann"],
      });
      const identity: Identity = { id: "ann", scopes: ["is-ann"] };
      expect(await caller.call(`add.${n}`, { a: 1, b: n })).toEqual([1 + n, identity]);
      stop();
    }
    await handlers.handle("for.ann", () => 1, { access: ["is-ann"] });
    expect(await failure(here.spoke("bob").call("for.ann", null))).toMatchObject({ code: "ACCESS_DENIED" });
    expect(await failure(here.router.operations.call("for.ann", null))).toMatchObject({ code: "ACCESS_DENIED" });
    expect(here.router.status()).toMatchObject({ routers: 1, pending: 0 });
  });

  test("an operation that nobody offers is OPERATION_NOT_FOUND, whichever router is asked; one that is withdrawn, too", async () => {
    const [here, there] = (await openPlaces(2)) as [Place, Place];
    const caller = here.spoke();
    expect(await failure(caller.call("none", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
    const handlers = there.spoke();
    const stop = await handlers.handle("some", () => 1);
    expect(await caller.call("some", null)).toBe(1);
    stop();
    await until(() => here.router.status().operations.length === 0);
    expect(await failure(caller.call("some", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
  });

  test("a stream from another hub is held back by its reader, and ended by its break", async () => {
    const [here, there] = (await openPlaces(2)) as [Place, Place];
    let made = 0;
    const ended = deferred();
    await there.spoke().handle("count", async function* (_: unknown, { signal }) {
      try {
        for (; !signal.aborted; made++) yield made;
      } finally {
        ended.resolve();
      }
    });
    const items: unknown[] = [];
    for await (const item of here.spoke().stream("count", null, { buffer: 4 })) {
      items.push(item);
      if (items.length === 100) break;
    }
    expect(items).toEqual(Array.from({ length: 100 }, (_each, n) => n));
    await ended.promise;
    expect(made).toBeLessThan(120);
  });

  test("requests from everywhere are shared by the spokes of all hubs, and each is carried out once", async () => {
    const places = await openPlaces(3);
    const ran = new Map<number, number>();
    const by = [0, 0, 0];
    for (const [n, place] of places.entries())
      await place.spoke().handle("work", (job: number) => {
        ran.set(job, (ran.get(job) ?? 0) + 1);
        by[n] = (by[n] ?? 0) + 1;
        return job;
      });
    await until(() => places.every(({ router }) => router.status().operations[0]?.spokes === 3));
    const callers = places.map((place) => place.spoke());
    const jobs = Array.from({ length: 300 }, (_each, n) => n);
    const answers = await Promise.all(jobs.map((job) => callers[job % 3]?.call("work", job)));
    expect(answers).toEqual(jobs);
    expect([...ran.values()].every((times) => times === 1) && ran.size === 300).toBe(true);
    expect(Math.min(...by)).toBeGreaterThan(30);
  });

  test("who aborts while routers are asked has no handler run, and whose handler runs elsewhere has it aborted", async () => {
    const [here, there] = (await openPlaces(2)) as [Place, Place];
    const started = deferred();
    const ended = deferred();
    await there.spoke().handle("wait", async (_: unknown, { signal }) => {
      started.resolve();
      await aborted(signal);
      ended.resolve();
    });
    const caller = here.spoke();
    const controller = new AbortController();
    const call = failure(caller.call("wait", null, { signal: controller.signal }));
    await started.promise;
    controller.abort();
    expect(await call).toMatchObject({ code: "ABORTED" });
    await ended.promise;
    await until(() => here.router.status().pending + there.router.status().pending === 0);
  });

  test("a hub that closes makes what was asked of it UNAVAILABLE at once, and what it had asked is aborted", async () => {
    const [here, there] = (await openPlaces(2)) as [Place, Place];
    const [started, asked, ended] = [deferred(), deferred(), deferred()];
    await there.spoke().handle("wait", () => new Promise(() => started.resolve()));
    await here.spoke().handle("back", async (_: unknown, { signal }) => {
      asked.resolve();
      await aborted(signal);
      ended.resolve();
    });
    const call = failure(here.spoke().call("wait", null, { timeout: Infinity }));
    const back = failure(there.spoke().call("back", null, { timeout: Infinity }));
    await Promise.all([started.promise, asked.promise]);
    await there.router.close();
    expect(await call).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(await back).toMatchObject({ code: "UNAVAILABLE" });
    await ended.promise;
    expect(here.router.status()).toMatchObject({ routers: 0, pending: 0 });
  });

  test("a hub that is gone without a word is noticed by its silence: calls and streams are UNAVAILABLE", async () => {
    const [here, there] = (await openPlaces(2, 1000)) as [Place, Place];
    const handlers = there.spoke();
    const started = deferred();
    await handlers.handle("wait", () => new Promise(() => started.resolve()));
    await handlers.handle("once", async function* (_: unknown, { signal }) {
      yield 1;
      await aborted(signal);
    });
    const caller = here.spoke();
    const call = failure(caller.call("wait", null, { timeout: Infinity }));
    const items = caller.stream("once", null);
    expect(await items.next()).toMatchObject({ value: 1 });
    await started.promise;
    there.way.freeze();
    expect(await call).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(await failure(items.next())).toMatchObject({ code: "UNAVAILABLE" });
    expect(await failure(caller.call("wait", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
    there.way.thaw();
    await until(() => here.router.status().routers === 1 && here.router.status().operations.length === 2);
    expect(await caller.stream("once", null).next()).toMatchObject({ value: 1 });
  });

  test.each([
    ["of the caller", 0],
    ["of the handler", 1],
  ])("a cut %s's hub makes pending calls UNAVAILABLE, and later ones are answered", async (_, which) => {
    const places = await openPlaces(2);
    const [here, there] = places as [Place, Place];
    const handlers = there.spoke();
    const started = deferred();
    let stopped = 0;
    await handlers.handle("wait", async (_each: unknown, { signal }) => {
      started.resolve();
      await aborted(signal);
      stopped++;
    });
    await handlers.handle("quick", () => 1);
    const caller = here.spoke();
    const call = failure(caller.call("wait", null, { timeout: Infinity }));
    await started.promise;
    places[which]?.way.cut();
    expect(await call).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    await until(() => stopped === 1);
    let answer: unknown;
    while (answer === undefined) answer = await caller.call("quick", null).catch(() => undefined);
    expect(answer).toBe(1);
    expect(here.router.status().pending + there.router.status().pending).toBe(0);
  });

  test("no link poses as a router, nor hears what routers say", async () => {
    const [here, there] = (await openPlaces(2)) as [Place, Place];
    await there.spoke().handle("who", (_: unknown, { identity }) => identity?.id ?? null);
    const liar = here.pubsub("mallory");
    const seen: string[] = [];
    await liar.on("**", ({ type }) => void seen.push(type));
    await liar.on("router.*", ({ type }) => void seen.push(type));
    const payload = { router: "forged", kind: "offers", version: 1, operations: ["who"] };
    await expect(liar.publish("router.peers", "", payload)).rejects.toMatchObject({ code: "REFUSED" });
    expect(await here.spoke("ann").call("who", null)).toBe("ann");
    await liar.publish("last", "", null);
    await until(() => seen.includes("last"));
    expect(seen).toEqual(["last"]);
    expect(here.router.status().routers).toBe(1);
  });
});

test("a lease must be a time", () => {
  expect(() => openRouter({ lease: 0 })).toThrow(/lease/);
});
