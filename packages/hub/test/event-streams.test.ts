// Server-sent events of a hub: what a consumer gets that goes away and comes back.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createEventStreams, createHub } from "@alkdev/hub";
import type { EventRouteOptions, EventStreams, EventStreamsOptions, HubServer, HubServerOptions } from "@alkdev/hub";
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import { toEventStream } from "@alkdev/pubsub/event-stream";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import type { MemoryTransportOptions } from "@alkdev/pubsub/testing";
import { coreOf, defineEventTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Receiver } from "@alkdev/pubsub/transport";
import { describe, expect, onTestFinished, test } from "vitest";
import { connect, Connection } from "../../pubsub/test/fixtures/event-source.ts";
import { openClient, openHub, openProxy, seeded, until } from "./fixtures/open.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

interface Place {
  readonly server: HubServer;
  /** The hub's own place. */
  readonly pubsub: PubSub;
  readonly url: (query: string, port?: number) => string;
}

async function openEvents(events: EventRouteOptions | true = true, options: HubServerOptions = {}): Promise<Place> {
  const server = await openHub({ events, ...options });
  const pubsub = createPubSub({ eventTarget: server.hub.eventTarget });
  const url = (query: string, port = server.port): string => `http://127.0.0.1:${port}/events?${query}`;
  return { server, pubsub, url };
}

async function figures({ port }: HubServer): Promise<{ streams: number; feeds: number; events: number; slow: number }> {
  const response = await fetch(`http://127.0.0.1:${port}/status`);
  return ((await response.json()) as { events: never }).events;
}

const again = (connection: Connection): Record<string, string> => ({ "last-event-id": connection.parser.lastEventId });

/** The filters that a target is subscribed to. */
const live = (target: AlkEventTarget): number => [...target[coreOf].sinks()].length;

/** Streams over a target, without HTTP. */
function openStreams(
  target: AlkEventTarget,
  options: EventStreamsOptions = {},
): {
  streams: EventStreams;
  open: (filters: Parameters<EventStreams["open"]>[0], lastEventId?: string) => Promise<Connection>;
} {
  const streams = createEventStreams(target, options);
  onTestFinished(() => streams.close());
  return {
    streams,
    open: async (filters, lastEventId) =>
      new Connection(await toEventStream(streams.open(filters, { lastEventId }), { heartbeat: 0 })),
  };
}

