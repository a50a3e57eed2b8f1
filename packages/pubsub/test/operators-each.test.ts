// What is peculiar to each operator.
import { describe, expect, test } from "vitest";
import { batch, filter, map, pipe, reduce, take, toArray } from "../src/operators/index.ts";
import type { BatchOptions } from "../src/operators/index.ts";
import { DONE, Feed, item, PolledFeed, TestClock, turn } from "./operators-sources.ts";

const error = new Error("no luck");
const kinds = { "a source that is awaited": Feed, "a source that is polled": PolledFeed };

describe.each(Object.entries(kinds))("%s", (_, Kind) => {
  describe("filter", () => {
    test("keeps what the predicate holds for, and counts from 0", async () => {
      const seen: number[] = [];
      const kept = filter((value: string, index) => {
        seen.push(index);
        return value !== "b";
      });
      expect(await pipe(Kind.of("a", "b", "c"), kept, toArray())).toEqual(["a", "c"]);
      expect(seen).toEqual([0, 1, 2]);
    });

    test("takes anything for true or false that is", async () => {
      expect(
        await pipe(
          Kind.of(0, 1, Number.NaN, 2),
          filter((n) => n),
          toArray(),
        ),
      ).toEqual([1, 2]);
      expect(
        await pipe(
          Kind.of("", "a", "b"),
          filter(async (text) => text),
          toArray(),
        ),
      ).toEqual(["a", "b"]);
    });

    test("starts anew for every source", async () => {
      const first = filter((_: string, index) => index === 0);
      expect(await pipe(Kind.of("a", "b"), first, toArray())).toEqual(["a"]);
      expect(await pipe(Kind.of("c", "d"), first, toArray())).toEqual(["c"]);
    });

    test("does not call what follows for what it drops", async () => {
      const seen: number[] = [];
      const pipeline = pipe(
        Kind.of(1, 2, 3),
        filter((n) => n !== 2),
        map((n, index) => seen.push(n, index)),
        toArray(),
      );
      await pipeline;
      expect(seen).toEqual([1, 0, 3, 1]);
    });
  });

  describe("map", () => {
    test("replaces items, and counts from 0", async () => {
      expect(
        await pipe(
          Kind.of("a", "b"),
          map((value, index) => `${value}${index}`),
          toArray(),
        ),
      ).toEqual(["a0", "b1"]);
    });

    test("mixes values and promises in order", async () => {
      expect(
        await pipe(
          Kind.of(1, 2, 3, 4),
          map((n) => (n % 2 === 0 ? n : turn().then(() => n))),
          toArray(),
        ),
      ).toEqual([1, 2, 3, 4]);
    });
  });

  describe("take", () => {
    test("closes its source when the last item is delivered, without reading further", async () => {
      const feed = new Kind([1, 2]);
      const pipeline = pipe(feed, take(2));
      expect(await pipeline.next()).toEqual(item(1));
      expect(feed.closed).toBe(0);
      expect(await pipeline.next()).toEqual(item(2));
      expect(feed.closed).toBe(1);
      expect(feed.parked).toBe(false);
      expect(await pipeline.next()).toEqual(DONE);
      expect(await pipeline.return()).toEqual(DONE);
      expect(feed.closed).toBe(1);
    });

    test("delivers the last item while its source is still closing, and the end when it is closed", async () => {
      const feed = new Kind([1, 2]);
      let closed: (result: IteratorResult<number, undefined>) => void = () => {};
      feed.return = () => new Promise((resolve) => (closed = resolve));
      const pipeline = pipe(feed, take(1));
      expect(await pipeline.next()).toEqual(item(1));
      let ended = false;
      const end = pipeline.next().finally(() => (ended = true));
      await turn();
      expect(ended).toBe(false);
      closed({ value: undefined, done: true });
      expect(await end).toEqual(DONE);
    });

    test("throws after the last item if its source cannot be closed", async () => {
      const feed = new Kind([1, 2]);
      feed.return = () => Promise.reject(error);
      const pipeline = pipe(feed, take(1));
      expect(await pipeline.next()).toEqual(item(1));
      await turn();
      await expect(pipeline.next()).rejects.toBe(error);
      expect(await pipeline.next()).toEqual(DONE);
      expect(await pipeline.return()).toEqual(DONE);
    });

    test("closes its source without reading when it is to take none", async () => {
      const feed = new Kind([1, 2]);
      let closed: number[] = [];
      feed.return = () => {
        closed = [...feed.buffer];
        return Promise.resolve({ value: undefined, done: true });
      };
      expect(await pipe(feed, take(0)).next()).toEqual(DONE);
      expect(closed).toEqual([1, 2]);
      expect(feed.asked).toBe(0);
    });

    test("closes a source once the last item has passed the stages before it", async () => {
      const feed = new Kind([1, 2, 3, 4, 5]);
      const mapped: number[] = [];
      const pipeline = pipe(
        feed,
        map((n) => mapped.push(n)),
        take(2),
        filter((n) => n > 5),
      );
      expect(await pipeline.next()).toEqual(DONE);
      expect(mapped).toEqual([1, 2]);
      expect(feed.closed).toBe(1);
    });

    test("takes no more when it is followed by another take", async () => {
      expect(await pipe(Kind.of(1, 2, 3, 4, 5), take(3), take(2), toArray())).toEqual([1, 2]);
      expect(await pipe(Kind.of(1, 2, 3, 4, 5), take(2), take(3), toArray())).toEqual([1, 2]);
      expect(await pipe(Kind.of(1, 2, 3), take(0), take(3), toArray())).toEqual([]);
      expect(await pipe(Kind.of(1, 2, 3), take(3), take(0), toArray())).toEqual([]);
    });

    test("takes everything when it is to take infinitely many", async () => {
      expect(await pipe(Kind.of(1, 2, 3), take(Infinity), toArray())).toEqual([1, 2, 3]);
    });
  });

  describe("reduce", () => {
    test("starts with the initial value, and counts from 0", async () => {
      const fn = (text: string, n: number, index: number) => `${text} ${index}:${n}`;
      expect(await pipe(Kind.of(5, 6), reduce(fn, "items"))).toBe("items 0:5 1:6");
    });

    test("starts with the first item if there is no initial value, and counts from 1", async () => {
      const fn = (text: string, value: string, index: number) => `${text} ${index}:${value}`;
      expect(await pipe(Kind.of("a", "b", "c"), reduce(fn))).toBe("a 1:b 2:c");
      expect(await pipe(Kind.of("a"), reduce(fn))).toBe("a");
    });

    test("gives the initial value if there is no item, and throws a TypeError if there is neither", async () => {
      expect(
        await pipe(
          Kind.of<number>(),
          reduce((sum, n) => sum + n, 7),
        ),
      ).toBe(7);
      await expect(
        pipe(
          Kind.of<number>(),
          reduce((sum, n) => sum + n),
        ),
      ).rejects.toThrow(TypeError);
    });

    test("takes undefined for an initial value if it is given", async () => {
      const last = reduce((_: number | undefined, n: number): number | undefined => n, undefined);
      expect(await pipe(Kind.of<number>(), last)).toBeUndefined();
    });

    test("starts anew for every source", async () => {
      const sum = reduce((sum: number, n: number) => sum + n, 100);
      expect(await sum(Kind.of(1, 2))).toBe(103);
      expect(await sum(Kind.of(3))).toBe(103);
      expect(await sum(Kind.of())).toBe(100);
    });

    test("waits for promises", async () => {
      const slow = reduce(async (list: number[], n: number) => {
        await turn();
        return [...list, n];
      }, []);
      expect(await pipe(Kind.of(1, 2, 3), slow)).toEqual([1, 2, 3]);
    });

    test("closes its source when its function throws or rejects", async () => {
      for (const fn of [
        () => {
          throw error;
        },
        () => Promise.reject(error),
      ]) {
        const feed = new Kind([1, 2]);
        await expect(pipe(feed, reduce(fn, 0))).rejects.toBe(error);
        expect(feed.closed).toBe(1);
      }
    });
  });

  describe("toArray", () => {
    test("gives a new array for every source", async () => {
      const all = toArray<number>();
      expect(await all(Kind.of(1, 2))).toEqual([1, 2]);
      expect(await all(Kind.of(3))).toEqual([3]);
      expect(await all(Kind.of())).toEqual([]);
    });
  });

  describe("batch", () => {
    test("gathers by count and gives the rest at the end", async () => {
      expect(await pipe(Kind.of(1, 2, 3, 4, 5), batch(2), toArray())).toEqual([[1, 2], [3, 4], [5]]);
      expect(await pipe(Kind.of(1, 2, 3, 4), batch({ count: 2 }), toArray())).toEqual([
        [1, 2],
        [3, 4],
      ]);
      expect(await pipe(Kind.of(), batch(2), toArray())).toEqual([]);
    });

    test("gives the rest before the error of its source", async () => {
      const feed = new Kind([1, 2, 3]);
      feed.fail(error);
      const pipeline = pipe(feed, batch(2));
      expect(await pipeline.next()).toEqual(item([1, 2]));
      expect(await pipeline.next()).toEqual(item([3]));
      await expect(pipeline.next()).rejects.toBe(error);
      expect(await pipeline.next()).toEqual(DONE);
    });

    test("gives the rest before the error of a stage that comes before it, with the source closed", async () => {
      const feed = new Kind([1, 2, 3]);
      const pipeline = pipe(
        feed,
        map((n) => {
          if (n === 3) throw error;
          return n;
        }),
        batch(5),
      );
      expect(await pipeline.next()).toEqual(item([1, 2]));
      expect(feed.closed).toBe(1);
      await expect(pipeline.next()).rejects.toBe(error);
      expect(await pipeline.next()).toEqual(DONE);
    });

    test("throws the first error when giving the rest fails too", async () => {
      const feed = new Kind([1]);
      feed.fail(error);
      const pipeline = pipe(
        feed,
        batch(5),
        map(() => {
          throw new Error("another one");
        }),
      );
      await expect(pipeline.next()).rejects.toBe(error);
      expect(await pipeline.next()).toEqual(DONE);
    });

    test("gives the rest through the stages after it, batches of batches included", async () => {
      const pipeline = pipe(
        Kind.of(1, 2, 3, 4, 5),
        batch(2),
        map(async (numbers) => numbers.length),
        batch(2),
      );
      expect(await pipe(pipeline, toArray())).toEqual([[2, 2], [1]]);
    });

    test("gives the rest when a take before it has enough", async () => {
      const feed = new Kind([1, 2, 3, 4]);
      expect(await pipe(feed, take(3), batch(2), toArray())).toEqual([[1, 2], [3]]);
      expect(feed.closed).toBe(1);
    });

    test("discards the rest when the consumer leaves", async () => {
      const feed = new Kind([1]);
      const pipeline = pipe(feed, batch(2));
      const next = pipeline.next();
      await feed.whenParked();
      await pipeline.return();
      expect(await next).toEqual(DONE);
      expect(await pipeline.next()).toEqual(DONE);
    });
  });

  describe("batch by time", () => {
    const by = (options: BatchOptions = {}) => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const pipeline = pipe(feed, batch({ time: 100, clock, ...options }));
      /** Feeds an item once the pipeline waits for it, and waits until it waits for the next. */
      const feedOne = async (n: number) => {
        await feed.whenParked();
        feed.push(n);
        await feed.whenParked();
      };
      return { clock, feed, pipeline, feedOne };
    };

    test("gives what has come when the time since the first item is over", async () => {
      const { clock, pipeline, feedOne } = by();
      const next = pipeline.next();
      await feedOne(1);
      clock.advance(60);
      await feedOne(2);
      clock.advance(40);
      expect(await next).toEqual(item([1, 2]));
    });

    test("goes on with the item that it was waiting for", async () => {
      const { clock, feed, pipeline, feedOne } = by();
      const first = pipeline.next();
      await feedOne(1);
      clock.advance(100);
      expect(await first).toEqual(item([1]));
      feed.push(2, 3);
      const second = pipeline.next();
      await feed.whenParked();
      clock.advance(100);
      expect(await second).toEqual(item([2, 3]));
      expect(clock.timers).toBe(0);
    });

    test("gives no empty batch: with nothing to gather no time is running", async () => {
      const { clock, feed, pipeline } = by();
      const next = pipeline.next();
      await feed.whenParked();
      expect(clock.timers).toBe(0);
      clock.advance(1000);
      feed.push(1);
      await feed.whenParked();
      expect(clock.timers).toBe(1);
      clock.advance(100);
      expect(await next).toEqual(item([1]));
    });

    test("gives a batch by count before the time is over, and stops the time", async () => {
      const { clock, pipeline, feedOne, feed } = by({ count: 2 });
      const next = pipeline.next();
      await feedOne(1);
      expect(clock.timers).toBe(1);
      feed.push(2);
      expect(await next).toEqual(item([1, 2]));
      expect(clock.timers).toBe(0);
    });

    test("gives a batch by time from a source that never lets a timer fire", async () => {
      const clock = new TestClock();
      const feed = new Kind([1, 2, 3, 4, 5]);
      const pipeline = pipe(
        feed,
        map((n) => {
          clock.time += 40;
          return n;
        }),
        batch({ time: 100, clock }),
      );
      expect(await pipeline.next()).toEqual(item([1, 2, 3, 4]));
    });

    test("gives the rest at the end and before an error, and stops the time", async () => {
      for (const finish of ["end", "fail"] as const) {
        const { clock, feed, pipeline, feedOne } = by();
        const next = pipeline.next();
        await feedOne(1);
        feed[finish](error);
        expect(await next).toEqual(item([1]));
        expect(clock.timers).toBe(0);
        if (finish === "end") expect(await pipeline.next()).toEqual(DONE);
        else await expect(pipeline.next()).rejects.toBe(error);
      }
    });

    test("stops the time when the consumer leaves", async () => {
      const { clock, feed, pipeline, feedOne } = by();
      const next = pipeline.next();
      await feedOne(1);
      await pipeline.return();
      expect(clock.timers).toBe(0);
      expect(feed.closed).toBe(1);
      expect(await next).toEqual(DONE);
    });

    test("throws an error that came while nobody was asking to the next who asks", async () => {
      const { clock, feed, pipeline, feedOne } = by();
      const next = pipeline.next();
      await feedOne(1);
      clock.advance(100);
      await next;
      feed.fail(error);
      await turn();
      await expect(pipeline.next()).rejects.toBe(error);
    });

    test("hands its batches to stages that wait, one at a time and in order", async () => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const sums: ((sum: number) => void)[] = [];
      const pipeline = pipe(
        feed,
        batch({ time: 100, clock }),
        map(() => new Promise<number>((resolve) => sums.push(resolve))),
      );
      const first = pipeline.next();
      const second = pipeline.next();
      await feed.whenParked();
      feed.push(1);
      await feed.whenParked();
      clock.advance(100);
      await turn();
      expect(sums.length).toBe(1);
      feed.push(2);
      await turn();
      sums[0]?.(10);
      expect(await first).toEqual(item(10));
      await feed.whenParked();
      clock.advance(100);
      await turn();
      sums[1]?.(20);
      expect(await second).toEqual(item(20));
    });

    test("is stopped by a take after it while its source is parked, without waiting for the source", async () => {
      const clock = new TestClock();
      const feed = new Kind([1]);
      feed.return = () => {
        feed.closed++;
        return new Promise(() => {});
      };
      const result = pipe(feed, batch({ time: 100, clock }), take(1), toArray());
      await feed.whenParked();
      clock.advance(100);
      expect(await result).toEqual([[1]]);
      expect(feed.closed).toBe(1);
    });

    test("closes a parked source when a stage after it throws", async () => {
      const clock = new TestClock();
      const feed = new Kind([1]);
      const pipeline = pipe(
        feed,
        batch({ time: 100, clock }),
        map(() => {
          throw error;
        }),
      );
      const next = pipeline.next();
      await feed.whenParked();
      clock.advance(100);
      await expect(next).rejects.toBe(error);
      expect(feed.closed).toBe(1);
      expect(await pipeline.next()).toEqual(DONE);
    });

    test("works after another batch by time", async () => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const pipeline = pipe(feed, batch({ time: 100, clock }), batch({ time: 250, clock }));
      const next = pipeline.next();
      await feed.whenParked();
      feed.push(1);
      for (const n of [2, 3]) {
        await feed.whenParked();
        clock.advance(100);
        await turn();
        feed.push(n);
      }
      await feed.whenParked();
      clock.advance(150);
      expect(await next).toEqual(item([[1], [2]]));
    });
  });
});

