import type { Consumer } from "./fuse.ts";
import { search } from "./search.ts";

/**
 * Tells whether the predicate holds for all items, and closes the source as soon as it does not; true if there is no item.
 *
 * The predicate gets the item and its index from 0, and may return a promise. What it throws closes the source and rejects
 * the result, as an error of the source does.
 *
 * @throws TypeError when `predicate` is no function
 * @example
 * const passed = await pipe(checks, every((check) => check.payload.ok));
 */
export function every<T>(predicate: (item: T, index: number) => unknown): Consumer<T, boolean> {
  return search("every", predicate, false, () => false, true);
}