describe("an open stream is live", () => {
  test(
    "nothing is lost that is published in the instant after the headers, a thousand times",
    { timeout: 60_000 },
    async () => {
      const { pubsub, url } = await openEvents();
      for (let i = 0; i < 1000; i++) {
        const connection = await connect(url(`type=round.r${i}`));
        await pubsub.publish(`round.r${i}`, "", i);
        await connection.count(1);
        expect(connection.story).toEqual([i]);
        connection.close();
      }
    },
  );

  test("and by another link, whose acknowledgement means that the stream has it", async () => {
    const { server, url } = await openEvents();
    const client = openClient(server.url);
    for (let i = 0; i < 200; i++) {
      const connection = await connect(url(`type=round.r${i}`));
      await client.publish(`round.r${i}`, "", i);
      await connection.count(1);
      expect(connection.story).toEqual([i]);
      connection.close();
    }
  });

  test("the headers wait for the backplane's word", async () => {
    let acknowledge: (() => void) | undefined;
    const transport = createMemoryTransport(createMemoryBroker());
    const backplane = defineEventTarget({
      supports: transport.supports,
      open: (receiver, signal) => transport.open(receiver, signal),
      subscribe: async (filter) => {
        await new Promise<void>((resolve) => (acknowledge = resolve));
        await transport.subscribe(filter);
      },
      unsubscribe: (filter) => transport.unsubscribe(filter),
      publish: (envelope) => transport.publish(envelope),
      close: () => transport.close(),
    });
    onTestFinished(() => backplane.close());
    const { server, url } = await openEvents(true, { backplane });
    let isOpen = false;
    const opening = connect(url("type=a.b")).then((connection) => ((isOpen = true), connection));
    await until(() => acknowledge !== undefined);
    // Another request and its whole answer would come after headers that were sent now.
    await figures(server);
    expect(isOpen).toBe(false);
    acknowledge?.();
    (await opening).close();
  });

  test("events reach every stream that asked for them, and no other", async () => {
    const { pubsub, url } = await openEvents();
    const queries = [
      "type=a.b",
      "type=a.b&id=1",
      "type=a.*&id=2",
      "type=a.b&id=1&id=2",
      "type=a.b&type=c",
      "type=**",
      "type=a.b&id=",
    ];
    const connections = await Promise.all(queries.map((query) => connect(url(query))));
    const events: [string, string][] = [
      ["a.b", "1"],
      ["a.b", "2"],
      ["a.c", "2"],
      ["c", "3"],
      ["a.b", ""],
      ["d", "x"],
    ];
    for (const [type, id] of events) await pubsub.publish(type, id, `${type}:${id}`);
    const last = await connect(url("type=last"));
    await pubsub.publish("last", "", 0);
    await last.count(1);
    const expected = [
      ["a.b:1", "a.b:2", "a.b:"],
      ["a.b:1"],
      ["a.b:2", "a.c:2"],
      ["a.b:1", "a.b:2"],
      ["a.b:1", "a.b:2", "c:3", "a.b:"],
      ["a.b:1", "a.b:2", "a.c:2", "c:3", "a.b:", "d:x", 0],
      ["a.b:"],
    ];
    for (const [i, connection] of connections.entries()) {
      await connection.count(expected[i]?.length ?? 0);
      expect([queries[i], connection.story]).toEqual([queries[i], expected[i]]);
      connection.close();
    }
  });

  test.each(["once", "per-filter"] as const)(
    "an event that several filters of a stream match comes once, over a backplane that delivers %s",
    async (overlap) => {
      const supports = { overlap, echo: true } as const satisfies MemoryTransportOptions["supports"];
      const backplane = defineEventTarget(createMemoryTransport(createMemoryBroker(), { supports }));
      onTestFinished(() => backplane.close());
      const { pubsub, url } = await openEvents(true, { backplane });
      const connection = await connect(url("type=a.*&type=a.b&type=*.b&type=**"));
      for (const [i, type] of ["a.b", "c.b", "a.c", "d"].entries()) await pubsub.publish(type, "x", i);
      await connection.count(4);
      await pubsub.publish("a.b", "x", 4);
      await connection.count(5);
      expect(connection.story).toEqual([0, 1, 2, 3, 4]);
      connection.close();
    },
  );
});

