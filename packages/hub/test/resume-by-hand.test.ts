// Resumption as a peer sees it that speaks the protocol by hand, and says what no client of ours would.
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import { createHub } from "@alkdev/hub";
import type { Hub, HubLimits, HubServer, HubServerOptions } from "@alkdev/hub";
import { workerChannel } from "@alkdev/pubsub/event-target-worker";
import { MessageChannel } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { openClient, openHub, until } from "./fixtures/open.ts";
import { dial, envelope, listen } from "./fixtures/peer.ts";
import type { Frame, Peer } from "./fixtures/peer.ts";

const KEEP = { resumeWindow: 30_000 };

interface Welcome {
  readonly session: string;
  readonly resumed: boolean;
  readonly received?: number;
  readonly resumeWindow: number;
}

function hello(nonce: string, more: object = {}): object {
  return envelope("$hello", { nonce, versions: [1], limits: { frame: 1 << 20 }, batch: true, ...more });
}

async function welcomeOf(peer: Peer, nonce: string): Promise<Welcome> {
  const known = peer.frames.find(
    (frame) => frame.type === "$welcome" && (frame.payload as { nonce: string }).nonce === nonce,
  );
  return (known ?? (await peer.next("$welcome", (payload) => payload["nonce"] === nonce))).payload;
}

/** A first connection: both sides have welcomed each other, and the filters are live. */
async function begin(url: string, ...filters: object[]): Promise<{ peer: Peer; session: string }> {
  const peer = dial(url);
  await peer.shakeHands({}, { resumeWindow: 30_000, session: "mine" });
  const { session } = await welcomeOf(peer, "n1");
  for (const [n, filter] of filters.entries()) {
    peer.send(envelope("$subscribe", { ref: n + 1, ...filter }));
    await peer.next("$subscribed");
  }
  await peer.ping();
  return { peer, session };
}

/** The next connection, which asks to go on. */
async function goOn(url: string, session: string, received: number, more: object = {}): Promise<[Peer, Welcome]> {
  const peer = dial(url);
  await peer.opened;
  peer.send(hello("n2", { session, received, ...more }));
  return [peer, await welcomeOf(peer, "n2")];
}

async function lose(peer: Peer, { hub }: HubServer): Promise<void> {
  peer.socket.terminate();
  await until(() => hub.status().links.some(({ attached }) => !attached));
}

function payloads(peer: Peer): unknown[] {
  return peer.events.map(({ payload }) => payload);
}

async function openKeeping(options: HubServerOptions = {}): Promise<{ server: HubServer; url: string; here: PubSub }> {
  const server = await openHub({ ...options, limits: { ...KEEP, ...options.limits } });
  const here = createPubSub({ eventTarget: server.hub.eventTarget, onError: () => undefined });
  onTestFinished(() => here.close());
  return { server, url: server.url, here };
}

