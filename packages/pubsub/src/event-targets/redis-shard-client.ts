/**
 * A connection of our own that subscribes to sharded channels, whichever client it is over.
 *
 * When a slot goes to another node, the one that had it takes the channels away that are subscribed to there: it sends a
 * `sunsubscribe` that nobody asked for. Where other answers are due, the clients take it for one of them. So what is
 * asked is followed by a question whose answer tells, and where answers were mixed up the connection is given up.
 */
import { describe } from "../errors.ts";
import { callOwn, connectionOfOwn, endOwn } from "./redis-cluster-client.ts";
import type { IoRedisNode, NodeRedisNode, OwnClient } from "./redis-cluster-client.ts";
import type { Connection, Watcher } from "./redis-client.ts";
import { rangesOf, slotOf } from "./redis-slots.ts";

export interface ShardWatcher extends Watcher {
  /** The server has taken these away. */
  taken(names: readonly string[]): void;
  /** Something was taken away; `settle` finds out what. */
  doubtful(): void;
}

export interface ShardClient {
  readonly ready: boolean;
  /** What the server holds for us, as far as it was answered. */
  readonly held: ReadonlySet<string>;
  start(watcher: ShardWatcher): void;
  subscribe(name: string): Promise<unknown>;
  unsubscribe(name: string): Promise<unknown>;
  /** Whether the node is the master of a slot, as it says itself; only while nothing is held. */
  view(): Promise<(slot: number) => boolean>;
  /**
   * Resolves once all that was asked has been answered; not to be called again before. Rejects where answers were mixed
   * up, so that nobody knows what the server holds.
   */
  settle(): Promise<void>;
  end(): void;
}

export function shardClientOver(own: OwnClient): ShardClient {
  return own.kind === "ioredis" ? new IoRedisShard(own.client) : new NodeRedisShard(own.client);
}

const MIXED_UP = "a subscription was taken away in the middle of other answers";

/** What both clients have in common. */
abstract class Settling implements ShardClient {
  readonly held = new Set<string>();
  readonly #own: OwnClient;
  readonly #connection: Connection;
  #asked: Promise<unknown>[] = [];
  /** Asked for, and whether taken away again before it is known here that it was confirmed: both may come in one piece. */
  readonly #asking = new Map<string, { taken: boolean }>();
  /** How many were taken away since `last` was asked: after its answer, else nobody would have been told. */
  protected takenSince = 0;
  protected watcher: ShardWatcher | undefined;

  constructor(own: OwnClient) {
    this.#own = own;
    this.#connection = connectionOfOwn(own, true);
  }

  get ready(): boolean {
    return this.#connection.ready;
  }

  start(watcher: ShardWatcher): void {
    this.watcher = watcher;
    this.#connection.start(watcher);
  }

  end(): void {
    this.watcher = undefined;
    this.#connection.stop();
    endOwn(this.#own);
  }

  subscribe(name: string): Promise<unknown> {
    const asking = { taken: false };
    this.#asking.set(name, asking);
    const asked = this.ask(name).then(() => {
      if (!asking.taken) this.held.add(name);
    });
    return this.#follow(asked.finally(() => this.#asking.delete(name)));
  }

  unsubscribe(name: string): Promise<unknown> {
    return this.#follow(this.leave(name).then(() => this.held.delete(name)));
  }

  #follow(asked: Promise<unknown>): Promise<unknown> {
    this.#asked.push(asked);
    return asked;
  }

