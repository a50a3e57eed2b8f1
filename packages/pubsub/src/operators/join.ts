import { Ring } from "../ring.ts";
import { needCount, needFunction, needTime } from "./check.ts";
import { realClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { flatMap } from "./flatMap.ts";
import type { Operator } from "./fuse.ts";
import { map } from "./map.ts";
import { merge } from "./merge.ts";

/** How far apart two items may be to be a pair. At least one of the two is needed. */
export interface JoinWithin {
  /** Items of a side that are remembered, to be paired with later ones of the other side. Default 1,024. */
  readonly count?: number;
  /** Milliseconds between the two, as they are read. No limit by default. */
  readonly time?: number;
}

/** What is a pair. */
export interface JoinOptions<Left, Right> {
  /** What must be equal (as in a Map); of items of both sides if there is no `otherKey`. */
  readonly key: (item: Left) => unknown;
  /** The same of an item of the other side. */
  readonly otherKey?: (item: Right) => unknown;
  readonly within: JoinWithin;
  /** Replaces the real clock, for tests. */
  readonly clock?: Clock;
}

interface Remembered {
  readonly key: unknown;
  readonly item: unknown;
  readonly at: number;
}

/** The items of one side that may still become a pair. */
class Side {
  readonly #all = new Ring<Remembered>();
  readonly #byKey = new Map<unknown, Remembered[]>();

  add(entry: Remembered, count: number): void {
    this.#all.push(entry);
    const same = this.#byKey.get(entry.key);
    if (same === undefined) this.#byKey.set(entry.key, [entry]);
    else same.push(entry);
    if (this.#all.size > count) this.#forget();
  }

  /** Those with the key that came since then. */
  find(key: unknown, since: number): readonly Remembered[] {
    while ((this.#all.at(0)?.at ?? Infinity) < since) this.#forget();
    return this.#byKey.get(key) ?? [];
  }

  #forget(): void {
    const { key } = this.#all.shift() as Remembered;
    const same = this.#byKey.get(key) as Remembered[];
    // The oldest of all is the oldest with its key.
    if (same.length === 1) this.#byKey.delete(key);
    else same.shift();
  }
}

/**
 * Pairs the items of two sources that have equal keys, if they come within a count or a time of one another.
 *
 * Gives `[left, right]` when the later of the two arrives: each new item with all that are remembered of the other side, in
 * the order in which they came. Of each side the last `count` items are remembered, and with `time` only as long as that. The
 * sources are read as by `merge`. Ends when both have ended; the first error closes the other, leaving closes both. The
 * other source is opened when the operator is applied, so that the operator can be applied once.
 *
 * @throws RangeError when `count` is not a whole number from 1, or `time` not a number from 0 to 2,147,483,647
 * @throws TypeError when neither is given, or a key is no function
 * @example
 * const paid = pipe(orders, join(payments, { key: (event) => event.payload.orderId, within: { time: 60_000 } }));
 */
export function join<Left, Right, Key>(
  other: AsyncIterable<Right>,
  options: JoinOptions<Left, Right> & {
    readonly key: (item: Left) => Key;
    readonly otherKey: (item: Right) => Key;
  },
): Operator<Left, [left: Left, right: Right]>;
export function join<Left, Right>(
  other: AsyncIterable<Right>,
  options: JoinOptions<Left, Right> & { readonly key: (item: Left | Right) => unknown; readonly otherKey?: never },
): Operator<Left, [left: Left, right: Right]>;
export function join<Left, Right>(
  other: AsyncIterable<Right>,
  options: JoinOptions<Left, Right>,
): Operator<Left, [left: Left, right: Right]> {
  const { key, otherKey = key as unknown as (item: Right) => unknown, within, clock = realClock } = options;
  const { count, time } = within;
  needFunction("join", key);
  needFunction("join", otherKey);
  if (count === undefined && time === undefined) throw new TypeError("join() needs a count, a time, or both.");
  needCount("join", count);
  needTime("join", time);
  const limit = count ?? 1024;

  return (source) => {
    const left = new Side();
    const right = new Side();
    const pairs = (isLeft: boolean, key: unknown, item: unknown): [Left, Right][] => {
      const at = time === undefined ? 0 : clock.now();
      (isLeft ? left : right).add({ key, item, at }, limit);
      return (isLeft ? right : left)
        .find(key, at - (time ?? 0))
        .map((other) => (isLeft ? [item, other.item] : [other.item, item]) as [Left, Right]);
    };
    // The keys are taken here, so that what they throw closes this source as what another function throws.
    const lefts = map((item: Left) => [true, key(item), item] as const)(source);
    const rights = map((item: Right) => [false, otherKey(item), item] as const)(other);
    return flatMap((entry: readonly [boolean, unknown, unknown]) => pairs(...entry))(merge(lefts, rights));
  };
}
