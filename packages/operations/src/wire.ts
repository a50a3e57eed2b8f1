// What calls travel over: a PubSub, or the router's own place. Contract first, then the one over a PubSub.
import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub, Status, Subscription } from "@alkdev/pubsub";
import { quietDeadline } from "@alkdev/pubsub/transport";
import { ALL_CALLS, readCallEvent } from "./events.ts";
import type { CallEvent } from "./events.ts";

/** What a wire calls; never before `open` has returned. None of these may throw. */
export interface WireReceiver {
  /** An event of the protocol arrived. */
  event(event: CallEvent): void;
  /** Something may have been lost before the events that follow. */
  lost(why: OutOfReach): void;
  /** The connection has been away for longer than `grace`. It may still come back. */
  away(why: OutOfReach): void;
  /** The connection is there, for the first time or again. */
  ready(): void;
  /** It is over for good. Called once. */
  over(why: OutOfReach): void;
  /** Something is wrong that concerns no one call. */
  error(error: unknown): void;
}

/** Why the other side cannot be reached. */
export interface OutOfReach {
  readonly message: string;
  readonly cause?: unknown;
}

/** Carries the events of the call protocol to and from the other side. */
export interface Wire {
  /** Whether events arrive on the other side in the order in which they were sent, whatever their type. */
  readonly ordered: boolean;
  /** Why nothing can be sent now, if that is known. */
  readonly outOfReach: OutOfReach | undefined;
  open(receiver: WireReceiver): void;
  /** Resolves once answers are sure to arrive. */
  live(): Promise<void>;
  /** Sends one event, after all that is needed for its answer to arrive. Resolves as the PubSub's `publish`. */
  send(event: CallEvent): Promise<void>;
  close(): Promise<void>;
}

/** A PubSub, whatever its events. */
// oxlint-disable-next-line typescript/no-explicit-any -- of a PubSub whose events are not known here
export type AnyPubSub = PubSub<any, any>;

/** The part of a PubSub that is used here, for any event. */
interface Untyped {
  publish(type: string, id: string, payload: unknown): Promise<void>;
}

export interface PubSubWireOptions {
  readonly grace: number;
  /** Whether a router is on the other side. */
  readonly router: boolean;
}

/** Events that may wait here in one turn of the event loop. More is a loss, of which the receiver is told. */
const BUFFER = 65_536;

/**
 * A wire over a PubSub: one subscription for all answers and requests, made before the first event is sent.
 *
 * At a pipe own events are left out, so that no request comes back to its sender.
 */
export class PubSubWire implements Wire {
  readonly #pubsub: AnyPubSub;
  readonly #options: PubSubWireOptions;
  #receiver!: WireReceiver;
  /** The subscription that is being made, or is live. */
  #subscribing: Promise<void> | undefined;
  #subscription: Subscription | undefined;
  #ignoreStatus: () => void = () => undefined;
  #stopGrace: (() => void) | undefined;
  #outOfReach: OutOfReach | undefined;
  #closed = false;
  #isOver = false;

  constructor(pubsub: AnyPubSub, options: PubSubWireOptions) {
    this.#pubsub = pubsub;
    this.#options = options;
  }

  get ordered(): boolean {
    return this.#options.router || this.#pubsub.supports.ends !== undefined;
  }

  get outOfReach(): OutOfReach | undefined {
    return this.#outOfReach;
  }

