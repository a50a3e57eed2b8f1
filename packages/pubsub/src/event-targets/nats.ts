/**
 * An event target over NATS core, with a connection of `@nats-io/transport-node` (or of any client over
 * `@nats-io/nats-core` 3), which stays its owner's.
 *
 * Each topic is a subject, an event its whole envelope as JSON. NATS core keeps nothing: what is published while a
 * connection is down does not reach it, which is a gap. The client connects again, and subscribes again, by itself and says
 * nothing of what was missed; so its subscriptions end here with their connection, and the core asks anew.
 */
import type { EventEnvelope, TypedEvent } from "../envelope.ts";
import { onAbort } from "../abort.ts";
import { describe, excerpt, formatTopic, PayloadError, PubSubError } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { Liveness } from "../link/liveness.ts";
import { checkBatch, Gathering } from "../gathering.ts";
import { checkTimeout } from "../options.ts";
import { Ring } from "../ring.ts";
import { parseAllWith, stringifyWith } from "../serializer.ts";
import type { Reader, Serializer } from "../serializer.ts";
import { afterArrivals } from "../timers.ts";
import { utf8Length } from "../topic.ts";
import { utf8 } from "../utf8.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import { checkPrefix, queueOf, subjectOf, subjectsOf } from "./nats-subject.ts";

/** A message of the client's: the part of it that is used. */
export interface NatsMessage {
  readonly subject: string;
  readonly data: Uint8Array;
}

/** A subscription of the client's: the part of it that is used. */
export interface NatsSubscription {
  unsubscribe(): void;
  isClosed(): boolean;
}

/** A connection of `@nats-io/nats-core` 3: the part of it that is used. */
export interface NatsConnection {
  readonly info?: { readonly max_payload: number } | undefined;
  publish(subject: string, payload: Uint8Array): void;
  subscribe(
    subject: string,
    options: { callback(error: Error | null, message: NatsMessage): void; queue?: string },
  ): NatsSubscription;
  flush(): Promise<void>;
  reconnect(): Promise<void>;
  status(): AsyncIterable<{ readonly type: string }>;
  closed(): Promise<void | Error>;
  isClosed(): boolean;
}

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

/** A publish without an answer. */
interface Publication extends Posted {
  readonly subject: string;
  refused?: boolean;
}

/** What was published in one turn. */
interface Turn {
  readonly publications: Publication[];
  over: boolean;
}

/** Bytes of a line of the protocol that a server takes. With more it closes the connection. */
const MAX_LINE = 4096;

/** What a line has beside subject and queue, at most. */
const AROUND = 32;

/** Bytes that a character of JavaScript has at most in UTF-8. */
const BYTES = 3;

const decoder = new TextDecoder();

