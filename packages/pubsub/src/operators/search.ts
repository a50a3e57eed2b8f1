import { NOTHING } from "../poll.ts";
import { needFunction } from "./check.ts";
import { consume, isPromise, later } from "./fuse.ts";
import type { Consumer } from "./fuse.ts";

/** What `find`, `some` and `every` share: looks for the first item for which the predicate gives true, or false. */
export function search<T, Out>(
  operator: string,
  predicate: (item: T, index: number) => unknown,
  wanted: boolean,
  found: (item: T) => Out,
  other: Out,
): Consumer<T, Out> {
  needFunction(operator, predicate);
  return (source) => {
    let index = 0;
    let result = other;
    return consume<T, Out>(
      source,
      (_, run) => (item) => {
        const look = (value: unknown): typeof NOTHING => {
          if (Boolean(value) === wanted) {
            result = found(item);
            // What the stages before this one still hold is wanted no more.
            run.ends.length = 0;
            run.over = true;
          }
          return NOTHING;
        };
        const value = predicate(item, index++);
        return isPromise(value) ? later(run, value, look) : look(value);
      },
      () => result,
    );
  };
}
