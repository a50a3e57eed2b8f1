// Operators with several sources or several consumers: merge, join and groupBy.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { batch, filter, groupBy, join, map, merge, pipe, take, tap, toArray } from "../src/operators/index.ts";
import type { Group } from "../src/operators/index.ts";
import { poll } from "../src/poll.ts";
import { DONE, Feed, item, PolledFeed, TestClock, turn } from "./operators-sources.ts";

const error = new Error("no luck");
const never = new Promise<never>(() => {});
const kinds = { "a source that is awaited": Feed, "a source that is polled": PolledFeed };

/** A generator that is parked in an await from its first `next()` on, and cannot close. */
function parkedGenerator(): { generator: AsyncGenerator<number>; whenParked: Promise<void> } {
  let parked = () => {};
  const whenParked = new Promise<void>((resolve) => (parked = resolve));
  const generator = (async function* (): AsyncGenerator<number> {
    parked();
    yield await never;
  })();
  return { generator, whenParked };
}

describe.each(Object.entries(kinds))("%s", (_, Kind) => {
  describe("merge", () => {
    test("gives items as they arrive, and ends when all have ended", async () => {
      const [a, b] = [new Kind<string>(), new Kind<string>()];
      const out: string[] = [];
      const pipeline = merge(a, b);
      const reading = (async () => {
        for await (const text of pipeline) out.push(text);
        out.push("end");
      })();
      for (const [feed, text] of [
        [b, "b1"],
        [a, "a1"],
        [a, "a2"],
        [b, "b2"],
      ] as const) {
        feed.push(text);
        await turn();
      }
      a.end();
      await turn();
      b.push("b3");
      await turn();
      b.end();
      await reading;
      expect(out).toEqual(["b1", "a1", "a2", "b2", "b3", "end"]);
      expect([a.closed, b.closed]).toEqual([0, 0]);
    });

    test("lets sources that have items take turns", async () => {
      const out = await pipe(merge(Kind.of(1, 2, 3), Kind.of(10, 20, 30), Kind.of(100)), toArray());
      expect(out).toEqual([1, 10, 100, 2, 20, 3, 30]);
    });

    test("of no sources ends at once", async () => {
      expect(await merge().next()).toEqual(DONE);
    });

    test("closes all sources at once when the consumer leaves while all are parked", async () => {
      const feeds = [new Kind<number>(), new Kind<number>(), new Kind<number>()];
      const pipeline = merge(...feeds);
      const next = pipeline.next();
      for (const feed of feeds) await feed.whenParked();
      const left = pipeline.return();
      expect(feeds.map(({ closed }) => closed)).toEqual([1, 1, 1]);
      expect(await next).toEqual(DONE);
      expect(await left).toEqual(DONE);
    });

    test("closes all others at the first error, the one that failed not, and throws after what came before", async () => {
      const [a, b, c] = [new Kind<number>(), new Kind<number>(), new Kind<number>()];
      const pipeline = merge(a, b, c);
      const next = pipeline.next();
      for (const feed of [a, b, c]) await feed.whenParked();
      a.push(1);
      b.fail(error);
      expect(await next).toEqual(item(1));
      await expect(pipeline.next()).rejects.toBe(error);
      expect([a.closed, b.closed, c.closed]).toEqual([1, 0, 1]);
      expect(await pipeline.next()).toEqual(DONE);
      expect(await pipeline.return()).toEqual(DONE);
    });

    test("throws an error even if closing the others fails, and closes all of them", async () => {
      const [a, b, c] = [new Kind<number>(), new Kind([1]), new Kind<number>()];
      a.fail(error);
      for (const feed of [b, c])
        feed.return = () => {
          feed.closed++;
          return Promise.reject(new Error("closing failed"));
        };
      await expect(pipe(merge(a, b, c), toArray())).rejects.toBe(error);
      expect([a.closed, b.closed, c.closed]).toEqual([0, 1, 1]);
    });

    test("closes all even if one cannot be closed, and throws why", async () => {
      const [a, b] = [new Kind([1]), new Kind([2, 3])];
      a.return = () => Promise.reject(error);
      const pipeline = merge(b, a);
      expect(await pipeline.next()).toEqual(item(2));
      await turn();
      await expect(pipeline.return()).rejects.toBe(error);
      expect(b.closed).toBe(1);
    });

    test("settles when one is an async generator that is parked in await", async () => {
      const { generator, whenParked } = parkedGenerator();
      const feed = new Kind<number>();
      const pipeline = merge(feed, generator);
      const next = pipeline.next();
      await whenParked;
      expect(await pipeline.return()).toEqual(DONE);
      expect(await next).toEqual(DONE);
      expect(feed.closed).toBe(1);
    });

    test("settles with the error of one while another is parked in await and cannot close", async () => {
      const { generator, whenParked } = parkedGenerator();
      const feed = new Kind<number>();
      const next = merge(generator, feed).next();
      await whenParked;
      feed.fail(error);
      await expect(next).rejects.toBe(error);
    });

    test("holds no more than one item of a source that is not wanted as yet", async () => {
      const [a, b] = [new Kind([1, 2, 3]), new Kind([10, 20, 30])];
      const pipeline = merge(a, b);
      await pipeline.next();
      await turn();
      expect(a.buffer.length + b.buffer.length).toBeGreaterThanOrEqual(4);
    });

    test("gives all items of all sources, each in its order", async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(fc.nat(9), { maxLength: 6 }), { maxLength: 4 }),
          fc.array(fc.nat(3), { maxLength: 30 }),
          async (lists, schedule) => {
            const feeds = lists.map((_, n) =>
              n % 2 === 0 ? new Kind<[number, number]>() : new Feed<[number, number]>(),
            );
            const reading = pipe(merge(...feeds), toArray());
            const left = lists.map((list) => [...list]);
            for (const n of schedule) {
              const value = left[n]?.shift();
              if (value === undefined) continue;
              feeds[n]?.push([n, value]);
              if (value % 2 === 0) await turn();
            }
            feeds.forEach((feed, n) => {
              feed.push(...(left[n] ?? []).map((value): [number, number] => [n, value]));
              feed.end();
            });
            const out = await reading;
            lists.forEach((list, n) => {
              expect(out.filter(([from]) => from === n).map(([, value]) => value)).toEqual(list);
            });
          },
        ),
      );
    });
  });

  describe("join", () => {
    type Left = { id: string; l: number };
    type Right = { id: string; r: number };
    const joined = (within: { count?: number; time?: number }) => {
      const clock = new TestClock();
      const [lefts, rights] = [new Kind<Left>(), new Kind<Right>()];
      const out: string[] = [];
      const pipeline = pipe(
        lefts,
        join(rights, { key: (item: Left) => item.id, otherKey: (item: Right) => item.id, within, clock }),
        map(([{ id, l }, { r }]) => `${id}${l}${r}`),
      );
      const reading = (async () => {
        for await (const pair of pipeline) out.push(pair);
      })();
      const left = async (id: string, l: number) => (lefts.push({ id, l }), turn());
      const right = async (id: string, r: number) => (rights.push({ id, r }), turn());
      return { clock, lefts, rights, left, right, out, reading, pipeline };
    };

    test("pairs items with equal keys, whichever comes first, left before right", async () => {
      const { left, right, out, lefts, rights, reading } = joined({ count: 10 });
      await turn();
      await left("a", 1);
      await right("b", 1);
      await right("a", 2);
      await left("b", 3);
      await left("c", 4);
      lefts.end();
      await turn();
      await right("c", 5);
      rights.end();
      await reading;
      expect(out).toEqual(["a12", "b31", "c45"]);
    });

    test("pairs an item with all that are remembered of the other side, the oldest first", async () => {
      const { left, right, out } = joined({ count: 10 });
      await left("a", 1);
      await left("a", 2);
      await right("a", 3);
      await right("a", 4);
      expect(out).toEqual(["a13", "a23", "a14", "a24"]);
    });

    test("remembers so many items of each side", async () => {
      const { left, right, out } = joined({ count: 2 });
      await left("a", 1);
      await left("a", 2);
      await left("b", 3);
      await right("a", 4);
      await right("b", 5);
      expect(out).toEqual(["a24", "b35"]);
      await right("x", 6);
      await right("x", 7);
      await left("a", 8);
      expect(out.length).toBe(2);
    });

    test("remembers items for a time, to the millisecond", async () => {
      const { left, right, out, clock } = joined({ time: 100 });
      await left("a", 1);
      await left("b", 2);
      clock.time = 100;
      await right("a", 3);
      clock.time = 101;
      await right("b", 4);
      await left("b", 5);
      expect(out).toEqual(["a13", "b54"]);
    });

    test("remembers at most 1,024 items of a side if only a time is given", async () => {
      const { lefts, right, out } = joined({ time: 100 });
      lefts.push({ id: "a", l: 1 }, ...Array.from({ length: 1023 }, (_, l) => ({ id: "b", l })));
      await turn();
      await right("a", 2);
      expect(out).toEqual(["a12"]);
      lefts.push({ id: "c", l: 0 });
      await turn();
      await right("a", 3);
      expect(out).toEqual(["a12"]);
    });

    test("takes another key of the other side", async () => {
      const out = pipe(
        PolledFeed.of({ id: 1 }),
        join(PolledFeed.of({ order: 1 }, { order: 2 }), {
          key: (left) => left.id,
          otherKey: (right) => right.order,
          within: { count: 5 },
        }),
        toArray(),
      );
      expect(await out).toEqual([[{ id: 1 }, { order: 1 }]]);
    });

    test("closes both sources when the consumer returns while they are parked", async () => {
      const { lefts, rights, pipeline, reading } = joined({ count: 1 });
      await lefts.whenParked();
      await rights.whenParked();
      const left = pipeline.return();
      expect([lefts.closed, rights.closed]).toEqual([1, 1]);
      expect(await left).toEqual(DONE);
      await reading;
    });

    test("closes the other source when one fails, and both when a key function throws", async () => {
      const first = joined({ count: 1 });
      await turn();
      first.rights.fail(error);
      await expect(first.reading).rejects.toBe(error);
      expect([first.lefts.closed, first.rights.closed]).toEqual([1, 0]);

      const [lefts, rights] = [new Kind([1]), new Kind<number>()];
      const key = (): number => {
        throw error;
      };
      await expect(pipe(lefts, join(rights, { key, within: { count: 1 } })).next()).rejects.toBe(error);
      expect([lefts.closed, rights.closed]).toEqual([1, 1]);
    });

    test("closes both sources when a stage has enough", async () => {
      const [lefts, rights] = [new Kind([1, 2]), new Kind([1, 2])];
      const pairs = join(rights, { key: (n: number) => n, within: { count: 5 } });
      expect(await pipe(lefts, pairs, take(1), toArray())).toEqual([[1, 1]]);
      expect([lefts.closed, rights.closed]).toEqual([1, 1]);
    });

    test("gives the pairs that two loops over all items give", async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.boolean(), fc.nat(3)), { maxLength: 25 }),
          fc.integer({ min: 1, max: 4 }),
          async (arrivals, count) => {
            const [lefts, rights] = [new Kind<[number, number]>(), new Kind<[number, number]>()];
            const pairs = join(rights, { key: ([key]: [number, number]) => key, within: { count } });
            const reading = pipe(
              lefts,
              pairs,
              map(([left, right]) => [left[1], right[1]]),
              toArray(),
            );
            for (const [at, [isLeft, key]] of arrivals.entries()) {
              (isLeft ? lefts : rights).push([key, at]);
              await turn();
            }
            lefts.end();
            rights.end();
            const expected = arrivals.flatMap(([isLeft, key], at) =>
              [...arrivals.entries()]
                .slice(0, at)
                .filter(([, [other]]) => other !== isLeft)
                .slice(-count)
                .filter(([, [, otherKey]]) => otherKey === key)
                .map(([otherAt]) => (isLeft ? [at, otherAt] : [otherAt, at])),
            );
            expect(await reading).toEqual(expected);
          },
        ),
        { numRuns: 60 },
      );
    });
  });

  describe("groupBy", () => {
    const parity = (n: number) => (n % 2 === 0 ? "even" : "odd");

    test("gives each key that is new with the items that have it, in order", async () => {
      const out: Record<string, number[]> = {};
      const reading: Promise<void>[] = [];
      for await (const [key, group] of pipe(Kind.of(1, 2, 3, 4, 5), groupBy(parity)))
        reading.push(pipe(group, toArray()).then((items) => void (out[key] = items)));
      await Promise.all(reading);
      expect(out).toEqual({ odd: [1, 3, 5], even: [2, 4] });
    });

    test("compares keys as a Map does, counts from 0, and waits for the promise of a key", async () => {
      const keys = await pipe(
        Kind.of(1, 2, 3, 4),
        groupBy((n, index) => (index === 0 ? Promise.resolve(Number.NaN) : n > 3 ? "high" : Number.NaN)),
        map(([key]) => key),
        toArray(),
      );
      expect(keys).toEqual([Number.NaN, "high"]);
    });

    test("does not block when one group alone is awaited: what is for others is held for them", async () => {
      const feed = new Kind<number>();
      const groups = pipe(feed, groupBy(parity));
      feed.push(1);
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      expect(await odd.next()).toEqual(item(1));
      const next = odd.next();
      for (const n of [2, 4, 6, 3]) {
        await feed.whenParked();
        feed.push(n);
      }
      expect(await next).toEqual(item(3));
      const [key, even] = (await groups.next()).value as [string, Group<number>];
      expect(key).toBe("even");
      expect([await even.next(), await even.next(), await even.next()]).toEqual([item(2), item(4), item(6)]);
    });

    test("reads nothing while nobody waits", async () => {
      const feed = new Kind([1, 3, 5]);
      const groups = pipe(feed, groupBy(parity));
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      await turn();
      expect(feed.buffer).toEqual([3, 5]);
      expect(await odd.next()).toEqual(item(1));
      await turn();
      expect(feed.buffer).toEqual([3, 5]);
    });

    test("answers concurrent calls of a group's next() in order", async () => {
      const feed = new Kind<number>();
      const groups = pipe(feed, groupBy(parity));
      feed.push(1);
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      await odd.next();
      const calls = [odd.next(), odd.next(), odd.next()];
      feed.push(3, 2, 5);
      feed.end();
      expect(await Promise.all(calls)).toEqual([item(3), item(5), DONE]);
    });

    test("discards what a group holds when its consumer leaves; the next item with its key begins a new group", async () => {
      const feed = new Kind<number>();
      const groups = pipe(feed, groupBy(parity));
      feed.push(1);
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      feed.push(3, 2);
      const [, even] = (await groups.next()).value as [string, Group<number>];
      for await (const n of odd) {
        expect(n).toBe(1);
        break;
      }
      expect(await odd.next()).toEqual(DONE);
      feed.push(5);
      const [key, again] = (await groups.next()).value as [string, Group<number>];
      expect(key).toBe("odd");
      expect(await again.next()).toEqual(item(5));
      expect(await even.next()).toEqual(item(2));
      expect(feed.closed).toBe(0);
    });

    test("settles a group's parked next() when the group is left, and goes on for the others", async () => {
      const feed = new Kind([1]);
      const groups = pipe(feed, groupBy(parity));
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      await odd.next();
      const next = odd.next();
      await feed.whenParked();
      await odd[Symbol.asyncDispose]();
      expect(await next).toEqual(DONE);
      const other = groups.next();
      feed.push(2);
      expect((await other).value?.[0]).toBe("even");
    });

    test("closes its source when the groups are left; groups give what they hold, then end", async () => {
      const feed = new Kind<number>();
      const groups = pipe(feed, groupBy(parity));
      feed.push(1);
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      feed.push(3, 2);
      const [, even] = (await groups.next()).value as [string, Group<number>];
      await even.next();
      const parked = even.next();
      await feed.whenParked();
      const left = groups.return();
      expect(feed.closed).toBe(1);
      expect(await left).toEqual(DONE);
      expect(await parked).toEqual(DONE);
      expect([await odd.next(), await odd.next(), await odd.next()]).toEqual([item(1), item(3), DONE]);
      expect(await odd.return()).toEqual(DONE);
      expect(feed.closed).toBe(1);
    });

    test("throws an error of its source to the groups and to each group, after what they hold", async () => {
      const feed = new Kind([1, 2, 3]);
      feed.fail(error);
      const groups = pipe(feed, groupBy(parity));
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      const [, even] = (await groups.next()).value as [string, Group<number>];
      await expect(groups.next()).rejects.toBe(error);
      expect(await groups.next()).toEqual(DONE);
      expect([await odd.next(), await odd.next()]).toEqual([item(1), item(3)]);
      await expect(odd.next()).rejects.toBe(error);
      expect(await odd.next()).toEqual(DONE);
      expect(await even.next()).toEqual(item(2));
      expect(await even.return()).toEqual(DONE);
      expect(await even.next()).toEqual(DONE);
      expect(feed.closed).toBe(0);
    });

    test("throws the error of a key function to whoever waits, and closes its source", async () => {
      const feed = new Kind<number>();
      const key = (n: number) => {
        if (n === 2) throw error;
        return n;
      };
      const groups = pipe(feed, groupBy(key));
      feed.push(1);
      const [, one] = (await groups.next()).value as [number, Group<number>];
      await one.next();
      const next = one.next();
      await feed.whenParked();
      feed.push(2);
      await expect(next).rejects.toBe(error);
      expect(feed.closed).toBe(1);
      await expect(groups.next()).rejects.toBe(error);
    });

    test("closes its source and throws OVERFLOW when a group's buffer is full, after what is held", async () => {
      const feed = new Kind([1, 2, 3, 5, 7]);
      const groups = pipe(feed, groupBy(parity, { buffer: { limit: 2 } }));
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      const [, even] = (await groups.next()).value as [string, Group<number>];
      await expect(groups.next()).rejects.toMatchObject({ code: "OVERFLOW" });
      expect(feed.closed).toBe(1);
      expect([await odd.next(), await odd.next()]).toEqual([item(1), item(3)]);
      await expect(odd.next()).rejects.toMatchObject({ code: "OVERFLOW" });
      expect(await even.next()).toEqual(item(2));
      await expect(even.next()).rejects.toMatchObject({ code: "OVERFLOW" });
    });

    test.each([
      ["drop-oldest", [5, 7]],
      ["drop-newest", [1, 3]],
    ] as const)("with %s counts what a full buffer drops", async (overflow, kept) => {
      const feed = Kind.of(1, 3, 2, 5, 7);
      const groups = pipe(feed, groupBy(parity, { buffer: { limit: 2, overflow } }));
      const [, odd] = (await groups.next()).value as [string, Group<number>];
      await groups.next();
      expect(await groups.next()).toEqual(DONE);
      expect(odd.dropped).toBe(2);
      expect(await pipe(odd, toArray())).toEqual(kept);
    });

    test("throws OVERFLOW when there are too many groups, of which those that were left do not count", async () => {
      const feed = new Kind<number>();
      const groups = pipe(
        feed,
        groupBy((n) => n, { maxGroups: 2 }),
      );
      feed.push(1, 2);
      const [, one] = (await groups.next()).value as [number, Group<number>];
      await groups.next();
      await one.return();
      feed.push(3);
      expect((await groups.next()).value?.[0]).toBe(3);
      feed.push(4);
      await expect(groups.next()).rejects.toMatchObject({ code: "OVERFLOW" });
      expect(feed.closed).toBe(1);
    });

    test("settles all when an async generator is parked in await and cannot close", async () => {
      const { generator, whenParked } = parkedGenerator();
      const groups = pipe(generator, groupBy(parity));
      const next = groups.next();
      await whenParked;
      expect(await groups.return()).toEqual(DONE);
      expect(await next).toEqual(DONE);
    });

    test("loses nothing and mixes nothing, however the groups are read", async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(fc.nat(20), { maxLength: 6 }), { maxLength: 6 }),
          fc.integer({ min: 1, max: 4 }),
          async (chunks, count) => {
            const feed = new Kind<number>();
            const out = new Map<number, number[]>();
            const reading = (async () => {
              const inner: Promise<void>[] = [];
              for await (const [key, group] of pipe(
                feed,
                groupBy((n) => n % count),
              )) {
                const list: number[] = [];
                expect(out.has(key)).toBe(false);
                out.set(key, list);
                inner.push(
                  (async () => {
                    for await (const n of group) {
                      list.push(n);
                      if (n % 3 === 0) await turn();
                    }
                  })(),
                );
              }
              await Promise.all(inner);
            })();
            for (const chunk of chunks) {
              feed.push(...chunk);
              await turn();
            }
            feed.end();
            await reading;
            const all = chunks.flat();
            for (const [key, list] of out) expect(list).toEqual(all.filter((n) => n % count === key));
            expect(new Set(out.keys())).toEqual(new Set(all.map((n) => n % count)));
          },
        ),
      );
    });
  });
});

