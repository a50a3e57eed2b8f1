// How stages become one iterator, and how it reads without waiting.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  batch,
  chain,
  dedupe,
  drop,
  filter,
  flat,
  flatMap,
  map,
  merge,
  pipe,
  reduce,
  scan,
  take,
  tap,
  throttle,
  timeout,
  toArray,
  window,
} from "../src/operators/index.ts";
import { fuse } from "../src/operators/fuse.ts";
import type { Operator } from "../src/operators/index.ts";
import { NOTHING, poll } from "../src/poll.ts";
import { DONE, Feed, item, PolledFeed, TestClock, turn } from "./operators-sources.ts";

const error = new Error("no luck");

describe("a source that is polled", () => {
  test("is never asked while it has items", async () => {
    const feed = new PolledFeed([1, 2, 3, 4, 5, 6]);
    const pipeline = pipe(
      feed,
      filter((n) => n % 2 === 0),
      map((n) => n * 10),
      batch(2),
    );
    expect(await pipeline.next()).toEqual(item([20, 40]));
    expect(feed.asked).toBe(0);
    expect(feed.polled).toBe(4);
  });

  test("lets the pipeline be polled, down to the last stage", () => {
    const feed = new PolledFeed([1, 2, 3, 4]);
    const pipeline = pipe(
      feed,
      filter((n) => n % 2 === 0),
      map((n) => n * 10),
    );
    expect(pipeline[poll]()).toBe(20);
    expect(pipeline[poll]()).toBe(40);
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(feed.asked).toBe(0);
  });

  test("gives undefined and other false values as items", () => {
    const pipeline = pipe(
      new PolledFeed([undefined, null, 0, ""]),
      map((value) => value),
    );
    expect([1, 2, 3, 4].map(() => pipeline[poll]())).toEqual([undefined, null, 0, ""]);
  });

  test("is polled by a pipe on a pipe that was already read", async () => {
    const feed = new PolledFeed([1, 2, 3, 4]);
    const first = pipe(
      feed,
      map((n) => n * 10),
    );
    await first.next();
    const second = pipe(first, batch(3));
    expect(second[poll]()).toEqual([20, 30, 40]);
    expect(feed.asked).toBe(0);
  });

  test("is asked when there is nothing to poll, and polled again after that", async () => {
    const feed = new PolledFeed<number>();
    const pipeline = pipe(feed, batch(3));
    const next = pipeline.next();
    await feed.whenParked();
    expect(pipeline[poll]()).toBe(NOTHING);
    feed.push(1, 2, 3);
    expect(await next).toEqual(item([1, 2, 3]));
    expect(feed.asked).toBe(1);
    expect(feed.polled).toBe(2);
  });

  test("shows an error that stands between items where it stands", async () => {
    const feed = new PolledFeed([1]);
    feed.fail(error);
    const pipeline = pipe(
      feed,
      map((n) => n),
    );
    expect(pipeline[poll]()).toBe(1);
    expect(pipeline[poll]()).toBe(NOTHING);
    await expect(pipeline.next()).rejects.toBe(error);
    expect(pipeline[poll]()).toBe(NOTHING);
  });
});

