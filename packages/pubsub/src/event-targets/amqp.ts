/**
 * An event target over AMQP 0-9-1, as RabbitMQ speaks it, with `amqplib` 2.
 *
 * All events go to one topic exchange, an event its whole envelope as JSON; what a target has subscribed to is bound to
 * one queue of its own. That queue is its connection's and ends with it: what is published while the connection is down
 * does not reach it, which is a gap. The client does not connect again by itself, so that is done here.
 *
 * There are two connections. A server that runs out of memory or disk reads nothing any more of those that publish, and
 * would hear nothing of a subscription there either; and one that publishes can be lost without a gap.
 */
import type { EventEnvelope, TypedEvent } from "../envelope.ts";
import type { Backoff } from "../backoff.ts";
import { excerpt, PubSubError } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { Opening } from "../opening.ts";
import { checkTimeout } from "../options.ts";
import { parseWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import { addressOf, connectTo, isRefusal, saidBy } from "./amqp-client.ts";
import type { AmqpConnection, AmqpMessage } from "./amqp-client.ts";
import { Comeback } from "./amqp-connection.ts";
import { Publications } from "./amqp-publications.ts";
import { Queues } from "./amqp-queues.ts";

export type { Backoff } from "../backoff.ts";
export type { AmqpChannel, AmqpConfirmChannel, AmqpConnection, AmqpMessage } from "./amqp-client.ts";
export type { Serializer as AmqpSerializer } from "../serializer.ts";

/** What `createAmqpEventTarget` needs: `url`, or `connect`. */
export interface CreateAmqpEventTargetArgs extends EventTargetOptions {
  /**
   * Where the server is: `amqp://user:password@host:5672/vhost`, or `amqps:`. `amqplib` is loaded, and asked for a
   * heartbeat of 10 s unless the address has another one (`?heartbeat=5`).
   */
  readonly url?: string;
  /**
   * Makes a connection, instead of `url`: `() => amqp.connect(url, options)`, without its `recovery`. Called for each of
   * two connections, and again when one was lost; they are this target's to close. The signal is aborted when nobody waits
   * for it any more, if you have something to end then.
   */
  readonly connect?: (signal: AbortSignal) => Promise<AmqpConnection>;
  /** The topic exchange of all events, which is declared, and stays. Default `alk.events`. */
  readonly exchange?: string;
  /** Whether that exchange outlives the server. Default true; has to be the same for all that use it. */
  readonly durable?: boolean;
  /** Default `JSON`. */
  readonly serializer?: Serializer;
  /** How long to wait before connecting again. */
  readonly backoff?: Backoff;
  /** Milliseconds that an attempt to connect may take. Default 10,000. */
  readonly attemptTimeout?: number;
  /**
   * Milliseconds of silence after which the server is asked for a sign of life; after as many again the connection is
   * given up for another one. Default 2,000; 0 leaves it to AMQP's own heartbeat.
   */
  readonly heartbeat?: number;
}

/**
 * Events to and from all that use the same exchange of a RabbitMQ, over connections that this target makes, and makes anew.
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const pubsub = createPubSub({ eventTarget: createAmqpEventTarget({ url: "amqp://127.0.0.1" }) });
 * const events = await pubsub.subscribe("session.status", "proj_123"); // the server has bound it
 */
export function createAmqpEventTarget<TEvent extends TypedEvent = TypedEvent>(
  args: CreateAmqpEventTargetArgs,
): AlkEventTarget<TEvent> {
  return defineEventTarget(new AmqpTransport(args), args);
}

const SUPPORTS: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  // One queue, however many bindings match.
  overlap: "once",
  patterns: "native",
  echo: true,
  groups: true,
  replay: false,
  maxPayload: undefined,
};

class AmqpTransport implements Transport {
  problem: string | undefined;
  readonly #address: string | undefined;
  readonly #serializer: Serializer;
  readonly #publications: Publications;
  readonly #publisher: Comeback;
  readonly #subscriber: Comeback;
  #queues: Queues | undefined;
  #supports: Supports = SUPPORTS;
  #receiver: Receiver | undefined;
  readonly #opening = new Opening();
  /** Whether both connections are there, and the core knows. */
  #up = false;
  /** Whether the subscriber's connection has been there since the core was last told that something is not. */
  #kept = false;