class NatsTransport implements Transport {
  problem: string | undefined;
  readonly #connection: NatsConnection;
  readonly #prefix: string;
  readonly #serializer: Serializer;
  readonly #heartbeat: number;
  readonly #held = new Map<Filter, Held>();
  readonly #liveness: Liveness;
  readonly #gathering: Gathering | undefined;
  #supports: Supports;
  /** Counts connections that were lost. */
  #epoch = 0;
  /** Counts what the client has told of its connection. */
  #told = 0;
  /** Counts messages and answers. */
  #came = 0;
  /** How many there were when the answer to a question was first found late, and how often it was since. */
  #late = { came: 0, times: 0 };
  #receiver: Receiver | undefined;
  #opening: { resolve(): void; reject(error: unknown): void } | undefined;
  #statuses: { stop?(): void } | undefined;
  /** Whether there is a connection, as far as the core knows. */
  #up = false;
  /** The question that will cover all that was said in this turn. */
  #question: Promise<void> | undefined;
  /** The topic that was published to last, and its subject. */
  #last = { type: "", id: "", subject: "" };
  /** Published in this turn. */
  #turn: Turn = { publications: [], over: false };
  /** Turns without an answer, in order. No Set: what it once held stays until the next full collection. */
  readonly #turns = new Ring<Turn>();

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
    this.#heartbeat = heartbeat;
    if (batch) this.#gathering = new Gathering((subject, text, first) => this.#publish(subject, text, first));
    // The client does not say so in its types.
    const { options } = connection as { options?: { noEcho?: boolean } };
    this.#supports = { ...SUPPORTS, echo: options?.noEcho !== true };
    this.#liveness = new Liveness({ ask: () => this.#ask(), silent: (message) => this.#giveUp(message) });
  }

  get supports(): Supports {
    // Unknown while it is not connected, and each server of a cluster may have its own.
    const maxPayload = this.#connection.info?.max_payload;
    if (maxPayload !== undefined && maxPayload !== this.#supports.maxPayload)
      this.#supports = { ...this.#supports, maxPayload };
    return this.#supports;
  }

  // --------------------------------------------------------------------------------------------------- the connection

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    this.#receiver = receiver;
    return new Promise<void>((resolve, reject) => {
      const opening = {
        resolve: () => (forget(), resolve()),
        reject: (error: unknown) => {
          if (this.#opening !== opening) return;
          forget();
          this.#stop();
          reject(error);
        },
      };
      const forget = onAbort(signal, () => opening.reject(signal.reason));
      this.#opening = opening;
      if (this.#connection.isClosed()) void this.#over();
      else {
        void this.#watch();
        this.#greet();
      }
    });
  }

  /** Nothing tells whether the client is connected, but an answer of the server does. */
  #greet(): void {
    const epoch = this.#epoch;
    this.#flushed().then(
      () => epoch === this.#epoch && this.#connected(),
      // Not connected now: told once it is.
      (error: unknown) => (this.problem = describe(error)),
    );
  }

  async #watch(): Promise<void> {
    const statuses = this.#connection.status();
    this.#statuses = statuses as { stop?(): void };
    for await (const status of statuses) {
      if (this.#statuses !== statuses) return;
      this.#told++;
      if (status.type === "disconnect") this.#lost(new Error("the connection to NATS is gone"));
      else if (status.type === "reconnect") this.#connected();
      else if (status.type === "ldm") this.problem = "the server is shutting down";
      else if (status.type === "error") this.#refused((status as { error?: unknown }).error);
    }
    if (this.#statuses === statuses) await this.#over();
  }

  #connected(): void {
    if (this.#up || this.#receiver === undefined) return;
    this.#up = true;
    this.problem = undefined;
    this.#liveness.watch(this.#heartbeat);
    const opening = this.#opening;
    this.#opening = undefined;
    if (opening === undefined) this.#receiver.resumed({ kept: false, replayed: false });
    else opening.resolve();
  }

  #lost(cause: unknown): void {
    this.problem = describe(cause);
    this.#epoch++;
    if (!this.#up) return;
    this.#up = false;
    this.#liveness.stop();
    // Else the client would subscribe to them again, and deliver before anybody knows of the gap.
    for (const held of this.#held.values()) held.end();
    this.#held.clear();
    this.#question = undefined;
    this.#turn = { publications: [], over: false };
    this.#turns.clear();
    this.#receiver?.interrupted(cause);
  }

  /** The client will not connect again. */
  async #over(): Promise<void> {
    this.#lost(new Error("the connection to NATS was closed"));
    const cause = (await this.#connection.closed()) ?? new Error("the connection was closed");
    if (this.#opening !== undefined)
      return this.#opening.reject(
        new PubSubError("NOT_READY", `The connection to NATS is closed: ${describe(cause)}. Connect anew.`, { cause }),
      );
    const receiver = this.#receiver;
    this.#stop();
    receiver?.ended(cause);
  }

  #stop(): void {
    this.#receiver = undefined;
    this.#opening = undefined;
    this.#up = false;
    this.#liveness.stop();
    const statuses = this.#statuses;
    this.#statuses = undefined;
    statuses?.stop?.();
  }

  #ask(): void {
    this.#flushed().catch(ignore);
  }

  /** @param message said when no question is answered; events alone are no answer: they come on a path that is half dead too */
  #giveUp(message: string): void {
    const late = this.#late;
    const came = this.#came;
    // The answer may stand behind them, though not for ever.
    if (came !== late.came && late.times < MAX_LATE) return void (this.#late = { came, times: late.times + 1 });
    // A process that did nothing else for so long has not looked at what came.
    afterArrivals(() => {
      if (!this.#up || (this.#came !== came && late.times < MAX_LATE)) return;
      this.#lost(new PubSubError("DISCONNECTED", message));
      this.#connection.reconnect().catch(ignore);
      // The client first waits until all that it has to say is written, for ever where nobody reads it.
      const { protocol } = this.#connection as { protocol?: { transport?: { close?(): Promise<void> } } };
      void protocol?.transport?.close?.().catch(ignore);
    });
  }

  /** Resolves when the server has handled all that was said until the end of this turn: one PING for all of it. */
  #flushed(): Promise<void> {
    return (this.#question ??= this.#flush());
  }

  async #flush(): Promise<void> {
    await TURN;
    this.#question = undefined;
    const turn = this.#turn;
    const { publications } = turn;
    // Also where there are none: what is published from here on has another answer.
    this.#turn = { publications: [], over: false };
    this.#turns.push(turn);
    try {
      await this.#connection.flush();
    } catch (error) {
      this.#forget(turn);
      for (const { waiter } of publications) waiter?.refused(interrupted(error));
      throw interrupted(error);
    }
    this.#came++;
    this.#late = { came: this.#came, times: 0 };
    this.#liveness.heard();
    // What the server refused it said before it answered. The word of it comes through generators of the client's, one by one.
    for (let told = -1; told !== this.#told;) {
      told = this.#told;
      for (let i = 0; i < HOPS; i++) await TURN;
    }
    this.#forget(turn);
    for (const { waiter, refused } of publications) if (refused !== true) waiter?.accepted();
  }

  #forget(turn: Turn): void {
    turn.over = true;
    while (this.#turns.at(0)?.over === true) this.#turns.shift();
  }

  /** The server refused something, and says which subject. Subscriptions hear of it by themselves. */
  #refused(error: unknown): void {
    const { operation, subject } = (error ?? {}) as { operation?: string; subject?: string };
    if (operation === "publish")
      for (let i = 0; i < this.#turns.size; i++)
        for (const publication of (this.#turns.at(i) as Turn).publications) {
          if (publication.subject !== subject || publication.refused === true) continue;
          publication.refused = true;
          return publication.waiter?.refused(refusal("publish to", subject, error));
        }
    if (operation === undefined) this.problem = describe(error);
  }

  // ----------------------------------------------------------------------------------------------------- subscriptions

  async subscribe(filter: Filter): Promise<void> {
    const held = this.#hold(filter);
    this.#held.set(filter, held);
    await this.#flushed();
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
            this.#came++;
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
    await this.#flushed();
  }

  // -------------------------------------------------------------------------------------------------------- publishing

  post(envelope: EventEnvelope): Posted {
    const subject = this.#subjectOf(envelope);
    return this.#gathering === undefined
      ? this.#publish(subject, stringifyWith(this.#serializer, envelope), envelope)
      : this.#gathering.add(subject, envelope, this.#maxPayload / BYTES);
  }

  /** @param first what it is a message of, with others perhaps */
  #publish(subject: string, text: string, first: EventEnvelope): Publication {
    checkSize(first, text, this.#maxPayload);
    if (!this.#up) throw interrupted(new Error("it was not sent"));
    const publication: Publication = { subject, waiter: undefined };
    // The first one of a turn asks for all, before the client writes it, so that the question goes along in one piece.
    if (this.#turn.publications.push(publication) === 1) this.#flushed().catch(ignore);
    try {
      this.#connection.publish(subject, utf8(text));
    } catch (error) {
      // Closed, or about to be.
      this.#turn.publications.pop();
      throw interrupted(error);
    }
    return publication;
  }

  get #maxPayload(): number {
    return this.#connection.info?.max_payload ?? Infinity;
  }

  /** @throws PubSubError `LIMIT` */
  #subjectOf({ type, id }: EventEnvelope): string {
    // Most publishers repeat a topic.
    if (type !== this.#last.type || id !== this.#last.id) {
      const subject = subjectOf(this.#prefix, type, id);
      checkLine({ type, id }, subject.length);
      this.#last = { type, id, subject };
    }
    return this.#last.subject;
  }

  async close(): Promise<void> {
    const connected = this.#up;
    for (const held of this.#held.values()) held.end();
    this.#held.clear();
    this.#stop();
    if (connected) await this.#flushed().catch(ignore);
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

/** How often in a row, at half a heartbeat's distance, an answer may be late while events come. */
const MAX_LATE = 10;

/** One turn of the queue of microtasks. */
const TURN = Promise.resolve();

/** Turns of the queue of microtasks within which the client's next word is here; about five would do. */
const HOPS = 16;

function interrupted(cause: unknown): PubSubError {
  return new PubSubError(
    "INTERRUPTED",
    `The connection ended before NATS answered (${describe(cause)}); the event may be delivered.`,
    { cause },
  );
}

function refusal(what: string, subject: string | undefined, cause: unknown): PubSubError {
  return new PubSubError("REFUSED", `NATS does not let this client ${what} ${subject}: ${describe(cause)}.`, { cause });
}

/** @throws PubSubError `LIMIT` */
function checkLine({ type, id }: Pick<Filter, "type" | "id">, length: number): void {
  if (length + AROUND <= MAX_LINE) return;
  throw new PubSubError(
    "LIMIT",
    `${excerpt(formatTopic(type, id))} is too long for NATS: subject and queue have ${length} bytes, and may have ${MAX_LINE - AROUND}. Use a shorter prefix, id or group.`,
  );
}

/** @throws PayloadError */
function checkSize({ type, id }: EventEnvelope, text: string, limit: number): void {
  if (text.length * BYTES <= limit) return;
  const bytes = utf8Length(text);
  if (bytes <= limit) return;
  throw new PayloadError(
    type,
    id,
    `The event has ${bytes} bytes, the NATS server takes ${limit}; send less, or raise its max_payload`,
  );
}

function ignore(): void {}
