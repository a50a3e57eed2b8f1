import { NOTHING } from "../poll.ts";
import { needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";
import { timer } from "./timer.ts";

/**
 * Waits for silence: gives an item when none came for `ms` milliseconds after it, and leaves out those before it.
 *
 * The item that is held when the source ends or fails is given at once. Items are read only while the consumer asks;
 * meanwhile they wait in the source.
 * `clock` replaces the real clock, for tests.
 *
 * @throws RangeError when `ms` is not a number from 0 to 2,147,483,647
 * @example
 * for await (const { payload } of pipe(edits, debounce(300))) await save(payload);
 */
export function debounce<T>(ms: number, options: { readonly clock?: Clock } = {}): Operator<T, T> {
  const { clock = realClock } = options;
  needTime("debounce", ms);
  return (source) =>
    fuse<T, T>(
      source,
      (next, run) => {
        let held: T | typeof NOTHING = NOTHING;
        const flush = (): unknown => {
          const item = held;
          held = NOTHING;
          return item === NOTHING ? NOTHING : next(item);
        };
        const alarm = timer(clock, run, flush);
        run.ends.push(flush);
        return (item) => {
          // A source that always has an item at once lets no timer fire.
          const silent = held !== NOTHING && clock.now() >= alarm.until;
          const out = held;
          held = item;
          alarm.set(ms);
          return silent ? next(out as T) : NOTHING;
        };
      },
      true,
    );
}
