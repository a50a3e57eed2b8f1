// What a hub sends to whom, over every kind of channel.
import { MessageChannel, Worker } from "node:worker_threads";
import { createHub } from "@alkdev/hub";
import type { Hub, HubOptions } from "@alkdev/hub";
import type { EventEnvelope } from "@alkdev/pubsub";
import { createMainThreadEventTarget, workerChannel } from "@alkdev/pubsub/event-target-worker";
import { Outgoing, Session } from "@alkdev/pubsub/transport";
import type { Channel, ChannelReceiver, SessionOwner } from "@alkdev/pubsub/transport";
import { describe, expect, onTestFinished, test } from "vitest";
import { openClient, openHub, over, take, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";
import { dial, envelope } from "./fixtures/peer.ts";
import type { Peer } from "./fixtures/peer.ts";

const outcome = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(() => "done").catch((error: unknown) => error);

async function subscribed(url: string, ...filters: { type: string; id?: string }[]): Promise<Peer> {
  const peer = dial(url);
  await peer.shakeHands();
  for (const [index, filter] of filters.entries()) {
    peer.send(envelope("$subscribe", { ref: index + 1, ...filter }));
    await peer.next("$subscribed");
  }
  return peer;
}

function openBareHub(options?: HubOptions): Hub {
  const hub = createHub(options);
  onTestFinished(() => hub.close());
  return hub;
}

/** A client that is joined to a hub by a MessagePort. */
function overPort(hub: Hub, options: object = {}): Client {
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => {
    port1.close();
    port2.close();
  });
  hub.connect(workerChannel(port1), "port");
  const errors: unknown[] = [];
  return over(createMainThreadEventTarget({ port: port2, onError: (error) => errors.push(error), ...options }), errors);
}

const names = (frames: readonly { type: string; id: string }[]): string[] =>
  frames.map(({ type, id }) => (id === "" ? type : `${type}:${id}`));

