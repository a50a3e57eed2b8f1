// Who may do what, and how often.
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub, PubSubError } from "@alkdev/pubsub";
import { createMainThreadEventTarget, workerChannel } from "@alkdev/pubsub/event-target-worker";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { defineEventTarget, matchesType } from "@alkdev/pubsub/transport";
import { createHub } from "@alkdev/hub";
import type { Hub, HubOptions } from "@alkdev/hub";
import { MessageChannel } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { covers } from "../src/grants.ts";
import type { Grant } from "../src/grants.ts";
import { openClient, openHub, openProxy, over, take, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";
import { dial, envelope } from "./fixtures/peer.ts";

function openBareHub(options: HubOptions): { hub: Hub; here: PubSub } {
  const hub = createHub(options);
  const here = createPubSub({ eventTarget: hub.eventTarget, onError: () => undefined });
  onTestFinished(async () => {
    await here.close();
    await hub.close();
  });
  return { hub, here };
}

/** A client with an identity, over a port. */
function as(hub: Hub, identity?: string): Client {
  const { port1, port2 } = new MessageChannel();
  hub.connect(workerChannel(port1), identity);
  onTestFinished(() => port2.close());
  return over(createMainThreadEventTarget({ port: port2 }));
}

function outcome(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "done",
    (error: unknown) => (error as PubSubError).code,
  );
}

/** Every sequence of so many of the tokens. */
function sequences(tokens: readonly string[], length: number): string[][] {
  if (length === 0) return [[]];
  return sequences(tokens, length - 1).flatMap((rest) => tokens.map((token) => [...rest, token]));
}

describe("a grant", () => {
  test("covers a filter if and only if it matches every type that the filter matches: all patterns of three tokens", () => {
    const lengths = [1, 2, 3];
    const closed = lengths.flatMap((length) => sequences(["a", "b", "*"], length));
    const patterns = ["**", ...closed.flatMap((tokens) => [tokens.join("."), `${tokens.join(".")}.**`])];
    // A token more than the patterns name, and two longer than the longest.
    const types = [1, 2, 3, 4, 5]
      .flatMap((length) => sequences(["a", "b", "c"], length))
      .map((tokens) => tokens.join("."));
    const matched = new Map(
      patterns.map((pattern) => [pattern, new Set(types.filter((type) => matchesType(pattern, type)))]),
    );
    const wrong: string[] = [];
    let covered = 0;
    for (const [wide, all] of matched)
      for (const [narrow, some] of matched) {
        let expected = true;
        for (const type of some)
          if (!all.has(type)) {
            expected = false;
            break;
          }
        if (covers([wide], { type: narrow, id: undefined, group: undefined }) !== expected)
          wrong.push(`${wide} ${expected ? "covers" : "does not cover"} ${narrow}`);
        if (expected) covered++;
      }
    expect(wrong).toEqual([]);
    expect(covered).toBeGreaterThan(patterns.length);
  });

  test.each([
    ["of every id covers one id and every id", { type: "a" }, ["x", undefined, ""], true],
    ["of one id covers that one", { type: "a", id: "x" }, ["x"], true],
    ["of one id covers no other, and not every id", { type: "a", id: "x" }, ["y", "", undefined], false],
    ["of the empty id covers that, and not every id", { type: "a", id: "" }, [""], true],
    ["of the empty id covers no other", { type: "a", id: "" }, ["x", undefined], false],
  ])("%s", (_, granted, ids, expected) => {
    for (const id of ids) expect(covers([granted], { type: "a", id, group: undefined })).toBe(expected);
  });

  test("is not added up with others, forbids all where it is empty, and restricts nothing where it is absent", () => {
    const everything = { type: "a.*", id: undefined, group: undefined };
    expect(covers(["a.b", "a.c"], everything)).toBe(false);
    expect(covers(["a.b", "a.*"], everything)).toBe(true);
    expect(covers([], everything)).toBe(false);
    expect(covers(undefined, everything)).toBe(true);
  });
});

