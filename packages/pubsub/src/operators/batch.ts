import { NOTHING } from "../poll.ts";
import { needCount, needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";
import { timer } from "./timer.ts";

/** When a batch is full. At least one of `count` and `time` is needed. */
export interface BatchOptions {
  /** Items. No limit by default. */
  readonly count?: number;
  /** Milliseconds since the first item of the batch was read. No limit by default. */
  readonly time?: number;
  /** Replaces the real clock, for tests. */
  readonly clock?: Clock;
}

/**
 * Gathers items into arrays, by count, by time, or by whichever of them comes first.
 *
 * Arrays are never empty. What is left when the source ends or fails is delivered first. Items are read only while the
 * consumer asks for a batch; meanwhile they wait in the source.
 *
 * @throws RangeError when `count` is not a whole number from 1, or `time` not a number from 0 to 2,147,483,647
 * @throws TypeError when neither is given
 * @example
 * for await (const events of pipe(subscription, batch({ count: 500, time: 200 }))) await insert(events);
 */
export function batch<T>(options: number | BatchOptions): Operator<T, T[]> {
  const { count, time, clock = realClock } = typeof options === "number" ? { count: options } : options;
  if (count === undefined && time === undefined) throw new TypeError("batch() needs a count, a time, or both.");
  needCount("batch", count);
  needTime("batch", time);
  const limit = count ?? Infinity;

  return (source) =>
    fuse<T, T[]>(
      source,
      (next, run) => {
        let items: T[] = [];
        const alarm = time === undefined ? undefined : timer(clock, run, () => flush());
        const flush = (): unknown => {
          alarm?.clear();
          if (items.length === 0) return NOTHING;
          const batch = items;
          items = [];
          return next(batch);
        };
        run.ends.push(flush);
        if (alarm === undefined || time === undefined) return (item) => (items.push(item) < limit ? NOTHING : flush());

        return (item) => {
          const size = items.push(item);
          if (size >= limit) return flush();
          if (size === 1) alarm.set(time);
          // A source that always has an item at once lets no timer fire.
          else if (clock.now() >= alarm.until) return flush();
          return NOTHING;
        };
      },
      time !== undefined,
    );
}
