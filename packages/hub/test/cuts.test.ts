// Cuts while thousands of events a second flow: what was accepted is delivered, or lies inside a gap.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { Flow, judge, Log } from "./fixtures/flow.ts";
import { openClient, openHub, openProxy, seeded, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";

const SEED = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const BUFFER = { buffer: { limit: 2 ** 22 } };

/** A subscriber whose log says what it met, and that has read all there is. */
async function subscriber(url: string, options: Parameters<typeof openClient>[1] = {}) {
  const log = new Log();
  const client = openClient(url, options, { onGap: log.onGap, ...BUFFER });
  log.read(await client.subscribe("flow.*"));
  return { client, log };
}

/** Publishes one more event to every stream and waits until it came to all, so that nothing is on its way any more. */
async function drain(flow: Flow, publishers: readonly [string, Client][], ...logs: Log[]): Promise<void> {
  for (const [name, client] of publishers)
    for (const topic of TOPICS) {
      await client.reached("ready");
      while ((await flow.publish(client, name, topic)) !== "done") await client.reached("ready");
    }
  const lasts = [...flow.outcomes].map(([stream, outcomes]) => ({ stream, n: outcomes.length - 1 }));
  for (const { met } of logs)
    for (const last of lasts)
      await until(() =>
        met.slice(-1000).some((each) => "stream" in each && each.stream === last.stream && each.n === last.n),
      );
}

const TOPICS = ["flow.a", "flow.b"];

describe("cut mid-stream", () => {
  test.each([
    ["of a subscriber", "toSubscriber", 100, ""],
    ["of a publisher", "toPublisher", 100, ""],
    ["of both, in turn", "both", 100, ""],
    ["of both at once", "together", 100, ""],
    ["of both, with large events in flight", "both", 200, "x".repeat(8000)],
  ] as const)(
    "%s: every accepted event is delivered or inside a gap, in order, never twice",
    async (_, which, window, padding) => {
      const random = seeded(SEED);
      const { port, hub } = await openHub();
      const proxies = { subscriber: await openProxy(port), publisher: await openProxy(port) };
      const { client, log } = await subscriber(proxies.subscriber.url);
      const publishers: [string, Client][] = ["p1", "p2"].map((name) => [name, openClient(proxies.publisher.url)]);
      const bystander = await subscriber(`ws://127.0.0.1:${port}`);
      const flow = new Flow();
      for (const [name, each] of publishers) flow.start(each, name, TOPICS, window, padding);
      const cuts = 8;
      for (let cut = 0; cut < cuts; cut++) {
        const count = log.received + 50 + Math.floor(random() * (padding === "" ? 3000 : 500));
        await until(() => log.received >= count);
        const { accepted } = proxies.subscriber;
        if (which !== "toPublisher" && (which !== "both" || cut % 2 === 0)) proxies.subscriber.cut();
        if (which !== "toSubscriber" && (which !== "both" || cut % 2 === 1)) proxies.publisher.cut();
        if (which === "toSubscriber" || which === "together") await until(() => proxies.subscriber.accepted > accepted);
        await client.reached("ready");
      }
      await flow.stop();
      await drain(flow, publishers, log, bystander.log);
      const figures = judge(flow, log);
      expect({ ...figures, seed: SEED }).toMatchObject({ problems: [], seed: SEED });
      expect(figures.published).toBeGreaterThan(padding === "" ? 4000 : 1000);
      const cutsOfSubscriber = which === "toPublisher" ? 0 : which === "both" ? cuts / 2 : cuts;
      // Two gaps with nothing between them are one.
      expect(figures.gaps).toBeLessThanOrEqual(cutsOfSubscriber);
      if (cutsOfSubscriber > 0) expect(figures.gaps).toBeGreaterThan(0);
      if (which !== "toSubscriber") expect(figures.interrupted).toBeGreaterThan(0);
      // Whose connection held has all that was accepted, and no gap.
      expect({ ...judge(flow, bystander.log), seed: SEED }).toMatchObject({
        problems: [],
        inGaps: 0,
        gaps: 0,
        seed: SEED,
      });
      expect(hub.status()).toMatchObject({ malformed: 0, slow: 0 });
      if (process.env["FIGURES"] !== undefined) console.log(which, figures);
    },
  );

  test("without the gaps the same cuts are silent losses: the control", async () => {
    const { port } = await openHub();
    const proxy = await openProxy(port);
    const { client, log } = await subscriber(proxy.url);
    const publisher = openClient(`ws://127.0.0.1:${port}`);
    const flow = new Flow();
    flow.start(publisher, "p1", TOPICS, 100);
    for (let cut = 0; cut < 3; cut++) {
      const count = log.received + 500;
      await until(() => log.received >= count);
      const { accepted } = proxy;
      proxy.cut();
      await until(() => proxy.accepted > accepted);
      await client.reached("ready");
    }
    await flow.stop();
    await drain(flow, [["p1", publisher]], log);
    expect(judge(flow, log)).toMatchObject({ problems: [] });
    const blind = new Log();
    blind.met.push(...log.met.filter((met) => !("gap" in met)));
    expect(judge(flow, blind).problems.length).toBeGreaterThan(0);
  });

  test("a half-closed connection counts as cut", async () => {
    const { port } = await openHub();
    const proxy = await openProxy(port);
    const { client, log } = await subscriber(proxy.url);
    const publisher = openClient(`ws://127.0.0.1:${port}`);
    const flow = new Flow();
    flow.start(publisher, "p1", TOPICS, 50);
    await until(() => log.received >= 200);
    proxy.halfClose();
    await client.reached("interrupted");
    await client.reached("ready");
    await flow.stop();
    await drain(flow, [["p1", publisher]], log);
    expect(judge(flow, log)).toMatchObject({ problems: [], gaps: 1 });
  });
});

describe("a black hole", () => {
  test.each(["both", "toClient", "toServer"] as const)(
    "(%s) in front of a subscriber is noticed within the heartbeat's limits, by both sides, and is a gap",
    async (direction) => {
      const heartbeat = 60;
      const { port, hub } = await openHub({ limits: { heartbeat } });
      const proxy = await openProxy(port);
      const { client, log } = await subscriber(proxy.url, { heartbeat, attemptTimeout: 200 });
      const publisher = openClient(`ws://127.0.0.1:${port}`, { heartbeat });
      const flow = new Flow();
      flow.start(publisher, "p1", TOPICS, 20);
      await until(() => log.received >= 200);
      const [link] = hub.status().links;
      const frozen = Date.now();
      if (direction === "both") proxy.freeze();
      else proxy.freeze(direction);
      await client.reached("interrupted");
      const noticed = Date.now() - frozen;
      await until(() => hub.status().links.every(({ id }) => id !== link?.id));
      // Asked after one heartbeat, given up after two, looked at every half; and a machine may be busy.
      expect(noticed).toBeLessThan(heartbeat * 2.5 + 1500);
      proxy.thaw();
      await client.reached("ready");
      await flow.stop();
      await drain(flow, [["p1", publisher]], log);
      const figures = judge(flow, log);
      expect(figures).toMatchObject({ problems: [], gaps: 1, interrupted: 0 });
      expect(figures.inGaps).toBeGreaterThan(0);
    },
  );

  test("in front of a publisher interrupts what is in flight, and nothing is lost or delivered twice", async () => {
    const heartbeat = 60;
    const { port } = await openHub({ limits: { heartbeat } });
    const proxy = await openProxy(port);
    const { log } = await subscriber(`ws://127.0.0.1:${port}`, { heartbeat });
    const publisher = openClient(proxy.url, { heartbeat, attemptTimeout: 200 });
    const flow = new Flow();
    flow.start(publisher, "p1", TOPICS, 20);
    await until(() => log.received >= 200);
    proxy.freeze();
    await publisher.reached("interrupted");
    proxy.thaw();
    await publisher.reached("ready");
    await flow.stop();
    await drain(flow, [["p1", publisher]], log);
    const figures = judge(flow, log);
    expect(figures).toMatchObject({ problems: [], gaps: 0, inGaps: 0 });
    expect(figures.interrupted).toBeGreaterThan(0);
  });

  test("of shorter duration than the heartbeat's limits is no cut at all", async () => {
    const { port } = await openHub();
    const proxy = await openProxy(port);
    const { client, log } = await subscriber(proxy.url);
    const publisher = openClient(`ws://127.0.0.1:${port}`);
    const flow = new Flow();
    flow.start(publisher, "p1", TOPICS, 20);
    for (let times = 0; times < 5; times++) {
      const count = log.received + 100;
      await until(() => log.received >= count);
      proxy.freeze();
      const { published } = flow;
      await until(() => flow.published > published + 200);
      proxy.thaw();
    }
    await flow.stop();
    await drain(flow, [["p1", publisher]], log);
    expect(judge(flow, log)).toMatchObject({ problems: [], gaps: 0, inGaps: 0, interrupted: 0 });
    expect(client.statuses).toEqual(["ready"]);
  });
});

describe("a hub in its own process", () => {
  const script = fileURLToPath(new URL("./fixtures/hub-process.mjs", import.meta.url));

  async function spawnHub(
    port = 0,
    heartbeat = 10_000,
    resumeWindow = 0,
  ): Promise<{ child: ChildProcess; port: number; url: string }> {
    const child = spawn(process.execPath, [script, String(port), String(heartbeat), String(resumeWindow)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    return { child, port: Number(line), url: `ws://127.0.0.1:${line}` };
  }

  test.each([
    ["without a buffer", 0, "reconnect"],
    ["with its buffer, which dies with it", 30_000, "resume-expired"],
  ] as const)(
    "killed and started again on its port, %s: clients return, subscribe again, and each has one gap before what is new",
    async (_, resumeWindow, reason) => {
      const { child, port, url } = await spawnHub(0, 10_000, resumeWindow);
      const subscribers = await Promise.all([1, 2, 3].map(() => subscriber(url)));
      const publisher = openClient(url);
      const flow = new Flow();
      flow.start(publisher, "p1", TOPICS, 50);
      await until(() => subscribers.every(({ log }) => log.received >= 500));
      const died = once(child, "exit");
      child.kill("SIGKILL");
      await died;
      await Promise.all(subscribers.map(({ client }) => client.reached("interrupted")));
      const before = subscribers.map(({ log }) => log.received);
      await spawnHub(port, 10_000, resumeWindow);
      await Promise.all(subscribers.map(({ client }) => client.reached("ready")));
      await flow.stop();
      await drain(flow, [["p1", publisher]], ...subscribers.map(({ log }) => log));
      for (const [index, { client, log }] of subscribers.entries()) {
        expect(judge(flow, log)).toMatchObject({ problems: [], gaps: 1 });
        // The gap stands between what came before the end of the first hub and what came of the second.
        const at = log.met.findIndex((met) => "gap" in met);
        expect(at).toBeGreaterThanOrEqual(500);
        expect(at).toBeLessThanOrEqual(before[index] ?? 0);
        expect(log.gaps[0]).toMatchObject({ reason, lost: "unknown" });
        expect((log.gaps[0]?.until ?? 0) >= (log.gaps[0]?.since ?? Infinity)).toBe(true);
        expect(client.statuses).toEqual(["ready", "interrupted", "ready"]);
      }
    },
  );

  test("is ready again only once everything is subscribed: what is published then arrives", async () => {
    const { child, port, url } = await spawnHub();
    const client = openClient(url, {}, { onGap: "ignore" });
    const topics = Array.from({ length: 300 }, (_, n) => String(n));
    const subscriptions = await Promise.all(topics.map((id) => client.subscribe("flow.a", id)));
    child.kill("SIGKILL");
    await client.reached("interrupted");
    const publisher = openClient(url);
    const arrived = new Promise<void>((resolve, reject) => {
      const stop = client.target.onStatus((status) => {
        if (status !== "ready") return;
        stop();
        // In this very moment, from another connection.
        Promise.all(topics.map((id) => publisher.publish("flow.a", id, null))).then(() => resolve(), reject);
      });
    });
    await spawnHub(port);
    await arrived;
    for (const events of subscriptions) expect((await events.next()).done).toBe(false);
  });

  test.each([
    ["a gap afterwards", 0],
    ["nothing missing where it keeps its links", 30_000],
  ])("stopped and continued (a suspended machine): noticed by the heartbeat, and %s", async (_, resumeWindow) => {
    const { child, url } = await spawnHub(0, 60, resumeWindow);
    const { client, log } = await subscriber(url, { heartbeat: 60, attemptTimeout: 200 });
    const publisher = openClient(url, { heartbeat: 60, attemptTimeout: 200 });
    const flow = new Flow();
    flow.start(publisher, "p1", TOPICS, 20);
    await until(() => log.received >= 100);
    child.kill("SIGSTOP");
    await Promise.all([client.reached("interrupted"), publisher.reached("interrupted")]);
    child.kill("SIGCONT");
    await Promise.all([client.reached("ready"), publisher.reached("ready")]);
    await flow.stop();
    await drain(flow, [["p1", publisher]], log);
    const figures = judge(flow, log);
    expect(figures.problems).toEqual([]);
    if (resumeWindow === 0) expect(figures.gaps).toBeGreaterThanOrEqual(1);
    else expect(figures.gaps).toBe(0);
  });
});

describe("cut mid-stream, with a hub that keeps its links", () => {
  test("of subscriber and publisher together, 20 times: everything arrives once, and no publish is interrupted", async () => {
    const { port, hub } = await openHub({ limits: { resumeWindow: 30_000 } });
    const proxies = { subscriber: await openProxy(port), publisher: await openProxy(port) };
    const { client, log } = await subscriber(proxies.subscriber.url);
    const publishers: [string, Client][] = ["p1", "p2"].map((name) => [name, openClient(proxies.publisher.url)]);
    const flow = new Flow();
    for (const [name, each] of publishers) flow.start(each, name, TOPICS, 50);
    for (let cut = 0; cut < 20; cut++) {
      const count = log.received + 200;
      await until(() => log.received >= count);
      proxies.subscriber.cut();
      proxies.publisher.cut();
      await client.reached("ready");
    }
    await flow.stop();
    await drain(flow, publishers, log);
    expect(judge(flow, log)).toMatchObject({ problems: [], gaps: 0 });
    expect(new Set([...flow.outcomes.values()].flat())).toEqual(new Set(["done"]));
    // The same links all the while: nothing is left of the channels that were lost.
    expect(hub.status().links.map(({ id, attached }) => [id <= 3, attached])).toEqual([
      [true, true],
      [true, true],
      [true, true],
    ]);
  });
});