describe("a consumer that comes back", () => {
  /** Reads under load while its connection is cut again and again. @returns what it saw, and what it had to see */
  async function cuts(
    count: number,
    headersOf: typeof again,
  ): Promise<{ story: unknown[]; whole: number[]; seed: number }> {
    const { server, url } = await openEvents();
    const proxy = await openProxy(server.port);
    const client = openClient(server.url);
    const seed = Date.now() % 2 ** 31;
    const random = seeded(seed);
    let published = 0;
    let stop = false;
    const publishing = (async () => {
      while (!stop) {
        await Promise.all(Array.from({ length: 20 }, () => client.publish("load.event", "x", published++)));
        await new Promise(setImmediate);
      }
    })();
    const story: unknown[] = [];
    let connection = await connect(url("type=load.*", proxy.port));
    for (let cut = 0; cut < count; cut++) {
      const wanted = Math.floor(random() * 300);
      if (random() < 0.8) await connection.until(() => connection.messages.length >= wanted);
      proxy.cut();
      await connection.ended;
      story.push(...connection.story);
      connection = await connect(url("type=load.*", proxy.port), headersOf(connection));
    }
    stop = true;
    await publishing;
    await client.publish("load.event", "x", "last");
    await connection.until(() => connection.payloads.at(-1) === "last");
    story.push(...connection.story.slice(0, -1));
    connection.close();
    const begin = story[0] as number;
    return { story, whole: Array.from({ length: published - begin }, (_, i) => begin + i), seed };
  }

  test(
    "gets every event once and in order, cut fifty times at random moments under load",
    { timeout: 60_000 },
    async () => {
      const { story, whole, seed } = await cuts(50, again);
      expect(story, `seed ${seed}`).toEqual(whole);
      expect(whole.length).toBeGreaterThan(1000);
    },
  );

  test(
    "and does not say what it had last misses some, and is told nothing (control)",
    { timeout: 60_000 },
    async () => {
      const { story, whole, seed } = await cuts(50, () => ({}));
      expect(story.length, `seed ${seed}`).toBeLessThan(whole.length);
      expect(story.filter((each) => typeof each !== "number")).toEqual([]);
    },
  );

  test("misses nothing either when it was cut off before the first event", async () => {
    const { pubsub, url } = await openEvents();
    const connection = await connect(url("type=a.b"));
    await connection.until(() => connection.parser.lastEventId !== "");
    connection.close();
    await connection.ended;
    for (let i = 0; i < 3; i++) await pubsub.publish("a.b", "", i);
    const back = await connect(url("type=a.b"), again(connection));
    await back.count(3);
    expect(back.story).toEqual([0, 1, 2]);
    back.close();
  });

  test("names what it had in its address too, for a page that was loaded again; the header is newer", async () => {
    const { pubsub, url } = await openEvents();
    const connection = await connect(url("type=a.b"));
    for (let i = 0; i < 3; i++) await pubsub.publish("a.b", "", i);
    const [first, second] = await connection.count(3);
    connection.close();
    const byAddress = await connect(url(`type=a.b&lastEventId=${first?.lastEventId}`));
    await byAddress.count(2);
    expect(byAddress.story).toEqual([1, 2]);
    const byBoth = await connect(url(`type=a.b&lastEventId=${first?.lastEventId}`), {
      "last-event-id": second?.lastEventId ?? "",
    });
    await byBoth.count(1);
    expect(byBoth.story).toEqual([2]);
    byAddress.close();
    byBoth.close();
  });

  test("goes on whatever the order in which it names its filters", async () => {
    const { pubsub, url } = await openEvents();
    const connection = await connect(url("type=a.b&type=c&id=1&id=2"));
    await connection.until(() => connection.parser.lastEventId !== "");
    connection.close();
    await pubsub.publish("c", "2", "missed");
    const back = await connect(url("id=2&type=c&id=1&type=a.b&type=c"), again(connection));
    await back.count(1);
    expect(back.story).toEqual(["missed"]);
    back.close();
  });

  test("too late for the buffer gets one gap with the exact number, then the rest", async () => {
    const { pubsub, url } = await openEvents({ limits: { events: 10 } });
    const connection = await connect(url("type=a.b"));
    await pubsub.publish("a.b", "", 0);
    await connection.count(1);
    connection.close();
    for (let i = 1; i < 50; i++) await pubsub.publish("a.b", "", i);
    const back = await connect(url("type=a.b"), again(connection));
    await pubsub.publish("a.b", "", 50);
    await back.count(12);
    expect(back.story).toEqual(["gap trimmed 39", 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50]);
    const [gap] = back.gaps;
    expect(gap?.since).toBeLessThanOrEqual(gap?.until ?? 0);
    expect(gap?.until).toBeLessThanOrEqual(Date.now());
    back.close();
  });

  test("right after that gap is not told of it again", async () => {
    const { pubsub, url } = await openEvents({ limits: { events: 3 } });
    const connection = await connect(url("type=a.b"));
    await pubsub.publish("a.b", "", 0);
    const [first] = await connection.count(1);
    for (let i = 1; i < 10; i++) await pubsub.publish("a.b", "", i);
    connection.close();
    const back = await connect(url("type=a.b"), { "last-event-id": first?.lastEventId ?? "" });
    const [gap] = await back.count(1);
    expect(gap?.event).toBe("gap");
    back.close();
    const once = await connect(url("type=a.b"), { "last-event-id": gap?.lastEventId ?? "" });
    await once.count(3);
    expect(once.story).toEqual([7, 8, 9]);
    once.close();
  });

  test.each([
    ["nonsense", "x"],
    ["of another hub", "0123456789abcdef.3.0.lk3j2h1g"],
    ["as long as a header may be", "9".repeat(8000)],
    ["with numbers beyond numbers", "0123456789abcdef.999999999999999.999999999999999.zzzzzzzzz"],
  ])("with an id that is %s gets a gap and then what is new", async (_, lastEventId) => {
    const { pubsub, url } = await openEvents();
    const other = await connect(url("type=a.b"));
    await pubsub.publish("a.b", "", "before");
    await other.count(1);
    const back = await connect(url("type=a.b"), { "last-event-id": lastEventId });
    await pubsub.publish("a.b", "", "after");
    await back.count(2);
    expect(back.story).toEqual(["gap resume-expired unknown", "after"]);
    const [gap] = back.gaps;
    expect(gap?.since).toBeLessThanOrEqual(gap?.until ?? 0);
    back.close();
    other.close();
  });

  test("with a place that this hub has not reached, or the id of other filters, gets a gap too", async () => {
    const { pubsub, url } = await openEvents();
    const connection = await connect(url("type=a.b"));
    await pubsub.publish("a.b", "", 0);
    await connection.count(1);
    const id = connection.parser.lastEventId;
    const ahead = await connect(url("type=a.b"), { "last-event-id": id.replace(/\.1\.0\./, ".2.0.") });
    const aside = await connect(url("type=a.*"), { "last-event-id": id });
    for (const back of [ahead, aside]) {
      await back.count(1);
      expect(back.story).toEqual(["gap resume-expired unknown"]);
      back.close();
    }
    connection.close();
  });

  test("to another hub behind the same balancer is told of a gap, and goes on there", async () => {
    const broker = createMemoryBroker();
    const hubs = await Promise.all(
      [0, 1].map(async () => {
        const backplane = defineEventTarget(createMemoryTransport(broker, { supports: { echo: true } }));
        onTestFinished(() => backplane.close());
        return openEvents(true, { backplane });
      }),
    );
    const [one, two] = hubs as [Place, Place];
    const connection = await connect(one.url("type=a.b"));
    await two.pubsub.publish("a.b", "", 0);
    await connection.count(1);
    const since = Date.now();
    connection.close();
    await two.pubsub.publish("a.b", "", 1);
    const back = await connect(two.url("type=a.b"), again(connection));
    await one.pubsub.publish("a.b", "", 2);
    await back.count(2);
    expect(back.story).toEqual(["gap resume-expired unknown", 2]);
    // The id says when the last event came, by the clock of the hub that gave it.
    expect(back.gaps[0]?.since).toBeLessThanOrEqual(since);
    expect(back.gaps[0]?.since).toBeGreaterThan(since - 60_000);
    back.close();
  });

  test("after the window gets a gap, and until then its subscription is kept", async () => {
    const { server, pubsub, url } = await openEvents({ limits: { resumeWindow: 50 } });
    const connection = await connect(url("type=a.b"));
    await pubsub.publish("a.b", "", 0);
    await connection.count(1);
    expect(live(server.hub.eventTarget)).toBe(1);
    connection.close();
    await until(() => live(server.hub.eventTarget) === 0);
    expect(await figures(server)).toMatchObject({ streams: 0, feeds: 0, events: 0, characters: 0 });
    const back = await connect(url("type=a.b"), again(connection));
    await back.count(1);
    expect(back.story).toEqual(["gap resume-expired unknown"]);
    back.close();
  });

  test("finds its place again and again, each time within the window", async () => {
    const { pubsub, url } = await openEvents();
    let connection = await connect(url("type=a.b"));
    for (let i = 0; i < 20; i++) {
      await pubsub.publish("a.b", "", i);
      await connection.count(1);
      expect(connection.story).toEqual([i]);
      connection.close();
      await connection.ended;
      connection = await connect(url("type=a.b"), again(connection));
    }
    connection.close();
  });

  test("where nothing is kept for those who left (resumeWindow: 0) always gets a gap", async () => {
    const target = createHub().eventTarget;
    const { open } = openStreams(target, { limits: { resumeWindow: 0 } });
    const connection = await open("a.b");
    await connection.until(() => connection.parser.lastEventId !== "");
    connection.close();
    await until(() => live(target) === 0);
    const back = await open("a.b", connection.parser.lastEventId);
    await back.count(1);
    expect(back.story).toEqual(["gap resume-expired unknown"]);
    back.close();
  });
});

