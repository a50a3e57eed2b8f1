/**
 * What is used of clients of a cluster: they tell of the nodes, and how to log in to them.
 *
 * Nothing is subscribed or published through them. When a node goes, they subscribe again at another one and say
 * nothing of what was missed; connections of our own, to one node each, are watched like any other.
 */
import { IoRedis, NodeRedis } from "./redis-client.ts";
import type { Connection, IoRedisClient, Listener, NodeRedisClient, RedisClient } from "./redis-client.ts";
import type { Address } from "./redis-slots.ts";

/** A cluster client of ioredis, 5 or 6: the part of it that is used. */
export interface IoRedisCluster {
  readonly isCluster: boolean;
  readonly status: string;
  readonly options: object;
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
  connect(): Promise<unknown>;
  /** Clients of its nodes, with the options that it gives each. */
  nodes(role: "master"): IoRedisNode[];
}

/** A client of ioredis that knows how to make another one. */
export interface IoRedisNode extends IoRedisClient {
  duplicate(options: object): IoRedisNode;
  call(command: string, ...args: string[]): Promise<unknown>;
  ping(message?: string): Promise<unknown>;
  eval(script: string, keys: number, ...args: string[]): Promise<unknown>;
  ssubscribe(channel: string): Promise<unknown>;
  sunsubscribe(channel: string): Promise<unknown>;
}

/** A cluster client of node-redis (the package `redis`), 6: the part of it that is used. */
export interface NodeRedisCluster {
  readonly isOpen: boolean;
  readonly masters: readonly { readonly host: string; readonly port: number }[];
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
  connect(): Promise<unknown>;
  nodeClient(node: never): Promise<NodeRedisNode>;
}

/** A client of node-redis that knows how to make another one. */
export interface NodeRedisNode extends NodeRedisClient {
  readonly options?: { readonly socket?: object };
  duplicate(options: object): NodeRedisNode;
  sendCommand(args: string[]): Promise<unknown>;
  sSubscribe(channel: string, listener: (message: string, channel: string) => void): Promise<unknown>;
  sUnsubscribe(channel: string, listener: (message: string, channel: string) => void): Promise<unknown>;
}

/** A client of our own to one node. */
export type OwnClient =
  | { readonly kind: "ioredis"; readonly client: IoRedisNode }
  | { readonly kind: "node-redis"; readonly client: NodeRedisNode };

/** Told of what becomes of a cluster's client. */
export interface ClusterWatcher {
  /** There may be masters now. */
  found(): void;
  ended(cause: unknown): void;
  failed(cause: unknown): void;
}

/** A cluster client of the user's, which stays open, and as it is. */
export interface Cluster {
  /** Begins to listen, and to connect where nobody has. */
  start(watcher: ClusterWatcher): void;
  stop(): void;
  /** Where masters are that it knows of; none as long as it knows no way to make clients. */
  masters(): readonly Address[];
  /** Where somebody is, seen from here, who says to be there. */
  reached(address: Address): Address;
  /** A client that connects once it is started; only after `masters` has named one. */
  dial(address: Address, sharded: boolean): OwnClient;
}

/** What is known of the cluster through this client, if it is one. */
export function clusterOver(client: RedisClient): Cluster | undefined {
  if (typeof client !== "object" || client === null) return undefined;
  if ("isCluster" in client && client.isCluster) return new OverIoRedis(client);
  return "nodeClient" in client ? new OverNodeRedis(client) : undefined;
}

/** The connection of a client of our own. */
export function connectionOfOwn(own: OwnClient, sharded: boolean): Connection {
  return own.kind === "ioredis" ? new IoRedis(own.client, sharded) : new NodeRedis(own.client, sharded);
}

export function callOwn(own: OwnClient, command: string, ...args: string[]): Promise<unknown> {
  return own.kind === "ioredis" ? own.client.call(command, ...args) : own.client.sendCommand([command, ...args]);
}

export function endOwn({ kind, client }: OwnClient): void {
  if (kind === "ioredis") return client.disconnect();
  try {
    client.destroy();
  } catch {
    // It is closed.
  }
}

/** Milliseconds to the next attempt of a client of our own; it is ended long before, since whoever made it was told of the first one. */
const NEVER = 60_000;

type Map = Readonly<Record<string, Address>> | ((address: string) => Address | null | undefined);

/** By an option that both clients have, under names of their own. */
function mapped(map: Map | undefined, address: Address): Address {
  const key = `${address.host}:${address.port}`;
  return (typeof map === "function" ? map(key) : map?.[key]) ?? address;
}

abstract class Over<C extends IoRedisCluster | NodeRedisCluster> implements Cluster {
  protected readonly cluster: C;
  protected watcher: ClusterWatcher | undefined;
  #listeners: readonly (readonly [string, Listener])[] = [];

