/**
 * An event target over an MQTT broker, with a client of `mqtt` 5, for versions 3.1.1 and 5 of the protocol.
 *
 * Each topic is one of MQTT's, an event its whole envelope as JSON. The client connects again by itself, and would send again what
 * had no answer; here that is taken back, since its publisher has been told. A broker keeps nothing for this client (a clean
 * session): what is published while it is away is a gap. What a broker drops because somebody is slow it tells nobody,
 * hence `lossDetection: 'none'`; with `sequence: true` it is a gap too.
 */
import type { EventEnvelope, TypedEvent } from "../envelope.ts";
import { excerpt, ours, PubSubError } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { Opening } from "../opening.ts";
import { checkTimeout } from "../options.ts";
import { parseWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import { checkClient, isVersion5 } from "./mqtt-client.ts";
import type { MqttClient, MqttMessage, MqttQoS } from "./mqtt-client.ts";
import { Connection } from "./mqtt-connection.ts";
import { Publications } from "./mqtt-publications.ts";
import { checkPrefix, MAX_TOPIC, topicFilterOf } from "./mqtt-topics.ts";

export type { MqttClient, MqttMessage, MqttQoS } from "./mqtt-client.ts";
export type { Serializer as MqttSerializer } from "../serializer.ts";

/** What `createMqttEventTarget` needs. */
export interface CreateMqttEventTargetArgs extends EventTargetOptions {
  /** What `connect()` of `mqtt` gave, with a clean session. May have other uses, other event targets included. Stays open. */
  readonly client: MqttClient;
  /** The first levels of every topic. Default `alk/events`. */
  readonly prefix?: string;
  /** How events are published and subscribed to: 0, without an answer; 1 and 2, with one. Default 1. */
  readonly qos?: MqttQoS;
  /**
   * What becomes of events that a broker has kept for whoever subscribes: old state, which MQTT calls retained. `refuse`: they are
   * not wanted, and the first that comes is reported to `onError`. `mark`: they are delivered, with `meta.retained: true`.
   * Default `refuse`.
   */
  readonly retained?: "refuse" | "mark";
  /** Default `JSON`. */
  readonly serializer?: Serializer;
  /**
   * Milliseconds of silence after which the broker is asked for a sign of life; after as many again the connection is
   * given up for another one, for all of its users. Default 2,000; 0 leaves it to the client (`keepalive`).
   */
  readonly heartbeat?: number;
}

/**
 * Events to and from all that use the same broker, over a client of yours, which stays open.
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const client = connect("mqtt://127.0.0.1:1883", { protocolVersion: 5, reconnectOnConnackError: true });
 * const pubsub = createPubSub({ eventTarget: createMqttEventTarget({ client }) });
 * const events = await pubsub.subscribe("session.status", "proj_123"); // the broker has confirmed
 */
export function createMqttEventTarget<TEvent extends TypedEvent = TypedEvent>(
  args: CreateMqttEventTargetArgs,
): AlkEventTarget<TEvent> {
  return defineEventTarget(new MqttTransport(args), args);
}

const SUPPORTS: Omit<Supports, "publishAck" | "delivery" | "overlap" | "groups" | "maxPayload"> = {
  // A broker drops what it cannot deliver at once, and tells nobody.
  lossDetection: "none",
  subscribeAck: true,
  patterns: "native",
  echo: true,
  replay: false,
};

/** What some target is subscribed to with a client, by its prefix, and the last number that was given to a subscription. */
const uses = new WeakMap<MqttClient, { readonly prefixes: Set<string>; last: number }>();

/** What is subscribed to at the broker, for as many filters as need it. */
class Held {
  readonly filters: Set<Filter> = new Set();
  /** What the broker marks its messages with, where it can. */
  readonly number: number;
  /** The broker's confirmation. */
  live: Promise<void> | undefined;

  constructor(number: number) {
    this.number = number;
  }
}

const decoder = new TextDecoder();

class MqttTransport implements Transport {
  readonly #client: MqttClient;
  readonly #prefix: string;
  readonly #qos: MqttQoS;
  readonly #marks: boolean;
  readonly #serializer: Serializer;
  readonly #publications: Publications;
  readonly #connection: Connection;
  /** By the topic filter. */
  readonly #held = new Map<string, Held>();
  /** The same by number. */
  readonly #numbers = new Map<number, Held>();
  #supports: Supports | undefined;
  #receiver: Receiver | undefined;
  readonly #opening = new Opening();
  #refusedRetained = false;

  constructor(args: CreateMqttEventTargetArgs) {
    const { client, prefix = "alk/events", qos = 1, retained = "refuse", serializer = JSON, heartbeat = 2000 } = args;
    checkClient(client);
    checkPrefix(prefix);
    if (![0, 1, 2].includes(qos))
      throw new PubSubError("INVALID_OPTION", `qos must be 0, 1 or 2, not ${excerpt(qos)}.`);
    if (retained !== "refuse" && retained !== "mark")
      throw new PubSubError("INVALID_OPTION", `retained must be "refuse" or "mark", not ${excerpt(retained)}.`);
    checkTimeout("heartbeat", heartbeat);
    this.#client = client;
    this.#prefix = prefix;
    this.#qos = qos;
    this.#marks = retained === "mark";
    this.#serializer = serializer;
    this.#publications = new Publications(client, prefix, serializer, qos);
    this.#connection = new Connection(client, heartbeat, {
      connected: () => this.#connected(),
      lost: (cause) => this.#lost(cause),
      refused: (refusal) => void this.#opening.fail(refusal),
      ended: (cause) => this.#ended(cause),
      message: (topic, payload, message) => this.#arrived(topic, payload, message),
    });
  }

  get problem(): string | undefined {
    return this.#connection.problem;
  }

  get supports(): Supports {
    return (this.#supports ??= this.#supportsNow());
  }

  /** What the broker has not said otherwise, by the version that the client speaks. */
  #supportsNow(): Supports {
    const { maximumPacketSize, sharedSubscriptionAvailable } = this.#client.serverProperties ?? {};
    return {
      ...SUPPORTS,
      publishAck: this.#qos === 0 ? "none" : "hop",
      delivery: this.#qos === 1 ? "at-least-once" : "at-most-once",
      overlap: this.#numbered ? "per-filter" : "once",
      groups: this.#numbered && sharedSubscriptionAvailable !== false,
      maxPayload: maximumPacketSize && Math.max(maximumPacketSize - MAX_TOPIC - this.#prefix.length, 0),
    };
  }

  /** Whether messages say which subscription they come for. */
  get #numbered(): boolean {
    return isVersion5(this.#client) && this.#client.serverProperties?.subscriptionIdentifiersAvailable !== false;
  }

  // --------------------------------------------------------------------------------------------------- the connection

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    const client = this.#client;
    const use = uses.get(client) ?? { prefixes: new Set(), last: 0 };
    uses.set(client, use);
    if (use.prefixes.has(this.#prefix))
      throw new PubSubError(
        "INVALID_OPTION",
        "Another event target has this client and this prefix. Give one of them another client, or use one target for both.",
      );
    use.prefixes.add(this.#prefix);
    this.#receiver = receiver;
    const opened = this.#opening.begin(signal, () => this.#stop());
    this.#connection.start();
    return opened;
  }

  #connected(): void {
    const { maximumQoS = 2 } = this.#client.serverProperties ?? {};
    if (maximumQoS < this.#qos)
      return this.#connection.end(
        new PubSubError("REFUSED", `The broker has QoS ${maximumQoS} at most; pass that as qos.`),
      );
    this.#supports = undefined;
    if (!this.#opening.succeed()) this.#receiver?.resumed({ kept: false, replayed: false });
  }

  #lost(cause: unknown): void {
    // Else the client subscribes again by itself, also to what nobody wants any more by then.
    if (this.#client.options.resubscribe !== false)
      for (const topic of this.#held.keys()) this.#unsubscribe(topic).catch(nothing);
    this.#held.clear();
    this.#numbers.clear();
    this.#publications.drop();
    this.#receiver?.interrupted(cause);
  }

  #ended(cause: unknown): void {
    if (this.#opening.fail(ours("NOT_READY", "There is no connection to the broker, and there will be none", cause)))
      return;
    const receiver = this.#receiver;
    this.#stop();
    receiver?.ended(cause);
  }

  #stop(): void {
    this.#receiver = undefined;
    this.#opening.end();
    this.#connection.stop();
    this.#held.clear();
    this.#numbers.clear();
    this.#publications.drop();
    uses.get(this.#client)?.prefixes.delete(this.#prefix);
  }

  // ----------------------------------------------------------------------------------------------------- subscriptions

  async subscribe(filter: Filter): Promise<void> {
    const topic = topicFilterOf(this.#prefix, filter);
    let held = this.#held.get(topic);
    if (held === undefined) {
      const use = uses.get(this.#client) as { last: number };
      held = new Held((use.last = (use.last % MAX_NUMBER) + 1));
      this.#held.set(topic, held);
      this.#numbers.set(held.number, held);
    }
    held.filters.add(filter);
    const live = (held.live ??= this.#subscribe(topic, held.number));
    try {
      await live;
    } catch (error) {
      if (this.#held.get(topic) === held) this.#forget(topic, held);
      throw error;
    }
  }

  #subscribe(topic: string, number: number): Promise<void> {
    // None of what the broker keeps, unless it is wanted, and all of what this client publishes.
    const more = isVersion5(this.#client) ? { nl: false, rap: false, rh: this.#marks ? 0 : 2 } : {};
    // Without the word `resubscribe` it would say yes, and ask nobody, where it has subscribed to the topic before.
    const topics = Object.assign({ [topic]: { qos: this.#qos, ...more } }, { resubscribe: true });
    const options = this.#numbered ? { properties: { subscriptionIdentifier: number } } : {};
    return answered((answer) => this.#client.subscribe(topics, options, answer));
  }

  async unsubscribe(filter: Filter): Promise<void> {
    const topic = topicFilterOf(this.#prefix, filter);
    const held = this.#held.get(topic);
    if (held === undefined || !held.filters.delete(filter) || held.filters.size > 0) return;
    this.#forget(topic, held);
    await this.#unsubscribe(topic);
  }

  #unsubscribe(topic: string): Promise<void> {
    return answered((answer) => this.#client.unsubscribe(topic, answer));
  }

  #forget(topic: string, held: Held): void {
    this.#held.delete(topic);
    this.#numbers.delete(held.number);
  }

  #arrived(topic: string, payload: Uint8Array, { retain = false, properties }: MqttMessage): void {
    if (this.#held.size === 0 || !topic.startsWith(`${this.#prefix}/`)) return;
    const numbers = properties?.subscriptionIdentifier;
    const holds = this.#numbered ? this.#holdsOf(numbers) : undefined;
    if (holds?.length === 0) return;
    if (retain && !this.#marks) return this.#refuseRetained(topic);
    let envelope: EventEnvelope;
    try {
      envelope = parseWith(this.#serializer, decoder.decode(payload), topic);
    } catch (error) {
      return this.#receiver?.error(error);
    }
    if (retain) envelope = { ...envelope, meta: { ...envelope.meta, retained: true } };
    if (holds === undefined) return this.#receiver?.deliver(envelope);
    for (const { filters } of holds) for (const filter of filters) this.#receiver?.deliver(envelope, filter);
  }

  /** Whom a message is for: of others that use the client, none here. */
  #holdsOf(numbers: number | readonly number[] | undefined): Held[] {
    if (numbers === undefined) return [];
    return (typeof numbers === "number" ? [numbers] : numbers)
      .map((number) => this.#numbers.get(number))
      .filter((held) => held !== undefined);
  }

  #refuseRetained(topic: string): void {
    if (this.#refusedRetained) return;
    this.#refusedRetained = true;
    this.#receiver?.error(
      new PubSubError(
        "MALFORMED",
        `${excerpt(topic)} has a retained message, which is old state and no event; it was refused, and so are others, without a word. Pass retained: "mark" to have them.`,
      ),
    );
  }

  // -------------------------------------------------------------------------------------------------------- publishing

  post(envelope: EventEnvelope): Posted | undefined {
    return this.#publications.post(envelope);
  }

  async close(): Promise<void> {
    const topics = [...this.#held.keys()];
    const connected = this.#connection.up;
    this.#stop();
    const left = Promise.allSettled(topics.map((topic) => this.#unsubscribe(topic)));
    if (connected) await left;
  }
}

/** The highest number that a subscription may have. */
const MAX_NUMBER = 268_435_455;

/** What comes of a question that is answered by a call. */
function answered(ask: (answer: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) =>
    ask((error) => (error === null || error === undefined ? resolve() : reject(error))),
  );
}

function nothing(): void {}
