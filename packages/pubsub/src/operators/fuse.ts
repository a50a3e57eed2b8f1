import { NOTHING, poll } from "../poll.ts";
import type { Pollable } from "../poll.ts";

/**
 * What an operator gives: an iterator of its own, to be read by one consumer.
 *
 * It reads its source only when asked to, never two items at a time, and closes it exactly once: on `return()` and at
 * the end of a `for await` that is left early, when a function of the user throws, and when an operator such as `take`
 * has what it wanted. A source that ended or failed by itself is not closed.
 */
export interface Pipeline<T> extends Pollable<T>, AsyncDisposable {
  next(): Promise<IteratorResult<T, undefined>>;
  /**
   * Closes the source at once, even while a `next()` waits for it: that `next()` is then done. Waits for the source to
   * be closed, unless the source is in the middle of a `next()`: an async generator parked in `await` cannot close
   * before it wakes up.
   */
  return(): Promise<IteratorResult<T, undefined>>;
  [Symbol.asyncIterator](): this;
}

/** What stands between the stages of a `pipe`: takes a source, gives a pipeline. */
export type Operator<In, Out> = (source: AsyncIterable<In>) => Pipeline<Out>;

/** What a source gives. */
export type ItemOf<Source> = Source extends AsyncIterable<infer Item> ? Item : never;

/** What ends a `pipe`: reads all of a source and gives one result. */
export type Consumer<In, Out> = (source: AsyncIterable<In>) => Promise<Out>;

/** Hands a value to the stages that follow. Gives what comes out at the end, or `NOTHING` if that is nothing as yet. */
export type Next<T> = (value: T) => unknown;

/**
 * A step of a pipeline, from which one value in makes at most one value out: gets the steps after it, gives the function
 * that takes a value and either returns `next(…)` or `NOTHING`. It is called once a run, from the last stage to the first, so
 * that its closure is the place for its state. It may throw: the pipeline closes the source and fails.
 */
export type Stage<In, Out> = (next: Next<Out>, run: Run) => Next<In>;

/** The side of a pipeline that its stages see. */
export interface Run {
  /**
   * What a stage still has to hand on when the source has ended or failed; a stage pushes it as it is made. Called in the
   * order of the stages, before the end or the error is passed on. Stages are made from the last to the first: a stage
   * that stops the source cuts the list to the length it found, since what is held before it is wanted no more.
   */
  readonly ends: (() => unknown)[];
  /** Set by a stage that wants no more values, before it hands on its last: the source is closed. */
  over: boolean;
  /** A promise that must settle before anything else happens, and what to do with its value. Set by `later`. */
  wait: Promise<unknown> | undefined;
  resume: Next<never>;
  /** Set by the first stage of a `timed` pipeline that wants to know when the source must be waited for. */
  asked: () => void;
  /** For the first stage of a `timed` pipeline: something to do outside of the order of the items, then `wake()`. */
  due: (() => unknown) | undefined;
  wake: () => void;
  /** Clears timers when the source is closed; set by the first stage of a `timed` pipeline. May be called repeatedly. */
  cancel: () => void;
}

type Result = IteratorResult<unknown, undefined>;
type AnyStage = Stage<never, unknown>;

const nothing = (): void => {};
const last: Next<unknown> = (value) => value;
const done = (): Result => ({ value: undefined, done: true });

/** Tells a promise from a value. */
export function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** Goes on with `resume` when the promise has settled. What `resume` gives is what the stage gives. */
export function later<T>(run: Run, promise: PromiseLike<T>, resume: Next<T>): typeof NOTHING {
  run.wait = Promise.resolve(promise);
  // Under `poll` nobody may look at it for a while; its failure is thrown by the `next()` that does.
  run.wait.catch(nothing);
  run.resume = resume;
  return NOTHING;
}

