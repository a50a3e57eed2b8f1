import { needFunction } from "./check.ts";
import { fuse, isPromise, later } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/**
 * Calls a function with each item and its index from 0, and hands the item on as it is.
 *
 * The function may return a promise: the item is handed on when that has settled. What it throws closes the source and is
 * thrown by the pipeline.
 *
 * @throws TypeError when `fn` is no function
 * @example
 * const counted = pipe(events, tap((event) => counter.add(1, { type: event.type })), filter(wanted));
 */
export function tap<T>(fn: (item: T, index: number) => unknown): Operator<T, T> {
  needFunction("tap", fn);
  return (source) =>
    fuse<T, T>(source, (next, run) => {
      let index = 0;
      return (item) => {
        const result = fn(item, index++);
        return isPromise(result) ? later(run, result, () => next(item)) : next(item);
      };
    });
}
