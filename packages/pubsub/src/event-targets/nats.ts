/**
 * An event target over NATS core, with a connection of `@nats-io/transport-node` (or of any client over
 * `@nats-io/nats-core` 3), which stays its owner's.
 *
 * Each topic is a subject, an event its whole envelope as JSON. NATS core keeps nothing: what is published while a
 * connection is down does not reach it, which is a gap. The client connects again, and subscribes again, by itself and says
 * nothing of what was missed; so its subscriptions end here with their connection, and the core asks anew.
 */
import type { EventEnvelope, TypedEvent } from "../envelope.ts";
import { describe, PubSubError } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { checkBatch } from "../gathering.ts";
import { Opening } from "../opening.ts";
import { checkTimeout } from "../options.ts";
import { parseAllWith } from "../serializer.ts";
import type { Reader, Serializer } from "../serializer.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import { refusal } from "./nats-client.ts";
import type { NatsConnection, NatsSubscription } from "./nats-client.ts";
import { Watched } from "./nats-connection.ts";
import { Publications } from "./nats-publications.ts";
import { checkLine, checkPrefix, queueOf, subjectsOf } from "./nats-subject.ts";

export type { NatsConnection, NatsMessage, NatsSubscription } from "./nats-client.ts";
export type { Serializer as NatsSerializer } from "../serializer.ts";

/** What `createNatsEventTarget` needs. */
export interface CreateNatsEventTargetArgs extends EventTargetOptions {
  /** What `connect()` gave. May have other uses, other event targets included; connect with `maxReconnectAttempts: -1`. */
  readonly connection: NatsConnection;
  /** The first tokens of every subject. Default `alk.events`. */
  readonly prefix?: string;
  /** Default `JSON`. */
  readonly serializer?: Serializer;
  /**
   * Milliseconds of silence after which the server is asked for a sign of life; after as many again the connection is
   * given up for another one, for all of its users. Default 2,000; 0 leaves it to the client (`pingInterval`).
   */
  readonly heartbeat?: number;
  /**
   * Publishes what is published to one topic in the same tick as one message, an array: for topics whose ends are all
   * this library's. Default false. Whatever it is set to, both are understood.
   */
  readonly batch?: boolean;
}

/**
 * Events to and from all that use the same NATS, over a connection of yours, which stays open.
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const connection = await connect({ servers: "nats://127.0.0.1:4222", maxReconnectAttempts: -1 });
 * const pubsub = createPubSub({ eventTarget: createNatsEventTarget({ connection }) });
 * const events = await pubsub.subscribe("session.status", "proj_123"); // the server has confirmed
 */
export function createNatsEventTarget<TEvent extends TypedEvent = TypedEvent>(
  args: CreateNatsEventTargetArgs,
): AlkEventTarget<TEvent> {
  return defineEventTarget(new NatsTransport(args), args);
}

const SUPPORTS: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  overlap: "per-filter",
  patterns: "native",
  echo: true,
  groups: true,
  replay: false,
  maxPayload: undefined,
};

const decoder = new TextDecoder();

class NatsTransport implements Transport {
  readonly #connection: NatsConnection;
  readonly #watched: Watched;
  readonly #publications: Publications;
  readonly #prefix: string;
  readonly #serializer: Serializer;
  readonly #held = new Map<Filter, Held>();
  #supports: Supports;
  #receiver: Receiver | undefined;
  readonly #opening = new Opening();