describe("routing", () => {
  const events = ["a", "a:1", "a:2", "a.b", "a.b:1", "a.b.c:1", "b:1", "b.b:1", "A:1"];
  const cases: [string, { type: string; id?: string }[], string[]][] = [
    ["a type with every id", [{ type: "a" }], ["a", "a:1", "a:2"]],
    ["a type with the empty id", [{ type: "a", id: "" }], ["a"]],
    ["a type with one id", [{ type: "a", id: "1" }], ["a:1"]],
    ["a pattern of one token", [{ type: "*" }], ["a", "a:1", "a:2", "b:1", "A:1"]],
    ["a pattern with one id", [{ type: "a.*", id: "1" }], ["a.b:1"]],
    ["a star in front", [{ type: "*.b" }], ["a.b", "a.b:1", "b.b:1"]],
    ["any number of tokens", [{ type: "a.**" }], ["a", "a:1", "a:2", "a.b", "a.b:1", "a.b.c:1"]],
    ["everything", [{ type: "**" }], events],
    ["everything with one id", [{ type: "**", id: "2" }], ["a:2"]],
    [
      "several that overlap",
      [{ type: "a" }, { type: "a", id: "1" }, { type: "*" }, { type: "**", id: "1" }],
      ["a", "a:1", "a:2", "a.b:1", "a.b.c:1", "b:1", "b.b:1", "A:1"],
    ],
    ["nothing", [], []],
  ];

  test.each(cases)(
    "a link that asked for %s gets that, each once, and nothing else on the wire",
    async (_, filters, wanted) => {
      const { url } = await openHub();
      const peer = await subscribed(url, ...filters);
      const publisher = await subscribed(url);
      publisher.send(
        events.map((topic) => {
          const [type = "", id = ""] = topic.split(":");
          return envelope(type, topic, id);
        }),
      );
      await publisher.next("$ack");
      await peer.ping();
      expect(names(peer.events)).toEqual(wanted);
      expect(publisher.events).toEqual([]);
    },
  );

  test("an unsubscribed filter is over when a later question is answered, and its twin stays", async () => {
    const { url, hub } = await openHub();
    const peer = await subscribed(url, { type: "a" }, { type: "a" }, { type: "b" });
    peer.send(
      envelope("$unsubscribe", { ref: 1 }),
      envelope("a", 1),
      envelope("$unsubscribe", { ref: 3 }),
      envelope("b", 1),
    );
    await peer.ping();
    expect(names(peer.events)).toEqual(["a"]);
    peer.send(envelope("$unsubscribe", { ref: 2 }), envelope("a", 2));
    await peer.ping();
    expect(names(peer.events)).toEqual(["a"]);
    expect(hub.status().subscriptions).toBe(0);
  });

  test("a publisher gets its own events once and only if it subscribed, and can leave them out", async () => {
    const { url } = await openHub();
    const client = openClient(url);
    const own = await client.subscribe("a");
    const others = await client.subscribe("a", { own: false });
    await client.publish("a", "", 1);
    await client.publish("unwatched", "", 2);
    const other = openClient(url);
    await other.publish("a", "", 3);
    expect((await take(own, 2)).map(({ payload }) => payload)).toEqual([1, 3]);
    expect((await take(others, 1))[0]?.payload).toBe(3);
    expect([own.received, others.received]).toEqual([2, 1]);
  });

  test("two overlapping subscriptions of one link are one frame on the wire, and each gets the event once", async () => {
    const { url, hub } = await openHub();
    const client = openClient(url);
    const exact = await client.subscribe("a.b", "1");
    const pattern = await client.subscribe("a.*");
    const again = await client.subscribe("a.b", "1");
    const publisher = openClient(url);
    for (let n = 0; n < 10; n++) await publisher.publish("a.b", "1", n);
    await publisher.publish("a.b", "2", 10);
    await take(pattern, 11);
    for (const events of [exact, again])
      expect((await take(events, 10)).map(({ payload }) => payload)).toEqual([...Array(10).keys()]);
    expect([exact.received, pattern.received, again.received]).toEqual([10, 11, 10]);
    expect(hub.status().sent).toBe(11);
    expect(hub.status().subscriptions).toBe(2);
  });

  test("order is kept for each publisher, exact and pattern alike", async () => {
    const { url } = await openHub();
    const reader = openClient(url);
    const all = await reader.subscribe("**");
    const publishers = [1, 2, 3].map(() => openClient(url));
    await Promise.all(
      publishers.map(async (publisher, p) => {
        for (let n = 0; n < 300; n += 10)
          await Promise.all(
            Array.from({ length: 10 }, (_, i) => publisher.publish(i % 2 ? "odd" : "even", String(p), n + i)),
          );
      }),
    );
    const seen = [0, 1, 2].map(() => [] as unknown[]);
    for (const { id, payload } of await take(all, 900)) seen[Number(id)]?.push(payload);
    for (const each of seen) expect(each).toEqual([...Array(300).keys()]);
  });

  test("a subscribe with a bad pattern, id or reference is refused with the reason and changes nothing", async () => {
    const { url, hub } = await openHub();
    const peer = await subscribed(url, { type: "a" });
    const bad: [object, string][] = [
      [{ ref: 2, type: "" }, "INVALID_TOPIC"],
      [{ ref: 2, type: "a b" }, "INVALID_TOPIC"],
      [{ ref: 2, type: "a.**.b" }, "INVALID_TOPIC"],
      [{ ref: 2, type: "a*" }, "INVALID_TOPIC"],
      [{ ref: 2, type: "$ack" }, "INVALID_TOPIC"],
      [{ ref: 2, type: "a", id: "x".repeat(1025) }, "INVALID_TOPIC"],
      [{ ref: 1, type: "b" }, "REFUSED"],
    ];
    for (const [payload, code] of bad) {
      peer.send(envelope("$subscribe", payload));
      const { payload: refusal } = await peer.next("$refused");
      expect(refusal).toMatchObject({ code, message: expect.any(String) as string });
    }
    expect(hub.status()).toMatchObject({ subscriptions: 1, malformed: 0 });
    peer.send(envelope("a", 1), envelope("b", 1));
    await peer.ping();
    expect(names(peer.events)).toEqual(["a"]);
  });
});