describe("a loss behind the hub", () => {
  function overBroker(): { target: AlkEventTarget; pubsub: PubSub; cut: () => void } {
    const transport = createMemoryTransport(createMemoryBroker());
    const target = defineEventTarget(transport);
    onTestFinished(() => target.close());
    return {
      target,
      pubsub: createPubSub({ eventTarget: target }),
      cut() {
        transport.cut();
        transport.reconnect();
      },
    };
  }

  test("is in the stream, once for all its filters, and keeps its place for who comes back", async () => {
    const { target, pubsub, cut } = overBroker();
    const { open } = openStreams(target);
    const filters = ["a.b", "a.*", "**"];
    const connection = await open(filters);
    await pubsub.publish("a.b", "", 0);
    const [first] = await connection.count(1);
    await pubsub.publish("a.b", "", 1);
    cut();
    await connection.count(3);
    // Subscribed again.
    await pubsub.subscribe("a.b");
    await pubsub.publish("a.b", "", 2);
    const [, second, gap] = await connection.count(4);
    expect(connection.story).toEqual([0, 1, "gap reconnect unknown", 2]);
    const expected: [string | undefined, unknown[]][] = [
      [first?.lastEventId, [1, "gap reconnect unknown", 2]],
      [second?.lastEventId, ["gap reconnect unknown", 2]],
      [gap?.lastEventId, [2]],
    ];
    for (const [id, story] of expected) {
      const back = await open(filters, id);
      await back.count(story.length);
      expect(back.story).toEqual(story);
      back.close();
    }
    connection.close();
  });

  test("among what is no longer kept makes the number unknown", async () => {
    const { target, pubsub, cut } = overBroker();
    const { open } = openStreams(target, { limits: { events: 2 } });
    const connection = await open("a.b");
    await pubsub.publish("a.b", "", 0);
    const [first] = await connection.count(1);
    cut();
    await connection.count(2);
    await pubsub.subscribe("a.b");
    for (let i = 1; i < 6; i++) await pubsub.publish("a.b", "", i);
    await connection.until(() => connection.payloads.at(-1) === 5);
    const back = await open("a.b", first?.lastEventId);
    await back.count(3);
    expect(back.story).toEqual(["gap trimmed unknown", 4, 5]);
    back.close();
    connection.close();
  });

  test("of the subscription itself is the end of the stream, with its reason; who comes back has a gap", async () => {
    let receiver: Receiver | undefined;
    const transport = createMemoryTransport(createMemoryBroker());
    const target = defineEventTarget({
      supports: transport.supports,
      open: (given) => void (receiver = given),
      subscribe: (filter) => void (wanted = filter),
      unsubscribe: () => undefined,
      publish: () => undefined,
      close: () => undefined,
    });
    let wanted: Parameters<Receiver["revoked"]>[0] | undefined;
    onTestFinished(() => target.close());
    const { open, streams } = openStreams(target);
    const connection = await open("a.b");
    await createPubSub({ eventTarget: target }).publish("a.b", "", 1);
    receiver?.revoked(wanted as never, new PubSubError("REFUSED", "No longer."));
    expect(await connection.ended).toBe("done");
    expect(connection.story).toEqual([1, "end"]);
    expect(connection.end).toEqual({ code: "REFUSED", message: "No longer." });
    expect(streams.status()).toEqual({ streams: 0, feeds: 0, events: 0, characters: 0, slow: 0 });
    const back = await open("a.b", connection.parser.lastEventId);
    await back.count(1);
    expect(back.story).toEqual(["gap resume-expired unknown"]);
    back.close();
  });

  test("of one event that is no JSON is a gap of one in its place, and is reported", async () => {
    const errors: unknown[] = [];
    const { pubsub, url } = await openEvents(true, { onError: (error) => errors.push(error) });
    const connection = await connect(url("type=a.b"));
    for (const payload of [1, 2n, 3]) await pubsub.publish("a.b", "", payload).catch(() => undefined);
    await connection.count(3);
    expect(connection.story).toEqual([1, "gap overflow 1", 3]);
    expect(errors).toMatchObject([{ code: "PAYLOAD" }]);
    connection.close();
  });
});

