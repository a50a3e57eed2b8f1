import { quietDeadline } from "@alkdev/pubsub/transport";

const FIRST_WAIT = 250;
const LONGEST_WAIT = 30_000;

/** Says to a router what is handled here: all of it, whenever that changes or the connection is made anew. */
export class Registrar {
  readonly #register: () => Promise<unknown>;
  readonly #onError: (error: unknown) => void;
  /** The registration that has not begun; what changes meanwhile is part of it. */
  #next: Promise<void> | undefined;
  #current: Promise<void> = Promise.resolve();
  #wait = FIRST_WAIT;
  #stopWaiting: (() => void) | undefined;
  #closed = false;

  constructor(register: () => Promise<unknown>, onError: (error: unknown) => void) {
    this.#register = register;
    this.#onError = onError;
  }

  /** Resolves once the router knows; rejects with why it does not, and then tries again by itself. */
  changed(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#next !== undefined) return this.#next;
    // In the next tick, so that what is handled in one is said at once; and one after the other.
    const next = this.#current.then(() => {
      this.#next = undefined;
      return this.#say();
    });
    this.#next = next;
    this.#current = next.catch(() => undefined);
    return next;
  }

  close(): void {
    this.#closed = true;
    this.#stopWaiting?.();
  }

  async #say(): Promise<void> {
    this.#stopWaiting?.();
    if (this.#closed) return;
    try {
      await this.#register();
      this.#wait = FIRST_WAIT;
    } catch (error) {
      if (!this.#closed) {
        this.#onError(error);
        this.#stopWaiting = quietDeadline(this.#wait, () => void this.changed());
        this.#wait = Math.min(LONGEST_WAIT, this.#wait * 2);
      }
      throw error;
    }
  }
}
