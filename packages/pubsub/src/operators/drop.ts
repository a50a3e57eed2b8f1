import { NOTHING } from "../poll.ts";
import { needLimit } from "./check.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/**
 * Leaves out the first `limit` items.
 *
 * They are read when the first item after them is asked for. `Infinity` reads the source to its end and gives nothing. A
 * fraction is cut off.
 *
 * @throws RangeError when `limit` is negative or not a number
 * @example
 * for await (const line of pipe(lines, drop(1))) await importRow(line);
 */
export function drop<T>(limit: number): Operator<T, T> {
  const whole = needLimit("drop", limit);
  return (source) =>
    fuse<T, T>(source, (next) => {
      let left = whole;
      return (item) => (left > 0 ? (left--, NOTHING) : next(item));
    });
}