describe("a link that lost its channel", () => {
  test.each([
    ["nothing", 0],
    ["one", 1],
    ["half of a batch", 3],
    ["all", 6],
  ])("and says it received %s is sent exactly the rest again, before what is new", async (_, received) => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await Promise.all([1, 2, 3, 4, 5, 6].map((n) => here.publish("a", "", n)));
    await until(() => peer.events.length === 6);
    await lose(peer, server);
    await here.publish("a", "", 7);
    const [next, welcome] = await goOn(url, session, received);
    await here.publish("a", "", 8);
    await next.ping();
    expect(welcome).toMatchObject({ resumed: true, received: 0, session });
    expect(payloads(next)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].slice(received));
    expect(server.hub.status().links).toMatchObject([{ id: 1, attached: true, subscriptions: 1 }]);
  });

  test("goes on as often as it likes, and what it published counts once", async () => {
    const { server, url, here } = await openKeeping();
    const got: unknown[] = [];
    await here.on("up", ({ payload }) => got.push(payload));
    const first = await begin(url, { type: "a" });
    const { session } = first;
    let { peer } = first;
    let sent = 0;
    for (let cut = 0; cut < 5; cut++) {
      peer.send(envelope("up", sent++), envelope("up", sent++));
      await peer.ping();
      await here.publish("a", "", cut);
      await lose(peer, server);
      const [next, welcome] = await goOn(url, session, cut);
      expect(welcome).toMatchObject({ resumed: true, received: sent });
      expect(await next.next("$ack")).toMatchObject({ payload: { received: sent } });
      expect(payloads(next)).toEqual([cut]);
      peer = next;
    }
    expect(got).toEqual(Array.from({ length: 10 }, (_, n) => n));
  });

  test("comes back while its old channel still looks open: the newest wins, and the old one is closed", async () => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await here.publish("a", "", 1);
    await until(() => peer.events.length === 1);
    const [next, welcome] = await goOn(url, session, 0);
    expect(welcome.resumed).toBe(true);
    await peer.closed;
    await here.publish("a", "", 2);
    await next.ping();
    expect([payloads(peer), payloads(next)]).toEqual([[1], [1, 2]]);
    expect(server.hub.status().links).toHaveLength(1);
  });

  test("repeats its hello on the new channel without being sent anything twice", async () => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await lose(peer, server);
    await here.publish("a", "", 1);
    const [next] = await goOn(url, session, 0);
    next.send(hello("n2", { session, received: 0 }));
    await next.ping();
    expect(payloads(next)).toEqual([1]);
  });

  test.each([
    ["more than was sent", 4],
    ["far more than was sent", Number.MAX_SAFE_INTEGER],
    ["less than it acknowledged", 1],
  ])("and says it received %s is told MALFORMED, and nothing of the session", async (_, received) => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await Promise.all([1, 2, 3].map((n) => here.publish("a", "", n)));
    await until(() => peer.events.length === 3);
    peer.send(envelope("$ack", { received: 2 }));
    await peer.ping();
    await lose(peer, server);
    const next = dial(url);
    await next.opened;
    next.send(hello("n2", { session, received }));
    expect(await next.next("$bye")).toMatchObject({ payload: { code: "MALFORMED" } });
    await next.closed;
    expect(next.events).toEqual([]);
    expect(server.hub.status().links).toEqual([]);
    // And that was the end of it.
    expect((await goOn(url, session, 3))[1].resumed).toBe(false);
  });

  test.each([
    ["no count", {}],
    ["a count that is none", { received: -1 }],
    ["a session that is no text", { session: 7, received: 1 }],
  ])("and names its session with %s is malformed, and may say it again properly", async (_, wrong) => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await lose(peer, server);
    await here.publish("a", "", 1);
    const next = dial(url);
    await next.opened;
    next.send(hello("n0", { session, ...wrong }), hello("n2", { session, received: 0 }));
    expect(await welcomeOf(next, "n2")).toMatchObject({ resumed: true });
    await next.ping();
    expect(payloads(next)).toEqual([1]);
    expect(server.hub.status().malformed).toBe(1);
  });

  test("is over after limits.resumeWindow, and its session unknown", async () => {
    const { server, url } = await openKeeping({ limits: { resumeWindow: 30 } });
    const { peer, session } = await begin(url, { type: "a" });
    await lose(peer, server);
    await until(() => server.hub.status().links.length === 0);
    expect(server.hub.status()).toMatchObject({ subscriptions: 0, filters: 0 });
    const [, welcome] = await goOn(url, session, 0);
    expect(welcome).toMatchObject({ resumed: false });
    expect(welcome.session).not.toBe(session);
    expect("received" in welcome).toBe(false);
  });

  test.each([
    ["unknown", "0".repeat(32)],
    ["empty", ""],
  ])("cannot go on with a session that is %s", async (_, session) => {
    const { url } = await openKeeping();
    expect((await goOn(url, session, 0))[1].resumed).toBe(false);
  });

  test("is not kept where the other side said nothing of resuming", async () => {
    const { server, url } = await openKeeping();
    const peer = dial(url);
    await peer.shakeHands();
    await peer.ping();
    peer.socket.terminate();
    await until(() => server.hub.status().links.length === 0);
  });

  test("is over for good after $bye, and after too many malformed frames", async () => {
    const { server, url } = await openKeeping();
    const first = await begin(url, { type: "a" });
    first.peer.send(envelope("$bye", { code: "DONE" }));
    await first.peer.closed;
    const second = await begin(url, { type: "a" });
    for (let n = 0; n < 17; n++) second.peer.send("{");
    expect(await second.peer.next("$bye")).toMatchObject({ payload: { code: "MALFORMED" } });
    await second.peer.closed;
    expect(server.hub.status()).toMatchObject({ links: [], filters: 0 });
    for (const { session } of [first, second]) expect((await goOn(url, session, 0))[1].resumed).toBe(false);
  });

  test("is over with its channel once anything malformed came, which may have been an event that nobody counted", async () => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    peer.send("{");
    await peer.ping();
    await here.publish("a", "", 1);
    await until(() => peer.events.length === 1);
    // While the old channel is still there, too.
    const [next, welcome] = await goOn(url, session, 0);
    await next.ping();
    expect([welcome.resumed, next.events]).toEqual([false, []]);
    peer.socket.terminate();
    await until(() => server.hub.status().links.length === 1);
    expect(server.hub.status()).toMatchObject({ filters: 0 });
  });

  test("is over for good where more came than limits.outbox keeps for it, and holds nothing any more", async () => {
    const { server, url, here } = await openKeeping({ limits: { outbox: 10_000 } });
    const { peer, session } = await begin(url, { type: "a" });
    await lose(peer, server);
    const big = "x".repeat(1000);
    for (let n = 0; n < 9; n++) await here.publish("a", "", big);
    const [link] = server.hub.status().links;
    expect(link?.buffered).toBeGreaterThan(9000);
    expect(link?.buffered).toBeLessThanOrEqual(10_000);
    await here.publish("a", "", big);
    expect(server.hub.status()).toMatchObject({ links: [], filters: 0 });
    const [next, welcome] = await goOn(url, session, 0);
    await next.ping();
    expect([welcome.resumed, next.events]).toEqual([false, []]);
  });

  test("that left more unacknowledged than limits.outbox is not kept; once it acknowledges, it is", async () => {
    const { server, url, here } = await openKeeping({ limits: { outbox: 10_000 } });
    const { peer, session } = await begin(url, { type: "a" });
    const big = "x".repeat(1000);
    for (let n = 0; n < 30; n++) await here.publish("a", "", big);
    await until(() => peer.events.length === 30);
    peer.send(envelope("$ack", { received: 30 }));
    await peer.ping();
    await here.publish("a", "", "kept");
    await lose(peer, server);
    const [next, welcome] = await goOn(url, session, 30);
    expect(welcome.resumed).toBe(true);
    await next.ping();
    expect(payloads(next)).toEqual(["kept"]);
    for (let n = 0; n < 30; n++) await here.publish("a", "", big);
    await until(() => next.events.length === 31);
    next.socket.terminate();
    await until(() => server.hub.status().links.length === 0);
  });

  test("is over first where limits.detached others lost theirs later", async () => {
    const { server, url } = await openKeeping({ limits: { detached: 2 } });
    const all = [await begin(url), await begin(url), await begin(url), await begin(url)];
    for (const [n, { peer }] of all.entries()) {
      peer.socket.terminate();
      const away = Math.min(n + 1, 2);
      await until(() => server.hub.status().links.length === all.length - n - 1 + away);
      await until(() => server.hub.status().links.filter(({ attached }) => !attached).length === away);
    }
    const resumed = [];
    for (const { session } of all) resumed.push((await goOn(url, session, 0))[1].resumed);
    expect(resumed).toEqual([false, false, true, true]);
  });

  test("finds its place although the hub is full of links that lost theirs", async () => {
    const { server, url } = await openKeeping({ limits: { links: 2 } });
    const all = [await begin(url), await begin(url)];
    for (const { peer } of all) peer.socket.terminate();
    await until(() => server.hub.status().links.every(({ attached }) => !attached));
    for (const { session } of all) expect((await goOn(url, session, 0))[1].resumed).toBe(true);
    const third = dial(url);
    expect(await third.closed).toMatchObject({ code: 1013, reason: "LIMIT" });
  });
});

