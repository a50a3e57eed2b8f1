// The link protocol against peers that speak it by hand: to a hub, and as a hub.
import { PayloadError } from "@alkdev/pubsub";
import { createWebSocketEventTarget } from "@alkdev/pubsub/event-target-websocket";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { openClient, openHub, over, take, until } from "./fixtures/open.ts";
import { dial, envelope, listen } from "./fixtures/peer.ts";
import type { Peer } from "./fixtures/peer.ts";

const outcome = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(() => "done").catch((error: unknown) => error);

/** A hub with a peer that has shaken hands, and a client that sees every event. */
async function withWatcher() {
  const server = await openHub();
  const peer = dial(server.url);
  await peer.shakeHands();
  const watcher = openClient(server.url);
  const events = await watcher.subscribe("**");
  return { server, peer, watcher, events };
}

/** A client whose hub is in the test's hands. */
async function byHand(options: Parameters<typeof openClient>[1] = {}, welcome: object = {}) {
  const server = await listen();
  const client = openClient(server.url, options);
  const peer = await server.next();
  await peer.shakeHands({}, welcome);
  await client.reached("ready");
  return { server, client, peer };
}

/** Answers the next `$subscribe`. */
async function admit(peer: Peer): Promise<number> {
  const { ref } = (await peer.next("$subscribe")).payload as { ref: number };
  peer.send(envelope("$subscribed", { ref }));
  return ref;
}

