import type { Consumer } from "./fuse.ts";
import { search } from "./search.ts";

/**
 * Gives the first item for which the predicate holds, and `undefined` if there is none; a type guard narrows its type.
 *
 * The source is closed as soon as the item is found. The predicate gets the item and its index from 0, and may return a
 * promise. What it throws closes the source and rejects the result, as an error of the source does.
 *
 * @throws TypeError when `predicate` is no function
 * @example
 * const failure = await pipe(events, find((event) => event.payload.status === "failed"));
 */
export function find<In, Out extends In>(
  predicate: (item: In, index: number) => item is Out,
): Consumer<In, Out | undefined>;
export function find<In>(predicate: (item: In, index: number) => unknown): Consumer<In, In | undefined>;
export function find<In>(predicate: (item: In, index: number) => unknown): Consumer<In, In | undefined> {
  return search<In, In | undefined>("find", predicate, true, (item) => item, undefined);
}
