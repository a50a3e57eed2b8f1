/** A connection to RabbitMQ that comes back, since the client's own does not. */
import { waitAfter } from "../backoff.ts";
import type { Backoff } from "../backoff.ts";
import { PubSubError } from "../errors.ts";
import { Liveness } from "../link/liveness.ts";
import { afterArrivals } from "../timers.ts";
import { within } from "../within.ts";
import { destroy, end, ignore } from "./amqp-client.ts";
import type { AmqpConnection } from "./amqp-client.ts";

/** What is made of a connection, and told of it. */
export interface ConnectionOwner {
  /** Makes of a new connection what is needed; a rejection ends it. */
  prepare(connection: AmqpConnection): Promise<void>;
  /** It can be used. */
  ready(): void;
  /** It is gone, and will be tried again. */
  lost(cause: unknown): void;
  /** An attempt came to nothing, and there will be another one. */
  failed(cause: unknown): void;
  /** Asks the server for a sign of life. */
  ask(): Promise<unknown>;
  /** The server takes no events, or does again. */
  blocked?(reason: string | undefined): void;
}

export interface ConnectionOptions {
  /** @param signal aborted where nobody waits for it any more */
  readonly connect: (signal: AbortSignal) => Promise<AmqpConnection>;
  readonly backoff: Backoff;
  readonly heartbeat: number;
  readonly attemptTimeout: number;
}

/** How long the server has to say goodbye, in milliseconds. */
const CLOSE_TIMEOUT = 2000;

export class Comeback {
  readonly #options: ConnectionOptions;
  readonly #owner: ConnectionOwner;
  readonly #liveness: Liveness;
  /** Of the current attempt, or of what came of it; another one makes all that is still under way void. */
  #turn = 0;
  /** Ends what is still an attempt. */
  #abort: AbortController | undefined;
  #connection: AmqpConnection | undefined;
  /** Why it is gone already while it is made ready. */
  #gone: { readonly cause: unknown } | undefined;
  #failures = 0;
  #answers = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  ready = false;

  constructor(options: ConnectionOptions, owner: ConnectionOwner) {
    this.#options = options;
    this.#owner = owner;
    this.#liveness = new Liveness({
      ask: () => void owner.ask().then(() => this.heard(), ignore),
      silent: (message) => this.#silent(message),
    });
  }

  start(): void {
    void this.#attempt();
  }

  /** Ends the connection, or the attempt; resolves when the server has, or does not answer. */
  async stop(): Promise<void> {
    this.#turn++;
    clearTimeout(this.#timer);
    this.#liveness.stop();
    this.ready = false;
    this.#abort?.abort(new Error("closed"));
    this.#abort = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection !== undefined) await end(connection, CLOSE_TIMEOUT);
  }

  /** The server has answered. */
  heard(): void {
    this.#answers++;
    this.#liveness.heard();
  }

  /** Something else came: a path that is half dead brings events too. */
  came(): void {
    this.#liveness.came();
  }

  #silent(message: string): void {
    const [turn, answers] = [this.#turn, this.#answers];
    // A process that did nothing else for so long has not looked at what came.
    afterArrivals(() => {
      if (turn === this.#turn && answers === this.#answers) this.giveUp(new PubSubError("DISCONNECTED", message));
    });
  }

  /** Lets go of a connection that is of no use any more. */
  giveUp(cause: unknown): void {
    const connection = this.#connection;
    this.#lost(this.#turn, cause);
    if (connection !== undefined) destroy(connection);
  }

  async #attempt(): Promise<void> {
    const turn = ++this.#turn;
    const { attemptTimeout } = this.#options;
    const late = (): unknown => new Error(`no answer within ${attemptTimeout} ms`);
    const abort = (this.#abort = new AbortController());
    const { signal } = abort;
    let connection: AmqpConnection | undefined;
    try {
      connection = await within(this.#connect(signal), attemptTimeout, { late, signal, undo: discard });
      if (turn !== this.#turn) return discard(connection);
      this.#gone = undefined;
      this.#watch(connection, turn);
      this.#connection = connection;
      await within(this.#owner.prepare(connection), attemptTimeout, { late, signal });
      if (turn !== this.#turn) return;
      // What is there is ended in order.
      this.#abort = undefined;
      // The server may have said so in one breath with its last answer.
      const gone = this.#gone as { readonly cause: unknown } | undefined;
      if (gone !== undefined) throw gone.cause;
      this.#failures = 0;
      this.ready = true;
      this.#liveness.watch(this.#options.heartbeat);
      this.#owner.ready();
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#connection = this.#abort = undefined;
      if (connection === undefined) abort.abort(error);
      else discard(connection);
      this.#again();
      this.#owner.failed(error);
    }
  }

  async #connect(signal: AbortSignal): Promise<AmqpConnection> {
    const connection = await this.#options.connect(signal);
    if (typeof connection?.createConfirmChannel !== "function")
      throw new PubSubError("INVALID_OPTION", "connect has to resolve to what connect() of amqplib does.");
    if ("waitForConnect" in connection) {
      discard(connection);
      throw new PubSubError(
        "INVALID_OPTION",
        "connect resolves to a connection that comes back by itself, which says nothing of what is lost meanwhile. Leave out amqplib's recovery: the target connects again.",
      );
    }
    return connection;
  }

  #watch(connection: AmqpConnection, turn: number): void {
    // Without a listener it would be uncaught; the end of the connection, which follows, brings it too.
    connection.on("error", ignore);
    connection.on("close", (cause?: unknown) => this.#lost(turn, cause ?? new Error("the connection was closed")));
    connection.on("blocked", (reason: string) => turn === this.#turn && this.#block(reason));
    connection.on("unblocked", () => turn === this.#turn && this.#block(undefined));
  }

  /** A server that takes no events answers no questions either: it reads nothing. Its client hears of its heartbeats. */
  #block(reason: string | undefined): void {
    if (reason === undefined) this.#liveness.watch(this.#options.heartbeat);
    else this.#liveness.stop();
    this.#owner.blocked?.(reason);
  }

  #lost(turn: number, cause: unknown): void {
    if (turn !== this.#turn) return;
    if (!this.ready) return void (this.#gone = { cause });
    this.ready = false;
    this.#connection = undefined;
    this.#liveness.stop();
    this.#again();
    this.#owner.lost(cause);
  }

  #again(): void {
    this.#turn++;
    this.#timer = setTimeout(() => void this.#attempt(), waitAfter(this.#failures, this.#options.backoff));
    this.#failures++;
  }
}

function discard(connection: AmqpConnection): void {
  connection.on("error", ignore);
  void end(connection, CLOSE_TIMEOUT);
}