describe("the handshake", () => {
  test("every hello is answered with its own nonce, and a repeated one changes nothing", async () => {
    const { url, hub } = await openHub();
    const peer = dial(url);
    await peer.shakeHands();
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
    await peer.next("$subscribed");
    const hello = envelope("$hello", { nonce: "n1", versions: [1], limits: { frame: 1 << 20 }, batch: true });
    // It says its own hello once, or again where the welcome took its time; not because of ours.
    const hellos = (): number => peer.frames.filter(({ type }) => type === "$hello").length;
    const before = hellos();
    peer.send(hello, [hello, hello]);
    await peer.ping();
    const welcomes = peer.frames.filter(({ type }) => type === "$welcome").map(({ payload }) => payload as object);
    expect(welcomes).toHaveLength(4);
    for (const welcome of welcomes)
      expect(welcome).toMatchObject({
        nonce: "n1",
        version: 1,
        resumed: false,
        echo: true,
        limits: { frame: 1 << 20 },
      });
    expect(hub.status().subscriptions).toBe(1);
    expect(hellos()).toBe(before);
  });

  test("a new nonce on the same channel is a peer that restarted: its subscriptions are dropped", async () => {
    const { url, hub } = await openHub();
    const peer = dial(url);
    await peer.shakeHands();
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
    await peer.next("$subscribed");
    peer.send(envelope("$hello", { nonce: "n2", versions: [1] }));
    await peer.next("$welcome", ({ nonce }) => nonce === "n2");
    expect(hub.status().subscriptions).toBe(0);
    // Both start from nothing: the reference is free again, and the counts of events begin at zero.
    await peer.next("$hello");
    await peer.welcome();
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }), envelope("a", 1));
    await peer.next("$subscribed");
    await peer.next("a");
    expect((await peer.next("$ack")).payload).toEqual({ received: 1 });
  });

  test("the hello of a peer that restarted counts as it stands: what it does not say, it does not take", async () => {
    const { url } = await openHub();
    const peer = dial(url);
    await peer.shakeHands({ limits: { frame: 2000 }, batch: true });
    // Without arrays, and with the limit of the hub for its own.
    peer.send(envelope("$hello", { nonce: "n2", versions: [1] }));
    await peer.next("$welcome", ({ nonce }) => nonce === "n2");
    await peer.welcome();
    const from = peer.messages.length;
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }), [
      envelope("a", "x".repeat(5000)),
      envelope("a", 2),
      envelope("a", 3),
    ]);
    while ((await peer.next("a")).payload !== 3);
    const messages = peer.messages.slice(from);
    expect(messages.filter((text) => text.startsWith("["))).toEqual([]);
    expect(messages.filter((text) => text.length > 5000)).toHaveLength(1);
  });

  test("a hub that restarts on the same channel is a gap: publishes in flight are interrupted, subscriptions renewed", async () => {
    const { client, peer } = await byHand();
    const gaps: unknown[] = [];
    const subscribing = client.subscribe("a", { onGap: (gap) => gaps.push(gap) });
    await admit(peer);
    const events = await subscribing;
    peer.send(envelope("a", 1));
    expect((await take(events, 1))[0]?.payload).toBe(1);
    const published = outcome(client.publish("b", "", null));
    await peer.next("b");
    peer.send(envelope("$hello", { nonce: "n2", versions: [1] }));
    expect(await published).toMatchObject({ code: "INTERRUPTED" });
    expect(client.status).toBe("interrupted");
    expect(await outcome(client.publish("b", "", null))).toMatchObject({ code: "INTERRUPTED" });
    await peer.welcome();
    await peer.next("$subscribe");
    expect(client.status).toBe("interrupted");
    peer.send(envelope("$subscribed", { ref: 2 }));
    peer.send(envelope("a", 2));
    expect((await take(events, 1))[0]?.payload).toBe(2);
    await client.reached("ready");
    expect(gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
    // Counted from zero: the first event since is the first of the session.
    const later = outcome(client.publish("b", "", 2));
    await peer.next("b");
    peer.send(envelope("$ack", { received: 1 }));
    expect(await later).toBe("done");
  });

  test("an event sent after the restart has all its time, whatever was sent before", async () => {
    const { client, peer } = await byHand({ ackTimeout: 200 });
    const before = Array.from({ length: 20 }, (_, n) => outcome(client.publish("b", "", n)));
    expect(await before[0]).toMatchObject({ code: "TIMEOUT" });
    // In the middle between two looks at what is late.
    await new Promise((resolve) => setTimeout(resolve, 100));
    peer.send(envelope("$hello", { nonce: "n2", versions: [1] }));
    await client.reached("interrupted");
    await peer.welcome();
    await client.reached("ready");
    const sent = Date.now();
    expect(await outcome(client.publish("b", "", 21))).toMatchObject({ code: "TIMEOUT" });
    expect(Date.now() - sent).toBeGreaterThanOrEqual(195);
  });

  test("a peer without a common version is told so, by $bye VERSION", async () => {
    const { url, hub } = await openHub();
    for (const versions of [[2, 3], [], ["1"], [0], [1.5]]) {
      const peer = dial(url);
      await peer.opened;
      peer.send(envelope("$hello", { nonce: "n", versions }));
      expect((await peer.next("$bye")).payload).toMatchObject({ code: "VERSION" });
      await peer.closed;
    }
    expect(hub.status().links).toEqual([]);
  });

  test("a client that is told VERSION ends, and does not connect again", async () => {
    const server = await listen();
    const client = openClient(server.url);
    const waiting = outcome(client.subscribe("a"));
    const peer = await server.next();
    await peer.opened;
    peer.send(envelope("$bye", { code: "VERSION", message: "This side speaks the versions 7." }));
    expect(await waiting).toMatchObject({
      code: expect.stringMatching(/^(VERSION|DISCONNECTED)$/),
      message: expect.stringContaining("versions 7"),
    });
    await client.target.closed;
    await peer.closed;
    expect(server.peers).toHaveLength(1);
  });

  test("a client whose hub has no common version ends too, and says which versions it speaks", async () => {
    const server = await listen();
    const client = openClient(server.url);
    const waiting = outcome(client.subscribe("a"));
    const peer = await server.next();
    await peer.opened;
    peer.send(envelope("$hello", { nonce: "n", versions: [7] }));
    expect((await peer.next("$bye")).payload).toMatchObject({ code: "VERSION" });
    expect(await waiting).toMatchObject({
      code: expect.stringMatching(/^(VERSION|DISCONNECTED)$/),
      message: expect.stringContaining("version"),
    });
    await client.target.closed;
    expect(server.peers).toHaveLength(1);
  });

  test("a hub that comes back with another version ends live subscriptions rather than leave them silent", async () => {
    const { client, peer, server } = await byHand();
    const subscribing = client.subscribe("a", { onGap: "ignore" });
    await admit(peer);
    const events = await subscribing;
    peer.socket.terminate();
    const next = await server.next();
    await next.opened;
    next.send(envelope("$hello", { nonce: "n9", versions: [7] }));
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    expect(client.status).toBe("closed");
  });

  test("a welcome for another nonce, and a second welcome, change nothing", async () => {
    const server = await listen();
    const client = openClient(server.url);
    const peer = await server.next();
    await peer.opened;
    peer.send(envelope("$welcome", { nonce: "not yours", version: 1, echo: false }));
    peer.send(envelope("$hello", { nonce: "n", versions: [1] }));
    await peer.next("$welcome");
    expect(client.status).toBe("connecting");
    await peer.welcome();
    await client.reached("ready");
    await peer.welcome({ echo: false });
    await peer.ping();
    expect(client.target.supports.echo).toBe(true);
    expect(client.statuses).toEqual(["ready"]);
  });

  test("a hello is repeated until it is answered", async () => {
    const server = await listen();
    const client = openClient(server.url);
    const peer = await server.next();
    const { payload: first } = await peer.next("$hello");
    const { payload: second } = await peer.next("$hello");
    expect(second).toEqual(first);
    await peer.welcome();
    await client.reached("ready");
  });

  test("a welcome and a goodbye in one packet leave no target that only looks ready", async () => {
    const server = await listen();
    const client = openClient(server.url);
    const early = client.subscribe("early");
    const published = outcome(client.publish("b", "", 1));
    const peer = await server.next();
    const { payload } = await peer.next("$hello");
    const { nonce } = payload as { nonce: string };
    peer.send([envelope("$welcome", { nonce, version: 1, echo: true }), envelope("$bye", { code: "SLOW" })]);
    const next = await server.next();
    await next.shakeHands();
    // Who waited for the connection goes on waiting, or learns that it was interrupted.
    await admit(next);
    const events = await early;
    await client.reached("ready");
    expect(client.statuses).toEqual(["interrupted", "ready"]);
    expect(await published).toMatchObject({ code: "INTERRUPTED" });
    next.send(envelope("early", 1));
    await take(events, 1);
    expect(events.gaps).toBe(0);
  });
});