describe("options", () => {
  test("take() refuses a limit that is negative or not a number", () => {
    for (const limit of [-1, -Infinity, Number.NaN]) expect(() => take(limit)).toThrow(RangeError);
    for (const limit of [0, -0.5, 2.5, Infinity]) expect(() => take(limit)).not.toThrow();
  });

  test("take() cuts off a fraction", async () => {
    expect(await pipe(Feed.of(1, 2, 3), take(2.9), toArray())).toEqual([1, 2]);
  });

  test("batch() refuses a count that is not a whole number from 1", () => {
    for (const count of [0, -1, 1.5, Number.NaN, Infinity]) {
      expect(() => batch(count)).toThrow(RangeError);
      expect(() => batch({ count })).toThrow(RangeError);
    }
  });

  test("batch() refuses a time that no timer can wait", () => {
    for (const time of [-1, Number.NaN, Infinity, 2 ** 31]) expect(() => batch({ time })).toThrow(RangeError);
  });

  test("batch() needs a count or a time", () => {
    expect(() => batch({})).toThrow(TypeError);
  });

  test("batch() takes the real clock if it is given none", async () => {
    const feed = new Feed([1]);
    expect(await pipe(feed, batch({ time: 0 }), take(1), toArray())).toEqual([[1]]);
    expect(feed.closed).toBe(1);
  });
});
