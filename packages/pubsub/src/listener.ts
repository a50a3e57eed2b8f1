import { onAbort } from "./abort.ts";
import type { Listener, ListenOptions, PubSubOptions } from "./api.ts";
import type { Core, Sink } from "./core.ts";
import type { EventEnvelope } from "./envelope.ts";
import { report } from "./errors.ts";
import { gapError } from "./queue.ts";
import type { Gap } from "./transport.ts";

/** The PubSub of a listener. */
export interface ListenerOwner {
  readonly core: Core;
  readonly options: PubSubOptions;
  /** The sink has left the core; whoever waits for it to be live is answered. */
  waitsNoMore(sink: Sink, signal: AbortSignal | undefined): void;
}

/** What few listeners have; the others share one that is empty. */
interface ListenerExtras extends ListenOptions {
  ignoreSignal?: () => void;
}

const NO_EXTRAS: ListenerExtras = {};

/** A listener as the core sees it. There may be very many, so it is small, and first comes what a dispatch looks at. */
export class ListenerSink implements Sink {
  active = false;
  readonly own: boolean;
  readonly #listener: Listener;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly owner: ListenerOwner;
  readonly #extras: ListenerExtras;

  constructor(
    type: string,
    id: string | undefined,
    listener: Listener,
    options: ListenOptions | undefined,
    owner: ListenerOwner,
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