describe("what is ignored", () => {
  test("unknown control frames, whatever they carry", async () => {
    const { server, peer } = await withWatcher();
    peer.send(
      envelope("$future", { any: 1 }),
      envelope("$", null),
      envelope("$constructor", 1),
      envelope("$__proto__", 1),
    );
    await peer.ping();
    expect(server.hub.status()).toMatchObject({ malformed: 0, received: 0 });
  });

  test("answers to questions that nobody asked", async () => {
    const { client, peer } = await byHand();
    const subscribing = client.subscribe("a");
    const ref = await admit(peer);
    const events = await subscribing;
    peer.send(
      envelope("$subscribed", { ref }),
      envelope("$subscribed", { ref: 77 }),
      envelope("$refused", { ref: 77, code: "LIMIT" }),
    );
    peer.send(envelope("$gap", { ref: 77, reason: "overflow", since: 0, until: 0, lost: 1 }), envelope("a", 1));
    expect((await take(events, 1))[0]?.payload).toBe(1);
    expect([events.gaps, client.errors]).toEqual([0, []]);
  });
});

describe("what is malformed", () => {
  const garbage: Record<string, unknown> = {
    "broken JSON": '{"type":"a","id":"","payload":1',
    "an empty message": "",
    "a number": "17",
    "a string": '"a"',
    null: "null",
    "an object that is no envelope": { hello: "world" },
    "an envelope without an id": { type: "a", payload: 1 },
    "an envelope without a payload": { type: "a", id: "" },
    "an envelope with a numeric id": { type: "a", id: 7, payload: 1 },
    "an envelope with a numeric type": { type: 7, id: "", payload: 1 },
    "an empty type": envelope("", 1),
    "a type with white space": envelope("a b", 1),
    "a type with a colon": envelope("a:b", 1),
    "a type with a star": envelope("a.*", 1),
    "a type of 17 tokens": envelope(Array.from({ length: 17 }, () => "a").join("."), 1),
    "a type of 256 bytes": envelope("a".repeat(256), 1),
    "an array in an array": [[envelope("a", 1)]],
    "deep nesting": "[".repeat(200_000) + "]".repeat(200_000),
    "an acknowledgement of more than was sent": envelope("$ack", { received: 2 ** 52 }),
    "an acknowledgement beyond all whole numbers": '{"type":"$ack","id":"","payload":{"received":1e308}}',
    "a negative acknowledgement": envelope("$ack", { received: -1 }),
    "an acknowledgement of half an event": envelope("$ack", { received: 0.5 }),
    "an acknowledgement without a number": envelope("$ack", null),
    "a subscribe without a reference": envelope("$subscribe", { type: "a" }),
    "a subscribe with a text as reference": envelope("$subscribe", { ref: "1", type: "a" }),
    "a subscribe without a type": envelope("$subscribe", { ref: 1 }),
    "a subscribe with a numeric id": envelope("$subscribe", { ref: 1, type: "a", id: 1 }),
    "a hello without versions": envelope("$hello", { nonce: "x" }),
    "a hello with too many versions": envelope("$hello", { nonce: "x", versions: Array.from({ length: 65 }, () => 1) }),
    "a hello with a long nonce": envelope("$hello", { nonce: "x".repeat(1025), versions: [1] }),
    "a hello with a limit of nothing": envelope("$hello", { nonce: "x", versions: [1], limits: { frame: 0 } }),
    "a refusal of nothing": envelope("$refused", { code: "LIMIT" }),
    "a gap without a reason": envelope("$gap", { lost: 1 }),
    "a gap at a time that is none": envelope("$gap", { reason: "overflow", since: "now", until: {}, lost: 1 }),
    "a goodbye without a payload": '{"type":"$bye","id":""}',
    "a goodbye that says nothing": envelope("$bye", null),
  };

  test.each(Object.entries(garbage))("%s is counted and reported, and the link lives on", async (_, message) => {
    const errors: unknown[] = [];
    const { url, hub } = await openHub({ onError: (error) => errors.push(error) });
    const peer = dial(url);
    await peer.shakeHands();
    peer.send(envelope("$subscribe", { ref: 100, type: "a" }));
    peer.send(message, envelope("a", "after"));
    expect((await peer.next("a")).payload).toBe("after");
    expect(hub.status()).toMatchObject({ malformed: 1, received: 1 });
    expect(errors).toMatchObject([{ code: "MALFORMED" }]);
    expect(String(errors[0]).length).toBeLessThan(500);
  });

  test("one bad element of an array harms none of the others", async () => {
    const { server, peer, events } = await withWatcher();
    peer.send([envelope("a", 1), null, envelope("a", 2), [], envelope("$nonsense", 1), envelope("a", 3)]);
    expect((await take(events, 3)).map(({ payload }) => payload)).toEqual([1, 2, 3]);
    expect(server.hub.status().malformed).toBe(2);
    // The bad ones are no events, so they are not counted.
    expect((await peer.next("$ack")).payload).toEqual({ received: 3 });
  });

  test("more than 16 malformed frames end the link with $bye MALFORMED, and no other", async () => {
    const { server, peer, events, watcher } = await withWatcher();
    for (let i = 0; i < 16; i++) peer.send("no JSON");
    await peer.ping();
    peer.send("no JSON", envelope("a", "too late"));
    expect((await peer.next("$bye")).payload).toMatchObject({ code: "MALFORMED" });
    await peer.closed;
    await watcher.publish("a", "", "alive");
    expect((await take(events, 1))[0]?.payload).toBe("alive");
    expect(server.hub.status()).toMatchObject({ malformed: 17 });
    expect(server.hub.status().links).toHaveLength(1);
  });

  test("an array of thousands of bad elements costs one link and no more reports than that", async () => {
    const errors: unknown[] = [];
    const server = await openHub({ onError: (error) => errors.push(error) });
    const peer = dial(server.url);
    await peer.shakeHands();
    peer.send(Array.from({ length: 50_000 }, () => 0));
    await peer.closed;
    expect(errors).toHaveLength(17);
  });

  test("a hub that sends garbage is left and connected to again, with a gap in what was live", async () => {
    const { client, peer, server } = await byHand();
    const gaps: unknown[] = [];
    const subscribing = client.subscribe("a", { onGap: (gap) => gaps.push(gap) });
    await admit(peer);
    const events = await subscribing;
    for (let i = 0; i < 17; i++) peer.send("no JSON");
    expect((await peer.next("$bye")).payload).toMatchObject({ code: "MALFORMED" });
    const next = await server.next();
    await next.shakeHands();
    await admit(next);
    await client.reached("ready");
    next.send(envelope("a", 1));
    expect((await take(events, 1))[0]?.payload).toBe(1);
    expect(gaps).toMatchObject([{ reason: "reconnect" }]);
    expect(client.errors).toHaveLength(17);
  });

  test("forged control frames reach no subscriber, through a hub or at a client", async () => {
    const { peer, events, watcher } = await withWatcher();
    peer.send(
      envelope("$ack", { received: 0 }),
      envelope("$event", 1),
      envelope("$.a", 1),
      envelope("$gap", { reason: "overflow", since: 0, until: 0, lost: 9 }),
    );
    peer.send(envelope("end", 1));
    expect((await take(events, 1))[0]?.type).toBe("end");
    expect([events.gaps, events.received, watcher.errors]).toEqual([0, 1, []]);

    const byHub = await byHand();
    const subscribing = byHub.client.subscribe("**");
    await admit(byHub.peer);
    const there = await subscribing;
    byHub.peer.send(envelope("$event", 1), envelope("$a.b", 1), envelope("end", 1));
    expect((await take(there, 1))[0]?.type).toBe("end");
  });
});

