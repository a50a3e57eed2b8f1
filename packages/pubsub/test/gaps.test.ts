// Losses: where they stand, who is told, what is counted, and that they do not pile up.
import { describe, expect, test } from "vitest";
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { Gap, PubSub, PubSubOptions, SubscribeOptions } from "@alkdev/pubsub";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import { checkBuffer, Queue } from "../src/queue.ts";
import { HandTransport, settled, uncaughtDuring } from "./pubsub-support.ts";

const DONE = { value: undefined, done: true };
const gap = (lost: number | "unknown" = "unknown", reason: Gap["reason"] = "reconnect"): Gap => ({
  reason,
  since: 1,
  until: 2,
  lost,
});

/** A PubSub over a transport by which the test can lose events. */
function lossy(options: PubSubOptions = {}): { pubsub: PubSub; lose: (gap: Gap) => void; transport: HandTransport } {
  const transport = new HandTransport();
  const pubsub = createPubSub({ eventTarget: defineEventTarget(transport), ...options });
  return { pubsub, transport, lose: (gap) => transport.receiver.gap(gap) };
}

async function publish(pubsub: PubSub, ...payloads: unknown[]): Promise<void> {
  for (const payload of payloads) await pubsub.publish("a", "", payload);
}

/** Everything that a subscription gives, gaps at their places. */
async function story(pubsub: PubSub, options: SubscribeOptions, act: () => Promise<void>): Promise<unknown[]> {
  const told: unknown[] = [];
  const events = await pubsub.subscribe("a", {
    ...options,
    onGap: ({ reason, lost }) => told.push(`${reason} ${lost}`),
  });
  await act();
  await pubsub.close();
  for await (const { payload } of events) told.push(payload);
  return told;
}

describe("a gap", () => {
  test("is told at its place: after the events before it, before those after it", async () => {
    const { pubsub, lose } = lossy();
    const told = await story(pubsub, {}, async () => {
      await publish(pubsub, 1, 2);
      lose(gap(3));
      await publish(pubsub, 4);
      lose(gap("unknown", "trimmed"));
    });
    expect(told).toEqual([1, 2, "reconnect 3", 4, "trimmed unknown"]);
  });

  test("is told to the consumer that stands there, at once", async () => {
    const { pubsub, lose } = lossy();
    const seen: Gap[] = [];
    const events = await pubsub.subscribe("a", { onGap: (gap) => seen.push(gap) });
    const next = events.next();
    lose(gap(3));
    expect(seen).toEqual([gap(3)]);
    expect(events.gaps).toBe(1);
    await publish(pubsub, 1);
    expect((await next).value?.payload).toBe(1);
  });

  test("is not told before the consumer comes to it", async () => {
    const { pubsub, lose } = lossy();
    const seen: Gap[] = [];
    const events = await pubsub.subscribe("a", { onGap: (gap) => seen.push(gap) });
    await publish(pubsub, 1);
    lose(gap());
    await publish(pubsub, 2);
    await settled();
    expect((await events.next()).value?.payload).toBe(1);
    expect(seen).toEqual([]);
    expect((await events.next()).value?.payload).toBe(2);
    expect(seen).toEqual([gap()]);
  });

  test("splits batches, which are never empty", async () => {
    const { pubsub, lose } = lossy();
    const seen: unknown[] = [];
    const events = await pubsub.subscribe("a", { onGap: () => seen.push("gap") });
    lose(gap());
    await publish(pubsub, 1, 2);
    lose(gap());
    await publish(pubsub, 3);
    lose(gap());
    await pubsub.close();
    for await (const batch of events.batches()) seen.push(batch.map(({ payload }) => payload));
    expect(seen).toEqual(["gap", [1, 2], "gap", [3], "gap"]);
  });

  test("wakes a reader of batches, which goes on waiting for events", async () => {
    const { pubsub, lose } = lossy();
    const seen: Gap[] = [];
    const events = await pubsub.subscribe("a", { onGap: (gap) => seen.push(gap) });
    const batch = events.batches().next();
    lose(gap());
    await settled();
    expect(seen).toEqual([gap()]);
    await publish(pubsub, 1);
    expect((await batch).value).toHaveLength(1);
  });

  test("of the same reason next to another is one, and adds up", async () => {
    const { pubsub, lose } = lossy();
    const told = await story(pubsub, {}, async () => {
      await publish(pubsub, 1);
      lose(gap(2));
      lose(gap("unknown", "trimmed"));
      lose(gap(3));
      await publish(pubsub, 2);
      lose(gap(2));
      lose(gap("unknown"));
    });
    expect(told).toEqual([1, "reconnect 5", "trimmed unknown", 2, "reconnect unknown"]);
  });

  test("spans the time of all that it joins", () => {
    const seen: Gap[] = [];
    const settings = { ...checkBuffer({}), onGap: (gap: Gap) => void seen.push(gap), onError: undefined };
    const queue = new Queue({ type: "a" }, settings, true, {});
    queue.gap({ reason: "reconnect", since: 5, until: 6, lost: 1 });
    queue.gap({ reason: "reconnect", since: 3, until: 9, lost: 1 });
    queue.gap({ reason: "reconnect", since: 7, until: 8, lost: 1 });
    void queue.next();
    expect(seen).toEqual([{ reason: "reconnect", since: 3, until: 9, lost: 3 }]);
    expect(queue.gaps).toBe(1);
  });
});

