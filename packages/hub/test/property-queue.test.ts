// The buffer of a subscription in process, step by step against one that is too simple to be wrong: every event, every gap
// with its count, every figure and every ending is known beforehand. A failure prints its seed and the path to the shortest
// sequence of steps; PROPERTY_RUNS=20 runs twenty times as many.
import { createPubSub } from "@alkdev/pubsub";
import type { BufferOptions, EventEnvelope, Gap, PubSub, PubSubError, Subscription } from "@alkdev/pubsub";
import * as fc from "fast-check";
import { expect, test } from "vitest";

const RUNS = 1500 * Number(process.env["PROPERTY_RUNS"] ?? "1");

type OnGap = "function" | "ignore" | "none";

type Command =
  | { readonly do: "publish"; readonly topic: number; readonly count: number }
  | {
      readonly do: "subscribe";
      readonly filter: number;
      readonly buffer: number;
      readonly onGap: OnGap;
      readonly own: boolean;
    }
  | { readonly do: "next" | "batch" | "break" | "abort"; readonly subscription: number }
  | { readonly do: "close" };

const TOPICS = [
  ["a.b", ""],
  ["a.b", "x"],
  ["a.c", "x"],
] as const;

/** Written out, so that nothing here depends on how the library matches. */
const FILTERS: readonly {
  readonly type: string;
  readonly id: string | undefined;
  readonly topics: readonly number[];
}[] = [
  { type: "a.b", id: "", topics: [0] },
  { type: "a.b", id: "x", topics: [1] },
  { type: "a.b", id: undefined, topics: [0, 1] },
  { type: "a.*", id: "x", topics: [1, 2] },
  { type: "*.c", id: undefined, topics: [2] },
  { type: "a.**", id: undefined, topics: [0, 1, 2] },
];

const BUFFERS: readonly Required<BufferOptions>[] = [
  { limit: 1000, overflow: "error" },
  { limit: 1, overflow: "drop-oldest" },
  { limit: 3, overflow: "drop-oldest" },
  { limit: 1, overflow: "drop-newest" },
  { limit: 3, overflow: "drop-newest" },
  { limit: 2, overflow: "error" },
];

const subscription = fc.nat(3);
const commands: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(
    {
      weight: 40,
      arbitrary: fc.record({
        do: fc.constant("publish" as const),
        topic: fc.nat(TOPICS.length - 1),
        count: fc.integer({ min: 1, max: 4 }),
      }),
    },
    {
      weight: 15,
      arbitrary: fc.record({
        do: fc.constant("subscribe" as const),
        filter: fc.nat(FILTERS.length - 1),
        buffer: fc.nat(BUFFERS.length - 1),
        onGap: fc.constantFrom<OnGap>("function", "function", "ignore", "none"),
        own: fc.boolean(),
      }),
    },
    { weight: 45, arbitrary: fc.record({ do: fc.constant("next" as const), subscription }) },
    { weight: 15, arbitrary: fc.record({ do: fc.constant("batch" as const), subscription }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constantFrom("break" as const, "abort" as const), subscription }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("close" as const) }) },
  ),
  { maxLength: 80, size: "max" },
);

/** What a read gave: events, `done`, or the code of an error. */
type Given = readonly number[] | string;

/** A list of events and losses, and the rules of the buffer as the documents put them. */
class Simple {
  readonly items: (number | { lost: number })[] = [];
  readonly met: number[] = [];
  received = 0;
  dropped = 0;
  gaps = 0;
  #over = false;
  #error: string | undefined;
  readonly #limit: number;
  readonly #overflow: string;
  readonly #onGap: OnGap;

  constructor({ limit, overflow }: Required<BufferOptions>, onGap: OnGap) {
    this.#limit = limit;
    this.#overflow = overflow;
    this.#onGap = onGap;
  }

  get isOver(): boolean {
    return this.#over;
  }

