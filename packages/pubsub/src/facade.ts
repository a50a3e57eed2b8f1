import { allowListeners, checkSignal, onAbort } from "./abort.ts";
import { coreOf } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import type { EventEnvelope } from "./envelope.ts";
import { excerpt, isEnvelope } from "./envelope.ts";
import { PubSubError, report, undefinedPayload } from "./errors.ts";
import { gapError } from "./queue.ts";
import { parseTopic, checkId, checkType } from "./topic.ts";
import type { Gap, Status, Supports } from "./transport.ts";
import type { TransportCore } from "./transport-core.ts";

type AnyListener = EventListenerOrEventListenerObject;

/** A listener as it was added, and what was really registered for it. */
interface Registration {
  readonly listener: AnyListener;
  readonly capture: boolean;
  readonly registered: AnyListener;
  readonly release: (() => void) | undefined;
}

/** One topic that has listeners; a sink of the core. */
class TopicSink implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string;
  readonly own = true;
  readonly owner: Facade;
  readonly topic: string;
  registrations: Registration[] = [];

  constructor(topic: string, owner: Facade) {
    const { type, id } = parseTopic(topic);
    this.type = type;
    this.id = id;
    this.topic = topic;
    this.owner = owner;
  }

  deliver(envelope: EventEnvelope): void {
    this.owner.emit(this.topic, envelope);
  }

  gap(gap: Gap): void {
    this.owner.report(gapError(gap));
  }

  fail(error: unknown): void {
    this.owner.dropTopic(this);
    this.owner.report(error);
  }

  end(): void {
    this.owner.dropTopic(this);
  }
}

/**
 * The web standard's face of a core. Dispatching to listeners is the platform's own (order, `once`, `signal`, object
 * listeners, removal during dispatch, errors); what is added is that the first listener of a topic subscribes and the
 * last one unsubscribes. To know when that is, every registration is mirrored here, so `once` and `signal` go through
 * our own `removeEventListener`.
 */
export class Facade extends EventTarget implements AsyncDisposable {
  readonly #core: Core & Pick<TransportCore, "close" | "closed">;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #topics = new Map<string, TopicSink>();
  /** What is being dispatched; the core dispatches one after the other. */
  #current: Event | undefined;

  constructor(core: TransportCore, onError: ((error: unknown) => void) | undefined) {
    super();
    Object.defineProperty(this, coreOf, { value: core });
    this.#core = core;
    this.#onError = onError;
    allowListeners(this);
  }

  get supports(): Supports {
    return this.#core.supports;
  }

  get status(): Status {
    return this.#core.status;
  }

  get closed(): Promise<void> {
    return this.#core.closed;
  }

  onStatus(listener: (status: Status, cause: unknown) => void): () => void {
    return this.#core.onStatus(listener);
  }

  close(): Promise<void> {
    return this.#core.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @throws InvalidTopicError for a topic that cannot exist; facade topics are exact. */
  override addEventListener(
    topic: string,
    listener: AnyListener | null,
    options?: boolean | AddEventListenerOptions,
  ): void {
    const sink = this.#topics.get(topic) ?? new TopicSink(topic, this);
    if (listener === null || listener === undefined) return;
    const { capture = false, once = false, signal } = settingsOf(options);
    checkSignal(signal);
    if (signal?.aborted === true) return;
    if (sink.registrations.some((known) => known.listener === listener && known.capture === capture)) return;
    const remove = (): void => this.removeEventListener(topic, listener, { capture });
    // Node calls a listener for the very event during which it was added; the standard does not.
    const missed = this.#current;
    const registered: AnyListener =
      once || missed !== undefined
        ? (event) => {
            if (event === missed) return;
            if (once) remove();
            if (typeof listener === "function") listener.call(this, event);
            else listener.handleEvent(event);
          }
        : listener;
    // The platform's own checks of the listener come first, so that a refused one leaves nothing behind.
    super.addEventListener(topic, registered, { capture });
    const release = signal && onAbort(signal, remove);
    sink.registrations.push({ listener, capture, registered, release });
    if (sink.registrations.length === 1) this.#subscribe(sink);
  }

  override removeEventListener(
    topic: string,
    listener: AnyListener | null,
    options?: boolean | EventListenerOptions,
  ): void {
    const { capture = false } = settingsOf(options);
    const sink = this.#topics.get(topic);
    const at = sink?.registrations.findIndex((known) => known.listener === listener && known.capture === capture) ?? -1;
    if (sink === undefined || at < 0) return;
    const [gone] = sink.registrations.splice(at, 1) as [Registration];
    gone.release?.();
    super.removeEventListener(topic, gone.registered, capture);
    if (sink.registrations.length > 0) return;
    this.#topics.delete(topic);
    this.#core.unsubscribe(sink);
  }

  /**
   * Publishes the envelope in `event.detail`. Returns true; a failure goes to `onError`, since nothing else is left to
   * tell.
   */
  override dispatchEvent(event: Event): boolean {
    try {
      const envelope = this.envelopeOf(event as CustomEvent<unknown>);
      checkType(envelope.type);
      checkId(envelope.id);
      if (envelope.payload === undefined) throw undefinedPayload(envelope.type, envelope.id);
      this.#core.publish(envelope, this).catch((error: unknown) => this.report(error));
    } catch (error) {
      this.report(error);
    }
    return true;
  }

  /** @internal An envelope for the listeners of a topic. */
  emit(topic: string, envelope: EventEnvelope): void {
    this.#current = new CustomEvent(topic, { detail: this.detailOf(envelope) });
    super.dispatchEvent(this.#current);
    this.#current = undefined;
  }

  /** @internal What an event that is dispatched means. @throws PubSubError */
  envelopeOf({ detail }: CustomEvent<unknown>): EventEnvelope {
    if (isEnvelope(detail)) return detail;
    throw new PubSubError(
      "MALFORMED",
      `dispatchEvent needs a CustomEvent whose detail is { type, id, payload }, not ${excerpt(detail)}.`,
    );
  }

  /** @internal What listeners find in `event.detail`. */
  detailOf(envelope: EventEnvelope): unknown {
    return envelope;
  }

  /** @internal */
  report(error: unknown): void {
    report(error, this.#onError);
  }

  /** @internal The topic's subscription is over; its listeners will hear nothing more. */
  dropTopic(sink: TopicSink): void {
    if (this.#topics.get(sink.topic) !== sink) return;
    this.#topics.delete(sink.topic);
    for (const { registered, capture, release } of sink.registrations.splice(0)) {
      release?.();
      super.removeEventListener(sink.topic, registered, capture);
    }
    this.#core.unsubscribe(sink);
  }

  #subscribe(sink: TopicSink): void {
    this.#topics.set(sink.topic, sink);
    try {
      this.#core.subscribe(sink)?.catch((error: unknown) => this.#refused(sink, error));
    } catch (error) {
      this.#refused(sink, error);
    }
  }

  #refused(sink: TopicSink, error: unknown): void {
    this.dropTopic(sink);
    this.report(error);
  }
}

/** As the standard reads it: a boolean is `capture`, and nothing, null included, is no options. */
function settingsOf(options: boolean | AddEventListenerOptions | null | undefined): AddEventListenerOptions {
  return typeof options === "object" ? (options ?? {}) : { capture: options === true };
}
