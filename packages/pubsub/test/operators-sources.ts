import type { Clock } from "../src/operators/index.ts";
import { NOTHING, poll } from "../src/poll.ts";

type Result<T> = IteratorResult<T, undefined>;

/** A source that a test feeds by hand. It counts what is done to it, and objects to being read twice at a time. */
export class Feed<T> implements AsyncIterableIterator<T, undefined> {
  /** How often `next()` was called. */
  asked = 0;
  closed = 0;
  readonly buffer: T[];
  #parked: ((result: Promise<Result<T>>) => void) | undefined;
  #end: (() => Promise<Result<T>>) | undefined;
  #onAsked: (() => void) | undefined;

  constructor(items: Iterable<T> = []) {
    this.buffer = [...items];
  }

  /** A feed that gives these and then ends. */
  static of<T>(...items: T[]): Feed<T> {
    const feed = new this(items);
    feed.end();
    return feed;
  }

  get parked(): boolean {
    return this.#parked !== undefined;
  }

  /** Resolves when somebody waits for the next item. */
  async whenParked(): Promise<void> {
    while (!this.parked) await new Promise<void>((resolve) => (this.#onAsked = resolve));
  }

  push(...items: T[]): void {
    this.buffer.push(...items);
    if (this.#parked === undefined || this.buffer.length === 0) return;
    this.#settle(Promise.resolve({ value: this.buffer.shift() as T, done: false }));
  }

  end(): void {
    this.#finish(() => Promise.resolve({ value: undefined, done: true }));
  }

  fail(error: unknown): void {
    this.#finish(async () => {
      this.#end = async () => ({ value: undefined, done: true });
      throw error;
    });
  }

  next(): Promise<Result<T>> {
    if (this.parked) throw new Error("next() was called while another one is pending");
    this.asked++;
    if (this.buffer.length > 0) return Promise.resolve({ value: this.buffer.shift() as T, done: false });
    if (this.#end !== undefined) return this.#end();
    return new Promise((resolve) => {
      this.#parked = resolve;
      this.#onAsked?.();
    });
  }

  return(): Promise<Result<T>> {
    this.closed++;
    this.buffer.length = 0;
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #finish(end: () => Promise<Result<T>>): void {
    this.#end = end;
    if (this.parked) this.#settle(end());
  }

  #settle(result: Promise<Result<T>>): void {
    const parked = this.#parked;
    this.#parked = undefined;
    parked?.(result);
  }
}

/** A feed that can be read without waiting, as a subscription can. */
export class PolledFeed<T> extends Feed<T> {
  /** How often `poll` gave an item. */
  polled = 0;

  [poll](): T | typeof NOTHING {
    if (this.parked) throw new Error("poll was called while a next() is pending");
    if (this.buffer.length === 0) return NOTHING;
    this.polled++;
    return this.buffer.shift() as T;
  }
}

/** A clock that goes when it is told to. */
export class TestClock implements Clock {
  time = 0;
  #timers: { readonly at: number; readonly run: () => void }[] = [];

  setTimeout(run: () => void, ms: number): unknown {
    const timer = { at: this.time + ms, run };
    this.#timers.push(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers = this.#timers.filter((other) => other !== timer);
  }

  now(): number {
    return this.time;
  }

  get timers(): number {
    return this.#timers.length;
  }

  advance(ms: number): void {
    this.time += ms;
    const due = this.#timers.filter(({ at }) => at <= this.time);
    this.#timers = this.#timers.filter(({ at }) => at > this.time);
    for (const { run } of due) run();
  }
}

/** Lets everything run that is ready to run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export const DONE = { value: undefined, done: true };

export function item<T>(value: T): IteratorResult<T, undefined> {
  return { value, done: false };
}