describe("what was said while a link was away", () => {
  test("a refusal that may have got lost with the channel is said again, before the acknowledgement", async () => {
    const { server, url } = await openKeeping({ authorize: () => ({ publish: ["yes"] }) });
    const { peer, session } = await begin(url);
    peer.send(envelope("yes", 1), envelope("no", 2), envelope("no", 3), envelope("yes", 4), envelope("nono", 5));
    await peer.ping();
    await lose(peer, server);
    const [next] = await goOn(url, session, 0);
    await next.next("$ack");
    const said = next.frames.filter(({ type }) => type === "$refused" || type === "$ack");
    expect(said.map(({ type, payload }) => [type, (payload as { at?: number }).at])).toEqual([
      ["$refused", 2],
      ["$refused", 3],
      ["$refused", 5],
      ["$ack", undefined],
    ]);
  });

  test("refusals are forgotten once the far end is known to have them, however many there are", async () => {
    const { server, url } = await openKeeping({ authorize: () => ({ publish: [] }) });
    const { peer, session } = await begin(url);
    const count = 20_000;
    // No two alike in a row. A peer answers the hub's questions.
    let answered = 0;
    const answer = (): void => {
      const pings = peer.frames.filter(({ type }) => type === "$ping").length;
      for (; answered < pings; answered++) peer.send(envelope("$pong", null));
    };
    for (let n = 0; n < count; n += 1000) {
      peer.send(Array.from({ length: 1000 }, (_, i) => envelope(`t${(n + i) % 2}`, n + i)));
      await peer.ping();
      answer();
    }
    await peer.ping();
    await lose(peer, server);
    const [next, welcome] = await goOn(url, session, 0);
    expect(welcome).toMatchObject({ resumed: true, received: count });
    await next.next("$ack");
    const again = next.frames.filter(({ type }) => type === "$refused").length;
    expect(answered).toBeGreaterThan(5);
    expect(again).toBeLessThan(4096);
  });

  test("where too many refusals wait for a sign, the session ends with its channel rather than keep them all", async () => {
    const { server, url } = await openKeeping({ authorize: () => ({ publish: [] }) });
    const { peer } = await begin(url);
    peer.send(Array.from({ length: 9000 }, (_, n) => envelope(`t${n % 2}`, n)));
    await peer.ping();
    peer.socket.terminate();
    await until(() => server.hub.status().links.length === 0);
  });

  test("an event that is too large for it is a gap in its place", async () => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await lose(peer, server);
    await here.publish("a", "", 1);
    await here.publish("a", "", "x".repeat(2000));
    await here.publish("a", "", 2);
    const [next] = await goOn(url, session, 0, { limits: { frame: 1000 } });
    await next.ping();
    const met = next.frames.filter(({ type }) => type === "a" || type === "$gap");
    expect(met.map(({ type, payload }) => (type === "a" ? payload : (payload as { reason: string }).reason))).toEqual([
      1,
      "overflow",
      2,
    ]);
  });

  test("an event that is no JSON is a gap in its place, and rejects for its publisher", async () => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await lose(peer, server);
    await here.publish("a", "", 1);
    await expect(here.publish("a", "", 2n)).rejects.toMatchObject({ code: "PAYLOAD" });
    await here.publish("a", "", 3);
    const [next] = await goOn(url, session, 0);
    await next.ping();
    const met = next.frames.filter(({ type }) => type === "a" || type === "$gap");
    expect(met.map(({ type }) => type)).toEqual(["a", "$gap", "a"]);
  });

  test.each([
    ["before the last event that arrived is not told again", 3, ["a"]],
    ["at the end of what arrived is told again", 2, ["$gap", "a", "a"]],
    ["after what arrived is told again in its place", 1, ["a", "$gap", "a", "a"]],
  ])("a gap %s", async (_, received, expected) => {
    const { server, url, here } = await openKeeping();
    const peer = dial(url);
    const limits = { frame: 1000 };
    await peer.shakeHands({ limits }, { resumeWindow: 30_000, limits });
    const { session } = await welcomeOf(peer, "n1");
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
    await peer.next("$subscribed");
    for (const payload of [1, 2, "x".repeat(2000), 3]) await here.publish("a", "", payload);
    await peer.ping();
    expect(peer.frames.filter(({ type }) => type === "a" || type === "$gap").map(({ type }) => type)).toEqual([
      "a",
      "a",
      "$gap",
      "a",
    ]);
    await lose(peer, server);
    await here.publish("a", "", 4);
    const [next] = await goOn(url, session, received, { limits: { frame: 1000 } });
    await next.ping();
    expect(next.frames.filter(({ type }) => type === "a" || type === "$gap").map(({ type }) => type)).toEqual(expected);
  });

  test("subscriptions that it does not want any more are dropped at $keep, the others go on", async () => {
    const { server, url, here } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" }, { type: "b" }, { type: "c.*" });
    await lose(peer, server);
    const [next] = await goOn(url, session, 0);
    next.send(envelope("$keep", { refs: [2] }));
    await next.ping();
    for (const type of ["a", "b", "c.d"]) await here.publish(type, "", null);
    await next.ping();
    expect(next.events.map(({ type }) => type)).toEqual(["b"]);
    expect(server.hub.status()).toMatchObject({ subscriptions: 1, filters: 1 });
  });

  test("a subscription that is not there any more is refused at $keep", async () => {
    const { server, url } = await openKeeping();
    const { peer, session } = await begin(url, { type: "a" });
    await lose(peer, server);
    const [next] = await goOn(url, session, 0);
    next.send(envelope("$keep", { refs: [1, 7] }));
    expect(await next.next("$refused")).toMatchObject({ payload: { ref: 7, code: "REFUSED" } });
  });

  test("a grant that was taken away: the subscription is refused after what it was owed, the others go on", async () => {
    let grant: { subscribe?: string[] } = {};
    const { server, url, here } = await openKeeping({
      authorize: () => grant,
    });
    const { peer, session } = await begin(url, { type: "a" }, { type: "b" });
    await lose(peer, server);
    await here.publish("a", "", 1);
    grant = { subscribe: ["b"] };
    const [next] = await goOn(url, session, 0);
    next.send(envelope("$keep", { refs: [1, 2] }));
    await next.ping();
    await here.publish("a", "", 2);
    await here.publish("b", "", 3);
    await next.ping();
    const met = next.frames.filter(({ type }) => ["a", "b", "$refused"].includes(type));
    expect(met[0]).toMatchObject({ type: "a", payload: 1 });
    expect(met[1]).toMatchObject({ type: "$refused", payload: { ref: 1, code: "REFUSED" } });
    expect(met.at(-1)).toMatchObject({ type: "b", payload: 3 });
    expect(met.filter(({ type }) => type === "a")).toHaveLength(1);
    expect(server.hub.status()).toMatchObject({ subscriptions: 1, filters: 1 });
  });
});

