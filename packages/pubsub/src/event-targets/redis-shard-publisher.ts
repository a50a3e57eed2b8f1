/** Publishes to the sharded channels of a cluster: each event to the master that has its slot. */
import { describe, PubSubError } from "../errors.ts";
import { afterArrivals, deadline } from "../timers.ts";
import { callOwn, connectionOfOwn, endOwn } from "./redis-cluster-client.ts";
import type { Cluster, OwnClient } from "./redis-cluster-client.ts";
import type { Connection, Watcher } from "./redis-client.ts";
import { interruption } from "./redis-publications.ts";
import type { Publisher } from "./redis-publications.ts";
import { Side } from "./redis-side.ts";
import type { Watched } from "./redis-side.ts";
import { addressOf, movedTo, slotOf } from "./redis-slots.ts";
import type { SlotMap } from "./redis-slots.ts";

/** How often an event is sent after its slot: for more than a second, while nodes do not agree who has it. */
const MOVES = 8;

/** Events of a slot that has moved: they wait until all that was sent to its former master is answered. */
interface Moving {
  /** Sent already, and refused. */
  readonly again: (() => void)[];
  readonly later: (() => void)[];
}

/** Told of connections that come and go. */
export interface LinkOwner {
  changed(): void;
  failed(cause: unknown): void;
}

/** The connections that publish, one to each master that something was published to. */
export class ShardPublisher implements Publisher {
  readonly ready = true;
  readonly epoch = 0;
  readonly connection: Publisher["connection"];
  readonly #cluster: Cluster;
  readonly #map: SlotMap;
  readonly #heartbeat: number;
  readonly #owner: LinkOwner;
  readonly #links = new Map<string, Link>();
  readonly #moving = new Map<number, Moving>();
  #closed = true;

