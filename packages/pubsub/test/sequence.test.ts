// `sequence: true` over a transport that loses, repeats and reorders when the test says so.
import * as fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap, PubSub, PubSubOptions, Sequence, Supports } from "@alkdev/pubsub";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { Opened } from "./fixtures/conformance.ts";
import { deferred, HandTransport, inOwnProcess, settled, uncaughtDuring } from "./pubsub-support.ts";

const opened = new Opened();
afterEach(() => opened.end());

/** Connects targets, and carries nothing by itself: the test says which of the events that were sent arrive, and when. */
class Wire {
  readonly sent: EventEnvelope[] = [];
  readonly #transports: HandTransport[] = [];

  connect(supports: Partial<Supports> = {}): AlkEventTarget {
    const transport = new HandTransport({ lossDetection: "none", ...supports });
    transport.publish = (envelope) => void this.sent.push(structuredClone(envelope));
    this.#transports.push(transport);
    const target = defineEventTarget(transport);
    opened.add(() => target.close());
    return target;
  }

  event(place: number): EventEnvelope {
    return this.sent.at(place) as EventEnvelope;
  }

  /** Events arrive at the target that was connected last. */
  arrive(...events: readonly (number | EventEnvelope)[]): void {
    for (const event of events) {
      const envelope = typeof event === "number" ? this.event(event) : event;
      this.#transports.at(-1)?.receiver.deliver(structuredClone(envelope));
    }
  }

  /** All that was sent and has not been taken arrives. */
  arriveAll(): void {
    this.arrive(...this.sent.splice(0));
  }
}

const over = (eventTarget: AlkEventTarget, options: PubSubOptions = {}): PubSub =>
  createPubSub({ eventTarget, sequence: true, ...options });

/** A publisher and a subscriber at the two ends of a wire. */
function ends(options: PubSubOptions = {}): { wire: Wire; near: PubSub; far: PubSub } {
  const wire = new Wire();
  const far = over(wire.connect());
  return { wire, far, near: over(wire.connect(), options) };
}

const seqOf = ({ meta }: EventEnvelope): Sequence => meta?.["seq"] as Sequence;

/** What `on` gives, in its order: payloads, and for gaps "lost n". */
async function record(pubsub: PubSub, type: string = "**", id?: string): Promise<unknown[]> {
  const seen: unknown[] = [];
  await pubsub.on(type, id, ({ payload }) => seen.push(payload), {
    onGap: ({ reason, lost }) => seen.push(`${reason}: lost ${lost}`),
  });
  return seen;
}

describe("the manifest", () => {
  test("says that every loss is reported, and else what the target says", () => {
    const target = new Wire().connect();
    expect(createPubSub({ eventTarget: target }).supports).toEqual(target.supports);
    expect(over(target).supports).toEqual({ ...target.supports, lossDetection: "full" });
  });

  test("says so over a plain EventTarget too", () => {
    const { supports } = createPubSub({ eventTarget: new EventTarget(), sequence: true });
    expect(supports).toMatchObject({ lossDetection: "full", publishAck: "none" });
  });
});

describe("what is published", () => {
  test("has numbers from 1, for each topic of its own, under one name, with the time of number 1", async () => {
    const { wire, far } = ends();
    const before = Date.now();
    for (const [type, id] of [
      ["a", ""],
      ["a", "1"],
      ["a", ""],
      ["b", ""],
      ["a", ""],
    ] as const)
      await far.publish(type, id, null);
    const seqs = wire.sent.map(seqOf);
    expect(seqs.map(({ n }) => n)).toEqual([1, 1, 2, 1, 3]);
    expect(new Set(seqs.map(({ by }) => by)).size).toBe(1);
    expect(new Set([seqs[0]?.at, seqs[2]?.at, seqs[4]?.at]).size).toBe(1);
    for (const { at } of seqs) expect(at >= before && at <= Date.now() + 1).toBe(true);
  });

  test("has another name for each PubSub, on one target too", async () => {
    const wire = new Wire();
    const target = wire.connect();
    for (const pubsub of [over(target), over(target), over(wire.connect())]) await pubsub.publish("a", "", null);
    expect(new Set(wire.sent.map((envelope) => seqOf(envelope).by)).size).toBe(3);
    expect(wire.sent.map((envelope) => seqOf(envelope).n)).toEqual([1, 1, 1]);
  });

  test("has no number without the option", async () => {
    const wire = new Wire();
    await createPubSub({ eventTarget: wire.connect() }).publish("a", "", 1);
    expect(wire.sent).toEqual([{ type: "a", id: "", payload: 1 }]);
  });
});

