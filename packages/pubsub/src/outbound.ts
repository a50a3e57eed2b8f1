import type { EventEnvelope } from "./envelope.ts";
import { ours, PubSubError } from "./errors.ts";
import { Ring } from "./ring.ts";
import { afterArrivals, deadline } from "./timers.ts";
import type { Posted, Waiter } from "./transport.ts";

let resolver: () => void;
let rejecter: (error: unknown) => void;
/** One function for all promises: a closure for each would cost more than the promise. */
const capture = (resolve: () => void, reject: (error: unknown) => void): void => {
  resolver = resolve;
  rejecter = reject;
};

/** How many publishes of one owner have not settled. */
interface Tally {
  readonly owner: object;
  pending: number;
}

/** A publish that has not settled. */
class Entry implements Waiter {
  readonly envelope: EventEnvelope;
  readonly tally: Tally;
  /** Whether it has to be looped back, in its turn. */
  readonly loop: boolean;
  readonly #outbound: Outbound;
  /** Whether the transport has it; else it waits for the connection. */
  inFlight = false;
  isAccepted = false;
  settled = false;
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;

  constructor(outbound: Outbound, envelope: EventEnvelope, tally: Tally, loop: boolean) {
    this.#outbound = outbound;
    this.envelope = envelope;
    this.tally = tally;
    this.loop = loop;
    this.promise = new Promise<void>(capture);
    this.resolve = resolver;
    this.reject = rejecter;
  }

  accepted(): void {
    if (this.isAccepted || this.settled) return;
    this.isAccepted = true;
    this.#outbound.accepted(this);
  }

  refused(error: unknown): void {
    if (!this.isAccepted && !this.settled) this.#outbound.refused(this, error);
  }
}

/**
 * Publishes of one core that have not settled: those that wait for the connection, and those that wait for the
 * transport's word. What was accepted is looped back in the order of publishing, whatever order the answers came in.
 */
export class Outbound {
  readonly #waiting = new Ring<Entry>();
  readonly #flight = new Ring<Entry>();
  /** On their way where the far end echoes: no order to keep. No Set: what it once held stays until the next full collection. */
  readonly #unlooped = new Ring<Entry>();
  /** How many of those have settled. */
  #settledUnlooped = 0;
  /** Of the owners that have any. */
  readonly #tallies = new Map<object, Tally>();
  /** The last one asked for: most often one owner publishes again and again. */
  #tally: Tally | undefined;
  readonly #settling = new Set<{ readonly owner: object | undefined; readonly done: () => void }>();
  #advancing = false;
  readonly #loopBack: (envelope: EventEnvelope) => void;

  constructor(loopBack: (envelope: EventEnvelope) => void) {
    this.#loopBack = loopBack;
  }

  /** How many wait for the connection. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Whether nothing is on its way that must be looped back first. */
  get empty(): boolean {
    return this.#flight.size === 0;
  }

  /** Keeps a publish until `sendWaiting`. */
  wait(envelope: EventEnvelope, owner: object): Promise<void> {
    const entry = this.#begin(envelope, owner, false);
    this.#waiting.push(entry);
    return entry.promise;
  }

  sendWaiting(send: (envelope: EventEnvelope, owner: object) => Promise<void>): void {
    for (let entry = this.#waiting.shift(); entry !== undefined; entry = this.#waiting.shift()) {
      const waited = entry;
      if (waited.settled) continue;
      send(waited.envelope, waited.tally.owner).then(
        () => this.#resolve(waited),
        (error: unknown) => this.#reject(waited, error),
      );
    }
  }

