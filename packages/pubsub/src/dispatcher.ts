import type { EventEnvelope } from "./envelope.ts";
import { Matcher } from "./matcher.ts";
import { Ring } from "./ring.ts";
import type { Sink } from "./core.ts";

/** An envelope that was published while another was being dispatched. */
interface Nested {
  readonly envelope: EventEnvelope;
  readonly own: boolean;
  readonly to: readonly Sink[] | undefined;
}

/**
 * Delivers one envelope after the other to the sinks that match it.
 *
 * An envelope that comes while another is being dispatched waits its turn, so that every sink sees the same order. A
 * sink that is added meanwhile misses the current one, one that is removed is skipped.
 */
export class Dispatcher {
  readonly #matcher = new Matcher<Sink>();
  #busy = false;
  #nested: Ring<Nested> | undefined;

  add(sink: Sink): void {
    this.#matcher.add(sink);
  }

  delete(sink: Sink): void {
    this.#matcher.delete(sink);
  }

  sinks(): Iterable<Sink> {
    return this.#matcher.entries();
  }

  /** Dispatches to every sink that matches; `own` says that this core published it. */
  dispatch(envelope: EventEnvelope, own: boolean): void {
    if (this.#busy) return this.#later({ envelope, own, to: undefined });
    const hit = this.#matcher.match(envelope.type, envelope.id);
    if (hit === undefined) return;
    this.#busy = true;
    if (Array.isArray(hit)) deliverAll(hit as readonly Sink[], envelope, own);
    else if (!own || (hit as Sink).own) (hit as Sink).deliver(envelope);
    if (this.#nested !== undefined) this.#drain(this.#nested);
    this.#busy = false;
  }

  /** Dispatches to the given sinks alone. */
  dispatchTo(to: readonly Sink[], envelope: EventEnvelope, own: boolean): void {
    if (this.#busy) return this.#later({ envelope, own, to });
    this.#busy = true;
    deliverAll(to, envelope, own);
    if (this.#nested !== undefined) this.#drain(this.#nested);
    this.#busy = false;
  }

  #later(nested: Nested): void {
    (this.#nested ??= new Ring()).push(nested);
  }

  #drain(nested: Ring<Nested>): void {
    for (let next = nested.shift(); next !== undefined; next = nested.shift()) {
      const { envelope, own } = next;
      const to = next.to ?? this.#matcher.match(envelope.type, envelope.id);
      if (to === undefined) continue;
      deliverAll(Array.isArray(to) ? (to as readonly Sink[]) : [to as Sink], envelope, own);
    }
    this.#nested = undefined;
  }
}

function deliverAll(sinks: readonly Sink[], envelope: EventEnvelope, own: boolean): void {
  // The length first: a list grows at its end when a listener subscribes.
  for (let i = 0, n = sinks.length; i < n; i++) {
    const sink = sinks[i] as Sink;
    if (sink.active && (!own || sink.own)) sink.deliver(envelope);
  }
}