describe("a subscription", () => {
  test("gets what arrives in order as it is", async () => {
    const { wire, near, far } = ends();
    const seen = await record(near);
    for (let i = 0; i < 10; i++) await far.publish("a", String(i % 2), i);
    wire.arriveAll();
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("has a gap with the exact count in the place of a loss", async () => {
    const { wire, near, far } = ends();
    const seen = await record(near);
    for (let i = 0; i < 10; i++) await far.publish("a", "", i);
    wire.arrive(0, 1, 3, 4, 8);
    expect(seen).toEqual([0, 1, "sequence: lost 1", 3, 4, "sequence: lost 3", 8]);
  });

  test("gets a repeated event once", async () => {
    const { wire, near, far } = ends();
    const seen = await record(near);
    for (let i = 0; i < 3; i++) await far.publish("a", "", i);
    wire.arrive(0, 0, 1, 0, 1, 2, 2, 0);
    expect(seen).toEqual([0, 1, 2]);
  });

  test("does not get a late event, whose place was reported", async () => {
    const { wire, near, far } = ends();
    const seen = await record(near);
    for (let i = 0; i < 5; i++) await far.publish("a", "", i);
    wire.arrive(0, 2, 1, 3, 1, 4);
    expect(seen).toEqual([0, "sequence: lost 1", 2, 3, 4]);
  });

  test("counts its gaps, and its batches end before them", async () => {
    const { wire, near, far } = ends();
    const gaps: Gap[] = [];
    const events = await near.subscribe("a", { onGap: (gap) => gaps.push(gap) });
    for (let i = 0; i < 5; i++) await far.publish("a", "", i);
    wire.arrive(0, 1, 4);
    expect(events.gaps).toBe(1);
    const batches = events.batches();
    expect((await batches.next()).value?.map(({ payload }) => payload)).toEqual([0, 1]);
    expect(gaps).toEqual([]);
    expect((await batches.next()).value?.map(({ payload }) => payload)).toEqual([4]);
    expect(gaps).toMatchObject([{ reason: "sequence", lost: 2 }]);
  });

  test.each(["subscribe", "on"] as const)("by %s without onGap is told as of any gap", async (how) => {
    const errors: unknown[] = [];
    const { wire, near, far } = ends({ onError: (error) => errors.push(error) });
    const gap = { code: "GAP", gap: { reason: "sequence", lost: 1 } };
    const seen: unknown[] = [];
    const events = how === "subscribe" ? await near.subscribe("a") : undefined;
    if (how === "on") await near.on("a", ({ payload }) => seen.push(payload));
    for (let i = 0; i < 3; i++) await far.publish("a", "", i);
    wire.arrive(0, 2);
    if (events === undefined) {
      expect(seen).toEqual([0, 2]);
      expect(errors).toMatchObject([gap]);
      return;
    }
    expect((await events.next()).value?.payload).toBe(0);
    await expect(events.next()).rejects.toMatchObject(gap);
    expect((await events.next()).done).toBe(true);
  });

  test("with onGap 'ignore' goes on in silence, and still gets nothing twice", async () => {
    const errors: unknown[] = [];
    const { wire, near, far } = ends({ onError: (error) => errors.push(error) });
    const events = await near.subscribe("a", { onGap: "ignore" });
    for (let i = 0; i < 4; i++) await far.publish("a", "", i);
    wire.arrive(1, 3, 3, 2);
    expect((await events.next()).value?.payload).toBe(1);
    expect((await events.next()).value?.payload).toBe(3);
    expect(events.received).toBe(2);
    expect(errors).toEqual([]);
  });

  test("that its onGap stops gets nothing more, not even the event behind the gap", async () => {
    const { wire, near, far } = ends();
    const seen: unknown[] = [];
    const stop: () => void = await near.on("a", ({ payload }) => seen.push(payload), { onGap: () => stop() });
    for (let i = 0; i < 3; i++) await far.publish("a", "", i);
    wire.arrive(0, 2);
    expect(seen).toEqual([0]);
  });

  test("with a small buffer has gaps for what it dropped beside those for what never came", async () => {
    const { wire, near, far } = ends();
    const gaps: Gap[] = [];
    const events = await near.subscribe("a", {
      buffer: { limit: 2, overflow: "drop-oldest" },
      onGap: (gap) => gaps.push(gap),
    });
    for (let i = 0; i < 10; i++) await far.publish("a", "", i);
    wire.arrive(0, 1, 2, 4, 5, 9);
    expect(events.dropped).toBe(4);
    expect((await events.next()).value?.payload).toBe(5);
    expect((await events.next()).value?.payload).toBe(9);
    const lost = (reason: string) =>
      gaps.filter((gap) => gap.reason === reason).reduce((sum, gap) => sum + Number(gap.lost), 0);
    expect([lost("overflow"), lost("sequence")]).toEqual([4, 4]);
  });

  test("to one topic, to every id and to a pattern each have the gap once, in its place", async () => {
    const { wire, near, far } = ends();
    const exact = await record(near, "a.b", "1");
    const any = await record(near, "a.b");
    const wide = await record(near, "a.*", "1");
    const all = await record(near);
    for (let i = 0; i < 4; i++) {
      await far.publish("a.b", "1", `b ${i}`);
      await far.publish("a.c", "1", `c ${i}`);
    }
    wire.arrive(0, 1, 5, 6);
    const [b, c] = [["b 0", "sequence: lost 2", "b 3"], "sequence: lost 1"];
    expect(exact).toEqual(b);
    expect(any).toEqual(b);
    expect(wide).toEqual(["b 0", "c 0", c, "c 2", "sequence: lost 2", "b 3"]);
    expect(all).toEqual(wide);
  });

  test("of one topic of many publishers tells them apart", async () => {
    const wire = new Wire();
    const [one, two] = [over(wire.connect()), over(wire.connect())];
    const seen = await record(over(wire.connect()), "a", "");
    for (let i = 0; i < 3; i++) {
      await one.publish("a", "", `one ${i}`);
      await two.publish("a", "", `two ${i}`);
    }
    wire.arrive(0, 1, 3, 4, 5);
    expect(seen).toEqual(["one 0", "two 0", "two 1", "sequence: lost 1", "one 2", "two 2"]);
  });
});

describe("before the first event of a topic", () => {
  test("a loss is a gap, if the topic began after the subscription was live", async () => {
    const { wire, near, far } = ends();
    const seen = await record(near);
    for (let i = 0; i < 3; i++) await far.publish("a", "", i);
    wire.arrive(2);
    expect(seen).toEqual(["sequence: lost 2", 2]);
  });

  test("what was published before the subscription is no loss, in the same millisecond either", async () => {
    const { wire, near, far } = ends();
    for (let round = 0; round < 100; round++) {
      const [before, after] = [`before.${round}`, `after.${round}`];
      await far.publish(before, "", 0);
      const events = await near.subscribe("**", { onGap: "ignore" });
      await far.publish(before, "", 1);
      await far.publish(after, "", 0);
      await far.publish(after, "", 1);
      wire.arrive(...wire.sent.splice(0).filter(({ payload }) => payload === 1));
      expect([events.received, events.gaps]).toEqual([2, 1]);
      await events.return();
    }
  });

  test("what was published while the subscription waited was not promised", async () => {
    const transport = new HandTransport();
    const target = defineEventTarget(transport);
    opened.add(() => target.close());
    const near = over(target);
    const wire = new Wire();
    const far = over(wire.connect());
    await near.publish("open", "", null);
    transport.subscribing = deferred();
    const gaps: Gap[] = [];
    const pending = near.subscribe("a", { onGap: (gap) => gaps.push(gap) });
    await settled();
    await far.publish("a", "", 0);
    await far.publish("a", "", 1);
    transport.subscribing.resolve();
    const events = await pending;
    transport.receiver.deliver(wire.event(1));
    await far.publish("a", "", 2);
    await far.publish("a", "", 3);
    transport.receiver.deliver(wire.event(3));
    expect((await events.next()).value?.payload).toBe(1);
    expect(gaps).toEqual([]);
    expect((await events.next()).value?.payload).toBe(3);
    expect(gaps).toMatchObject([{ lost: 1 }]);
  });
});

test("a publisher that restarts is another one: nothing of it is missing or repeated", async () => {
  const wire = new Wire();
  const target = wire.connect();
  const near = wire.connect();
  const seen = await record(over(near));
  const first = over(target);
  for (let i = 0; i < 3; i++) await first.publish("a", "", i);
  await first.close();
  const second = over(target);
  for (let i = 3; i < 6; i++) await second.publish("a", "", i);
  wire.arriveAll();
  expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
});

// One publisher and topic each, told apart by the payload's beginning.
const TOPICS = [
  [0, "a", ""],
  [0, "a", "1"],
  [1, "a", "1"],
  [1, "b.c", ""],
] as const;

test("whatever is lost, repeated or late, each topic of a publisher comes in order, and gaps count what is missing", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(TOPICS.length - 1), { minLength: 1, maxLength: 40 }),
      // What arrives: places among the events that were sent, near the last one more often than not.
      fc.array(fc.tuple(fc.integer({ min: -4, max: 4 }), fc.boolean()), { maxLength: 120 }),
      async (published, arrivals) => {
        const wire = new Wire();
        const publishers = [over(wire.connect()), over(wire.connect())];
        const near = over(wire.connect());
        const seen: ({ lost: Gap["lost"] } | { topic: number; n: number })[] = [];
        await near.on("**", ({ payload }) => seen.push(payload as { topic: number; n: number }), {
          onGap: ({ lost }) => seen.push({ lost }),
        });
        const sent = new Map<number, number>();
        for (const topic of published) {
          const n = (sent.get(topic) ?? 0) + 1;
          sent.set(topic, n);
          const [publisher = 0, type = "", id = ""] = TOPICS.at(topic) ?? [];
          await publishers[publisher]?.publish(type, id, { topic, n });
        }
        const arrived: { topic: number; n: number }[] = [];
        let place = 0;
        for (const [step, advance] of arrivals) {
          place = Math.max(0, Math.min(published.length - 1, place + (advance ? 1 : step)));
          wire.arrive(place);
          arrived.push(wire.event(place).payload as { topic: number; n: number });
        }
        // The model: an arrival is seen if it is the highest so far; before it stands what is missing below it.
        const highest = new Map<number, number>();
        const expected: typeof seen = [];
        for (const { topic, n } of arrived) {
          const last = highest.get(topic) ?? 0;
          if (n <= last) continue;
          if (n > last + 1) expected.push({ lost: n - last - 1 });
          expected.push({ topic, n });
          highest.set(topic, n);
        }
        expect(seen).toEqual(expected);
        await opened.end();
      },
    ),
    { numRuns: 300 },
  );
});

