import { needFunction } from "./check.ts";
import { fuse, isPromise, later } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/**
 * Replaces each item by what the function makes of it.
 *
 * The function gets the item and its index from 0. It may return a promise: its value is handed on when it has settled,
 * and the next item is read after that, so that the order stays. What it throws closes the source and is thrown by the
 * pipeline.
 *
 * @throws TypeError when `fn` is no function
 * @example
 * const statuses = pipe(events, map((event) => event.payload.status));
 */
export function map<In, Out>(fn: (item: In, index: number) => Out): Operator<In, Awaited<Out>> {
  needFunction("map", fn);
  return (source) =>
    fuse<In, Awaited<Out>>(source, (next, run) => {
      let index = 0;
      return (item) => {
        const value = fn(item, index++) as Awaited<Out> | PromiseLike<Awaited<Out>>;
        return isPromise(value) ? later(run, value, next) : next(value);
      };
    });
}