describe("the hub's own place", () => {
  test("publishes to links and hears them, and itself once", async () => {
    const server = await openHub();
    const own = over(server.hub.eventTarget);
    const client = openClient(server.url);
    const [here, there] = [await own.subscribe("a.*"), await client.subscribe("a.*")];
    await own.publish("a.here", "1", { from: "hub" });
    await client.publish("a.there", "2", { from: "link" });
    for (const events of [here, there]) expect(names(await take(events, 2))).toEqual(["a.here:1", "a.there:2"]);
    await own.publish("b", "", null);
    expect([here.received, there.received]).toEqual([2, 2]);
    expect(server.hub.status()).toMatchObject({ received: 3 });
  });

  test("an answer that is published by a listener comes after what it answers, everywhere", async () => {
    const server = await openHub();
    const own = over(server.hub.eventTarget);
    const client = openClient(server.url);
    const events = await client.subscribe("**");
    await own.on("question", ({ id }) => own.publish("answer", id, null));
    await Promise.all(Array.from({ length: 20 }, (_, n) => client.publish("question", String(n), null)));
    const seen = names(await take(events, 40));
    for (let n = 0; n < 20; n++) expect(seen.indexOf(`question:${n}`)).toBeLessThan(seen.indexOf(`answer:${n}`));
  });

  test("a payload that is no JSON rejects for its publisher, is a gap for links that need JSON, and stops nothing", async () => {
    const errors: unknown[] = [];
    const server = await openHub({ onError: (error) => errors.push(error) });
    const own = over(server.hub.eventTarget);
    const client = openClient(server.url);
    const gaps: unknown[] = [];
    const events = await client.subscribe("a", { onGap: (gap) => gaps.push(gap) });
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    const results = await Promise.all(
      ["before", circular, "after"].map((payload) => outcome(own.publish("a", "1", payload))),
    );
    expect(results).toEqual(["done", expect.objectContaining({ code: "PAYLOAD", type: "a", id: "1" }), "done"]);
    expect((await take(events, 2)).map(({ payload }) => payload)).toEqual(["before", "after"]);
    expect(gaps).toMatchObject([{ reason: "overflow", lost: 1 }]);
    expect(errors).toMatchObject([{ code: "PAYLOAD" }]);
  });
});

describe("channels of every kind in one hub", () => {
  test("links over MessagePorts and WebSockets are one topic space", async () => {
    const server = await openHub();
    const clients = [openClient(server.url), overPort(server.hub), overPort(server.hub), over(server.hub.eventTarget)];
    const subscriptions = await Promise.all(clients.map((client) => client.subscribe("a.*")));
    for (const [n, client] of clients.entries()) await client.publish("a.b", String(n), { n });
    for (const events of subscriptions)
      expect((await take(events, 4)).map(({ payload }) => payload)).toEqual([{ n: 0 }, { n: 1 }, { n: 2 }, { n: 3 }]);
    const identities = server.hub.status().links.map(({ identity }) => identity);
    expect(identities).toEqual(["port", "port", undefined]);
  });

  test("a worker thread is a link like any other, and its end is noticed", async () => {
    const server = await openHub();
    const client = openClient(server.url);
    const ready = await client.subscribe("worker.ready");
    const worker = new Worker(new URL("./fixtures/doubling-worker.mjs", import.meta.url));
    onTestFinished(() => void worker.terminate());
    const link = server.hub.connect(workerChannel(worker), "worker");
    await take(ready, 1);
    const answers = await client.subscribe("doubled");
    await Promise.all(Array.from({ length: 100 }, (_, n) => client.publish("double", String(n), n)));
    for (const { id, payload } of await take(answers, 100)) expect(payload).toBe(Number(id) * 2);
    await worker.terminate();
    expect(await link.closed).toMatchObject({ code: "DISCONNECTED" });
    expect(server.hub.status().links).toHaveLength(1);
  });

  test("what only a clone can carry passes between clones, rejects at its publisher and is a gap where JSON is needed", async () => {
    const server = await openHub();
    const [a, b] = [overPort(server.hub), overPort(server.hub)];
    const client = openClient(server.url);
    const gaps: unknown[] = [];
    const there = await b.subscribe("a");
    await a.publish("a", "", new Map([[1, 2n]]));
    expect((await take(there, 1))[0]?.payload).toEqual(new Map([[1, 2n]]));
    const text = await client.subscribe("a", { onGap: (gap) => gaps.push(gap) });
    expect(await outcome(a.publish("a", "", 2n))).toMatchObject({ code: "PAYLOAD" });
    await a.publish("a", "", "text");
    expect((await take(text, 1))[0]?.payload).toBe("text");
    expect(gaps).toMatchObject([{ reason: "overflow", lost: 1 }]);
    expect((await take(there, 2)).map(({ payload }) => payload)).toEqual([2n, "text"]);
  });

  test("what cannot be cloned is a gap in its place for a link that needs a clone", async () => {
    const errors: unknown[] = [];
    const hub = openBareHub({ onError: (error) => errors.push(error) });
    const own = over(hub.eventTarget);
    const client = overPort(hub);
    const seen: unknown[] = [];
    const events = await client.subscribe("a", { onGap: ({ reason, lost }) => seen.push(`${reason} ${lost}`) });
    const payloads = [1, () => 1, 2, 3];
    await Promise.all(payloads.map((payload) => outcome(own.publish("a", "", payload))));
    for (let n = 0; n < 3; n++) seen.push((await take(events, 1))[0]?.payload);
    expect(seen).toEqual([1, "overflow 1", 2, 3]);
    expect(errors).toMatchObject([{ code: "PAYLOAD" }]);
  });

  test("a port that closes ends its link alone", async () => {
    const server = await openHub();
    const { port1, port2 } = new MessageChannel();
    const link = server.hub.connect(workerChannel(port1), "gone");
    const target = createMainThreadEventTarget({ port: port2 });
    const client = over(target);
    const events = await client.subscribe("a");
    const stays = openClient(server.url);
    port2.close();
    expect(await link.closed).toMatchObject({ code: "DISCONNECTED" });
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    await stays.publish("a", "", 1);
    expect(server.hub.status().links).toHaveLength(1);
  });

  test("garbage of any kind over a port is counted and survived", async () => {
    const hub = openBareHub();
    const { port1, port2 } = new MessageChannel();
    onTestFinished(() => port2.close());
    hub.connect(workerChannel(port1));
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    const garbage = [undefined, null, 1n, new Map(), circular, new Date(), "text", { type: "a" }, new Uint8Array(10)];
    for (const each of garbage) port2.postMessage(each);
    await until(() => hub.status().malformed === garbage.length);
    expect(hub.status().links).toHaveLength(1);
  });
});

