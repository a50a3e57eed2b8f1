/**
 * An event target over Postgres, by `NOTIFY` and `LISTEN`, with a pool of `pg`.
 *
 * All events of a target go through one channel, each as its whole envelope, and every target that listens gets all of
 * them: the core picks out what somebody here has subscribed to. So a subscription of any kind costs Postgres nothing more than
 * the first one did, each event comes once, in the order of the commits, and a trigger that writes one channel has written to
 * all. Postgres keeps nothing for who is not connected: what is published meanwhile is a gap.
 */
import type { Backoff } from "../backoff.ts";
import { coreOf } from "../core.ts";
import type { EventEnvelope, TypedEvent } from "../envelope.ts";
import { excerpt, PubSubError, undefinedPayload } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { Opening } from "../opening.ts";
import { checkBackoff, checkTimeout } from "../options.ts";
import { parseWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import { checkId, checkType, utf8Length } from "../topic.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import { likeThoseOf } from "./postgres-client.ts";
import type { PostgresClient, PostgresPool, PostgresQueryable } from "./postgres-client.ts";
import { Listener } from "./postgres-listener.ts";
import { MAX_PAYLOAD, Publications } from "./postgres-publications.ts";

export type { Backoff } from "../backoff.ts";
export type { PostgresClient, PostgresPool, PostgresPoolClient, PostgresQueryable } from "./postgres-client.ts";
export type { Serializer as PostgresSerializer } from "../serializer.ts";

/** What `createPostgresEventTarget` needs. */
export interface CreatePostgresEventTargetArgs extends EventTargetOptions {
  /** A `pg.Pool`, which publishes: it lends one connection, while there is something to publish. Stays open. */
  readonly pool: PostgresPool;
  /**
   * Makes a client that is not connected yet, to listen with; it becomes the target's own. Default: one like those of the
   * pool, beside them. Needed where the pool goes through a pooler, such as pgbouncer: listening needs a direct way.
   */
  readonly listenClient?: () => PostgresClient;
  /** The channel, 1 to 63 bytes. Default `alk.events`. */
  readonly channel?: string;
  /** Default `JSON`. */
  readonly serializer?: Serializer;
  /**
   * Milliseconds of silence after which Postgres is asked for a sign of life; after as many again the connection is given
   * up, and so is a publish that takes twice as long. Default 2,000; 0: never.
   */
  readonly heartbeat?: number;
  /** How long to wait before connecting again, to listen. */
  readonly backoff?: Backoff;
}

/** An event target over Postgres. */
export interface PostgresEventTarget<TEvent extends TypedEvent = TypedEvent> extends AlkEventTarget<TEvent> {
  /**
   * Publishes within a transaction of yours: the event is delivered when that commits, and only then. Resolves once Postgres has
   * taken it into the transaction. Schemas and numbers (`sequence`) are the PubSub's, and not applied.
   *
   * @param client what carries out the transaction's statements: a client of `pg` after its `BEGIN`
   * @throws PubSubError `INVALID_TOPIC`, `PAYLOAD` before anything is sent; `REFUSED`, after which Postgres carries out nothing more of
   * the transaction; `INTERRUPTED`
   * @example
   * await client.query("BEGIN");
   * await client.query("UPDATE sessions SET status = $1 WHERE id = $2", ["busy", "proj_123"]);
   * await target.publishIn(client, "session.status", "proj_123", { status: "busy" });
   * await client.query("COMMIT");
   */
  publishIn(client: PostgresQueryable, type: string, id: string, payload: unknown): Promise<void>;
}

/**
 * Events to and from all that use the same channel of one Postgres database, over a pool of yours, which stays open.
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const pool = new pg.Pool({ connectionString: "postgres://localhost/app" });
 * const pubsub = createPubSub({ eventTarget: createPostgresEventTarget({ pool }) });
 * const events = await pubsub.subscribe("session.status", "proj_123"); // Postgres listens
 */
export function createPostgresEventTarget<TEvent extends TypedEvent = TypedEvent>(
  args: CreatePostgresEventTargetArgs,
): PostgresEventTarget<TEvent> {
  const transport = new PostgresTransport(args);
  const target = defineEventTarget<TEvent>(transport, args);
  const { id: origin } = target[coreOf];
  return Object.assign(target, {
    async publishIn(client: PostgresQueryable, type: string, id: string, payload: unknown): Promise<void> {
      if (typeof client?.query !== "function")
        throw new PubSubError("INVALID_OPTION", `client must be a client of pg, not ${excerpt(client)}.`);
      checkType(type);
      checkId(id);
      if (payload === undefined) throw undefinedPayload(type, id);
      await transport.publications.postIn(client, { type, id, payload, meta: { origin } });
    },
  });
}

const SUPPORTS: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  overlap: "once",
  // One channel has them all.
  patterns: "filtered",
  echo: true,
  groups: false,
  replay: false,
  maxPayload: MAX_PAYLOAD,
};

