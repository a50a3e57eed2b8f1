import { NOTHING } from "../poll.ts";
import { needFunction } from "./check.ts";
import { consume, isPromise, later } from "./fuse.ts";
import type { Consumer } from "./fuse.ts";

/**
 * Calls a function with each item and its index from 0, and resolves when the source has ended.
 *
 * The function may return a promise: the next item is read when that has settled. What it throws closes the source and
 * rejects the result, as an error of the source does.
 *
 * @throws TypeError when `fn` is no function
 * @example
 * await pipe(events, filter(wanted), forEach((event) => save(event.payload)));
 */
export function forEach<T>(fn: (item: T, index: number) => unknown): Consumer<T, void> {
  needFunction("forEach", fn);
  return (source) => {
    let index = 0;
    const nothing = (): typeof NOTHING => NOTHING;
    return consume<T, void>(
      source,
      (_, run) => (item) => {
        const result = fn(item, index++);
        return isPromise(result) ? later(run, result, nothing) : NOTHING;
      },
      () => {},
    );
  };
}
