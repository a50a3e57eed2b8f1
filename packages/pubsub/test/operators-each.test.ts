// What is peculiar to each operator.
import { describe, expect, test } from "vitest";
import {
  batch,
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
  pipe,
  reduce,
  scan,
  some,
  take,
  tap,
  debounce,
  throttle,
  timeout,
  toArray,
  window,
} from "../src/operators/index.ts";
import { fuse } from "../src/operators/fuse.ts";
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

  describe("drop", () => {
    test("leaves out the first items and gives the others", async () => {
      expect(await pipe(Kind.of(1, 2, 3, 4), drop(2), toArray())).toEqual([3, 4]);
      expect(await pipe(Kind.of(1, 2), drop(0), toArray())).toEqual([1, 2]);
      expect(await pipe(Kind.of(1, 2), drop(5), toArray())).toEqual([]);
      expect(await pipe(Kind.of(1, 2), drop(Infinity), toArray())).toEqual([]);
    });

    test("starts anew for every source", async () => {
      const rest = drop<number>(1);
      expect(await rest(Kind.of(1, 2)).next()).toEqual(item(2));
      expect(await rest(Kind.of(3, 4)).next()).toEqual(item(4));
    });

    test("leaves the stages after it alone about what it leaves out", async () => {
      const seen: number[] = [];
      await pipe(
        Kind.of("a", "b", "c"),
        drop(1),
        forEach((_, index) => seen.push(index)),
      );
      expect(seen).toEqual([0, 1]);
    });
  });

  describe("tap", () => {
    test("sees each item and its index, and hands it on as it is", async () => {
      const seen: unknown[] = [];
      const look = tap((value: string, index) => seen.push([value, index]));
      expect(await pipe(Kind.of("a", "b"), look, toArray())).toEqual(["a", "b"]);
      expect(seen).toEqual([
        ["a", 0],
        ["b", 1],
      ]);
    });

    test("hands an item on after what its function promised", async () => {
      const order: string[] = [];
      await pipe(
        Kind.of(1, 2),
        tap(async (n) => {
          await turn();
          order.push(`saved ${n}`);
        }),
        forEach((n) => order.push(`given ${n}`)),
      );
      expect(order).toEqual(["saved 1", "given 1", "saved 2", "given 2"]);
    });
  });

  describe("scan", () => {
    test("gives the value so far for each item, and not the initial one", async () => {
      const sums = scan((sum: number, n: number, index: number) => sum + n * (index + 1), 100);
      expect(await pipe(Kind.of(1, 2, 3), sums, toArray())).toEqual([101, 105, 114]);
      expect(await pipe(Kind.of<number>(), sums, toArray())).toEqual([]);
    });

    test("gives the first item as it is if there is no initial value, and counts from 1", async () => {
      const texts = scan((text: string, value: string, index: number) => `${text} ${index}:${value}`);
      expect(await pipe(Kind.of("a", "b", "c"), texts, toArray())).toEqual(["a", "a 1:b", "a 1:b 2:c"]);
    });

    test("takes undefined for an initial value if it is given", async () => {
      const before = scan((value: unknown, n: number) => [value, n] as unknown, undefined as unknown);
      expect(await pipe(Kind.of(1), before, toArray())).toEqual([[undefined, 1]]);
    });

    test("starts anew for every source", async () => {
      const sums = scan((sum: number, n: number) => sum + n);
      expect(await pipe(Kind.of(1, 2), sums, toArray())).toEqual([1, 3]);
      expect(await pipe(Kind.of(5, 6), sums, toArray())).toEqual([5, 11]);
    });

    test("waits for promises", async () => {
      const slow = scan(async (sum: number, n: number) => {
        await turn();
        return sum + n;
      }, 0);
      expect(await pipe(Kind.of(1, 2, 3), slow, toArray())).toEqual([1, 3, 6]);
    });
  });

  describe("dedupe", () => {
    test("leaves out items that were given before, near or far", async () => {
      expect(await pipe(Kind.of(1, 1, 2, 1, 3, 2), dedupe(), toArray())).toEqual([1, 2, 3]);
    });

    test("compares as a Map does: NaN equals itself, objects by identity", async () => {
      const one = { n: 1 };
      const items = [Number.NaN, Number.NaN, one, { n: 1 }, one, undefined, undefined];
      expect(await pipe(Kind.of<unknown>(...items), dedupe(), toArray())).toEqual([
        Number.NaN,
        one,
        { n: 1 },
        undefined,
      ]);
    });

    test("compares keys if it is given how to make them", async () => {
      const byId = dedupe({ key: (event: { id: string; n: number }) => event.id });
      const events = [
        { id: "a", n: 1 },
        { id: "b", n: 2 },
        { id: "a", n: 3 },
      ];
      expect(await pipe(Kind.of(...events), byId, toArray())).toEqual(events.slice(0, 2));
    });

    test("forgets the key that came first when there is one more than its size, and a repeat does not help it", async () => {
      expect(await pipe(Kind.of(1, 2, 1, 3, 1, 2, 3), dedupe({ size: 2 }), toArray())).toEqual([1, 2, 3, 1, 2, 3]);
    });

    test("remembers 1,024 keys", async () => {
      const many = Array.from({ length: 1024 }, (_, n) => n);
      expect(await pipe(Kind.of(...many, 0, 1023), dedupe(), toArray())).toEqual(many);
      expect(await pipe(Kind.of(...many, 1024, 0, 1024), dedupe(), toArray())).toEqual([...many, 1024, 0]);
    });

    test("forgets a key when its time is over, which a repeat does not extend", async () => {
      const clock = new TestClock();
      const at = tap((time: number) => (clock.time = time));
      const key = () => "the same";
      expect(await pipe(Kind.of(0, 60, 99, 100, 199, 200), at, dedupe({ key, within: 100, clock }), toArray())).toEqual(
        [0, 100, 200],
      );
    });

    test("forgets the oldest of what was remembered anew", async () => {
      const clock = new TestClock();
      const at = tap(([time]: [number, string]) => (clock.time = time));
      const key = ([, id]: [number, string]) => id;
      const items: [number, string][] = [
        [0, "a"],
        [10, "b"],
        [100, "a"],
        [101, "c"],
        [102, "a"],
        [103, "b"],
      ];
      const once = dedupe({ key, within: 100, size: 2, clock });
      expect(await pipe(Kind.of(...items), at, once, map(key), toArray())).toEqual(["a", "b", "a", "c", "b"]);
    });

    test("starts anew for every source", async () => {
      const once = dedupe<number>();
      expect(await pipe(Kind.of(1, 1), once, toArray())).toEqual([1]);
      expect(await pipe(Kind.of(1, 1), once, toArray())).toEqual([1]);
    });
  });

  describe("window", () => {
    test("slides over the last items once there are enough", async () => {
      expect(await pipe(Kind.of(1, 2, 3, 4), window({ count: 3 }), toArray())).toEqual([
        [1, 2, 3],
        [2, 3, 4],
      ]);
    });

    test("tumbles when it moves on by its length, and gives the rest", async () => {
      expect(await pipe(Kind.of(1, 2, 3, 4, 5), window({ count: 2, every: 2 }), toArray())).toEqual([
        [1, 2],
        [3, 4],
        [5],
      ]);
    });

    test("hops over items when it moves on by more than its length", async () => {
      const hop = window<number>({ count: 2, every: 3 });
      expect(await pipe(Kind.of(1, 2, 3, 4, 5, 6), hop, toArray())).toEqual([
        [1, 2],
        [4, 5],
      ]);
      expect(await pipe(Kind.of(1, 2, 3, 4), hop, toArray())).toEqual([[1, 2], [4]]);
    });

    test("gives what is left only if it was in no window, before an error too", async () => {
      const wide = window<number>({ count: 3, every: 2 });
      expect(await pipe(Kind.of(1, 2, 3, 4, 5), wide, toArray())).toEqual([
        [1, 2, 3],
        [3, 4, 5],
      ]);
      expect(await pipe(Kind.of(1, 2, 3, 4), wide, toArray())).toEqual([
        [1, 2, 3],
        [3, 4],
      ]);
      expect(await pipe(Kind.of(1, 2), window({ count: 3 }), toArray())).toEqual([[1, 2]]);
      expect(await pipe(Kind.of(), window({ count: 3 }), toArray())).toEqual([]);
      const feed = new Kind([1]);
      feed.fail(error);
      const pipeline = pipe(feed, window({ count: 2 }));
      expect(await pipeline.next()).toEqual(item([1]));
      await expect(pipeline.next()).rejects.toBe(error);
    });

    test("gives arrays of its own, which the consumer may change", async () => {
      const emptied = map((items: number[]) => items.splice(0));
      expect(await pipe(Kind.of(1, 2, 3), window({ count: 2 }), emptied, toArray())).toEqual([
        [1, 2],
        [2, 3],
      ]);
    });

    const at = (clock: TestClock) => tap((time: number) => (clock.time = time));

    test("by time shows, for each item, what came since then", async () => {
      const clock = new TestClock();
      expect(await pipe(Kind.of(0, 50, 100, 101, 250), at(clock), window({ time: 100, clock }), toArray())).toEqual([
        [0],
        [0, 50],
        [0, 50, 100],
        [50, 100, 101],
        [250],
      ]);
    });

    test("by time and a number of items is given for each so many, and for the rest", async () => {
      const clock = new TestClock();
      const slow = window<number>({ time: 100, every: 2, clock });
      expect(await pipe(Kind.of(0, 50, 120, 130, 400), at(clock), slow, toArray())).toEqual([
        [0, 50],
        [50, 120, 130],
        [400],
      ]);
    });

    test("by count and time shows what is in both", async () => {
      const clock = new TestClock();
      const both = window<number>({ count: 2, time: 100, clock });
      expect(await pipe(Kind.of(0, 10, 20, 300, 310), at(clock), both, toArray())).toEqual([
        [0, 10],
        [10, 20],
        [300],
        [300, 310],
      ]);
    });
  });

  describe("forEach", () => {
    test("sees each item and its index in order, waits for promises, and gives nothing", async () => {
      const seen: unknown[] = [];
      const result = await pipe(
        Kind.of("a", "b", "c"),
        forEach(async (value, index) => {
          if (index === 0) await turn();
          seen.push([value, index]);
          return "ignored";
        }),
      );
      expect(result).toBeUndefined();
      expect(seen).toEqual([
        ["a", 0],
        ["b", 1],
        ["c", 2],
      ]);
    });
  });

  describe.each([
    ["at once", <T>(value: T): T | Promise<T> => value],
    ["by a promise", <T>(value: T): T | Promise<T> => Promise.resolve(value)],
  ] as const)("find, some and every, answered %s", (_, answer) => {
    test("find gives the first item that matches, or undefined, and counts from 0", async () => {
      const seen: number[] = [];
      const big = find((n: number, index) => {
        seen.push(index);
        return answer(n > 10 && "yes");
      });
      expect(await big(Kind.of(1, 20, 30))).toBe(20);
      expect(seen).toEqual([0, 1]);
      expect(await big(Kind.of(1, 2))).toBeUndefined();
      expect(await big(Kind.of())).toBeUndefined();
    });

    test("some is true if one matches, and false for none", async () => {
      const big = some((n: number) => answer(n > 10 ? 1 : 0));
      expect(await big(Kind.of(1, 20, 3))).toBe(true);
      expect(await big(Kind.of(1, 2))).toBe(false);
      expect(await big(Kind.of())).toBe(false);
    });

    test("every is true if all match, and true for none", async () => {
      const big = every((n: number) => answer(n > 10 ? "yes" : ""));
      expect(await big(Kind.of(20, 30))).toBe(true);
      expect(await big(Kind.of(20, 3, 30))).toBe(false);
      expect(await big(Kind.of())).toBe(true);
    });

    test("close their source when they know, and read no further", async () => {
      for (const [consumer, result] of [
        [find((n: number) => answer(n === 2)), 2],
        [some((n: number) => answer(n === 2)), true],
        [every((n: number) => answer(n !== 2)), false],
      ] as const) {
        const feed = new Kind([1, 2, 3]);
        let left: number[] = [];
        feed.return = () => {
          feed.closed++;
          left = [...feed.buffer];
          return Promise.resolve({ value: undefined, done: true });
        };
        expect(await pipe<number, Promise<unknown>>(feed, consumer)).toBe(result);
        expect(feed.closed).toBe(1);
        expect(left).toEqual([3]);
      }
    });

    test("do not look at what the stages before still hold once they know", async () => {
      const seen: number[][] = [];
      const found = await pipe(
        Kind.of(1, 2, 3),
        batch(2),
        take(1),
        batch(5),
        map(([first]) => first ?? []),
        find((items) => {
          seen.push(items);
          return answer(true);
        }),
      );
      expect(found).toEqual([1, 2]);
      expect(seen).toEqual([[1, 2]]);
      // Hands on what it gets, and a 9 at the end.
      const nineAtEnd = (source: AsyncIterable<number>): AsyncIterable<number> =>
        fuse<number, number>(source, (next, run) => {
          run.ends.push(() => next(9));
          return next;
        });
      const numbers: number[] = [];
      await pipe(
        new Kind([1, 2]),
        nineAtEnd,
        some((n) => answer(numbers.push(n))),
      );
      expect(numbers).toEqual([1]);
    });

    test("reject if their source cannot be closed", async () => {
      const feed = new Kind([1]);
      feed.return = () => Promise.reject(error);
      await expect(
        pipe(
          feed,
          some(() => answer(true)),
        ),
      ).rejects.toBe(error);
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

    test("gives the rest before an error that comes while it is waited for", async () => {
      const feed = new Kind<number>();
      const thrower = map((n: number) => {
        if (n === 3) throw error;
        return n;
      });
      const pipeline = pipe(feed, thrower, batch(5));
      const next = pipeline.next();
      await feed.whenParked();
      feed.push(1, 2, 3);
      expect(await next).toEqual(item([1, 2]));
      await expect(pipeline.next()).rejects.toBe(error);
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

  test("drop() and flat() refuse a number that is negative or not a number", () => {
    for (const limit of [-1, -Infinity, Number.NaN]) {
      expect(() => drop(limit)).toThrow(RangeError);
      expect(() => flat(limit)).toThrow(RangeError);
    }
    for (const limit of [0, -0.5, 2.5, Infinity]) {
      expect(() => drop(limit)).not.toThrow();
      expect(() => flat(limit)).not.toThrow();
    }
  });

  test("counts that are not whole numbers from 1 are refused", () => {
    const source = Feed.of(1);
    for (const count of [0, -1, 1.5, Number.NaN, Infinity]) {
      expect(() => window({ count })).toThrow(RangeError);
      expect(() => window({ count: 1, every: count })).toThrow(RangeError);
      expect(() => dedupe({ size: count })).toThrow(RangeError);
      expect(() => groupBy((n) => n, { maxGroups: count })).toThrow(RangeError);
      expect(() => groupBy((n) => n, { buffer: { limit: count } })).toThrow(RangeError);
      expect(() => join(source, { key: (n) => n, within: { count } })).toThrow(RangeError);
    }
  });

  test("times that no timer can wait are refused", () => {
    const source = Feed.of(1);
    for (const time of [-1, Number.NaN, Infinity, 2 ** 31]) {
      expect(() => window({ time })).toThrow(RangeError);
      expect(() => dedupe({ within: time })).toThrow(RangeError);
      expect(() => debounce(time)).toThrow(RangeError);
      expect(() => throttle(time)).toThrow(RangeError);
      expect(() => timeout(time)).toThrow(RangeError);
      expect(() => join(source, { key: (n) => n, within: { time } })).toThrow(RangeError);
    }
  });

  test("what needs one of several options says so", () => {
    expect(() => window({})).toThrow(TypeError);
    expect(() => join(Feed.of(1), { key: (n) => n, within: {} })).toThrow(TypeError);
    expect(() => throttle(10, { leading: false, trailing: false })).toThrow(TypeError);
  });

  test("groupBy() refuses a policy that it does not know", () => {
    expect(() => groupBy((n) => n, { buffer: { overflow: "drop" as never } })).toThrow(RangeError);
  });

  test("what is no function is refused before the source is touched", () => {
    const no = "no function" as never;
    for (const make of [
      () => map(no),
      () => filter(no),
      () => reduce(no),
      () => scan(no),
      () => tap(no),
      () => flatMap(no),
      () => forEach(no),
      () => some(no),
      () => every(no),
      () => find(no),
      () => groupBy(no),
      () => dedupe({ key: no }),
      () => join(Feed.of(1), { key: no, within: { count: 1 } }),
      () => join(Feed.of(1), { key: (n) => n, otherKey: no, within: { count: 1 } }),
    ])
      expect(make).toThrow(TypeError);
  });

  test("batch() takes the real clock if it is given none", async () => {
    const feed = new Feed([1]);
    expect(await pipe(feed, batch({ time: 0 }), take(1), toArray())).toEqual([[1]]);
    expect(feed.closed).toBe(1);
  });
});
