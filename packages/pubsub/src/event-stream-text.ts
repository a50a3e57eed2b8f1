/** The text of server-sent events, and a source of envelopes as such text. */
import type { EventEnvelope } from "./envelope.ts";
import { excerpt, PubSubError, report } from "./errors.ts";
import { Outgoing } from "./link/output.ts";
import { gapsTo, NOTHING, poll } from "./poll.ts";
import type { Pollable } from "./poll.ts";
import { joinGaps } from "./queue.ts";
import type { Subscription } from "./subscription.ts";
import { randomId } from "./timers.ts";
import type { Gap } from "./transport.ts";

/** Options of `toEventStream` and `sendEventStream`. */
export interface EventStreamOptions<T extends EventEnvelope = EventEnvelope> {
  /** Milliseconds of silence after which a comment is sent, so that proxies keep the connection. 0: never. Default 15,000. */
  readonly heartbeat?: number;
  /** Milliseconds that an `EventSource` is told to wait before it connects again. Default: its own, about 3,000. */
  readonly retry?: number;
  /**
   * The consumer's `Last-Event-ID`: it was here before. A subscription keeps nothing of what was missed, so that a gap
   * (`resume-expired`) comes first. A source that keeps (`createEventStreams` of `@alkdev/hub`) takes it when it is opened.
   */
  readonly lastEventId?: string | readonly string[] | null | undefined;
  /**
   * The id of an event, where events have one by which you can resume them yourself; undefined for none. Default: a random
   * name of the stream and a number. One with a line break or NUL is left out and reported.
   */
  readonly id?: (envelope: T) => string | undefined;
  /** Aborting closes the source; the consumer is told `end`. */
  readonly signal?: AbortSignal;
  /** Told of payloads that are no JSON (a gap stands in their place), and of what the source throws beside `PubSubError`s. */
  readonly onError?: (error: unknown) => void;
}

/**
 * A stream that makes its own text and ids, because it can resume: `EventStreams.open` of `@alkdev/hub` gives one. For one
 * consumer, which does not read again before the last read has resolved.
 */
export interface EventStream {
  /**
   * The text of some events, whole ones; waits for one, except that the first call resolves at once, with an id. Undefined
   * once the stream is over; the word of its end was part of the text before. Never rejects.
   */
  read(): Promise<string | undefined>;
  /** Nobody reads any more: frees everything, and a pending `read` is undefined. Idempotent. */
  cancel(): void;
}

/** What can be sent: a live subscription, any other source of envelopes, or a stream that can resume. */
export type EventStreamSource<T extends EventEnvelope = EventEnvelope> = AsyncIterable<T> | EventStream;

/** The text of one event. @throws PubSubError `INVALID_OPTION` for an id that would be more than one line */
export function eventText(id: string | undefined, event: string | undefined, data: unknown): string {
  return (
    (id === undefined ? "" : idLine(id)) +
    (event === undefined ? "" : `event: ${event}\n`) +
    `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`
  );
}

/** The text that gives the consumer an id, and no event. */
export function idText(id: string): string {
  return `${idLine(id)}\n`;
}

/** The last word: why a stream is over, or that its source was done. */
export function endText(error?: unknown): string {
  if (error === undefined) return eventText(undefined, "end", {});
  // Whatever else was thrown is for this side's eyes.
  const { code, message } =
    error instanceof PubSubError ? error : { code: "ERROR", message: "The source of this stream failed." };
  return eventText(undefined, "end", { code, message });
}

/** The id that a consumer names, where it names one. */
export function givenId(lastEventId: EventStreamOptions["lastEventId"]): string | undefined {
  const id = typeof lastEventId === "object" ? lastEventId?.[0] : lastEventId;
  return id === "" ? undefined : id;
}

/** Characters that one read gives, or a little more. */
export const MAX_TEXT: number = 64 * 1024;

/** A comment, which consumers ignore. */
export const HEARTBEAT: string = ":\n";

// eslint-disable-next-line no-control-regex
const BREAKS = /[\r\n\0]/;

function idLine(id: string): string {
  if (BREAKS.test(id))
    throw new PubSubError("INVALID_OPTION", `The id of an event must be one line without NUL, not ${excerpt(id)}.`);
  return `id: ${id}\n`;
}

/** A source as text. @throws PubSubError `INVALID_OPTION` */
export function streamOf<T extends EventEnvelope>(
  source: EventStreamSource<T>,
  options: EventStreamOptions<T>,
): EventStream {
  if (typeof (source as Partial<AsyncIterable<T>> | null)?.[Symbol.asyncIterator] === "function")
    return new EnvelopeStream(source as AsyncIterable<T>, options);
  if (typeof (source as Partial<EventStream> | null)?.read !== "function")
    throw new PubSubError(
      "INVALID_OPTION",
      `An event stream needs a subscription or another async iterable of envelopes, not ${excerpt(source)}.`,
    );
  if (options.id !== undefined || givenId(options.lastEventId) !== undefined)
    throw new PubSubError(
      "INVALID_OPTION",
      "This stream has ids of its own; give lastEventId to whatever opened it, and leave out id.",
    );
  return source as EventStream;
}