describe("a poll of a pipeline", () => {
  test("does not throw when a function throws: next() does", async () => {
    const feed = new PolledFeed([1, 2, 3]);
    const pipeline = pipe(
      feed,
      map((n) => {
        if (n === 2) throw error;
        return n;
      }),
    );
    expect(pipeline[poll]()).toBe(1);
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(feed.closed).toBe(1);
    expect(pipeline[poll]()).toBe(NOTHING);
    await expect(pipeline.next()).rejects.toBe(error);
    expect(await pipeline.next()).toEqual(DONE);
  });

  test("gives nothing while a stage waits for a promise, and next() goes on where it was", async () => {
    const feed = new PolledFeed([1, 2, 3]);
    const pipeline = pipe(
      feed,
      map((n) => (n === 2 ? Promise.resolve(n * 10) : n * 10)),
      map((n) => n + 1),
    );
    expect(pipeline[poll]()).toBe(11);
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(await pipeline.next()).toEqual(item(21));
    expect(pipeline[poll]()).toBe(31);
  });

  test("reports a promise that rejects to the next() that comes, and to nobody else", async () => {
    const feed = new PolledFeed([1]);
    const pipeline = pipe(
      feed,
      map(() => Promise.reject(error)),
    );
    expect(pipeline[poll]()).toBe(NOTHING);
    await turn();
    await expect(pipeline.next()).rejects.toBe(error);
    expect(feed.closed).toBe(1);
  });

  test("gives what is left once a stage has stopped the source", async () => {
    const feed = new PolledFeed([1, 2, 3, 4]);
    const pipeline = pipe(feed, take(3), batch(2));
    expect(pipeline[poll]()).toEqual([1, 2]);
    expect(feed.closed).toBe(0);
    expect(pipeline[poll]()).toEqual([3]);
    expect(feed.closed).toBe(1);
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(await pipeline.next()).toEqual(DONE);
  });

  test("gives nothing after return(), even if the source still would", async () => {
    const feed = new PolledFeed([1, 2]);
    feed.return = () => Promise.resolve({ value: undefined, done: true });
    const pipeline = pipe(feed, take(2));
    await pipeline.return();
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(feed.buffer).toEqual([1, 2]);
  });

  test("does not take what a next() is waiting for", async () => {
    const clock = new TestClock();
    const feed = new PolledFeed([1]);
    const pipeline = pipe(feed, batch({ time: 100, clock }));
    const next = pipeline.next();
    await feed.whenParked();
    clock.advance(100);
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(await next).toEqual(item([1]));
  });

  test("gives what a timer has finished since", () => {
    const clock = new TestClock();
    const feed = new PolledFeed([1]);
    const pipeline = pipe(feed, batch({ time: 100, clock }));
    expect(pipeline[poll]()).toBe(NOTHING);
    clock.advance(100);
    expect(pipeline[poll]()).toEqual([1]);
  });

  test("gives nothing on a source that can only be awaited", async () => {
    const pipeline = pipe(new Feed([1]), take(1));
    expect(pipeline[poll]()).toBe(NOTHING);
    expect(await pipeline.next()).toEqual(item(1));
  });
});

