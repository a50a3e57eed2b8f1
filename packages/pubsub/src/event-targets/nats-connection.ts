import { describe, PubSubError } from "../errors.ts";
import { Liveness } from "../link/liveness.ts";
import { afterArrivals } from "../timers.ts";
import type { NatsConnection } from "./nats-client.ts";
import { Questions } from "./nats-questions.ts";

/** What is asked of the target whose connection is watched. */
export interface WatchedOwner {
  /** There is a connection. */
  up(): void;
  /** There is none any more, and the client is trying to get one. */
  down(cause: unknown): void;
  /** The client will not connect again. */
  over(cause: unknown): void;
  /** The server refused to publish to a subject. */
  publishRefused(subject: string | undefined, error: unknown): void;
}

/** The client's connection: whether it is there, by the client's word and by the server's answers. */
export class Watched {
  readonly questions: Questions;
  problem: string | undefined;
  /** Whether there is a connection, as far as the owner knows. */
  isUp = false;
  readonly #connection: NatsConnection;
  readonly #heartbeat: number;
  readonly #owner: WatchedOwner;
  readonly #liveness: Liveness;
  /** Counts connections that were lost. */
  #epoch = 0;
  /** Whether the last sign of life that was asked for has not come. */
  #asked = false;
  #statuses: { stop?(): void } | undefined;

  constructor(connection: NatsConnection, heartbeat: number, owner: WatchedOwner) {
    this.#connection = connection;
    this.#heartbeat = heartbeat;
    this.#owner = owner;
    this.questions = new Questions(connection, () => this.#answered());
    this.#liveness = new Liveness({ ask: () => this.#ask(), silent: (message) => this.#giveUp(message) });
  }

  start(): void {
    if (this.#connection.isClosed()) return void this.#over();
    void this.#watch();
    this.#greet();
  }

  stop(): void {
    this.isUp = false;
    this.#liveness.stop();
    const statuses = this.#statuses;
    this.#statuses = undefined;
    statuses?.stop?.();
  }

  /** A message came, which is no answer: they come on a path that is half dead too. */
  came(): void {
    this.#liveness.came();
  }

  /** Nothing tells whether the client is connected, but an answer of the server does. */
  #greet(): void {
    const epoch = this.#epoch;
    this.questions.ask().then(
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
      this.questions.told();
      if (status.type === "disconnect") this.#lost(new Error("the connection to NATS is gone"));
      else if (status.type === "reconnect") this.#connected();
      else if (status.type === "ldm") this.problem = "the server is shutting down";
      else if (status.type === "error") this.#refused((status as { error?: unknown }).error);
    }
    if (this.#statuses === statuses) await this.#over();
  }

  #connected(): void {
    // Stopped meanwhile.
    if (this.isUp || this.#statuses === undefined) return;
    this.isUp = true;
    this.#asked = false;
    this.problem = undefined;
    this.#liveness.watch(this.#heartbeat);
    this.#owner.up();
  }

  #lost(cause: unknown): void {
    this.problem = describe(cause);
    this.#epoch++;
    if (!this.isUp) return;
    this.isUp = false;
    this.#liveness.stop();
    this.questions.forget();
    this.#owner.down(cause);
  }

  async #over(): Promise<void> {
    this.#lost(new Error("the connection to NATS was closed"));
    this.#owner.over((await this.#connection.closed()) ?? new Error("the connection was closed"));
  }

  /** The server refused something, and says which subject. Subscriptions hear of it by themselves. */
  #refused(error: unknown): void {
    const { operation, subject } = (error ?? {}) as { operation?: string; subject?: string };
    if (operation === "publish") this.#owner.publishRefused(subject, error);
    if (operation === undefined) this.problem = describe(error);
  }

  #answered(): void {
    this.#asked = false;
    this.#liveness.heard();
  }

  #ask(): void {
    this.#asked = true;
    this.questions.ask().catch(ignore);
  }

  #giveUp(message: string): void {
    // A process that did nothing else for so long has not looked at what came.
    afterArrivals(() => {
      if (!this.isUp || !this.#asked) return;
      this.#lost(new PubSubError("DISCONNECTED", message));
      this.#connection.reconnect().catch(ignore);
      // The client first waits until all that it has to say is written, for ever where nobody reads it.
      const { protocol } = this.#connection as { protocol?: { transport?: { close?(): Promise<void> } } };
      void protocol?.transport?.close?.().catch(ignore);
    });
  }
}

function ignore(): void {}