/** Bytes that the name of a channel may have. */
const MAX_CHANNEL = 63;

class PostgresTransport implements Transport {
  readonly supports: Supports = SUPPORTS;
  problem: string | undefined;
  readonly publications: Publications;
  readonly #pool: PostgresPool;
  readonly #channel: string;
  readonly #serializer: Serializer;
  readonly #listener: Listener;
  readonly #filters = new Set<Filter>();
  /** Postgres's word that it listens for us. */
  #listening: Promise<unknown> | undefined;
  #receiver: Receiver | undefined;
  readonly #opening = new Opening();

  constructor(args: CreatePostgresEventTargetArgs) {
    const { pool, listenClient, channel = "alk.events", serializer = JSON, heartbeat = 2000, backoff } = args;
    if (typeof pool?.connect !== "function" || typeof pool.on !== "function" || "release" in pool)
      throw new PubSubError("INVALID_OPTION", "pool has to be a Pool of pg: new pg.Pool(config).");
    if (listenClient !== undefined && typeof listenClient !== "function")
      throw new PubSubError("INVALID_OPTION", "listenClient has to be a function: () => new pg.Client(config).");
    if (typeof channel !== "string" || channel === "" || channel.includes("\0") || utf8Length(channel) > MAX_CHANNEL)
      throw new PubSubError(
        "INVALID_OPTION",
        `channel has to be a string of 1 to ${MAX_CHANNEL} bytes without NUL, not ${excerpt(channel)}.`,
      );
    checkTimeout("heartbeat", heartbeat);
    checkBackoff(backoff);
    this.#pool = pool;
    this.#channel = channel;
    this.#serializer = serializer;
    const make = listenClient ?? likeThoseOf(pool);
    this.#listener = new Listener(make, listenClient === undefined, heartbeat, backoff, {
      connected: () => this.#connected(),
      lost: (cause) => this.#lost(cause),
      failed: (problem, refusal) => this.#failed(problem, refusal),
      notified: (name, text) => this.#notified(name, text),
    });
    this.publications = new Publications(
      pool,
      channel,
      serializer,
      heartbeat === 0 ? Infinity : heartbeat * 2,
      (milliseconds) => this.#listener.serverTime(milliseconds),
    );
  }

  // --------------------------------------------------------------------------------------------------- the connection

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    this.#receiver = receiver;
    const opened = this.#opening.begin(signal, () => void this.#stop());
    // A client that it has no use for at the moment may find its connection gone, which would end the process where nobody listens.
    this.#pool.on("error", ignore);
    this.#listener.start();
    return opened;
  }

  #connected(): void {
    this.problem = undefined;
    if (!this.#opening.succeed()) this.#receiver?.resumed({ kept: false, replayed: false });
  }

  #failed(problem: string, refusal: PubSubError | undefined): void {
    this.problem = problem;
    if (refusal !== undefined) this.#opening.fail(refusal);
  }

  #lost(cause: unknown): void {
    this.#filters.clear();
    this.#listening = undefined;
    this.publications.drop();
    this.#receiver?.interrupted(cause);
  }

  async #stop(): Promise<void> {
    this.#receiver = undefined;
    this.#opening.end();
    this.#filters.clear();
    this.#listening = undefined;
    this.publications.stop();
    await this.#listener.stop();
    this.#pool.off("error", ignore);
  }

  close(): Promise<void> {
    return this.#stop();
  }

  // ----------------------------------------------------------------------------------------------------- subscriptions

  async subscribe(filter: Filter): Promise<void> {
    this.#filters.add(filter);
    const listening = (this.#listening ??= this.#listener.query(`LISTEN ${this.#name}`));
    try {
      await listening;
    } catch (error) {
      // Unless it was asked again meanwhile.
      if (this.#listening === listening) {
        this.#listening = undefined;
        this.#filters.clear();
      }
      throw error;
    }
  }

  async unsubscribe(filter: Filter): Promise<void> {
    if (!this.#filters.delete(filter) || this.#filters.size > 0) return;
    this.#listening = undefined;
    await this.#listener.query(`UNLISTEN ${this.#name}`);
  }

  /** The channel as an identifier, whatever it holds. */
  get #name(): string {
    return `"${this.#channel.replaceAll('"', '""')}"`;
  }

  #notified(channel: string, text: string): void {
    if (channel !== this.#channel || this.#filters.size === 0) return;
    let envelope: EventEnvelope;
    try {
      envelope = parseWith(this.#serializer, text, channel);
    } catch (error) {
      return this.#receiver?.error(error);
    }
    this.#receiver?.deliver(envelope);
  }

  // -------------------------------------------------------------------------------------------------------- publishing

  post(envelope: EventEnvelope): Posted {
    return this.publications.post(envelope);
  }
}

function ignore(): void {}