describe("stages", () => {
  test("become one iterator: an item costs one next() of the source and no wait between the stages", async () => {
    const feed = new Feed<number>();
    const stages = Array.from({ length: 50 }, () => map((n: number) => n + 1));
    const pipeline = stages.reduce<AsyncIterable<number>>((source, stage) => stage(source), feed);
    const iterator = pipeline[Symbol.asyncIterator]();
    const next = iterator.next();
    let ticks = 0;
    let result: unknown;
    await feed.whenParked();
    void next.then((got) => (result = got));
    feed.push(0);
    for (; result === undefined && ticks < 20; ticks++) await Promise.resolve();
    expect(result).toEqual(item(50));
    // A few for the source and the result, not one for each of the fifty stages.
    expect(ticks).toBeLessThan(10);
  });

  test("that wait for a promise keep the order and look at one item at a time", async () => {
    const started: number[] = [];
    const resolvers = new Map<number, () => void>();
    let onStart = () => {};
    const pipeline = pipe(
      new PolledFeed([1, 2, 3]),
      map((n) => {
        started.push(n);
        return new Promise<number>((resolve) => {
          resolvers.set(n, () => resolve(n));
          onStart();
        });
      }),
    );
    const results = [pipeline.next(), pipeline.next(), pipeline.next()];
    for (const n of [1, 2, 3]) {
      while (!resolvers.has(n)) await new Promise<void>((resolve) => (onStart = resolve));
      expect(started.at(-1)).toBe(n);
      resolvers.get(n)?.();
      expect(await results[n - 1]).toEqual(item(n));
    }
  });

  test("settle at once when the consumer returns while a function's promise is pending", async () => {
    const feed = new PolledFeed([1, 2]);
    let after = false;
    let finish: (value: number) => void = () => {};
    const pipeline = pipe(
      feed,
      map(() => new Promise<number>((resolve) => (finish = resolve))),
      map(() => (after = true)),
    );
    const next = pipeline.next();
    const left = pipeline.return();
    expect(feed.closed).toBe(1);
    expect(await next).toEqual(DONE);
    expect(await left).toEqual(DONE);
    finish(1);
    await turn();
    expect(after).toBe(false);
  });

  test("accept a promise of another make", async () => {
    const thenable = (value: number) => ({
      // oxlint-disable-next-line unicorn/no-thenable -- that is what is tested
      then: (resolve: (value: number) => void) => resolve(value),
    });
    const feed = PolledFeed.of(1, 2, 3);
    expect(
      await pipe(
        feed,
        map((n) => thenable(n * 2) as PromiseLike<number>),
        toArray(),
      ),
    ).toEqual([2, 4, 6]);
  });

  test("of two pipes on one source that was not read share nothing but the source", async () => {
    const feed = new PolledFeed([1, 2, 3]);
    const base = pipe(
      feed,
      map((n) => n * 10),
    );
    const one = pipe(base, take(1));
    const other = pipe(base, batch(5));
    expect(await one.next()).toEqual(item(10));
    expect(feed.closed).toBe(1);
    expect(await other.next()).toEqual(DONE);
  });

  test("added to a pipeline that is closed are done, and close nothing twice", async () => {
    const feed = new PolledFeed([1]);
    const base = pipe(feed, take(1));
    await base.return();
    expect(await pipe(base, take(0), toArray())).toEqual([]);
    expect(feed.closed).toBe(1);
  });

  test("added to a pipeline that was already read go on where it is", async () => {
    const base = pipe(new PolledFeed([1, 2, 3]), take(2));
    await base.next();
    expect(await pipe(base, toArray())).toEqual([2]);
  });

  test("are not called any more once the consumer has left, even if the source's item arrives", async () => {
    const feed = new Feed<number>();
    feed.return = () => Promise.resolve({ value: undefined, done: true });
    const seen: number[] = [];
    const pipeline = pipe(
      feed,
      map((n) => seen.push(n)),
    );
    void pipeline.next();
    await feed.whenParked();
    await pipeline.return();
    feed.push(1);
    await turn();
    expect(seen).toEqual([]);
  });

  test("stop when one of them closes the pipeline", async () => {
    const feed = new PolledFeed([1, 2, 3]);
    feed.return = () => Promise.resolve({ value: undefined, done: true });
    const pipeline: AsyncIterator<number[], undefined> = pipe(
      feed,
      map((n) => {
        if (n === 2) void pipeline.return?.();
        return n;
      }),
      batch(5),
    );
    expect(await pipeline.next()).toEqual(DONE);
    expect(feed.buffer).toEqual([3]);
  });

  test("fail when the source's next() gives no result at all", async () => {
    const feed = new Feed<number>();
    feed.next = () => Promise.resolve(undefined as never);
    await expect(pipe(feed, take(1)).next()).rejects.toThrow(TypeError);
  });

  test("that still hold something when a later one has enough are not asked for it", async () => {
    // Hands everything on, and the last item once more at the end.
    const repeatLast = <T>(source: AsyncIterable<T>): AsyncIterable<T> =>
      fuse<T, T>(source, (next, run) => {
        let held: T | typeof NOTHING = NOTHING;
        run.ends.push(() => (held === NOTHING ? NOTHING : next(held)));
        return (item) => next((held = item));
      });
    const nineAtEnd = (source: AsyncIterable<number>): AsyncIterable<number> =>
      fuse<number, number>(source, (next, run) => {
        run.ends.push(() => next(9));
        return next;
      });
    expect(await pipe(PolledFeed.of(1, 2), nineAtEnd, take(3), toArray())).toEqual([1, 2, 9]);
    expect(await pipe(PolledFeed.of(1, 2), nineAtEnd, take(2), toArray())).toEqual([1, 2]);
    expect(await pipe(PolledFeed.of(1, 2), nineAtEnd, take(0), nineAtEnd, toArray())).toEqual([9]);
    const seen: number[] = [];
    const note = map((n: number) => {
      seen.push(n);
      return n;
    });
    expect(await pipe(PolledFeed.of(1, 2), repeatLast, note, toArray())).toEqual([1, 2, 2]);
    expect(await pipe(PolledFeed.of(1, 2), repeatLast, take(3), toArray())).toEqual([1, 2, 2]);
    expect(await pipe(PolledFeed.of(1, 2), take(1), repeatLast, toArray())).toEqual([1, 1]);
    seen.length = 0;
    expect(await pipe(PolledFeed.of(1, 2), repeatLast, note, take(2), repeatLast, toArray())).toEqual([1, 2, 2]);
    expect(seen).toEqual([1, 2]);
  });

  test("of a foreign kind can stand in a pipe", async () => {
    const twice = async function* <T>(source: AsyncIterable<T>): AsyncGenerator<T> {
      for await (const value of source) {
        yield value;
        yield value;
      }
    };
    const feed = new PolledFeed([1, 2, 3]);
    const pipeline = pipe(
      feed,
      map((n) => n * 10),
      twice,
      take(3),
      toArray(),
    );
    expect(await pipeline).toEqual([10, 10, 20]);
    await turn();
    expect(feed.closed).toBe(1);
  });
});

