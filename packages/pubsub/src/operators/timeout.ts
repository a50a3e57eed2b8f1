import { PubSubError } from "../errors.ts";
import { needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { fuse } from "./fuse.ts";
import type { Operator } from "./fuse.ts";
import { timer } from "./timer.ts";

/**
 * Fails when the next item, or the end, takes longer than `ms` milliseconds, and closes the source.
 *
 * The time is that of waiting: it begins when an item is asked for, and does not run while the consumer is busy.
 * `clock` replaces the real clock, for tests.
 *
 * @throws RangeError when `ms` is not a number from 0 to 2,147,483,647
 * @throws PubSubError `TIMEOUT` from `next()`
 * @example
 * for await (const event of pipe(heartbeats, timeout(30_000))) lastSeen = event.payload.at;
 */
export function timeout<T>(ms: number, options: { readonly clock?: Clock } = {}): Operator<T, T> {
  const { clock = realClock } = options;
  needTime("timeout", ms);
  return (source) =>
    fuse<T, T>(
      source,
      (next, run) => {
        const alarm = timer(clock, run, () => {
          throw new PubSubError(
            "TIMEOUT",
            `No item came within ${ms} milliseconds. The source was closed: open a new one, or allow more time.`,
          );
        });
        run.asked = () => alarm.set(ms);
        return (item) => {
          alarm.clear();
          return next(item);
        };
      },
      true,
    );
}
