import { NOTHING } from "../poll.ts";
import { needCount, needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/** What a window shows, and how often. At least one of `count` and `time` is needed. */
export interface WindowOptions {
  /** Items. By default as many as came within `time`. */
  readonly count?: number;
  /** Milliseconds: a window leaves out what was read longer than that before its last item. No limit by default. */
  readonly time?: number;
  /** Items from one window to the next. Default 1: a window slides. With `every` equal to `count` windows do not overlap. */
  readonly every?: number;
  /** Replaces the real clock, for tests. */
  readonly clock?: Clock;
}

/**
 * Gives arrays that look back: the last `count` items, those of the last `time` milliseconds, or what is in both.
 *
 * By count, the first window is given when it is full, and then one after each `every` items; what is left when the source
 * ends or fails and was in no window is given as a last, shorter one. By time alone, one is given after each `every` items,
 * whatever it holds. A window is only ever given for an item: for arrays that time alone finishes there is `batch`.
 *
 * @throws RangeError when `count` or `every` is not a whole number from 1, or `time` not a number from 0 to 2,147,483,647
 * @throws TypeError when neither `count` nor `time` is given
 * @example
 * const averages = pipe(temperatures, window({ count: 5 }), map((last) => last.reduce((sum, t) => sum + t) / last.length));
 */
export function window<T>(options: WindowOptions): Operator<T, T[]> {
  const { count, time, every = 1, clock = realClock } = options;
  if (count === undefined && time === undefined) throw new TypeError("window() needs a count, a time, or both.");
  needCount("window", count);
  needCount("window", every, "every");
  needTime("window", time);
  const limit = count ?? Infinity;

  return (source) =>
    fuse<T, T[]>(source, (next, run) => {
      // What may still be in a window begins at `start`; what is before it is removed now and then, not one by one.
      const items: T[] = [];
      const times: number[] = [];
      let start = 0;
      let wait = count ?? every;
      let fresh = 0;
      run.ends.push(() => {
        // Of the window that would be next, what has come. Nothing if all of it was in the one before.
        const size = Math.min(limit - wait, items.length - start);
        return fresh > 0 && size > 0 ? next(items.slice(-size)) : NOTHING;
      });
      return (item) => {
        items.push(item);
        fresh++;
        if (items.length - start > limit) start++;
        if (time !== undefined) {
          const now = clock.now();
          times.push(now);
          while ((times[start] as number) < now - time) start++;
        }
        if (start * 2 > items.length) {
          items.splice(0, start);
          if (time !== undefined) times.splice(0, start);
          start = 0;
        }
        if (--wait > 0) return NOTHING;
        wait = every;
        fresh = 0;
        return next(items.slice(start));
      };
    });
}
