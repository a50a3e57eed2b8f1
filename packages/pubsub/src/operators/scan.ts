import { needFunction } from "./check.ts";
import { fuse, isPromise, later } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/**
 * Makes one value of all items so far, as `reduce` does, and gives that value for each item.
 *
 * Without an initial value the first item is the initial value, and is given as it is; an initial value itself is not given.
 * The function gets the value so far, the item and the item's index from 0. It may return a promise: the next item is
 * read when that has settled. What it throws closes the source and is thrown by the pipeline.
 *
 * @throws TypeError when `fn` is no function
 * @example
 * const totals = pipe(orders, scan((sum, order) => sum + order.payload.amount, 0));
 */
export function scan<T>(fn: (value: T, item: T, index: number) => T | PromiseLike<T>): Operator<T, T>;
export function scan<T, Out>(
  fn: (value: Out, item: T, index: number) => Out | PromiseLike<Out>,
  initial: Out,
): Operator<T, Out>;
export function scan<T>(
  fn: (value: T, item: T, index: number) => T | PromiseLike<T>,
  ...initial: [] | [T]
): Operator<T, T> {
  needFunction("scan", fn);
  return (source) =>
    fuse<T, T>(source, (next, run) => {
      // One place for the value, empty until there is one: `undefined` is a value too.
      const state: T[] = [...initial];
      let index = 0;
      const keep = (value: T): unknown => next((state[0] = value));
      return (item) => {
        const at = index++;
        if (state.length === 0) return keep(item);
        const value = fn(state[0] as T, item, at);
        return isPromise(value) ? later(run, value, keep) : keep(value);
      };
    });
}
