import { NOTHING } from "../poll.ts";
import { consume } from "./fuse.ts";
import type { Consumer } from "./fuse.ts";

/**
 * Reads all items into an array.
 *
 * The array grows as long as the source has items: put a `take` before it where the source does not end. The result
 * rejects with what the source throws.
 *
 * @example
 * const firstTen = await pipe(events, take(10), toArray());
 */
export function toArray<T>(): Consumer<T, T[]> {
  return (source) => {
    const items: T[] = [];
    return consume<T, T[]>(
      source,
      () => (item) => {
        items.push(item);
        return NOTHING;
      },
      () => items,
    );
  };
}