describe("a slow reader", () => {
  test("is bounded, told exactly how much it missed, and slows no other", async () => {
    const { server, pubsub, url } = await openEvents({ limits: { events: 100 } });
    const slow = await connect(url("type=a.b"), {}, { paused: true });
    const fast = await connect(url("type=a.b"));
    const total = 3000;
    const text = "x".repeat(10_000);
    for (let i = 0; i < total; i++) {
      await pubsub.publish("a.b", "", { i, text });
      if (i % 50 === 0) await fast.count(i + 1);
    }
    await fast.count(total);
    expect(fast.gaps).toEqual([]);
    expect(await figures(server)).toMatchObject({ streams: 2, feeds: 1, events: 100 });
    slow.resume();
    const last = (): unknown => (slow.events.at(-1)?.payload as { i: number } | undefined)?.i;
    await slow.until(() => last() === total - 1);
    let at = 0;
    for (const { event, data } of slow.messages)
      if (event === "gap") at += (JSON.parse(data) as { lost: number }).lost;
      else expect((JSON.parse(data) as { payload: { i: number } }).payload.i).toBe(at++);
    expect(at).toBe(total);
    expect(slow.gaps.length).toBeGreaterThan(0);
    expect(slow.gaps.every(({ reason }) => reason === "overflow")).toBe(true);
    expect((await figures(server)).slow).toBe(slow.gaps.length);
    slow.close();
    fast.close();
  });

  test("an event larger than all that may be kept is a gap, and the next one comes", async () => {
    const { pubsub, url } = await openEvents({ limits: { characters: 1000 } });
    const connection = await connect(url("type=a.b"));
    await pubsub.publish("a.b", "", "small");
    await connection.count(1);
    await pubsub.publish("a.b", "", "x".repeat(2000));
    await connection.count(2);
    await pubsub.publish("a.b", "", "small again");
    await connection.count(3);
    expect(connection.story).toEqual(["small", "gap overflow 1", "small again"]);
    connection.close();
  });
});

