import { NOTHING } from "../poll.ts";
import { needFunction } from "./check.ts";
import { consume, isPromise, later } from "./fuse.ts";
import type { Consumer } from "./fuse.ts";

/**
 * Reads all items and makes one value of them; without an initial value the first item is the initial value.
 *
 * The function gets the value so far, the item and the item's index from 0. It may return a promise: the next item is
 * read when that has settled. What it throws closes the source and rejects the result, as an error of the source does.
 *
 * @throws TypeError when `fn` is no function
 * @throws TypeError by way of the promise, when there is neither an item nor an initial value
 * @example
 * const total = await pipe(orders, take(100), reduce((sum, order) => sum + order.payload.amount, 0));
 */
export function reduce<T>(fn: (value: T, item: T, index: number) => T | PromiseLike<T>): Consumer<T, T>;
export function reduce<T, Out>(
  fn: (value: Out, item: T, index: number) => Out | PromiseLike<Out>,
  initial: Out,
): Consumer<T, Out>;
export function reduce<T>(
  fn: (value: T, item: T, index: number) => T | PromiseLike<T>,
  ...initial: [] | [T]
): Consumer<T, T> {
  needFunction("reduce", fn);
  return (source) => {
    // One place for the value, empty until there is one: `undefined` is a value too.
    const state: T[] = [...initial];
    let index = 0;
    const keep = (value: T): typeof NOTHING => {
      state[0] = value;
      return NOTHING;
    };
    return consume<T, T>(
      source,
      (_, run) => (item) => {
        const at = index++;
        if (state.length === 0) return keep(item);
        const value = fn(state[0] as T, item, at);
        return isPromise(value) ? later(run, value, keep) : keep(value);
      },
      () => {
        if (state.length === 0) throw new TypeError("reduce() of no items needs an initial value.");
        return state[0] as T;
      },
    );
  };
}