  constructor(cluster: Cluster, map: SlotMap, heartbeat: number, owner: LinkOwner) {
    this.#cluster = cluster;
    this.#map = map;
    this.#heartbeat = heartbeat;
    this.#owner = owner;
    this.connection = { ready: true, publish: (channel, text) => this.#publish(channel, text) };
  }

  heard(): void {}

  /** Why it cannot publish somewhere where it could, if so. */
  get problem(): { readonly cause: unknown } | undefined {
    for (const { lost } of this.#links.values()) if (lost !== undefined) return lost;
    return undefined;
  }

  /** One that can be asked something, any. */
  get anyLink(): Link | undefined {
    const ready = [...this.#links.values()].filter((link) => link.ready);
    return ready[Math.floor(Math.random() * ready.length)];
  }

  /** The link to a node; makes one where there is none, or it was lost. */
  link(name: string): Link {
    const former = this.#links.get(name);
    if (former !== undefined && !former.over) return former;
    const client = this.#cluster.dial(this.#cluster.reached(addressOf(name)), true);
    const link: Link = new Link(name, client, this.#heartbeat, {
      changed: () => {
        // One that was not used is nobody's problem.
        if (link.over && link.lost === undefined && this.#links.get(name) === link) this.#links.delete(name);
        this.#owner.changed();
      },
      failed: (cause) => this.#owner.failed(cause),
    });
    link.lost = former?.lost;
    link.used = former !== undefined;
    this.#links.set(name, link);
    return link;
  }

  /** Tries again what was lost, and lets go of it where it is no master any more. */
  mend(): void {
    for (const [name, link] of [...this.#links])
      if (link.lost === undefined) continue;
      else if (this.#map.isMaster(name)) this.link(name);
      else {
        link.end(link.lost.cause);
        this.#links.delete(name);
      }
  }

  open(): void {
    this.#closed = false;
  }

  close(): void {
    this.#closed = true;
    for (const link of this.#links.values()) link.end(new Error("the event target was closed"));
    this.#links.clear();
  }

  #publish(channel: string, text: string): Promise<unknown> {
    const slot = slotOf(channel);
    const moving = this.#moving.get(slot);
    if (moving === undefined) return this.#send(slot, channel, text, 0);
    return new Promise((resolve) => {
      moving.later.push(() => resolve(this.#send(slot, channel, text, 0)));
    });
  }

  #send(slot: number, channel: string, text: string, moves: number): Promise<unknown> {
    const name = this.#map.owner(slot);
    if (name === undefined || this.#closed)
      return Promise.reject(
        new PubSubError("INTERRUPTED", "The event was not published: no node is known that has its slot."),
      );
    const link = this.#links.get(name) ?? this.link(name);
    link.used = true;
    if (link.ready && link.side.ready) return this.#sendOver(link, slot, channel, text, moves);
    if (link.lost !== undefined) return Promise.reject(notSent(link.lost.cause));
    return new Promise((resolve, reject) => {
      link.waiting.push({ send: () => resolve(this.#sendOver(link, slot, channel, text, moves)), reject });
    });
  }

  #sendOver(link: Link, slot: number, channel: string, text: string, moves: number): Promise<unknown> {
    return link.connection.publish(channel, text).then(
      () => link.side.heard(),
      (error: unknown) => {
        if (link.over || !link.connection.ready) throw interruption(error);
        const moved = movedTo(describe(error), addressOf(link.name));
        if (moved === undefined || moves >= MOVES) throw error;
        return new Promise((resolve) => {
          const again = (): void => resolve(this.#send(slot, channel, text, moves + 1));
          this.#movingFrom(link, slot, moved.name, moves).again.push(again);
        });
      },
    );
  }

  #movingFrom(link: Link, slot: number, to: string, moves: number): Moving {
    let moving = this.#moving.get(slot);
    if (moving === undefined) {
      const { again, later } = (moving = { again: [], later: [] } as Moving);
      this.#moving.set(slot, moving);
      this.#map.moved(slot, to);
      const flush = (): void => {
        this.#moving.delete(slot);
        for (const send of [...again, ...later]) send();
      };
      // What was sent there before is answered by then. While nodes do not agree, they send us to and fro.
      const answered = (): void => afterArrivals(() => deadline(moves === 0 ? 0 : 5 * 2 ** moves, flush));
      link.ping().then(answered, answered);
    }
    return moving;
  }
}

function notSent(cause: unknown): PubSubError {
  return new PubSubError("INTERRUPTED", `The event was not published: ${describe(cause)}.`, { cause });
}

/** A connection that publishes to one master. */
export class Link implements Watched {
  readonly name: string;
  readonly connection: Connection;
  readonly side: Side<Link>;
  readonly waiting: { readonly send: () => void; readonly reject: (error: unknown) => void }[] = [];
  /** Settles with the first attempt. */
  readonly opened: Promise<void>;
  /** Whether anything was to be published there. */
  used = false;
  /** Why it is not there, since one that was used was lost. */
  lost: { readonly cause: unknown } | undefined;
  /** It has ended. */
  over = false;
  readonly #own: OwnClient;
  #giveUp: (cause: unknown) => void = () => undefined;

  constructor(name: string, own: OwnClient, heartbeat: number, owner: LinkOwner) {
    this.name = name;
    this.#own = own;
    this.connection = connectionOfOwn(own, true);
    this.side = new Side<Link>(this, heartbeat);
    this.opened = new Promise((resolve, reject) => {
      this.#giveUp = reject;
      const lost = (cause: unknown): void => {
        if (this.over) return;
        if (this.used) this.lost ??= { cause };
        this.end(cause);
        owner.changed();
      };
      this.side.start({
        ready: () => {
          this.lost = undefined;
          resolve();
          for (const { send } of this.waiting.splice(0)) send();
          owner.changed();
        },
        lost,
        ended: lost,
        failed: (cause) => owner.failed(cause),
        message: () => undefined,
      });
    });
    this.opened.catch(() => undefined);
  }

  get ready(): boolean {
    return !this.over && this.connection.ready;
  }

  /** What `CLUSTER SLOTS` says there. */
  slots(): Promise<unknown> {
    return callOwn(this.#own, "CLUSTER", "SLOTS");
  }

  ping(): Promise<unknown> {
    return this.connection.ping();
  }

  /** @internal */
  start(watcher: Watcher): void {
    // From the first packet on: a node that is not there may not say so.
    watcher.connected();
    this.connection.start(watcher);
  }

  /** @internal */
  stop(): void {
    this.connection.stop();
    endOwn(this.#own);
  }

  /** @internal */
  renew(): void {}

  end(cause: unknown): void {
    if (this.over) return;
    this.over = true;
    this.side.stop();
    for (const { reject } of this.waiting.splice(0)) reject(notSent(cause));
    this.#giveUp(cause);
  }
}