describe("what is kept is bounded", () => {
  test("by characters over all sets of filters: the one that keeps most gives up first", async () => {
    const hub = createHub();
    const pubsub = createPubSub({ eventTarget: hub.eventTarget });
    const { streams, open } = openStreams(hub.eventTarget, { limits: { characters: 100_000 } });
    const quiet = await open("quiet");
    await pubsub.publish("quiet", "", "kept");
    const [kept] = await quiet.count(1);
    await pubsub.publish("quiet", "", "missed");
    await quiet.count(2);
    quiet.close();
    const loud = await open("loud");
    for (let i = 0; i < 1000; i++) {
      await pubsub.publish("loud", "", "x".repeat(1000));
      expect(streams.status().characters).toBeLessThanOrEqual(100_000);
    }
    const back = await open("quiet", kept?.lastEventId);
    await back.count(1);
    expect(back.story).toEqual(["missed"]);
    back.close();
    loud.close();
  });

  test("by sets of filters: the longest idle goes, and where none is idle the next one is refused", async () => {
    const hub = createHub();
    const { streams, open } = openStreams(hub.eventTarget, { limits: { feeds: 3 } });
    const three = await Promise.all(["a", "b", "c"].map((type) => open(type)));
    await expect(open("d")).rejects.toMatchObject({ code: "LIMIT" });
    const shared = await open("a");
    for (const connection of [three[1], three[2]]) {
      await connection?.until(() => connection.parser.lastEventId !== "");
      connection?.close();
    }
    await until(() => streams.status().streams === 2);
    const fourth = await open("d");
    expect(streams.status()).toMatchObject({ streams: 3, feeds: 3 });
    const [, b, c] = three;
    const stories: unknown[] = [];
    for (const [type, connection] of [
      ["c", c],
      ["b", b],
    ] as const) {
      const back = await open(type, connection?.parser.lastEventId);
      await createPubSub({ eventTarget: hub.eventTarget }).publish(type, "", 1);
      await back.until(() => back.payloads.length === 1);
      stories.push(back.story);
      back.close();
    }
    expect(stories).toEqual([[1], ["gap resume-expired unknown", 1]]);
    for (const connection of [three[0], shared, fourth]) connection?.close();
  });

  test("by streams: the next one is refused with 503, and there is room again when one leaves", async () => {
    const { server, url } = await openEvents({ limits: { streams: 2 } });
    const [one, two] = [await connect(url("type=a")), await connect(url("type=a"))];
    const refused = await fetch(url("type=a"));
    expect([refused.status, await refused.json()]).toMatchObject([503, { code: "LIMIT" }]);
    one.close();
    for (;;) if ((await figures(server)).streams === 1) break;
    const third = await connect(url("type=a"));
    expect(third.response.status).toBe(200);
    two.close();
    third.close();
  });

  test("what is diverted, or withheld, goes to no stream, also where a backplane has it", async () => {
    const broker = createMemoryBroker();
    const [backplane, elsewhere] = [
      defineEventTarget(createMemoryTransport(broker)),
      defineEventTarget(createMemoryTransport(broker)),
    ];
    const { server, url } = await openEvents({ withhold: (type) => type === "own.secret" }, { backplane });
    server.hub.divert("talk.*", () => undefined);
    const other = createPubSub({ eventTarget: elsewhere });
    const connection = await connect(url("type=**"));
    for (const type of ["talk.secret", "own.secret", "open"]) await other.publish(type, "", type);
    await connection.count(1);
    expect(connection.payloads).toEqual(["open"]);
    connection.close();
  });

  test("streams of one set share one subscription and what is kept", async () => {
    const { server, pubsub, url } = await openEvents();
    const connections = await Promise.all(Array.from({ length: 20 }, () => connect(url("type=a.*&id=1"))));
    await pubsub.publish("a.b", "1", "x");
    for (const connection of connections) await connection.count(1);
    expect(await figures(server)).toMatchObject({ streams: 20, feeds: 1, events: 1 });
    expect(live(server.hub.eventTarget)).toBe(1);
    for (const connection of connections) connection.close();
  });

  test("whoever goes away frees everything: streams at once, the rest after the window", async () => {
    const { server, pubsub, url } = await openEvents({ limits: { resumeWindow: 20 } });
    for (let round = 0; round < 5; round++) {
      const connections = await Promise.all(Array.from({ length: 20 }, (_, i) => connect(url(`type=a.b&id=${i}`))));
      for (let i = 0; i < 20; i++) await pubsub.publish("a.b", `${i}`, i);
      for (const connection of connections) await connection.count(1);
      for (const connection of connections) connection.close();
      await until(() => live(server.hub.eventTarget) === 0);
      expect(await figures(server)).toEqual({ streams: 0, feeds: 0, events: 0, characters: 0, slow: 0 });
    }
  });

  test("a stream that was opened and left lying is collected", async () => {
    const hub = createHub();
    const { streams } = openStreams(hub.eventTarget);
    await (async () => {
      await streams.open("a.b");
    })();
    expect(streams.status().streams).toBe(1);
    await until(() => (gc(), streams.status().streams === 0));
  });
});

