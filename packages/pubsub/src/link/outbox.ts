import { PubSubError } from "../errors.ts";
import { Ring } from "../ring.ts";
import { every } from "../timers.ts";
import type { Control } from "./frames.ts";
import type { Outgoing } from "./output.ts";

/** An event on its way to the far end, and who waits for its acknowledgement. */
export interface Sent {
  readonly outgoing: Outgoing;
  /** Whether somebody waits: what nobody waits for is let go of where it cannot be kept. */
  readonly awaited: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

/** The word of a loss on its way. It is not counted, so that nobody can know whether it arrived until a later event has. */
export interface Told {
  readonly gap: Control["$gap"];
}

export function isTold(item: Sent | Told): item is Told {
  return "gap" in item;
}

/** Characters that a gap counts for. */
const TOLD = 128;

/** The gaps between two events, one for each subscription. */
interface Place {
  /** How many events of the session came before. */
  readonly at: number;
  readonly told: Map<number | undefined, Told>;
}

/**
 * What one end has sent and the other has not acknowledged, oldest first, and what could not be sent yet.
 *
 * Both ends count events, so an acknowledgement is one number. While a session may be resumed, the events themselves are
 * kept, so that what the far end has not received can be sent again; up to `maxBytes` of them. What nobody waits for is
 * only counted beyond, and the session is not resumable until that is acknowledged.
 */
export class Outbox {
  /** `undefined`: only counted. */
  #sent = new Ring<Sent | undefined>();
  /** What each counts for; how long a shared event's JSON is may become known later. */
  #weights = new Ring<number>();
  #places = new Ring<Place>();
  #held = new Ring<Sent | Told>();
  #acknowledged = 0;
  #bytes = 0;
  /** The number of the last event that is only counted. */
  #incompleteTo = 0;
  readonly #maxBytes: number;
  readonly #ackTimeout: number;
  #stopWatching: (() => void) | undefined;

  constructor(maxBytes: number, ackTimeout: number) {
    this.#maxBytes = maxBytes;
    this.#ackTimeout = ackTimeout;
  }

  /** Events that are not acknowledged, those that were not sent included. */
  get size(): number {
    return this.#sent.size + this.#held.size;
  }

  /** Characters of JSON in what is not acknowledged. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether all that the far end may lack is still here, and is not too much. */
  get complete(): boolean {
    return this.#acknowledged >= this.#incompleteTo && this.#bytes <= this.#maxBytes;
  }

  /** Something was handed to the channel. */
  sent(item: Sent | Told): void {
    if (isTold(item)) return this.#tell(item);
    const weight = item.outgoing.size;
    if (!item.awaited && this.#bytes + weight > this.#maxBytes) {
      this.#push(undefined, 0);
      this.#incompleteTo = this.#acknowledged + this.#sent.size;
    } else this.#push(item, weight);
  }

