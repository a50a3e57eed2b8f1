/**
 * The path on which a place is told what to do and asked for its account: questions with a number, answers with the
 * same. It is no part of what is measured, and so does not go through pubsub.
 *
 * @typedef {(message: Question | Answer | Signal) => void} Send
 * @typedef {{ ask: number, what: string, arg: unknown }} Question
 * @typedef {{ answer: number, value?: unknown, error?: string }} Answer
 * @typedef {{ signal: unknown }} Signal something that a place says unasked
 * @typedef {Record<string, (arg: any) => unknown>} Handle
 */

/** The asking side of one place. */
export class Remote {
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  #asked = new Map();
  #last = 0;
  /** Whether it is not there yet; what is asked meanwhile waits. */
  starting = false;
  /** Why nothing can be asked any more. @type {Error | undefined} */
  dead;
  /** @type {((signal: any) => void) | undefined} */
  onSignal;
  #send;

  /** @param {Send} send */
  constructor(send) {
    this.#send = send;
  }

  /** @param {string} what @param {unknown} [arg] @returns {Promise<any>} */
  ask(what, arg) {
    if (this.dead !== undefined) return Promise.reject(this.dead);
    const ask = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#asked.set(ask, { resolve, reject });
      this.#send({ ask, what, arg });
    });
  }

  /** @param {unknown} message */
  receive(message) {
    if (typeof message !== "object" || message === null) return;
    if ("signal" in message) this.onSignal?.(message.signal);
    if (!("answer" in message)) return;
    const { answer, value, error } = /** @type {Answer} */ (message);
    const asked = this.#asked.get(answer);
    this.#asked.delete(answer);
    if (error === undefined) asked?.resolve(value);
    else asked?.reject(new Error(error));
  }

  /** The place is gone: whoever waits for it is told. @param {string} reason */
  die(reason) {
    if (this.dead !== undefined) return;
    this.dead = new Error(reason);
    for (const { reject } of this.#asked.values()) reject(this.dead);
    this.#asked.clear();
  }
}

/** The answering side. @param {Handle} handle @param {Send} send @returns {(message: unknown) => Promise<void>} */
export function answering(handle, send) {
  return async (message) => {
    const { ask, what, arg } = /** @type {Question} */ (message);
    try {
      send({ answer: ask, value: await handle[what]?.(arg) });
    } catch (error) {
      send({ answer: ask, error: error instanceof Error ? error.message : String(error) });
    }
  };
}

/** A place in this very process; what it answers is a copy, as it is from the others. @param {Handle} handle */
export function localRemote(handle) {
  const remote = new Remote((message) => void answer(message));
  const answer = answering(handle, (message) => remote.receive(structuredClone(message)));
  return remote;
}