describe("an identity", () => {
  const grants: Record<string, Grant> = {
    ann: { publish: ["a.*", { type: "b", id: "mine" }], subscribe: ["a.**"] },
    mute: { publish: [] },
    deaf: { subscribe: [] },
  };
  const authorize = (identity: string | undefined): Grant => grants[identity ?? ""] ?? {};

  test("publishes what it was granted; what it was not is REFUSED, that event alone, and reaches nobody", async () => {
    const { hub, here } = openBareHub({ authorize });
    const everything = await here.subscribe("**");
    const ann = as(hub, "ann");
    const outcomes = [
      ann.publish("a.b", "any", 1),
      ann.publish("a", "", 2),
      ann.publish("b", "mine", 3),
      ann.publish("b", "other", 4),
      ann.publish("a.c", "", 5),
    ].map(outcome);
    expect(await Promise.all(outcomes)).toEqual(["done", "REFUSED", "done", "REFUSED", "done"]);
    expect((await take(everything, 3)).map(({ payload }) => payload)).toEqual([1, 3, 5]);
    expect(everything.received).toBe(3);
  });

  test("subscribes to what it was granted and nothing wider, and the refusals cost it nothing else", async () => {
    const { hub, here } = openBareHub({ authorize });
    const ann = as(hub, "ann");
    const wanted: [string, string?][] = [["a"], ["a.b", "x"], ["a.*.c"], ["a.b.**"], ["b"], ["*"], ["**"], ["*.b"]];
    const outcomes = [];
    for (const [type, id] of wanted)
      outcomes.push(await outcome(id === undefined ? ann.subscribe(type) : ann.subscribe(type, id)));
    expect(outcomes).toEqual(["done", "done", "done", "done", "REFUSED", "REFUSED", "REFUSED", "REFUSED"]);
    expect(hub.status()).toMatchObject({ subscriptions: 4, filters: 4, malformed: 0 });
    const events = await ann.subscribe("a.**");
    await here.publish("a.b.c", "", 1);
    await take(events, 1);
  });

  test("with an empty list may do nothing of the kind, and all of the other; without a grant everything", async () => {
    const { hub } = openBareHub({ authorize });
    const [mute, deaf, bob] = [as(hub, "mute"), as(hub, "deaf"), as(hub)];
    expect(await outcome(mute.publish("a", "", 1))).toBe("REFUSED");
    const events = await mute.subscribe("**");
    expect(await outcome(deaf.subscribe("a"))).toBe("REFUSED");
    await deaf.publish("a", "", 2);
    await bob.publish("z", "", 3);
    expect((await take(events, 2)).map(({ payload }) => payload)).toEqual([2, 3]);
  });

  test("may take part in a group only where it may subscribe to its filter", async () => {
    const { hub } = openBareHub({ authorize });
    const ann = as(hub, "ann");
    await ann.reached("ready");
    await ann.subscribe("a.b", { group: "g" });
    expect(await outcome(ann.subscribe("b", { group: "g" }))).toBe("REFUSED");
    expect(hub.status()).toMatchObject({ subscriptions: 1, filters: 1 });
  });

  test("is asked about again when it comes back: what is not granted any more drains and ends, the rest goes on", async () => {
    let grant: Grant = {};
    const { port, hub, url } = await openHub({ authorize: () => grant, limits: { resumeWindow: 30_000 } });
    const proxy = await openProxy(port);
    const publisher = openClient(url);
    const client = openClient(proxy.url);
    const [a, b] = [await client.subscribe("a"), await client.subscribe("b")];
    await publisher.publish("a", "", 1);
    proxy.refusing = true;
    proxy.cut();
    await until(() => hub.status().links.some(({ attached }) => !attached));
    await publisher.publish("a", "", 2);
    grant = { subscribe: ["b"], publish: ["b"] };
    proxy.refusing = false;
    expect((await take(a, 2)).map(({ payload }) => payload)).toEqual([1, 2]);
    await expect(a.next()).rejects.toMatchObject({ code: "REFUSED" });
    await publisher.publish("b", "", 3);
    await take(b, 1);
    expect(await outcome(client.publish("a", "", 4))).toBe("REFUSED");
    expect(await outcome(client.publish("b", "", 5))).toBe("done");
    // Whoever has not been away keeps what it had.
    await publisher.publish("a", "", 6);
  });

  test("that cannot be asked about when it comes back may do nothing, and the hub goes on", async () => {
    const errors: unknown[] = [];
    let asked = 0;
    const { port, url } = await openHub({
      // Its first connection, its second, and then what it may do as the session that it goes on with.
      authorize: () => {
        if (++asked === 3) throw new Error("the directory is down");
        return {};
      },
      onError: (error) => errors.push(error),
      limits: { resumeWindow: 30_000 },
    });
    const proxy = await openProxy(port);
    const client = openClient(proxy.url);
    const events = await client.subscribe("a");
    proxy.cut();
    await expect(events.next()).rejects.toMatchObject({ code: "REFUSED" });
    expect(await outcome(client.publish("a", "", 1))).toBe("REFUSED");
    expect(errors).toMatchObject([{ message: "the directory is down" }]);
    await openClient(url).publish("a", "", 2);
  });
});

