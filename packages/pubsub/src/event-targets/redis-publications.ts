import type { EventEnvelope } from "../envelope.ts";
import { describe, PubSubError } from "../errors.ts";
import { stringifyWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import type { Posted } from "../transport.ts";
import type { Side } from "./redis-side.ts";

/** Bytes or so of one message with several events. */
const MAX_BATCH = 64 * 1024;

interface Batch {
  readonly texts: string[];
  readonly posted: Posted[];
  size: number;
}

/** What is on its way to Redis. */
export class Publications {
  readonly #publisher: Side;
  readonly #serializer: Serializer;
  readonly #batch: boolean;
  readonly #gathered = new Map<string, Batch>();

  constructor(publisher: Side, serializer: Serializer, batch: boolean) {
    this.#publisher = publisher;
    this.#serializer = serializer;
    this.#batch = batch;
  }

  /** @throws PayloadError */
  post(channel: string, envelope: EventEnvelope): Posted {
    const text = stringifyWith(this.#serializer, envelope);
    const posted: Posted = { waiter: undefined };
    if (!this.#batch) {
      this.#send(channel, text, [posted]);
      return posted;
    }
    if (this.#gathered.size === 0) queueMicrotask(() => this.#flush());
    const batch = this.#gathered.get(channel);
    if (batch === undefined || batch.size + text.length > MAX_BATCH) {
      if (batch !== undefined) this.#sendBatch(channel, batch);
      this.#gathered.set(channel, { texts: [text], posted: [posted], size: text.length });
    } else {
      batch.texts.push(text);
      batch.posted.push(posted);
      batch.size += text.length;
    }
    return posted;
  }

  #flush(): void {
    for (const [channel, batch] of this.#gathered) this.#sendBatch(channel, batch);
    this.#gathered.clear();
  }

  #sendBatch(channel: string, { texts, posted }: Batch): void {
    this.#send(channel, texts.length === 1 ? (texts[0] as string) : `[${texts.join(",")}]`, posted);
  }

  #send(channel: string, text: string, posted: readonly Posted[]): void {
    const { connection, epoch } = this.#publisher;
    const failed = (error: unknown): void => {
      const refusal = this.#refusal(error, epoch);
      for (const { waiter } of posted) waiter?.refused(refusal);
    };
    let answer: Promise<unknown>;
    try {
      answer = connection.publish(channel, text);
    } catch (error) {
      return queueMicrotask(() => failed(error));
    }
    answer.then(() => {
      this.#publisher.heard();
      for (const { waiter } of posted) waiter?.accepted();
    }, failed);
  }

  /** Why an event was not published: Redis said so, or nobody can say whether it was. */
  #refusal(error: unknown, epoch: number): unknown {
    if (this.#publisher.ready && this.#publisher.epoch === epoch && this.#publisher.connection.ready)
      return /timed out/i.test(describe(error))
        ? new PubSubError("TIMEOUT", "Redis has not answered in time; the event may have been delivered.", {
            cause: error,
          })
        : error;
    return new PubSubError("INTERRUPTED", "The connection ended before Redis answered; the event may be delivered.", {
      cause: error,
    });
  }
}
