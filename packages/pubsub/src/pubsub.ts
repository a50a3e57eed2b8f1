import { checkSignal, onAbort } from "./abort.ts";
import { CheckedCore } from "./checked-core.ts";
import { coreOf, DONE } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import type { EventEnvelope, PubSubEventMap, TypedEventTarget } from "./envelope.ts";
import { excerpt, PubSubError, report, undefinedPayload } from "./errors.ts";
import { LocalCore, PlainCore } from "./local-core.ts";
import { checkBuffer, gapError, Queue } from "./queue.ts";
import type { BufferOptions, OnGap, QueueSettings } from "./queue.ts";
import type { SchemaInputs, SchemaOutputs, Schemas } from "./schema.ts";
import { forget, subscriptionOf } from "./subscription.ts";
import type { PendingSubscription, Subscription } from "./subscription.ts";
import { checkFilter, checkId, checkType } from "./topic.ts";
import type { Gap, Status, Supports } from "./transport.ts";
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
  /** Subscribers of the same group share the events. `UNSUPPORTED` where the target has no groups. */
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

/**
 * Makes a PubSub, in process or over an event target.
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const pubsub = createPubSub<{ "session.status": { status: "idle" | "busy" } }>();
 * const events = await pubsub.subscribe("session.status", "proj_123");
 * await pubsub.publish("session.status", "proj_123", { status: "busy" });
 * const { value } = await events.next(); // { type, id, payload: { status: "busy" } }
 */
export function createPubSub<const S extends Schemas>(
  options: PubSubOptions & { readonly schemas: S },
): PubSub<SchemaOutputs<S>, SchemaInputs<S>>;
export function createPubSub<TMap extends object = PubSubEventMap>(options?: PubSubOptions): PubSub<TMap>;
export function createPubSub(options: PubSubOptions = {}): unknown {
  return new PubSubOverCore(options);
}

/** What few listeners have; the others share one that is empty. */
interface ListenerExtras extends ListenOptions {
  ignoreSignal?: () => void;
}

const NO_EXTRAS: ListenerExtras = {};

/** A listener as the core sees it. There may be very many, so it is small, and first comes what a dispatch looks at. */
class ListenerSink implements Sink {
  active = false;
  readonly own: boolean;
  readonly #listener: Listener;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly owner: PubSubOverCore;
  readonly #extras: ListenerExtras;

  constructor(
    type: string,
    id: string | undefined,
    listener: Listener,
    options: ListenOptions | undefined,
    owner: PubSubOverCore,
  ) {
    this.own = options?.own ?? true;
    this.#listener = listener;
    this.type = type;
    this.id = id;
    this.owner = owner;
    this.#extras = options === undefined ? NO_EXTRAS : { ...options };
  }

  get group(): string | undefined {
    return this.#extras.group;
  }

  deliver(envelope: EventEnvelope): void {
    try {
      const result = this.#listener(envelope) as Promise<void> | undefined;
      if (typeof result?.then === "function") result.then(undefined, (error: unknown) => this.#report(error));
    } catch (error) {
      this.#report(error);
    }
  }

  gap(gap: Gap): void {
    const onGap = this.#extras.onGap ?? this.owner.options.onGap;
    if (onGap === "ignore") return;
    if (onGap === undefined) return this.#report(gapError(gap));
    try {
      onGap(gap);
    } catch (error) {
      this.#report(error);
    }
  }

  fail(error: unknown): void {
    this.stop();
    this.#report(error);
  }

  end(): void {
    this.stop();
  }

  /** Stops when the signal says so. */
  obey(signal: AbortSignal): void {
    this.#extras.ignoreSignal = onAbort(signal, () => this.stop());
  }

  stop(): void {
    const { signal, ignoreSignal } = this.#extras;
    this.owner.core.unsubscribe(this);
    ignoreSignal?.();
    this.owner.waitsNoMore(this, signal);
  }

  #report(error: unknown): void {
    report(error, this.owner.options.onError);
  }
}

/** The one implementation; generic typing is the interface's. */
class PubSubOverCore {
  readonly core: Core;
  readonly options: PubSubOptions;
  readonly #settings: QueueSettings;
  /** Status listeners, and how to take each from the core. */
  readonly #statusListeners = new Map<(status: Status, cause: unknown) => void, () => void>();
  /** Who waits to be live. A sink that leaves the core meanwhile is answered from here: the core has forgotten it. */
  readonly #waiting = new Map<Sink, { readonly resolve: () => void; readonly reject: (error: unknown) => void }>();
  #closed = false;
  #closing: Promise<void> | undefined;
  #ignoreSignal: (() => void) | undefined;
  #checkedType: string | undefined;

