import { NOTHING, poll } from "../poll.ts";
import type { Pollable } from "../poll.ts";
import { closeAll, isPromise, open } from "./fuse.ts";
import type { Pipeline } from "./fuse.ts";

type SyncIterator = Iterator<unknown, unknown>;
type Level = Pipeline<unknown> | SyncIterator;
/** Gives what a value is replaced by, or undefined for one that stays. `level` is 1 for what the outermost gives. */
type Enter = (value: unknown, level: number) => Level | undefined;

/** Opens what can be iterated, with `for await` if possible; undefined if it cannot. Strings are values. */
export function iterate(value: unknown): Level | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (Symbol.asyncIterator in value) return open(value as AsyncIterable<unknown>);
  return Symbol.iterator in value ? (value as Iterable<unknown>)[Symbol.iterator]() : undefined;
}

class Nest implements Pollable<unknown> {
  readonly #enter: Enter;
  /** From the outermost to the innermost. */
  readonly #levels: Level[];
  /** A promise that a synchronous iterator gave. */
  #promise: PromiseLike<unknown> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #closed = false;

  constructor(outermost: Level, enter: Enter) {
    this.#levels = [outermost];
    this.#enter = enter;
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    const levels = this.#levels;
    try {
      for (;;) {
        let value = this[poll]();
        if (this.#failure !== undefined) throw this.#failure.error;
        if (value === NOTHING) {
          const top = levels.at(-1) as Pipeline<unknown> | undefined;
          if (this.#promise !== undefined) {
            value = await this.#promise;
            this.#promise = undefined;
          } else if (top !== undefined) {
            const result = await top.next();
            if (result.done === true) {
              levels.pop();
              continue;
            }
            ({ value } = result);
          }
          if (this.#closed || top === undefined) return { value: undefined, done: true };
          if (this.#into(value)) continue;
        }
        return { value, done: false };
      }
    } catch (error) {
      await this.#close(true);
      throw error;
    }
  }

  async return(): Promise<IteratorResult<unknown, undefined>> {
    await this.#close();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [poll](): unknown {
    try {
      while (this.#promise === undefined && this.#failure === undefined) {
        const top = this.#levels.at(-1);
        if (top === undefined) break;
        let value: unknown;
        if (poll in top) {
          value = top[poll]();
          if (value === NOTHING) break;
        } else {
          // Not among the levels while it is asked: one that ends or throws by itself is not to be closed.
          this.#levels.pop();
          const result = top.next();
          if (result.done === true) continue;
          this.#levels.push(top);
          ({ value } = result);
          if (isPromise(value)) {
            this.#promise = value;
            break;
          }
        }
        if (!this.#into(value)) return value;
      }
    } catch (error) {
      this.#failure = { error };
    }
    return NOTHING;
  }

  async #close(failed = false): Promise<void> {
    this.#closed = true;
    await closeAll(this.#levels.splice(0).reverse(), failed);
  }

  #into(value: unknown): boolean {
    const inner = this.#enter(value, this.#levels.length);
    if (inner !== undefined) this.#levels.push(inner);
    return inner !== undefined;
  }
}

/** Iterators in iterators, read one after another: the innermost is read to its end before the one around it goes on. */
export function nest<Out>(outermost: Level, enter: Enter): Pipeline<Out> {
  return open(new Nest(outermost, enter) as AsyncIterable<unknown> as AsyncIterable<Out>);
}