// Any stages on any source, whatever waits where, must do what arrays do.
describe("any pipeline", () => {
  type Step = { readonly operator: () => Operator<never, unknown>; readonly model: (items: unknown[]) => unknown[] };
  const maybe = <T>(wait: number, value: T, at: number): T | Promise<T> =>
    wait !== 0 && at % wait === 0 ? Promise.resolve(value) : value;
  const size = (value: unknown): number => (Array.isArray(value) ? value.flat(9).length : Number(value));

  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ mod: fc.integer({ min: 1, max: 4 }), wait: fc.integer({ min: 0, max: 3 }) }).map(({ mod, wait }) => ({
      operator: () => filter((value: unknown, at) => maybe(wait, size(value) % mod === 0, at)),
      model: (items: unknown[]) => items.filter((value) => size(value) % mod === 0),
    })),
    fc.integer({ min: 0, max: 3 }).map((wait) => ({
      operator: () => map((value: unknown, at) => maybe(wait, [value], at)),
      model: (items: unknown[]) => items.map((value) => [value]),
    })),
    fc.integer({ min: 0, max: 12 }).map((limit) => ({
      operator: () => take<unknown>(limit),
      model: (items: unknown[]) => items.slice(0, limit),
    })),
    fc.integer({ min: 0, max: 6 }).map((limit) => ({
      operator: () => drop<unknown>(limit),
      model: (items: unknown[]) => items.slice(limit),
    })),
    fc.integer({ min: 0, max: 3 }).map((wait) => ({
      operator: () => tap((value: unknown, at) => maybe(wait, value, at)),
      model: (items: unknown[]) => items,
    })),
    fc.integer({ min: 0, max: 3 }).map((wait) => ({
      operator: () =>
        scan((sum: unknown, value: unknown, at) => maybe(wait, size(sum) + size(value), at), 0 as unknown),
      model: (items: unknown[]) => {
        let sum = 0;
        return items.map((value) => (sum = size(sum) + size(value)));
      },
    })),
    fc.constant({
      operator: () => dedupe<unknown>({ key: size }),
      model: (items: unknown[]) =>
        items.filter((value, at) => items.findIndex((one) => size(one) === size(value)) === at),
    }),
    fc.record({ count: fc.integer({ min: 1, max: 4 }), every: fc.integer({ min: 1, max: 5 }) }).map((options) => ({
      operator: () => window<unknown>(options),
      model: (items: unknown[]) => {
        const { count, every } = options;
        const windows: unknown[] = [];
        for (let start = 0; start < items.length; start += every) {
          windows.push(items.slice(start, start + count));
          if (start + count >= items.length) break;
        }
        return windows;
      },
    })),
    fc.record({ depth: fc.integer({ min: 0, max: 3 }), async: fc.boolean() }).map(({ depth, async }) => ({
      operator: () => (source: AsyncIterable<unknown>) =>
        pipe(
          source,
          map((value) => (async && Array.isArray(value) ? Feed.of<unknown>(...(value as unknown[])) : value)),
          flat(depth),
          // Async iterables that are not deep enough are arrays again, to be like those of the model.
          map((value) => (value instanceof Feed ? (value.buffer as unknown[]) : value)),
        ),
      model: (items: unknown[]) => items.flat(depth),
    })),
    fc.integer({ min: 0, max: 3 }).map((wait) => ({
      operator: () =>
        flatMap((value: unknown, at) =>
          maybe(wait, at % 2 === 0 ? [value, at] : (PolledFeed.of<unknown>(value) as AsyncIterable<unknown>), at),
        ),
      model: (items: unknown[]) => items.flatMap((value, at) => (at % 2 === 0 ? [value, at] : [value])),
    })),
    fc
      .constantFrom(
        (source: AsyncIterable<unknown>) => merge(source, Feed.of<unknown>()),
        (source: AsyncIterable<unknown>) => chain(PolledFeed.of<unknown>(), source),
        timeout<unknown>(1e6),
        throttle<unknown>(0),
      )
      .map((operator) => ({ operator: () => operator, model: (items: unknown[]) => items })),
    fc.record({ count: fc.integer({ min: 1, max: 4 }), timed: fc.boolean() }).map(({ count, timed }) => ({
      operator: () => batch<unknown>(timed ? { count, time: 1e6 } : count),
      model: (items: unknown[]) =>
        Array.from({ length: Math.ceil(items.length / count) }, (_, i) => items.slice(i * count, (i + 1) * count)),
    })),
  );

  test("gives what arrays give, and closes its source unless that has ended", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 6 }),
        fc.array(fc.array(fc.nat(9), { maxLength: 6 }), { maxLength: 5 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 3 }),
        async (steps, chunks, polled, readers) => {
          const feed = polled ? new PolledFeed<number>() : new Feed<number>();
          const all: AsyncIterable<unknown> = steps.reduce<AsyncIterable<unknown>>(
            (source, { operator }) => operator()(source as AsyncIterable<never>),
            pipe(
              feed,
              map((n) => n),
            ),
          );
          const iterator = all[Symbol.asyncIterator]();
          const results: unknown[] = [];
          const read = async () => {
            for (let result = await iterator.next(); result.done !== true; result = await iterator.next())
              results.push(result.value);
          };
          const reading = Array.from({ length: readers }, read);
          for (const chunk of chunks) {
            feed.push(...chunk);
            await turn();
          }
          feed.end();
          await Promise.all(reading);
          const expected = steps.reduce<unknown[]>((items, { model }) => model(items), chunks.flat());
          // Readers that run side by side may note their results in another order than they got them.
          if (readers === 1) expect(results).toEqual(expected);
          else expect(results.length).toBe(expected.length);
          expect(feed.closed).toBeLessThanOrEqual(1);
          expect(feed.parked).toBe(false);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("gives what arrays give to a consumer", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(9)),
        fc.integer({ min: 0, max: 3 }),
        fc.boolean(),
        async (items, wait, polled) => {
          const feed = polled ? PolledFeed.of(...items) : Feed.of(...items);
          const sum = await pipe(
            feed,
            filter((n, at) => maybe(wait, n > 2, at)),
            reduce((sum, n, at) => maybe(wait, sum + n * at, at), 100),
          );
          const kept = items.filter((n) => n > 2);
          expect(sum).toBe(kept.reduce((sum, n, at) => sum + n * at, 100));
        },
      ),
    );
  });
});
