/** One connection to Redis, whichever client it is over: what `redis.ts` needs of ioredis and of node-redis. */
import { PubSubError } from "../errors.ts";
import { deadline } from "../timers.ts";
import type { IoRedisCluster, IoRedisNode, NodeRedisCluster, NodeRedisNode } from "./redis-cluster-client.ts";

// What an event brings differs from event to event, and clients say so each in their own way.
// oxlint-disable-next-line typescript/no-explicit-any
export type Listener = (...args: any[]) => void;

/** A client of ioredis, 5 or 6: the part of it that is used. */
export interface IoRedisClient {
  readonly status: string;
  readonly options: object;
  /** The socket, once there is one. */
  readonly stream?: { cork(): void; uncork(): void } | undefined;
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
  connect(): Promise<unknown>;
  disconnect(reconnect?: boolean): void;
  ping(): Promise<unknown>;
  publish(channel: string, message: string): Promise<unknown>;
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  psubscribe(pattern: string): Promise<unknown>;
  punsubscribe(pattern: string): Promise<unknown>;
}

/** A client of node-redis (the package `redis`), 6: the part of it that is used. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
  connect(): Promise<unknown>;
  destroy(): void;
  ping(): Promise<unknown>;
  publish(channel: string, message: string): Promise<unknown>;
  subscribe(channel: string, listener: (message: string, channel: string) => void): Promise<unknown>;
  unsubscribe(channel: string, listener: (message: string, channel: string) => void): Promise<unknown>;
  pSubscribe(pattern: string, listener: (message: string, channel: string) => void): Promise<unknown>;
  pUnsubscribe(pattern: string, listener: (message: string, channel: string) => void): Promise<unknown>;
}

/** A Redis client of the user's. */
export type RedisClient = IoRedisClient | NodeRedisClient | IoRedisCluster | NodeRedisCluster;

/** What is asked for at the server: a channel, or a glob that channels match. One object for each, as long as it may be held there. */
export interface Subject {
  readonly name: string;
  readonly isGlob: boolean;
}

/** Told of what becomes of a connection. */
export interface Watcher {
  /** There is one, which still has to be made ready. */
  connected(): void;
  /** It can be used, and whatever the client asks for again by itself was asked for. */
  ready(): void;
  /** It is gone, and the client is trying again. May be called again and again. */
  lost(cause: unknown): void;
  /** It is gone, and the client will not try again. */
  ended(cause: unknown): void;
  /** Something went wrong that need not be the end. */
  failed(cause: unknown): void;
  message(name: string, isGlob: boolean, text: string): void;
}

/** The connection of a client. One that belongs to the user stays open, and as it is. */
export interface Connection {
  /** Whether it is of our own, so that with it goes all that the server holds for it. */
  readonly own?: boolean;
  readonly ready: boolean;
  /** Whether it is gone for good although nobody said so. */
  readonly hasStopped?: boolean;
  /** Begins to watch, and to connect where nobody has. */
  start(watcher: Watcher): void;
  /** Watches no more. A client that is connecting goes on with that. */
  stop(): void;
  ping(): Promise<unknown>;
  /** Gives up the connection, which hears nothing any more, for another one. */
  renew(): void;
  /** Resolves when the server has answered. What a cut leaves unanswered is never sent again. */
  publish(channel: string, text: string): Promise<unknown>;
  subscribe(subject: Subject): Promise<unknown>;
  unsubscribe(subject: Subject): Promise<unknown>;
}

/** @throws PubSubError `INVALID_OPTION` for what is no client of one server */
export function connectionOver(client: RedisClient, option: string): Connection {
  if (typeof client === "object" && client !== null) {
    if ("isReady" in client && "pSubscribe" in client) return new NodeRedis(client);
    if ("status" in client && typeof client.status === "string") return new IoRedis(client as IoRedisClient);
  }
  throw new PubSubError("INVALID_OPTION", `${option} has to be a client of ioredis or of node-redis.`);
}

/**
 * Publishes to a sharded channel. The command alone is taken by replicas too, which pass it on to their master, late or
 * never; a script that has the channel for its key is taken by the one master that has its slot.
 */
const TO_MASTER = "return redis.call('SPUBLISH',KEYS[1],ARGV[1])";

/** What is said of a client that will not connect again. */
export const STOPPED = "the client was closed, or has stopped trying to connect";

