import { interrupted } from "./nats-client.ts";
import type { NatsConnection } from "./nats-client.ts";

/** One turn of the queue of microtasks. */
const TURN = Promise.resolve();

/** Turns of the queue of microtasks within which the client's next word is here; about five would do. */
const HOPS = 16;

/** Asks the server whether it has handled what was said: one PING for all of a turn. */
export class Questions {
  readonly #connection: NatsConnection;
  readonly #answered: () => void;
  /** Counts what the client has told of its connection. */
  #told = 0;
  #asked: Promise<void> | undefined;

  /** @param answered called as soon as an answer comes */
  constructor(connection: NatsConnection, answered: () => void) {
    this.#connection = connection;
    this.#answered = answered;
  }

  /** Resolves when the server has handled all that was said until the end of this turn; the same for all who ask in it. */
  ask(): Promise<void> {
    return (this.#asked ??= this.#ask());
  }

  /** The client has told something: a refusal, perhaps. */
  told(): void {
    this.#told++;
  }

  /** What was asked is asked of nobody any more. */
  forget(): void {
    this.#asked = undefined;
  }

  async #ask(): Promise<void> {
    await TURN;
    this.#asked = undefined;
    try {
      await this.#connection.flush();
    } catch (error) {
      throw interrupted(error);
    }
    this.#answered();
    // What the server refused it said before it answered. The word of it comes through generators of the client's, one by one.
    for (let told = -1; told !== this.#told;) {
      told = this.#told;
      for (let i = 0; i < HOPS; i++) await TURN;
    }
  }
}