  arrive(event: number): void {
    if (this.#over) return;
    this.received++;
    this.items.push(event);
    if (this.items.filter((item) => typeof item === "number").length <= this.#limit) return;
    this.dropped++;
    if (this.#overflow === "error") {
      this.items.pop();
      this.#over = true;
      this.#error = "OVERFLOW";
      return;
    }
    const at =
      this.#overflow === "drop-newest"
        ? this.items.length - 1
        : this.items.findIndex((item) => typeof item === "number");
    this.items[at] = { lost: 1 };
    const known = this.items.filter((item) => typeof item !== "number").length;
    for (let i = this.items.length - 1; i > 0; i--) {
      const [before, after] = [this.items[i - 1], this.items[i]];
      if (typeof before !== "object" || typeof after !== "object") continue;
      before.lost += after.lost;
      this.items.splice(i, 1);
    }
    // A loss that joins none is one more; two that become one were two.
    const left = this.items.filter((item) => typeof item !== "number").length;
    if (left === known) this.gaps++;
  }

  next(): Given {
    for (let item = this.items.shift(); item !== undefined; item = this.items.shift()) {
      if (typeof item === "number") return [item];
      this.#reach(item.lost);
    }
    return this.#end();
  }

  batch(): Given {
    while (typeof this.items[0] === "object") this.#reach((this.items.shift() as { lost: number }).lost);
    const end = this.items.findIndex((item) => typeof item !== "number");
    const events = this.items.splice(0, end < 0 ? this.items.length : end) as number[];
    return events.length > 0 ? events : this.#end();
  }

  /** Whether a read would wait. */
  get waits(): boolean {
    return !this.#over && !this.items.some((item) => typeof item === "number") && this.#onGap !== "none"
      ? true
      : !this.#over && this.items.length === 0;
  }

  discard(): void {
    this.items.length = 0;
    this.#over = true;
    this.#error = undefined;
  }

  drain(): void {
    this.#over = true;
  }

  #reach(lost: number): void {
    if (this.#onGap === "function") this.met.push(lost);
    if (this.#onGap !== "none") return;
    this.items.length = 0;
    this.#over = true;
    this.#error = "GAP";
  }

  #end(): Given {
    const error = this.#error;
    this.#error = undefined;
    return error ?? "done";
  }
}

interface Pair {
  readonly simple: Simple;
  readonly real: Subscription;
  readonly abort: AbortController;
  readonly topics: readonly number[];
  readonly met: number[];
  /** A read that waits, and what it gave. */
  parked: { readonly given: Promise<Given>; readonly batch: boolean } | undefined;
}

const numbers = (events: readonly EventEnvelope[]): number[] => events.map(({ payload }) => payload as number);

async function given(read: Promise<IteratorResult<EventEnvelope | EventEnvelope[], undefined>>): Promise<Given> {
  try {
    const { done, value } = await read;
    return done === true ? "done" : numbers(Array.isArray(value) ? value : [value]);
  } catch (error) {
    return (error as PubSubError).code;
  }
}

const read = ({ real }: Pair, batch: boolean): Promise<Given> => given(batch ? real.batches().next() : real.next());

async function run(steps: readonly Command[]): Promise<void> {
  const pubsub: PubSub = createPubSub();
  const pairs: Pair[] = [];
  let published = 0;
  let closed = false;
  for (const step of steps) {
    const pair = "subscription" in step ? pairs[step.subscription % pairs.length] : undefined;
    switch (step.do) {
      case "publish": {
        for (let i = 0; i < step.count; i++) {
          const event = published++;
          const [type, id] = TOPICS.at(step.topic) as (typeof TOPICS)[number];
          const outcome = await pubsub.publish(type, id, event).then(
            () => "done",
            ({ code }: PubSubError) => code,
          );
          expect(outcome).toBe(closed ? "CLOSED" : "done");
          if (closed) continue;
          for (const each of pairs) if (each.topics.includes(step.topic)) await arrive(each, event);
        }
        break;
      }
      case "subscribe": {
        if (closed || pairs.length === 4) break;
        const { type, id, topics } = FILTERS.at(step.filter) as (typeof FILTERS)[number];
        const buffer = BUFFERS.at(step.buffer) as Required<BufferOptions>;
        const met: number[] = [];
        const abort = new AbortController();
        const onGap = {
          function: (gap: Gap) => void met.push(gap.lost as number),
          ignore: "ignore" as const,
          none: undefined,
        };
        const real = await pubsub.subscribe(type, id, {
          buffer,
          own: step.own,
          signal: abort.signal,
          ...(onGap[step.onGap] !== undefined && { onGap: onGap[step.onGap] as "ignore" }),
        });
        // All publishes are of this PubSub, so without its own a subscription gets none.
        pairs.push({
          simple: new Simple(buffer, step.onGap),
          real,
          abort,
          topics: step.own ? topics : [],
          met,
          parked: undefined,
        });
        break;
      }
      case "next":
      case "batch": {
        if (pair === undefined || pair.parked !== undefined) break;
        const batch = step.do === "batch";
        if (pair.simple.waits) {
          pair.parked = { given: read(pair, batch), batch };
          // What stands before the place where it waits is reached at once.
          while (pair.simple.items.length > 0) pair.simple.next();
        } else expect(await read(pair, batch)).toEqual(batch ? pair.simple.batch() : pair.simple.next());
        break;
      }
      case "break":
      case "abort":
        if (pair === undefined) break;
        if (step.do === "break") await pair.real.return();
        else pair.abort.abort();
        pair.simple.discard();
        await end(pair);
        break;
      case "close":
        closed = true;
        await pubsub.close();
        for (const each of pairs) {
          each.simple.drain();
          await end(each);
        }
        break;
    }
    for (const { simple, real, met } of pairs) {
      const { received, dropped, gaps } = simple;
      expect({ received: real.received, dropped: real.dropped, gaps: real.gaps, met }).toEqual({
        received,
        dropped,
        gaps,
        met: simple.met,
      });
    }
  }
  await pubsub.close();
  for (const pair of pairs) {
    pair.simple.drain();
    await end(pair);
    for (let last: Given = []; last !== "done";) expect((last = await read(pair, false))).toEqual(pair.simple.next());
    expect(pair.met).toEqual(pair.simple.met);
  }
}

async function arrive(pair: Pair, event: number): Promise<void> {
  const { simple, parked } = pair;
  simple.arrive(event);
  if (parked === undefined) return;
  pair.parked = undefined;
  expect(await parked.given).toEqual(parked.batch ? simple.batch() : simple.next());
}

/** A read that waited is done. */
async function end(pair: Pair): Promise<void> {
  const { parked, simple } = pair;
  pair.parked = undefined;
  if (parked !== undefined) expect(await parked.given).toEqual(simple.next());
}

test(
  "a buffer gives every event, gap, count and ending that its policy says, whatever the order of calls",
  async () => {
    await fc.assert(fc.asyncProperty(commands, run), { numRuns: RUNS });
  },
  60_000 + 30 * RUNS,
);