describe("without onGap", () => {
  test("a gap is thrown as GAP, with the gap, after the events before it", async () => {
    const { pubsub, lose } = lossy();
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1);
    lose(gap(3));
    await publish(pubsub, 2);
    expect((await events.next()).value?.payload).toBe(1);
    const error: unknown = await events.next().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(PubSubError);
    expect(error).toMatchObject({
      code: "GAP",
      gap: gap(3),
      message: expect.stringMatching(/3 events.*onGap/) as string,
    });
  });

  test.each(["next", "parked next", "batches", "parked batches"])(
    "a thrown GAP is terminal and has unsubscribed (%s)",
    async (how) => {
      const { pubsub, lose, transport } = lossy();
      const events = await pubsub.subscribe("a");
      const read = () => (how.endsWith("next") ? events.next() : events.batches().next());
      const parked = how.startsWith("parked") ? read() : undefined;
      lose(gap());
      await (parked === undefined ? publish(pubsub, 1) : undefined);
      await expect(parked ?? read()).rejects.toMatchObject({ code: "GAP" });
      expect(await read()).toEqual(DONE);
      await settled();
      expect(transport.unsubscribed).toHaveLength(1);
      const before = events.received;
      await publish(pubsub, 2);
      expect(events.received).toBe(before);
    },
  );

  test("a loop ends with the error", async () => {
    const { pubsub, lose } = lossy();
    const events = await pubsub.subscribe("a");
    await publish(pubsub, 1);
    lose(gap());
    const seen: unknown[] = [];
    const loop = async () => {
      for await (const { payload } of events) seen.push(payload);
    };
    await expect(loop()).rejects.toMatchObject({ code: "GAP" });
    expect(seen).toEqual([1]);
  });

  test("`on` goes on, and reports to onError", async () => {
    const errors: unknown[] = [];
    const { pubsub, lose } = lossy({ onError: (error) => errors.push(error) });
    const seen: unknown[] = [];
    await pubsub.on("a", ({ payload }) => seen.push(payload));
    await publish(pubsub, 1);
    lose(gap(3));
    await publish(pubsub, 2);
    expect(seen).toEqual([1, 2]);
    expect(errors).toMatchObject([{ code: "GAP", gap: gap(3) }]);
  });

  test("`on` goes on, and reports as uncaught without onError", async () => {
    const { pubsub, lose } = lossy();
    let calls = 0;
    await pubsub.on("a", () => calls++);
    const uncaught = await uncaughtDuring(async () => {
      lose(gap(1));
      await publish(pubsub, 1);
    });
    expect(uncaught).toMatchObject([{ code: "GAP", message: expect.stringContaining("1 event may") as string }]);
    expect(calls).toBe(1);
  });
});

