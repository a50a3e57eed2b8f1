/** What is on its way to RabbitMQ, on a channel that confirms it. */
import type { EventEnvelope } from "../envelope.ts";
import { formatTopic, PayloadError, PubSubError } from "../errors.ts";
import { Ring } from "../ring.ts";
import { stringifyWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import type { Posted, Waiter } from "../transport.ts";
import { codeOf, saidBy } from "./amqp-client.ts";
import type { AmqpConfirmChannel, AmqpConnection } from "./amqp-client.ts";
import { keyOf } from "./amqp-keys.ts";

/** What is asked of the side that publishes. */
export interface PublicationsOwner {
  /** The server has answered. */
  heard(): void;
  /** There is no exchange any more. */
  exchangeGone(): void;
  /** There will be no channel on this connection. */
  unusable(cause: unknown): void;
}

/** Bytes that a message may have where nothing else is configured: since RabbitMQ 4, and before. */
const [MAX_SINCE_4, MAX_BEFORE] = [16 * 1024 * 1024, 128 * 1024 * 1024];

/** What is made of an event. */
class Publication implements Posted {
  readonly envelope: EventEnvelope;
  readonly key: string;
  readonly content: Uint8Array;
  waiter: Waiter | undefined = undefined;

  constructor(envelope: EventEnvelope, key: string, content: Uint8Array) {
    this.envelope = envelope;
    this.key = key;
    this.content = content;
  }
}

export class Publications {
  readonly #exchange: string;
  readonly #serializer: Serializer;
  readonly #maxWaiting: number;
  readonly #owner: PublicationsOwner;
  readonly #properties: { contentType?: string };
  #connection: AmqpConnection | undefined;
  #channel: AmqpConfirmChannel | undefined;
  /** Not sent yet: the server takes none, or the channel is being opened anew. */
  readonly #waiting = new Ring<Publication>();
  #blocked: string | undefined;
  /** Bytes that the server takes. */
  maxPayload: number = MAX_BEFORE;

  constructor(exchange: string, serializer: Serializer, maxWaiting: number, owner: PublicationsOwner) {
    this.#exchange = exchange;
    this.#serializer = serializer;
    this.#maxWaiting = maxWaiting;
    this.#owner = owner;
    this.#properties = serializer === JSON ? { contentType: "application/json" } : {};
  }

  /** Publishes over this connection from now on. */
  async begin(connection: AmqpConnection): Promise<void> {
    this.end();
    this.#connection = connection;
    this.maxPayload = maxPayloadOf(connection);
    await this.#open(connection);
  }

  /** The connection is gone; nothing of what was to be sent over it is sent over another one. */
  end(): void {
    this.#connection = this.#channel = this.#blocked = undefined;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift())
      next.waiter?.refused(
        new PubSubError(
          "INTERRUPTED",
          "The connection ended before the event was sent. Publish again once it is back.",
        ),
      );
  }

  /** @param reason why the server takes no events; undefined: it does again */
  block(reason: string | undefined): void {
    this.#blocked = reason;
    this.#flush();
  }

  async ask(): Promise<void> {
    // Changes nothing where nothing is consumed.
    await this.#channel?.prefetch(0);
  }

  /** @throws PayloadError, PubSubError `NOT_READY` where too many wait for a server that takes none */
  post(envelope: EventEnvelope): Posted {
    const { type, id } = envelope;
    const content = Buffer.from(stringifyWith(this.#serializer, envelope));
    if (content.length > this.maxPayload) throw new PayloadError(type, id, tooLarge(content.length, this.maxPayload));
    const publication = new Publication(envelope, keyOf(type, id), content);
    if (this.#channel !== undefined && this.#blocked === undefined) this.#send(this.#channel, publication);
    else if (this.#blocked !== undefined && this.#waiting.size >= this.#maxWaiting)
      throw new PubSubError(
        "NOT_READY",
        `${formatTopic(type, id)} was not published: RabbitMQ takes no events (${this.#blocked}), and ${this.#maxWaiting} already wait. Await publish, and free what the server lacks.`,
      );
    else this.#waiting.push(publication);
    return publication;
  }

  #send(channel: AmqpConfirmChannel, publication: Publication): void {
    channel.publish(this.#exchange, publication.key, publication.content, this.#properties, (error) => {
      if (channel === this.#channel) this.#owner.heard();
      if (error === null || error === undefined) publication.waiter?.accepted();
      else publication.waiter?.refused(this.#refusal(publication, error, closings.get(channel)));
    });
  }

  #flush(): void {
    while (this.#channel !== undefined && this.#blocked === undefined) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#send(this.#channel, next);
    }
  }

  async #open(connection: AmqpConnection): Promise<void> {
    const channel = await connection.createConfirmChannel();
    if (connection !== this.#connection) return;
    // Comes before the confirmations that will not come are given up.
    channel.on("error", (error: unknown) => void closings.set(channel, error));
    channel.on("close", () => this.#closed(connection, channel));
    this.#channel = channel;
    this.#flush();
  }

  /** By the server, for the sake of one event; or with the connection. */
  #closed(connection: AmqpConnection, channel: AmqpConfirmChannel): void {
    if (channel !== this.#channel) return;
    this.#channel = undefined;
    const error = closings.get(channel);
    if (error === undefined) return;
    const code = codeOf(error);
    if (code === 404) this.#owner.exchangeGone();
    this.#open(connection).catch((cause: unknown) => {
      if (connection === this.#connection) this.#owner.unusable(cause);
    });
  }

  /** Why an event was not confirmed. @param closing why the server closed the channel, where it did */
  #refusal({ envelope, key, content }: Publication, error: unknown, closing: unknown): unknown {
    const { type, id } = envelope;
    if (closing === undefined)
      return isNack(error)
        ? new PubSubError(
            "REFUSED",
            `A queue at RabbitMQ did not take ${formatTopic(type, id)} (nack): it is full, or its server has failed. Others may have taken it.`,
            { cause: error },
          )
        : interrupted(error);
    const said = saidBy(closing);
    const code = codeOf(closing);
    const size = /message size \d+ is larger than configured max size (\d+)/.exec(said)?.[1];
    if (size !== undefined) {
      this.maxPayload = Number(size);
      if (content.length > this.maxPayload)
        return new PayloadError(type, id, tooLarge(content.length, this.maxPayload), { cause: closing });
    }
    const refusedKey = /access to topic '([^']*)'/.exec(said)?.[1];
    if (code === 403 && (refusedKey === undefined || refusedKey === key))
      return new PubSubError("REFUSED", `RabbitMQ does not let this user publish ${formatTopic(type, id)}: ${said}.`, {
        cause: closing,
      });
    if (code === 404)
      return new PubSubError(
        "REFUSED",
        `${formatTopic(type, id)} was not published: ${said}. It is declared again in a moment; publish again.`,
        { cause: closing },
      );
    return new PubSubError(
      "INTERRUPTED",
      `RabbitMQ closed the channel for another event's sake (${said}) before it confirmed this one, which may be delivered.`,
      { cause: closing },
    );
  }
}

/** What the server said when it closed a channel. */
const closings = new WeakMap<AmqpConfirmChannel, unknown>();

declare const Buffer: { from(text: string): Uint8Array };

function isNack(error: unknown): boolean {
  return error instanceof Error && error.message === "message nacked";
}

function tooLarge(bytes: number, limit: number): string {
  return `The event has ${bytes} bytes, the RabbitMQ server takes ${limit}; send less, or raise its max_message_size`;
}

function interrupted(cause: unknown): PubSubError {
  return new PubSubError("INTERRUPTED", "The connection ended before RabbitMQ confirmed; the event may be delivered.", {
    cause,
  });
}

/** By the server's version: its own limit it says only to whom sends more. */
function maxPayloadOf(connection: AmqpConnection): number {
  const { connection: inner } = connection as {
    connection?: { serverProperties?: { product?: string; version?: string } };
  };
  const { product, version = "" } = inner?.serverProperties ?? {};
  return product === "RabbitMQ" && Number.parseInt(version, 10) >= 4 ? MAX_SINCE_4 : MAX_BEFORE;
}
