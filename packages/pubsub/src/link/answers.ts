import type { PubSubError, PubSubErrorCode } from "../errors.ts";
import { Ring } from "../ring.ts";

/** Runs of refused events that are remembered, until the far end is known to have been told. */
const MAX_REFUSALS = 4096;

/** Events in a row that were refused alike, by number. */
interface Refusal {
  readonly from: number;
  to: number;
  readonly code: PubSubErrorCode;
  readonly message: string;
}

/** What the answers need of their session. */
export interface AnswersOwner {
  /** Says that an event was refused. */
  refuse(at: number, code: PubSubErrorCode, message: string): void;
  /** More events have their answer; to be said soon. */
  acknowledge(): void;
  /** Asks the far end for a sign, which shows that it heard what was said before. */
  ask(): void;
}

/**
 * What has come from the far end, and what it was told of it: events are counted, and acknowledged in order once each has
 * its answer. A refusal is remembered until the far end is known to have heard of it: if it got lost with a channel, the
 * acknowledgement on the next one would make the event look accepted.
 */
export class Answers {
  /** Events received. */
  received = 0;
  /** How many of them, from the first on, have their answer. */
  answered = 0;
  #open = new Ring<{ readonly at: number; done: boolean }>();
  /** What the far end may not know yet, how many such there were before, and at which of them it was asked for a sign. */
  readonly #refusals = new Ring<Refusal>();
  #refusalsBefore = 0;
  readonly #signs = new Ring<number>();
  /** The number of refusals by which one was forgotten that the far end may not know. */
  #forgottenTo = 0;
  readonly #owner: AnswersOwner;
  readonly #remembers: boolean;

  /** @param remembers whether refusals may have to be said again */
  constructor(owner: AnswersOwner, remembers: boolean) {
    this.#owner = owner;
    this.#remembers = remembers;
  }

  /** Whether everything that the far end may have to be told again is known. */
  get complete(): boolean {
    return this.#forgottenTo === 0;
  }

  /** The answer to an event, or the promise of it. */
  answer(at: number, answer: PubSubError | undefined | Promise<PubSubError | undefined>): void {
    if (answer === undefined && this.#open.size === 0) {
      this.answered = at;
      this.#owner.acknowledge();
      return;
    }
    const event = { at, done: false };
    const generation = this.#open;
    generation.push(event);
    const done = (refusal: PubSubError | undefined): void => {
      event.done = true;
      if (this.#open !== generation) return;
      if (refusal !== undefined) this.#refuse(at, refusal);
      for (let first = generation.at(0); first?.done === true; first = generation.at(0)) {
        this.answered = first.at;
        generation.shift();
      }
      this.#owner.acknowledge();
    };
    if (answer instanceof Promise) void answer.then(done);
    else done(answer);
  }

  /** Counting begins anew. */
  reset(): void {
    this.received = 0;
    this.answered = 0;
    this.#open = new Ring();
    this.#refusals.clear();
    this.#refusalsBefore = this.#forgottenTo = 0;
    this.#signs.clear();
  }

  /** On another channel, no sign is on its way. */
  newChannel(): void {
    this.#signs.clear();
  }

  /** The far end was asked for a sign. */
  asked(): void {
    this.#signs.push(this.#lastRefusal);
  }

  /** The far end gave a sign: it has heard all that was said before it was asked. */
  heard(): void {
    this.#forget(this.#signs.shift() ?? 0);
  }

  /** Says again what the far end may not have heard. */
  repeat(): void {
    for (let i = 0; i < this.#refusals.size; i++) {
      const { from, to, code, message } = this.#refusals.at(i) as Refusal;
      for (let at = from; at <= to; at++) this.#owner.refuse(at, code, message);
    }
  }

  #refuse(at: number, { code, message }: PubSubError): void {
    this.#owner.refuse(at, code, message);
    if (!this.#remembers) return;
    const last = this.#refusals.at(-1);
    const asked = this.#signs.at(-1) ?? 0;
    if (last?.to === at - 1 && last.code === code && last.message === message && asked < this.#lastRefusal) {
      last.to = at;
      return;
    }
    this.#refusals.push({ from: at, to: at, code, message });
    if (this.#refusals.size > MAX_REFUSALS) {
      this.#forget(this.#refusalsBefore + 1);
      this.#forgottenTo = this.#refusalsBefore;
    }
    // An answer to what was asked after it shows that it arrived.
    if (this.#lastRefusal - Math.max(asked, this.#refusalsBefore) >= MAX_REFUSALS / 4) this.#owner.ask();
  }

  get #lastRefusal(): number {
    return this.#refusalsBefore + this.#refusals.size;
  }

  #forget(upTo: number): void {
    for (; this.#refusalsBefore < upTo && this.#refusals.size > 0; this.#refusalsBefore++) this.#refusals.shift();
    if (upTo >= this.#forgottenTo) this.#forgottenTo = 0;
  }
}
