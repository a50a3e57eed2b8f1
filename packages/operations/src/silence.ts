import { deadline } from "@alkdev/pubsub/transport";

/** Ends what is silent for too long while it might speak. */
export class Silence {
  readonly #limit: number;
  readonly #end: () => void;
  /** Answers that the handler may send before it must wait for this side. */
  #may: number;
  #since: number = performance.now();
  #stop: (() => void) | undefined;

  constructor(limit: number, may: number, end: () => void) {
    this.#limit = limit;
    this.#may = may;
    this.#end = end;
    this.#watch(limit);
  }

  heard(): void {
    this.#may--;
    this.#since = performance.now();
    if (this.#may <= 0) this.stop();
  }

  credited(count: number): void {
    this.#may += count;
    if (this.#stop !== undefined || this.#may <= 0) return;
    this.#since = performance.now();
    this.#watch(this.#limit);
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  /** One timer for many answers: it looks again later if there were some. */
  #watch(milliseconds: number): void {
    this.#stop = deadline(milliseconds, () => {
      const left = this.#since + this.#limit - performance.now();
      if (left > 0) return this.#watch(Math.ceil(left));
      this.#stop = undefined;
      this.#end();
    });
  }
}
