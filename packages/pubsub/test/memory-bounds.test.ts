// What nobody reads or holds must not fill the memory. Each test has a process of its own, with a small heap.
import { describe, expect, test } from "vitest";
import { inOwnProcess } from "./pubsub-support.ts";

/** What every script begins with; `heap()` is what is left after a collection, in megabytes. */
const PRELUDE = `
import { createPubSub } from "@alkdev/pubsub";
import { defineEventTarget } from "@alkdev/pubsub/transport";
const turn = () => new Promise((resolve) => setImmediate(resolve));
const heap = () => (gc(), process.memoryUsage().heapUsed / 2 ** 20);
const print = (result) => console.log(JSON.stringify(result));
/** Collects until the condition holds, but not for ever. */
async function collectUntil(holds, rounds = 200) {
  for (let i = 0; i < rounds && !holds(); i++) {
    // What a condition has looked at by a WeakRef is kept until the turn is over.
    await turn();
    gc();
    await turn();
  }
  return holds();
}
function transportTarget(log = { subscribed: 0, unsubscribed: 0 }) {
  const supports = { publishAck: "hop", delivery: "at-most-once", lossDetection: "full", subscribeAck: true,
    overlap: "once", patterns: "native", echo: false, groups: false, replay: false, maxPayload: undefined };
  let receiver;
  return defineEventTarget({
    supports,
    open: (opened) => { receiver = opened; log.receiver = opened; },
    subscribe: async () => { log.subscribed++; },
    unsubscribe: async () => { log.unsubscribed++; },
    publish: () => {},
    close: () => {},
  });
}
`;

/** Both cores; the script's last lines have a \`pubsub\` to work with. */
const cores = {
  "in process": `const pubsub = createPubSub({ buffer: BUFFER });`,
  "over a transport": `const pubsub = createPubSub({ buffer: BUFFER, eventTarget: transportTarget() });`,
};

describe.each(Object.entries(cores))("a subscription that nobody reads, and a million publishes, %s", (_, create) => {
  const run = (overflow: string) =>
    inOwnProcess(
      `${PRELUDE}
      ${create.replace("BUFFER", `{ overflow: ${JSON.stringify(overflow)} }`)}
      const gaps = [];
      const events = await pubsub.subscribe("tick", "1", { onGap: (gap) => gaps.push(gap) });
      await pubsub.publish("ready", "", null);
      const before = heap();
      let peak = 0;
      for (let n = 0; n < 1_000_000; n++) {
        void pubsub.publish("tick", "1", { n, filler: [n, n, n, n] });
        if (n % 100_000 === 0) { peak = Math.max(peak, heap()); await turn(); }
      }
      const grown = Math.max(peak, heap()) - before;
      const { received, dropped } = events;
      const gapsCounted = events.gaps;
      // Still at work: another subscription, another event.
      const other = await pubsub.subscribe("alive");
      await pubsub.publish("alive", "", "yes");
      const alive = (await other.next()).value.payload;
      await pubsub.close();
      let first, last, count = 0, gapAt, error;
      try {
        for await (const { payload } of events) {
          if (count === 0 && gaps.length > 0) gapAt = "first";
          first ??= payload.n;
          last = payload.n;
          count++;
        }
        if (gaps.length > 0) gapAt ??= "last";
      } catch ({ code }) { error = code; }
      print({ grown, received, dropped, gapsCounted, alive, first, last, count, gaps, gapAt, error });`,
      64,
    );

  test("keeps the first 16,384 and throws OVERFLOW after them, by default", async () => {
    const result = await run("error");
    expect(result).toMatchObject({
      first: 0,
      last: 16_383,
      count: 16_384,
      error: "OVERFLOW",
      dropped: 1,
      received: 16_385,
    });
    expect(result).toMatchObject({ alive: "yes", gaps: [], gapsCounted: 0 });
    expect(result["grown"]).toBeLessThan(16);
  });

  test("keeps the last ones under drop-oldest, and counts the others in one gap before them", async () => {
    const result = await run("drop-oldest");
    const lost = 1_000_000 - 16_384;
    expect(result).toMatchObject({ first: lost, last: 999_999, count: 16_384, dropped: lost, received: 1_000_000 });
    expect(result).toMatchObject({
      alive: "yes",
      gaps: [{ reason: "overflow", lost }],
      gapsCounted: 1,
      gapAt: "first",
    });
    expect(result["grown"]).toBeLessThan(16);
  });

  test("keeps the first ones under drop-newest, and counts the others in one gap after them", async () => {
    const result = await run("drop-newest");
    const lost = 1_000_000 - 16_384;
    expect(result).toMatchObject({ first: 0, last: 16_383, count: 16_384, dropped: lost, received: 1_000_000 });
    expect(result).toMatchObject({ alive: "yes", gaps: [{ reason: "overflow", lost }], gapsCounted: 1, gapAt: "last" });
    expect(result["grown"]).toBeLessThan(16);
  });
});

