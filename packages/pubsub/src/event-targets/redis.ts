/**
 * An event target over Redis Pub/Sub, with clients of ioredis or of node-redis.
 *
 * Each topic is a channel, an event its whole envelope as JSON. Redis keeps nothing: what is published while a
 * subscriber's connection is down does not reach it, which is a gap. Both clients connect again by themselves and say
 * nothing of what was missed; here their connections are watched, and asked for a sign of life.
 */
import type { EventEnvelope, TypedEvent } from "../envelope.ts";
import { describe, formatTopic, PubSubError } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { checkBatch } from "../gathering.ts";
import { Opening } from "../opening.ts";
import { checkTimeout } from "../options.ts";
import type { Serializer } from "../serializer.ts";
import { afterArrivals } from "../timers.ts";
import { isPattern } from "../topic.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import { clusterOver } from "./redis-cluster-client.ts";
import { ClusterConnection } from "./redis-cluster.ts";
import { connectionOver } from "./redis-client.ts";
import type { Connection, RedisClient, Subject } from "./redis-client.ts";
import { read, refusalOf, SUPPORTS } from "./redis-messages.ts";
import { Publications } from "./redis-publications.ts";
import { ShardedTransport } from "./redis-sharded.ts";
import type { Options } from "./redis-sharded.ts";
import { Side } from "./redis-side.ts";

export type { IoRedisClient, NodeRedisClient, RedisClient } from "./redis-client.ts";
export type { IoRedisCluster, NodeRedisCluster } from "./redis-cluster-client.ts";
export type { Serializer as RedisSerializer } from "../serializer.ts";

/** What `createRedisEventTarget` needs. */
export interface CreateRedisEventTargetArgs extends EventTargetOptions {
  /** Publishes. May have other uses. */
  readonly publishClient: RedisClient;
  /** Subscribes, for this target alone: a connection that subscribes does little else. */
  readonly subscribeClient: RedisClient;
  /** Default `JSON`. */
  readonly serializer?: Serializer;
  /** What the names of channels begin with, before the topic. Default `alk:events:`. */
  readonly prefix?: string;
  /** Milliseconds of silence after which the server is asked for a sign of life; after as many again it is given up. Default 2,000; 0: never. */
  readonly heartbeat?: number;
  /**
   * Publishes what is published to one topic in the same tick as one message, an array: for topics whose ends are all
   * this library's. Default false. Whatever it is set to, both are understood.
   */
  readonly batch?: boolean;
  /**
   * Uses the sharded channels of a cluster (Redis 7): an event goes to the one master that has its slot, not to every node.
   * Topics only, with an id. All that are to hear each other have to say so. Default false.
   */
  readonly sharded?: boolean;
}

/**
 * Events to and from all that use the same Redis, over clients of ioredis 5 or 6, or node-redis 6, which stay open.
 * Cluster clients tell of the nodes and of how to log in; connections to nodes are the target's own. One may be given for both.
 *
 * @throws PubSubError `INVALID_OPTION`, `UNSUPPORTED` for a client that knows no sharded channels
 * @example
 * const target = createRedisEventTarget({ publishClient: new Redis(url), subscribeClient: new Redis(url) });
 * const pubsub = createPubSub({ eventTarget: target });
 * const events = await pubsub.subscribe("session.status", "proj_123"); // Redis has confirmed
 *
 * @example
 * const cluster = new Cluster(nodes); // of ioredis, or createCluster(…) of node-redis
 * const target = createRedisEventTarget({ publishClient: cluster, subscribeClient: cluster, sharded: true });
 */
export function createRedisEventTarget<TEvent extends TypedEvent = TypedEvent>(
  args: CreateRedisEventTargetArgs,
): AlkEventTarget<TEvent> {
  const { heartbeat = 2000, serializer = JSON, prefix = "alk:events:", batch = false, sharded = false } = args;
  checkTimeout("heartbeat", heartbeat);
  checkBatch(batch, serializer);
  const options = { heartbeat, serializer, prefix, batch };
  return defineEventTarget(sharded ? shardedOver(args, options) : new RedisTransport(args, options), args);
}

function shardedOver({ publishClient, subscribeClient }: CreateRedisEventTargetArgs, options: Options): Transport {
  const publishers = clusterOver(publishClient);
  const subscribers = subscribeClient === publishClient ? publishers : clusterOver(subscribeClient);
  if (publishers === undefined || subscribers === undefined)
    throw new PubSubError(
      "INVALID_OPTION",
      "sharded needs clients of a cluster: new Cluster(…) of ioredis, or createCluster(…) of node-redis.",
    );
  for (const client of [publishClient, subscribeClient])
    if (!("ssubscribe" in client && client.ssubscribe) && !("sSubscribe" in client))
      throw new PubSubError(
        "UNSUPPORTED",
        "This version of the client knows no sharded channels (SSUBSCRIBE): use ioredis 5 or redis 6.",
      );
  return new ShardedTransport(publishers, subscribers, options);
}

