import type { EventEnvelope } from "../envelope.ts";
import { describe, PayloadError, PubSubError } from "../errors.ts";
import { Ring } from "../ring.ts";
import { stringifyWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import { utf8Length } from "../topic.ts";
import type { Posted } from "../transport.ts";
import type { MqttClient, MqttQoS } from "./mqtt-client.ts";
import { topicOf } from "./mqtt-topics.ts";

/**
 * Events under way where the broker does not say how many it bears (version 5 does): with QoS 2, where it keeps a state for
 * each, as many as mosquitto, which cuts off whoever has more.
 */
const WINDOW = { 0: Infinity, 1: 1000, 2: 20 };

/** Bytes of events that may wait for their turn. */
const MAX_WAITING = 64 * 1024 * 1024;

/** Bytes of a packet beside topic and payload, at most: its head, the topic's length, a number, the length of no properties. */
const AROUND = 5 + 2 + 2 + 1;

interface Publication extends Posted {
  readonly topic: string;
  readonly text: string;
  readonly bytes: number;
}

/** What is on its way to a broker. */
export class Publications {
  readonly #client: MqttClient;
  readonly #prefix: string;
  readonly #serializer: Serializer;
  readonly #qos: MqttQoS;
  readonly #waiting = new Ring<Publication>();
  #bytes = 0;
  /** Without an answer, by the client's number. */
  readonly #flight = new Map<number, Publication>();

  constructor(client: MqttClient, prefix: string, serializer: Serializer, qos: MqttQoS) {
    this.#client = client;
    this.#prefix = prefix;
    this.#serializer = serializer;
    this.#qos = qos;
  }

  /** @throws PayloadError, PubSubError `INTERRUPTED`, `OVERFLOW` */
  post(envelope: EventEnvelope): Posted | undefined {
    const { type, id } = envelope;
    const text = stringifyWith(this.#serializer, envelope);
    const topic = topicOf(this.#prefix, type, id);
    const bytes = AROUND + utf8Length(topic) + utf8Length(text);
    const limit = this.#client.serverProperties?.maximumPacketSize ?? MAX_PACKET;
    if (bytes > limit)
      throw new PayloadError(
        type,
        id,
        `The event has ${bytes} bytes with its topic, the broker takes ${limit}; send less, or raise its limit`,
      );
    // It would keep the event, and send it with the next connection.
    if (!this.#canSend) throw interrupted(new Error("it is gone"));
    if (this.#qos === 0) return this.#hand(topic, text);
    if (this.#bytes + bytes > MAX_WAITING)
      throw new PubSubError(
        "OVERFLOW",
        `${this.#waiting.size} events with ${this.#bytes} bytes wait for the broker already. Await publish now and then.`,
      );
    const publication: Publication = { topic, text, bytes, waiter: undefined };
    this.#bytes += bytes;
    this.#waiting.push(publication);
    this.#send();
    return publication;
  }

  /** What has no answer will get none: the client would send it again, long after its publisher was told. */
  drop(): void {
    while (this.#waiting.shift() !== undefined);
    this.#bytes = 0;
    const numbers = [...this.#flight.keys()];
    this.#flight.clear();
    for (const number of numbers) this.#client.removeOutgoingMessage(number);
  }

  get #canSend(): boolean {
    return this.#client.connected && !this.#client.disconnecting;
  }

  /** Without an answer: done once it is in the system's hands. */
  #hand(topic: string, text: string): Posted | undefined {
    const posted: Posted = { waiter: undefined };
    let answer: { readonly error: unknown } | undefined;
    this.#client.publish(topic, text, { qos: 0 }, (error) => {
      answer = { error };
      if (isError(error)) posted.waiter?.refused(interrupted(error));
      else posted.waiter?.accepted();
    });
    // Where the system takes no more for the moment, there is none yet.
    const { error } = (answer ?? {}) as { readonly error?: unknown };
    if (isError(error)) throw interrupted(error);
    return answer === undefined ? posted : undefined;
  }

  /** As many as the broker wants to have under way. */
  #send(): void {
    const { receiveMaximum = WINDOW[this.#qos] } = this.#client.serverProperties ?? {};
    while (this.#canSend && this.#flight.size < receiveMaximum) {
      const publication = this.#waiting.shift();
      if (publication === undefined) return;
      this.#bytes -= publication.bytes;
      const { topic, text } = publication;
      let number = 0;
      this.#client.publish(topic, text, { qos: this.#qos }, (error) => {
        this.#flight.delete(number);
        if (isError(error)) publication.waiter?.refused(refusal(topic, error));
        else publication.waiter?.accepted();
        this.#send();
      });
      number = this.#client.getLastMessageId();
      this.#flight.set(number, publication);
    }
  }
}

/** Bytes that a packet of MQTT may have. */
const MAX_PACKET = 268_435_455 + 5;

/** What became of an event that the client could not publish: the broker said so, or nobody can say whether it has it. */
function refusal(topic: string, error: Error): PubSubError {
  const { code } = error as { code?: unknown };
  if (typeof code !== "number") return interrupted(error);
  return new PubSubError("REFUSED", `The broker did not take what was published to ${topic}: ${describe(error)}.`, {
    cause: error,
  });
}

function isError(error: unknown): error is Error {
  return error !== null && error !== undefined;
}

function interrupted(cause: unknown): PubSubError {
  return new PubSubError(
    "INTERRUPTED",
    `The connection ended before the broker answered (${describe(cause)}); the event may be delivered.`,
    { cause },
  );
}
