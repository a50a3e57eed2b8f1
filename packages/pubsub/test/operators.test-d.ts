import { describe, expectTypeOf, test } from "vitest";
import {
  batch,
  chain,
  debounce,
  dedupe,
  drop,
  every,
  filter,
  find,
  flat,
  flatMap,
  forEach,
  groupBy,
  join,
  map,
  merge,
  pipe,
  reduce,
  scan,
  some,
  take,
  tap,
  throttle,
  timeout,
  toArray,
  window,
} from "../src/operators/index.ts";
import type { Group, Operator, Pipeline } from "../src/operators/index.ts";

interface Event {
  readonly type: string;
  readonly id: string;
  readonly payload: { readonly status: "idle" | "busy"; readonly n: number };
}

declare const events: AsyncIterable<Event>;
declare const generated: AsyncGenerator<Event, void, unknown>;
declare const subscribed: Promise<AsyncIterableIterator<Event, undefined>> & AsyncIterable<Event>;
declare const numbers: AsyncIterable<number>;
declare const payments: AsyncIterable<{ readonly order: string; readonly amount: number }>;
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

  // Each length is an overload of its own: a mistake in one is seen nowhere else. Every lambda's parameter is inferred; if it
  // were not, `toFixed`, `length` or `big` would be errors.
  test("infers through one stage", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through two stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
      ),
    ).toEqualTypeOf<Pipeline<{ big: bigint }>>();
  });

  test("infers through three stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("infers through four stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through five stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
      ),
    ).toEqualTypeOf<Pipeline<{ big: bigint }>>();
  });

  test("infers through six stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("infers through seven stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through eight stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
      ),
    ).toEqualTypeOf<Pipeline<{ big: bigint }>>();
  });

  test("infers through nine stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("infers through ten stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through eleven stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
      ),
    ).toEqualTypeOf<Pipeline<{ big: bigint }>>();
  });

  test("infers through twelve stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("infers through thirteen stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through fourteen stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
      ),
    ).toEqualTypeOf<Pipeline<{ big: bigint }>>();
  });

  test("infers through fifteen stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("infers through sixteen stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through seventeen stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
      ),
    ).toEqualTypeOf<Pipeline<{ big: bigint }>>();
  });

  test("infers through eighteen stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("infers through nineteen stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });

  test("infers through twenty stages", () => {
    expectTypeOf(
      pipe(
        numbers,
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
        map((item) => Number(item.big)),
        map((n) => n.toFixed()),
        map((text) => ({ big: BigInt(text) })),
      ),
    ).toEqualTypeOf<Pipeline<{ big: bigint }>>();
  });

  test("has no more than twenty stages, which a pipe on a pipe continues", () => {
    const same = map((n: number) => n);
    pipe(
      numbers,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      same,
      // @ts-expect-error -- a twenty-first
      same,
    );
    expectTypeOf(pipe(pipe(numbers, same, same), same)).toEqualTypeOf<Pipeline<number>>();
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

describe("operators that change no type", () => {
  test("keep it, and infer the parameters of their functions", () => {
    const same = pipe(
      events,
      drop(1),
      tap((event, index) => {
        expectTypeOf(event).toEqualTypeOf<Event>();
        expectTypeOf(index).toEqualTypeOf<number>();
      }),
      dedupe(),
      dedupe({ key: (event) => event.payload.n, size: 10, within: 100 }),
      debounce(10),
      throttle(10, { leading: false }),
      timeout(10),
    );
    expectTypeOf(same).toEqualTypeOf<Pipeline<Event>>();
  });
});

describe("scan", () => {
  test("gives what its function gives, by way of a promise too", () => {
    expectTypeOf(
      pipe(
        events,
        scan((counts, event) => counts.set(event.type, 1), new Map<string, number>()),
      ),
    ).toEqualTypeOf<Pipeline<Map<string, number>>>();
    expectTypeOf(
      pipe(
        numbers,
        scan((sum, n) => sum + n),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
    expectTypeOf(
      pipe(
        events,
        scan(async (sum, event) => sum + event.payload.n, 0),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });
});

describe("window", () => {
  test("gives arrays", () => {
    expectTypeOf(pipe(events, window({ count: 3, every: 2, time: 10 }))).toEqualTypeOf<Pipeline<Event[]>>();
  });
});

describe("flat", () => {
  test("takes off one level by default, and as many as it is told", () => {
    expectTypeOf(pipe(events, batch(2), flat())).toEqualTypeOf<Pipeline<Event>>();
    expectTypeOf(pipe(events, batch(2), batch(2), flat())).toEqualTypeOf<Pipeline<Event[]>>();
    expectTypeOf(pipe(events, batch(2), batch(2), flat(2))).toEqualTypeOf<Pipeline<Event>>();
    expectTypeOf(pipe(events, batch(2), flat(0))).toEqualTypeOf<Pipeline<Event[]>>();
    expectTypeOf(pipe(events, batch(2), batch(2), batch(2), flat(Infinity))).toEqualTypeOf<Pipeline<Event>>();
  });

  test("takes off iterables of any kind and promises in them, but leaves strings", () => {
    const nested = pipe(
      events,
      map((event) => [new Set([event.id]), numbers]),
    );
    expectTypeOf(pipe(nested, flat(2))).toEqualTypeOf<Pipeline<string | number>>();
    expectTypeOf(pipe(mixed, flat())).toEqualTypeOf<Pipeline<string | number | undefined>>();
    expectTypeOf(
      pipe(
        events,
        map((event) => [Promise.resolve(event.id)]),
        flat(),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
  });
});

describe("flatMap", () => {
  test("gives what the iterables hold", () => {
    expectTypeOf(
      pipe(
        events,
        flatMap((event, index) => [event.payload.n, index]),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
    expectTypeOf(
      pipe(
        events,
        flatMap(async (event) => new Set([event.id])),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
    expectTypeOf(
      pipe(
        events,
        flatMap(() => numbers),
      ),
    ).toEqualTypeOf<Pipeline<number>>();
  });

  test("refuses what is not iterable", () => {
    pipe(
      events,
      // @ts-expect-error -- a number is not iterable
      flatMap((event) => event.payload.n),
    );
  });
});

describe("chain and merge", () => {
  test("give what any of their sources gives, promises of subscriptions included", () => {
    expectTypeOf(chain(events, numbers)).toEqualTypeOf<Pipeline<Event | number>>();
    expectTypeOf(merge(subscribed, numbers)).toEqualTypeOf<Pipeline<Event | number>>();
    expectTypeOf(merge(...[numbers, numbers])).toEqualTypeOf<Pipeline<number>>();
    expectTypeOf(
      pipe(
        merge(events, generated),
        map((event) => event.id),
      ),
    ).toEqualTypeOf<Pipeline<string>>();
    // @ts-expect-error -- an array is not an async source
    chain(events, [1]);
  });
});

describe("groupBy", () => {
  test("gives keys with groups, by way of a promise too", () => {
    expectTypeOf(
      pipe(
        events,
        groupBy((event) => event.payload.status),
      ),
    ).toEqualTypeOf<Pipeline<[key: "idle" | "busy", group: Group<Event>]>>();
    expectTypeOf(
      pipe(
        events,
        groupBy(async (event, index) => index + event.payload.n, { maxGroups: 5, buffer: { overflow: "drop-oldest" } }),
        map(([key, group]) => {
          expectTypeOf(key).toEqualTypeOf<number>();
          return pipe(
            group,
            map((event) => event.id),
            toArray(),
          );
        }),
      ),
    ).toEqualTypeOf<Pipeline<string[]>>();
  });
});

describe("join", () => {
  test("gives pairs, left and right", () => {
    expectTypeOf(
      pipe(
        events,
        join(payments, { key: (event) => event.id, otherKey: (payment) => payment.order, within: { count: 5 } }),
      ),
    ).toEqualTypeOf<Pipeline<[left: Event, right: { readonly order: string; readonly amount: number }]>>();
    expectTypeOf(pipe(events, join(generated, { key: (event) => event.id, within: { time: 5 } }))).toEqualTypeOf<
      Pipeline<[left: Event, right: Event]>
    >();
  });

  test("refuses a key that the other side does not have", () => {
    pipe(
      events,
      // @ts-expect-error -- payments have no id
      join(payments, { key: (item) => item.id, within: { count: 5 } }),
    );
  });
});

describe("consumers", () => {
  test("give promises, and a type guard narrows what find gives", () => {
    expectTypeOf(
      pipe(
        events,
        forEach((event) => event.id),
      ),
    ).toEqualTypeOf<Promise<void>>();
    expectTypeOf(
      pipe(
        events,
        some((event) => event.id === ""),
      ),
    ).toEqualTypeOf<Promise<boolean>>();
    expectTypeOf(
      pipe(
        events,
        every(async (event, index) => index < event.payload.n),
      ),
    ).toEqualTypeOf<Promise<boolean>>();
    expectTypeOf(
      pipe(
        mixed,
        find((value) => typeof value === "string"),
      ),
    ).toEqualTypeOf<Promise<string | undefined>>();
    expectTypeOf(
      pipe(
        events,
        find((event) => event.id),
      ),
    ).toEqualTypeOf<Promise<Event | undefined>>();
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
