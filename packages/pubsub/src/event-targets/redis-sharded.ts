/**
 * Sharded channels of a Redis cluster (7 or newer): each channel is at the master that has its slot, and nowhere else.
 *
 * Masters pass nothing on to each other, so that a loss needs an interruption. A slot may go to another master at any
 * time; then its subscriptions are made anew there, and only they have a gap.
 */
import { waitAfter } from "../backoff.ts";
import type { EventEnvelope } from "../envelope.ts";
import { describe, formatTopic, PubSubError } from "../errors.ts";
import { Opening } from "../opening.ts";
import type { Serializer } from "../serializer.ts";
import { afterArrivals, deadline, every } from "../timers.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import type { Cluster } from "./redis-cluster-client.ts";
import { refusalOf, SUPPORTS } from "./redis-messages.ts";
import { Publications } from "./redis-publications.ts";
import { ShardPublisher } from "./redis-shard-publisher.ts";
import { ShardSubscriber } from "./redis-shard-subscriber.ts";
import type { SubscriberOwner } from "./redis-shard-subscriber.ts";
import { addressOf, nameOf, SlotMap } from "./redis-slots.ts";
import type { Address } from "./redis-slots.ts";

/** Between attempts that fail one after the other. */
const BACKOFF = { min: 10, max: 500 };

/** Options of the target, all set. */
export interface Options {
  readonly serializer: Serializer;
  readonly prefix: string;
  readonly heartbeat: number;
  readonly batch: boolean;
}

export class ShardedTransport implements Transport, SubscriberOwner {
  /** A master passes on to its replicas what was published: to one that takes over, that may come once it is subscribed at. */
  readonly supports: Supports = { ...SUPPORTS, patterns: "none", delivery: "at-least-once" };
  problem: string | undefined;
  /** What can be published goes on while other things cannot; nothing is kept. */
  readonly holds = true;
  receiver: Receiver | undefined;
  readonly #subscribers: Cluster;
  readonly #publishers: Cluster;
  readonly #prefix: string;
  readonly #heartbeat: number;
  readonly #map = new SlotMap();
  readonly #publisher: ShardPublisher;
  readonly #publications: Publications;
  readonly #subscriber: ShardSubscriber;
  readonly #opening = new Opening();
  /** Whether nothing is missing, as far as the core knows. */
  #up = false;
  #mending = false;
  #pause: { readonly over: Promise<void>; end(): void } | undefined;
  #refreshing: Promise<void> | undefined;
  /** Why nobody can be asked. */
  #alone: { readonly cause: unknown } | undefined;
  #tried = 0;
  #stopTidying: (() => void) | undefined;

