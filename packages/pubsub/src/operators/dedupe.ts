import { NOTHING } from "../poll.ts";
import { needCount, needFunction, needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/** What a repeat is, and how long it is known to be one. */
export interface DedupeOptions<T> {
  /** What must be equal (as in a Map). The item itself by default. */
  readonly key?: (item: T) => unknown;
  /** Keys that are remembered; one more, and the oldest is forgotten. Default 1,024. */
  readonly size?: number;
  /** Milliseconds for which a key is remembered. As long as `size` permits by default. */
  readonly within?: number;
  /** Replaces the real clock, for tests. */
  readonly clock?: Clock;
}

/**
 * Leaves out items whose key was handed on before, as far as it is remembered.
 *
 * A key is remembered from when its item was handed on; a repeat does not extend that, so that of an item that never
 * stops repeating one comes through each `within`. Remembers `size` keys at most, whatever the time.
 *
 * @throws RangeError when `size` is not a whole number from 1, or `within` not a number from 0 to 2,147,483,647
 * @throws TypeError when `key` is no function
 * @example
 * const once = pipe(events, dedupe({ key: (event) => event.payload.orderId, size: 10_000, within: 60_000 }));
 */
export function dedupe<T>(options: DedupeOptions<T> = {}): Operator<T, T> {
  const { key = (item: T): unknown => item, size = 1024, within, clock = realClock } = options;
  needFunction("dedupe", key);
  needCount("dedupe", size, "size");
  needTime("dedupe", within);
  return (source) =>
    fuse<T, T>(source, (next) => {
      // Since a repeat changes nothing, the order of the keys is that of their times.
      const seen = new Map<unknown, number>();
      // Goes along: what it gave was forgotten, so that the oldest is always the next. A new one would have to pass the
      // holes that those before have left.
      const oldest = seen.keys();
      return (item) => {
        const value = key(item);
        const now = within === undefined ? 0 : clock.now();
        const at = seen.get(value);
        if (at !== undefined) {
          if (within === undefined || now - at < within) return NOTHING;
          seen.delete(value);
        } else if (seen.size >= size) seen.delete(oldest.next().value);
        seen.set(value, now);
        return next(item);
      };
    });
}
