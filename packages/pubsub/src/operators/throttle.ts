import { NOTHING } from "../poll.ts";
import { needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";
import { timer } from "./timer.ts";

/** Which items of an interval are given. At least one of `leading` and `trailing` is needed. */
export interface ThrottleOptions {
  /** The first, at once. Default true. */
  readonly leading?: boolean;
  /** The last, when the interval is over. Default true, so that the last item of all is never missed. */
  readonly trailing?: boolean;
  /** Replaces the real clock, for tests. */
  readonly clock?: Clock;
}

/**
 * Gives at most one item each `ms` milliseconds, and leaves out the others.
 *
 * An interval begins with an item that comes when none is running: that is its first item. If the last item of an interval
 * is given, at its end, the next interval begins there. What is held when the source ends or fails is given at once. Items
 * are read only while the consumer asks; meanwhile they wait in the source.
 *
 * @throws RangeError when `ms` is not a number from 0 to 2,147,483,647
 * @throws TypeError when neither the first nor the last is to be given
 * @example
 * for await (const { payload } of pipe(positions, throttle(100))) draw(payload);
 */
export function throttle<T>(ms: number, options: ThrottleOptions = {}): Operator<T, T> {
  const { leading = true, trailing = true, clock = realClock } = options;
  needTime("throttle", ms);
  if (!leading && !trailing) throw new TypeError("throttle() needs leading, trailing, or both.");
  return (source) =>
    fuse<T, T>(
      source,
      (next, run) => {
        let until = -Infinity;
        if (!trailing)
          return (item) => {
            const now = clock.now();
            if (now < until) return NOTHING;
            until = now + ms;
            return next(item);
          };

        let held: T | typeof NOTHING = NOTHING;
        const flush = (): unknown => {
          if (held === NOTHING) return NOTHING;
          const item = held;
          held = NOTHING;
          until = clock.now() + ms;
          return next(item);
        };
        const alarm = timer(clock, run, flush);
        run.ends.push(flush);
        return (item) => {
          const now = clock.now();
          const begins = now >= until;
          if (begins && held === NOTHING) {
            until = now + ms;
            if (leading) return next(item);
          }
          // A source that always has an item at once lets no timer fire: this item is the first of the next interval.
          const out = begins ? flush() : NOTHING;
          held = item;
          alarm.set(until - now);
          return out;
        };
      },
      trailing,
    );
}
