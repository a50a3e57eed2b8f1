import { PubSubError } from "@alkdev/pubsub";
import { Ring } from "@alkdev/pubsub/transport";
import type { OperationStream } from "./operations-api.ts";

/** What one request waits for. Each of these is called at most once but `answer`, and none after `fail` or `complete`. */
export interface Waiting {
  answer(output: unknown): void;
  complete(): void;
  fail(error: unknown): void;
}

/** What a stream can do once it has begun. */
interface Begun {
  credit(count: number): void;
  abort(): void;
}

/** The answers of one request, in order, bounded: more are asked for as they are read. */
export class AnswerStream implements OperationStream<unknown>, Waiting {
  readonly #limit: number;
  readonly #start: (waiting: Waiting) => Begun;
  readonly #items = new Ring<unknown>();
  readonly #parked: { resolve(result: IteratorResult<unknown, undefined>): void; reject(error: unknown): void }[] = [];
  #begun: Begun | undefined;
  /** Set once no more items will come: what there is to throw, if anything. */
  #end: { readonly error?: unknown } | undefined;
  /** Items that were read since the last credit. */
  #read = 0;

  constructor(limit: number, start: (waiting: Waiting) => Begun) {
    this.#limit = limit;
    this.#start = start;
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    if (this.#begun === undefined && this.#end === undefined)
      try {
        this.#begun = this.#start(this);
      } catch (error) {
        this.#end = {};
        return Promise.reject(error);
      }
    if (this.#items.size > 0) {
      const value = this.#items.shift();
      this.#count();
      return Promise.resolve({ value, done: false });
    }
    if (this.#end === undefined) return new Promise((resolve, reject) => this.#parked.push({ resolve, reject }));
    const { error } = this.#end;
    this.#end = {};
    return error === undefined ? Promise.resolve(DONE) : Promise.reject(error);
  }

  return(): Promise<IteratorResult<unknown, undefined>> {
    this.#items.clear();
    if (this.#end === undefined) this.#begun?.abort();
    this.#finish({});
    this.#end = {};
    return Promise.resolve(DONE);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  answer(output: unknown): void {
    if (this.#end !== undefined) return;
    const parked = this.#parked.shift();
    if (parked !== undefined) {
      this.#count();
      return parked.resolve({ value: output, done: false });
    }
    if (this.#items.size < this.#limit) return this.#items.push(output);
    // Whoever answers knows nothing of windows, and is faster than who reads.
    this.#begun?.abort();
    this.fail(
      new PubSubError(
        "OVERFLOW",
        `More than ${this.#limit} answers wait to be read, and the handler does not wait. Read faster, or raise buffer.`,
      ),
    );
  }

  complete(): void {
    this.#finish({});
  }

  fail(error: unknown): void {
    this.#finish({ error });
  }

  #finish(end: { readonly error?: unknown }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    // Whoever is parked has read all there was. The first one gets the error.
    for (const parked of this.#parked.splice(0)) {
      const { error } = this.#end;
      this.#end = {};
      if (error === undefined) parked.resolve(DONE);
      else parked.reject(error);
    }
  }

  #count(): void {
    if (++this.#read * 2 < this.#limit || this.#end !== undefined) return;
    this.#begun?.credit(this.#read);
    this.#read = 0;
  }
}

const DONE: IteratorResult<never, undefined> = { value: undefined, done: true };