describe("a plain link", () => {
  /** One that is granted what is listed, and every frame that it was sent. */
  function plain(
    hub: Hub,
    ...subscribe: NonNullable<Grant["subscribe"]>
  ): { frames: unknown[]; send: (frame: unknown) => void } {
    const { port1, port2 } = new MessageChannel();
    hub.connect(workerChannel(port1), "plain", { plain: { subscribe } });
    const frames: unknown[] = [];
    port2.on("message", (frame) => frames.push(frame));
    onTestFinished(() => port2.close());
    return { frames, send: (frame) => port2.postMessage(frame) };
  }

  test("gets what it was granted and nothing else, whatever it asks for; what it sends is published", async () => {
    const { hub, here } = openBareHub({});
    const got = await here.subscribe("up");
    const { frames, send } = plain(hub, "a.*", { type: "b", id: "x" });
    send(envelope("$subscribe", { ref: 1, type: "**" }));
    send(envelope("$hello", { nonce: "n", versions: [1] }));
    send(envelope("up", 1));
    await take(got, 1);
    const topics: [string, string][] = [
      ["a", ""],
      ["a.b", "q"],
      ["b", "x"],
      ["b", "y"],
      ["c", ""],
      ["a.c", ""],
    ];
    for (const [type, id] of topics) await here.publish(type, id, null);
    await until(() => frames.length === 3);
    expect(frames).toMatchObject([{ type: "a.b" }, { type: "b" }, { type: "a.c" }]);
    expect(hub.status().subscriptions).toBe(2);
  });

  test("may publish only what authorize grants its identity", async () => {
    const { hub, here } = openBareHub({ authorize: () => ({ publish: ["up"] }) });
    const got = await here.subscribe("**");
    const { send } = plain(hub, "a");
    send(envelope("down", 1));
    send(envelope("up", 2));
    expect((await take(got, 1))[0]).toMatchObject({ type: "up" });
  });

  test("is sent no control frame, not even of a loss", async () => {
    const { hub, here } = openBareHub({ onError: () => undefined });
    const { frames } = plain(hub, "a");
    await here.publish("a", "", () => undefined).catch(() => undefined);
    await here.publish("a", "", 1);
    await until(() => frames.some((frame) => (frame as { type: string }).type === "a"));
    expect(frames).toMatchObject([{ type: "a", payload: 1 }]);
  });

  test.each(["once", "per-filter"] as const)(
    "gets each event once, as a bare envelope, where the backplane delivers overlapping filters %s",
    async (overlap) => {
      const broker = createMemoryBroker();
      const backplane = defineEventTarget(createMemoryTransport(broker, { supports: { overlap } }));
      const other = createPubSub({ eventTarget: defineEventTarget(createMemoryTransport(broker)) });
      const { hub } = openBareHub({ backplane });
      onTestFinished(async () => {
        await other.close();
        await backplane.close();
      });
      const { frames } = plain(hub, "a.*", "*.b", "a.b");
      await until(() => broker.filters === 3);
      for (const type of ["a.b", "c.b", "a.c"]) await other.publish(type, "", null);
      await until(() => frames.length >= 3);
      await other.publish("a.b", "last", null);
      await until(() => frames.some((frame) => (frame as { id: string }).id === "last"));
      expect(frames).toEqual(
        [
          ["a.b", ""],
          ["c.b", ""],
          ["a.c", ""],
          ["a.b", "last"],
        ].map(([type, id]) => ({ type, id, payload: null })),
      );
    },
  );
});

