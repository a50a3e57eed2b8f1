import type { EventEnvelope } from "./envelope.ts";
import { PubSubError } from "./errors.ts";
import { stringify, stringifyAfter } from "./serializer.ts";
import type { Serializer } from "./serializer.ts";
import type { Posted, Waiter } from "./transport.ts";

/** Bytes or so of one message with several events. */
const MOST = 64 * 1024;

/** @throws PubSubError `INVALID_OPTION` */
export function checkBatch(batch: boolean, serializer: Serializer): void {
  if (batch && serializer !== JSON)
    throw new PubSubError("INVALID_OPTION", "batch joins JSON; leave it out where there is a serializer.");
}

/**
 * Gathers what is published to one topic of a broker within one tick, and publishes it as one message, an array. A lone event
 * goes out as it is.
 */
export class Gathering {
  readonly #post: (topic: string, text: string, first: EventEnvelope) => Posted;
  #gathered = new Map<string, Batch>();

  /** @param post publishes one message; may throw */
  constructor(post: (topic: string, text: string, first: EventEnvelope) => Posted) {
    this.#post = post;
  }

  /**
   * @param most characters that a message with several events may have
   * @throws PayloadError
   */
  add(topic: string, envelope: EventEnvelope, most: number = MOST): Posted {
    const batch = this.#gathered.get(topic);
    if (batch !== undefined) {
      const posted = batch.add(stringifyAfter(batch.first, envelope), Math.min(most, MOST));
      if (posted !== undefined) return posted;
    }
    const next = new Batch(envelope);
    if (batch !== undefined) this.#send(topic, batch);
    else if (this.#gathered.size === 0) queueMicrotask(() => this.#flush());
    this.#gathered.set(topic, next);
    return next.posted[0] as Posted;
  }

  #flush(): void {
    // Another one: what a Map that is cleared once held may stay until the next full collection.
    const gathered = this.#gathered;
    this.#gathered = new Map();
    for (const [topic, batch] of gathered) this.#send(topic, batch);
  }

  #send(topic: string, batch: Batch): void {
    try {
      this.#post(topic, batch.text, batch.first).waiter = batch;
    } catch (error) {
      batch.refused(error);
    }
  }
}

/** Waits for the answer to a message for all whose events are in it. */
class Batch implements Waiter {
  readonly first: EventEnvelope;
  readonly posted: Posted[] = [{ waiter: undefined }];
  readonly #texts: string[];
  #size: number;

  constructor(first: EventEnvelope) {
    const text = stringify(first);
    this.first = first;
    this.#texts = [text];
    this.#size = text.length + 2;
  }

  /** @returns undefined where there is no room for it */
  add(text: string, most: number): Posted | undefined {
    const size = this.#size + text.length + 1;
    if (size > most) return undefined;
    this.#size = size;
    this.#texts.push(text);
    const posted: Posted = { waiter: undefined };
    this.posted.push(posted);
    return posted;
  }

  get text(): string {
    return this.#texts.length === 1 ? (this.#texts[0] as string) : `[${this.#texts.join(",")}]`;
  }

  accepted(): void {
    for (const { waiter } of this.posted) waiter?.accepted();
  }

  refused(error: unknown): void {
    for (const { waiter } of this.posted) waiter?.refused(error);
  }
}