describe("the end", () => {
  test("of the server is said to every stream, after what it had not read yet", async () => {
    const { server, pubsub, url } = await openEvents();
    const connections = await Promise.all([connect(url("type=a.b")), connect(url("type=a.*"))]);
    for (let i = 0; i < 100; i++) void pubsub.publish("a.b", "", i);
    await server.close();
    for (const connection of connections) {
      expect(await connection.ended).toBe("done");
      expect(connection.payloads).toHaveLength(100);
      expect(connection.end).toMatchObject({ code: "CLOSED" });
    }
  });

  test("of the hub is said as well, and its server goes on to refuse", async () => {
    const hub = createHub();
    const { url } = await openEvents(true, { hub });
    const connection = await connect(url("type=a.b"));
    await hub.close();
    expect(await connection.ended).toBe("done");
    expect(connection.end).toMatchObject({ code: "CLOSED" });
    const response = await fetch(url("type=a.b"));
    expect([response.status, await response.json()]).toMatchObject([503, { code: "CLOSED" }]);
  });

  test("does not wait for a consumer that reads nothing", async () => {
    const { server, pubsub, url } = await openEvents();
    const connection = await connect(url("type=a.b"), {}, { paused: true });
    for (let i = 0; i < 2000; i++) {
      await pubsub.publish("a.b", "", "x".repeat(10_000));
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    await server.close();
    connection.resume();
    expect(await connection.ended).toBeInstanceOf(Error);
  });

  test("while a stream is still being opened rejects it", async () => {
    const transport = createMemoryTransport(createMemoryBroker());
    const target = defineEventTarget({
      supports: transport.supports,
      open: () => undefined,
      subscribe: () => new Promise<void>(() => undefined),
      unsubscribe: () => undefined,
      publish: () => undefined,
      close: () => undefined,
    });
    onTestFinished(() => target.close());
    const streams = createEventStreams(target);
    const opening = streams.open("a.b");
    await streams.close();
    await expect(opening).rejects.toMatchObject({ code: "CLOSED" });
    await expect(streams.open("a.b")).rejects.toMatchObject({ code: "CLOSED" });
    expect(streams.status()).toMatchObject({ streams: 0, feeds: 0 });
  });
});