describe("framing", () => {
  test("arrays, single envelopes, text and binary are all understood, in order", async () => {
    const { peer, events } = await withWatcher();
    peer.send(envelope("a", 1), Buffer.from(JSON.stringify(envelope("a", 2))), [envelope("a", 3), envelope("a", 4)]);
    peer.send(Buffer.from(JSON.stringify([envelope("a", 5), envelope("a", "ä€😀")])), [], envelope("a", 7));
    expect((await take(events, 7)).map(({ payload }) => payload)).toEqual([1, 2, 3, 4, 5, "ä€😀", 7]);
  });

  test("a peer that did not say that it takes batches gets none", async () => {
    const { url } = await openHub();
    const [plain, batch] = [dial(url), dial(url)];
    await plain.shakeHands({ batch: false });
    await batch.shakeHands();
    for (const peer of [plain, batch]) {
      peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
      await peer.next("$subscribed");
    }
    batch.send(Array.from({ length: 50 }, (_, n) => envelope("a", n)));
    await until(() => plain.events.length === 50 && batch.events.length === 50);
    expect(plain.messages.every((text) => text.startsWith("{"))).toBe(true);
    expect(batch.messages.filter((text) => text.startsWith("["))).toHaveLength(1);
  });

  test("a batch keeps to the frame that the peer takes, and one event beyond it is a gap in its place", async () => {
    const { url, hub } = await openHub();
    const peer = dial(url);
    await peer.shakeHands({ limits: { frame: 600 } }, { limits: { frame: 600 } });
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
    await peer.next("$subscribed");
    const events = [
      ...Array.from({ length: 20 }, (_, n) => envelope("a", n)),
      envelope("a", "x".repeat(600)),
      envelope("a", 21),
    ];
    peer.send(events);
    await peer.next("a", (payload) => (payload as unknown) === 21);
    for (const text of peer.messages) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(600);
    const order = peer.frames
      .filter(({ type }) => type === "a" || type === "$gap")
      .map(({ type, payload }) => (type === "a" ? payload : "gap"));
    expect(order).toEqual([...Array.from({ length: 20 }, (_, n) => n), "gap", 21]);
    expect(hub.status().sent).toBe(21);
  });

  test("unknown members of an envelope and of its meta are kept from end to end", async () => {
    const { peer, events, server } = await withWatcher();
    const reader = dial(server.url);
    await reader.shakeHands();
    reader.send(envelope("$subscribe", { ref: 1, type: "a" }));
    await reader.next("$subscribed");
    const strange = {
      type: "a",
      id: "1",
      payload: { deep: [1] },
      meta: { origin: "me", hops: 1, more: {} },
      traceparent: "00-1",
      "": 0,
      constructor: 1,
    };
    peer.send(strange);
    expect(await reader.next("a")).toEqual(strange);
    expect((await take(events, 1))[0]).toEqual(strange);
  });

  test("a payload too deep to be written again is a gap for its subscribers and the end of nobody", async () => {
    const { peer, events, server, watcher } = await withWatcher();
    peer.send(`{"type":"a","id":"","payload":${"[".repeat(200_000)}${"]".repeat(200_000)}}`, envelope("a", "next"));
    await expect(events.next()).rejects.toMatchObject({ code: "GAP" });
    await peer.ping();
    await watcher.publish("b", "", 1);
    expect(server.hub.status().received).toBe(3);
  });
});

