import type { EventEnvelope } from "../envelope.ts";
import { describe, PubSubError } from "../errors.ts";
import { Gathering } from "../gathering.ts";
import { stringifyWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import type { Posted } from "../transport.ts";
import type { Connection } from "./redis-client.ts";
import type { Side } from "./redis-side.ts";

/** Where it is published. */
export interface Publisher extends Pick<Side, "epoch" | "ready" | "heard"> {
  readonly connection: Pick<Connection, "ready" | "publish">;
}

/** What is on its way to Redis. */
export class Publications {
  readonly #publisher: Publisher;
  readonly #serializer: Serializer;
  readonly #gathering: Gathering | undefined;

  constructor(publisher: Publisher, serializer: Serializer, batch: boolean) {
    this.#publisher = publisher;
    this.#serializer = serializer;
    if (batch) this.#gathering = new Gathering((channel, text) => this.#send(channel, text));
  }

  /** @throws PayloadError */
  post(channel: string, envelope: EventEnvelope): Posted {
    return this.#gathering === undefined
      ? this.#send(channel, stringifyWith(this.#serializer, envelope))
      : this.#gathering.add(channel, envelope);
  }

  #send(channel: string, text: string): Posted {
    const { connection, epoch } = this.#publisher;
    const posted: Posted = { waiter: undefined };
    const failed = (error: unknown): void => posted.waiter?.refused(this.#refusal(error, epoch));
    let answer: Promise<unknown>;
    try {
      answer = connection.publish(channel, text);
    } catch (error) {
      queueMicrotask(() => failed(error));
      return posted;
    }
    answer.then(() => {
      this.#publisher.heard();
      posted.waiter?.accepted();
    }, failed);
    return posted;
  }

  /** Why an event was not published: Redis said so, or nobody can say whether it was. */
  #refusal(error: unknown, epoch: number): unknown {
    if (this.#publisher.ready && this.#publisher.epoch === epoch && this.#publisher.connection.ready)
      return /timed out/i.test(describe(error))
        ? new PubSubError("TIMEOUT", "Redis has not answered in time; the event may have been delivered.", {
            cause: error,
          })
        : error;
    return interruption(error);
  }
}

/** What a publish that has no answer rejects with. */
export function interruption(cause: unknown): PubSubError {
  return new PubSubError("INTERRUPTED", "The connection ended before Redis answered; the event may be delivered.", {
    cause,
  });
}