  constructor(args: CreateAmqpEventTargetArgs) {
    const { exchange = "alk.events", durable = true, serializer = JSON, maxWaiting = 1024 } = args;
    const { backoff = {}, attemptTimeout = 10_000, heartbeat = 2000 } = args;
    checkTimeout("heartbeat", heartbeat);
    checkTimeout("attemptTimeout", attemptTimeout);
    checkExchange(exchange);
    if (args.url !== undefined) this.#address = addressOf(args.url);
    const options = { connect: connectOf(args, attemptTimeout), backoff, attemptTimeout, heartbeat };
    this.#serializer = serializer;
    this.#publications = new Publications(exchange, serializer, maxWaiting, {
      heard: () => this.#publisher.heard(),
      // Whoever subscribes declares it again, and has a gap.
      exchangeGone: () => void this.#queues?.ask().catch(ignore),
      unusable: (cause) => this.#publisher.giveUp(cause),
    });
    this.#publisher = new Comeback(options, {
      prepare: (connection) => this.#publications.begin(connection),
      ready: () => this.#settle(),
      lost: (cause) => {
        this.#publications.end();
        this.#lost(cause);
      },
      failed: (cause) => this.#failed(cause),
      ask: () => this.#publications.ask(),
      blocked: (reason) => this.#publications.block(reason),
    });
    this.#subscriber = new Comeback(options, {
      prepare: (connection) => this.#consume(connection, { exchange, durable }),
      ready: () => this.#settle(),
      lost: (cause) => {
        this.#kept = false;
        this.#queues = undefined;
        this.#lost(cause);
      },
      failed: (cause) => this.#failed(cause),
      ask: async () => this.#queues?.ask(),
    });
  }

  get supports(): Supports {
    const { maxPayload } = this.#publications;
    if (maxPayload !== this.#supports.maxPayload) this.#supports = { ...this.#supports, maxPayload };
    return this.#supports;
  }

  // -------------------------------------------------------------------------------------------------- the connections

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    this.#receiver = receiver;
    const opened = this.#opening.begin(signal, () => void this.#stop());
    this.#subscriber.start();
    this.#publisher.start();
    return opened;
  }

  async #consume(connection: AmqpConnection, options: { exchange: string; durable: boolean }): Promise<void> {
    const queues = new Queues(connection, options, {
      message: (message, filter) => queues === this.#queues && this.#arrived(message, filter),
      revoked: (filter, error) => queues === this.#queues && this.#receiver?.revoked(filter, error),
      heard: () => queues === this.#queues && this.#subscriber.heard(),
      unusable: (cause) => queues === this.#queues && this.#subscriber.giveUp(cause),
    });
    this.#queues = queues;
    await queues.open();
  }

  /** Tells the core once both connections are there. */
  #settle(): void {
    if (this.#up || !this.#publisher.ready || !this.#subscriber.ready) return;
    this.#up = true;
    this.problem = undefined;
    const kept = this.#kept;
    this.#kept = true;
    if (!this.#opening.succeed()) this.#receiver?.resumed({ kept, replayed: kept });
  }

  #lost(cause: unknown): void {
    this.#failed(cause);
    if (!this.#up) return;
    this.#up = false;
    this.#receiver?.interrupted(cause);
  }

  #failed(cause: unknown): void {
    const at = this.#address === undefined ? "" : ` at ${this.#address}`;
    const said = saidBy(cause);
    this.problem = `RabbitMQ${at}: ${said}`;
    if (cause instanceof PubSubError && cause.code !== "DISCONNECTED") this.#opening.fail(cause);
    else if (isRefusal(cause))
      this.#opening.fail(
        new PubSubError("REFUSED", `RabbitMQ${at} refuses this client: ${said}.${help(said)}`, { cause }),
      );
  }

  async #stop(): Promise<void> {
    this.#receiver = undefined;
    this.#opening.end();
    this.#queues = undefined;
    this.#up = this.#kept = false;
    this.#publications.end();
    await Promise.all([this.#publisher.stop(), this.#subscriber.stop()]);
  }

  close(): Promise<void> {
    return this.#stop();
  }

  // ------------------------------------------------------------------------------------------------------------ events

  subscribe(filter: Filter): Promise<void> | undefined {
    return this.#queues?.subscribe(filter);
  }

  unsubscribe(filter: Filter): Promise<void> | undefined {
    return this.#queues?.unsubscribe(filter);
  }

  post(envelope: EventEnvelope): Posted {
    return this.#publications.post(envelope);
  }

  #arrived({ content, fields }: AmqpMessage, filter: Filter | undefined): void {
    this.#subscriber.came();
    // Between two connections nobody would know of the gap yet.
    if (!this.#subscriber.ready) return;
    let envelope: EventEnvelope;
    try {
      envelope = parseWith(this.#serializer, content.toString(), fields.routingKey);
    } catch (error) {
      return this.#receiver?.error(error);
    }
    this.#receiver?.deliver(envelope, filter);
  }
}

/** @throws PubSubError `INVALID_OPTION` */
function connectOf(
  { url, connect }: CreateAmqpEventTargetArgs,
  timeout: number,
): (signal: AbortSignal) => Promise<AmqpConnection> {
  if ((url === undefined) === (connect === undefined) || (connect !== undefined && typeof connect !== "function"))
    throw new PubSubError(
      "INVALID_OPTION",
      "Give url, the address of a server, or connect, a function like () => amqp.connect(url); and not both.",
    );
  return connect ?? connectTo(url as string, timeout);
}

/** @throws PubSubError `INVALID_OPTION` */
function checkExchange(exchange: string): void {
  if (typeof exchange !== "string" || !/^[\w.:-]{1,127}$/.test(exchange))
    throw new PubSubError(
      "INVALID_OPTION",
      `exchange has to be up to 127 letters, digits, dots, colons, - and _, such as alk.events; not ${excerpt(exchange)}.`,
    );
}

/** What to do, where that is known. */
function help(said: string): string {
  if (/inequivalent arg '(type|durable)'/.test(said))
    return " The exchange is of another kind: choose another name (exchange), say durable: false if it is not, or delete it at the server.";
  if (/access to exchange/.test(said)) return " Let the user configure, write to and read from the exchange.";
  return "";
}

function ignore(): void {}
