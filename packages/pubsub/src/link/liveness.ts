import { every } from "../timers.ts";

/** What is asked of the session whose far end is watched. */
export interface LivenessOwner {
  /** Nothing has come for a while: asks the far end for a sign. */
  ask(): void;
  /** Nothing has come since, for as long again. */
  silent(message: string): void;
}

/** Whether the far end of a channel is still there: after silence it is asked, after as much again it is given up. */
export class Liveness {
  readonly #owner: LivenessOwner;
  #heard = 0;
  #asked = false;
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
    this.#asked = false;
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  #look(heartbeat: number): void {
    const silence = Date.now() - this.#heard;
    // Only silence after a question counts: a process that was itself suspended finds all its clocks late.
    if (silence >= heartbeat * 2 && this.#asked)
      return this.#owner.silent(`The far end was silent for ${silence} ms and did not answer.`);
    if (silence < heartbeat) return;
    this.#asked = true;
    this.#owner.ask();
  }
}
