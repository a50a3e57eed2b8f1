import { NOTHING } from "../poll.ts";
import { needFunction } from "./check.ts";
import { fuse, isPromise, later } from "./fuse.ts";
import type { Operator } from "./fuse.ts";

/**
 * Keeps the items for which the predicate holds; a type guard narrows the items' type.
 *
 * The predicate gets the item and its index from 0. It may return a promise: the next item is looked at when that has
 * settled. What it throws closes the source and is thrown by the pipeline.
 *
 * @throws TypeError when `predicate` is no function
 * @example
 * const busy = pipe(events, filter((event) => event.payload.status === "busy"));
 */
export function filter<In, Out extends In>(predicate: (item: In, index: number) => item is Out): Operator<In, Out>;
export function filter<In>(predicate: (item: In, index: number) => unknown): Operator<In, In>;
export function filter<In>(predicate: (item: In, index: number) => unknown): Operator<In, In> {
  needFunction("filter", predicate);
  return (source) =>
    fuse<In, In>(source, (next, run) => {
      let index = 0;
      return (item) => {
        const keep = predicate(item, index++);
        if (isPromise(keep)) return later(run, keep, (keep) => (keep ? next(item) : NOTHING));
        return keep ? next(item) : NOTHING;
      };
    });
}