/** The last hello that came. */
function helloOf(frames: Frame[]): { nonce: string } {
  return (frames.findLast(({ type }) => type === "$hello") as Frame).payload;
}

/** A peer on a port, by hand. */
function onPort(hub: Hub, identity?: string): { frames: Frame[]; send: (...frames: object[]) => void } {
  const { port1, port2 } = new MessageChannel();
  hub.connect(workerChannel(port1), identity);
  const frames: Frame[] = [];
  port2.on("message", (data: Frame | Frame[]) => frames.push(...(Array.isArray(data) ? data : [data])));
  onTestFinished(() => port2.close());
  return { frames, send: (...all) => all.forEach((frame) => port2.postMessage(frame)) };
}

function openBareHub(limits: HubLimits, authorize?: HubServerOptions["authorize"]): Hub {
  const hub = createHub({ limits: { ...KEEP, ...limits }, ...(authorize !== undefined && { authorize }) });
  onTestFinished(() => hub.close());
  return hub;
}

/** A link of an identity that has a session, over a port. */
async function beginAs(
  hub: Hub,
  identity: string | undefined,
): Promise<{ session: string; peer: ReturnType<typeof onPort> }> {
  const peer = onPort(hub, identity);
  await until(() => peer.frames.some(({ type }) => type === "$hello"));
  const { nonce } = helloOf(peer.frames);
  peer.send(
    hello("n1"),
    envelope("$welcome", { nonce, version: 1, session: "mine", resumed: false, resumeWindow: 30_000 }),
    envelope("$subscribe", { ref: 1, type: "a" }),
  );
  await until(() => peer.frames.some(({ type }) => type === "$subscribed"));
  const welcome = peer.frames.find(({ type }) => type === "$welcome")?.payload as unknown as Welcome;
  return { session: welcome.session, peer };
}

