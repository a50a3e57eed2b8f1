import { waitAfter } from "../backoff.ts";
import type { Backoff } from "../backoff.ts";
import { PubSubError } from "../errors.ts";
import { Liveness } from "../link/liveness.ts";
import { afterArrivals, deadline } from "../timers.ts";
import { destroy, explain, refusalOf, STANDBY } from "./postgres-client.ts";
import type { PostgresClient } from "./postgres-client.ts";

/** Told of what becomes of the connection. */
export interface ListenerOwner {
  /** There is one, on which nothing is listened to yet. */
  connected(): void;
  /** It is gone, and the next one is on its way. */
  lost(cause: unknown): void;
  /** An attempt failed. @param refusal where Postgres has said no, rather than nothing */
  failed(problem: string, refusal: PubSubError | undefined): void;
  notified(channel: string, payload: string): void;
}

/** What every new connection is asked, and later as a sign of life. */
const WHO =
  "SELECT pg_backend_pid() AS pid, pg_is_in_recovery()::int AS standby, extract(epoch FROM clock_timestamp())::float8 AS now";

interface Who {
  readonly pid: unknown;
  readonly standby: unknown;
  readonly now: unknown;
}

/** Milliseconds that an attempt to connect has, at least. */
const MIN_ATTEMPT = 2000;
/** Milliseconds that it has where no heartbeat says so. */
const LONG_ATTEMPT = 10_000;
/** Milliseconds within which a connection ends by saying goodbye. */
const GOODBYE = 1000;

/** The connection that listens: another one whenever one ends, each watched. */
export class Listener {
  readonly #make: () => PostgresClient;
  readonly #direct: boolean;
  readonly #heartbeat: number;
  readonly #backoff: Backoff | undefined;
  readonly #owner: ListenerOwner;
  readonly #liveness: Liveness;
  /** The one under way or there. */
  #client: PostgresClient | undefined;
  #ready = false;
  #failures = 0;
  #stopped = true;
  #pid: unknown;
  /** What the client is asked, one after the other. */
  #asked: Promise<unknown> = Promise.resolve();
  #isAsking = false;
  /** Seconds that Postgres's clock is ahead of ours, at least. */
  #ahead = -Infinity;
  #stopDeadline: () => void = nothing;
  #stopPause: () => void = nothing;

  /** @param direct whether a connection that is not Postgres's own is refused: whoever made it may not know */
  constructor(
    make: () => PostgresClient,
    direct: boolean,
    heartbeat: number,
    backoff: Backoff | undefined,
    owner: ListenerOwner,
  ) {
    this.#make = make;
    this.#direct = direct;
    this.#heartbeat = heartbeat;
    this.#backoff = backoff;
    this.#owner = owner;
    this.#liveness = new Liveness({ ask: () => this.#ask(), silent: (message) => this.#giveUp(message) });
  }

  /** Postgres's clock in seconds when ours shows so many milliseconds; not later than that. */
  serverTime(milliseconds: number): number {
    return milliseconds / 1000 + this.#ahead;
  }

  start(): void {
    this.#stopped = false;
    this.#failures = 0;
    this.#connect();
  }

