// Several hubs that share a backplane are one topic space, with the promises of one hub.
import { createPubSub } from "@alkdev/pubsub";
import type { Gap, PubSubError, Subscription, Supports } from "@alkdev/pubsub";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import type { MemoryBroker, MemoryTransport } from "@alkdev/pubsub/testing";
import { coreOf, defineEventTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Core } from "@alkdev/pubsub/transport";
import { createHubEventTarget } from "@alkdev/hub";
import type { HubServer, HubServerOptions } from "@alkdev/hub";
import { describe, expect, onTestFinished, test } from "vitest";
import { Flow, judge, Log } from "./fixtures/flow.ts";
import { openClient, openHub, openProxy, take, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";

/** The way of one hub to another, which is its backplane. */
function overHub(url: string): AlkEventTarget {
  const target = createHubEventTarget(url, { onError: () => undefined, backoff: { min: 5, max: 50 } });
  onTestFinished(() => target.close());
  return target;
}

/** The way of a hub to a broker in memory. */
function overMemory(
  broker: MemoryBroker,
  supports: Partial<Supports> = {},
): { target: AlkEventTarget; transport: MemoryTransport } {
  const transport = createMemoryTransport(broker, { supports });
  const target = defineEventTarget(transport, { onError: () => undefined });
  onTestFinished(() => target.close());
  return { target, transport };
}

function outcome(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "done",
    (error: unknown) => (error as PubSubError).code,
  );
}

/** One of several that is known to be there. */
function nth<T>(all: readonly T[], n: number): T {
  const each = all[n];
  if (each === undefined) throw new Error(`There is no ${n}.`);
  return each;
}

/** Everything that was published before, by whomever, is here: several links and hubs keep the order of one publisher. */
async function flush(publisher: Client, ...subscribers: Client[]): Promise<void> {
  const markers = await Promise.all(subscribers.map((client) => client.subscribe("flush")));
  await publisher.publish("flush", "", null);
  for (const marker of markers) {
    await take(marker, 1);
    await marker.return();
  }
}

/** Two hubs over each kind of backplane. */
const KINDS: readonly [string, () => Promise<[HubServer, HubServer]>][] = [
  [
    "a hub",
    async () => {
      const { url } = await openHub();
      return Promise.all([openHub({ backplane: overHub(url) }), openHub({ backplane: overHub(url) })]);
    },
  ],
  ...(["once", "per-filter"] as const).flatMap((overlap) =>
    [true, false].map((echo): [string, () => Promise<[HubServer, HubServer]>] => [
      `a broker that delivers overlapping filters ${overlap} and ${echo ? "echoes" : "does not echo"}`,
      () => {
        const broker = createMemoryBroker();
        const open = (): Promise<HubServer> => openHub({ backplane: overMemory(broker, { overlap, echo }).target });
        return Promise.all([open(), open()]);
      },
    ]),
  ),
];

describe.each(KINDS)("two hubs over %s", (_, open) => {
  test("give every event once to each subscription, however many filters of it overlap, own ones too", async () => {
    const [first, second] = await open();
    const clients = [openClient(first.url), openClient(first.url), openClient(second.url)];
    const filters: [string, string?][] = [["a.b", "x"], ["a.b"], ["a.*"], ["**"], ["a.b", "x"]];
    const subscriptions: Subscription[] = [];
    for (const client of clients)
      for (const [type, id] of filters)
        subscriptions.push(await (id === undefined ? client.subscribe(type) : client.subscribe(type, id)));
    const here = createPubSub({ eventTarget: second.hub.eventTarget });
    onTestFinished(() => here.close());
    subscriptions.push(await here.subscribe("a.*"), await here.subscribe("a.b", "x"));
    for (let n = 0; n < 20; n++)
      await Promise.all([...clients.map((client) => client.publish("a.b", "x", n)), here.publish("a.b", "x", n)]);
    // Of four publishers each.
    for (const events of subscriptions) expect(await take(events, 80)).toHaveLength(80);
    for (const client of clients) await flush(client, ...clients);
    for (const events of subscriptions) expect(events.received === 80 || events.received === 80 + 3).toBe(true);
  });

  test("keep each publisher's order", async () => {
    const [first, second] = await open();
    const [near, far] = [openClient(first.url), openClient(second.url)];
    const events = [await near.subscribe("a"), await far.subscribe("a")];
    await Promise.all(Array.from({ length: 500 }, (__, n) => near.publish("a", "", n)));
    for (const each of events)
      expect((await take(each, 500)).map(({ payload }) => payload)).toEqual(Array.from({ length: 500 }, (__, n) => n));
  });

  test("skip a client's own events where it says so, and nobody else's", async () => {
    const [first, second] = await open();
    const clients = [openClient(first.url), openClient(first.url), openClient(second.url)];
    const subscriptions = await Promise.all(clients.map((client) => client.subscribe("a", { own: false })));
    for (const [n, client] of clients.entries()) await client.publish("a", "", n);
    for (const client of clients) await flush(client, ...clients);
    const got = [];
    for (const events of subscriptions) got.push((await take(events, 2)).map(({ payload }) => payload));
    expect(got).toEqual([
      [1, 2],
      [0, 2],
      [0, 1],
    ]);
    expect(subscriptions.map(({ received }) => received)).toEqual([2, 2, 2]);
  });

  test("release at the backplane what nobody wants any more", async () => {
    const [first, second] = await open();
    const clients = [openClient(first.url), openClient(first.url), openClient(second.url)];
    const all = await Promise.all(clients.flatMap((client) => [client.subscribe("a"), client.subscribe("b.*")]));
    const core = (first.hub.eventTarget as unknown as { [coreOf]: Core })[coreOf];
    expect([...core.sinks()]).toHaveLength(2);
    for (const events of all) await events.return();
    await until(() => [...core.sinks()].length === 0);
    expect(first.hub.status()).toMatchObject({ filters: 0, backplane: "ready" });
  });
});