describe("a session belongs to who began it", () => {
  test.each([
    ["ann", "bob"],
    ["ann", undefined],
    [undefined, "ann"],
  ])("that of %s is unknown to %s, and goes on undisturbed", async (owner, thief) => {
    const hub = openBareHub({});
    const here = createPubSub({ eventTarget: hub.eventTarget });
    onTestFinished(() => here.close());
    const { session, peer } = await beginAs(hub, owner);
    await here.publish("a", "", "secret");
    const other = onPort(hub, thief);
    other.send(hello("n2", { session, received: 0 }));
    await until(() => other.frames.some(({ type }) => type === "$welcome"));
    await here.publish("a", "", "more");
    await until(() => peer.frames.filter(({ type }) => type === "a").length === 2);
    expect(other.frames.find(({ type }) => type === "$welcome")?.payload).toMatchObject({ resumed: false });
    expect(other.frames.filter(({ type }) => type === "a")).toEqual([]);
  });

  test("its own identity takes it over a port as well", async () => {
    const hub = openBareHub({});
    const { session } = await beginAs(hub, "ann");
    const other = onPort(hub, "ann");
    other.send(hello("n2", { session, received: 0 }));
    await until(() => other.frames.some(({ type }) => type === "$welcome"));
    expect(other.frames.find(({ type }) => type === "$welcome")?.payload).toMatchObject({ resumed: true });
    expect(hub.status().links).toMatchObject([{ id: 1, identity: "ann", subscriptions: 1 }]);
  });

  test("a peer that restarts on the same channel is at the beginning, whatever it names", async () => {
    const hub = openBareHub({});
    const here = createPubSub({ eventTarget: hub.eventTarget });
    onTestFinished(() => here.close());
    const { session, peer } = await beginAs(hub, "ann");
    await here.publish("a", "", 1);
    peer.send(hello("n9", { session, received: 1 }));
    await until(() => peer.frames.filter(({ type }) => type === "$welcome").length === 2);
    expect(peer.frames.findLast(({ type }) => type === "$welcome")?.payload).toMatchObject({ resumed: false });
    expect(hub.status()).toMatchObject({ subscriptions: 0, filters: 0, malformed: 0 });
    // It counts anew, both ways.
    const { nonce } = helloOf(peer.frames);
    peer.send(
      envelope("$welcome", { nonce, version: 1, session: "mine", resumed: false, resumeWindow: 30_000 }),
      envelope("$subscribe", { ref: 1, type: "a" }),
      envelope("b", 1),
    );
    await until(() => peer.frames.some(({ type, payload }) => type === "$ack" && payload["received"] === 1));
    await here.publish("a", "", 2);
    peer.send(envelope("$ack", { received: 1 }), envelope("$ping", null));
    await until(() => peer.frames.some(({ type }) => type === "$pong"));
    expect(hub.status().malformed).toBe(0);
  });
});