  constructor(options: PubSubOptions) {
    this.options = options;
    const { eventTarget, onGap, onError, signal } = options;
    this.#settings = { ...checkBuffer(options.buffer ?? {}), onGap: checkGap(onGap), onError };
    checkTimeout("closeTimeout", options.closeTimeout);
    checkSignal(signal);
    if (onError !== undefined && typeof onError !== "function")
      throw new PubSubError("INVALID_OPTION", `onError must be a function, not ${excerpt(onError)}.`);
    const core =
      eventTarget === undefined
        ? new LocalCore()
        : ((eventTarget as { [coreOf]?: Core } | null)?.[coreOf] ?? new PlainCore(checkTarget(eventTarget), onError));
    const { schemas, sequence = false } = options;
    this.core = schemas !== undefined || sequence ? new CheckedCore(core, schemas, sequence, onError) : core;
    if (signal?.aborted === true) this.#abort(signal);
    else if (signal !== undefined) this.#ignoreSignal = onAbort(signal, () => this.#abort(signal));
  }

  get supports(): Supports {
    return this.core.supports;
  }

  get status(): Status {
    return this.#closed ? "closed" : this.core.status;
  }

  onStatus(listener: (status: Status, cause: unknown) => void): () => void {
    if (this.#closed) return ignore;
    // Its own function each time: the same listener may be given twice.
    const call = (status: Status, cause: unknown): void => listener(status, cause);
    const stop = this.core.onStatus(call);
    this.#statusListeners.set(call, stop);
    return () => {
      stop();
      this.#statusListeners.delete(call);
    };
  }

  publish(type: string, id: string, payload: unknown): Promise<void> {
    try {
      // Most publishers repeat a type; a string that is the same object costs nothing to compare.
      if (type !== this.#checkedType) {
        checkType(type);
        this.#checkedType = type;
      }
      if (typeof id !== "string" || id.length > 341) checkId(id);
      if (payload === undefined) throw undefinedPayload(type, id);
      if (this.#closed) throw closed("publish");
    } catch (error) {
      return Promise.reject(error);
    }
    return this.core.publish({ type, id, payload }, this);
  }

  subscribe(type: string, a?: string | SubscribeOptions, b?: SubscribeOptions): PendingSubscription {
    // Null is no options but a bad id: it must not come to mean every id.
    const id = typeof a === "object" && a !== null ? undefined : a;
    const options = (typeof a === "object" && a !== null ? a : b) ?? {};
    let settings = this.#settings;
    let problem: unknown;
    let signal: AbortSignal | undefined;
    try {
      checkListening(options);
      signal = options.signal;
      if (options.buffer !== undefined || options.onGap !== undefined)
        settings = {
          ...(options.buffer === undefined ? settings : checkBuffer({ ...this.options.buffer, ...options.buffer })),
          onGap: options.onGap ?? settings.onGap,
          onError: settings.onError,
        };
    } catch (error) {
      problem = error;
    }
    const queue = new Queue({ type, id, group: options.group }, settings, options.own ?? true, this);
    this.#bind(queue, signal);
    // Nothing that the queue or the signal holds may refer to the Subscription, else an abandoned one is never
    // collected. Closures of one function share their variables, hence #bind.
    const subscription = subscriptionOf(queue);
    const live = this.#attach(queue, signal, problem).then(
      () => subscription,
      (error: unknown) => {
        queue.fail(error);
        throw error;
      },
    );
    return this.#pending(live, subscription);
  }

  #bind(queue: Queue, signal: AbortSignal | undefined): void {
    const ignoreSignal = signal && onAbort(signal, () => queue.discard());
    queue.release = () => {
      this.core.unsubscribe(queue);
      this.waitsNoMore(queue, signal);
    };
    queue.finished = () => {
      forget(queue);
      ignoreSignal?.();
    };
  }