  rejectWaiting(error: unknown): void {
    for (let entry = this.#waiting.shift(); entry !== undefined; entry = this.#waiting.shift())
      this.#reject(entry, error);
  }

  /** Follows a publish that the transport has taken; where `loop` is set, its turn to be looped back comes first. */
  follow(envelope: EventEnvelope, owner: object, accepted: Promise<void>, loop: boolean): Promise<void> {
    const entry = this.#track(envelope, owner, loop);
    accepted.then(
      () => entry.accepted(),
      (error: unknown) => entry.refused(error),
    );
    return entry.promise;
  }

  /** The same for one that tells its waiter. */
  track(envelope: EventEnvelope, owner: object, posted: Posted, loop: boolean): Promise<void> {
    const entry = this.#track(envelope, owner, loop);
    posted.waiter = entry;
    return entry.promise;
  }

  #track(envelope: EventEnvelope, owner: object, loop: boolean): Entry {
    const entry = this.#begin(envelope, owner, loop);
    entry.inFlight = true;
    (loop ? this.#flight : this.#unlooped).push(entry);
    return entry;
  }

  /** @internal */
  accepted(entry: Entry): void {
    if (entry.loop) this.#advanceSoon();
    else this.#resolve(entry);
  }

  /** @internal */
  refused(entry: Entry, error: unknown): void {
    this.#reject(entry, ours("REFUSED", "The event was not published", error));
    if (entry.loop) this.#advanceSoon();
  }

  /** Not within the transport's word: listeners run, and they may do anything to it. */
  #advanceSoon(): void {
    if (this.#advancing) return;
    this.#advancing = true;
    queueMicrotask(() => {
      this.#advancing = false;
      this.#advance();
    });
  }

  /**
   * Rejects what is in flight, but for that of which the transport has just said that it was accepted: its word may have
   * come in the same task as the end of the connection, and is on its way to us.
   */
  rejectAll(error: unknown): void {
    const flight: Entry[] = [];
    for (const ring of [this.#unlooped, this.#flight])
      for (let i = 0; i < ring.size; i++) flight.push(ring.at(i) as Entry);
    if (flight.length === 0) return;
    afterArrivals(() => {
      for (const entry of flight) if (!entry.isAccepted) this.#reject(entry, error);
      this.#advance();
    });
  }

  /** Resolves when the owner's (or everyone's) publishes have settled; after `timeout` ms the rest is rejected. */
  settle(owner: object | undefined, timeout: number): Promise<void> {
    if (this.#count(owner) === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const settling = {
        owner,
        done: () => {
          stop();
          this.#settling.delete(settling);
          resolve();
        },
      };
      const stop = deadline(timeout, () => {
        const error = new PubSubError(
          "CLOSED",
          `Closed before the far end answered (waited ${timeout} ms); the event may have been delivered.`,
        );
        for (const ring of [this.#waiting, this.#flight, this.#unlooped]) {
          const entries: Entry[] = [];
          for (let i = 0; i < ring.size; i++) entries.push(ring.at(i) as Entry);
          for (const entry of entries)
            if (owner === undefined || entry.tally.owner === owner) this.#reject(entry, error);
        }
        this.#advance();
        settling.done();
      });
      this.#settling.add(settling);
    });
  }

  #begin(envelope: EventEnvelope, owner: object, loop: boolean): Entry {
    let tally = this.#tally;
    if (tally?.owner !== owner) {
      tally = this.#tallies.get(owner) ?? { owner, pending: 0 };
      this.#tallies.set(owner, tally);
      this.#tally = tally;
    }
    tally.pending++;
    return new Entry(this, envelope, tally, loop);
  }

  #advance(): void {
    for (let entry = this.#flight.at(0); entry !== undefined; entry = this.#flight.at(0)) {
      if (!entry.settled && !entry.isAccepted) return;
      this.#flight.shift();
      if (entry.settled) continue;
      this.#loopBack(entry.envelope);
      this.#resolve(entry);
    }
  }

  #resolve(entry: Entry): void {
    if (!this.#end(entry)) return;
    entry.resolve();
  }

  #reject(entry: Entry, error: unknown): void {
    if (!this.#end(entry)) return;
    entry.reject(error);
  }

  #end(entry: Entry): boolean {
    if (entry.settled) return false;
    entry.settled = true;
    if (entry.inFlight && !entry.loop) this.#forget();
    if (--entry.tally.pending === 0) {
      this.#tallies.delete(entry.tally.owner);
      if (this.#tally === entry.tally) this.#tally = undefined;
    }
    if (this.#settling.size > 0)
      for (const settling of [...this.#settling]) if (this.#count(settling.owner) === 0) settling.done();
    return true;
  }

  /** Nearly always the first one settles first; where it does not, those behind it are dropped once they are many. */
  #forget(): void {
    this.#settledUnlooped++;
    const unlooped = this.#unlooped;
    while (unlooped.at(0)?.settled === true) {
      unlooped.shift();
      this.#settledUnlooped--;
    }
    if (this.#settledUnlooped < 64 || this.#settledUnlooped * 2 < unlooped.size) return;
    this.#settledUnlooped = 0;
    for (const entry of unlooped.takeAll()) if (!entry.settled) unlooped.push(entry);
  }

  #count(owner: object | undefined): number {
    return owner === undefined ? this.#tallies.size : (this.#tallies.get(owner)?.pending ?? 0);
  }
}