  constructor(args: CreateNatsEventTargetArgs) {
    const { connection, prefix = "alk.events", serializer = JSON, heartbeat = 2000, batch = false } = args;
    if (typeof connection?.flush !== "function" || typeof connection.status !== "function")
      throw new PubSubError(
        "INVALID_OPTION",
        "connection has to be what connect() of @nats-io/transport-node resolves to.",
      );
    checkTimeout("heartbeat", heartbeat);
    checkPrefix(prefix);
    checkBatch(batch, serializer);
    this.#connection = connection;
    this.#prefix = prefix;
    this.#serializer = serializer;
    this.#watched = new Watched(connection, heartbeat, {
      up: () => this.#up(),
      down: (cause) => this.#down(cause),
      over: (cause) => this.#over(cause),
      publishRefused: (subject, error) => this.#publications.refused(subject, error),
    });
    this.#publications = new Publications(connection, this.#watched, prefix, serializer, batch);
    // The client does not say so in its types.
    const { options } = connection as { options?: { noEcho?: boolean } };
    this.#supports = { ...SUPPORTS, echo: options?.noEcho !== true };
  }

  get supports(): Supports {
    // Unknown while it is not connected, and each server of a cluster may have its own.
    const { maxPayload } = this.#publications;
    if (maxPayload !== undefined && maxPayload !== this.#supports.maxPayload)
      this.#supports = { ...this.#supports, maxPayload };
    // A server's answer is its own: its neighbours hear of a subscription later, and clients hear of no loss between them.
    if (this.#connection.info?.cluster !== undefined && this.#supports.subscribeAck)
      this.#supports = { ...this.#supports, subscribeAck: false, lossDetection: "none" };
    return this.#supports;
  }

  get problem(): string | undefined {
    return this.#watched.problem;
  }

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    this.#receiver = receiver;
    const opened = this.#opening.begin(signal, () => this.#stop());
    this.#watched.start();
    return opened;
  }

  #up(): void {
    if (!this.#opening.succeed()) this.#receiver?.resumed({ kept: false, replayed: false });
  }

  #down(cause: unknown): void {
    // Else the client would subscribe to them again, and deliver before anybody knows of the gap.
    this.#leaveAll();
    this.#publications.end();
    this.#receiver?.interrupted(cause);
  }

  #over(cause: unknown): void {
    const none = `The connection to NATS is closed: ${describe(cause)}. Connect anew.`;
    if (this.#opening.fail(new PubSubError("NOT_READY", none, { cause }))) return;
    const receiver = this.#receiver;
    this.#stop();
    receiver?.ended(cause);
  }

  #stop(): void {
    this.#receiver = undefined;
    this.#opening.end();
    this.#watched.stop();
    this.#publications.end();
  }

  async subscribe(filter: Filter): Promise<void> {
    const held = this.#hold(filter);
    this.#held.set(filter, held);
    await this.#watched.questions.ask();
    if (held.refusal === undefined) held.live = true;
    else throw held.refusal;
  }

  #hold(filter: Filter): Held {
    const subjects = subjectsOf(this.#prefix, filter);
    const queue = filter.group === undefined ? undefined : queueOf(filter.group);
    for (const subject of subjects) checkLine(filter, subject.length + (queue?.length ?? 0));
    const held = new Held();
    const reader: Reader = {
      deliver: (envelope) => this.#receiver?.deliver(envelope, filter),
      error: (error) => this.#receiver?.error(error),
    };
    for (const subject of subjects)
      held.subscriptions.push(
        this.#connection.subscribe(subject, {
          ...(queue !== undefined && { queue }),
          callback: (error, message) => {
            if (error !== null) return this.#denied(held, filter, subject, error);
            if (this.#held.get(filter) !== held) return;
            this.#watched.came();
            parseAllWith(this.#serializer, decoder.decode(message.data), () => message.subject, reader);
          },
        }),
      );
    return held;
  }

  /** The server does not let us subscribe, or does not any more. */
  #denied(held: Held, filter: Filter, subject: string, cause: unknown): void {
    held.refusal ??= refusal("subscribe to", subject, cause);
    if (this.#held.get(filter) !== held) return;
    this.#held.delete(filter);
    held.end();
    if (held.live) this.#receiver?.revoked(filter, held.refusal);
  }

  async unsubscribe(filter: Filter): Promise<void> {
    const held = this.#held.get(filter);
    if (held === undefined) return;
    this.#held.delete(filter);
    held.end();
    await this.#watched.questions.ask();
  }

  #leaveAll(): void {
    for (const held of this.#held.values()) held.end();
    this.#held.clear();
  }

  post(envelope: EventEnvelope): Posted {
    return this.#publications.post(envelope);
  }

  async close(): Promise<void> {
    const connected = this.#watched.isUp;
    this.#leaveAll();
    this.#stop();
    if (connected) await this.#watched.questions.ask().catch(() => undefined);
  }
}

/** What the client is subscribed to for one filter. */
class Held {
  readonly subscriptions: NatsSubscription[] = [];
  live = false;
  refusal: PubSubError | undefined;

  end(): void {
    for (const subscription of this.subscriptions) if (!subscription.isClosed()) subscription.unsubscribe();
  }
}