  on(
    type: string,
    a: string | Listener | undefined,
    b?: Listener | ListenOptions,
    c?: ListenOptions,
  ): Promise<() => void> {
    const id = typeof a === "function" ? undefined : a;
    const listener = (typeof a === "function" ? a : b) as Listener;
    const options = ((typeof a === "function" ? b : c) as ListenOptions | null | undefined) ?? undefined;
    let problem: unknown;
    let signal: AbortSignal | undefined;
    try {
      if (typeof listener !== "function")
        throw new PubSubError("INVALID_OPTION", `on(type, id?, listener) needs a function, not ${typeof listener}.`);
      if (options !== undefined) {
        checkListening(options);
        signal = options.signal;
      }
    } catch (error) {
      problem = error;
    }
    const sink = new ListenerSink(type, id, listener, options, this);
    const stop = (): void => sink.stop();
    if (signal !== undefined) sink.obey(signal);
    const live = this.#attach(sink, signal, problem).then(
      () => stop,
      (error: unknown) => {
        sink.stop();
        throw error;
      },
    );
    return this.#handled(live);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#beClosed(undefined);
    await this.core.settle(this, this.options.closeTimeout ?? 5000);
    this.#endAll(closed("subscribe"), (sink) => sink.end());
    this.#ignoreSignal?.();
  }

  #abort({ reason }: AbortSignal): void {
    this.#beClosed(reason);
    this.#endAll(reason, (sink) => (sink instanceof Queue ? sink.discard() : sink.end()));
    const settled = this.core.settle(this, 0);
    this.#closing ??= settled;
  }

  /** The last status of all; what becomes of the target does not concern this PubSub any more. */
  #beClosed(cause: unknown): void {
    if (this.#closed) return;
    const known = this.core.status === "closed";
    this.#closed = true;
    const listeners = [...this.#statusListeners];
    this.#statusListeners.clear();
    for (const [listener, stop] of listeners) {
      stop();
      if (known) continue;
      try {
        listener("closed", cause);
      } catch (error) {
        report(error, this.options.onError);
      }
    }
  }

  #endAll(error: unknown, end: (sink: Sink) => void): void {
    for (const sink of [...this.core.sinks()]) {
      if (sink.owner !== this) continue;
      this.core.unsubscribe(sink);
      const waiting = this.#waiting.get(sink);
      this.#waiting.delete(sink);
      end(sink);
      waiting?.reject(error);
    }
  }

  /** Checks, attaches, and waits until live or aborted. */
  #attach(sink: Sink, signal: AbortSignal | undefined, problem: unknown): Promise<void> {
    let live: Promise<void> | undefined;
    try {
      if (problem !== undefined) return Promise.reject(problem);
      signal?.throwIfAborted();
      checkFilter(sink);
      if (this.#closed) throw closed("subscribe");
      live = this.core.subscribe(sink);
    } catch (error) {
      return Promise.reject(error);
    }
    if (live === undefined) return DONE;
    return new Promise((resolve, reject) => {
      this.#waiting.set(sink, { resolve, reject });
      const answered = (): boolean => this.#waiting.delete(sink);
      live.then(
        () => (answered(), resolve()),
        (error: unknown) => (answered(), reject(error)),
      );
    });
  }

  /** A sink has left the core. Leaving before it was live is an error only where the signal says so. */
  waitsNoMore(sink: Sink, signal: AbortSignal | undefined): void {
    const waiting = this.#waiting.get(sink);
    this.#waiting.delete(sink);
    if (signal?.aborted === true) waiting?.reject(signal.reason);
    else waiting?.resolve();
  }

  #pending(live: Promise<Subscription>, subscription: Subscription): PendingSubscription {
    const pending = this.#handled(live) as PendingSubscription;
    pending[Symbol.asyncIterator] = () => {
      live.catch(ignore);
      return subscription;
    };
    return pending;
  }

  /** With an `onError`, a failure goes there and the promise counts as handled; it still rejects for those who wait. */
  #handled<T>(promise: Promise<T>): Promise<T> {
    const { onError } = this.options;
    if (onError !== undefined) promise.catch((error: unknown) => report(error, onError));
    return promise;
  }
}

function ignore(): void {}

function closed(what: string): PubSubError {
  return new PubSubError("CLOSED", `Cannot ${what}: this PubSub was closed. Make a new one with createPubSub().`);
}

function checkGap(onGap: OnGap | undefined): OnGap | undefined {
  if (onGap === undefined || onGap === "ignore" || typeof onGap === "function") return onGap;
  throw new PubSubError("INVALID_OPTION", `onGap must be a function or 'ignore', not ${excerpt(onGap)}.`);
}

function checkListening({ signal, onGap, group, own }: ListenOptions): void {
  checkSignal(signal);
  checkGap(onGap);
  if (group !== undefined && (typeof group !== "string" || group === ""))
    throw new PubSubError("INVALID_OPTION", `group must be a string that is not empty, not ${excerpt(group)}.`);
  if (own !== undefined && typeof own !== "boolean")
    throw new PubSubError("INVALID_OPTION", `own must be true or false, not ${excerpt(own)}.`);
}

function checkTimeout(name: string, value: number | undefined): void {
  if (value !== undefined && (typeof value !== "number" || !(value >= 0)))
    throw new PubSubError("INVALID_OPTION", `${name} must be a number of milliseconds, not ${excerpt(value)}.`);
}

function checkTarget(target: unknown): EventTarget {
  const candidate = target as Partial<EventTarget> | null;
  if (typeof candidate?.addEventListener === "function" && typeof candidate.dispatchEvent === "function")
    return target as EventTarget;
  throw new PubSubError(
    "INVALID_OPTION",
    "eventTarget must be an EventTarget, or what one of the create…EventTarget functions returned.",
  );
}