  open(receiver: WireReceiver): void {
    this.#receiver = receiver;
    this.#ignoreStatus = this.#pubsub.onStatus((status, cause) => this.#onStatus(status, cause));
    if (this.#pubsub.status === "interrupted") this.#beginGrace();
    void this.#subscribe();
  }

  async live(): Promise<void> {
    if (this.#isOver) throw this.#overError();
    await (this.#subscribing ?? this.#subscribe());
  }

  send(event: CallEvent): Promise<void> {
    if (this.#isOver) return Promise.reject(this.#overError());
    const subscribing = this.#subscribing ?? this.#subscribe();
    // In order, the subscription that was asked for is there before the event; elsewhere its acknowledgement must be waited for.
    if (this.#subscription !== undefined || this.ordered) return this.#publish(event);
    return subscribing.then(() => this.#publish(event));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ignoreStatus();
    this.#stopGrace?.();
    await this.#subscription?.return();
  }

  #publish({ type, id, payload }: CallEvent): Promise<void> {
    return (this.#pubsub as unknown as Untyped).publish(type, id, payload);
  }

  /** At a pipe, own events concern the other end alone. A router leaves them out itself. */
  get #wantsOwn(): boolean {
    return !this.#options.router && this.#pubsub.supports.ends !== 2;
  }

  #subscribe(): Promise<void> {
    const own = this.#wantsOwn;
    const pending = this.#pubsub.subscribe(ALL_CALLS, {
      own,
      buffer: { limit: BUFFER, overflow: "drop-newest" },
      onGap: () => this.#receiver.lost({ message: "The connection was lost for a time, and answers with it." }),
    }) as unknown as Promise<Subscription>;
    const subscribing = pending.then((subscription) => {
      if (this.#closed) return void subscription.return();
      // What is on the other side is known for certain once it has answered.
      if (own !== this.#wantsOwn) {
        void subscription.return();
        return this.#subscribe();
      }
      this.#subscription = subscription;
      void this.#read(subscription);
      if (this.#pubsub.status === "ready") this.#receiver.ready();
      return undefined;
    });
    this.#subscribing = subscribing;
    subscribing.catch((cause: unknown) => this.#ended(cause));
    return subscribing;
  }

  async #read(subscription: Subscription): Promise<void> {
    try {
      for await (const batch of subscription.batches()) for (const envelope of batch) this.#take(envelope);
      this.#ended(undefined);
    } catch (cause) {
      this.#ended(cause);
    }
  }

  #take(envelope: EventEnvelope): void {
    if (this.#closed) return;
    try {
      const event = readCallEvent(envelope);
      if (event !== undefined) this.#receiver.event(event);
    } catch (error) {
      this.#receiver.error(error);
    }
  }

  /** There is no subscription any more. Unless the PubSub is over, the next event that is sent makes another. */
  #ended(cause: unknown): void {
    this.#subscribing = undefined;
    this.#subscription = undefined;
    if (this.#closed || this.#isOver) return;
    const message = cause instanceof Error ? cause.message : "The PubSub was closed.";
    if (this.#pubsub.status !== "closed") return this.#receiver.lost({ message, cause });
    this.#isOver = true;
    this.#outOfReach = { message, cause };
    this.#ignoreStatus();
    this.#stopGrace?.();
    this.#receiver.over(this.#outOfReach);
  }

  #onStatus(status: Status, cause: unknown): void {
    if (status === "ready") {
      this.#stopGrace?.();
      this.#stopGrace = undefined;
      this.#outOfReach = undefined;
      if (this.#subscribing === undefined) void this.#subscribe();
      else if (this.#subscription !== undefined) this.#receiver.ready();
    } else if (status === "interrupted") this.#beginGrace(cause);
    else if (status === "closed" && this.#subscribing === undefined) this.#ended(cause);
  }

  #beginGrace(cause?: unknown): void {
    const { grace } = this.#options;
    const late = (): void => {
      this.#outOfReach = { message: `The connection is interrupted, for more than ${grace} ms.`, cause };
      this.#receiver.away(this.#outOfReach);
    };
    this.#stopGrace?.();
    this.#stopGrace = undefined;
    if (grace > 0) this.#stopGrace = quietDeadline(grace, late);
    else late();
  }

  #overError(): PubSubError {
    const { message = "It was closed.", cause } = this.#outOfReach ?? {};
    return new PubSubError("DISCONNECTED", message, { cause });
  }
}
