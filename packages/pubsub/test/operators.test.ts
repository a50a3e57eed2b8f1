// What holds for every operator, whatever it does: when its source is closed, and who gets which error.
import { describe, expect, test } from "vitest";
import {
  batch,
  chain,
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
import type { Consumer, Operator } from "../src/operators/index.ts";
import { DONE, Feed, item, PolledFeed, turn } from "./operators-sources.ts";

const error = new Error("no luck");
const never = new Promise<never>(() => {});

/** Each gives one item for one item of its source. */
const operators: Record<string, () => Operator<number, unknown>> = {
  filter: () => filter(() => true),
  "filter, with a promise": () => filter(() => Promise.resolve(true)),
  map: () => map((n) => n),
  "map, with a promise": () => map((n) => Promise.resolve(n)),
  take: () => take(100),
  "batch by count": () => batch(1),
  "batch by count or time": () => batch({ count: 1, time: 1e6 }),
  drop: () => drop(0),
  tap: () => tap(() => {}),
  "tap, with a promise": () => tap(() => Promise.resolve()),
  scan: () => scan((_, n) => n),
  "scan, with a promise": () => scan((_, n) => Promise.resolve(n), 0),
  "dedupe by size": () => dedupe({ size: 1 }),
  "dedupe by size and time": () => dedupe({ within: 1e6 }),
  "window by count": () => window({ count: 1 }),
  "window by count and time": () => window({ count: 1, time: 1e6 }),
  throttle: () => throttle(0),
  "throttle without the last": () => throttle(0, { trailing: false }),
  timeout: () => timeout(1e6),
  flat: () => flat(),
  "flat of arrays": () => (source) =>
    pipe(
      source,
      map((n) => [[[n]]]),
      flat(3),
    ),
  "flat of async iterables": () => (source) =>
    pipe(
      source,
      map((n) => Feed.of([n])),
      flat(2),
    ),
  flatMap: () => flatMap((n) => [n]),
  "flatMap, with a promise of promises": () => flatMap((n) => Promise.resolve([Promise.resolve(n)])),
  "flatMap to async iterables": () => flatMap((n) => PolledFeed.of(n)),
  chain: () => (source) => chain(source),
  "chain between others": () => (source) => chain(Feed.of<number>(), source, PolledFeed.of<number>()),
  merge: () => (source) => merge(source),
  "merge beside others": () => (source) => merge(Feed.of<number>(), source, PolledFeed.of<number>()),
  groupBy: () => (source) =>
    pipe(
      source,
      groupBy((n) => n),
      map(([key]) => key),
    ),
  "groupBy, with a promise": () => (source) =>
    pipe(
      source,
      groupBy((n) => Promise.resolve(n)),
      map(([key]) => key),
    ),
  "join, on the left": () => (source) =>
    pipe(
      source,
      join(PolledFeed.of(0), { key: () => 0, within: { count: 1 } }),
      map(([left]) => left),
    ),
  "join, on the right": () => (source) =>
    pipe(
      PolledFeed.of(0),
      join(source, { key: () => 0, within: { count: 1, time: 1e6 } }),
      map(([, right]) => right),
    ),
  "five stages": () => (source) =>
    pipe(
      source,
      map((n) => n),
      filter(() => true),
      take(100),
      batch(1),
      map((n) => Promise.resolve(n)),
    ),
  "a pipe in a pipe": () => (source) => {
    const inner = pipe(source, batch({ count: 1, time: 1e6 }));
    return pipe(
      inner,
      map((n) => n),
      batch({ count: 1, time: 1e6 }),
      filter(() => true),
    );
  },
};

const consumers: Record<string, () => Consumer<number, unknown>> = {
  toArray: () => toArray(),
  reduce: () => reduce((sum, n) => sum + n),
  "reduce, with a promise": () => reduce((sum, n) => Promise.resolve(sum + n), 0),
  forEach: () => forEach(() => {}),
  "forEach, with a promise": () => forEach(() => Promise.resolve()),
  some: () => some(() => false),
  "some, with a promise": () => some(() => Promise.resolve(false)),
  every: () => every(() => true),
  "every, with a promise": () => every(() => Promise.resolve(true)),
  find: () => find(() => false),
  "find, with a promise": () => find(() => Promise.resolve(false)),
};

/** With a function of the user that throws when it gets a 2. */
const throwing: Record<string, () => Operator<number, unknown>> = {
  filter: () => filter(thrower),
  "filter, with a promise": () => filter(async (n) => thrower(n)),
  map: () => map(thrower),
  "map, with a promise": () => map(async (n) => thrower(n)),
  tap: () => tap(thrower),
  "tap, with a promise": () => tap(async (n) => thrower(n)),
  scan: () => scan((_, n) => thrower(n), 0),
  "scan, with a promise": () => scan(async (_, n) => thrower(n), 0),
  dedupe: () => dedupe({ key: thrower }),
  flatMap: () => flatMap((n) => [thrower(n)]),
  "flatMap, with a promise": () => flatMap(async (n) => [thrower(n)]),
  "an iterable of flatMap": () =>
    flatMap(function* (n) {
      yield thrower(n);
    }),
  "a promise in an iterable of flatMap": () => flatMap((n) => [Promise.resolve(n).then(thrower)]),
  "an async iterable of flatMap": () =>
    flatMap(async function* (n) {
      yield thrower(n);
    }),
  "an async iterable of flat": () => (source) =>
    pipe(
      source,
      map(async function* (n) {
        yield thrower(n);
      }),
      flat(),
    ),
  "a stage in a chain": () => (source) => chain(pipe(source, map(thrower))),
  "a stage in a merge": () => (source) => merge(new Feed<number>(), pipe(source, map(thrower))),
  groupBy: () => (source) =>
    pipe(
      source,
      groupBy(thrower),
      map(([key]) => key),
    ),
  "groupBy, with a promise": () => (source) =>
    pipe(
      source,
      groupBy(async (n) => thrower(n)),
      map(([key]) => key),
    ),
  "join, on the left": () => (source) =>
    pipe(
      source,
      join(PolledFeed.of(1), { key: thrower, within: { count: 1 } }),
      map(([left]) => left),
    ),
  "join, on the right": () => (source) =>
    pipe(
      PolledFeed.of(1),
      join(source, { key: (n) => n, otherKey: thrower, within: { count: 1 } }),
      map(([, right]) => right),
    ),
  "a stage in the middle": () => (source) =>
    pipe(
      source,
      filter((n) => n > 0),
      map(thrower),
      take(100),
    ),
};

function thrower(n: number): number {
  if (n === 2) throw error;
  return n;
}

/** Each with a function that throws when it gets a 2. */
const throwingConsumers: Record<string, () => Consumer<number, unknown>> = {
  reduce: () => reduce((_, n) => thrower(n), 0),
  "reduce, with a promise": () => reduce(async (_, n) => thrower(n), 0),
  forEach: () => forEach(thrower),
  "forEach, with a promise": () => forEach(async (n) => thrower(n)),
  some: () => some((n) => thrower(n) > 5),
  "some, with a promise": () => some(async (n) => thrower(n) > 5),
  every: () => every(thrower),
  "every, with a promise": () => every(async (n) => thrower(n)),
  find: () => find((n) => thrower(n) > 5),
  "find, with a promise": () => find(async (n) => thrower(n) > 5),
};

const kinds = { "a source that is awaited": Feed, "a source that is polled": PolledFeed };

describe.each(Object.entries(kinds))("%s", (_, Kind) => {
  describe.each(Object.entries(operators))("%s", (_, operator) => {
    test("closes its source when the consumer breaks", async () => {
      const feed = new Kind([1, 2, 3]);
      for await (const _ of operator()(feed)) break;
      expect(feed.closed).toBe(1);
    });

    test("closes its source when the consumer throws", async () => {
      const feed = new Kind([1, 2, 3]);
      const consume = async () => {
        for await (const _ of operator()(feed)) throw error;
      };
      await expect(consume()).rejects.toBe(error);
      expect(feed.closed).toBe(1);
    });

    test("closes a source that is parked in await when the consumer returns, and both settle", async () => {
      const feed = new Kind<number>();
      const pipeline = operator()(feed);
      const next = pipeline.next();
      await feed.whenParked();
      const left = pipeline.return();
      expect(feed.closed).toBe(1);
      expect(await next).toEqual(DONE);
      expect(await left).toEqual(DONE);
    });

    test("settles at once when an async generator is parked in await and cannot close", async () => {
      let parked = () => {};
      const whenParked = new Promise<void>((resolve) => (parked = resolve));
      const source = async function* (): AsyncGenerator<number> {
        parked();
        yield await never;
      };
      const pipeline = operator()(source());
      const next = pipeline.next();
      await whenParked;
      const left = pipeline.return();
      expect(await next).toEqual(DONE);
      expect(await left).toEqual(DONE);
    });

    test("is done when an abort ends a source that is parked in await", async () => {
      const feed = new Kind<number>();
      const controller = new AbortController();
      controller.signal.addEventListener("abort", () => feed.end());
      const pipeline = operator()(feed);
      const next = pipeline.next();
      await feed.whenParked();
      controller.abort();
      expect(await next).toEqual(DONE);
      expect(feed.closed).toBe(0);
    });

    test("throws the reason when an abort fails a source that is parked in await", async () => {
      const feed = new Kind<number>();
      const controller = new AbortController();
      controller.signal.addEventListener("abort", () => feed.fail(controller.signal.reason));
      const pipeline = operator()(feed);
      const next = pipeline.next();
      await feed.whenParked();
      controller.abort(error);
      await expect(next).rejects.toBe(error);
      expect(feed.closed).toBe(0);
    });

    test("closes its source on a return() before the first next()", async () => {
      const feed = new Kind([1]);
      const pipeline = operator()(feed);
      expect(await pipeline.return()).toEqual(DONE);
      expect(feed.closed).toBe(1);
      expect(feed.asked).toBe(0);
      expect(await pipeline.next()).toEqual(DONE);
      expect(feed.asked).toBe(0);
    });

    test("closes its source once, however often it is told to", async () => {
      const feed = new Kind([1, 2, 3]);
      const pipeline = operator()(feed);
      await pipeline.next();
      await Promise.all([pipeline.return(), pipeline.return()]);
      await pipeline.return();
      await pipeline[Symbol.asyncDispose]();
      expect(feed.closed).toBe(1);
    });

    test("closes its source when it is disposed", async () => {
      const feed = new Kind([1, 2, 3]);
      const pipeline = operator()(feed);
      await pipeline.next();
      await pipeline[Symbol.asyncDispose]();
      expect(feed.closed).toBe(1);
    });

    test("does not close a source that has ended, and stays done", async () => {
      const feed = Kind.of(1, 2);
      const pipeline = operator()(feed);
      let count = 0;
      for await (const _ of pipeline) count++;
      expect(count).toBe(2);
      const { asked } = feed;
      expect(await pipeline.next()).toEqual(DONE);
      expect(await pipeline.return()).toEqual(DONE);
      expect(feed.closed).toBe(0);
      expect(feed.asked).toBe(asked);
    });

    test("throws its source's error once, after the items before it, without closing the source", async () => {
      const feed = new Kind([1]);
      feed.fail(error);
      const pipeline = operator()(feed);
      expect((await pipeline.next()).done).toBe(false);
      await expect(pipeline.next()).rejects.toBe(error);
      expect(await pipeline.next()).toEqual(DONE);
      expect(await pipeline.return()).toEqual(DONE);
      expect(feed.closed).toBe(0);
    });

    test("throws what the source's next() throws, even if it is not a promise", async () => {
      const feed = new Kind<number>();
      feed.next = () => {
        throw error;
      };
      const pipeline = operator()(feed);
      await expect(pipeline.next()).rejects.toBe(error);
      expect(await pipeline.next()).toEqual(DONE);
      expect(feed.closed).toBe(0);
    });

    test("waits until its source is closed, and throws if that fails", async () => {
      const feed = new Kind([1]);
      let fail: (error: Error) => void = () => {};
      feed.return = () => new Promise((_, reject) => (fail = reject));
      const pipeline = operator()(feed);
      await pipeline.next();
      let left = false;
      const leaving = pipeline.return().finally(() => (left = true));
      await turn();
      expect(left).toBe(false);
      fail(error);
      await expect(leaving).rejects.toBe(error);
    });

    test("answers concurrent calls of next() in order", async () => {
      const feed = new Kind<number>();
      const pipeline = operator()(feed);
      const order: number[] = [];
      const calls = [0, 1, 2, 3].map((call) => pipeline.next().finally(() => order.push(call)));
      await feed.whenParked();
      feed.push(1, 2);
      feed.push(3);
      feed.end();
      const results = await Promise.all(calls);
      expect(results.map(({ value }) => (value === undefined ? undefined : Number(value)))).toEqual([
        1,
        2,
        3,
        undefined,
      ]);
      expect(order).toEqual([0, 1, 2, 3]);
    });

    test("settles all concurrent calls of next() when the consumer returns", async () => {
      const feed = new Kind<number>();
      const pipeline = operator()(feed);
      const calls = [pipeline.next(), pipeline.next(), pipeline.next()];
      await feed.whenParked();
      await pipeline.return();
      expect(await Promise.all(calls)).toEqual([DONE, DONE, DONE]);
    });

    test("gives the error to the first of concurrent calls and the end to the others", async () => {
      const feed = new Kind<number>();
      const pipeline = operator()(feed);
      const calls = [pipeline.next(), pipeline.next(), pipeline.next()];
      await feed.whenParked();
      feed.fail(error);
      await expect(calls[0]).rejects.toBe(error);
      expect(await Promise.all(calls.slice(1))).toEqual([DONE, DONE]);
    });

    test("does not read before it is asked to", async () => {
      const feed = new Kind([1, 2]);
      const pipeline = operator()(feed);
      await turn();
      expect(feed.buffer).toEqual([1, 2]);
      await pipeline.next();
      await turn();
      expect(feed.buffer).toEqual([2]);
    });

    test("reads a promise that is itself iterable", async () => {
      const feed = Kind.of(1, 2);
      const promise = Object.assign(Promise.resolve(feed), { [Symbol.asyncIterator]: () => feed });
      expect(await pipe(promise, operator(), map(Number), toArray())).toEqual([1, 2]);
    });

    test("works on a source that cannot be closed", async () => {
      const feed = new Kind([1, 2]);
      const source = { [Symbol.asyncIterator]: () => ({ next: () => feed.next() }) };
      const pipeline = operator()(source);
      await pipeline.next();
      expect(await pipeline.return()).toEqual(DONE);
    });
  });

  describe.each(Object.entries(throwing))("%s", (_, operator) => {
    test("closes its source and throws when its function throws, then is done", async () => {
      const feed = new Kind([1, 2, 3]);
      const pipeline = operator()(feed);
      expect(await pipeline.next()).toEqual(item(1));
      await expect(pipeline.next()).rejects.toBe(error);
      expect(feed.closed).toBe(1);
      expect(await pipeline.next()).toEqual(DONE);
      expect(await pipeline.return()).toEqual(DONE);
      expect(feed.closed).toBe(1);
    });

    test("closes a source that was parked when its function throws", async () => {
      const feed = new Kind<number>();
      const pipeline = operator()(feed);
      const next = pipeline.next();
      await feed.whenParked();
      feed.push(2);
      await expect(next).rejects.toBe(error);
      expect(feed.closed).toBe(1);
    });

    test("throws the function's error even if closing fails too", async () => {
      const feed = new Kind([2]);
      feed.return = () => {
        feed.closed++;
        throw new Error("closing failed");
      };
      await expect(operator()(feed).next()).rejects.toBe(error);
      expect(feed.closed).toBe(1);
    });
  });

  describe.each(Object.entries(throwingConsumers))("%s", (_, consumer) => {
    test("closes its source and rejects when its function throws", async () => {
      const feed = new Kind([1, 2, 3]);
      await expect(consumer()(feed)).rejects.toBe(error);
      expect(feed.closed).toBe(1);
      expect(feed.buffer).toEqual([]);
    });

    test("rejects with the function's error even if closing fails too", async () => {
      const feed = new Kind([2]);
      feed.return = () => {
        feed.closed++;
        throw new Error("closing failed");
      };
      await expect(consumer()(feed)).rejects.toBe(error);
      expect(feed.closed).toBe(1);
    });
  });

  describe.each(Object.entries(consumers))("%s", (_, consumer) => {
    test("does not close a source that has ended", async () => {
      const feed = Kind.of(1, 2);
      await consumer()(feed);
      expect(feed.closed).toBe(0);
    });

    test("rejects with its source's error", async () => {
      const feed = new Kind([1, 2]);
      feed.fail(error);
      await expect(consumer()(feed)).rejects.toBe(error);
      expect(feed.closed).toBe(0);
    });

    test("closes the source when a stage before it throws", async () => {
      const feed = new Kind([1, 2, 3]);
      await expect(pipe(feed, map(thrower), consumer())).rejects.toBe(error);
      expect(feed.closed).toBe(1);
    });

    test("closes the source when a stage before it has enough", async () => {
      const feed = new Kind([1, 2, 3]);
      await pipe(feed, take(2), consumer());
      expect(feed.closed).toBe(1);
      expect(feed.buffer).toEqual([]);
    });

    test("reads a promise that is itself iterable", async () => {
      const feed = Kind.of(1, 2);
      const promise = Object.assign(Promise.resolve(feed), { [Symbol.asyncIterator]: () => feed });
      await pipe(promise, consumer());
      expect(feed.closed).toBe(0);
    });

    test("rejects with the error of a promise that is itself iterable", async () => {
      const feed = new Kind<number>();
      feed.fail(error);
      const promise = Object.assign(Promise.resolve(feed), { [Symbol.asyncIterator]: () => feed });
      await expect(pipe(promise, consumer())).rejects.toBe(error);
    });
  });
});

describe.each(Object.entries(consumers))("%s", (_, consumer) => {
  test("waits for a source that has nothing as yet", async () => {
    const feed = new PolledFeed([1]);
    const result = consumer()(feed);
    await feed.whenParked();
    feed.push(2);
    await feed.whenParked();
    feed.end();
    expect(await result).toEqual(await consumer()(Feed.of(1, 2)));
  });
});