test("the control: an unbounded array of the same events does not fit", async () => {
  const script = `${PRELUDE}
    const pubsub = createPubSub();
    const kept = [];
    await pubsub.on("tick", (event) => kept.push(event));
    for (let n = 0; n < 1_000_000; n++) void pubsub.publish("tick", "1", { n, filler: [n, n, n, n] });
    print({ kept: kept.length });`;
  await expect(inOwnProcess(script, 64)).rejects.toThrow(/heap/);
});

describe.each([
  ["in process", "const log = {}; const pubsub = createPubSub();"],
  [
    "over a transport",
    "const log = { subscribed: 0, unsubscribed: 0 }; const pubsub = createPubSub({ eventTarget: transportTarget(log) });",
  ],
])("subscriptions that nobody holds, %s", (_, create) => {
  test("are collected and unsubscribed, ten thousand of them, with what they buffered", async () => {
    const result = await inOwnProcess(
      `${PRELUDE}
      ${create}
      const before = heap();
      const { signal } = new AbortController();
      const options = [undefined, { signal }, { buffer: { limit: 10, overflow: "drop-newest" } }];
      async function abandon(i) {
        // Awaited, not awaited, read once, read by batches, iterated and left to itself.
        const pending = pubsub.subscribe("a.b", String(i), options[i % 3]);
        if (i % 5 === 0) return;
        if (i % 5 === 4) return void pending[Symbol.asyncIterator]();
        const events = await pending;
        await pubsub.publish("a.b", String(i), { i });
        if (i % 5 === 1) await events.next();
        if (i % 5 === 2) await events.batches().next();
      }
      for (let i = 0; i < 10_000; i += 100) await Promise.all(Array.from({ length: 100 }, (_, k) => abandon(i + k)));
      const made = [...pubsub.core.sinks()].length;
      const left = () => [...pubsub.core.sinks()].length;
      const collected = await collectUntil(() => left() === 0);
      for (let i = 0; i < 10; i++) await turn();
      print({ made, collected, left: left(), ...log, receiver: undefined, grown: heap() - before });`,
      64,
    );
    expect(result).toMatchObject({ collected: true, left: 0 });
    expect(result["made"]).toBeGreaterThan(0);
    expect(result["unsubscribed"]).toBe(result["subscribed"]);
    expect(result["grown"]).toBeLessThan(8);
  });

  test("are kept while someone waits for their next event, in whatever way", async () => {
    const result = await inOwnProcess(
      `${PRELUDE}
      ${create}
      const seen = [];
      // None of these functions leaves a reference anywhere but in what waits for the next event.
      async function loop() { for await (const { payload } of pubsub.subscribe("a")) seen.push("loop " + payload); }
      async function awaited() { for await (const { payload } of await pubsub.subscribe("a")) seen.push("awaited " + payload); }
      async function batches() {
        const events = await pubsub.subscribe("a");
        for await (const batch of events.batches()) seen.push("batches " + batch.map(({ payload }) => payload));
      }
      async function next() { const events = await pubsub.subscribe("a"); events.next().then(({ value }) => seen.push("next " + value.payload)); }
      async function nextBatch() { const events = await pubsub.subscribe("a"); events.batches().next().then(({ value }) => seen.push("batch " + value[0].payload)); }
      async function expression() { const { value } = await (await pubsub.subscribe("a")).next(); seen.push("expression " + value.payload); }
      void loop(); void awaited(); void batches(); void expression(); await next(); await nextBatch();
      async function abandoned() { (await pubsub.subscribe("a")).received; }
      await abandoned();
      for (let i = 0; i < 20; i++) await turn();
      const before = [...pubsub.core.sinks()].length;
      // The abandoned one shows that collecting does happen.
      const collected = await collectUntil(() => [...pubsub.core.sinks()].length < before);
      await collectUntil(() => false, 40);
      const left = [...pubsub.core.sinks()].length;
      await pubsub.publish("a", "", 1);
      await turn();
      for (let i = 0; i < 20; i++) { gc(); await turn(); }
      await pubsub.publish("a", "", 2);
      await turn();
      print({ before, collected, left, seen: seen.sort() });`,
      64,
    );
    expect(result).toMatchObject({ before: 7, collected: true, left: 6 });
    expect(result["seen"]).toEqual([
      "awaited 1",
      "awaited 2",
      "batch 1",
      "batches 1",
      "batches 2",
      "expression 1",
      "loop 1",
      "loop 2",
      "next 1",
    ]);
  });

  test("are kept while a consumer is busy between two reads", async () => {
    const result = await inOwnProcess(
      `${PRELUDE}
      ${create}
      const seen = [];
      let go;
      const busy = new Promise((resolve) => (go = resolve));
      async function loop() {
        for await (const { payload } of pubsub.subscribe("a")) { seen.push(payload); await busy; }
      }
      void loop();
      for (let i = 0; i < 20; i++) await turn();
      await pubsub.publish("a", "", 1);
      await collectUntil(() => false, 40);
      await pubsub.publish("a", "", 2);
      go();
      await turn();
      print({ seen });`,
      64,
    );
    expect(result).toMatchObject({ seen: [1, 2] });
  });

  test("that were only listeners of `on` live until they are stopped", async () => {
    const result = await inOwnProcess(
      `${PRELUDE}
      ${create}
      let calls = 0;
      await pubsub.on("a", () => calls++);
      await collectUntil(() => false, 40);
      await pubsub.publish("a", "", 1);
      print({ calls });`,
      64,
    );
    expect(result).toMatchObject({ calls: 1 });
  });
});

