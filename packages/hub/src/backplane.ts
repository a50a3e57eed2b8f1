import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, Gap } from "@alkdev/pubsub";
import { coreOf, filterKey } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Core, Sink } from "@alkdev/pubsub/transport";

/** Who wants a filter of the backplane. */
export interface Interested extends Filter {
  /** An event for this filter alone. */
  deliver(envelope: EventEnvelope): void;
  gap(gap: Gap): void;
  revoked(error: PubSubError): void;
}

/** One filter at the backplane, shared by all links that want it. */
class Interest implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly group: string | undefined;
  readonly own: boolean = true;
  readonly owner: Backplane;
  readonly interested: Set<Interested> = new Set();
  live: Promise<void> | undefined;

  constructor(filter: Filter, owner: Backplane) {
    this.type = filter.type;
    this.id = filter.id;
    this.group = filter.group;
    this.owner = owner;
  }

  deliver(envelope: EventEnvelope): void {
    this.owner.arrived(envelope, this);
  }

  gap(gap: Gap): void {
    for (const each of this.interested) each.gap(gap);
  }

  fail(error: unknown): void {
    this.owner.lost(this, error);
  }

  end(): void {
    this.owner.lost(this, new PubSubError("DISCONNECTED", "The hub's backplane was closed."));
  }
}

/**
 * The topic space that several hubs share. A hub asks it for what its links want, acknowledges a link's subscription only
 * when the backplane has, and gives events to links only as they come back from it, once.
 */
export class Backplane {
  readonly #core: Core;
  readonly #route: (envelope: EventEnvelope) => void;
  readonly #isTaken: (type: string) => boolean;
  readonly #interests = new Map<string, Interest>();
  #last: EventEnvelope | undefined;
  #lastOrder = 0;

  /**
   * @param route gives an event to every link that wants it
   * @param isTaken whether events of a type go to no link at all
   */
  constructor(target: AlkEventTarget, route: (envelope: EventEnvelope) => void, isTaken: (type: string) => boolean) {
    this.#core = target[coreOf];
    this.#route = route;
    this.#isTaken = isTaken;
  }

  /** @returns what to wait for before the subscription may be acknowledged */
  acquire(interested: Interested): Promise<void> | undefined {
    const key = filterKey(interested);
    let interest = this.#interests.get(key);
    if (interest === undefined) {
      interest = new Interest(interested, this);
      const opened = interest;
      interest.live = this.#core.subscribe(interest)?.then(
        () => (opened.live = undefined),
        (error: unknown) => {
          // Whoever waits is told by this very promise; who comes later asks anew.
          if (this.#interests.get(key) === opened) this.#interests.delete(key);
          throw error;
        },
      );
      this.#interests.set(key, interest);
    }
    interest.interested.add(interested);
    return interest.live;
  }

  release(interested: Interested): void {
    const key = filterKey(interested);
    const interest = this.#interests.get(key);
    if (interest === undefined || !interest.interested.delete(interested) || interest.interested.size > 0) return;
    this.#interests.delete(key);
    this.#core.unsubscribe(interest);
  }

  /** @returns what refuses it, if anything does */
  publish(envelope: EventEnvelope): Promise<PubSubError | undefined> {
    return this.#core.publish(envelope, this).then(
      () => undefined,
      (error: unknown) =>
        error instanceof PubSubError
          ? error
          : new PubSubError("REFUSED", "The hub's backplane failed.", { cause: error }),
    );
  }

  /** @internal */
  arrived(envelope: EventEnvelope, interest: Interest): void {
    if (this.#isTaken(envelope.type)) return;
    if (interest.group !== undefined || this.#core.supports.overlap === "per-filter") {
      for (const each of interest.interested) each.deliver(envelope);
      return;
    }
    // Where overlapping filters are delivered once, the core shows the same envelope to each of ours, one after the other.
    // From the first one on: an envelope that is published again, the same object, is another event.
    const again = envelope === this.#last && interest.order > this.#lastOrder;
    this.#last = envelope;
    this.#lastOrder = interest.order;
    if (again) return;
    this.#route(envelope);
  }

  /** @internal The backplane took a filter away. */
  lost(interest: Interest, error: unknown): void {
    const key = filterKey(interest);
    if (this.#interests.get(key) === interest) this.#interests.delete(key);
    const reason =
      error instanceof PubSubError
        ? error
        : new PubSubError("DISCONNECTED", "The hub's backplane is gone.", { cause: error });
    for (const each of [...interest.interested]) each.revoked(reason);
  }
}