/** Clients that some target subscribes with: two would take each other's channels away. */
const subscribing = new WeakSet<RedisClient>();

class RedisTransport implements Transport {
  readonly supports: Supports;
  problem: string | undefined;
  readonly #subscribeClient: RedisClient;
  readonly #publisher: Side;
  readonly #subscriber: Side;
  readonly #serializer: Serializer;
  readonly #prefix: string;
  readonly #channels = new Map<string, Held>();
  readonly #globs = new Map<string, Held>();
  #receiver: Receiver | undefined;
  readonly #opening = new Opening();
  /** Whether both connections are there, and the core knows. */
  #up = false;
  /** Whether what comes may be delivered: not between the end of a subscriber's connection and the word of it. */
  #delivering = false;
  readonly #publications: Publications;

  constructor({ publishClient, subscribeClient }: CreateRedisEventTargetArgs, options: Options) {
    const { heartbeat, serializer, prefix, batch } = options;
    this.#subscribeClient = subscribeClient;
    this.#publisher = new Side(connectionTo(publishClient, "publishClient"), heartbeat);
    this.#subscriber = new Side(connectionTo(subscribeClient, "subscribeClient"), heartbeat);
    const ofCluster = this.#publisher.connection.own === true || this.#subscriber.connection.own === true;
    // Nodes pass events on to each other without acknowledgement, and another node may do so later than the one that was lost.
    this.supports = ofCluster ? { ...SUPPORTS, lossDetection: "none", delivery: "at-least-once" } : SUPPORTS;
    this.#serializer = serializer;
    this.#prefix = prefix;
    this.#publications = new Publications(this.#publisher, serializer, batch);
  }

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    if (this.#subscriber.connection.own !== true && subscribing.has(this.#subscribeClient))
      throw new PubSubError(
        "INVALID_OPTION",
        "Another event target subscribes with this client. Give each a subscribeClient of its own (client.duplicate()).",
      );
    subscribing.add(this.#subscribeClient);
    this.#receiver = receiver;
    const opened = this.#opening.begin(signal, () => this.#stop());
    for (const side of [this.#publisher, this.#subscriber])
      side.start({
        ready: () => this.#settle(),
        lost: (cause) => this.#lost(side, cause),
        ended: (cause) => this.#ended(cause),
        failed: (cause) => this.#failed(cause),
        message: (name, isGlob, text) => this.#arrived(name, isGlob, text),
      });
    return opened;
  }

  /** Tells the core once both connections are there. */
  #settle(): void {
    if (this.#up || !this.#publisher.ready || !this.#subscriber.ready) return;
    this.#up = true;
    this.problem = undefined;
    const kept = this.#delivering;
    this.#delivering = true;
    if (this.#opening.succeed()) return;
    this.#receiver?.resumed({ kept, replayed: kept });
    // The client has subscribed again to what it had, and nobody may want any more. The core has asked by then for what it wants.
    if (!kept) afterArrivals(() => this.#sweep());
  }

  #lost(side: Side, cause: unknown): void {
    if (side === this.#subscriber) {
      this.#delivering = false;
      for (const held of this.#all()) held.forget();
    }
    // Of an attempt that failed more was said before it ended.
    if (this.#up || this.problem === undefined) this.#failed(cause);
    if (!this.#up) return;
    this.#up = false;
    this.#receiver?.interrupted(cause);
  }

  #ended(cause: unknown): void {
    const none = `There is no connection to Redis: ${describe(cause)}.`;
    if (this.#opening.fail(new PubSubError("NOT_READY", none))) return;
    const receiver = this.#receiver;
    this.#stop();
    receiver?.ended(cause);
  }

  #failed(cause: unknown): void {
    this.problem = describe(cause);
    const refusal = refusalOf(cause);
    if (refusal !== undefined) this.#opening.fail(refusal);
  }

  #stop(): void {
    this.#receiver = undefined;
    this.#opening.end();
    this.#up = this.#delivering = false;
    this.#publisher.stop();
    this.#subscriber.stop();
    subscribing.delete(this.#subscribeClient);
  }

  async subscribe(filter: Filter): Promise<void> {
    const held = this.#heldFor(filter);
    held.filters.add(filter);
    const live = (held.live ??= this.#subscribe(held));
    try {
      await live;
    } catch (error) {
      // Unless it was asked again meanwhile.
      if (held.live === live) held.live = undefined;
      if (held.live === undefined && held.filters.delete(filter) && held.filters.size === 0) this.#drop(held);
      throw error;
    }
  }

  async #subscribe(held: Held): Promise<void> {
    await held.leaving;
    await this.#subscriber.connection.subscribe(held);
  }

  async unsubscribe(filter: Filter): Promise<void> {
    const held = this.#heldFor(filter);
    if (held.filters.delete(filter) && held.filters.size === 0) await this.#leave(held);
  }

  /** Frees what the server holds. A subscribe that comes meanwhile waits. */
  #leave(held: Held): Promise<void> {
    held.live = undefined;
    const unsubscribe = (): Promise<unknown> => this.#subscriber.connection.unsubscribe(held);
    const left = (held.leaving === undefined ? unsubscribe() : held.leaving.then(unsubscribe)).then(() => undefined);
    const settled = left.then(
      () => {
        if (held.leaving !== settled) return;
        held.leaving = undefined;
        if (held.filters.size === 0) this.#drop(held);
      },
      // Cut off: it is swept away once the connection is back.
      () => undefined,
    );
    held.leaving = settled;
    return left;
  }

  #sweep(): void {
    if (this.#receiver === undefined) return;
    for (const held of this.#all())
      if (held.filters.size === 0 && held.leaving === undefined) this.#leave(held).catch(() => undefined);
  }

  #heldFor(filter: Filter): Held {
    const { name, isGlob } = subjectOf(this.#prefix, filter);
    const all = isGlob ? this.#globs : this.#channels;
    let held = all.get(name);
    if (held === undefined) all.set(name, (held = new Held(name, isGlob)));
    return held;
  }

  #drop(held: Held): void {
    (held.isGlob ? this.#globs : this.#channels).delete(held.name);
  }

  #all(): Held[] {
    return [...this.#channels.values(), ...this.#globs.values()];
  }

  #arrived(name: string, isGlob: boolean, text: string): void {
    const held = (isGlob ? this.#globs : this.#channels).get(name);
    if (held === undefined || held.filters.size === 0 || !this.#delivering) return;
    if (this.#receiver !== undefined) read(this.#serializer, name, text, held.filters, this.#receiver);
  }

  post(envelope: EventEnvelope): Posted {
    return this.#publications.post(this.#prefix + formatTopic(envelope.type, envelope.id), envelope);
  }

  async close(): Promise<void> {
    if (this.#subscriber.connection.own === true) return this.#stop();
    const left = this.#all().map((held) => {
      const first = this.#leave(held);
      // A client that is not connected, or turns out not to be, sends it when it is, after what it asks for again by itself.
      first.catch(() => this.#leave(held).catch(() => undefined));
      return first;
    });
    const connected = this.#subscriber.ready;
    this.#stop();
    const done = Promise.allSettled(left);
    if (connected) await done;
  }
}

function connectionTo(client: RedisClient, option: string): Connection {
  const cluster = clusterOver(client);
  return cluster === undefined ? connectionOver(client, option) : new ClusterConnection(cluster);
}

/** What is subscribed to at the server, for as many filters as need it. */
class Held implements Subject {
  readonly name: string;
  readonly isGlob: boolean;
  readonly filters: Set<Filter> = new Set();
  /** The server's confirmation. */
  live: Promise<void> | undefined;
  /** Settled once the server has forgotten it. Never rejects. */
  leaving: Promise<void> | undefined;

  constructor(name: string, isGlob: boolean) {
    this.name = name;
    this.isGlob = isGlob;
  }

  /** The connection is gone; the client may subscribe to it again by itself. */
  forget(): void {
    this.filters.clear();
    this.live = this.leaving = undefined;
  }
}

/** The channel of a topic, or one glob for all topics of a filter, which may be wider than it: dots and colons are nothing special. */
function subjectOf(prefix: string, { type, id }: Filter): { name: string; isGlob: boolean } {
  if (id !== undefined && !isPattern(type)) return { name: prefix + formatTopic(type, id), isGlob: false };
  // The last `**` may be nothing, its dot included.
  const types = type
    .replace(/\.?\*\*$/, "**")
    .split("*")
    .map(literally)
    .join("*")
    .replace(/\*+/g, "*");
  const ids = id === undefined ? "*" : literally(id === "" ? "" : `:${id}`);
  return { name: (literally(prefix) + types + ids).replace(/\*\*$/, "*"), isGlob: true };
}

/** A text of a glob that means itself. */
function literally(text: string): string {
  return text.replace(/[\\*?[\]^-]/g, "\\$&");
}
