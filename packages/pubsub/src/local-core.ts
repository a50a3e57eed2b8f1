// The cores that need no transport: in process, and over a plain EventTarget. This file must not import the transport
// core, only its contract: the root stays small.
import { allowListeners } from "./abort.ts";
import { DONE } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import { Dispatcher } from "./dispatcher.ts";
import { isEnvelope } from "./envelope.ts";
import type { EventEnvelope } from "./envelope.ts";
import { excerpt, formatTopic, PubSubError, report } from "./errors.ts";
import { randomId } from "./timers.ts";
import { isPattern } from "./topic.ts";
import type { Status, Supports } from "./transport.ts";

const INSTANT: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "full",
  subscribeAck: true,
  overlap: "once",
  patterns: "native",
  echo: false,
  groups: false,
  replay: false,
  maxPayload: undefined,
};

const IN_PROCESS: Supports = { ...INSTANT, ends: 1 };

/** A core whose status never changes and whose publishes never wait. */
abstract class InstantCore implements Core {
  readonly id: string;
  abstract readonly supports: Supports;
  readonly status: Status = "ready";

  constructor(id: string = randomId()) {
    this.id = id;
  }

  onStatus(): () => void {
    return () => undefined;
  }

  settle(): Promise<void> {
    return DONE;
  }

  abstract publish(envelope: EventEnvelope): Promise<void>;
  abstract subscribe(sink: Sink): undefined;
  abstract unsubscribe(sink: Sink): void;
  abstract sinks(): Iterable<Sink>;
}

/** The fast path: no transport, no `CustomEvent`, no joined topic. */
export class LocalCore extends InstantCore {
  readonly supports: Supports = IN_PROCESS;
  readonly #dispatcher = new Dispatcher();

  override publish(envelope: EventEnvelope): Promise<void> {
    this.#dispatcher.dispatch(envelope, true);
    return DONE;
  }

  override subscribe(sink: Sink): undefined {
    if (sink.group !== undefined) throw unsupported("Groups", "an event target whose manifest says groups: true");
    this.#dispatcher.add(sink);
  }

  override unsubscribe(sink: Sink): void {
    this.#dispatcher.delete(sink);
  }

  override sinks(): Iterable<Sink> {
    return this.#dispatcher.sinks();
  }
}

/** Over an `EventTarget` that is none of ours: its own dispatch, exact topics, envelopes as `detail`. */
export class PlainCore extends InstantCore {
  readonly supports: Supports = { ...INSTANT, patterns: "none", publishAck: "none", lossDetection: "none" };
  readonly #target: EventTarget;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #listeners = new Map<Sink, (event: Event) => void>();
  /** What this core is dispatching; that, and nothing else, is its own. */
  #current: unknown;

  constructor(target: EventTarget, onError: ((error: unknown) => void) | undefined, id?: string) {
    super(id);
    this.#target = target;
    allowListeners(target);
    this.#onError = onError;
  }

  override publish(envelope: EventEnvelope): Promise<void> {
    const before = this.#current;
    this.#current = envelope;
    try {
      this.#target.dispatchEvent(new CustomEvent(formatTopic(envelope.type, envelope.id), { detail: envelope }));
    } catch (error) {
      return Promise.reject(error);
    } finally {
      this.#current = before;
    }
    return DONE;
  }

  override subscribe(sink: Sink): undefined {
    if (isPattern(sink.type) || sink.id === undefined)
      throw unsupported(
        "Patterns and subscriptions to every id",
        "a topic with its id, or an event target of this library",
      );
    if (sink.group !== undefined) throw unsupported("Groups", "an event target whose manifest says groups: true");
    const listener = (event: Event): void => {
      const { detail } = event as CustomEvent<unknown>;
      if (!isEnvelope(detail) || detail.type !== sink.type || detail.id !== sink.id)
        report(
          new PubSubError(
            "MALFORMED",
            `An event ${excerpt(event.type)} on the given EventTarget has no envelope of that topic as its detail. Dispatch { type, id, payload }.`,
          ),
          this.#onError,
        );
      else if (sink.active && (sink.own || detail !== this.#current)) sink.deliver(detail);
    };
    sink.active = true;
    this.#listeners.set(sink, listener);
    this.#target.addEventListener(formatTopic(sink.type, sink.id), listener);
  }

  override unsubscribe(sink: Sink): void {
    const listener = this.#listeners.get(sink);
    if (listener === undefined) return;
    sink.active = false;
    this.#listeners.delete(sink);
    this.#target.removeEventListener(formatTopic(sink.type, sink.id), listener);
  }

  override sinks(): Iterable<Sink> {
    return [...this.#listeners.keys()];
  }
}

function unsupported(what: string, instead: string): PubSubError {
  return new PubSubError("UNSUPPORTED", `${what} need more than this target can do; use ${instead}.`);
}