test("a subscription that a close left to drain is collected with its buffer, and lets go of the signal", async () => {
  const result = await inOwnProcess(
    `${PRELUDE}
    const { signal } = new AbortController();
    let listeners = 0;
    const [add, remove] = [signal.addEventListener, signal.removeEventListener];
    signal.addEventListener = (...args) => (listeners++, add.apply(signal, args));
    signal.removeEventListener = (...args) => (listeners--, remove.apply(signal, args));
    async function abandon() {
      const pubsub = createPubSub();
      const events = await pubsub.subscribe("a", { signal });
      await pubsub.publish("a", "", { big: new Array(100_000).fill(1) });
      await pubsub.close();
      return events.received;
    }
    for (let i = 0; i < 100; i++) await abandon();
    const before = listeners;
    const collected = await collectUntil(() => listeners === 0);
    print({ before, collected, heap: heap() });`,
    128,
  );
  expect(result).toMatchObject({ collected: true });
  expect(result["heap"]).toBeLessThan(24);
});

test("events that were read are let go of, while the subscription goes on", async () => {
  const result = await inOwnProcess(
    `${PRELUDE}
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a");
    const refs = [];
    // One by one, as a batch, and by a parked next(): none of the places may keep what it held.
    for (let i = 0; i < 100; i++) {
      const payload = { i };
      refs.push(new WeakRef(payload));
      const parked = i % 3 === 0 ? events.next() : undefined;
      await pubsub.publish("a", "", payload);
      if (parked !== undefined) await parked;
      if (i % 3 === 1) await events.next();
      if (i % 3 === 2) await events.batches().next();
    }
    for (let i = 100; i < 110; i++) {
      const payload = { i };
      refs.push(new WeakRef(payload));
      await pubsub.publish("a", "", payload);
    }
    for (let i = 0; i < 9; i++) await events.next();
    const left = () => refs.filter((ref) => ref.deref() !== undefined).length;
    await turn();
    const collected = await collectUntil(() => left() <= 4);
    print({ collected, left: left(), last: (await events.next()).value.payload.i });`,
    64,
  );
  // One is buffered, and the engine may hold one or two more for reasons of its own.
  expect(result).toMatchObject({ collected: true, last: 109 });
});

test("a buffer that was large once gives its memory back when it is empty", async () => {
  const result = await inOwnProcess(
    `${PRELUDE}
    const pubsub = createPubSub({ buffer: { limit: 2 ** 21 } });
    const events = await pubsub.subscribe("a");
    const before = heap();
    for (let i = 0; i < 2 ** 20; i++) void pubsub.publish("a", "", null);
    const full = heap() - before;
    for (let i = 0; i < 2 ** 20; i++) await events.next();
    await turn();
    print({ full, empty: heap() - before });`,
    256,
  );
  expect(result["full"]).toBeGreaterThan(8);
  expect(result["empty"]).toBeLessThan(2);
});

test("publishing to two hundred thousand different topics that nobody is subscribed to keeps nothing", async () => {
  const result = await inOwnProcess(
    `${PRELUDE}
    const pubsub = createPubSub();
    let calls = 0;
    await pubsub.on("never.*", () => calls++);
    await pubsub.on("t.**", "1", () => calls++);
    const before = heap();
    for (let n = 0; n < 200_000; n++) void pubsub.publish("t." + n, String(n), null);
    print({ grown: heap() - before, calls });`,
    64,
  );
  expect(result).toMatchObject({ calls: 1 });
  expect(result["grown"]).toBeLessThan(8);
});

test("subscribing and stopping a quarter of a million times keeps nothing", async () => {
  const result = await inOwnProcess(
    `${PRELUDE}
    const pubsub = createPubSub();
    const types = ["a", "a.*", "a.**", "b.c"];
    const before = heap();
    for (let n = 0; n < 250_000; n++) {
      const type = types[n % 4];
      const stop = await pubsub.on(type, n % 3 === 0 ? undefined : String(n), () => {});
      if (n % 10 === 0) void pubsub.publish("a.b", String(n), null);
      stop();
    }
    print({ grown: heap() - before, left: [...pubsub.core.sinks()].length });`,
    64,
  );
  expect(result).toMatchObject({ left: 0 });
  expect(result["grown"]).toBeLessThan(4);
});
