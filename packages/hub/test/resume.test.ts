// A client that comes back to its hub within the window misses nothing, whatever the network did in between.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { MessageChannel } from "node:worker_threads";
import type { Gap, PubSubError, Subscription } from "@alkdev/pubsub";
import { workerChannel } from "@alkdev/pubsub/event-target-worker";
import { Model } from "@alkdev/pubsub/testing";
import type { Watched } from "@alkdev/pubsub/testing";
import { connectLink, defineEventTarget } from "@alkdev/pubsub/transport";
import type { Link } from "@alkdev/pubsub/transport";
import type { HubLimits, HubServer } from "@alkdev/hub";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { Flow, judge, Log } from "./fixtures/flow.ts";
import { openClient, openHub, openProxy, over, seeded, take, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";
import type { Proxy } from "../../pubsub/test/fixtures/proxy.ts";

const SEED = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const BUFFER = { buffer: { limit: 2 ** 22 } };
const TOPICS = ["flow.a", "flow.b"];
const TOPICS_OF_MODEL: readonly [string, string][] = [
  ["m.a", "x"],
  ["m.b", "y"],
  ["m.b", "x"],
];

function openKeeping(limits: HubLimits = {}, port = 0): Promise<HubServer> {
  return openHub({ port, limits: { resumeWindow: 30_000, ...limits } });
}

async function subscriber(url: string, options: Parameters<typeof openClient>[1] = {}, filter = "flow.*") {
  const log = new Log();
  const client = openClient(url, options, { onGap: log.onGap, ...BUFFER });
  log.read(await client.subscribe(filter));
  return { client, log };
}

/** The last event of every stream came to every log. */
async function drain(flow: Flow, publishers: readonly [string, Client][], ...logs: Log[]): Promise<void> {
  for (const [name, client] of publishers)
    for (const topic of TOPICS) expect(await flow.publish(client, name, topic)).toBe("done");
  for (const { met } of logs)
    for (const [stream, outcomes] of flow.outcomes)
      await until(() =>
        met.slice(-1000).some((each) => "stream" in each && each.stream === stream && each.n === outcomes.length - 1),
      );
}

/** What became of a promise, as a code. */
function outcome(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "done",
    (error: unknown) => (error as PubSubError).code,
  );
}

/** Away: the connection is cut and does not come back until told. */
async function away(proxy: Proxy, client: Client): Promise<() => Promise<void>> {
  proxy.refusing = true;
  proxy.cut();
  await client.reached("interrupted");
  return async () => {
    proxy.refusing = false;
    await client.reached("ready");
  };
}