describe("acknowledgements", () => {
  test("are cumulative and sent once for a burst", async () => {
    const { peer } = await withWatcher();
    peer.send(Array.from({ length: 500 }, (_, n) => envelope("a", n)));
    expect((await peer.next("$ack")).payload).toEqual({ received: 500 });
    peer.send(envelope("a", 1));
    expect((await peer.next("$ack")).payload).toEqual({ received: 501 });
    expect(peer.frames.filter(({ type }) => type === "$ack")).toHaveLength(2);
  });

  test("of some events resolve those and no others", async () => {
    const { client, peer } = await byHand();
    const settled: number[] = [];
    const publishes = Array.from({ length: 5 }, (_, n) => client.publish("a", "", n).then(() => settled.push(n)));
    await peer.next("a", (payload) => (payload as unknown) === 4);
    peer.send(envelope("$ack", { received: 3 }));
    await Promise.all(publishes.slice(0, 3));
    await peer.ping();
    expect(settled).toEqual([0, 1, 2]);
    peer.send(envelope("$ack", { received: 3 }), envelope("$ack", { received: 5 }));
    await Promise.all(publishes);
    expect(settled).toEqual([0, 1, 2, 3, 4]);
  });

  test("that go backwards or beyond what was sent resolve nothing and are malformed", async () => {
    const { client, peer } = await byHand();
    const first = client.publish("a", "", 1);
    const second = outcome(client.publish("a", "", 2));
    await peer.next("a", (payload) => (payload as unknown) === 2);
    peer.send(envelope("$ack", { received: 1 }));
    await first;
    peer.send(
      envelope("$ack", { received: 0 }),
      envelope("$ack", { received: 3 }),
      envelope("$ack", { received: Number.MAX_SAFE_INTEGER }),
    );
    peer.send(envelope("$ack", { received: 2 }));
    expect(await second).toBe("done");
    expect(client.errors).toMatchObject([{ code: "MALFORMED" }, { code: "MALFORMED" }, { code: "MALFORMED" }]);
  });

  test("$refused at one event rejects just that publish", async () => {
    const { client, peer } = await byHand();
    const publishes = Array.from({ length: 4 }, (_, n) => outcome(client.publish("a", "", n)));
    await peer.next("a", (payload) => (payload as unknown) === 3);
    peer.send(envelope("$refused", { at: 2, code: "REFUSED", message: "Not you." }), envelope("$ack", { received: 4 }));
    expect(await Promise.all(publishes)).toEqual([
      "done",
      expect.objectContaining({ code: "REFUSED", message: "Not you." }),
      "done",
      "done",
    ]);
  });

  test("$refused at an event that was acknowledged, or never sent, rejects nothing", async () => {
    const { client, peer } = await byHand();
    const first = client.publish("a", "", 0);
    await peer.next("a");
    peer.send(envelope("$ack", { received: 1 }));
    await first;
    const publishes = Array.from({ length: 3 }, (_, n) => outcome(client.publish("a", "", n)));
    await peer.next("a", (payload) => (payload as unknown) === 2);
    for (const at of [0, 1, 5, 2 ** 40]) peer.send(envelope("$refused", { at, code: "REFUSED" }));
    peer.send(envelope("$ack", { received: 4 }));
    expect(await Promise.all(publishes)).toEqual(["done", "done", "done"]);
  });

  test("a peer that never acknowledges is a TIMEOUT of publish that names the likely cause", async () => {
    const { client } = await byHand({ ackTimeout: 100 });
    const started = Date.now();
    const results = await Promise.all([1, 2].map((n) => outcome(client.publish("a", "", n))));
    for (const result of results)
      expect(result).toMatchObject({
        code: "TIMEOUT",
        message: expect.stringMatching(/within 100 ms.*may have been delivered.*frozen.*does not speak/s),
      });
    expect(Date.now() - started).toBeGreaterThanOrEqual(99);
  });

  test("a peer that never answers is a TIMEOUT of subscribe that names the topic", async () => {
    const { client, peer } = await byHand({ subscribeTimeout: 250 });
    const result = await outcome(client.subscribe("session.status", "proj_1"));
    expect(result).toMatchObject({ code: "TIMEOUT", message: expect.stringContaining("session.status:proj_1") });
    expect(result).toMatchObject({
      message: expect.stringMatching(/within 250 ms.*does not speak the link protocol/s),
    });
    // It may yet be live over there: it is undone.
    const { payload } = await peer.next("$unsubscribe");
    const { ref } = payload as { ref: number };
    peer.send(envelope("$subscribed", { ref }));
    const again = client.subscribe("session.status", "proj_1");
    expect(await admit(peer)).not.toBe(ref);
    await again;
  });

  test("a refused subscribe says why, and the next try asks anew", async () => {
    const { client, peer } = await byHand();
    const subscribing = outcome(client.subscribe("a"));
    const { ref } = (await peer.next("$subscribe")).payload as { ref: number };
    peer.send(envelope("$refused", { ref, code: "REFUSED", message: "Not this one." }));
    expect(await subscribing).toMatchObject({ code: "REFUSED", message: "Not this one." });
    const again = client.subscribe("a");
    await admit(peer);
    await again;
  });

  test("a live subscription that is taken away drains, then throws why", async () => {
    const { client, peer } = await byHand();
    const subscribing = client.subscribe("a");
    const ref = await admit(peer);
    const events = await subscribing;
    peer.send(
      envelope("a", 1),
      envelope("$refused", { ref, code: "REFUSED", message: "Withdrawn." }),
      envelope("a", 2),
    );
    await peer.ping();
    expect((await take(events, 1))[0]?.payload).toBe(1);
    await expect(events.next()).rejects.toMatchObject({ code: "REFUSED", message: "Withdrawn." });
  });

  test("a gap of the far end stands in the queue where it was sent, for one subscription or for all", async () => {
    const { client, peer } = await byHand();
    const seen: unknown[] = [];
    const open = async (type: string) => {
      const subscribing = client.subscribe(type, {
        onGap: ({ reason, lost }) => seen.push(`${type} ${reason} ${lost}`),
      });
      const ref = await admit(peer);
      return { ref, events: await subscribing };
    };
    const [a, b] = [await open("a"), await open("b")];
    const gap = { since: 1, until: 2, lost: 3 };
    peer.send(
      envelope("a", 1),
      envelope("$gap", { ref: a.ref, reason: "trimmed", ...gap }),
      envelope("a", 2),
      envelope("b", 1),
    );
    peer.send(envelope("$gap", { reason: "overflow", ...gap }), envelope("b", 2), envelope("a", 3));
    for (const { payload } of await take(a.events, 3)) seen.push(`a${String(payload)}`);
    for (const { payload } of await take(b.events, 2)) seen.push(`b${String(payload)}`);
    expect(seen.filter((each) => String(each).includes(" "))).toEqual(["a trimmed 3", "a overflow 3", "b overflow 3"]);
  });
});