test("merge asks a source that is awaited also while another has items without end", async () => {
  const busy = new PolledFeed(Array.from({ length: 1000 }, (_, n) => n));
  const quiet = new Feed([-1]);
  const out = await pipe(merge(busy, quiet), take(10), toArray());
  expect(out.length).toBe(10);
  const at: number[] = [];
  const rest = merge(new PolledFeed(Array.from({ length: 1000 }, (_, n) => n)), new Feed([-1]));
  for await (const n of rest) {
    at.push(n);
    if (n === -1) break;
  }
  expect(at.length).toBeLessThan(20);
});

test("merge of sources that can be polled is polled itself, in turns", () => {
  const pipeline = pipe(
    merge(new PolledFeed([1, 3]), new PolledFeed([2, 4])),
    map((n) => n * 10),
  );
  expect([pipeline[poll](), pipeline[poll](), pipeline[poll](), pipeline[poll]()]).toEqual([10, 20, 30, 40]);
});

test("groups can be polled, and read with the stages of a pipe", async () => {
  const feed = new PolledFeed([1, 2, 3, 4, 5]);
  const groups = pipe(
    feed,
    tap(() => {}),
    groupBy((n) => n % 2),
  );
  const [, odd] = groups[poll]() as [number, Group<number>];
  const pipeline = pipe(
    odd,
    filter((n) => n > 1),
    batch(2),
  );
  expect(pipeline[poll]()).toEqual([3, 5]);
  expect(feed.asked).toBe(0);
  await groups.return();
});