describe("with groups and own events", () => {
  test("the members of a group, who share the events, have no gaps", async () => {
    const broker = createMemoryBroker();
    const supports = { groups: true, overlap: "per-filter", echo: true } as const;
    const connect = (): PubSub => {
      const target = defineEventTarget(createMemoryTransport(broker, { supports }));
      opened.add(() => target.close());
      return over(target);
    };
    const gaps: Gap[] = [];
    const seen: unknown[] = [];
    for (const member of [connect(), connect(), connect()])
      await member.on("job", ({ payload }) => seen.push(payload), { group: "g", onGap: (gap) => gaps.push(gap) });
    const far = connect();
    for (let i = 0; i < 9; i++) await far.publish("job", "", i);
    await settled();
    expect(new Set(seen)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8]));
    expect(seen).toHaveLength(9);
    expect(gaps).toEqual([]);
  });

  test.each([true, false])("own events come once, and own: false misses none (echo: %s)", async (echo) => {
    const broker = createMemoryBroker();
    const connect = (): PubSub => {
      const target = defineEventTarget(createMemoryTransport(broker, { supports: { echo } }));
      opened.add(() => target.close());
      return over(target);
    };
    const [near, far] = [connect(), connect()];
    const all = await record(near, "a");
    const others: unknown[] = [];
    await near.on("a", ({ payload }) => others.push(payload), {
      own: false,
      onGap: ({ lost }) => others.push(`lost ${lost}`),
    });
    for (let i = 0; i < 3; i++) {
      await near.publish("a", "", `own ${i}`);
      await far.publish("a", "", `far ${i}`);
    }
    await settled();
    expect(all.map(String).toSorted()).toEqual(["far 0", "far 1", "far 2", "own 0", "own 1", "own 2"]);
    expect(others).toEqual(["far 0", "far 1", "far 2"]);
  });

  test("in process every event comes once and in order", async () => {
    const pubsub = createPubSub({ sequence: true });
    const seen = await record(pubsub);
    for (let i = 0; i < 5; i++) await pubsub.publish("a", String(i % 2), i);
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });

  test("over a plain EventTarget an event that somebody swallows is a gap", async () => {
    const eventTarget = new EventTarget();
    const pubsub = createPubSub({ eventTarget, sequence: true });
    eventTarget.addEventListener("a", (event) => {
      if ((event as CustomEvent<EventEnvelope>).detail.payload === 1) event.stopImmediatePropagation();
    });
    const seen = await record(pubsub, "a", "");
    for (let i = 0; i < 3; i++) await pubsub.publish("a", "", i);
    expect(seen).toEqual([0, "sequence: lost 1", 2]);
  });
});