  constructor(cluster: C) {
    this.cluster = cluster;
  }

  start(watcher: ClusterWatcher): void {
    this.watcher = watcher;
    this.#listeners = [...this.listeners(watcher), ["error", (error: unknown) => this.failed(error)]];
    for (const [event, listener] of this.#listeners) this.cluster.on(event, listener);
  }

  stop(): void {
    for (const [event, listener] of this.#listeners) this.cluster.off(event, listener);
    this.#listeners = [];
    this.watcher = undefined;
  }

  protected failed(error: unknown): void {
    // Where ioredis says that it has asked all nodes, it keeps what the last one said.
    this.watcher?.failed((error as { lastNodeError?: unknown } | undefined)?.lastNodeError ?? error);
  }

  protected abstract listeners(watcher: ClusterWatcher): readonly (readonly [string, Listener])[];
  abstract masters(): readonly Address[];
  abstract reached(address: Address): Address;
  abstract dial(address: Address, sharded: boolean): OwnClient;
}

class OverIoRedis extends Over<IoRedisCluster> {
  #node: IoRedisNode | undefined;

  override start(watcher: ClusterWatcher): void {
    super.start(watcher);
    const { status } = this.cluster;
    if (status === "wait") this.cluster.connect().catch((error: unknown) => this.failed(error));
    else if (status === "end") watcher.ended(new Error("the cluster's client is closed"));
  }

  protected listeners(watcher: ClusterWatcher): readonly (readonly [string, Listener])[] {
    const ended = new Error("the cluster's client was closed, or has stopped trying to connect");
    return [
      ["ready", () => watcher.found()],
      ["end", () => watcher.ended(ended)],
    ];
  }

  masters(): readonly Address[] {
    const nodes = this.cluster.nodes("master");
    this.#node = nodes[0] ?? this.#node;
    return nodes.map(({ options }) => {
      const { host, port } = options as Address;
      return { host, port };
    });
  }

  reached(address: Address): Address {
    return mapped((this.cluster.options as { natMap?: Map }).natMap, address);
  }

  dial({ host, port }: Address, sharded: boolean): OwnClient {
    const client = (this.#node as IoRedisNode).duplicate({
      host,
      port,
      lazyConnect: true,
      // Only so does it give up what is on its way: whoever made it is told of the end, and makes another one.
      retryStrategy: () => null,
      autoResubscribe: false,
      readOnly: false,
      keyPrefix: "",
      commandTimeout: undefined,
      // How long it waits for the far end to close, which a frozen one never does.
      disconnectTimeout: 0,
      // Only there can it ask something else while it is subscribed.
      ...(sharded && { protocol: 3 }),
    });
    client.on("error", ignore);
    return { kind: "ioredis", client };
  }
}

class OverNodeRedis extends Over<NodeRedisCluster> {
  #node: NodeRedisNode | undefined;
  #asked = 0;

  override start(watcher: ClusterWatcher): void {
    super.start(watcher);
    this.masters();
  }

  protected listeners(watcher: ClusterWatcher): readonly (readonly [string, Listener])[] {
    return [
      ["connect", () => this.masters()],
      ["disconnect", () => watcher.ended(new Error("the cluster's client was closed"))],
    ];
  }

  masters(): readonly Address[] {
    const { masters, isOpen } = this.cluster;
    if (!isOpen) this.cluster.connect().catch((error: unknown) => this.failed(error));
    if (this.#node !== undefined) return masters.map((address) => this.reached(address));
    // Its first client of a node; where it has none, it makes one.
    const master = masters[this.#asked++ % masters.length];
    if (master !== undefined)
      this.cluster.nodeClient(master as never).then(
        (node) => {
          this.#node = node;
          this.watcher?.found();
        },
        (error: unknown) => this.failed(error),
      );
    return [];
  }

  reached({ host, port }: Address): Address {
    const { _options } = this.cluster as { _options?: { nodeAddressMap?: Map } };
    return mapped(_options?.nodeAddressMap, { host, port });
  }

  dial({ host, port }: Address, sharded: boolean): OwnClient {
    const node = this.#node as NodeRedisNode;
    const client = node.duplicate({
      socket: { ...node.options?.socket, host, port, reconnectStrategy: () => NEVER },
      readonly: false,
      clientSideCache: undefined,
      pingInterval: undefined,
      maintNotifications: "disabled",
      // Only there can it ask something else while it is subscribed.
      ...(sharded && { RESP: 3 }),
    });
    client.on("error", ignore);
    return { kind: "node-redis", client };
  }
}

function ignore(): void {}