describe("in one tick", () => {
  test("of two payloads of which one cannot be serialised, only that one rejects", async () => {
    const { client, peer } = await byHand();
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    const results = Promise.all([
      outcome(client.publish("a", "1", "good")),
      outcome(client.publish("a", "2", circular)),
      outcome(client.publish("a", "3", 1n)),
      outcome(client.publish("a", "4", () => 1)),
      outcome(client.publish("a", "5", "good too")),
    ]);
    await peer.next("a", (payload) => (payload as unknown) === "good too");
    peer.send(envelope("$ack", { received: 2 }));
    const [first, ...rest] = await results;
    expect([first, rest.pop()]).toEqual(["done", "done"]);
    for (const error of rest) expect(error).toBeInstanceOf(PayloadError);
    expect(rest).toMatchObject([{ code: "PAYLOAD", type: "a", id: "2" }, { id: "3" }, { id: "4" }]);
    expect(peer.events.map(({ id }) => id)).toEqual(["1", "5"]);
  });

  test("an event larger than the hub takes rejects alone, before it is sent", async () => {
    const { url, hub } = await openHub({ limits: { frame: 1000 } });
    const client = openClient(url);
    const results = await Promise.all([
      outcome(client.publish("a", "1", "x")),
      outcome(client.publish("a", "2", "€".repeat(400))),
      outcome(client.publish("a", "3", "x")),
    ]);
    expect(results).toEqual(["done", expect.objectContaining({ code: "PAYLOAD", id: "2" }), "done"]);
    expect(hub.status()).toMatchObject({ malformed: 0, received: 2 });
  });
});

