// What operators hold on to while their source goes on. Counts the items that the collector cannot have.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import {
  batch,
  chain,
  debounce,
  dedupe,
  drop,
  flat,
  flatMap,
  groupBy,
  join,
  map,
  merge,
  pipe,
  scan,
  tap,
  throttle,
  timeout,
  window,
} from "../src/operators/index.ts";
import { Feed, PolledFeed, TestClock, turn } from "./operators-sources.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

interface Item {
  readonly n: number;
}

/** Gives an operator that holds at most so many items, on a clock that goes a millisecond an item. */
const operators: Record<
  string,
  [most: number, operator: (clock: TestClock) => (source: AsyncIterable<Item>) => AsyncIterable<unknown>]
> = {
  tap: [1, () => tap(() => {})],
  drop: [0, () => drop(Infinity)],
  scan: [1, () => scan((_, item) => item)],
  batch: [10, () => batch(10)],
  "dedupe by size": [10, () => dedupe({ size: 10 })],
  "dedupe by size, of repeats by key": [1, () => dedupe({ key: ({ n }) => n % 2 })],
  "dedupe by size and time": [10, (clock) => dedupe({ size: 10, within: 1, clock })],
  "window by count": [20, () => window({ count: 10 })],
  "window by count that hops": [20, () => window({ count: 10, every: 30 })],
  "window by time": [30, (clock) => window({ time: 10, clock })],
  "window by count and time": [20, (clock) => window({ count: 10, time: 1e6, clock })],
  flat: [
    1,
    () => (source) =>
      pipe(
        source,
        map((item) => [item]),
        flat(),
      ),
  ],
  flatMap: [1, () => flatMap((item) => [item])],
  debounce: [1, (clock) => debounce(10, { clock })],
  throttle: [1, (clock) => throttle(10, { clock })],
  timeout: [1, (clock) => timeout(10, { clock })],
  chain: [1, () => (source) => chain(source)],
  merge: [2, () => (source) => merge(source, new Feed<Item>())],
  "join by count, on the left": [
    10,
    () => join(new PolledFeed<Item>(), { key: ({ n }) => n % 7, within: { count: 10 } }),
  ],
  "join by count, on the right": [
    10,
    () => (source) => pipe(new PolledFeed<Item>(), join(source, { key: ({ n }) => n, within: { count: 10 } })),
  ],
  "groupBy with a group that is not read": [
    10,
    () => groupBy(() => "all", { buffer: { limit: 10, overflow: "drop-oldest" } }),
  ],
  "groupBy with groups that are left": [
    2,
    () => (source) =>
      pipe(
        source,
        groupBy((item) => item.n, { maxGroups: 1 }),
        tap(([, group]) => group.return()),
      ),
  ],
};

describe.each(Object.entries({ "a source that is awaited": Feed, "a source that is polled": PolledFeed }))(
  "%s",
  (_, Kind) => {
    test.each(Object.entries(operators))("%s holds no more than it says", async (_, [most, operator]) => {
      const clock = new TestClock();
      const feed = new Kind<Item>();
      const seen: WeakRef<Item>[] = [];
      const pipeline = operator(clock)(feed)[Symbol.asyncIterator]();
      const read = async () => {
        while ((await pipeline.next()).done !== true);
      };
      const reading = read();
      for (let n = 0; n < 300; n++) {
        const item = { n };
        seen.push(new WeakRef(item));
        feed.push(item);
        clock.advance(1);
        await turn();
      }
      await turn();
      collect();
      // What was handed on last may still be in a result or in a variable of the machine.
      const slack = 3;
      expect(seen.filter((ref) => ref.deref() !== undefined).length).toBeLessThanOrEqual(most + slack);
      await pipeline.return?.();
      await reading;
    });
  },
);
