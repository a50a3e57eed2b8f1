/** Subscribes to sharded channels of a cluster: each at the master that has its slot, wherever that goes. */
import { describe } from "../errors.ts";
import type { Serializer } from "../serializer.ts";
import type { Filter, Receiver } from "../transport.ts";
import type { Cluster } from "./redis-cluster-client.ts";
import { read } from "./redis-messages.ts";
import { isPassing, Shard } from "./redis-shard.ts";
import { addressOf, movedTo, slotOf } from "./redis-slots.ts";
import type { SlotMap } from "./redis-slots.ts";

export interface SubscriberOwner {
  /** Who is told of events, as long as somebody wants them. */
  readonly receiver: Receiver | undefined;
  /** A channel was lost, or is there again. */
  changed(): void;
  failed(cause: unknown): void;
  /** Resolves when it is time for the next attempt. */
  pause(failures: number): Promise<void>;
  /** Learns who has which slot, if anybody says so. */
  refresh(): Promise<void>;
}

/** The connections that subscribe, one to each master that has a slot of a channel that is wanted. */
export class ShardSubscriber {
  readonly #cluster: Cluster;
  readonly #map: SlotMap;
  readonly #serializer: Serializer;
  readonly #heartbeat: number;
  readonly #owner: SubscriberOwner;
  readonly #shards = new Map<string, Shard>();
  readonly #channels = new Map<string, Held>();
  /** Those that were live, and are not any more. */
  readonly #lapsed = new Set<Held>();
  #renewals = 0;

  constructor(cluster: Cluster, map: SlotMap, serializer: Serializer, heartbeat: number, owner: SubscriberOwner) {
    this.#cluster = cluster;
    this.#map = map;
    this.#serializer = serializer;
    this.#heartbeat = heartbeat;
    this.#owner = owner;
  }