  constructor(publishers: Cluster, subscribers: Cluster, { serializer, prefix, heartbeat, batch }: Options) {
    this.#publishers = publishers;
    this.#subscribers = subscribers;
    this.#prefix = prefix;
    this.#heartbeat = heartbeat;
    this.#publisher = new ShardPublisher(publishers, this.#map, heartbeat, this);
    this.#publications = new Publications(this.#publisher, serializer, batch);
    this.#subscriber = new ShardSubscriber(subscribers, this.#map, serializer, heartbeat, this);
  }

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    this.receiver = receiver;
    this.#publisher.open();
    const opened = this.#opening.begin(signal, () => this.close());
    const watcher = {
      found: () => this.#pause?.end(),
      ended: (cause: unknown) => this.#ended(cause),
      failed: (cause: unknown) => this.failed(cause),
    };
    for (const cluster of new Set([this.#publishers, this.#subscribers])) cluster.start(watcher);
    void this.#find().then(() => this.#found());
    return opened;
  }

  #found(): void {
    if (!this.#opening.succeed()) return;
    this.#up = true;
    this.problem = undefined;
    if (this.#heartbeat > 0) this.#stopTidying = every(this.#heartbeat, () => this.#subscriber.tidy());
    this.changed();
  }

  close(): void {
    this.receiver = undefined;
    this.#opening.end();
    this.#up = false;
    this.#stopTidying?.();
    for (const cluster of [this.#publishers, this.#subscribers]) cluster.stop();
    this.#subscriber.close();
    this.#publisher.close();
    this.#pause?.end();
  }

  #ended(cause: unknown): void {
    const none = `There is no connection to Redis: ${describe(cause)}.`;
    if (this.#opening.fail(new PubSubError("NOT_READY", none))) return;
    const { receiver } = this;
    this.close();
    receiver?.ended(cause);
  }

  /** @internal */
  failed(cause: unknown): void {
    this.problem = describe(cause);
    const refusal = refusalOf(cause);
    if (refusal !== undefined) this.#opening.fail(refusal);
  }

  // -------------------------------------------------------------------------------------------- who has which slot

  /** Asks until somebody says so. */
  async #find(): Promise<void> {
    for (let failures = 0; this.receiver !== undefined; failures++)
      try {
        // Both have to know how to connect.
        if (this.#subscribers.masters().length === 0) throw this.#nobody();
        return await this.#ask();
      } catch (error) {
        this.failed(error);
        await this.pause(failures);
      }
  }

  /** @internal */
  async refresh(): Promise<void> {
    if (this.receiver === undefined) return;
    await (this.#refreshing ??= this.#ask().then(
      () => this.#asked(undefined),
      (cause: unknown) => this.#asked({ cause }),
    ));
  }

  #asked(problem: { readonly cause: unknown } | undefined): void {
    this.#refreshing = undefined;
    if (problem !== undefined) this.failed(problem.cause);
    this.#alone = this.#publisher.anyLink === undefined ? problem : undefined;
    this.changed();
  }

  async #ask(): Promise<void> {
    let link = this.#publisher.anyLink;
    if (link === undefined) {
      const masters = this.#publishers.masters();
      if (masters.length === 0) throw this.#nobody();
      link = this.#publisher.link(nameOf(masters[this.#tried++ % masters.length] as Address));
      await link.opened;
    }
    this.#map.learn(await link.slots(), addressOf(link.name));
  }

  /** What the clients have said is why. */
  #nobody(): Error {
    return new Error(this.problem ?? "the nodes of the cluster are not known yet");
  }

  /** One for all, so that they try again together. @internal */
  pause(failures: number): Promise<void> {
    if (this.#pause === undefined) {
      let end = (): void => undefined;
      const over = new Promise<void>((resolve) => (end = resolve));
      const stop = deadline(waitAfter(failures, BACKOFF), () => end());
      this.#pause = {
        over: over.then(() => {
          stop();
          this.#pause = undefined;
        }),
        end,
      };
    }
    return this.#pause.over;
  }

  // ------------------------------------------------------------------------------------------------ what is missing

  /** Tells the core that something is missing, or that nothing is any more. @internal */
  changed(): void {
    const { receiver } = this;
    if (receiver === undefined || this.#opening.pending) return;
    const problem = this.#subscriber.problem ?? this.#publisher.problem ?? this.#alone;
    // Somebody has to be there that can be asked.
    if (this.#publisher.anyLink === undefined && this.#refreshing === undefined && this.#alone === undefined)
      void this.refresh();
    if (problem !== undefined) {
      if (this.#up) {
        this.#up = false;
        receiver.interrupted(problem.cause);
      }
      void this.#mend();
    } else if (!this.#up) {
      this.#up = true;
      this.problem = undefined;
      const release = this.#subscriber.renew();
      // Those that have a gap were told of it. The core asks for all that it wants, of which most is there.
      receiver.resumed({ kept: false, replayed: true });
      afterArrivals(release);
    }
  }

  async #mend(): Promise<void> {
    if (this.#mending) return;
    this.#mending = true;
    const missing = (): boolean => this.#publisher.problem !== undefined || this.#alone !== undefined;
    for (let failures = 0; this.receiver !== undefined && missing(); failures++) {
      await this.pause(failures);
      await this.refresh();
      if (this.receiver !== undefined) this.#publisher.mend();
      this.changed();
    }
    this.#mending = false;
  }

  // --------------------------------------------------------------------------------------------- what the core asks

  subscribe(filter: Filter): Promise<void> | void {
    return this.#subscriber.subscribe(this.#prefix + formatTopic(filter.type, filter.id), filter);
  }

  unsubscribe(filter: Filter): Promise<void> | void {
    return this.#subscriber.unsubscribe(this.#prefix + formatTopic(filter.type, filter.id), filter);
  }

  post(envelope: EventEnvelope): Posted {
    return this.#publications.post(this.#prefix + formatTopic(envelope.type, envelope.id), envelope);
  }
}
