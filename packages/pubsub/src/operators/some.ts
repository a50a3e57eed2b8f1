import type { Consumer } from "./fuse.ts";
import { search } from "./search.ts";

/**
 * Tells whether the predicate holds for an item, and closes the source as soon as it does; false if there is no item.
 *
 * The predicate gets the item and its index from 0, and may return a promise. What it throws closes the source and rejects
 * the result, as an error of the source does.
 *
 * @throws TypeError when `predicate` is no function
 * @example
 * const failed = await pipe(events, take(100), some((event) => event.payload.status === "failed"));
 */
export function some<T>(predicate: (item: T, index: number) => unknown): Consumer<T, boolean> {
  return search("some", predicate, true, () => true, false);
}
