// What brokers are given of events: the text of one, of several in one message, and the bytes of a text.
import type { EventEnvelope } from "@alkdev/pubsub";
import type { Posted } from "@alkdev/pubsub/transport";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Gathering } from "../src/gathering.ts";
import { parseAllWith, stringify } from "../src/serializer.ts";
import { utf8 } from "../src/utf8.ts";

const text = fc.oneof(fc.constantFrom("", "a", 'quote"\\', "\ud800", "ü"), fc.string({ unit: "binary", maxLength: 8 }));
const origin = fc.constantFrom("one", "other", '"');
const meta = fc.oneof(
  fc.constant(undefined),
  fc.record({ origin }),
  fc.record({ origin, seq: fc.nat() }),
  fc.record({ other: fc.jsonValue() }),
  fc.constant({}),
);
const payload = fc.oneof(
  fc.jsonValue(),
  fc.date({ noInvalidDate: true }),
  fc.record({ toJSON: fc.constant((key: string) => `at ${key}`) }),
  fc.record({ missing: fc.constant(undefined), given: fc.jsonValue() }),
);

test("an envelope is the JSON that JSON.stringify makes of it, whatever it holds and in whatever order", () => {
  const members: fc.Arbitrary<[string, unknown][]> = fc
    .tuple(
      fc.tuple(fc.constant("type"), fc.constantFrom("a", "b.c", 'é"')),
      fc.tuple(fc.constant("id"), text),
      fc.tuple(fc.constant("payload"), payload),
      fc.option(fc.tuple(fc.constant("meta"), meta), { nil: undefined }),
      fc.option(fc.tuple(fc.constantFrom("more", "__proto__", "toString"), fc.jsonValue()), { nil: undefined }),
      fc.boolean(),
    )
    .map(([type, id, load, about, more, reversed]) => {
      const all = [type, id, load, about, more].filter((member) => member !== undefined) as [string, unknown][];
      return reversed ? all.toReversed() : all;
    });
  fc.assert(
    fc.property(members, (all) => {
      const envelope = Object.fromEntries(all) as unknown as EventEnvelope;
      expect(stringify(envelope)).toBe(JSON.stringify(envelope));
    }),
    { numRuns: 3000 },
  );
});

test.each([() => 1, Symbol("no"), { toJSON: () => undefined }, 1n, [1n]])(
  "a payload that is no JSON (%#) is a PAYLOAD error, alone and among others",
  (bad) => {
    expect(() => stringify({ type: "a", id: "", payload: bad })).toThrow(expect.objectContaining({ code: "PAYLOAD" }));
    const gathering = new Gathering(() => ({ waiter: undefined }));
    gathering.add("a", { type: "a", id: "", payload: 1 });
    expect(() => gathering.add("a", { type: "a", id: "", payload: bad })).toThrow(
      expect.objectContaining({ code: "PAYLOAD" }),
    );
  },
);

/** What becomes of events that are published in one tick. */
async function gather(events: readonly EventEnvelope[], most?: number): Promise<{ texts: string[]; sent: Posted[] }> {
  const texts: string[] = [];
  const sent: Posted[] = [];
  const gathering = new Gathering((_, message) => {
    texts.push(message);
    const posted: Posted = { waiter: undefined };
    sent.push(posted);
    return posted;
  });
  for (const event of events) gathering.add(`${event.type}:${event.id}`, event, most);
  await Promise.resolve();
  return { texts, sent };
}

function read(texts: readonly string[]): { events: EventEnvelope[]; errors: unknown[] } {
  const events: EventEnvelope[] = [];
  const errors: unknown[] = [];
  for (const message of texts)
    parseAllWith(JSON, message, () => "a", {
      deliver: (envelope) => void events.push(envelope),
      error: (error) => void errors.push(error),
    });
  return { events, errors };
}

