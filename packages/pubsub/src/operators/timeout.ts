import { PubSubError } from "../errors.ts";
import { poll } from "../poll.ts";
import type { Pollable } from "../poll.ts";
import { needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { closeAll, open } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

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
  return (source) => {
    const inner = open(source);
    let timer: unknown;
    const iterator: AsyncIterableIterator<T, undefined> & Pollable<T> = {
      next: () =>
        new Promise((resolve) => {
          timer = clock.setTimeout(() => {
            // Closes the source although it is parked, and is not done before this promise has failed.
            const error = new PubSubError(
              "TIMEOUT",
              `No item came within ${ms} milliseconds. The source was closed: open a new one, or allow more time.`,
            );
            resolve(Promise.reject(error));
            void closeAll([inner], true);
          }, ms);
          const settle = (result: typeof pending): void => {
            clock.clearTimeout(timer);
            resolve(result);
          };
          const pending = inner.next();
          pending.then(
            () => settle(pending),
            () => settle(pending),
          );
        }),
      [poll]: () => inner[poll](),
      return() {
        clock.clearTimeout(timer);
        return inner.return();
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
    return open(iterator);
  };
}
