import { PubSubError } from "../errors.ts";
import { NOTHING, poll } from "../poll.ts";
import type { Pollable } from "../poll.ts";
import { Ring } from "../ring.ts";
import { needCount, needFunction } from "./check.ts";
import { closeAll, fuse, isPromise, later, open } from "./fuse.ts";
import type { Operator, Pipeline } from "./fuse.ts";

/** How much is held for groups that are not read as fast as their items come. */
export interface GroupByOptions {
  /** Groups at a time. One more throws `OVERFLOW`. Default 1,024. */
  readonly maxGroups?: number;
  readonly buffer?: {
    /** Items that a group holds for its consumer. Default 1,024. */
    readonly limit?: number;
    /**
     * `error` (default): the source is closed, and all groups drain, then throw `OVERFLOW`. `drop-oldest` and
     * `drop-newest`: the item is dropped, and counted as `dropped` of its group.
     */
    readonly overflow?: "error" | "drop-oldest" | "drop-newest";
  };
}

/** The items of one key, for one consumer. */
export interface Group<T> extends Pollable<T>, AsyncDisposable {
  /** Items that a full buffer dropped. */
  readonly dropped: number;
  next(): Promise<IteratorResult<T, undefined>>;
  /** Discards what is held. The next item with this key begins a new group. */
  return(): Promise<IteratorResult<T, undefined>>;
  [Symbol.asyncIterator](): this;
}

type Result<T> = IteratorResult<T, undefined>;
type Waiter<T> = (result: Result<T> | Promise<never>) => void;

/** What a box needs of the one source behind all boxes. */
interface Reader {
  /** How many wait for something. */
  waiting: number;
  /** Reads until nobody waits any more. */
  read(): Promise<void>;
  /** Reads until the box has something, without waiting. */
  fill(box: { readonly items: { readonly size: number } }): void;
}

/** Holds what was read for one consumer: the items of a group, or the groups. */
class Box<T> implements Group<T> {
  readonly items: Ring<T> = new Ring<T>();
  dropped = 0;
  readonly #reader: Reader;
  readonly #leave: () => void | Promise<void>;
  readonly #waiters: Waiter<T>[] = [];
  #over = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(reader: Reader, leave: () => void | Promise<void>) {
    this.#reader = reader;
    this.#leave = leave;
  }

  put(item: T): void {
    if (this.#waiters.length === 0) this.items.push(item);
    else this.#settle({ value: item, done: false });
  }

  /** Nothing more will come. What is held can still be read. */
  end(failure: { readonly error: unknown } | undefined): void {
    this.#over = true;
    // Nothing is held where somebody waits: the first of those gets the failure.
    this.#failure = failure;
    while (this.#waiters.length > 0) this.#settle(this.#last());
  }

  next(): Promise<Result<T>> {
    const value = this[poll]();
    if (value !== NOTHING) return Promise.resolve({ value, done: false });
    if (this.#over) return Promise.resolve(this.#last());
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
      this.#reader.waiting++;
      void this.#reader.read();
    });
  }

  async return(): Promise<Result<T>> {
    this.items.clear();
    if (!this.#over) {
      this.end(undefined);
      await this.#leave();
    }
    this.#failure = undefined;
    return { value: undefined, done: true };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [poll](): T | typeof NOTHING {
    if (this.items.size === 0 && !this.#over) this.#reader.fill(this);
    return this.items.size === 0 ? NOTHING : (this.items.shift() as T);
  }

  #settle(result: Result<T> | Promise<never>): void {
    this.#reader.waiting--;
    this.#waiters.shift()?.(result);
  }

  #last(): Result<T> | Promise<never> {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure === undefined ? { value: undefined, done: true } : Promise.reject(failure.error);
  }
}

/**
 * Sorts items by key: gives each key that is new, with the items that have it, `[key, group]`.
 *
 * The source is read by whoever waits, for the groups or for the items of one; what comes for others is held for them, so
 * that waiting for one group alone never blocks. Leaving a group discards what it holds; the next item with its key
 * begins a new group. Leaving the groups themselves closes the source: groups that are in use give what they hold and
 * end. An error is thrown to all of them, after what they hold. The key function gets the item and its index from 0, and may
 * return a promise.
 *
 * Memory is bounded: `maxGroups` groups that were not left, each with `buffer.limit` items.
 *
 * @throws RangeError when `maxGroups` or `buffer.limit` is not a whole number from 1, or `buffer.overflow` no policy
 * @throws TypeError when `key` is no function
 * @throws PubSubError `OVERFLOW` from `next()`, when there are more groups than that, or a group's buffer is full
 * @example
 * for await (const [id, events] of pipe(subscription, groupBy((event) => event.id))) void handle(id, events);
 */
export function groupBy<T, Key>(
  key: (item: T, index: number) => Key,
  options: GroupByOptions = {},
): Operator<T, [key: Awaited<Key>, group: Group<T>]> {
  type K = Awaited<Key>;
  const { maxGroups = 1024, buffer = {} } = options;
  const { limit = 1024, overflow = "error" } = buffer;
  needFunction("groupBy", key);
  needCount("groupBy", maxGroups, "maxGroups");
  needCount("groupBy", limit, "buffer.limit");
  if (!["error", "drop-oldest", "drop-newest"].includes(overflow))
    throw new RangeError(`groupBy() needs a buffer.overflow of error, drop-oldest or drop-newest, not ${overflow}.`);

  return (source) => {
    const keyed: Pipeline<[K, T]> = fuse<T, [K, T]>(source, (next, run) => {
      let index = 0;
      return (item) => {
        const value = key(item, index++) as K | PromiseLike<K>;
        return isPromise(value) ? later(run, value, (value) => next([value, item])) : next([value, item]);
      };
    });
    const boxes = new Map<K, Box<T>>();
    let reading = false;
    let over = false;

    const finish = (failure?: { readonly error: unknown }): void => {
      over = true;
      for (const box of boxes.values()) box.end(failure);
      boxes.clear();
      groups.end(failure);
    };
    const fail = (error: unknown): void => {
      finish({ error });
      void closeAll([keyed], true);
    };
    const sort = ([key, item]: [K, T]): void => {
      let box = boxes.get(key);
      if (box === undefined) {
        if (boxes.size >= maxGroups)
          throw new PubSubError("OVERFLOW", `There are ${maxGroups} groups: leave some, or raise maxGroups.`);
        const group = (box = new Box<T>(reader, () => void boxes.delete(key)));
        boxes.set(key, group);
        groups.put([key, group]);
      }
      if (box.items.size < limit) return box.put(item);
      if (overflow === "error")
        throw new PubSubError("OVERFLOW", `A group holds ${limit} items: read it, raise buffer.limit, or let it drop.`);
      box.dropped++;
      if (overflow === "drop-newest") return;
      box.items.shift();
      box.put(item);
    };
    const reader: Reader = {
      waiting: 0,
      async read() {
        if (reading) return;
        reading = true;
        try {
          while (reader.waiting > 0) {
            const result = await keyed.next();
            if (over) return;
            if (result.done === true) return finish();
            sort(result.value);
          }
        } catch (error) {
          fail(error);
        } finally {
          reading = false;
        }
      },
      fill(box) {
        if (reading) return;
        try {
          while (box.items.size === 0 && !over) {
            const entry = keyed[poll]();
            if (entry === NOTHING) return;
            sort(entry);
          }
        } catch (error) {
          fail(error);
        }
      },
    };
    const groups = new Box<[K, Box<T>]>(reader, async () => {
      finish();
      await keyed.return();
    });
    return open<[K, Group<T>]>(groups);
  };
}