describe("after an interruption", () => {
  test("what an at-least-once broker repeats comes once; without sequence it comes twice", async () => {
    const broker = createMemoryBroker();
    const transport = createMemoryTransport(broker, {
      supports: { publishAck: "stored", delivery: "at-least-once", replay: true },
    });
    const target = defineEventTarget(transport);
    const farTarget = defineEventTarget(createMemoryTransport(broker));
    opened.add(() => Promise.all([target.close(), farTarget.close()]));
    const seen = await record(over(target));
    const twice = await record(createPubSub({ eventTarget: target }));
    const far = over(farTarget);
    for (let i = 0; i < 5; i++) await far.publish("a", "", i);
    await settled();
    transport.cut();
    for (let i = 5; i < 8; i++) await far.publish("a", "", i);
    transport.reconnect({ kept: true, replayed: true });
    await settled();
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(twice.length).toBeGreaterThan(8);
  });

  test("what was missed is counted, beside the gap of the link", async () => {
    const broker = createMemoryBroker();
    const transport = createMemoryTransport(broker);
    const target = defineEventTarget(transport);
    const farTarget = defineEventTarget(createMemoryTransport(broker));
    opened.add(() => Promise.all([target.close(), farTarget.close()]));
    const seen = await record(over(target));
    const far = over(farTarget);
    await far.publish("a", "", 0);
    await settled();
    transport.cut();
    await far.publish("a", "", 1);
    await far.publish("a", "", 2);
    transport.reconnect();
    await settled();
    await far.publish("a", "", 3);
    await settled();
    expect(seen).toEqual([0, "reconnect: lost unknown", "sequence: lost 2", 3]);
  });
});