describe("onGap", () => {
  test("'ignore' is the way not to care, for iterators and listeners", async () => {
    const errors: unknown[] = [];
    const { pubsub, lose } = lossy({ onError: (error) => errors.push(error) });
    const events = await pubsub.subscribe("a", { onGap: "ignore" });
    await pubsub.on("a", () => {}, { onGap: "ignore" });
    lose(gap());
    await publish(pubsub, 1);
    expect((await events.next()).value?.payload).toBe(1);
    expect(events.gaps).toBe(1);
    expect(errors).toEqual([]);
  });

  test("of the PubSub serves every subscription that has none of its own", async () => {
    const wide: Gap[] = [];
    const own: Gap[] = [];
    const { pubsub, lose } = lossy({ onGap: (gap) => wide.push(gap) });
    const plain = await pubsub.subscribe("a");
    const special = await pubsub.subscribe("a", { onGap: (gap) => own.push(gap) });
    const ignoring = await pubsub.subscribe("a", { onGap: "ignore" });
    await pubsub.on("a", () => {});
    await pubsub.on("a", () => {}, { onGap: (gap) => own.push(gap) });
    lose(gap());
    await publish(pubsub, 1);
    for (const events of [plain, special, ignoring]) await events.next();
    expect([wide.length, own.length]).toEqual([2, 2]);
  });

  test("'ignore' on the PubSub can be taken back by a subscription", async () => {
    const seen: Gap[] = [];
    const { pubsub, lose } = lossy({ onGap: "ignore" });
    const events = await pubsub.subscribe("a", { onGap: (gap) => seen.push(gap) });
    lose(gap());
    await publish(pubsub, 1);
    await events.next();
    expect(seen).toHaveLength(1);
  });

  test("that throws goes to onError, and the reader goes on", async () => {
    const boom = new Error("boom");
    const errors: unknown[] = [];
    const { pubsub, lose } = lossy({ onError: (error) => errors.push(error) });
    const onGap = () => {
      throw boom;
    };
    const events = await pubsub.subscribe("a", { onGap });
    const parked = (await pubsub.subscribe("a", { onGap })).next();
    await pubsub.on("a", () => {}, { onGap });
    lose(gap());
    await publish(pubsub, 1);
    expect((await events.next()).value?.payload).toBe(1);
    expect((await parked).value?.payload).toBe(1);
    expect(errors).toEqual([boom, boom, boom]);
  });

  test("may end the subscription from inside", async () => {
    const { pubsub, lose } = lossy();
    const abort = new AbortController();
    const events = await pubsub.subscribe("a", { onGap: () => abort.abort(), signal: abort.signal });
    lose(gap());
    await publish(pubsub, 1);
    expect(await events.next()).toEqual(DONE);
    const parked = await pubsub.subscribe("a", { onGap: () => void parked.return() });
    const next = parked.next();
    lose(gap());
    expect(await next).toEqual(DONE);
  });
});

