// Operators that read iterables one after another: flat, flatMap and chain.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { batch, chain, flat, flatMap, map, pipe, take, toArray } from "../src/operators/index.ts";
import { poll } from "../src/poll.ts";
import { createPubSub } from "../src/pubsub.ts";
import { DONE, Feed, item, PolledFeed, turn } from "./operators-sources.ts";

const error = new Error("no luck");
const never = new Promise<never>(() => {});
const kinds = { "a source that is awaited": Feed, "a source that is polled": PolledFeed };

/** A synchronous iterable that counts how often it was closed. */
function counting<T>(items: readonly T[]): Iterable<T> & { closed: number } {
  return {
    closed: 0,
    [Symbol.iterator]() {
      const iterator = items[Symbol.iterator]();
      return {
        next: () => iterator.next(),
        return: () => {
          this.closed++;
          return { value: undefined, done: true };
        },
      };
    },
  };
}

describe.each(Object.entries(kinds))("%s", (_, Kind) => {
  describe("flat", () => {
    test("replaces iterables by what they hold, one level by default", async () => {
      expect(await pipe(Kind.of([1, 2], [], [[3], 4]), flat(), toArray())).toEqual([1, 2, [3], 4]);
    });

    test("goes as deep as it is told", async () => {
      const deep = () => Kind.of([1, [2, [3, [4]]]]);
      expect(await pipe(deep(), flat(0), toArray())).toEqual([[1, [2, [3, [4]]]]]);
      expect(await pipe(deep(), flat(2), toArray())).toEqual([1, 2, [3, [4]]]);
      expect(await pipe(deep(), flat(2.9), toArray())).toEqual([1, 2, [3, [4]]]);
      expect(await pipe(deep(), flat(Infinity), toArray())).toEqual([1, 2, 3, 4]);
    });

    test("leaves strings and what is not iterable as it is", async () => {
      const object = { length: 1 };
      const values = ["ab", 1, null, undefined, object];
      expect(await pipe(Kind.of<unknown>(...values), flat(3), toArray())).toEqual(values);
      expect(await pipe(Kind.of([["ab"]]), flat(3), toArray())).toEqual(["ab"]);
    });

    test("reads sets, generators and async iterables, mixed and nested", async () => {
      const generate = function* () {
        yield 1;
        yield Feed.of<unknown>(2, [3]);
      };
      const values = [new Set([0]), generate(), PolledFeed.of<unknown>([4], new Set([5]))];
      expect(await pipe(Kind.of<unknown>(...values), flat(3), toArray())).toEqual([0, 1, 2, 3, 4, 5]);
    });

    test("waits for promises in an iterable", async () => {
      const values = [Promise.resolve(1), 2, turn().then(() => [3])];
      expect(await pipe(Kind.of(values), flat(2), toArray())).toEqual([1, 2, 3]);
      expect(await pipe(Kind.of(values), flat(1), toArray())).toEqual([1, 2, [3]]);
    });

    test("gives the first items of an iterable without end, and closes it and its source", async () => {
      const numbers = counting([1, 2, 3]);
      const feed = new Kind([numbers]);
      expect(await pipe(feed, flat(), take(2), toArray())).toEqual([1, 2]);
      expect(numbers.closed).toBe(1);
      expect(feed.closed).toBe(1);
    });

    test("does not close an iterable that has ended", async () => {
      const numbers = counting([1, 2]);
      const feed = new Kind([numbers]);
      expect(await pipe(feed, flat(), take(2), toArray())).toEqual([1, 2]);
      expect(numbers.closed).toBe(1);
      const ended = counting([1]);
      expect(await pipe(Kind.of(ended), flat(), toArray())).toEqual([1]);
      expect(ended.closed).toBe(0);
    });

    test("closes all levels when the consumer returns while the innermost is parked", async () => {
      const inner = new Feed<number>();
      const middle = counting([inner]);
      const feed = new Kind([middle]);
      const pipeline = pipe(feed, flat(2));
      const next = pipeline.next();
      await inner.whenParked();
      const left = pipeline.return();
      expect([inner.closed, middle.closed, feed.closed]).toEqual([1, 1, 1]);
      expect(await next).toEqual(DONE);
      expect(await left).toEqual(DONE);
    });

    test("closes all levels around the one that fails, which is not closed", async () => {
      const inner = new Feed<number>();
      inner.fail(error);
      const middle = counting([inner]);
      const feed = new Kind([middle]);
      const pipeline = pipe(feed, flat(2));
      await expect(pipeline.next()).rejects.toBe(error);
      expect([inner.closed, middle.closed, feed.closed]).toEqual([0, 1, 1]);
      expect(await pipeline.next()).toEqual(DONE);
    });

    test("closes the iterable in which a promise rejects", async () => {
      const numbers = counting([Promise.reject(error)]);
      const feed = new Kind([numbers]);
      await expect(pipe(feed, flat()).next()).rejects.toBe(error);
      expect([numbers.closed, feed.closed]).toEqual([1, 1]);
    });

    test("closes its source when an iterable cannot be opened, or throws, and throws that error even if closing fails", async () => {
      let closed = 0;
      const broken = {
        [Symbol.iterator](): Iterator<number> {
          throw error;
        },
      };
      const throwing = {
        [Symbol.iterator]: (): Iterator<number> => ({
          next() {
            throw error;
          },
          return() {
            closed++;
            return { value: undefined, done: true };
          },
        }),
      };
      for (const value of [broken, throwing]) {
        const feed = new Kind([value]);
        feed.return = () => {
          feed.closed++;
          return Promise.reject(new Error("closing failed"));
        };
        await expect(pipe(feed, flat()).next()).rejects.toBe(error);
        expect(feed.closed).toBe(1);
        // It has thrown by itself.
        expect(closed).toBe(0);
      }
    });

    test("takes what was opened while it was closed for nothing", async () => {
      const feed = new Kind<Promise<number[]>[]>();
      let give: (items: number[]) => void = () => {};
      const pipeline = pipe(feed, flat(2));
      const next = pipeline.next();
      await feed.whenParked();
      feed.push([new Promise<number[]>((resolve) => (give = resolve))]);
      await turn();
      await pipeline.return();
      const opened: unknown[] = [];
      const late = counting([1]);
      give(Object.assign([], { [Symbol.iterator]: () => (opened.push(1), late[Symbol.iterator]()) }) as number[]);
      await turn();
      expect(await next).toEqual(DONE);
      expect(opened).toEqual([]);
    });
  });

  describe("flatMap", () => {
    test("replaces each item by what its function gives, and counts from 0", async () => {
      const repeat = flatMap((text: string, index) => Array.from({ length: index }, () => text));
      expect(await pipe(Kind.of("a", "b", "c"), repeat, toArray())).toEqual(["b", "c", "c"]);
    });

    test("takes iterables, async iterables, iterators and promises of them, and flattens one level", async () => {
      let left = 2;
      const iterator = { next: () => ({ value: left, done: left-- === 0 }) };
      const values = [[1, [2]], new Set([3]), Feed.of<unknown>(4, [5]), turn().then(() => [6]), iterator];
      const out = pipe(
        Kind.of(...values.keys()),
        flatMap((n) => values[n] as Iterable<unknown>),
        toArray(),
      );
      expect(await out).toEqual([1, [2], 3, 4, [5], 6, 2, 1]);
    });

    test("throws a TypeError for what cannot be iterated, strings included, and closes its source", async () => {
      for (const value of ["text", 1, null, undefined, {}, Promise.resolve("text")]) {
        const feed = new Kind([1]);
        await expect(
          pipe(
            feed,
            flatMap(() => value as never),
          ).next(),
        ).rejects.toThrow(TypeError);
        expect(feed.closed).toBe(1);
      }
    });

    test("does not call its function again before the iterable has ended", async () => {
      const seen: number[] = [];
      const pipeline = pipe(
        Kind.of(1, 2),
        flatMap((n) => {
          seen.push(n);
          return [n, n];
        }),
      );
      await pipeline.next();
      await pipeline.next();
      expect(seen).toEqual([1]);
      await pipeline.next();
      expect(seen).toEqual([1, 2]);
    });

    test("closes the iterable before its source when the consumer leaves", async () => {
      const order: string[] = [];
      const inner = new Feed([1, 2]);
      inner.return = () => (order.push("iterable"), Promise.resolve({ value: undefined, done: true }));
      const feed = new Kind([0]);
      feed.return = () => (order.push("source"), Promise.resolve({ value: undefined, done: true }));
      for await (const _ of pipe(
        feed,
        flatMap(() => inner),
      ))
        break;
      expect(order).toEqual(["iterable", "source"]);
    });

    test("closes its source even if the iterable cannot be closed, and throws why", async () => {
      const inner = new Feed([1, 2]);
      inner.return = () => Promise.reject(error);
      const feed = new Kind([0]);
      const pipeline = pipe(
        feed,
        flatMap(() => inner),
      );
      await pipeline.next();
      await expect(pipeline.return()).rejects.toBe(error);
      expect(feed.closed).toBe(1);
    });
  });

  describe("chain", () => {
    test("gives the items of one source after another", async () => {
      expect(await pipe(chain(Kind.of(1, 2), Kind.of(), Kind.of(3)), toArray())).toEqual([1, 2, 3]);
      expect(await pipe(chain(), toArray())).toEqual([]);
    });

    test("opens a source when its turn has come", async () => {
      const opened: number[] = [];
      const source = (n: number): AsyncIterable<number> => ({
        [Symbol.asyncIterator]: () => (opened.push(n), Kind.of(n)),
      });
      const pipeline = pipe(
        chain(source(1), source(2), source(3)),
        map((n) => n * 10),
      );
      expect(opened).toEqual([]);
      expect(await pipeline.next()).toEqual(item(10));
      expect(opened).toEqual([1]);
      expect(await pipeline.next()).toEqual(item(20));
      expect(opened).toEqual([1, 2]);
      await pipeline.return();
      expect(opened).toEqual([1, 2]);
    });

    test("closes the source that is parked and those that are open unread, and opens none", async () => {
      const [first, second, third] = [new Kind<number>(), new Kind<number>(), new Kind([3])];
      let opened = 0;
      const unopened = { [Symbol.asyncIterator]: () => (opened++, Kind.of(4)) };
      const pipeline = chain(Kind.of(0), first, second, unopened, third);
      await pipeline.next();
      const next = pipeline.next();
      await first.whenParked();
      const left = pipeline.return();
      expect([first.closed, second.closed, third.closed, opened]).toEqual([1, 1, 1, 0]);
      expect(await next).toEqual(DONE);
      expect(await left).toEqual(DONE);
      expect(third.asked).toBe(0);
    });

    test("closes those that are to come when one fails, and not the one that failed", async () => {
      const [first, second] = [new Kind([1]), new Kind([2])];
      first.fail(error);
      const pipeline = chain(first, second);
      expect(await pipeline.next()).toEqual(item(1));
      await expect(pipeline.next()).rejects.toBe(error);
      expect([first.closed, second.closed]).toEqual([0, 1]);
      expect(await pipeline.next()).toEqual(DONE);
    });

    test("settles when one is an async generator that is parked in await, and closes the others", async () => {
      let parked = () => {};
      const whenParked = new Promise<void>((resolve) => (parked = resolve));
      const source = async function* (): AsyncGenerator<number> {
        parked();
        yield await never;
      };
      const other = new Kind([1]);
      const pipeline = chain(source(), other);
      const next = pipeline.next();
      await whenParked;
      expect(await pipeline.return()).toEqual(DONE);
      expect(await next).toEqual(DONE);
      expect(other.closed).toBe(1);
    });

    test("closes a source once even if a stage has enough with the last item before it", async () => {
      const [first, second] = [Kind.of(1), new Kind([2])];
      expect(await pipe(chain(first, second), take(1), toArray())).toEqual([1]);
      expect([first.closed, second.closed]).toEqual([1, 1]);
    });
  });

  test("flat and flatMap give what arrays give, whatever waits where", async () => {
    const leaf = fc.nat(9);
    const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie("tree"), { maxLength: 3 })),
    }));
    const dress = (value: unknown, at: number): unknown => {
      if (!Array.isArray(value)) return value;
      const inner = value.map((one, n) => dress(one, at + n + 1));
      if (at % 4 === 0) return new Set(inner.map((one) => (typeof one === "number" ? { valueOf: () => one } : one)));
      if (at % 4 === 1) return Feed.of(...inner);
      if (at % 4 === 2) return PolledFeed.of(...inner);
      return inner.map((one, n) => (n % 2 === 0 && typeof one === "number" ? Promise.resolve(one) : one));
    };
    const plain = (value: unknown): unknown => (typeof value === "object" ? Number(value) : value);
    await fc.assert(
      fc.asyncProperty(fc.array(tree, { maxLength: 5 }), async (values) => {
        const dressed = values.map(dress);
        expect((await pipe(Kind.of(...dressed), flat(Infinity), toArray())).map(plain)).toEqual(values.flat(Infinity));
        expect(await pipe(Kind.of(...values), flat(2), toArray())).toEqual(values.flat(2));
        const pairs = flatMap((value: unknown, at) => (at % 2 === 0 ? [value, at] : Promise.resolve([at])));
        expect(await pipe(Kind.of(...values), pairs, toArray())).toEqual(
          values.flatMap((value, at) => (at % 2 === 0 ? [value, at] : [at])),
        );
      }),
      { numRuns: 100 },
    );
  });
});

test("flat over batches is polled like a stage: no item is waited for while there is one", () => {
  const feed = new PolledFeed([1, 2, 3, 4]);
  const pipeline = pipe(
    feed,
    batch(2),
    flat(),
    map((n) => n * 10),
  );
  expect([pipeline[poll](), pipeline[poll](), pipeline[poll](), pipeline[poll]()]).toEqual([10, 20, 30, 40]);
  expect(feed.asked).toBe(0);
});

test("a chain closes the promise of a subscription that it did not come to", async () => {
  const pubsub = createPubSub<{ count: number }>();
  const subscribing = pubsub.subscribe("count", "a");
  const pipeline = chain(new Feed([0]), subscribing);
  await pipeline.next();
  await pipeline.return();
  const subscription = await subscribing;
  await pubsub.publish("count", "a", 1);
  expect(subscription.received).toBe(0);
  expect(await subscription.next()).toEqual(DONE);
});
