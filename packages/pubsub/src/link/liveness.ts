import { every } from "../timers.ts";

/** What is asked of the session whose far end is watched. */
export interface LivenessOwner {
  /** Nothing has come for a while: asks the far end for a sign. */
  ask(): void;
  /** Nothing has come since, for as long again. */
  silent(message: string): void;
}

/** How often in a row, at half a heartbeat's distance, an answer may be late while other things come. */
const PATIENCE = 10;

/** Whether the far end of a channel is still there: after silence it is asked, after as much again it is given up. */
export class Liveness {
  readonly #owner: LivenessOwner;
  #heard = 0;
  #asked = false;
  #between = false;
  #patience = 0;
  #stop: (() => void) | undefined;

  constructor(owner: LivenessOwner) {
    this.#owner = owner;
  }

  /** Watches a new channel. @param heartbeat milliseconds of silence after which it is asked; 0: never */
  watch(heartbeat: number): void {
    this.stop();
    this.heard();
    if (heartbeat > 0) this.#stop = every(heartbeat / 2, () => this.#look(heartbeat));
  }

  /** Something came. */
  heard(): void {
    this.#heard = Date.now();
    this.#asked = this.#between = false;
    this.#patience = PATIENCE;
  }

  /**
   * Something came that is no answer to what was asked, for far ends whose answers alone are a sign: a path that is half dead
   * brings events too. The answer may stand behind it, though not for ever.
   */
  came(): void {
    this.#between = true;
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  #look(heartbeat: number): void {
    const silence = Date.now() - this.#heard;
    // Only silence after a question counts: a process that was itself suspended finds all its clocks late.
    if (silence >= heartbeat * 2 && this.#asked) {
      if (!this.#between || this.#patience === 0)
        return this.#owner.silent(`The far end was silent for ${silence} ms and did not answer.`);
      this.#between = false;
      this.#patience--;
      return;
    }
    if (silence < heartbeat) return;
    this.#asked = true;
    this.#owner.ask();
  }
}
