import { describe, expectTypeOf, test } from "vitest";
import { batch, filter, map, pipe, reduce, take, toArray } from "../src/operators/index.ts";
import type { Operator, Pipeline } from "../src/operators/index.ts";

interface Event {
  readonly type: string;
  readonly id: string;
  readonly payload: { readonly status: "idle" | "busy"; readonly n: number };
}

declare const events: AsyncIterable<Event>;
declare const generated: AsyncGenerator<Event, void, unknown>;
declare const subscribed: Promise<AsyncIterableIterator<Event, undefined>> & AsyncIterable<Event>;
declare const mixed: AsyncIterable<string | number | undefined>;

describe("pipe", () => {
  test("without a stage is its source", () => {
    expectTypeOf(pipe(events)).toEqualTypeOf<AsyncIterable<Event>>();
  });

  test("infers the parameter of each lambda", () => {
    const names = pipe(
      events,
      filter((event, index) => {
        expectTypeOf(event).toEqualTypeOf<Event>();
        expectTypeOf(index).toEqualTypeOf<number>();
        return event.payload.status === "busy";
      }),
      map((event) => {
        expectTypeOf(event).toEqualTypeOf<Event>();
        return { name: event.id, n: event.payload.n };
      }),
      take(3),
      batch(10),
      map((batch) => {
        expectTypeOf(batch).toEqualTypeOf<{ name: string; n: number }[]>();
        return batch.length;
      }),
    );
    expectTypeOf(names).toEqualTypeOf<Pipeline<number>>();
  });

  test("reads generators, subscriptions' promises and pipes", () => {
    expectTypeOf(
      pipe(
        generated,
        map((event) => event.payload.n),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
    expectTypeOf(
      pipe(
        subscribed,
        map((event) => event.payload.n),
        toArray(),
      ),
    ).toEqualTypeOf<Promise<number[]>>();
    expectTypeOf(
      pipe(
        pipe(
          events,
          map((event) => event.id),
        ),
        map((id) => id.length),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("ends with a consumer", () => {
    expectTypeOf(pipe(events, toArray())).toEqualTypeOf<Promise<Event[]>>();
    expectTypeOf(
      pipe(
        events,
        map((event) => event.payload.n),
        reduce((sum, n) => {
          expectTypeOf(sum).toEqualTypeOf<number>();
          return sum + n;
        }),
      ),
    ).toEqualTypeOf<Promise<number>>();
    expectTypeOf(
      pipe(
        events,
        reduce((counts, event) => counts.set(event.type, 1), new Map<string, number>()),
      ),
    ).toEqualTypeOf<Promise<Map<string, number>>>();
    expectTypeOf(
      pipe(
        events,
        reduce(async (sum, event) => sum + event.payload.n, 0),
      ),
    ).toEqualTypeOf<Promise<number>>();
  });

  test("accepts stages of a foreign kind", () => {
    const flat = async function* <T>(source: AsyncIterable<readonly T[]>): AsyncGenerator<T, void, unknown> {
      for await (const items of source) yield* items;
    };
    expectTypeOf(
      pipe(
        events,
        batch(2),
        flat,
        map((event) => event.id),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through twenty stages", () => {
    const twenty = pipe(
      events,
      map((event) => event.payload.n),
      map((n) => String(n)),
      map((text) => [text]),
      map((list) => list.length > 0),
      map((flag) => (flag ? 1 : 0)),
      map((n) => ({ n })),
      map(({ n }) => n),
      map((n) => String(n)),
      map((text) => text.length),
      map((n) => BigInt(n)),
      map((big) => Number(big)),
      filter((n) => n > 0),
      take(10),
      batch(2),
      map((numbers) => new Set(numbers)),
      map((set) => [...set]),
      filter((list) => list.length > 0),
      map((list) => list.join()),
      map((text) => text.split(",")),
      reduce((longest, parts) => {
        expectTypeOf(parts).toEqualTypeOf<string[]>();
        return Math.max(longest, parts.length);
      }, 0),
    );
    expectTypeOf(twenty).toEqualTypeOf<Promise<number>>();
  });

  test("refuses a stage that takes something else, a stage after a consumer, and a source that is none", () => {
    const lengths: Operator<string, number> = map((text) => text.length);
    // @ts-expect-error -- events are not strings
    pipe(events, lengths);
    // @ts-expect-error -- a promise is not a source
    pipe(events, toArray(), take(1));
    // @ts-expect-error -- an array is not an async source
    pipe([1, 2, 3], take(1));
    pipe(
      events,
      // @ts-expect-error -- events have no such member
      map((event) => event.nothing),
    );
  });
});

describe("filter", () => {
  test("narrows by a type guard, declared or inferred", () => {
    expectTypeOf(
      pipe(
        mixed,
        filter((value): value is string => typeof value === "string"),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
    expectTypeOf(
      pipe(
        mixed,
        filter((value) => value !== undefined),
      ),
    ).toEqualTypeOf<Pipeline<string | number>>();
  });

  test("keeps the type with any other predicate", () => {
    expectTypeOf(
      pipe(
        mixed,
        filter(async (value) => value === 1),
      ),
    ).toEqualTypeOf<Pipeline<string | number | undefined>>();
  });
});

describe("map", () => {
  test("unwraps promises", () => {
    expectTypeOf(
      pipe(
        events,
        map(async (event) => event.payload.n),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
    expectTypeOf(
      pipe(
        events,
        map((event) => (event.payload.n > 1 ? event.payload.n : Promise.resolve(event.id))),
      ),
    ).toEqualTypeOf<Pipeline<string | number>>();
  });
});

describe("a pipeline", () => {
  test("is read with for await, and can always be closed", () => {
    expectTypeOf(pipe(events, take(1))).toExtend<AsyncIterableIterator<Event, undefined>>();
    expectTypeOf(pipe(events, batch({ count: 2, time: 10 })).return()).toEqualTypeOf<
      Promise<IteratorResult<Event[], undefined>>
    >();
  });
});