describe("readiness through hub and backplane", () => {
  /** A hub near the backplane, and one whose way to it takes a millisecond longer each way. */
  async function nearAndFar(wrap: (target: AlkEventTarget) => AlkEventTarget = (target) => target) {
    const backplane = await openHub();
    const slow = await openProxy(backplane.port, { toServer: 1, toClient: 1 });
    const far = await openHub({ backplane: wrap(overHub(slow.url)) });
    const near = await openHub({ backplane: overHub(backplane.url) });
    const [subscriber, publisher] = [openClient(far.url), openClient(near.url)];
    await Promise.all([subscriber.subscribe("warm"), publisher.subscribe("warm")]);
    await until(() => backplane.hub.status().subscriptions === 2);
    return { subscriber, publisher, slow };
  }

  /** Publishes in the instant after each subscribe, so many times; how many were lost. */
  async function lostOf(
    count: number,
    { subscriber, publisher }: { subscriber: Client; publisher: Client },
  ): Promise<number> {
    let lost = 0;
    const step = 50;
    for (let from = 0; from < count; from += step) {
      const all = await Promise.all(
        Array.from({ length: step }, async (_, n) => {
          const events = await subscriber.subscribe("probe", String(from + n));
          await publisher.publish("probe", String(from + n), null);
          return events;
        }),
      );
      await flush(publisher, subscriber);
      for (const events of all) {
        if (events.received !== 1) lost++;
        await events.return();
      }
    }
    return lost;
  }

  test("is composed: what is published in the instant after subscribe arrives, 1,000 times of 1,000", async () => {
    expect(await lostOf(1000, await nearAndFar())).toBe(0);
  });

  test("if the hub did not wait for the backplane, it would be lost: the control", async () => {
    const impatient = (target: AlkEventTarget): AlkEventTarget => {
      const core = (target as unknown as { [coreOf]: Core })[coreOf];
      const hasty: Partial<Core> = {
        subscribe(sink) {
          core.subscribe(sink)?.catch(() => undefined);
          return undefined;
        },
        unsubscribe: (sink) => core.unsubscribe(sink),
        publish: (envelope, owner) => core.publish(envelope, owner),
        supports: core.supports,
      };
      return { [coreOf]: hasty, status: "ready" } as unknown as AlkEventTarget;
    };
    const { subscriber, publisher, slow } = await nearAndFar(impatient);
    let lost = 0;
    for (let n = 0; n < 100; n++) {
      slow.freeze("toServer");
      const events = await subscriber.subscribe("probe", String(n));
      await publisher.publish("probe", String(n), null);
      slow.thaw();
      // Takes the same way, there and back.
      await subscriber.publish("after", "", null);
      if (events.received === 0) lost++;
      await events.return();
    }
    expect(lost).toBe(100);
  });
});

