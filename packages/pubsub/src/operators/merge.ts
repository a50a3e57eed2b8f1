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
}

/** Sources that have something, or were not asked yet, stand in line; those that are waited for come back to its end. */
class Merge implements Pollable<unknown> {
  readonly #sources: readonly Pipeline<unknown>[];
  readonly #line = new Ring<Entry>();
  #left: number;
  #failure: { readonly error: unknown } | undefined;
  #wake: () => void = () => {};

  constructor(sources: readonly AsyncIterable<unknown>[]) {
    this.#sources = sources.map((source) => open(source));
    this.#left = sources.length;
    for (const source of this.#sources) this.#line.push({ source, value: NOTHING });
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    for (;;) {
      const value = this[poll]();
      if (value !== NOTHING) return { value, done: false };
      if (this.#failure !== undefined) {
        await closeAll(this.#sources, true);
        throw this.#failure.error;
      }
      // Those that were waited for when all was closed have ended after that.
      if (this.#left <= 0) return { value: undefined, done: true };
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async return(): Promise<IteratorResult<unknown, undefined>> {
    this.#left = 0;
    this.#line.clear();
    this.#wake();
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
      if (value === NOTHING) {
        // Also where another source has items at once: it would hold up this one for as long as it has.
        void this.#ask(entry);
      } else {
        this.#line.push(entry);
        return value;
      }
    }
  }

  async #ask(entry: Entry): Promise<void> {
    try {
      const result = await entry.source.next();
      if (result.done === true) this.#left--;
      else {
        entry.value = result.value;
        this.#line.push(entry);
      }
    } catch (error) {
      // In line as well: what came before it is given before it.
      entry.failure = { error };
      this.#line.push(entry);
    }
    this.#wake();
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
