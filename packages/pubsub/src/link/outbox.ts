import { PubSubError } from "../errors.ts";
import { Ring } from "../ring.ts";
import { every } from "../timers.ts";
import type { Outgoing } from "./output.ts";

/** An event on its way to the far end, and who waits for its acknowledgement. */
export interface Sent {
  readonly outgoing: Outgoing;
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * What one end has sent and the other has not acknowledged, oldest first, and what could not be sent yet.
 *
 * Both ends count events, so an acknowledgement is one number. While a session may be resumed, the events themselves are
 * kept, so that what the far end has not received can be sent again; up to `maxBytes` of them, beyond which the session is
 * not resumable until all is acknowledged.
 */
export class Outbox {
  #sent = new Ring<Sent>();
  #held = new Ring<Sent>();
  #acknowledged = 0;
  #bytes = 0;
  #overfull = false;
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

  /** Whether all that the far end may lack is still here. */
  get complete(): boolean {
    return !this.#overfull;
  }

  /** An event was handed to the channel. */
  sent(sent: Sent): void {
    this.#sent.push(sent);
    this.#weigh(sent, 1);
  }

  /** An event has to wait for the next channel. @returns false if there is no room */
  hold(sent: Sent): boolean {
    if (this.#overfull || this.#bytes + sent.outgoing.size > this.#maxBytes) return false;
    this.#held.push(sent);
    this.#weigh(sent, 1);
    return true;
  }

  /** The far end has received so many events of this session. @throws PubSubError `MALFORMED` */
  acknowledge(received: number): void {
    if (received < this.#acknowledged || received > this.#acknowledged + this.#sent.size)
      throw new PubSubError(
        "MALFORMED",
        `An acknowledgement of ${received} events, where ${this.#acknowledged + this.#sent.size} were sent.`,
      );
    for (; this.#acknowledged < received; this.#acknowledged++) {
      const sent = this.#sent.shift() as Sent;
      this.#weigh(sent, -1);
      sent.resolve();
    }
    if (this.#sent.size === 0) this.#overfull = false;
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
  resume(received: number): Sent[] {
    const known = received - this.#acknowledged;
    if (known < 0 || known > this.#sent.size)
      throw new PubSubError(
        "MALFORMED",
        `A resumption after ${received} events, where ${this.#acknowledged + this.#sent.size} were sent.`,
      );
    const kept = this.#sent.takeAll();
    const again = [...kept.splice(known), ...this.#held.takeAll()];
    this.#bytes = 0;
    this.#overfull = false;
    for (const sent of kept) this.sent(sent);
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
    for (const sent of this.#sent.takeAll()) sent.reject(error);
    this.#acknowledged = 0;
    return this.#takeAll();
  }

  /** Rejects everything. */
  fail(error: PubSubError): void {
    this.#stopWatching?.();
    for (const sent of this.#takeAll()) sent.reject(error);
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

  #takeAll(): Sent[] {
    const all = [...this.#sent.takeAll(), ...this.#held.takeAll()];
    this.#bytes = 0;
    this.#overfull = false;
    return all;
  }

  #weigh(sent: Sent, sign: 1 | -1): void {
    this.#bytes += sign * sent.outgoing.size;
    if (this.#bytes > this.#maxBytes) this.#overfull = true;
  }
}