describe("what the backplane says reaches whom it concerns", () => {
  async function openOver(supports: Partial<Supports> = {}, options: HubServerOptions = {}) {
    const broker = createMemoryBroker();
    const { target, transport } = overMemory(broker, supports);
    const server = await openHub({ backplane: target, ...options });
    const other = createPubSub({ eventTarget: overMemory(broker).target, onError: () => undefined });
    return { broker, transport, target, server, url: server.url, other };
  }

  test("a publish is acknowledged only once the backplane has acknowledged it", async () => {
    const { transport, url, server } = await openOver();
    const client = openClient(url);
    await client.publish("a", "", 0);
    transport.freeze();
    let settled = false;
    const published = client.publish("a", "", 1).then(() => (settled = true));
    await until(() => server.hub.status().received === 2);
    // A question and its answer come after.
    await fetch(`http://127.0.0.1:${server.port}/status`);
    expect(settled).toBe(false);
    transport.thaw();
    await published;
  });

  test("a refusal rejects its own publish alone, in the middle of others", async () => {
    const { broker, url } = await openOver();
    broker.authorize = (action, { type }) => (action === "publish" && type === "no" ? "REFUSED" : undefined);
    const client = openClient(url);
    const outcomes = ["yes", "no", "yes", "no", "no", "yes"].map((type) => outcome(client.publish(type, "", null)));
    expect(await Promise.all(outcomes)).toEqual(["done", "REFUSED", "done", "REFUSED", "REFUSED", "done"]);
  });

  test("a refusal that came while its publisher was away reaches it when it is back", async () => {
    const { broker, transport, server } = await openOver({}, { limits: { resumeWindow: 30_000 } });
    broker.authorize = (action, { type }) => (action === "publish" && type === "no" ? "REFUSED" : undefined);
    const proxy = await openProxy(server.port);
    const client = openClient(proxy.url);
    await client.publish("yes", "", null);
    transport.freeze();
    const outcomes = ["yes", "no", "yes"].map((type) => outcome(client.publish(type, "", null)));
    await until(() => server.hub.status().received === 4);
    proxy.refusing = true;
    proxy.cut();
    await until(() => server.hub.status().links.some(({ attached }) => !attached));
    transport.thaw();
    await until(() => server.hub.status().received === 4);
    proxy.refusing = false;
    expect(await Promise.all(outcomes)).toEqual(["done", "REFUSED", "done"]);
  });

  test("an interruption of the backplane interrupts what was on its way, and what comes meanwhile", async () => {
    const { transport, target, url, server } = await openOver();
    const client = openClient(url);
    await client.publish("a", "", 0);
    transport.freeze();
    const sent = outcome(client.publish("a", "", 1));
    await until(() => server.hub.status().received === 2);
    transport.cut();
    expect(await sent).toBe("INTERRUPTED");
    expect(target.status).toBe("interrupted");
    expect(await outcome(client.publish("a", "", 2))).toBe("INTERRUPTED");
    transport.reconnect();
    await until(() => target.status === "ready");
    await client.publish("a", "", 3);
    // The link to the hub has known nothing of it.
    expect(client.statuses).toEqual(["ready"]);
  });

  test("a loss is a gap of the subscriptions it concerns, in its place, and of no other", async () => {
    const { transport, url, other } = await openOver({ lossDetection: "full", overlap: "per-filter" });
    const gaps: string[] = [];
    const [one, two] = [openClient(url), openClient(url)];
    const onGap = (name: string) => (gap: Gap) => gaps.push(`${name} ${gap.reason} ${gap.lost}`);
    const a = await one.subscribe("a", { onGap: onGap("one a") });
    const b = await one.subscribe("b", { onGap: onGap("one b") });
    const alsoA = await two.subscribe("a", { onGap: onGap("two a") });
    await other.publish("a", "", 1);
    transport.lose();
    await other.publish("a", "", 2);
    await other.publish("a", "", 3);
    await other.publish("b", "", 4);
    for (const events of [a, alsoA]) expect((await take(events, 2)).map(({ payload }) => payload)).toEqual([1, 3]);
    await take(b, 1);
    expect(new Set(gaps)).toEqual(new Set(["one a overflow 1", "two a overflow 1"]));
    expect(gaps).toHaveLength(2);
  });

  test("a loss while a spoke is away is in its place when it is back", async () => {
    const { transport, server, other } = await openOver(
      { lossDetection: "full" },
      { limits: { resumeWindow: 30_000 } },
    );
    const proxy = await openProxy(server.port);
    const log = new Log();
    const client = openClient(proxy.url, {}, { onGap: log.onGap });
    log.read(await client.subscribe("a"));
    await other.publish("a", "", 0);
    await until(() => log.received === 1);
    proxy.refusing = true;
    proxy.cut();
    await until(() => server.hub.status().links.some(({ attached }) => !attached));
    await other.publish("a", "", 1);
    transport.lose();
    await other.publish("a", "", 2);
    await other.publish("a", "", 3);
    proxy.refusing = false;
    await until(() => log.received === 3);
    expect(log.met).toMatchObject([{ n: 0 }, { n: 1 }, { gap: { reason: "overflow", lost: 1 } }, { n: 3 }]);
  });

  test("an interruption is a gap of every subscription, before what comes after", async () => {
    const { transport, target, url, other } = await openOver();
    const logs = [new Log(), new Log()];
    for (const log of logs) log.read(await openClient(url, {}, { onGap: log.onGap }).subscribe("a"));
    await other.publish("a", "", 0);
    transport.cut();
    await until(() => target.status === "interrupted");
    await other.publish("a", "", 1);
    transport.reconnect();
    await until(() => target.status === "ready");
    await other.publish("a", "", 2);
    for (const { met } of logs) {
      await until(() => met.length === 3);
      expect(met).toMatchObject([{ n: 0 }, { gap: { reason: "reconnect" } }, { n: 2 }]);
    }
  });

  test("a subscription that it refuses is refused to its client, and leaves nothing behind", async () => {
    const { broker, url, server } = await openOver();
    broker.authorize = (action) => (action === "subscribe" ? "REFUSED" : undefined);
    const clients = [openClient(url), openClient(url)];
    expect(await Promise.all(clients.map((client) => outcome(client.subscribe("a"))))).toEqual(["REFUSED", "REFUSED"]);
    expect(server.hub.status()).toMatchObject({ subscriptions: 0, filters: 0 });
    broker.authorize = undefined;
    const events = await nth(clients, 0).subscribe("a");
    await nth(clients, 1).publish("a", "", 1);
    await take(events, 1);
  });

  test.each([
    ["patterns", { patterns: "none" }, "a.*", undefined],
    ["groups", { groups: false }, "a", "workers"],
  ] as const)(
    "what it cannot do at all (%s) is refused with its own code, and leaves nothing behind",
    async (_, supports, type, group) => {
      const { url, server, broker } = await openOver(supports);
      const client = openClient(url);
      expect(await outcome(client.subscribe(type, group === undefined ? {} : { group }))).toBe("UNSUPPORTED");
      expect(server.hub.status()).toMatchObject({ subscriptions: 0, filters: 0 });
      expect(broker.filters).toBe(0);
    },
  );

  test("a subscription that it takes away ends with its error, after what was owed; others go on", async () => {
    const { transport, url, other, server } = await openOver();
    const client = openClient(url);
    const [a, b] = [await client.subscribe("a"), await client.subscribe("b")];
    await other.publish("a", "", 1);
    await flush(client, client);
    transport.revoke({ type: "a", id: undefined, group: undefined });
    await until(() => server.hub.status().subscriptions === 1);
    await take(a, 1);
    await expect(a.next()).rejects.toMatchObject({ code: "REFUSED" });
    await other.publish("b", "", 2);
    await take(b, 1);
  });

  test("a subscription that it takes away while the spoke is away ends when that is back", async () => {
    const { transport, server, other } = await openOver({}, { limits: { resumeWindow: 30_000 } });
    const proxy = await openProxy(server.port);
    const client = openClient(proxy.url);
    const [a, b] = [await client.subscribe("a"), await client.subscribe("b")];
    proxy.refusing = true;
    proxy.cut();
    await until(() => server.hub.status().links.some(({ attached }) => !attached));
    transport.revoke({ type: "a", id: undefined, group: undefined });
    await until(() => server.hub.status().subscriptions === 1);
    proxy.refusing = false;
    await expect(a.next()).rejects.toMatchObject({
      code: "REFUSED",
      message: expect.stringContaining("took a away") as string,
    });
    await other.publish("b", "", 2);
    await take(b, 1);
  });

  test("once it is closed, subscriptions drain and end, and nothing more is accepted; the hub itself lives", async () => {
    const { target, url, other, server } = await openOver();
    const client = openClient(url);
    const events = await client.subscribe("a");
    await other.publish("a", "", 1);
    await flush(client, client);
    await target.close();
    await take(events, 1);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    expect(await outcome(client.publish("a", "", 2))).toBe("CLOSED");
    expect(await outcome(client.subscribe("a"))).toBe("CLOSED");
    expect(server.hub.status()).toMatchObject({ subscriptions: 0, filters: 0, backplane: "closed" });
    expect(client.target.status).toBe("ready");
  });

  test("the same envelope dispatched twice on the hub's own place comes twice", async () => {
    const { url, target } = await openOver();
    const client = openClient(url);
    const [events, all] = [await client.subscribe("a"), await client.subscribe("*")];
    const envelope = { type: "a", id: "", payload: 1 };
    for (let n = 0; n < 2; n++) target.dispatchEvent(new CustomEvent("a", { detail: envelope }));
    await take(events, 2);
    await take(all, 2);
  });

  test("is not closed with the hub, which lets go of everything there", async () => {
    const { broker, target, url, server, other } = await openOver();
    const client = openClient(url);
    await client.subscribe("a");
    const theirs = await other.subscribe("x");
    await server.close();
    await until(() => broker.filters === 1);
    expect(target.status).toBe("ready");
    await createPubSub({ eventTarget: target }).publish("x", "", 1);
    await take(theirs, 1);
  });
});