describe("a publish that fails", () => {
  /** A near end whose transport the test holds, and a far one at the other end of it. */
  async function setUp(): Promise<{ transport: HandTransport; far: PubSub; seen: unknown[]; pass: () => void }> {
    const wire = new Wire();
    const transport = new HandTransport();
    const target = defineEventTarget(transport, { maxWaiting: 3 });
    opened.add(() => target.close());
    const seen = await record(over(wire.connect()));
    return { transport, far: over(target), seen, pass: () => wire.arrive(...transport.published.splice(0)) };
  }

  test("for its payload leaves no gap", async () => {
    const broker = createMemoryBroker();
    const connect = (): PubSub => {
      const target = defineEventTarget(createMemoryTransport(broker));
      opened.add(() => target.close());
      return over(target);
    };
    const [near, far] = [connect(), connect()];
    const seen = await record(near);
    await far.publish("a", "", 0);
    await expect(far.publish("a", "", 1n)).rejects.toMatchObject({ code: "PAYLOAD" });
    await expect(far.publish("a", "", undefined)).rejects.toMatchObject({ code: "PAYLOAD" });
    await far.publish("a", "", 2);
    await settled();
    expect(seen).toEqual([0, 2]);
  });

  test("because too many wait leaves no gap", async () => {
    const { transport, far, seen, pass } = await setUp();
    transport.opening = deferred();
    const published = [0, 1, 2, 3, 4].map((n) => far.publish("a", "", n));
    for (const late of published.slice(3)) await expect(late).rejects.toMatchObject({ code: "NOT_READY" });
    transport.opening.resolve();
    await Promise.all(published.slice(0, 3));
    await far.publish("a", "", 5);
    pass();
    expect(seen).toEqual([0, 1, 2, 5]);
  });

  test("because nothing could be opened leaves no gap, however many waited", async () => {
    const { transport, far, seen, pass } = await setUp();
    transport.opening = deferred();
    const published = [0, 1, 2].map((n) => far.publish("a", "", n));
    await settled();
    transport.opening.reject(new Error("refused"));
    for (const each of await Promise.allSettled(published)) expect(each.status).toBe("rejected");
    transport.opening = undefined;
    await far.publish("a", "", 3);
    pass();
    expect(seen).toEqual([3]);
  });

  test("and was followed by one that did not leaves a gap, as does one that may have arrived", async () => {
    const { transport, far, seen, pass } = await setUp();
    await far.publish("a", "", 0);
    transport.publishing = deferred();
    const [bad, good] = [far.publish("a", "", 1), far.publish("a", "", 2)];
    transport.publishing.reject(new Error("cut"));
    await expect(bad).rejects.toThrow();
    await expect(good).rejects.toThrow();
    transport.published.splice(1);
    transport.publishing = undefined;
    await far.publish("a", "", 3);
    pass();
    expect(seen).toEqual([0, "sequence: lost 2", 3]);
  });

  test("rejects with the same error, and is an unhandled rejection for whoever does not look", async () => {
    const { transport, far } = await setUp();
    const error = new Error("no");
    transport.publish = () => Promise.reject(error);
    await expect(far.publish("a", "", 0)).rejects.toMatchObject({ cause: error });
    expect(await uncaughtDuring(() => void far.publish("a", "", 1))).toMatchObject([{ cause: error }]);
  });
});

