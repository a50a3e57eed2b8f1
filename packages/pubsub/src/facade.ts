import { checkSignal, onAbort } from "./abort.ts";
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

/** A listener as it was added. */
interface Registration {
  readonly listener: AnyListener;
  readonly capture: boolean;
  readonly once: boolean;
  readonly release: (() => void) | undefined;
  /** Also while a dispatch goes over a list that still has it. */
  removed: boolean;
}

/** What listeners get. Remembers that it was stopped, which events tell nobody. */
class TopicEvent extends CustomEvent<unknown> {
  readonly of: TopicSink;
  stopped = false;

  constructor(of: TopicSink, detail: unknown) {
    super(of.topic, { detail });
    this.of = of;
  }

  override stopImmediatePropagation(): void {
    this.stopped = true;
    super.stopImmediatePropagation();
  }
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
  /** In order of adding; never changed, but replaced. */
  registrations: readonly Registration[] = [];
  /** What the platform calls, once an event. */
  readonly listener = (event: Event): void => {
    // Node calls what was added during a dispatch for the event under way, and this topic may have come anew.
    if (event instanceof TopicEvent && event.of === this) this.#call(event);
  };

  constructor(topic: string, owner: Facade) {
    const { type, id } = parseTopic(topic);
    this.type = type;
    this.id = id;
    this.topic = topic;
    this.owner = owner;
  }

  deliver(envelope: EventEnvelope): void {
    this.owner.emit(this, envelope);
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

  #call(event: TopicEvent): void {
    const { registrations } = this;
    for (const capture of [true, false]) {
      for (const registration of registrations) {
        if (registration.removed || registration.capture !== capture) continue;
        if (registration.once) this.owner.remove(this, registration);
        const { listener } = registration;
        try {
          if (typeof listener === "function") listener.call(this.owner, event);
          else listener.handleEvent(event);
        } catch (error) {
          // Uncaught, as the standard has it: `onError` is for what goes wrong with the target.
          report(error, undefined);
        }
        if (event.stopped) return;
      }
      if (event.cancelBubble) return;
    }
  }
}

/**
 * The web standard's face of a core. The platform dispatches, so that an event has its target, phase and path; which
 * listeners there are is kept here, because the first one of a topic subscribes and the last one unsubscribes, and they
 * are called from here, because Node departs from the standard in what they see (`currentTarget`), which of them it calls
 * (those added meanwhile) and in which order (capture).
 */
export class Facade extends EventTarget implements AsyncDisposable {
  readonly #core: Core & Pick<TransportCore, "close" | "closed">;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #topics = new Map<string, TopicSink>();

  constructor(core: TransportCore, onError: ((error: unknown) => void) | undefined) {
    super();
    Object.defineProperty(this, coreOf, { value: core });
    this.#core = core;
    this.#onError = onError;
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
    const { once = false, signal } = settingsOf(options);
    const capture = captureOf(options);
    checkSignal(signal);
    if (listener === null || listener === undefined) return;
    if (typeof listener !== "function" && typeof listener !== "object")
      throw new TypeError(`A listener is a function, or an object with handleEvent, not ${excerpt(listener)}.`);
    if (signal?.aborted === true) return;
    if (sink.registrations.some((known) => known.listener === listener && known.capture === capture)) return;
    const registration: Registration = {
      listener,
      capture,
      once: Boolean(once),
      release: signal && onAbort(signal, () => this.remove(sink, registration)),
      removed: false,
    };
    sink.registrations = [...sink.registrations, registration];
    if (sink.registrations.length === 1) this.#subscribe(sink);
  }

  override removeEventListener(
    topic: string,
    listener: AnyListener | null,
    options?: boolean | EventListenerOptions,
  ): void {
    const capture = captureOf(options);
    const sink = this.#topics.get(topic);
    const registration = sink?.registrations.find((known) => known.listener === listener && known.capture === capture);
    if (sink !== undefined && registration !== undefined) this.remove(sink, registration);
  }

  /** @internal */
  remove(sink: TopicSink, registration: Registration): void {
    if (registration.removed) return;
    registration.removed = true;
    registration.release?.();
    sink.registrations = sink.registrations.filter((known) => known !== registration);
    if (sink.registrations.length > 0) return;
    this.#topics.delete(sink.topic);
    super.removeEventListener(sink.topic, sink.listener);
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
  emit(sink: TopicSink, envelope: EventEnvelope): void {
    super.dispatchEvent(new TopicEvent(sink, this.detailOf(envelope)));
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
    for (const registration of sink.registrations) {
      registration.removed = true;
      registration.release?.();
    }
    sink.registrations = [];
    super.removeEventListener(sink.topic, sink.listener);
    this.#core.unsubscribe(sink);
  }

  #subscribe(sink: TopicSink): void {
    this.#topics.set(sink.topic, sink);
    super.addEventListener(sink.topic, sink.listener);
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

/** As the standard reads them: what is no object has no options but `capture`. */
function settingsOf(options: boolean | AddEventListenerOptions | null | undefined): AddEventListenerOptions {
  return typeof options === "object" ? (options ?? {}) : {};
}

/** As the standard reads it: whatever is truthy, itself where it is no object. */
function captureOf(options: boolean | EventListenerOptions | null | undefined): boolean {
  return Boolean(typeof options === "object" ? options?.capture : options);
}