/** A source and the stages after it as one iterator: one `await` an item where the source must be waited for, else none. */
class Fused implements Pipeline<unknown>, Run {
  readonly ends: (() => unknown)[] = [];
  over = false;
  wait: Promise<unknown> | undefined;
  resume: Next<never> = last;
  due: (() => unknown) | undefined;
  asked: () => void = nothing;
  wake: () => void = nothing;
  cancel: () => void = nothing;

  /** Set where another error is thrown, beside which one of closing does not matter. */
  quiet = false;

  readonly #source: AsyncIterator<unknown>;
  readonly #stages: readonly AnyStage[];
  readonly #timed: boolean;
  readonly #polls: boolean;
  /** All stages in one; made when the pipeline is first read. */
  #push: Next<never> | undefined;
  /** One for each `next()` that waits. Resolving it with a rejected promise is how it throws. */
  readonly #waiters: ((result: Result | Promise<never>) => void)[] = [];
  /** Whether somebody sees to the waiters. */
  #pumping = false;
  /** A `next()` of the source that was not looked at yet. */
  #pending: Promise<IteratorResult<unknown, unknown>> | undefined;
  /** Whether the source is in the middle of a `next()`, as far as we know. */
  #asking = false;
  /** Whether the source is still to be closed. */
  #open = true;
  #closing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #done = false;

  constructor(source: AsyncIterator<unknown>, stages: readonly AnyStage[], timed: boolean) {
    this.#source = source;
    this.#stages = stages;
    this.#timed = timed;
    this.#polls = poll in source;
  }

