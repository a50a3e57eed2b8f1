import { checkSignal, onAbort } from "./abort.ts";
import type { Listener, ListenOptions, PubSub, PubSubOptions, SubscribeOptions } from "./api.ts";
import { CheckedCore } from "./checked-core.ts";
import { coreOf, DONE } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import type { PubSubEventMap } from "./envelope.ts";
import { excerpt, PubSubError, report, undefinedPayload } from "./errors.ts";
import { ListenerSink } from "./listener.ts";
import type { ListenerOwner } from "./listener.ts";
import { LocalCore, PlainCore } from "./local-core.ts";
import { checkGap, checkListening, checkTarget, checkTimeout } from "./options.ts";
import { checkBuffer, Queue } from "./queue.ts";
import type { QueueSettings } from "./queue.ts";
import type { SchemaInputs, SchemaOutputs, Schemas } from "./schema.ts";
import { forget, subscriptionOf } from "./subscription.ts";
import type { PendingSubscription, Subscription } from "./subscription.ts";
import { checkFilter, checkId, checkType } from "./topic.ts";
import type { Status, Supports } from "./transport.ts";

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

/** The one implementation; generic typing is the interface's. */
class PubSubOverCore implements ListenerOwner {
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