/** Gaps that the consumer has come to. Apart from the stream: the subscription's queue holds it, and must not hold more. */
interface Reached {
  gaps: Gap[];
  wake: (() => void) | undefined;
}

/** Where the Subscription of a source hands its gaps, and how a source is read without a promise an event. */
type Readable<T> = AsyncIterator<T, unknown> &
  Partial<Pick<Subscription, typeof gapsTo>> &
  Partial<Pick<Pollable<T>, typeof poll>>;

/** A source of envelopes as text. */
class EnvelopeStream<T extends EventEnvelope> implements EventStream {
  readonly #source: Readable<T>;
  readonly #options: EventStreamOptions<T>;
  readonly #name: string = randomId().slice(0, 16);
  readonly #reached: Reached = { gaps: [], wake: undefined };
  #count = 0;
  #began = false;
  #pulling = false;
  #result: IteratorResult<T, unknown> | { readonly error: unknown } | undefined;
  #over = false;

  constructor(source: AsyncIterable<T>, options: EventStreamOptions<T>) {
    this.#source = source[Symbol.asyncIterator]();
    this.#options = options;
    const reached = this.#reached;
    this.#source[gapsTo]?.((gap) => {
      const at = reached.gaps.findIndex(({ reason }) => reason === gap.reason);
      if (at < 0) reached.gaps.push(gap);
      else reached.gaps[at] = joinGaps(reached.gaps[at] as Gap, gap);
      reached.wake?.();
    });
  }

  async read(): Promise<string | undefined> {
    if (this.#over) return undefined;
    if (!this.#began) return this.#begin();
    const reached = this.#reached;
    this.#pull();
    if (this.#result === undefined && reached.gaps.length === 0) {
      await new Promise<void>((resolve) => (reached.wake = resolve));
      reached.wake = undefined;
    }
    if (this.#over) return undefined;
    let text = "";
    for (const gap of reached.gaps.splice(0)) text += this.#gapText(gap);
    const result = this.#result;
    this.#result = undefined;
    if (result === undefined) return text;
    if ("error" in result) {
      this.#over = true;
      if (!(result.error instanceof PubSubError)) report(result.error, this.#options.onError);
      return text + endText(result.error);
    }
    if (result.done === true) {
      this.#over = true;
      return text + endText();
    }
    text += this.#textOf(result.value);
    // The rest of what has come already, up to the next gap.
    for (let more = this.#ready(); more !== NOTHING; more = text.length < MAX_TEXT ? this.#ready() : NOTHING)
      text += this.#textOf(more);
    return text;
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#reached.wake?.();
    void this.#close();
  }

  async #close(): Promise<void> {
    try {
      await this.#source.return?.();
    } catch (error) {
      report(error, this.#options.onError);
    }
  }

  #begin(): string {
    this.#began = true;
    if (givenId(this.#options.lastEventId) !== undefined) {
      const now = Date.now();
      return this.#gapText({ reason: "resume-expired", since: now, until: now, lost: "unknown" });
    }
    return this.#options.id === undefined ? idText(this.#id()) : HEARTBEAT;
  }

  #pull(): void {
    if (this.#pulling || this.#result !== undefined) return;
    this.#pulling = true;
    const settled = (result: IteratorResult<T, unknown> | { readonly error: unknown }): void => {
      this.#pulling = false;
      this.#result = result;
      this.#reached.wake?.();
    };
    this.#source.next().then(settled, (error: unknown) => settled({ error }));
  }

  #ready(): T | typeof NOTHING {
    return this.#source[poll]?.() ?? NOTHING;
  }

  #id(): string {
    return `${this.#name}.${this.#count}`;
  }

  #gapText(gap: Gap): string {
    return eventText(this.#options.id === undefined ? this.#id() : undefined, "gap", gap);
  }

  #textOf(envelope: T): string {
    const { onError } = this.#options;
    this.#count++;
    let json: string;
    try {
      ({ json } = new Outgoing(envelope));
    } catch (error) {
      report(error, onError);
      const now = Date.now();
      return this.#gapText({ reason: "overflow", since: now, until: now, lost: 1 });
    }
    let id: string | undefined;
    try {
      id = this.#options.id === undefined ? this.#id() : this.#options.id(envelope);
      return eventText(id, undefined, json);
    } catch (error) {
      // Without it a consumer that comes back names the one before, and misses nothing.
      report(error, onError);
      return eventText(undefined, undefined, json);
    }
  }
}
