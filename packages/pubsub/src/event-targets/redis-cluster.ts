/** A connection to a cluster for plain channels, whose nodes pass events on to each other: one of ours to one of them at a time. */
import { waitAfter } from "../backoff.ts";
import { deadline } from "../timers.ts";
import { connectionOfOwn, endOwn } from "./redis-cluster-client.ts";
import type { Cluster, OwnClient } from "./redis-cluster-client.ts";
import type { Connection, Subject, Watcher } from "./redis-client.ts";
import { nameOf } from "./redis-slots.ts";
import type { Address } from "./redis-slots.ts";

/** Between attempts that fail one after the other; the next one is another node. */
const BACKOFF = { min: 20, max: 2000 };

/** When it is lost, it is made anew to another node, without waiting for the one that is gone. */
export class ClusterConnection implements Connection {
  readonly own = true;
  readonly #cluster: Cluster;
  #watcher: Watcher | undefined;
  #current: { readonly client: OwnClient; readonly connection: Connection; readonly name: string } | undefined;
  /** Nodes in the order in which they were lost, the last one at the end. */
  readonly #lostNodes = new Set<string>();
  #failures = 0;
  #stopWaiting: (() => void) | undefined;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get ready(): boolean {
    return this.#current?.connection.ready ?? false;
  }

  start(watcher: Watcher): void {
    this.#watcher = watcher;
    this.#failures = 0;
    this.#cluster.start({
      found: () => this.#current ?? this.#dial(),
      ended: (cause) => this.#watcher?.ended(cause),
      failed: (cause) => this.#watcher?.failed(cause),
    });
    this.#dial();
  }

  stop(): void {
    this.#watcher = undefined;
    this.#stopWaiting?.();
    this.#cluster.stop();
    this.#drop();
  }

  #dial(): void {
    const watcher = this.#watcher;
    if (watcher === undefined) return;
    this.#stopWaiting?.();
    const address = this.#next();
    if (address === undefined) return this.#dialLater();
    const client = this.#cluster.dial(address, false);
    const connection = connectionOfOwn(client, false);
    const current = (this.#current = { client, connection, name: nameOf(address) });
    const lost = (cause: unknown): void => {
      if (this.#current !== current) return;
      this.#drop();
      watcher.lost(cause);
      this.#dialLater();
    };
    // From the first packet on: a node that is not there may not say so.
    watcher.connected();
    connection.start({
      ...watcher,
      lost,
      ended: lost,
      ready: () => {
        this.#failures = 0;
        this.#lostNodes.delete(current.name);
        watcher.ready();
      },
    });
  }

  /** Any of those that were not lost, else the one whose loss is longest ago. */
  #next(): Address | undefined {
    const masters = this.#cluster.masters();
    const well = masters.filter((address) => !this.#lostNodes.has(nameOf(address)));
    if (well.length > 0) return well[Math.floor(Math.random() * well.length)];
    const lost = [...this.#lostNodes].find((name) => masters.some((address) => nameOf(address) === name));
    return masters.find((address) => nameOf(address) === lost);
  }

  #dialLater(): void {
    // One attempt at a time: two would be two connections that are subscribed.
    this.#stopWaiting?.();
    if (this.#watcher !== undefined)
      this.#stopWaiting = deadline(waitAfter(this.#failures++, BACKOFF), () => this.#dial());
  }

  #drop(): void {
    const current = this.#current;
    if (current === undefined) return;
    this.#current = undefined;
    this.#lostNodes.delete(current.name);
    this.#lostNodes.add(current.name);
    current.connection.stop();
    endOwn(current.client);
  }

  renew(): void {
    this.#drop();
    this.#dialLater();
  }

  ping(): Promise<unknown> {
    return this.#ask((connection) => connection.ping());
  }

  publish(channel: string, text: string): Promise<unknown> {
    return this.#ask((connection) => connection.publish(channel, text));
  }

  subscribe(subject: Subject): Promise<unknown> {
    return this.#ask((connection) => connection.subscribe(subject));
  }

  unsubscribe(subject: Subject): Promise<unknown> {
    return this.#ask((connection) => connection.unsubscribe(subject));
  }

  #ask(question: (connection: Connection) => Promise<unknown>): Promise<unknown> {
    if (this.#current === undefined)
      return Promise.reject(new Error("there is no connection to a node of the cluster"));
    return question(this.#current.connection);
  }
}