/** Commands that are written at once. */
const GATHERED = 32;

type Listeners = Readonly<Record<string, Listener>>;

export class IoRedis implements Connection {
  readonly #client: IoRedisClient;
  readonly #commands: IoRedisClient;
  readonly #sharded: boolean;
  #listeners: Listeners = {};
  #corked: IoRedisClient["stream"];
  #gathered = 0;

  /** @param sharded whether it publishes to the sharded channels of a cluster */
  constructor(client: IoRedisClient, sharded: boolean = false) {
    this.#client = client;
    this.#commands = sendingOnce(client);
    this.#sharded = sharded;
  }

  get ready(): boolean {
    return this.#client.status === "ready";
  }

  /** Of a client that is closed while it waits for its next attempt no event tells. */
  get hasStopped(): boolean {
    const { status, reconnectTimeout } = this.#client as { status: string; reconnectTimeout?: unknown };
    return status === "reconnecting" && reconnectTimeout === null;
  }

  start(watcher: Watcher): void {
    const client = this.#client;
    this.#listeners = {
      connect: () => watcher.connected(),
      ready: () => watcher.ready(),
      close: () => watcher.lost(new Error("the connection was closed")),
      end: () => watcher.ended(new Error(STOPPED)),
      error: (error: unknown) => watcher.failed(error),
      message: (channel: string, text: string) => watcher.message(channel, false, text),
      pmessage: (glob: string, _: string, text: string) => watcher.message(glob, true, text),
    };
    for (const [event, listener] of Object.entries(this.#listeners)) client.on(event, listener);
    if (client.status === "wait") client.connect().catch((error: unknown) => watcher.failed(error));
    else if (client.status === "end") watcher.ended(new Error("the client is closed"));
  }

  stop(): void {
    for (const [event, listener] of Object.entries(this.#listeners)) this.#client.off(event, listener);
    this.#listeners = {};
  }

  ping(): Promise<unknown> {
    return this.#commands.ping();
  }

  renew(): void {
    this.#client.disconnect(true);
  }

  publish(channel: string, text: string): Promise<unknown> {
    this.#gather();
    if (this.#sharded) return (this.#commands as IoRedisNode).eval(TO_MASTER, 1, channel, text);
    return this.#commands.publish(channel, text);
  }

  /**
   * What is published in one tick is written in few writes, where each command would be one of its own; not in one, so that
   * Redis is at work meanwhile.
   */
  #gather(): void {
    const { stream } = this.#client;
    if (stream === undefined) return;
    if (stream === this.#corked) {
      if (++this.#gathered < GATHERED) return;
      stream.uncork();
      stream.cork();
      this.#gathered = 0;
      return;
    }
    this.#corked = stream;
    this.#gathered = 0;
    stream.cork();
    queueMicrotask(() => {
      this.#corked = undefined;
      stream.uncork();
    });
  }

  subscribe({ name, isGlob }: Subject): Promise<unknown> {
    return isGlob ? this.#commands.psubscribe(name) : this.#commands.subscribe(name);
  }

  unsubscribe({ name, isGlob }: Subject): Promise<unknown> {
    return isGlob ? this.#commands.punsubscribe(name) : this.#commands.unsubscribe(name);
  }
}

/**
 * What a cut leaves unanswered, ioredis sends again over the next connection; if the server had done it, an event comes twice. The
 * option that turns this off is one of the whole client, which may have other uses, and leaves promises pending. But it
 * never repeats the rest of a pipeline whose beginning was answered: a command that has an index as if it were of such
 * a rest is rejected when the connection closes. The client itself is not changed.
 */
function sendingOnce(client: IoRedisClient): IoRedisClient {
  const { sendCommand } = client as unknown as { sendCommand?: (...args: readonly unknown[]) => unknown };
  if (sendCommand === undefined) return client;
  return Object.create(client, {
    // Pipelines number their commands themselves.
    options: { value: { ...client.options, enableAutoPipelining: false } },
    sendCommand: {
      value(command: { pipelineIndex?: number }, ...rest: readonly unknown[]): unknown {
        command.pipelineIndex = -1;
        return sendCommand.call(client, command, ...rest);
      },
    },
  }) as IoRedisClient;
}

/** Milliseconds in which a socket that was destroyed is closed, and whoever waited for it has been told. */
const RENEWAL = 50;

export class NodeRedis implements Connection {
  readonly #client: NodeRedisClient;
  readonly #sharded: boolean;
  readonly #unwritten = new Unwritten();
  readonly #commands: NodeRedisClient;
  /** The client names no pattern, so each subject has a listener of its own. */
  readonly #hearers = new WeakMap<Subject, Listener>();
  #listeners: Listeners = {};
  #watcher: Watcher | undefined;
  #renewing = false;

  /** @param sharded whether it publishes to the sharded channels of a cluster */
  constructor(client: NodeRedisClient, sharded: boolean = false) {
    this.#client = client;
    this.#sharded = sharded;
    const { withCommandOptions } = client as { withCommandOptions?: (options: object) => NodeRedisClient };
    // Without time-outs of its own: a signal and a timer for each command.
    const options = { abortSignal: this.#unwritten, timeout: undefined };
    this.#commands = withCommandOptions?.call(client, options) ?? client;
  }

  get ready(): boolean {
    return this.#client.isReady;
  }

  start(watcher: Watcher): void {
    const client = this.#client;
    this.#watcher = watcher;
    this.#listeners = {
      connect: () => watcher.connected(),
      ready: () => watcher.ready(),
      error: (error: unknown) => {
        watcher.failed(error);
        if (!client.isReady) this.#lost(error);
      },
      terminated: (cause: unknown) => watcher.ended(cause),
      end: () => this.#renewing || watcher.ended(new Error("the client was closed")),
    };
    for (const [event, listener] of Object.entries(this.#listeners)) client.on(event, listener);
    if (!client.isOpen) this.#connect();
  }

  stop(): void {
    for (const [event, listener] of Object.entries(this.#listeners)) this.#client.off(event, listener);
    this.#listeners = {};
    this.#watcher = undefined;
  }

  #connect(): void {
    const client = this.#client;
    // An error that nobody listens for would end the process, also when nobody waits for the connection any more.
    client.on("error", ignore);
    void client
      .connect()
      .catch((error: unknown) => this.#watcher?.failed(error))
      .finally(() => client.off("error", ignore));
  }

  #lost(cause: unknown): void {
    this.#unwritten.abort();
    this.#watcher?.lost(cause);
  }

  ping(): Promise<unknown> {
    return this.#commands.ping();
  }

  renew(): void {
    this.#renewing = true;
    try {
      this.#client.destroy();
    } finally {
      this.#renewing = false;
    }
    // Once its attempt to connect, if there was one, has ended: two at a time would make two connections.
    deadline(RENEWAL, () => this.#client.isOpen || this.#connect());
  }

  publish(channel: string, text: string): Promise<unknown> {
    if (this.#sharded) return (this.#commands as NodeRedisNode).sendCommand(["EVAL", TO_MASTER, "1", channel, text]);
    return this.#commands.publish(channel, text);
  }

  subscribe(subject: Subject): Promise<unknown> {
    const hearer = this.#hearerOf(subject);
    return subject.isGlob
      ? this.#client.pSubscribe(subject.name, hearer)
      : this.#client.subscribe(subject.name, hearer);
  }

  unsubscribe(subject: Subject): Promise<unknown> {
    const hearer = this.#hearerOf(subject);
    return subject.isGlob
      ? this.#client.pUnsubscribe(subject.name, hearer)
      : this.#client.unsubscribe(subject.name, hearer);
  }

  #hearerOf(subject: Subject): Listener {
    let hearer = this.#hearers.get(subject);
    if (hearer === undefined) {
      const { name, isGlob } = subject;
      hearer = (text: string) => this.#watcher?.message(name, isGlob, text);
      this.#hearers.set(subject, hearer);
    }
    return hearer;
  }
}

/**
 * The commands of node-redis that wait to be written. Those that a cut finds, it would send over the next connection, long after
 * their callers were told that they failed. As much of an AbortSignal as it uses; that of the platform, which looks
 * through all listeners for each new one, can be aborted once only.
 */
class Unwritten {
  readonly aborted = false;
  readonly #listeners = new Set<() => void>();

  addEventListener(_: string, listener: () => void): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_: string, listener: () => void): void {
    this.#listeners.delete(listener);
  }

  abort(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

function ignore(): void {}