  /** Carries out a statement after those that were given before. */
  query(text: string): Promise<unknown> {
    const client = this.#client;
    if (client === undefined || !this.#ready)
      return Promise.reject(new PubSubError("DISCONNECTED", "There is no connection to Postgres."));
    return this.#on(client, text);
  }

  async stop(): Promise<void> {
    const client = this.#client;
    const connected = this.#ready;
    this.#stopped = true;
    this.#leave();
    if (client === undefined) return;
    if (!connected) return destroy(client);
    let stop = nothing;
    const late = new Promise<void>((resolve) => (stop = deadline(GOODBYE, resolve)));
    await Promise.race([client.end().catch(nothing), late]);
    stop();
    destroy(client);
  }

  #connect(): void {
    let client: PostgresClient;
    try {
      client = this.#make();
      if (typeof client?.connect !== "function" || typeof client.query !== "function")
        throw new PubSubError("INVALID_OPTION", "listenClient has to return a new pg.Client that is not connected.");
    } catch (error) {
      return this.#over(undefined, error);
    }
    this.#client = client;
    client.on("error", (error: unknown) => this.#over(client, error));
    client.on("end", () => this.#over(client, new Error("the connection was closed")));
    client.on("notification", ({ channel, payload = "" }: { channel: string; payload?: string }) => {
      if (this.#client !== client) return;
      this.#liveness.came();
      this.#owner.notified(channel, payload);
    });
    const patience = this.#heartbeat === 0 ? LONG_ATTEMPT : Math.max(this.#heartbeat * 2, MIN_ATTEMPT);
    this.#stopDeadline = deadline(patience, () =>
      afterArrivals(() => this.#ready || this.#over(client, new Error(`no answer within ${patience} ms`))),
    );
    client
      .connect()
      .then(() => this.#greet(client))
      .catch((error: unknown) => this.#over(client, error));
  }

  async #greet(client: PostgresClient): Promise<void> {
    const { pid, standby } = await this.#who(client);
    if (this.#client !== client) return;
    if (Number(standby) === 1) throw new PubSubError("REFUSED", `${STANDBY}.`);
    const { processID = pid } = client as { readonly processID?: unknown };
    if (this.#direct && Number(processID) !== Number(pid)) throw new PubSubError("UNSUPPORTED", `The pool ${POOLER}`);
    this.#pid = pid;
    this.#ready = true;
    this.#failures = 0;
    this.#stopDeadline();
    this.#liveness.watch(this.#heartbeat);
    this.#owner.connected();
  }

  async #who(client: PostgresClient): Promise<Who> {
    const { rows } = (await this.#on(client, WHO)) as { readonly rows: readonly [Who] };
    // Its clock was read before now: the answer that took the shortest tells most, and clocks drift.
    this.#ahead = Math.max(Number(rows[0].now) - performance.now() / 1000, this.#ahead - DRIFT);
    return rows[0];
  }

  /** The client would queue them itself, and warn. */
  #on(client: PostgresClient, text: string): Promise<unknown> {
    const answer = this.#asked.then(() => client.query(text));
    this.#asked = answer.catch(nothing);
    return answer;
  }

  #ask(): void {
    const client = this.#client;
    // One at a time.
    if (client === undefined || this.#isAsking) return;
    this.#isAsking = true;
    this.#who(client)
      .then(({ pid }) => {
        if (this.#client !== client) return;
        this.#liveness.heard();
        if (pid !== this.#pid) this.#over(client, new PubSubError("UNSUPPORTED", `listenClient ${POOLER}`));
      })
      // Its end is told of otherwise.
      .catch(nothing)
      .finally(() => this.#client === client && (this.#isAsking = false));
  }

  #giveUp(message: string): void {
    const client = this.#client;
    const asked = this.#isAsking;
    // A process that did nothing else for so long has not looked at what came.
    afterArrivals(() => {
      if (client !== undefined && asked && this.#isAsking) this.#over(client, new PubSubError("DISCONNECTED", message));
    });
  }

  #over(client: PostgresClient | undefined, cause: unknown): void {
    if (this.#client !== client || this.#stopped) return;
    const wasReady = this.#ready;
    this.#leave();
    if (client !== undefined) {
      // So that the client takes its end as meant.
      client.end().catch(nothing);
      destroy(client);
    }
    // What is told may stop it.
    this.#stopPause = deadline(waitAfter(this.#failures++, this.#backoff), () => this.#connect());
    this.#owner.failed(explain(cause), refusalOf(cause));
    if (wasReady) this.#owner.lost(cause);
  }

  /** Has nothing more to do with the client there is. */
  #leave(): void {
    this.#client = undefined;
    this.#ready = this.#isAsking = false;
    this.#ahead = -Infinity;
    this.#asked = Promise.resolve();
    this.#liveness.stop();
    this.#stopDeadline();
    this.#stopPause();
  }
}

/** Seconds by which clocks may part between two answers. */
const DRIFT = 0.001;

const POOLER =
  "reaches Postgres through a pooler (such as pgbouncer). One that lends a connection by the transaction forgets what it listens to, and tells nobody. Give a listenClient that connects directly, or through one that lends connections by the session.";

function nothing(): void {}
