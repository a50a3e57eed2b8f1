import type { EventEnvelope } from "./envelope.ts";
import { gapsTo, poll } from "./poll.ts";
import type { Pollable } from "./poll.ts";
import type { Queue } from "./queue.ts";
import type { Gap } from "./transport.ts";

// oxlint-disable typescript/no-unsafe-declaration-merging -- the merged member is defined in a static block below
/**
 * Events of one subscription, in order, for one consumer.
 *
 * Iterating gives envelopes until the subscription ends. `break`, `return()`, disposing and an aborted signal end it at
 * once and discard what is buffered; `PubSub.close()` lets it drain. A Subscription that nobody reads or holds any more
 * is collected, and unsubscribed.
 *
 * @throws PubSubError from `next()`, after what was buffered: `OVERFLOW`, `DISCONNECTED`, or `GAP` where no `onGap` was
 * given. The subscription is over then; later calls are done.
 * @example
 * const events = await pubsub.subscribe("session.status", "proj_123");
 * for await (const { payload } of events) console.log(payload.status);
 */
export class Subscription<T extends EventEnvelope = EventEnvelope> implements AsyncDisposable {
  readonly #queue: Queue;

  /** @internal Subscriptions come from `PubSub.subscribe`. */
  constructor(queue: Queue) {
    this.#queue = queue;
  }

  /** Events that arrived for this subscription, those that a full buffer dropped included. */
  get received(): number {
    return this.#queue.received;
  }

  /** Events that a full buffer dropped. */
  get dropped(): number {
    return this.#queue.dropped;
  }

  /** Losses that were queued; consecutive drops are one. */
  get gaps(): number {
    return this.#queue.gaps;
  }

  /** The next event; waits for one. */
  next(): Promise<IteratorResult<T, undefined>> {
    return this.#queue.next(this) as Promise<IteratorResult<T, undefined>>;
  }

  /** Ends the subscription: what is buffered is discarded, a pending `next()` is done at once. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.#queue.discard();
    return Promise.resolve({ value: undefined, done: true });
  }

  /**
   * Arrays of whatever has arrived, for consumers that want every last event a second. A batch is never empty and
   * never spans a gap.
   *
   * @example
   * for await (const batch of events.batches()) await insertRows(batch.map((event) => event.payload));
   */
  batches(): AsyncIterableIterator<T[], undefined> {
    const queue = this.#queue;
    return {
      next: () => queue.nextBatch(this) as Promise<IteratorResult<T[], undefined>>,
      return: () => this.return() as Promise<IteratorResult<never, undefined>>,
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  /** One consumer: the iterator of a Subscription is itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#queue.discard();
  }

  // How operators read without a promise an event (`poll.ts`). Declared by the interface below: isolated declarations
  // know no computed members of a class.
  static {
    Object.defineProperty(this.prototype, poll, {
      value(this: Subscription) {
        return this.#queue.poll();
      },
    });
    Object.defineProperty(this.prototype, gapsTo, {
      value(this: Subscription, listener: (gap: Gap) => void) {
        this.#queue.gapsTo(listener);
      },
    });
  }
}

export interface Subscription<T extends EventEnvelope = EventEnvelope> extends Pollable<T> {
  /** @internal */
  [gapsTo](listener: (gap: Gap) => void): void;
}

/**
 * What `subscribe` returns: a promise of the live subscription that can also be iterated as it is. Iterating marks the
 * promise as handled; a failed subscribe is then thrown by the first `next()`.
 */
export interface PendingSubscription<T extends EventEnvelope = EventEnvelope> extends Promise<Subscription<T>> {
  [Symbol.asyncIterator](): Subscription<T>;
}

// An abandoned Subscription takes its queue out of the core. The registry holds the queue alone.
const abandoned = new FinalizationRegistry<Queue>((queue) => queue.discard());

/** A Subscription in front of a queue, unsubscribed when it is collected. */
export function subscriptionOf(queue: Queue): Subscription {
  const subscription = new Subscription(queue);
  abandoned.register(subscription, queue, queue);
  return subscription;
}

/** The queue is empty for good; there is nothing left for the registry to do. */
export function forget(queue: Queue): void {
  abandoned.unregister(queue);
}