test("a text is read as JSON.parse reads it, whatever came before it, and however alike it is", () => {
  const about = fc.constantFrom(
    "",
    ',"meta":{"origin":"one"}',
    ',"meta":{"origin":"other"}',
    ',"meta":{"origin":"one","seq":1}',
  );
  const between = fc.oneof(
    fc.jsonValue().map((value) => JSON.stringify(value)),
    // Nothing, too much, and what only looks like a payload.
    fc.constantFrom(
      "",
      "1,2",
      "[1",
      "1]",
      '1,"payload":2',
      '1,"id":"other"',
      '1,"meta":{"origin":"x"},"more":2',
      " 1 ",
      '"',
    ),
  );
  const written = fc
    .tuple(fc.constantFrom("a", "b"), between, about, fc.constantFrom("}", "}}", "} ", ""))
    .map(([type, load, more, end]) => `{"type":"${type}","id":"","payload":${load}${more}${end}`);
  fc.assert(
    fc.property(fc.array(written, { maxLength: 40 }), (texts) => {
      for (const message of texts) {
        let expected: unknown;
        try {
          expected = JSON.parse(message);
        } catch {
          // No JSON, then.
        }
        const { events, errors } = read([message]);
        expect(events).toEqual(expected === undefined ? [] : [expected]);
        expect(errors).toHaveLength(expected === undefined ? 1 : 0);
      }
    }),
    { numRuns: 1000 },
  );
});

test("events of one tick come out as they went in, topic by topic, and no message with several is longer than it may be", async () => {
  const event = fc.record({
    type: fc.constantFrom("a", "b"),
    id: fc.constantFrom("", "1"),
    payload: fc.jsonValue(),
    meta,
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(event as fc.Arbitrary<EventEnvelope>, { maxLength: 30 }),
      fc.integer({ min: 1, max: 300 }),
      async (given, most) => {
        const { texts } = await gather(given, most);
        const { events, errors } = read(texts);
        expect(errors).toEqual([]);
        for (const type of ["a", "b"])
          for (const id of ["", "1"]) {
            const of = (all: readonly unknown[]): unknown[] =>
              (all as EventEnvelope[]).filter((one) => one.type === type && one.id === id);
            expect(of(events)).toEqual(of(JSON.parse(JSON.stringify(given)) as unknown[]));
          }
        for (const message of texts) if (message.startsWith("[")) expect(message.length).toBeLessThanOrEqual(most);
      },
    ),
    { numRuns: 500 },
  );
});

test("of those behind the first one a message has the payload alone, unless their meta differs", async () => {
  const [one, other] = [{ origin: "x" }, { origin: "y" }];
  const events = [one, one, other, { ...one, seq: 1 }].map((about, n) => ({
    type: "a",
    id: "",
    payload: n,
    meta: about,
  }));
  const { texts } = await gather(events);
  expect(texts.map((message) => JSON.parse(message) as unknown)).toEqual([
    [events[0], { payload: 1 }, events[2], events[3]],
  ]);
});

test("the answer to a message is that of each event in it", async () => {
  const told: string[] = [];
  let message: Posted = { waiter: undefined };
  const gathering = new Gathering(() => (message = { waiter: undefined }));
  for (const n of [0, 1])
    gathering.add("a", { type: "a", id: "", payload: n }).waiter = {
      accepted: () => void told.push(`${n} accepted`),
      refused: (error) => void told.push(`${n} ${String(error)}`),
    };
  await Promise.resolve();
  message.waiter?.refused("refused");
  expect(told).toEqual(["0 refused", "1 refused"]);
});

test("what is no event in a message of several is told, and the others come", () => {
  const good = { type: "a", id: "", payload: 1, meta: { origin: "x" } };
  const { events, errors } = read([
    JSON.stringify([{ payload: 0 }, good, null, 7, [], {}, { payload: 2 }, { type: "$a", id: "", payload: 3 }]),
    "[]",
    "[",
  ]);
  expect(events).toEqual([good, { ...good, payload: 2 }]);
  expect(errors).toEqual(Array.from({ length: 8 }, () => expect.objectContaining({ code: "MALFORMED" }) as unknown));
});

test("the bytes of a text are its UTF-8, and stay so while others are encoded", () => {
  const long = fc.tuple(text, fc.nat(40_000)).map(([part, times]) => part.repeat(times / 8));
  fc.assert(
    fc.property(fc.array(fc.oneof(text, long), { maxLength: 40 }), (all) => {
      const bytes = all.map(utf8);
      for (const [i, each] of all.entries())
        expect(Buffer.from(bytes[i] ?? []).equals(new TextEncoder().encode(each))).toBe(true);
    }),
    { numRuns: 100 },
  );
});
