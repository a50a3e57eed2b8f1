import type { coreOf } from "./core.ts";
import type { TypedEvent, TypedEventTarget } from "./envelope.ts";
import { Facade } from "./facade.ts";
import type { Status, Supports, Transport } from "./transport.ts";
import { TransportCore } from "./transport-core.ts";
import type { CoreOptions } from "./transport-core.ts";

/** Options of every event target. All times are in milliseconds. */
export interface EventTargetOptions extends CoreOptions {
  /** Whether to connect at once rather than on first use. Default false; pipes connect at once. */
  readonly eager?: boolean;
}

/**
 * An event target over a transport: give it to `createPubSub`, or use it as the web standard's `EventTarget` with
 * topics as event types and envelopes as `detail`.
 */
export interface AlkEventTarget<TEvent extends TypedEvent = TypedEvent>
  extends TypedEventTarget<TEvent>, AsyncDisposable {
  /** What this target can promise. */
  readonly supports: Supports;
  readonly status: Status;
  /** Resolves once the target is closed, by `close()` or from outside; never rejects. */
  readonly closed: Promise<void>;
  /** Calls back on every change of status; returns a function that stops it. */
  onStatus(listener: (status: Status, cause: unknown) => void): () => void;
  /** Releases everything: publishes in flight settle, subscriptions drain. Idempotent. */
  close(): Promise<void>;
  /** @internal How `createPubSub` reaches the core. */
  readonly [coreOf]: TransportCore;
}

/**
 * Makes an event target of a transport. Every `create…EventTarget` of the library is a call of this function.
 *
 * @example
 * const target = defineEventTarget(myTransport);
 * const pubsub = createPubSub({ eventTarget: target });
 */
export function defineEventTarget<TEvent extends TypedEvent = TypedEvent>(
  transport: Transport,
  options: EventTargetOptions = {},
): AlkEventTarget<TEvent> {
  const core = new TransportCore(transport, options);
  // A failure is told to whoever uses the target next, which tries again.
  if (options.eager === true) core.open().catch(() => undefined);
  return new Facade(core, options.onError) as unknown as AlkEventTarget<TEvent>;
}
