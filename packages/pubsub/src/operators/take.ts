import { NOTHING } from "../poll.ts";
import { needLimit } from "./check.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/**
 * Ends after the first `limit` items.
 *
 * The source is closed as soon as the last of them is delivered: it is not asked for another item, which might never
 * come. `take(0)` closes it without reading; `Infinity` takes all. A fraction is cut off.
 *
 * @throws RangeError when `limit` is negative or not a number
 * @example
 * for await (const event of pipe(events, take(3))) console.log(event.payload);
 */
export function take<T>(limit: number): Operator<T, T> {
  const whole = needLimit("take", limit);
  return (source) =>
    fuse<T, T>(source, (next, run) => {
      let left = whole;
      // Made from the last stage to the first, so these are the stages after this one: what those before it may still
      // hold is wanted no more once this one has all it takes.
      const later = run.ends.length;
      if (left === 0) run.over = true;
      return (item) => {
        if (--left > 0) return next(item);
        if (left < 0) return NOTHING;
        run.ends.length = later;
        run.over = true;
        return next(item);
      };
    });
}