describe("plain mode", () => {
  test("carries envelopes only, both ways, and its manifest says what that is worth", async () => {
    const server = await listen();
    const errors: unknown[] = [];
    const target = createWebSocketEventTarget(new WebSocket(server.url) as never, {
      plain: true,
      onError: (error) => errors.push(error),
    });
    const client = over(target, errors);
    expect(target.supports).toMatchObject({
      publishAck: "none",
      lossDetection: "none",
      subscribeAck: false,
      echo: false,
    });
    const peer = await server.next();
    const events = await client.subscribe("a.*");
    await client.publish("a.b", "1", { n: 1 });
    expect((await take(events, 1))[0]?.payload).toEqual({ n: 1 });
    await client.publish("unwatched", "", null);
    expect(await peer.next("a.b")).toEqual({ type: "a.b", id: "1", payload: { n: 1 } });
    await peer.next("unwatched");
    peer.send(
      envelope("$bye", { code: "CLOSED" }),
      envelope("$refused", { ref: 1, code: "X" }),
      envelope("$hello", { nonce: "n", versions: [9] }),
    );
    peer.send("garbage", envelope("b", 0), envelope("a.c", 2), [envelope("a.d", 3)]);
    expect((await take(events, 2)).map(({ type }) => type)).toEqual(["a.c", "a.d"]);
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    expect(await outcome(client.publish("a.b", "", circular))).toBeInstanceOf(PayloadError);
    await client.close();
    await target.close();
    await peer.closed;
    expect(peer.frames.map(({ type }) => type)).toEqual(["a.b", "unwatched"]);
    expect(errors).toMatchObject([{ code: "MALFORMED" }]);
    expect(peer.messages.join("")).not.toContain("$");
  });

  test("garbage without end closes a plain link as well", async () => {
    const server = await listen();
    const errors: unknown[] = [];
    const target = createWebSocketEventTarget(new WebSocket(server.url) as never, {
      plain: true,
      onError: (error) => errors.push(error),
    });
    const client = over(target, errors);
    const peer = await server.next();
    const events = await client.subscribe("a");
    for (let i = 0; i < 20; i++) peer.send("garbage");
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    expect(errors).toHaveLength(17);
    await peer.closed;
    expect(peer.messages).toEqual([]);
  });
});