  static add(source: AsyncIterable<unknown>, stage: AnyStage, timed: boolean): Fused {
    // A pipeline that was not read yet is taken over: its stages and the new one become one iterator.
    return source instanceof Fused && source.#push === undefined && !source.#done && !timed
      ? new Fused(source.#source, [...source.#stages, stage], source.#timed)
      : new Fused(source[Symbol.asyncIterator](), [stage], timed);
  }

  next(): Promise<Result> {
    const value = this[poll]();
    if (this.#done) return Promise.resolve(done());
    if (value !== NOTHING) return Promise.resolve({ value, done: false });
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
      if (!this.#pumping) void this.#pump();
    });
  }

  async return(): Promise<Result> {
    this.#done = this.over = true;
    this.ends.length = 0;
    this.#close();
    for (const resolve of this.#waiters.splice(0)) resolve(done());
    await this.#closing;
    return done();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [poll](): unknown {
    return this.#pumping || this.#done ? NOTHING : this.#pull();
  }

  /** What can be had without waiting. Does not throw: a failure is kept for `next()`. */
  #pull(): unknown {
    let value: unknown = NOTHING;
    try {
      const push = (this.#push ??= this.#stages.reduceRight<Next<never>>(
        (next, stage) => stage(next as Next<unknown>, this),
        last,
      ));
      while (value === NOTHING && this.wait === undefined) {
        if (this.due !== undefined) {
          const { due } = this;
          this.due = undefined;
          value = due();
        } else if (this.over) {
          const end = this.ends.pop();
          if (end === undefined) break;
          value = end();
        } else if (this.#polls && !this.#asking) {
          const source = this.#source as Pollable<unknown>;
          do {
            const item = source[poll]();
            if (item === NOTHING) return NOTHING;
            value = push(item as never);
          } while (value === NOTHING && this.wait === undefined && !this.over);
        } else break;
      }
    } catch (error) {
      this.#fail(error);
      // What the stages after the one that threw still hold comes before the error.
      return this.#pull();
    }
    if (this.over) this.#close();
    return value;
  }

  /** Waits, for the source or for what a stage waits for, as long as there is somebody to wait for it. */
  async #pump(): Promise<void> {
    this.#pumping = true;
    while (this.#waiters.length > 0) {
      let value = this.#pull();
      if (value === NOTHING) {
        let asking = false;
        try {
          if (this.wait !== undefined) {
            const settled = await this.wait;
            if (this.#done) break;
            this.wait = undefined;
            value = this.resume(settled as never);
          } else if (this.over) {
            await this.#finish();
            break;
          } else {
            // What is asked for once is asked for again right here: the way through the outer loop costs a tenth.
            do {
              asking = true;
              const result = await this.#ask();
              asking = false;
              if (this.#done) return;
              if (result === NOTHING) break;
              this.#asking = false;
              this.#pending = undefined;
              if (result.done === true) {
                this.over = true;
                this.#open = false;
              } else value = (this.#push as Next<never>)(result.value as never);
            } while (
              value === NOTHING &&
              !this.#polls &&
              !this.over &&
              this.wait === undefined &&
              this.due === undefined
            );
          }
        } catch (error) {
          // What the source threw it threw by itself, so there is nothing to close.
          if (asking) this.#open = this.#asking = false;
          this.#fail(error);
        }
        if (this.over) this.#close();
      }
      if (value !== NOTHING) this.#waiters.shift()?.({ value, done: false });
    }
    this.#pumping = false;
  }

  /** The source's next item, or `NOTHING` when the timed stage wants attention first. */
  #ask(): Promise<IteratorResult<unknown, unknown> | typeof NOTHING> {
    this.#asking = true;
    const pending = (this.#pending ??= this.#source.next());
    if (!this.#timed) return pending;
    this.asked();
    // A race of the two, without what `Promise.race` costs.
    return new Promise((resolve, reject) => {
      this.wake = () => resolve(NOTHING);
      Promise.resolve(pending).then(resolve, reject);
    });
  }

  /** Everything was handed on: the first to wait gets the failure, if there is one, and the end is for all others. */
  async #finish(): Promise<void> {
    try {
      await this.#closing;
    } catch (error) {
      this.#failure ??= { error };
    }
    // Read before anything else can run: a `return()` meanwhile has told all of them.
    const [first, ...others] = this.#waiters.splice(0);
    this.#done = true;
    this.#closing = undefined;
    first?.(this.#failure === undefined ? done() : Promise.reject(this.#failure.error));
    for (const resolve of others) resolve(done());
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.over = true;
    this.wait = undefined;
  }

  /** Closes the source, if it is still to be closed, without waiting for it. */
  #close(): void {
    this.cancel();
    if (!this.#open) return;
    this.#open = false;
    const closing = this.#shut();
    // Parked in a `next()`, the source may not be able to close before it wakes up, so nobody waits for it, and an error
    // is reported as uncaught, unless another one is thrown. Else it is thrown by the `next()` or `return()` that comes.
    if (this.quiet || this.#failure !== undefined || !this.#asking) closing.catch(nothing);
    if (!this.#asking) this.#closing = closing;
  }

  async #shut(): Promise<void> {
    await this.#source.return?.();
  }
}

/** Puts a stage after a source: into the source's own iterator, if that is a pipeline that was not read yet. */
export function fuse<In, Out>(source: AsyncIterable<In>, stage: Stage<In, Out>, timed = false): Pipeline<Out> {
  return Fused.add(source, stage, timed) as Pipeline<unknown> as Pipeline<Out>;
}

/** A source as an operator that has several of them, or none of the usual kind, reads it: polled or asked, closed once. */
export function open<T>(source: AsyncIterable<T>): Pipeline<T> {
  return fuse<T, T>(source, (next) => next);
}

/**
 * Closes all of them at once, whatever each of them does about it; then throws what the first to fail threw, unless another
 * error is on its way already.
 */
export async function closeAll(iterators: readonly { return?(): unknown }[], failed = false): Promise<void> {
  const closing = Promise.all(
    iterators.map(async (iterator) => {
      if (failed && iterator instanceof Fused) iterator.quiet = true;
      await iterator.return?.();
    }),
  );
  await (failed ? closing.catch(nothing) : closing);
}

/** Reads all of a source through a stage that keeps what it gets and hands on nothing. */
export async function consume<In, Out>(
  source: AsyncIterable<In>,
  stage: Stage<In, never>,
  result: () => Out,
): Promise<Out> {
  await fuse(source, stage).next();
  return result();
}
