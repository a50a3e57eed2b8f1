import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, Gap, Status } from "@alkdev/pubsub";
import { createHub } from "@alkdev/hub/hub";
import { coreOf, randomId, Recent } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Core, Sink } from "@alkdev/pubsub/transport";
import { CODES, RpcError } from "./json-rpc.ts";

/** Who listens on the bus. */
export interface BusListener {
  deliver(envelope: EventEnvelope): void;
  /** Events may be missing here. */
  gap(gap: Gap): void;
  /** The subscription is over, and not because it was stopped. */
  lost(error: unknown): void;
}

/** A subscription of the bus. */
export interface Listening {
  /** Resolves when it is live; undefined where it is already. */
  readonly live: Promise<void> | undefined;
  readonly stop: () => void;
}

class BusSink implements Sink {
  active = false;
  order = 0;
  readonly own: boolean = true;
  readonly type: string;
  readonly id: string | undefined;
  readonly owner: object;
  readonly #listener: BusListener;
  readonly #onError: (error: unknown) => void;

  constructor(filter: Filter, listener: BusListener, owner: object, onError: (error: unknown) => void) {
    this.type = filter.type;
    this.id = filter.id;
    this.#listener = listener;
    this.owner = owner;
    this.#onError = onError;
  }

  deliver(envelope: EventEnvelope): void {
    try {
      this.#listener.deliver(envelope);
    } catch (error) {
      // Whatever else is published under the broker's names must not keep others from what they are told.
      this.#onError(error);
    }
  }

  gap(gap: Gap): void {
    this.#listener.gap(gap);
  }

  fail(error: unknown): void {
    this.#listener.lost(error);
  }

  end(): void {
    this.#listener.lost(new PubSubError("DISCONNECTED", "The broker's backplane was closed."));
  }
}

/**
 * All that a broker sends, to its own sessions too, goes over one event target: its own in process, or the backplane. So
 * there is one way for everything, and what is said first arrives first.
 */
export class Bus {
  /** This broker's name among those that share the target. */
  readonly id: string = randomId();
  /** Whether others may share it. */
  readonly shared: boolean;
  readonly #target: AlkEventTarget;
  readonly #core: Core;
  readonly #onError: (error: unknown) => void;
  #names = 0;

  constructor(backplane: AlkEventTarget | undefined, onError: (error: unknown) => void) {
    this.#onError = onError;
    this.shared = backplane !== undefined;
    this.#target = backplane ?? createHub().eventTarget;
    this.#core = this.#target[coreOf];
  }

  get status(): Status {
    return this.#target.status;
  }

  /** A name for an event or a call that no other broker gives. */
  name(): string {
    return `${this.id}.${++this.#names}`;
  }

  /** Resolves when the target has accepted it. @throws PubSubError as a rejection */
  publish(type: string, id: string, payload: object): Promise<void> {
    return this.#core.publish({ type, id, payload }, this);
  }

  /**
   * Publishes what must arrive some time and may arrive twice: what an interruption keeps from being accepted is sent again
   * when that is over.
   *
   * @throws PubSubError as a rejection, where waiting does not help
   */
  async publishSurely(type: string, id: string, payload: object): Promise<void> {
    for (;;) {
      try {
        return await this.publish(type, id, payload);
      } catch (error) {
        const code = error instanceof PubSubError ? error.code : undefined;
        const passes = code === "INTERRUPTED" || code === "NOT_READY" || code === "TIMEOUT" || code === "OVERFLOW";
        if (!passes || !(await this.ready())) throw error;
      }
    }
  }

  listen(filter: Filter, listener: BusListener): Listening {
    const sink = new BusSink(filter, listener, this, this.#onError);
    const live = this.#core.subscribe(sink);
    if (live === undefined) return { live, stop: () => this.#core.unsubscribe(sink) };
    // The core says nothing more to whoever has left; here somebody else may still wait for the same.
    let left: (error: RpcError) => void = () => undefined;
    const either = Promise.race([live, new Promise<never>((_, reject) => (left = reject))]);
    either.catch(() => undefined);
    return {
      live: either,
      stop: () => {
        this.#core.unsubscribe(sink);
        left(new RpcError(CODES.CANCELLED, "It was unsubscribed before it was live."));
      },
    };
  }

  /** Resolves when the target is ready; false if it never will be. */
  ready(): Promise<boolean> {
    return new Promise((resolve) => {
      const look = (status: Status): boolean => status === "ready" || status === "closed";
      if (look(this.status)) return resolve(this.status === "ready");
      const stop = this.#target.onStatus((status) => {
        if (!look(status)) return;
        stop();
        resolve(status === "ready");
      });
    });
  }

  /** Whoever has overlapping subscriptions asks this for each event: true once, for one listener. */
  once(): (envelope: EventEnvelope, name: string) => boolean {
    // Targets that deliver once for each filter may do so in any order; others show one envelope to all of ours in turn.
    const seen = this.#core.supports.overlap === "per-filter" ? new Recent<true>(1024) : undefined;
    let last = "";
    return (_envelope, name) => {
      if (name === last || seen?.use(name) === true) return false;
      last = name;
      seen?.set(name, true);
      return true;
    };
  }

  async close(): Promise<void> {
    for (const sink of [...this.#core.sinks()]) if (sink.owner === this) this.#core.unsubscribe(sink);
    await this.#core.settle(this, 1000);
    if (!this.shared) await this.#target.close();
  }
}