  /** Something has to wait for the next channel. @returns false if there is no room */
  hold(item: Sent | Told): boolean {
    const weight = isTold(item) ? TOLD : item.outgoing.size;
    if (this.#bytes + weight > this.#maxBytes) return false;
    this.#held.push(item);
    this.#bytes += weight;
    return true;
  }

  /** The far end has received so many events of this session. @throws PubSubError `MALFORMED` */
  acknowledge(received: number): void {
    this.check(received);
    for (; this.#acknowledged < received; this.#acknowledged++) {
      this.#bytes -= this.#weights.shift() ?? 0;
      this.#sent.shift()?.resolve();
    }
    // An event that came after it has arrived, and so has the word of the loss.
    for (let place = this.#places.at(0); place !== undefined && place.at < received; place = this.#places.at(0)) {
      this.#places.shift();
      this.#bytes -= place.told.size * TOLD;
    }
  }

  /** Whether the far end can have received so many events. @throws PubSubError `MALFORMED` */
  check(received: number): void {
    const sent = this.#acknowledged + this.#sent.size;
    if (received < this.#acknowledged || received > sent)
      throw new PubSubError(
        "MALFORMED",
        `The far end says it received ${received} events, where ${sent} were sent and ${this.#acknowledged} acknowledged.`,
      );
  }

  /** The n-th event of the session was refused; it still counts. */
  refuse(at: number, error: PubSubError): void {
    if (at > this.#acknowledged) this.#sent.at(at - this.#acknowledged - 1)?.reject(error);
  }

  /**
   * The far end goes on with this session on another channel. What it has received still waits for its acknowledgement.
   *
   * @returns what it has not received, in order; sending it counts it again
   * @throws PubSubError `MALFORMED`
   */
  resume(received: number): (Sent | Told)[] {
    this.check(received);
    const kept = this.#sent.takeAll();
    const weights = this.#weights.takeAll();
    const again: (Sent | Told)[] = [];
    const known = received - this.#acknowledged;
    for (let n = known; n <= kept.length; n++) {
      for (let place = this.#places.at(0); place !== undefined; place = this.#places.at(0)) {
        if (place.at > this.#acknowledged + n) break;
        this.#places.shift();
        if (place.at >= received) again.push(...place.told.values());
      }
      const sent = kept[n];
      if (sent !== undefined) again.push(sent);
    }
    again.push(...this.#held.takeAll());
    this.#bytes = 0;
    for (let n = 0; n < known; n++) this.#push(kept[n], weights[n] ?? 0);
    return again;
  }

  /**
   * The far end knows nothing of this session. What was sent rejects, since it may have been delivered.
   *
   * @returns what was never sent
   */
  restart(error: PubSubError): Sent[] {
    // The watch remembers how many had been sent by its last look, which is void now.
    this.unwatch();
    const held = this.#held.takeAll();
    this.fail(error);
    this.#acknowledged = this.#incompleteTo = 0;
    return held.filter((item): item is Sent => !isTold(item));
  }

  /** Rejects everything. */
  fail(error: PubSubError): void {
    this.unwatch();
    const all = [...this.#sent.takeAll(), ...this.#held.takeAll()];
    this.#weights.clear();
    this.#places.clear();
    this.#bytes = 0;
    for (const item of all) if (item !== undefined && !isTold(item)) item.reject(error);
  }

  /** One timer for all: whatever was sent before the last look and is still not acknowledged is late. */
  watch(): void {
    if (this.#stopWatching !== undefined) return;
    let seen = this.#acknowledged + this.#sent.size;
    const stop = every(this.#ackTimeout, () => {
      const late = seen - this.#acknowledged;
      for (let i = 0; i < late; i++)
        this.#sent
          .at(i)
          ?.reject(
            new PubSubError(
              "TIMEOUT",
              `The far end did not acknowledge the event within ${this.#ackTimeout} ms. It may have been delivered. Likely the far end is frozen, overloaded, or does not speak the link protocol.`,
            ),
          );
      seen = this.#acknowledged + this.#sent.size;
      if (this.#sent.size === 0) this.unwatch();
    });
    this.#stopWatching = stop;
  }

  /** No answer can come for now. */
  unwatch(): void {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
  }

  #push(sent: Sent | undefined, weight: number): void {
    this.#sent.push(sent);
    this.#weights.push(weight);
    this.#bytes += weight;
  }

  #tell(told: Told): void {
    const at = this.#acknowledged + this.#sent.size;
    let place = this.#places.at(-1);
    if (place?.at !== at) this.#places.push((place = { at, told: new Map() }));
    const { ref } = told.gap;
    const before = place.told.get(ref)?.gap;
    if (before === undefined) this.#bytes += TOLD;
    // Told again after it, should it come to that, the two are one.
    place.told.set(ref, before === undefined ? told : { gap: joined(before, told.gap) });
  }
}

function joined(first: Control["$gap"], second: Control["$gap"]): Control["$gap"] {
  const lost = typeof first.lost === "number" && typeof second.lost === "number" ? first.lost + second.lost : "unknown";
  return { ...second, since: Math.min(first.since, second.since), lost };
}
