import type { EventEnvelope } from "./envelope.ts";
import type { Filter, Gap, Status, Supports } from "./transport.ts";

/**
 * Who gets events from a core: a subscription's queue, a listener, a facade topic. The core calls `deliver` and `gap`
 * any number of times, then at most one of `fail` and `end`. None of them may throw.
 */
export interface Sink extends Filter {
  /** False once removed: a dispatch that is under way skips it. Set by the core. */
  active: boolean;
  /** The place in the order of subscribing. Set by the core. */
  order: number;
  /** Whether it wants what its own core published. */
  readonly own: boolean;
  /** The PubSub that made it; `PubSub.close()` ends its own sinks alone. */
  readonly owner: object;
  deliver(envelope: EventEnvelope): void;
  gap(gap: Gap): void;
  /** What is buffered may still be read, then the error is thrown. */
  fail(error: unknown): void;
  /** What is buffered may still be read, then it is done. */
  end(): void;
}

/** What a `PubSub` needs of a core; event targets of this library carry one under `coreOf`. */
export interface Core {
  /** 128 random bits: the `meta.origin` of what it publishes where the far end echoes, and its name in `meta.hops`. */
  readonly id: string;
  readonly supports: Supports;
  readonly status: Status;
  /** Calls back on every change of status, until the returned function is called. */
  onStatus(listener: (status: Status, cause: unknown) => void): () => void;
  /** Never throws; the promise rejects. A shared resolved promise where the event was accepted at once. */
  publish(envelope: EventEnvelope, owner: object): Promise<void>;
  /** Attaches the sink at once; resolves when its filter is live, nothing where it is already. May throw. */
  subscribe(sink: Sink): Promise<void> | undefined;
  /** Detaches the sink; a pending `subscribe` of it never settles. Idempotent. */
  unsubscribe(sink: Sink): void;
  /** Resolves when the owner's publishes have settled; those that have not after `timeout` ms reject with `CLOSED`. */
  settle(owner: object, timeout: number): Promise<void>;
  /** Every attached sink. */
  sinks(): Iterable<Sink>;
}

/** Where an event target of this library keeps its core. A registered symbol, so that two copies of the library agree. */
export const coreOf: unique symbol = Symbol.for("@alkdev/pubsub.core") as never;

/** A promise that is already resolved, shared by all that completed at once. */
export const DONE: Promise<void> = Promise.resolve();