describe("peers that do not number", () => {
  test("are heard as they are, repeats included", async () => {
    const { wire, near } = ends();
    const seen = await record(near);
    const bare = { type: "a", id: "", payload: 1 };
    wire.arrive(bare, bare, { ...bare, meta: { trace: "t" } });
    expect(seen).toEqual([1, 1, 1]);
  });

  test("hear those that do, numbers and repeats included", async () => {
    const wire = new Wire();
    const far = over(wire.connect());
    const near = createPubSub({ eventTarget: wire.connect() });
    const events = await near.subscribe("a");
    await far.publish("a", "", 1);
    await far.publish("a", "", 2);
    wire.arrive(0, 0);
    expect(events.received).toBe(2);
    expect((await events.next()).value).toEqual(wire.sent[0]);
  });
});

describe("a peer that lies", () => {
  const forged = (seq: unknown, payload: unknown = "forged"): EventEnvelope => ({
    type: "a",
    id: "",
    payload,
    meta: { seq },
  });

  test.each([
    ["null", null],
    ["a string", "seq"],
    ["a list", [1, 2]],
    ["empty", {}],
    ["a name that is no string", { by: 7, n: 1, at: 0 }],
    ["a name of any length", { by: "x".repeat(65), n: 1, at: 0 }],
    ["number zero", { by: "x", n: 0, at: 0 }],
    ["a negative number", { by: "x", n: -1, at: 0 }],
    ["a fraction", { by: "x", n: 1.5, at: 0 }],
    ["NaN", { by: "x", n: NaN, at: 0 }],
    ["Infinity", { by: "x", n: Infinity, at: Infinity }],
    ["2 ** 53", { by: "x", n: 2 ** 53, at: 0 }],
    ["a number that is a string", { by: "x", n: "1", at: "now" }],
    ["a number that is a list", { by: "x", n: [1], at: [] }],
    ["a bigint", { by: "x", n: 1n, at: 1n }],
  ])("with %s for a number is heard as if it did not number", async (_, seq) => {
    const { wire, near, far } = ends();
    const seen = await record(near);
    wire.arrive(forged(seq), forged(seq));
    await far.publish("a", "", 0);
    await far.publish("a", "", 1);
    wire.arriveAll();
    expect(seen).toEqual(["forged", "forged", 0, 1]);
  });

  test.each([null, 7, "meta", []])("with %j for its meta does no harm", async (meta) => {
    const { wire, near } = ends();
    const seen = await record(near);
    wire.arrive({ type: "a", id: "", payload: 1, meta: meta as never });
    expect(seen).toEqual([1]);
  });

  test.each([NaN, Infinity, 1e300, "later", null, undefined])("with %s for a time feigns no gap", async (at) => {
    const { wire, near } = ends();
    const seen = await record(near);
    wire.arrive(forged({ by: "x", n: 5, at }), forged({ by: "x", n: 6, at }));
    expect(seen).toEqual(["forged", "forged"]);
  });

  test.each([2 ** 53 - 1, 3_000_000])(
    "cannot make anyone deaf to a publisher by using its name for number %s",
    async (n) => {
      const { wire, near, far } = ends();
      const seen = await record(near);
      await far.publish("a", "", 0);
      await far.publish("a", "", 1);
      await far.publish("a", "", 2);
      wire.arrive(0, forged({ ...seqOf(wire.event(0)), n }));
      wire.arrive(1, 2);
      expect(seen).toEqual([0, `sequence: lost ${n - 2}`, "forged", "sequence: lost unknown", 1, 2]);
    },
  );

  test("cannot do so before the publisher was heard either", async () => {
    const { wire, near, far } = ends();
    await far.publish("a", "", 0);
    const seen = await record(near);
    await far.publish("a", "", 1);
    wire.arrive(forged({ ...seqOf(wire.event(0)), n: 2 ** 53 - 1 }), 1);
    expect(seen).toEqual(["forged", "sequence: lost unknown", 1]);
  });

  test("hides no more than a million events by a smaller jump, and those of one publisher and topic alone", async () => {
    const { wire, near, far } = ends();
    const seen = await record(near);
    await far.publish("a", "", 0);
    await far.publish("b", "", 1);
    const seq = seqOf(wire.event(0));
    wire.arrive(forged({ ...seq, n: 1000 }), 0, 1, forged({ ...seq, n: 999 }, "hidden"), forged({ ...seq, n: 1001 }));
    expect(seen).toEqual(["sequence: lost 999", "forged", 1, "forged"]);
  });

  test("feigns a gap by a jump far back, and no more", async () => {
    const { wire, near } = ends();
    const seen = await record(near);
    const seq = { by: "x", at: 0 };
    wire.arrive(
      forged({ ...seq, n: 5_000_000 }, 0),
      forged({ ...seq, n: 1 }, "back"),
      forged({ ...seq, n: 5_000_001 }, 1),
      forged({ ...seq, n: 5_000_002 }, 2),
    );
    expect(seen).toEqual([0, "sequence: lost unknown", "back", "sequence: lost 4999999", 1, 2]);
  });

  test("cannot fill the memory with names", async () => {
    const { seen, megabytes } = await inOwnProcess(
      `
      import { createPubSub } from "@alkdev/pubsub";
      import { defineEventTarget } from "@alkdev/pubsub/transport";
      let receiver;
      const supports = { publishAck: "none", delivery: "at-most-once", lossDetection: "none", subscribeAck: true,
        overlap: "once", patterns: "native", echo: false, groups: false, replay: false };
      const target = defineEventTarget({ supports, open: (r) => void (receiver = r), subscribe() {}, unsubscribe() {}, publish() {}, close() {} });
      const pubsub = createPubSub({ eventTarget: target, sequence: true });
      let seen = 0;
      await pubsub.on("**", () => seen++);
      for (let i = 0; i < 150_000; i++) {
        const by = i % 3 === 0 ? "y".repeat(5000) + i : "x".repeat(50) + i;
        receiver.deliver({ type: "a", id: "", payload: null, meta: { seq: { by, n: i + 1, at: Infinity } } });
      }
      gc();
      console.log(JSON.stringify({ seen, megabytes: process.memoryUsage().heapUsed / 2 ** 20 }));
      `,
      64,
    );
    expect(seen).toBe(150_000);
    expect(megabytes).toBeLessThan(40);
  });
});