describe("limits.rate", () => {
  test("refuses what is over it with LIMIT, those events alone, and other links notice nothing", async () => {
    const { url, hub } = await openHub({ limits: { rate: 100 } });
    const [fast, calm] = [openClient(url), openClient(url)];
    await Promise.all([fast.reached("ready"), calm.reached("ready")]);
    const got = await calm.subscribe("a");
    const begun = performance.now();
    const outcomes = await Promise.all(Array.from({ length: 300 }, (_, n) => outcome(fast.publish("a", "", n))));
    const seconds = (performance.now() - begun) / 1000;
    const done = outcomes.filter((each) => each === "done").length;
    expect(new Set(outcomes)).toEqual(new Set(["done", "LIMIT"]));
    expect(done).toBeGreaterThanOrEqual(100);
    expect(done).toBeLessThanOrEqual(100 + Math.ceil(seconds * 100));
    expect(await outcome(calm.publish("b", "", 1))).toBe("done");
    await take(got, done);
    expect(got.received).toBe(done);
    // A second's worth comes back in a second; one does not have to wait for all of it.
    await until(() => performance.now() - begun > 200);
    expect(await outcome(fast.publish("a", "", 300))).toBe("done");
    expect(hub.status().malformed).toBe(0);
  });

  test("counts subscriptions too", async () => {
    const { url } = await openHub({ limits: { rate: 10 } });
    const client = openClient(url);
    await client.reached("ready");
    const outcomes = await Promise.all(Array.from({ length: 30 }, (_, n) => outcome(client.subscribe("a", String(n)))));
    expect(new Set(outcomes)).toEqual(new Set(["done", "LIMIT"]));
    expect(outcomes.filter((each) => each === "done").length).toBeGreaterThanOrEqual(10);
  });

  test.each([
    ["$subscribe of the same ref", () => envelope("$subscribe", { ref: 1, type: "ok" })],
    ["$subscribe that is not granted", (n: number) => envelope("$subscribe", { ref: n, type: "forbidden" })],
    [
      "$subscribe and $unsubscribe",
      (n: number) => [envelope("$subscribe", { ref: n, type: `ok.${n}` }), envelope("$unsubscribe", { ref: n })],
    ],
    ["$ping", () => envelope("$ping", null)],
    ["$pong", () => envelope("$pong", null)],
    ["$hello of the same nonce", () => envelope("$hello", { nonce: "n1", versions: [1] })],
    ["$hello of ever new nonces", (n: number) => envelope("$hello", { nonce: `n${n}`, versions: [1] })],
    [
      "$hello that names sessions",
      (n: number) => envelope("$hello", { nonce: "n1", versions: [1], session: `s${n}`, received: n }),
    ],
    ["$keep", (n: number) => envelope("$keep", { refs: [n] })],
    ["$refused", (n: number) => envelope("$refused", { ref: n, code: "REFUSED" })],
    ["unknown control frames", (n: number) => envelope(`$unknown${n}`, n)],
  ])("a flood of %s does not grow the hub", async (_, frame: (n: number) => unknown) => {
    const { url, hub } = await openHub({
      authorize: () => ({ subscribe: ["ok.**"] }),
      limits: { resumeWindow: 30_000 },
    });
    const peer = dial(url);
    await peer.shakeHands({}, { resumeWindow: 30_000 });
    const flood = async (from: number, count: number): Promise<void> => {
      for (let n = from; n < from + count; n += 500)
        peer.send(Array.from({ length: 500 }, (__, i) => frame(n + i)).flat());
      await peer.ping();
    };
    await flood(1, 500);
    const before = hub.status();
    await flood(501, 10_000);
    const after = hub.status();
    expect(after.links).toHaveLength(1);
    expect(after.filters).toBe(before.filters);
    expect(after.malformed).toBe(0);
    expect(after.links[0]?.buffered ?? 0).toBeLessThan(1 << 20);
  });
});

describe("an onError that throws or rejects", () => {
  test.each([
    [
      "throws",
      () => {
        throw new Error("from onError");
      },
    ],
    ["rejects", () => Promise.reject(new Error("from onError"))],
  ])("(%s) does not end the process, nor the links", async (_, onError) => {
    const warnings: Error[] = [];
    const warned = (warning: Error): void => void warnings.push(warning);
    process.on("warning", warned);
    onTestFinished(() => void process.off("warning", warned));
    const fails: () => unknown = onError;
    const { url, hub } = await openHub({ onError: () => fails(), limits: { frame: 1000 } });
    const client = openClient(url);
    const events = await client.subscribe("a");
    const peer = dial(url);
    await peer.shakeHands();
    peer.send("garbage");
    // Over the hard limit: an error of the socket itself.
    peer.send("x".repeat(10_000));
    await peer.closed;
    await until(() => hub.status().malformed === 1 && hub.status().links.length === 1);
    await client.publish("a", "", 1);
    await take(events, 1);
    await until(() => warnings.length >= 2);
    expect(warnings[0]?.message).toContain("from onError");
  });
});