  async view(): Promise<(slot: number) => boolean> {
    const [id, slots] = await Promise.all([
      callOwn(this.#own, "CLUSTER", "MYID"),
      callOwn(this.#own, "CLUSTER", "SLOTS"),
    ]);
    const ranges = rangesOf(slots).filter((range) => range.id === String(id));
    return (slot) => ranges.some(({ from, to }) => slot >= from && slot <= to);
  }

  async settle(): Promise<void> {
    const asked = this.#asked;
    this.#asked = [];
    this.takenSince = 0;
    await this.last();
    await Promise.allSettled(asked);
    await this.check();
  }

  protected take(names: readonly string[]): void {
    for (const name of names) {
      const asking = this.#asking.get(name);
      if (asking !== undefined) asking.taken = true;
      if (this.held.delete(name) || asking !== undefined) this.takenSince++;
    }
    this.watcher?.taken(names);
  }

  protected abstract ask(name: string): Promise<unknown>;
  protected abstract leave(name: string): Promise<unknown>;
  /** Asks what is answered after all else. */
  protected abstract last(): Promise<void>;
  /** Once all is answered: whether that can be. */
  protected abstract check(): Promise<void> | void;
}

class IoRedisShard extends Settling {
  readonly #client: IoRedisNode;
  /** ioredis 5 never settles what was answered with MOVED. */
  readonly #unanswered = new Set<() => void>();
  /** How often ioredis has said that a slot is elsewhere: of something that was refused, or, only 6, taken away. */
  #moved = 0;
  #refused = 0;
  #settling = false;
  #pings = 0;

  constructor(client: IoRedisNode) {
    super({ kind: "ioredis", client });
    this.#client = client;
  }

  override start(watcher: ShardWatcher): void {
    super.start(watcher);
    const client = this.#client;
    client.on("smessage", (name: string, text: string) => this.watcher?.message(name, false, text));
    client.on("moved", () => {
      this.#moved++;
      if (!this.#settling) this.watcher?.doubtful();
    });
    // ioredis 5, of an answer to nothing.
    client.on("error", (error: unknown) => {
      const [, name] = /queue state error.* Last reply: sunsubscribe,([^]*),\d+$/.exec(describe(error)) ?? [];
      if (name !== undefined) this.take([name]);
      else if (describe(error).includes("queue state error")) this.watcher?.lost(new Error(MIXED_UP));
    });
  }

  protected ask(name: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const refuse = (error: unknown): void => {
        if (!this.#unanswered.delete(moved)) return;
        if (describe(error).startsWith("MOVED")) this.#refused++;
        reject(error);
      };
      const moved = (): void => refuse(new Error("MOVED"));
      this.#unanswered.add(moved);
      this.#client.ssubscribe(name).then((count) => {
        this.#unanswered.delete(moved);
        resolve(count);
      }, refuse);
    });
  }

  protected leave(name: string): Promise<unknown> {
    return this.#client.sunsubscribe(name);
  }

  protected async last(): Promise<void> {
    this.#settling = true;
    const token = String(++this.#pings);
    const answer = await this.#client.ping(token);
    if (String(Array.isArray(answer) ? answer[1] : answer) !== token) throw new Error(MIXED_UP);
    for (const moved of [...this.#unanswered]) moved();
  }

  protected async check(): Promise<void> {
    try {
      if (this.#moved > this.#refused) await this.#identify();
      this.#moved = this.#refused = 0;
    } finally {
      this.#settling = false;
    }
  }

  /** ioredis 6 does not say what was taken away: all that the node has no slot for any more. */
  async #identify(): Promise<void> {
    const isThere = await this.view();
    const gone = [...this.held].filter((name) => !isThere(slotOf(name)));
    if (gone.length !== this.#moved - this.#refused) throw new Error(MIXED_UP);
    this.take(gone);
  }
}

class NodeRedisShard extends Settling {
  readonly #client: NodeRedisNode;
  readonly #hear = (text: string, name: string): void => this.watcher?.message(name, false, text);
  #holds = 0;

  constructor(client: NodeRedisNode) {
    super({ kind: "node-redis", client });
    this.#client = client;
  }

  override start(watcher: ShardWatcher): void {
    super.start(watcher);
    // Where no other answer is due.
    this.#client.on("sharded-channel-moved", (name: string) => this.take([name]));
  }

  protected ask(name: string): Promise<unknown> {
    return this.#client.sSubscribe(name, this.#hear);
  }

  protected leave(name: string): Promise<unknown> {
    return this.#client.sUnsubscribe(name, this.#hear);
  }

  protected async last(): Promise<void> {
    const info = String(await this.#client.sendCommand(["CLIENT", "INFO"]));
    this.#holds = Number(/\bssub=(\d+)/.exec(info)?.[1]);
  }

  protected check(): void {
    if (this.#holds !== this.held.size + this.takenSince) throw new Error(MIXED_UP);
  }
}