describe("with more topics than are remembered", () => {
  const MANY = 70_000;

  test("a topic that the publisher forgot begins anew, and is not taken for a repetition", async () => {
    const pubsub = createPubSub({ sequence: true });
    const gaps: Gap[] = [];
    const names = new Set<string>();
    let seen = 0;
    await pubsub.on("a", (envelope) => (seen++, names.add(seqOf(envelope).by)), { onGap: (gap) => gaps.push(gap) });
    for (let round = 0; round < 2; round++) for (let i = 0; i < MANY; i++) await pubsub.publish("a", String(i), null);
    expect(seen).toBe(2 * MANY);
    expect(gaps).toEqual([]);
    expect(names.size).toBeGreaterThan(1);
  });

  test("a topic that is in use is not forgotten, and its losses are counted", async () => {
    const { wire, near, far } = ends();
    const seen = await record(near, "kept");
    const all = await near.subscribe("**", { buffer: { limit: 1, overflow: "drop-oldest" }, onGap: "ignore" });
    for (let i = 0; i < MANY; i++) {
      await far.publish("a", String(i), null);
      if (i % 10_000 !== 0) continue;
      for (let n = 0; n < 2; n++) await far.publish("kept", "", i);
      wire.sent.splice(-2, 1);
      wire.arriveAll();
    }
    expect(seen).toEqual([0, 10, 20, 30, 40, 50, 60].flatMap((n) => ["sequence: lost 1", n * 1000]));
    expect(all.dropped).toBeGreaterThan(0);
  });

  test("one that the subscriber forgot is neither repeated nor lost when it comes back", async () => {
    const wire = new Wire();
    const publishers = [over(wire.connect()), over(wire.connect())];
    const near = over(wire.connect());
    const gaps: Gap[] = [];
    let seen = 0;
    await near.on("**", () => seen++, { onGap: (gap) => gaps.push(gap) });
    for (let round = 0; round < 2; round++)
      for (const far of publishers)
        for (let i = 0; i < MANY / 2 + 1; i++) {
          await far.publish("a", String(i), round);
          wire.arriveAll();
        }
    expect(seen).toBe(2 * (MANY + 2));
    expect(gaps).toEqual([]);
    // What begins now is watched from its first event on all the same.
    await publishers[0]?.publish("new", "", null);
    wire.sent.splice(0);
    await publishers[0]?.publish("new", "", null);
    wire.arriveAll();
    expect(gaps).toMatchObject([{ lost: 1 }]);
  });

  test("the memory of both sides has an end", async () => {
    const { seen, megabytes } = await inOwnProcess(
      `
      import { createPubSub } from "@alkdev/pubsub";
      const pubsub = createPubSub({ sequence: true });
      let seen = 0;
      await pubsub.on("**", () => seen++);
      for (let i = 0; i < 200_000; i++) await pubsub.publish("job.progress", "job_" + i, null);
      gc();
      console.log(JSON.stringify({ seen, megabytes: process.memoryUsage().heapUsed / 2 ** 20 }));
      `,
      128,
    );
    expect(seen).toBe(200_000);
    expect(megabytes).toBeLessThan(60);
  });
});