describe("a client", () => {
  /** A hub by hand that has welcomed its client. */
  async function welcome(peer: Peer, payload: object): Promise<Frame> {
    await peer.opened;
    const said = peer.frames.find(({ type }) => type === "$hello") ?? (await peer.next("$hello"));
    peer.send(hello("hub"));
    await peer.welcome({ resumeWindow: 30_000, ...payload });
    return said;
  }

  test("asks for its session and says what it received; without the offer it does not", async () => {
    const hub = await listen();
    const client = openClient(hub.url, {}, { onGap: "ignore" });
    const first = await hub.next();
    expect(await welcome(first, { session: "s1" })).not.toHaveProperty("payload.session");
    const subscribing = client.subscribe("a");
    first.send(envelope("$subscribed", (await first.next("$subscribe")).payload));
    const events = await subscribing;
    first.send([envelope("a", 1), envelope("a", 2)]);
    await events.next();
    await events.next();
    first.socket.terminate();
    const second = await hub.next();
    const said = await welcome(second, { session: "s2", resumeWindow: 0 });
    expect(said.payload).toMatchObject({ session: "s1", received: 2 });
    const again = await second.next("$subscribe");
    second.send(envelope("$subscribed", again.payload));
    await client.reached("ready");
    second.socket.terminate();
    const third = await hub.next();
    expect(await welcome(third, {})).not.toHaveProperty("payload.session");
  });

  test.each([
    ["more than it sent", 2],
    ["less than was acknowledged", 0],
  ])("that is told its hub received %s gives up the session, and begins anew with a gap", async (_, received) => {
    const hub = await listen();
    const gaps: string[] = [];
    const client = openClient(hub.url, {}, { onGap: ({ reason }) => gaps.push(reason) });
    const first = await hub.next();
    await welcome(first, { session: "s1" });
    const subscribing = client.subscribe("a");
    first.send(envelope("$subscribed", (await first.next("$subscribe")).payload));
    const events = await subscribing;
    const published = client.publish("b", "", 1);
    await first.next("b");
    first.send(envelope("$ack", { received: 1 }));
    await published;
    first.socket.terminate();
    const second = await hub.next();
    await welcome(second, { session: "s1", resumed: true, received });
    expect(await second.next("$bye")).toMatchObject({ payload: { code: "MALFORMED" } });
    const third = await hub.next();
    expect(await welcome(third, { session: "s3" })).not.toHaveProperty("payload.session");
    third.send(envelope("$subscribed", (await third.next("$subscribe")).payload), envelope("a", 5));
    expect((await events.next()).value?.payload).toBe(5);
    expect(gaps).toEqual(["reconnect"]);
  });

  test("that is told of another session than it asked for has a gap, and what it had sent is interrupted", async () => {
    const hub = await listen();
    const gaps: string[] = [];
    const client = openClient(hub.url, {}, { onGap: ({ reason }) => gaps.push(reason) });
    const first = await hub.next();
    await welcome(first, { session: "s1" });
    const subscribing = client.subscribe("a");
    first.send(envelope("$subscribed", (await first.next("$subscribe")).payload));
    const events = await subscribing;
    const sent = client.publish("b", "", "sent");
    sent.catch(() => undefined);
    await first.next("b");
    first.socket.terminate();
    await client.reached("interrupted");
    const held = client.publish("b", "", "held");
    const second = await hub.next();
    // Lying about it, too.
    await welcome(second, { session: "s2", resumed: true, received: 0 });
    await expect(sent).rejects.toMatchObject({ code: "INTERRUPTED" });
    second.send(envelope("$subscribed", (await second.next("$subscribe")).payload), envelope("a", 5));
    second.send(envelope("$ack", { received: 1 }));
    await held;
    expect(payloads(second)).toEqual(["held"]);
    expect((await events.next()).value?.payload).toBe(5);
    expect(gaps).toEqual(["resume-expired"]);
  });

  test("that was sent something malformed does not go on with the session, and has a gap", async () => {
    const hub = await listen();
    const gaps: string[] = [];
    const client = openClient(hub.url, {}, { onGap: ({ reason }) => gaps.push(reason) });
    const first = await hub.next();
    await welcome(first, { session: "s1" });
    const subscribing = client.subscribe("a");
    first.send(envelope("$subscribed", (await first.next("$subscribe")).payload));
    const events = await subscribing;
    first.send({ type: "a" });
    await first.ping();
    first.socket.terminate();
    const second = await hub.next();
    expect(await welcome(second, { session: "s2" })).not.toHaveProperty("payload.session");
    second.send(envelope("$subscribed", (await second.next("$subscribe")).payload), envelope("a", 5));
    expect((await events.next()).value?.payload).toBe(5);
    expect(gaps).toEqual(["reconnect"]);
  });

  test("keeps the subscription of a peer that asked before it answered", async () => {
    const hub = await listen();
    const client = openClient(hub.url, {}, { onGap: "ignore" });
    const peer = await hub.next();
    await peer.opened;
    await peer.next("$hello");
    // The hello was answered to nobody yet; a far end of two may ask already.
    peer.send(hello("far"));
    await peer.next("$welcome");
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
    await peer.next("$subscribed");
    await peer.welcome({ echo: false });
    await client.reached("ready");
    void client.publish("a", "", 1).catch(() => undefined);
    expect(await peer.next("a")).toMatchObject({ payload: 1 });
  });
});
