/**
 * @module Server-sent events: a subscription as a web `Response`, or over Node's http, for consumers that only listen.
 *
 * What a consumer (`EventSource`, `curl -N`) gets, each with an `id:` line:
 *
 * - an event: no `event:` line, so that `onmessage` hears it; `data:` is the whole envelope as one line of JSON;
 * - a loss: `event: gap`, `data:` the `Gap` as JSON, in the place where the events are missing;
 * - the end: `event: end`, `data:` `{}` where the source was done, else `{ "code", "message" }`. Without it the connection
 *   was cut. An `EventSource` connects again after either, until its `close()` is called.
 *
 * The stream begins with an id of its own, so that a consumer which is cut off before the first event names it too. No
 * `Node` import, and no transport: this is an end of the road, not a way on.
 */
import { checkSignal, onAbort } from "./abort.ts";
import type { EventEnvelope } from "./envelope.ts";
import { excerpt, PubSubError, report } from "./errors.ts";
import { Outgoing } from "./link/output.ts";
import { checkTimeout } from "./options.ts";
import { gapsTo, NOTHING, poll } from "./poll.ts";
import type { Pollable } from "./poll.ts";
import { joinGaps } from "./queue.ts";
import type { Subscription } from "./subscription.ts";
import { quietDeadline, randomId } from "./timers.ts";
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

/** The part of Node's `http.ServerResponse` and `http2.Http2ServerResponse` that is used. */
export interface NodeResponse {
  readonly destroyed: boolean;
  writeHead(status: number, headers: Record<string, string>): unknown;
  write(text: string): boolean;
  end(): unknown;
  on(event: "close" | "drain" | "error" | "finish", listener: () => void): unknown;
  off(event: "close" | "drain" | "error" | "finish", listener: () => void): unknown;
}

/**
 * A subscription as a `Response` of server-sent events, for a fetch handler (Hono, Bun, Deno, Workers, Next).
 *
 * Given the promise of a subscription it resolves once that is live, so that an open connection means a live subscription; a
 * refusal rejects, and you answer. Nothing is asked of the source but what the consumer takes, so that a slow one fills the
 * subscription's buffer, whose policy then speaks. Where the consumer goes away the source is closed at once. Gaps of a
 * Subscription are in the stream, whatever its `onGap`, unless that is `'ignore'`.
 *
 * @throws PubSubError `INVALID_OPTION`; as a rejection what the promise rejects with
 * @example
 * const handler = (request: Request) =>
 *   toEventStream(pubsub.subscribe("session.*"), {
 *     lastEventId: request.headers.get("last-event-id"),
 *     signal: request.signal,
 *   });
 */
export function toEventStream<T extends EventEnvelope>(
  source: PromiseLike<EventStreamSource<T>>,
  options?: EventStreamOptions<T>,
): Promise<Response>;
export function toEventStream<T extends EventEnvelope>(
  source: EventStreamSource<T>,
  options?: EventStreamOptions<T>,
): Response;
export function toEventStream<T extends EventEnvelope>(
  source: EventStreamSource<T> | PromiseLike<EventStreamSource<T>>,
  options: EventStreamOptions<T> = {},
): Response | Promise<Response> {
  checkOptions(options);
  if (isPromise(source)) return Promise.resolve(source).then((live) => responseOf(live, options));
  return responseOf(source, options);
}

/**
 * Sends a subscription as server-sent events over Node's http. Resolves when the stream is over: the consumer went away, or
 * the source ended and all was written. As `toEventStream` in all else; a promise that rejects does so before anything was
 * written, and you answer. Set headers of your own (CORS) before, with `response.setHeader`.
 *
 * @throws PubSubError `INVALID_OPTION`, and what the promise rejects with; both as rejections
 * @example
 * createServer((request, response) => {
 *   const lastEventId = request.headers["last-event-id"];
 *   sendEventStream(pubsub.subscribe("session.*"), response, { lastEventId }).catch(() => response.destroy());
 * });
 */
export async function sendEventStream<T extends EventEnvelope>(
  source: EventStreamSource<T> | PromiseLike<EventStreamSource<T>>,
  response: NodeResponse,
  options: EventStreamOptions<T> = {},
): Promise<void> {
  checkOptions(options);
  let body: Body<T> | undefined;
  let gone = response.destroyed;
  let wake: (() => void) | undefined;
  const onClose = (): void => {
    gone = true;
    body?.cancel();
    wake?.();
  };
  const onDrain = (): void => wake?.();
  response.on("close", onClose);
  response.on("drain", onDrain);
  response.on("error", ignore);
  const told = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  try {
    body = new Body(await source, options);
    if (gone) return;
    response.writeHead(200, HEADERS);
    for (let text = await body.read(); text !== undefined && !gone; text = await body.read())
      if (!response.write(text) && !gone) await told();
    if (gone) return;
    response.on("finish", onDrain);
    const finished = told();
    response.end();
    await finished;
    response.off("finish", onDrain);
  } finally {
    body?.cancel();
    response.off("close", onClose);
    response.off("drain", onDrain);
    // What was written last may still fail; an error without a listener would end the process. `ignore` stays.
  }
}

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