  /** Why something is missing that was there, if so. */
  get problem(): { readonly cause: unknown } | undefined {
    for (const { lapsed } of this.#lapsed) return lapsed;
    return undefined;
  }

  subscribe(name: string, filter: Filter): Promise<void> | void {
    let held = this.#channels.get(name);
    if (held === undefined) this.#channels.set(name, (held = new Held(name)));
    const { filters, asked, waiting } = held;
    filters.add(filter);
    asked?.add(filter);
    if (held.shard !== undefined) return;
    const live = new Promise<void>((resolve, reject) => waiting.push({ resolve, reject }));
    this.#drive(held);
    return live;
  }

  unsubscribe(name: string, filter: Filter): Promise<void> | void {
    const held = this.#channels.get(name);
    held?.asked?.delete(filter);
    if (held === undefined || !held.filters.delete(filter) || held.wanted) return;
    // Nothing is at the server, and nothing will be.
    if (held.shard === undefined && !held.asking) return;
    const left = new Promise<void>((resolve) => held.leaving.push(resolve));
    this.#drive(held);
    return left;
  }

  /** The core is about to ask for all that it wants; the returned function lets go of what it did not. */
  renew(): () => void {
    const renewal = ++this.#renewals;
    for (const held of this.#channels.values()) held.asked = new Set();
    return () => {
      if (renewal !== this.#renewals) return;
      for (const held of this.#channels.values()) {
        if (held.asked === undefined) continue;
        held.filters = held.asked;
        held.asked = undefined;
        this.#drive(held);
      }
    };
  }

  /** Ends connections that nobody needs. */
  tidy(): void {
    for (const [name, shard] of this.#shards)
      if (shard.idle) {
        this.#shards.delete(name);
        shard.end();
      }
  }

  close(): void {
    for (const shard of this.#shards.values()) shard.end();
    this.#shards.clear();
    this.#channels.clear();
    this.#lapsed.clear();
    this.#renewals++;
  }

  #drive(held: Held): void {
    if (held.driven) return;
    held.driven = true;
    void this.#driving(held);
  }

  /** Brings what is subscribed to what is wanted, one step after the other. */
  async #driving(held: Held): Promise<void> {
    for (let failures = 0; this.#owner.receiver !== undefined;) {
      if (held.wanted) {
        if (held.shard !== undefined) break;
        try {
          await this.#place(held, failures++);
        } catch (error) {
          held.refuse(error, this.#owner.receiver);
        }
      } else {
        const { shard } = held;
        if (shard === undefined) break;
        held.shard = undefined;
        await shard.unsubscribe(held.name).catch(() => undefined);
      }
    }
    held.driven = false;
    this.#lapsed.delete(held);
    for (const left of held.leaving.splice(0)) left();
    if (!held.wanted && held.shard === undefined && this.#channels.get(held.name) === held)
      this.#channels.delete(held.name);
    this.#owner.changed();
  }

  /** Subscribes at the master that has the slot, if that is known and answers. */
  async #place(held: Held, failures: number): Promise<void> {
    // Who was sent on by one that knows goes there at once, unless that goes on and on.
    if (failures > 0 && !(held.sentOn && failures < 5)) {
      await this.#owner.pause(failures - 1);
      await this.#owner.refresh();
    }
    held.sentOn = false;
    const owner = this.#map.owner(held.slot);
    if (owner === undefined || !held.wanted || this.#owner.receiver === undefined) return;
    const shard = this.#shardAt(owner);
    held.asking = true;
    try {
      await shard.subscribe(held.name);
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#owner.failed(error);
      const moved = movedTo(describe(error), addressOf(owner));
      if (moved !== undefined) {
        this.#map.moved(held.slot, moved.name);
        held.sentOn = true;
      }
      return;
    } finally {
      held.asking = false;
    }
    held.live(shard, this.#owner.receiver);
  }

  #shardAt(name: string): Shard {
    let shard = this.#shards.get(name);
    if (shard === undefined) {
      const client = this.#cluster.dial(this.#cluster.reached(addressOf(name)), true);
      shard = new Shard(name, client, this.#heartbeat, {
        message: (channel, text) => this.#arrived(channel, text),
        taken: (from, channels) => this.#lapse(from, channels, new Error("a slot has gone to another node")),
        failed: (cause) => this.#owner.failed(cause),
        lost: (from, channels, cause) => {
          if (this.#shards.get(name) === from) this.#shards.delete(name);
          this.#owner.failed(cause);
          this.#lapse(from, channels, cause);
        },
      });
      this.#shards.set(name, shard);
    }
    return shard;
  }

  #lapse(shard: Shard, channels: readonly string[], cause: unknown): void {
    for (const name of channels) {
      const held = this.#channels.get(name);
      if (held?.shard !== shard) continue;
      held.shard = undefined;
      held.lapsed = { cause, since: Date.now() };
      this.#lapsed.add(held);
      this.#drive(held);
    }
    this.#owner.changed();
  }

  #arrived(name: string, text: string): void {
    const held = this.#channels.get(name);
    const { receiver } = this.#owner;
    // What comes before it is confirmed lies before the subscription, or inside the gap.
    if (held?.shard !== undefined && receiver !== undefined) read(this.#serializer, name, text, held.filters, receiver);
  }
}

/** A channel, for as many filters as need it. */
class Held {
  readonly name: string;
  readonly slot: number;
  filters: Set<Filter> = new Set();
  /** Those that the core has asked for since it was last interrupted. */
  asked: Set<Filter> | undefined;
  /** Where it is subscribed to. */
  shard: Shard | undefined;
  /** It was live, and is not any more. */
  lapsed: { readonly cause: unknown; readonly since: number } | undefined;
  driven = false;
  asking = false;
  /** The last one that was asked has said who to ask. */
  sentOn = false;
  readonly waiting: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  readonly leaving: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
    this.slot = slotOf(name);
  }

  get wanted(): boolean {
    return this.filters.size > 0;
  }

  live(shard: Shard, receiver: Receiver | undefined): void {
    this.shard = shard;
    const { lapsed } = this;
    this.lapsed = undefined;
    if (lapsed !== undefined)
      for (const filter of this.filters)
        receiver?.gap({ reason: "reconnect", since: lapsed.since, until: Date.now(), lost: "unknown" }, filter);
    for (const { resolve } of this.waiting.splice(0)) resolve();
  }

  /** The server does not want it. */
  refuse(error: unknown, receiver: Receiver | undefined): void {
    const { lapsed } = this;
    this.lapsed = undefined;
    const filters = [...this.filters];
    this.filters.clear();
    if (lapsed !== undefined) for (const filter of filters) receiver?.revoked(filter, error);
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }
}