describe("closing", () => {
  test("the hub delivers what was accepted before, then says goodbye", async () => {
    const server = await openHub();
    const own = over(server.hub.eventTarget);
    const peer = await subscribed(server.url, { type: "a" });
    const published = Array.from({ length: 2000 }, (_, n) => own.publish("a", "", n));
    await Promise.all([...published, server.close()]);
    expect((await peer.next("$bye")).payload).toMatchObject({ code: "CLOSED" });
    expect(peer.events.map(({ payload }) => payload as unknown)).toEqual([...Array(2000).keys()]);
    await peer.closed;
  });
});

describe("closing a link", () => {
  test("from the hub's side says why, and frees what it held", async () => {
    const hub = openBareHub();
    const { port1, port2 } = new MessageChannel();
    const link = hub.connect(workerChannel(port1), "ann");
    const client = over(createMainThreadEventTarget({ port: port2 }));
    const events = await client.subscribe("a.*");
    expect([link.identity, hub.status().subscriptions]).toEqual(["ann", 1]);
    link.close("REFUSED", "Not you any more.");
    link.close("REFUSED");
    await expect(events.next()).rejects.toMatchObject({
      code: "DISCONNECTED",
      message: expect.stringContaining("Not you any more") as string,
    });
    await link.closed;
    expect(hub.status()).toMatchObject({ subscriptions: 0, links: [] });
    port2.close();
  });

  test("a link that never acknowledges what it was sent is ended before that takes all memory", () => {
    const sent: unknown[] = [];
    let ended: unknown;
    let receiver: ChannelReceiver | undefined;
    const channel: Channel = {
      encoding: "clone",
      heartbeat: 0,
      buffered: 0,
      open: (opened) => (receiver = opened),
      send: (frame) => sent.push(frame),
      close: () => undefined,
    };
    const ignore = (): undefined => undefined;
    const owner: SessionOwner = {
      welcomed: ignore,
      restarted: ignore,
      began: ignore,
      event: ignore,
      subscribe: ignore,
      unsubscribe: ignore,
      gap: ignore,
      revoked: ignore,
      error: ignore,
      detached: ignore,
      keep: ignore,
      over: (cause) => (ended = cause),
    };
    const session = new Session(channel, owner, { maxUnacknowledged: 40 });
    receiver?.frame(envelope("$hello", { nonce: "n", versions: [1] }));
    const outgoing = new Outgoing({ type: "a", id: "", payload: null });
    for (let n = 0; n < 10_000 && ended === undefined; n++) session.forward(outgoing);
    expect(ended).toMatchObject({
      code: "OVERFLOW",
      message: expect.stringContaining("acknowledges nothing") as string,
    });
    expect((sent.at(-1) as EventEnvelope).payload ?? sent.at(-1)).toMatchObject({ code: "SLOW" });
  });
});