describe("the way to the backplane is cut again and again", () => {
  test.each([
    ["a backplane that keeps sessions: everything once, in order", 30_000],
    ["one that does not: delivered or inside a gap, never twice", 0],
  ])("by %s", async (_, resumeWindow) => {
    const backplane = await openHub({ limits: { resumeWindow } });
    const proxies = [await openProxy(backplane.port), await openProxy(backplane.port)];
    const hubs = await Promise.all(proxies.map(({ url }) => openHub({ backplane: overHub(url) })));
    const publisher = openClient(nth(hubs, 0).url);
    const logs = [new Log(), new Log()];
    for (const [n, log] of logs.entries())
      log.read(
        await openClient(nth(hubs, n).url, {}, { onGap: log.onGap, buffer: { limit: 2 ** 20 } }).subscribe("flow.*"),
      );
    const flow = new Flow();
    flow.start(publisher, "p", ["flow.a", "flow.b"], 50);
    for (let cut = 0; cut < 8; cut++) {
      const counts = logs.map(({ received }) => received + 300);
      await until(() => logs.every(({ received }, n) => received > (counts[n] ?? 0)));
      proxies[cut % 2]?.cut();
      const cutOff = nth(hubs, cut % 2).hub.eventTarget;
      await until(() => cutOff.status === "interrupted");
      await until(() => cutOff.status === "ready");
    }
    await flow.stop();
    for (const topic of ["flow.a", "flow.b"]) while ((await flow.publish(publisher, "p", topic)) !== "done");
    for (const [stream, outcomes] of flow.outcomes)
      for (const { met } of logs)
        await until(() =>
          met.some((each) => "stream" in each && each.stream === stream && each.n === outcomes.length - 1),
        );
    for (const log of logs) {
      const figures = judge(flow, log);
      expect(figures.problems).toEqual([]);
      if (resumeWindow > 0) expect(figures).toMatchObject({ gaps: 0, interrupted: 0, delivered: flow.published });
      else expect(figures.gaps).toBeGreaterThan(0);
    }
  });
});