describe("a drop policy", () => {
  test("drop-oldest keeps the last events, the gap stands before them", async () => {
    const { pubsub } = lossy();
    const buffer = { limit: 3, overflow: "drop-oldest" } as const;
    const told = await story(pubsub, { buffer }, () => publish(pubsub, 1, 2, 3, 4, 5, 6, 7));
    expect(told).toEqual(["overflow 4", 5, 6, 7]);
  });

  test("drop-newest keeps the first events, the gap stands after them", async () => {
    const { pubsub } = lossy();
    const buffer = { limit: 3, overflow: "drop-newest" } as const;
    const told = await story(pubsub, { buffer }, () => publish(pubsub, 1, 2, 3, 4, 5, 6, 7));
    expect(told).toEqual([1, 2, 3, "overflow 4"]);
  });

  test("counts drops, and consecutive ones as one gap", async () => {
    const { pubsub } = lossy({ onGap: "ignore" });
    for (const overflow of ["drop-oldest", "drop-newest"] as const) {
      const events = await pubsub.subscribe("a", { buffer: { limit: 2, overflow } });
      await publish(pubsub, 1, 2, 3, 4, 5);
      expect([events.received, events.dropped, events.gaps]).toEqual([5, 3, 1]);
      await events.next();
      await publish(pubsub, 6, 7, 8);
      expect([events.received, events.dropped, events.gaps]).toEqual([8, 5, 2]);
      await events.return();
    }
  });

  test("drop-newest puts each run of drops where it happened", async () => {
    const { pubsub } = lossy();
    const told: unknown[] = [];
    const buffer = { limit: 2, overflow: "drop-newest" } as const;
    const events = await pubsub.subscribe("a", { buffer, onGap: ({ lost }) => told.push(`lost ${lost}`) });
    await publish(pubsub, 1, 2, 3, 4);
    told.push((await events.next()).value?.payload);
    await publish(pubsub, 5, 6);
    await pubsub.close();
    for await (const { payload } of events) told.push(payload);
    expect(told).toEqual([1, 2, "lost 2", 5, "lost 1"]);
  });

  test("drop-oldest joins the losses on both sides of what it drops", async () => {
    const { pubsub, lose } = lossy();
    const buffer = { limit: 2, overflow: "drop-oldest" } as const;
    const told = await story(pubsub, { buffer }, async () => {
      await publish(pubsub, 1);
      lose(gap(10));
      await publish(pubsub, 2);
      lose(gap(20));
      await publish(pubsub, 3, 4);
      lose(gap("unknown", "trimmed"));
    });
    expect(told).toEqual(["reconnect 30", "overflow 2", 3, 4, "trimmed unknown"]);
  });

  test.each(["drop-oldest", "drop-newest"] as const)(
    "%s of a buffer of one event works, with gaps before and after it",
    async (overflow) => {
      const { pubsub, lose } = lossy();
      const told = await story(pubsub, { buffer: { limit: 1, overflow } }, async () => {
        await publish(pubsub, 1, 2);
        lose(gap(5));
        await publish(pubsub, 3);
      });
      expect(told).toEqual(
        overflow === "drop-oldest" ? ["overflow 2", "reconnect 5", 3] : [1, "overflow 2", "reconnect 5"],
      );
    },
  );

  test.each(["drop-oldest", "drop-newest", "error"] as const)(
    "%s does not grow where nobody reads, whatever alternates",
    async (overflow) => {
      const settings = {
        ...checkBuffer({ limit: 4, overflow }),
        onGap: (gap: Gap) => void told.push(gap),
        onError: undefined,
      };
      const told: Gap[] = [];
      const queue = new Queue({ type: "a" }, settings, true, {});
      const reasons = ["reconnect", "trimmed", "resume-expired", "sequence"] as const;
      let lost = 0;
      for (let i = 0; i < 50_000; i++) {
        queue.deliver({ type: "a", id: "", payload: i });
        queue.gap(gap(1, reasons[i % 4]));
        lost++;
      }
      queue.end();
      let events = 0;
      for (
        let read = await queue.next().catch(() => DONE);
        read.done !== true;
        read = await queue.next().catch(() => DONE)
      )
        events++;
      expect(events).toBe(4);
      expect(told.length).toBeLessThanOrEqual(5 * 5);
      if (overflow === "error") return;
      // Nothing is lost twice or not at all in the count.
      const sum = told.reduce((sum, { lost }) => sum + (lost as number), 0);
      expect(sum).toBe(lost + queue.dropped);
      expect(queue.received).toBe(events + queue.dropped);
    },
  );

  test("the gap of drops that nobody handles is a GAP error for the iterator", async () => {
    const { pubsub } = lossy();
    const events = await pubsub.subscribe("a", { buffer: { limit: 1, overflow: "drop-newest" } });
    await publish(pubsub, 1, 2);
    expect((await events.next()).value?.payload).toBe(1);
    await expect(events.next()).rejects.toMatchObject({ code: "GAP", gap: { reason: "overflow", lost: 1 } });
  });
});

describe("an interruption", () => {
  test("is one reconnect gap for each live subscription, before the first later event", async () => {
    const { pubsub, transport } = lossy();
    const told = await story(pubsub, {}, async () => {
      await publish(pubsub, 1);
      transport.receiver.interrupted("cut");
      await expect(publish(pubsub, 2)).rejects.toMatchObject({ code: "INTERRUPTED" });
      transport.receiver.resumed({ kept: false, replayed: false });
      await settled();
      await publish(pubsub, 3);
    });
    expect(told).toEqual([1, "reconnect unknown", 3]);
    expect(transport.subscribed).toHaveLength(2);
  });

  test("that was replayed is no gap", async () => {
    const { pubsub, transport } = lossy();
    const told = await story(pubsub, {}, async () => {
      await publish(pubsub, 1);
      transport.receiver.interrupted("cut");
      transport.receiver.resumed({ kept: true, replayed: true });
      await publish(pubsub, 2);
    });
    expect(told).toEqual([1, 2]);
  });
});
