import { open } from "./fuse.ts";
import type { Operator } from "./fuse.ts";
import { map } from "./map.ts";
import { iterate, nest } from "./nest.ts";

/**
 * Replaces each item by the items that the function makes of it: an iterable, an async iterable, or a promise of one.
 *
 * The function gets the item and its index from 0. What it gives is read as it is asked for, and to its end before the
 * function is called again. What the function or the iterable throws closes the source and is thrown by the pipeline; so
 * is a TypeError for what is not iterable. A string is not: `[text]` gives it whole, `text.split("")` its letters.
 *
 * @throws TypeError when `fn` is no function
 * @example
 * const lines = pipe(files, flatMap((event) => event.payload.text.split("\n")));
 */
export function flatMap<In, Out>(
  fn: (item: In, index: number) => AsyncIterable<Out> | Iterable<Out> | PromiseLike<AsyncIterable<Out> | Iterable<Out>>,
): Operator<In, Awaited<Out>> {
  const mapped = map(fn);
  return (source) =>
    nest(mapped(source), (value, level) => {
      if (level > 1) return undefined;
      const inner = iterate(value);
      if (inner !== undefined) return inner;
      // As in the standard, an iterator will do.
      if (typeof (value as { next?: unknown } | null | undefined)?.next === "function")
        return open({ [Symbol.asyncIterator]: () => value as AsyncIterator<unknown> });
      throw new TypeError("The function of flatMap() must give something iterable, and no string.");
    });
}