describe("cut while thousands of events a second flow", () => {
  test.each([
    ["the subscriber", ["subscriber"]],
    ["the publisher", ["publisher"]],
    ["now one, now the other, now both", ["subscriber", "publisher", "both"]],
  ] as const)("%s: everything once, in order, no gap, no publish interrupted", async (_, whom) => {
    const random = seeded(SEED);
    const { port, hub } = await openKeeping();
    const proxies = { subscriber: await openProxy(port), publisher: await openProxy(port) };
    const { client, log } = await subscriber(proxies.subscriber.url);
    const bystander = await subscriber(`ws://127.0.0.1:${port}`);
    const publisher = openClient(proxies.publisher.url);
    // Its own events come back to it as well, and what is not its own alone where it says so.
    const others: unknown[] = [];
    await publisher.on("flow.*", ({ payload }) => others.push(payload), { own: false });
    const mine = new Log();
    mine.read(await publisher.subscribe("flow.*", { onGap: mine.onGap, ...BUFFER }));
    const flow = new Flow();
    flow.start(publisher, "p", TOPICS, 200);
    for (let cut = 0; cut < 12; cut++) {
      const count = log.received + 100 + Math.floor(random() * 1500);
      await until(() => log.received >= count);
      const which = whom[Math.floor(random() * whom.length)];
      if (which !== "publisher") proxies.subscriber.cut();
      if (which !== "subscriber") proxies.publisher.cut();
      if (random() < 0.5) await Promise.all([client.reached("ready"), publisher.reached("ready")]);
    }
    await flow.stop();
    await Promise.all([client.reached("ready"), publisher.reached("ready")]);
    await drain(flow, [["p", publisher]], log, bystander.log, mine);
    for (const each of [log, bystander.log, mine])
      expect({ ...judge(flow, each, ["done"]), seed: SEED }).toMatchObject({
        problems: [],
        gaps: 0,
        delivered: flow.published,
        interrupted: 0,
        seed: SEED,
      });
    expect(others).toEqual([]);
    expect(flow.published).toBeGreaterThan(4000);
    expect(hub.status()).toMatchObject({ malformed: 0, slow: 0 });
    expect(new Set(hub.status().links.map(({ id }) => id))).toEqual(new Set([1, 2, 3]));
  });

  test("by a hub that keeps nothing, the same is a gap, and publishes are interrupted: the control", async () => {
    const { port } = await openKeeping({ resumeWindow: 0 });
    const proxies = { subscriber: await openProxy(port), publisher: await openProxy(port) };
    const { client, log } = await subscriber(proxies.subscriber.url);
    const publisher = openClient(proxies.publisher.url);
    const flow = new Flow();
    flow.start(publisher, "p", TOPICS, 200);
    for (let cut = 0; cut < 5; cut++) {
      const count = log.received + 500;
      await until(() => log.received >= count);
      proxies.subscriber.cut();
      proxies.publisher.cut();
      await Promise.all([client.reached("interrupted"), publisher.reached("interrupted")]);
      await Promise.all([client.reached("ready"), publisher.reached("ready")]);
    }
    await flow.stop();
    await drain(flow, [["p", publisher]], log);
    const figures = judge(flow, log);
    expect(figures.problems).toEqual([]);
    expect(figures.gaps).toBeGreaterThan(0);
    expect(figures.interrupted).toBeGreaterThan(0);
    expect(new Set(log.gaps.map(({ reason }) => reason))).toEqual(new Set(["reconnect"]));
  });

  test("random schedules of publishing, subscribing, leaving and cutting break no promise of the model", async () => {
    const random = seeded(SEED);
    const { port, hub } = await openKeeping();
    const proxies = [await openProxy(port), await openProxy(port), await openProxy(port)];
    const clients = proxies.map(({ url }) => openClient(url, {}, BUFFER));
    await Promise.all(clients.map((client) => client.reached("ready")));
    const model = new Model(clients.map(({ target }) => target.supports));
    const filters: readonly [string, string | undefined][] = [
      ["m.a", "x"],
      ["m.a", undefined],
      ["m.*", undefined],
      ["m.b", "y"],
    ];
    const open: { watched: Watched; events: Subscription }[] = [];
    const reading: Promise<unknown>[] = [];
    const pending: Promise<unknown>[] = [];
    const among = <T>(all: readonly T[]): T => {
      const each = all[Math.floor(random() * all.length)];
      if (each === undefined) throw new Error("There is none.");
      return each;
    };
    for (let step = 0; step < 1500; step++) {
      const client = among(clients);
      const who = clients.indexOf(client);
      const dice = random();
      if (dice < 0.8) {
        const [type, id] = among(TOPICS_OF_MODEL);
        const publication = model.publishing(who, type, id);
        pending.push(
          client.publish(type, id, publication.number).then(
            () => model.settled(publication, "resolved"),
            () => model.settled(publication, "rejected"),
          ),
        );
      } else if (dice < 0.9) {
        const [type, id] = among(filters);
        const own = random() < 0.7;
        const watched = model.subscribing(who, { type, id, group: undefined }, { own });
        const onGap = (gap: Gap): void => model.gap(watched, gap);
        const subscribing =
          id === undefined ? client.subscribe(type, { own, onGap }) : client.subscribe(type, id, { own, onGap });
        pending.push(
          subscribing.then((events) => {
            model.live(watched);
            open.push({ watched, events });
            reading.push(
              (async () => {
                for await (const envelope of events) model.event(watched, envelope);
              })(),
            );
          }),
        );
      } else if (dice < 0.95 && open.length > 0) {
        const left = among(open);
        open.splice(open.indexOf(left), 1);
        model.ended(left.watched);
        await left.events.return();
      } else if (dice < 0.97) among(proxies).cut();
      if (random() < 0.2) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(clients.map((client) => client.reached("ready")));
    await Promise.all(pending);
    // A last word to every subscription: what was sent before it is here.
    const after = await Promise.all(clients.map((client) => client.subscribe("end")));
    for (const client of clients) await client.publish("end", "", null);
    for (const events of after) await take(events, 3);
    await until(
      () =>
        hub.status().subscriptions ===
        new Set(open.map(({ watched: { subscriber, filter } }) => JSON.stringify([subscriber, filter.type, filter.id])))
          .size +
          3,
    );
    for (const { watched, events } of open) {
      await new Promise((resolve) => setImmediate(resolve));
      model.ended(watched);
      await events.return();
    }
    await Promise.all(reading);
    expect({ broken: model.check(), seed: SEED }).toEqual({ broken: [], seed: SEED });
    await until(() => hub.status().subscriptions === 3);
  });
});

describe("a half-open connection", () => {
  test("that the hub still believes in gives way to the new one, and nothing is missing or doubled", async () => {
    const { port, hub } = await openKeeping();
    const [dead, alive] = [await openProxy(port), await openProxy(port)];
    let through: Proxy = dead;
    class Moving extends WebSocket {
      constructor() {
        super(through.url);
      }
    }
    const { client, log } = await subscriber(dead.url, {
      heartbeat: 60,
      WebSocket: Moving as unknown as NonNullable<Parameters<typeof openClient>[1]>["WebSocket"] & {},
    });
    const publisher = openClient(`ws://127.0.0.1:${port}`);
    const flow = new Flow();
    flow.start(publisher, "p", TOPICS, 50);
    await until(() => log.received > 500);
    dead.freeze();
    through = alive;
    await client.reached("interrupted");
    await client.reached("ready");
    const count = log.received + 500;
    await until(() => log.received > count);
    await flow.stop();
    await drain(flow, [["p", publisher]], log);
    expect(judge(flow, log, ["done"])).toMatchObject({ problems: [], gaps: 0, delivered: flow.published });
    expect(hub.status().links).toHaveLength(2);
    // Nobody told the dead one; when it is heard again it finds itself closed.
    dead.thaw();
    await until(() => dead.connections === 0);
    await drain(flow, [["p", publisher]], log);
    expect(judge(flow, log, ["done"])).toMatchObject({ problems: [], gaps: 0 });
  });
});

describe("publishes while the connection is interrupted", () => {
  test("wait, and are delivered once and in order", async () => {
    const { port, url } = await openKeeping();
    const proxy = await openProxy(port);
    const publisher = openClient(proxy.url);
    const { log } = await subscriber(url);
    const flow = new Flow();
    await flow.publish(publisher, "p", "flow.a");
    const comeBack = await away(proxy, publisher);
    const held = Array.from({ length: 1000 }, () => flow.publish(publisher, "p", "flow.a"));
    await comeBack();
    expect(new Set(await Promise.all(held))).toEqual(new Set(["done"]));
    await drain(flow, [["p", publisher]], log);
    expect(judge(flow, log, ["done"])).toMatchObject({ problems: [], gaps: 0, delivered: flow.published });
  });

  test("reject INTERRUPTED beyond maxOutbox, those before are delivered; what cannot be JSON rejects alone", async () => {
    const { port, url } = await openKeeping();
    const proxy = await openProxy(port);
    const publisher = openClient(proxy.url, { maxOutbox: 10_000 });
    const { log } = await subscriber(url);
    await publisher.publish("flow.a", "p", 0);
    const comeBack = await away(proxy, publisher);
    const padding = "x".repeat(900);
    const held = Array.from({ length: 30 }, (_, n) => outcome(publisher.publish("flow.a", "p", { n: n + 1, padding })));
    const odd = outcome(publisher.publish("flow.a", "p", 1n));
    expect(await Promise.all(held.slice(9))).toEqual(Array.from({ length: 21 }, () => "INTERRUPTED"));
    expect(await odd).toBe("PAYLOAD");
    await comeBack();
    expect(await Promise.all(held.slice(0, 9))).toEqual(Array.from({ length: 9 }, () => "done"));
    await publisher.publish("flow.a", "p", 99);
    await until(() => log.received === 11);
    expect(log.met.map((met) => ("n" in met ? met.n : "gap"))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99]);
  });

  test("reject INTERRUPTED once the window has passed, however often connecting is tried meanwhile", async () => {
    const { port } = await openKeeping();
    const proxy = await openProxy(port);
    const publisher = openClient(proxy.url, { resumeWindow: 200, backoff: { min: 5, max: 20 } });
    await publisher.publish("a", "", 0);
    await away(proxy, publisher);
    const held = outcome(publisher.publish("a", "", 1));
    const begun = performance.now();
    expect(await held).toBe("INTERRUPTED");
    await until(() => proxy.refused > 3);
    expect(performance.now() - begun).toBeLessThan(5000);
    expect(await outcome(publisher.publish("a", "", 2))).toBe("INTERRUPTED");
    proxy.refusing = false;
    await publisher.reached("ready");
    await publisher.publish("a", "", 3);
  });

  test("reject INTERRUPTED once the window has passed also while somebody accepts and never answers", async () => {
    const { port } = await openKeeping();
    const proxy = await openProxy(port);
    const publisher = openClient(proxy.url, { resumeWindow: 150, heartbeat: 50, attemptTimeout: 60_000 });
    await publisher.publish("a", "", 0);
    proxy.freeze();
    await publisher.reached("interrupted");
    expect(await outcome(publisher.publish("a", "", 1))).toBe("INTERRUPTED");
    proxy.thaw();
    await publisher.reached("ready");
    await publisher.publish("a", "", 2);
  });

  test("to a hub that is another one by then: those sent reject, those held are delivered once, and there is a gap", async () => {
    const first = await openKeeping();
    const proxy = await openProxy(first.port);
    const gaps: Gap[] = [];
    const publisher = openClient(proxy.url, {}, { onGap: (gap) => gaps.push(gap) });
    const events = await publisher.subscribe("a");
    proxy.freeze("toClient");
    const sent = outcome(publisher.publish("a", "", "sent"));
    await until(() => first.hub.status().received === 1);
    proxy.refusing = true;
    proxy.cut();
    proxy.thaw();
    await publisher.reached("interrupted");
    const held = [1, 2, 3].map((n) => outcome(publisher.publish("a", "", n)));
    await first.close();
    await openKeeping({}, first.port);
    proxy.refusing = false;
    expect(await sent).toBe("INTERRUPTED");
    expect(await Promise.all(held)).toEqual(["done", "done", "done"]);
    await publisher.reached("ready");
    await publisher.publish("a", "", "after");
    // Held ones flow as soon as they can, before the subscription is live again: there is a gap for that.
    const seen: unknown[] = [];
    while (seen.at(-1) !== "after") seen.push((await take(events, 1))[0]?.payload);
    expect(seen.slice(0, -1)).toEqual([1, 2, 3].filter((n) => seen.includes(n)));
    expect(gaps.map(({ reason }) => reason)).toEqual(["resume-expired"]);
  });

  test("are settled by close(), with CLOSED", async () => {
    const { port } = await openKeeping();
    const proxy = await openProxy(port);
    const publisher = openClient(proxy.url, { closeTimeout: 50 });
    await publisher.publish("a", "", 0);
    await away(proxy, publisher);
    const held = [1, 2, 3].map((n) => outcome(publisher.publish("a", "", n)));
    await publisher.target.close();
    expect(await Promise.all(held)).toEqual(["CLOSED", "CLOSED", "CLOSED"]);
  });

  test("whose target is closed leave no handle: the process ends by itself", async () => {
    const { port } = await openKeeping();
    const proxy = await openProxy(port);
    const script = fileURLToPath(new URL("fixtures/closing-while-away.mjs", import.meta.url));
    const child = spawn(process.execPath, [script, proxy.url], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const exit = once(child, "exit");
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("live");
    proxy.refusing = true;
    proxy.cut();
    expect((await lines.next()).value).toBe("held CLOSED");
    expect((await exit)[0]).toBe(0);
  });
});

describe("subscriptions while the connection is interrupted", () => {
  test("come and go: the hub has what is wanted in the end and nothing else, and what stayed has no gap", async () => {
    const { port, url, hub } = await openKeeping();
    const proxy = await openProxy(port);
    const client = openClient(proxy.url);
    const publisher = openClient(url);
    const stays = await client.subscribe("stays");
    const goes = await client.subscribe("goes");
    const goesAndReturns = await client.subscribe("returns");
    const comeBack = await away(proxy, client);
    await goes.return();
    await goesAndReturns.return();
    const returns = client.subscribe("returns");
    const comes = client.subscribe("comes.*");
    const abort = new AbortController();
    const given = client.subscribe("given.up", { signal: abort.signal });
    abort.abort(new Error("not any more"));
    await expect(given).rejects.toThrow("not any more");
    await publisher.publish("stays", "", 1);
    await comeBack();
    const [first, second, third] = [stays, await returns, await comes];
    for (const type of ["stays", "goes", "returns", "comes.here", "given.up"]) await publisher.publish(type, "", 2);
    expect((await take(first, 2)).map(({ payload }) => payload)).toEqual([1, 2]);
    expect(await take(second, 1)).toMatchObject([{ type: "returns" }]);
    expect(await take(third, 1)).toMatchObject([{ type: "comes.here" }]);
    expect(hub.status()).toMatchObject({ subscriptions: 3, filters: 3 });
    for (const events of [first, second, third]) await events.return();
    await until(() => hub.status().filters === 0);
  });

  test("that were asked for when it broke are live once, wherever it broke: 150 times", async () => {
    const random = seeded(SEED);
    const { port, url, hub } = await openKeeping();
    const proxy = await openProxy(port, { toServer: 1, toClient: 1 });
    const client = openClient(proxy.url);
    const publisher = openClient(url);
    await Promise.all([client.reached("ready"), publisher.reached("ready")]);
    for (let n = 0; n < 150; n++) {
      const asked = client.subscribe("a", String(n));
      const leaving = random() < 0.3;
      const steps = Math.floor(random() * 6);
      for (let i = 0; i < steps; i++) await new Promise((resolve) => setImmediate(resolve));
      proxy.cut();
      const events = await asked;
      expect(hub.status().filters).toBeLessThanOrEqual(2);
      if (leaving) proxy.cut();
      else {
        await publisher.publish("a", String(n), n);
        expect(await take(events, 1)).toMatchObject([{ payload: n }]);
      }
      await events.return();
    }
    await client.reached("ready");
    await until(() => hub.status().filters === 0);
    expect(hub.status().malformed).toBe(0);
  });
});

describe("what cannot be resumed", () => {
  test.each([
    ["a hub that keeps no sessions", { resumeWindow: 0 }, "reconnect"],
    ["a session that expired", { resumeWindow: 1 }, "resume-expired"],
    ["more than the hub keeps for it", { outbox: 2000 }, "resume-expired"],
    ["a hub that keeps no links without a channel", { detached: 0 }, "resume-expired"],
  ] as const)("(%s) is a gap that says so, and all goes on", async (_, limits, reason) => {
    const { port, url, hub } = await openKeeping(limits);
    const proxy = await openProxy(port);
    const { client, log } = await subscriber(proxy.url);
    const publisher = openClient(url);
    await publisher.publish("flow.a", "p", 0);
    await until(() => log.received === 1);
    const comeBack = await away(proxy, client);
    for (let n = 1; n < 100; n++) await publisher.publish("flow.a", "p", n);
    await until(() => hub.status().links.length === 1);
    await comeBack();
    await publisher.publish("flow.a", "p", 100);
    await until(() => log.met.some((met) => "n" in met && met.n === 100));
    expect(log.met).toMatchObject([{ n: 0 }, { gap: { reason, lost: "unknown" } }, { n: 100 }]);
  });

  test("a hub that said goodbye ends the session: publishes are interrupted at once, and the next hub knows nothing", async () => {
    const first = await openKeeping();
    const { client, log } = await subscriber(first.url);
    await first.close();
    await client.reached("interrupted");
    expect(await outcome(client.publish("flow.a", "p", 0))).toBe("INTERRUPTED");
    await openKeeping({}, first.port);
    await client.reached("ready");
    await client.publish("flow.a", "p", 1);
    await until(() => log.received === 1);
    expect(log.met).toMatchObject([{ gap: { reason: "reconnect" } }, { n: 1 }]);
  });
});

describe("two ends that are attached again and again, without a hub", () => {
  /** Attaches both to a new pair of ports, whose messages can be stopped. */
  function attach(first: Link, second: Link): () => void {
    const { port1, port2 } = new MessageChannel();
    onTestFinished(() => port1.close());
    first.attach(workerChannel(port1));
    second.attach(workerChannel(port2));
    return () => port1.close();
  }

  function openEnd(): { link: Link; client: Client; log: Log } {
    const link = connectLink({ reattach: true });
    const log = new Log();
    const client = over(defineEventTarget(link, { eager: true }), [], { onGap: log.onGap, ...BUFFER });
    return { link, client, log };
  }

  test.each([
    ["after the old pair was closed", true],
    ["while the old pair is still open", false],
  ])("%s: everything goes both ways, once, without a gap", async (_, close) => {
    const [a, b] = [openEnd(), openEnd()];
    let stop = attach(a.link, b.link);
    a.log.read(await a.client.subscribe("flow.*", { own: false }));
    b.log.read(await b.client.subscribe("flow.*", { own: false }));
    const [down, up] = [new Flow(), new Flow()];
    down.start(a.client, "a", TOPICS, 50);
    up.start(b.client, "b", TOPICS, 50);
    for (let cut = 0; cut < 20; cut++) {
      const count = a.log.received + 100;
      await until(() => a.log.received > count && b.log.received > count);
      if (close) {
        stop();
        await Promise.all([a.client.reached("interrupted"), b.client.reached("interrupted")]);
      }
      stop = attach(a.link, b.link);
      await Promise.all([a.client.reached("ready"), b.client.reached("ready")]);
    }
    await Promise.all([down.stop(), up.stop()]);
    await drain(down, [["a", a.client]], b.log);
    await drain(up, [["b", b.client]], a.log);
    expect(judge(down, b.log, ["done"])).toMatchObject({ problems: [], gaps: 0, delivered: down.published });
    expect(judge(up, a.log, ["done"])).toMatchObject({ problems: [], gaps: 0, delivered: up.published });
  });

  test("a subscriber that attaches the next pair in the middle of a batch gets the rest of it once", async () => {
    const [a, b] = [openEnd(), openEnd()];
    attach(a.link, b.link);
    const got: unknown[] = [];
    await b.client.on("flow.a", ({ payload }) => {
      got.push(payload);
      if (payload === 3) attach(a.link, b.link);
    });
    await Promise.all([1, 2, 3, 4, 5, 6].map((n) => a.client.publish("flow.a", "", n)));
    // What would be sent again comes before it.
    await a.client.publish("flow.a", "", 7);
    expect(got).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([a.log.gaps, b.log.gaps]).toEqual([[], []]);
  });

  test("whoever reconnects is not told to when another channel is here already", async () => {
    const [a, b] = [openEnd(), openEnd()];
    let told = 0;
    a.link.onDetached = () => told++;
    attach(a.link, b.link);
    await a.client.subscribe("a");
    const stop = attach(a.link, b.link);
    await a.client.reached("ready");
    expect(told).toBe(0);
    stop();
    await a.client.reached("interrupted");
    expect(told).toBe(1);
  });
});
