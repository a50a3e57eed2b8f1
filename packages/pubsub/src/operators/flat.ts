import { needLimit } from "./check.ts";
import { open } from "./fuse.ts";
import type { Operator } from "./fuse.ts";
import { iterate, nest } from "./nest.ts";

type Less = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/** What `flat` makes of a type. To the types, a depth that is no literal, or is over 9, is 9. */
export type Flat<T, Depth extends number> = Depth extends 0
  ? T
  : T extends string
    ? T
    : T extends AsyncIterable<infer Item> | Iterable<infer Item>
      ? Flat<Awaited<Item>, `${Depth}` extends keyof Less ? Less[Depth] : 8>
      : T;

/**
 * Replaces items that are iterable, or async iterable, by what they hold, down to a depth.
 *
 * Other items stay as they are; so do strings. What an item holds is read as it is asked for, in order, one after another:
 * an item that does not end holds up those after it. An item that is being read is closed with the source.
 *
 * @throws RangeError when `depth` is negative or not a number
 * @example
 * for await (const event of pipe(subscription.batches(), flat())) console.log(event.payload);
 */
export function flat<T, Depth extends number = 1>(depth?: Depth): Operator<T, Flat<T, Depth>> {
  const whole = needLimit("flat", depth ?? 1, "depth");
  return (source) => nest(open(source), (value, level) => (level <= whole ? iterate(value) : undefined));
}
