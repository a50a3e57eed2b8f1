// What users type: the options and the interface of a PubSub.
import type { EventEnvelope, PubSubEventMap, TypedEventTarget } from "./envelope.ts";
import type { BufferOptions, OnGap } from "./queue.ts";
import type { Schemas } from "./schema.ts";
import type { PendingSubscription } from "./subscription.ts";
import type { Status, Supports } from "./transport.ts";
import type { EnvelopeFor, EventTypes, ValidPattern } from "./types.ts";

/** Options of `createPubSub`. */
export interface PubSubOptions {
  /**
   * Where the events go: an event target of this library, or any `EventTarget`. Default: in process. Closing the
   * PubSub does not close the target, which several may share.
   */
  readonly eventTarget?: TypedEventTarget | EventTarget;
  /**
   * Told of every error that no call throws: a listener that threw, a failed `subscribe` (its promise still rejects, but
   * is marked handled), a loss that `on` met without `onGap`. Without it they are reported as uncaught.
   */
  readonly onError?: (error: unknown) => void;
  /** The `onGap` of every subscription that has none of its own. */
  readonly onGap?: OnGap;
  /** Aborting ends everything at once: buffers are discarded. */
  readonly signal?: AbortSignal;
  /** The buffer of every subscription that has none of its own. Default: 16,384 events, overflow `'error'`. */
  readonly buffer?: BufferOptions;
  /**
   * Schemas by event type (zod, valibot, arktype: any that follow Standard Schema), synchronous. `publish` checks and
   * sends the input; on receipt it is checked again and subscribers get the output, in process once. A payload that does
   * not fit rejects, or is reported to `onError`, as a `PayloadError` with its path, and reaches no subscriber.
   */
  readonly schemas?: Schemas;
  /**
   * Numbers the events of each topic in `meta.seq`, so that subscribers which have it too find loss, repetition and
   * reordering end to end on any transport: a gap (`sequence`) stands where events are missing, repeated and late ones are
   * dropped. The loss of the last event of a topic shows with the next one. Default false.
   */
  readonly sequence?: boolean;
  /** Milliseconds that `close()` waits for publishes in flight. Default 5,000. */
  readonly closeTimeout?: number;
}

/** Options of `on`. */
export interface ListenOptions {
  /** Aborting stops; before the subscription is live, the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called at each loss. Without it (here or on the PubSub), `on` goes on and reports to `onError`; iterators throw. */
  readonly onGap?: OnGap;
  /**
   * Subscribers of the same group share the events, each of which goes to one of them. `UNSUPPORTED` where the target has
   * no groups; not with `own: false`.
   */
  readonly group?: string;
  /** Whether to receive what this event target itself published. Default true. */
  readonly own?: boolean;
}

/** Options of `subscribe`. */
export interface SubscribeOptions extends ListenOptions {
  /** Default: that of the PubSub. */
  readonly buffer?: BufferOptions;
}

/**
 * A listener of `on`. What it throws, or rejects with, goes to `onError` and stops no other listener; what it returns is
 * not used.
 */
export type Listener<T extends EventEnvelope = EventEnvelope> = (envelope: T) => unknown;

/**
 * Typed publish and subscribe over one event target.
 *
 * After `await subscribe()`, every event that is published afterwards, and whose `publish` resolves, is delivered, or its
 * loss is reported to that subscription, as far as the target's manifest says.
 */
export interface PubSub<TMap extends object = PubSubEventMap, TInput extends object = TMap> extends AsyncDisposable {
  /** What the event target can promise. */
  readonly supports: Supports;
  /** Where the event target stands; `closed` once this PubSub is. */
  readonly status: Status;
  /** Calls back on every change of status; returns a function that stops it. */
  onStatus(listener: (status: Status, cause: unknown) => void): () => void;
  /**
   * Publishes one event. Resolves when it was accepted, as the target's `supports.publishAck` says. Do not change the
   * payload afterwards.
   *
   * @throws InvalidTopicError, PayloadError, PubSubError (`CLOSED`, `NOT_READY`, `INTERRUPTED`, `DISCONNECTED`,
   * `TIMEOUT`, `OVERFLOW`, `REFUSED`), all as rejections.
   * @example
   * await pubsub.publish("session.status", "proj_123", { status: "busy" });
   */
  publish<K extends EventTypes<TInput>>(type: K, id: string, payload: TInput[K]): Promise<void>;
  /**
   * Listens from this moment on; resolves with the live subscription. Without an id: to every id.
   *
   * @throws InvalidTopicError, PubSubError (`CLOSED`, `UNSUPPORTED`, `NOT_READY`, `TIMEOUT`, `REFUSED`,
   * `DISCONNECTED`), the signal's reason; all as rejections, or from the first `next()` when iterated directly.
   * @example
   * for await (const { id, payload } of pubsub.subscribe("session.*")) console.log(id, payload);
   */
  subscribe<P extends EventTypes<TMap> | (string & {})>(
    type: ValidPattern<TMap, P>,
    options?: SubscribeOptions,
  ): PendingSubscription<EnvelopeFor<TMap, P>>;
  subscribe<P extends EventTypes<TMap> | (string & {})>(
    type: ValidPattern<TMap, P>,
    id: string | undefined,
    options?: SubscribeOptions,
  ): PendingSubscription<EnvelopeFor<TMap, P>>;
  /**
   * Calls the listener for each event, until the returned function is called. Resolves when live. Errors as `subscribe`.
   *
   * @example
   * const stop = await pubsub.on("session.*", ({ type, id }) => console.log(type, id));
   * stop();
   */
  on<P extends EventTypes<TMap> | (string & {})>(
    type: ValidPattern<TMap, P>,
    listener: Listener<EnvelopeFor<TMap, P>>,
    options?: ListenOptions,
  ): Promise<() => void>;
  on<P extends EventTypes<TMap> | (string & {})>(
    type: ValidPattern<TMap, P>,
    id: string | undefined,
    listener: Listener<EnvelopeFor<TMap, P>>,
    options?: ListenOptions,
  ): Promise<() => void>;
  /**
   * New publishes reject with `CLOSED`, those in flight settle within `closeTimeout`, iterators drain and are done.
   * Idempotent. The event target stays open.
   */
  close(): Promise<void>;
}