describe("a group whose members are at two hubs", () => {
  test.each([
    [
      "a hub",
      async () => {
        const { url } = await openHub();
        return [overHub(url), overHub(url)];
      },
    ],
    [
      "a broker",
      async () => {
        const broker = createMemoryBroker();
        const supports = { groups: true, overlap: "per-filter", echo: true } as const;
        return [overMemory(broker, supports).target, overMemory(broker, supports).target];
      },
    ],
  ])("over %s: each event goes to exactly one of them", async (_, open) => {
    const hubs = await Promise.all((await open()).map((backplane) => openHub({ backplane })));
    const clients = [0, 0, 1].map((n) => openClient(nth(hubs, n).url));
    const got: unknown[][] = [];
    for (const client of clients) {
      const mine: unknown[] = [];
      got.push(mine);
      await client.on("job", ({ payload }) => mine.push(payload), { group: "workers" });
    }
    const audit = await nth(clients, 0).subscribe("job");
    for (let n = 0; n < 60; n++) await nth(clients, n % 3).publish("job", "", n);
    await take(audit, 60);
    await until(() => got.flat().length >= 60);
    for (const client of clients) await flush(client, ...clients);
    expect(got.flat().toSorted((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 60 }, (__, n) => n));
    // The backplane shares between the hubs, each hub between its members.
    expect(got.map(({ length }) => length)).toEqual([15, 15, 30]);
  });
});
