import { NOTHING, poll } from "../poll.ts";
import type { Pollable } from "../poll.ts";
import { Ring } from "../ring.ts";
import { closeAll, open } from "./fuse.ts";
import type { ItemOf, Pipeline } from "./fuse.ts";

interface Entry {
  readonly source: Pipeline<unknown>;
  /** What it gave when it had to be waited for, or threw. */
  value: unknown;
  failure?: { readonly error: unknown };
  readonly settled: (result: Result) => void;
  readonly failed: (error: unknown) => void;
}

type Result = IteratorResult<unknown, undefined>;

/** Sources that have something, or were not asked yet, stand in line; those that are waited for come back to its end. */
class Merge implements Pollable<unknown> {
  readonly #sources: readonly Pipeline<unknown>[];
  readonly #line = new Ring<Entry>();
  /** Sources that have not ended. */
  #left: number;
  #failure: { readonly error: unknown } | undefined;
  #waiter: ((result: Result | Promise<never>) => void) | undefined;

  constructor(sources: readonly AsyncIterable<unknown>[]) {
    this.#sources = sources.map((source) => open(source));
    this.#left = sources.length;
    for (const source of this.#sources) this.#line.push(this.#enter(source));
  }

  next(): Promise<Result> {
    return new Promise((resolve) => {
      this.#waiter = resolve;
      this.#settle();
    });
  }

  async return(): Promise<Result> {
    this.#left = 0;
    this.#line.clear();
    this.#settle();
    await closeAll(this.#sources);
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [poll](): unknown {
    for (;;) {
      const entry = this.#line.shift();
      if (entry === undefined) return NOTHING;
      if (entry.failure !== undefined) {
        this.#failure = entry.failure;
        this.#line.clear();
        return NOTHING;
      }
      let { value } = entry;
      entry.value = NOTHING;
      if (value === NOTHING) value = entry.source[poll]();
      if (value !== NOTHING) {
        this.#line.push(entry);
        return value;
      }
      // Also where another source has items at once: it would hold up this one for as long as it has.
      entry.source.next().then(entry.settled, entry.failed);
    }
  }

  #enter(source: Pipeline<unknown>): Entry {
    const entry: Entry = {
      source,
      value: NOTHING,
      settled: (result) => {
        if (result.done === true) this.#left--;
        else {
          entry.value = result.value;
          this.#line.push(entry);
        }
        this.#settle();
      },
      failed: (error) => {
        // In line as well: what came before it is given before it.
        entry.failure = { error };
        this.#line.push(entry);
        this.#settle();
      },
    };
    return entry;
  }

  /** Answers who waits, if that is possible. */
  #settle(): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    const value = this[poll]();
    if (value !== NOTHING) waiter({ value, done: false });
    else if (this.#failure !== undefined) waiter(this.#fail(this.#failure.error));
    // Those that were waited for when all was closed have ended after that.
    else if (this.#left <= 0) waiter({ value: undefined, done: true });
    else return;
    this.#waiter = undefined;
  }

  async #fail(error: unknown): Promise<never> {
    await closeAll(this.#sources, true);
    throw error;
  }
}

/**
 * Gives the items of several sources as they arrive; sources that have items at the same time take turns.
 *
 * All are opened at once, and while one item is waited for, one is waited for from each: at most one item of a source is
 * held here. Ends when all have ended. The first error closes all others; leaving closes all.
 *
 * @example
 * for await (const event of merge(orders, payments)) console.log(event.type);
 */
export function merge<T extends readonly AsyncIterable<unknown>[]>(...sources: T): Pipeline<ItemOf<T[number]>> {
  return open(new Merge(sources) as AsyncIterable<unknown> as AsyncIterable<ItemOf<T[number]>>);
}
