/** What both ends of an event stream, the web's and Node's, send: its text, in time and until it is over. */
import { checkSignal, onAbort } from "./abort.ts";
import type { EventEnvelope } from "./envelope.ts";
import { excerpt, PubSubError } from "./errors.ts";
import { endText, HEARTBEAT, streamOf } from "./event-stream-text.ts";
import type { EventStream, EventStreamOptions, EventStreamSource } from "./event-stream-text.ts";
import { checkTimeout } from "./options.ts";
import { quietDeadline } from "./timers.ts";

export const HEADERS: Record<string, string> = {
  "content-type": "text/event-stream",
  // A proxy that compresses holds events back until it has enough of them.
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

/** @throws PubSubError `INVALID_OPTION` */
export function checkOptions<T extends EventEnvelope>({
  heartbeat,
  retry,
  id,
  signal,
  onError,
}: EventStreamOptions<T>): void {
  checkTimeout("heartbeat", heartbeat);
  checkTimeout("retry", retry);
  checkSignal(signal);
  for (const [name, value] of Object.entries({ id, onError }))
    if (value !== undefined && typeof value !== "function")
      throw new PubSubError("INVALID_OPTION", `${name} must be a function, not ${excerpt(value)}.`);
}

/** What is sent: a stream's text, with comments in its silences. */
export class Body<T extends EventEnvelope> {
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