const HEADERS: Record<string, string> = {
  "content-type": "text/event-stream",
  // A proxy that compresses holds events back until it has enough of them.
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

const HEARTBEAT = ":\n";

// eslint-disable-next-line no-control-regex
const BREAKS = /[\r\n\0]/;

function idLine(id: string): string {
  if (BREAKS.test(id))
    throw new PubSubError("INVALID_OPTION", `The id of an event must be one line without NUL, not ${excerpt(id)}.`);
  return `id: ${id}\n`;
}

function checkOptions<T extends EventEnvelope>({ heartbeat, retry, id, signal, onError }: EventStreamOptions<T>): void {
  checkTimeout("heartbeat", heartbeat);
  checkTimeout("retry", retry);
  checkSignal(signal);
  for (const [name, value] of Object.entries({ id, onError }))
    if (value !== undefined && typeof value !== "function")
      throw new PubSubError("INVALID_OPTION", `${name} must be a function, not ${excerpt(value)}.`);
}

function isPromise<T>(source: T | PromiseLike<T>): source is PromiseLike<T> {
  return typeof (source as PromiseLike<T> | null)?.then === "function";
}

function responseOf<T extends EventEnvelope>(source: EventStreamSource<T>, options: EventStreamOptions<T>): Response {
  const body = new Body(source, options);
  const encoder = new TextEncoder();
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const text = await body.read();
        if (body.cancelled) return;
        if (text === undefined) controller.close();
        else controller.enqueue(encoder.encode(text));
      },
      cancel: () => body.cancel(),
    },
    // Nothing is asked before the consumer asks: an answer that nobody reads holds nothing.
    { highWaterMark: 0 },
  );
  return new Response(stream, { headers: HEADERS });
}

/** What is sent: a stream's text, with comments in its silences. */
class Body<T extends EventEnvelope> {
  cancelled = false;
  readonly #stream: EventStream;
  readonly #heartbeat: number;
  #retry: string;
  #parked: ((text: string | undefined) => void) | undefined;
  #silence: (() => void) | undefined;
  /** A read of the stream has no answer yet; it outlives heartbeats. */
  #reading = false;
  #arrived: { readonly text: string | undefined } | undefined;
  #aborted = false;
  readonly #ignoreSignal: (() => void) | undefined;

  constructor(source: EventStreamSource<T>, options: EventStreamOptions<T>) {
    this.#stream = streamOf(source, options);
    const { heartbeat = 15_000, retry, signal } = options;
    this.#heartbeat = heartbeat;
    this.#retry = retry === undefined ? "" : `retry: ${Math.round(retry)}\n`;
    const abort = (): void => {
      this.#aborted = true;
      this.#stream.cancel();
    };
    if (signal?.aborted === true) abort();
    else this.#ignoreSignal = signal && onAbort(signal, abort);
  }

  /** The next text; undefined once nothing follows. */
  read(): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#parked = resolve;
      if (this.#arrived !== undefined) return this.#settle();
      if (this.#heartbeat > 0) this.#silence = quietDeadline(this.#heartbeat, () => this.#unpark(HEARTBEAT));
      if (this.#reading) return;
      this.#reading = true;
      void this.#stream.read().then((text) => {
        this.#reading = false;
        this.#arrived = { text };
        this.#settle();
      });
    });
  }

  cancel(): void {
    this.cancelled = true;
    this.#ignoreSignal?.();
    this.#stream.cancel();
    this.#unpark(undefined);
  }

  #settle(): void {
    if (this.#parked === undefined || this.#arrived === undefined) return;
    let { text } = this.#arrived;
    this.#arrived = undefined;
    if (text === undefined && this.#aborted) {
      this.#aborted = false;
      text = endText();
    }
    if (text === undefined) this.#ignoreSignal?.();
    else text = this.#retry + text;
    this.#retry = "";
    this.#unpark(text);
  }

  #unpark(text: string | undefined): void {
    const parked = this.#parked;
    this.#parked = undefined;
    this.#silence?.();
    this.#silence = undefined;
    parked?.(text);
  }
}

function streamOf<T extends EventEnvelope>(source: EventStreamSource<T>, options: EventStreamOptions<T>): EventStream {
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

function ignore(): void {}
