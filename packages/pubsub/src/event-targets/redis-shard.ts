import { describe } from "../errors.ts";
import { shardClientOver } from "./redis-shard-client.ts";
import type { ShardClient } from "./redis-shard-client.ts";
import type { OwnClient } from "./redis-cluster-client.ts";
import type { Watcher } from "./redis-client.ts";
import { refusalOf } from "./redis-messages.ts";
import { Side } from "./redis-side.ts";
import type { Watched } from "./redis-side.ts";
import { slotOf } from "./redis-slots.ts";

/** Told of what becomes of a shard. */
export interface ShardOwner {
  message(name: string, text: string): void;
  /** These were held, and are no more. */
  taken(shard: Shard, names: readonly string[]): void;
  /** The connection is gone, and all that it held; what was being asked rejects. Once. */
  lost(shard: Shard, names: readonly string[], cause: unknown): void;
  failed(cause: unknown): void;
}

const GONE = "the connection is gone";
const NO_MASTER = "the node is not the master of the slot any more";

/** What somebody wants to be so at the server, and waits for. */
interface Wish {
  readonly held: boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** The connection that subscribes at one master. What is asked in one round is answered before the next one begins. */
export class Shard implements Watched {
  /** Of the master. */
  readonly name: string;
  readonly #client: ShardClient;
  readonly #side: Side<Shard>;
  readonly #owner: ShardOwner;
  readonly #wishes = new Map<string, Wish>();
  #rounds: Promise<void> | undefined;
  #doubtful = false;
  #over = false;

  constructor(name: string, client: OwnClient, heartbeat: number, owner: ShardOwner) {
    this.name = name;
    this.#client = shardClientOver(client);
    this.#owner = owner;
    this.#side = new Side<Shard>(this, heartbeat);
    this.#side.start({
      ready: () => void this.ping(),
      lost: (cause) => this.#lose(cause),
      ended: (cause) => this.#lose(cause),
      failed: (cause) => owner.failed(cause),
      message: (channel, _, text) => owner.message(channel, text),
    });
  }

  get ready(): boolean {
    return this.#client.ready;
  }

  /** Whether nobody needs it. */
  get idle(): boolean {
    return this.#wishes.size === 0 && this.#client.held.size === 0;
  }

  /** Resolves when the server has confirmed. @throws what the server says; `Lost` where it cannot be asked, or is not who to ask */
  subscribe(name: string): Promise<void> {
    return this.#wish(name, true);
  }

  unsubscribe(name: string): Promise<void> {
    return this.#wish(name, false);
  }

  #wish(name: string, held: boolean): Promise<void> {
    if (this.#over) return Promise.reject(new Lost(GONE));
    return new Promise((resolve, reject) => {
      // Whoever wanted something else does not any more.
      this.#wishes.get(name)?.resolve();
      this.#wishes.set(name, { held, resolve, reject });
      void this.ping();
    });
  }

  /** @internal */
  start(watcher: Watcher): void {
    // From the first packet on: a node that is not there may not say so.
    watcher.connected();
    this.#client.start({
      ...watcher,
      taken: (names) => this.#owner.taken(this, names),
      doubtful: () => {
        this.#doubtful = true;
        void this.ping();
      },
    });
  }

  /** Asks for whatever is wished, and for a sign of life. @internal */
  ping(): Promise<void> {
    return (this.#rounds ??= this.#settle());
  }

  async #settle(): Promise<void> {
    // What is wished in one tick is asked at once.
    await Promise.resolve();
    try {
      while (this.ready && !this.#over) {
        this.#doubtful = false;
        await this.#round();
        if (!this.#doubtful && this.#wishes.size === 0) break;
      }
    } catch (error) {
      this.#lose(error);
    } finally {
      // At once: what is wished from now on begins a round of its own.
      this.#rounds = undefined;
    }
  }

  async #round(): Promise<void> {
    const wishes = [...this.#wishes];
    const problems = new Map<string, unknown>();
    const { held } = this.#client;
    // Who has become a replica has taken all away, but takes new ones: it would hear of events by the way between nodes.
    const view = held.size === 0 && wishes.length > 0 ? this.#client.view() : undefined;
    for (const [name, wish] of wishes)
      if (held.has(name) !== wish.held)
        (wish.held ? this.#client.subscribe(name) : this.#client.unsubscribe(name)).catch((error: unknown) =>
          problems.set(name, error),
        );
    const [isThere] = await Promise.all([view, this.#client.settle()]);
    if (isThere !== undefined && ![...held].every((name) => isThere(slotOf(name)))) throw new Lost(NO_MASTER);
    this.#side.heard();
    for (const [name, wish] of wishes) {
      if (this.#wishes.get(name) !== wish) continue;
      this.#wishes.delete(name);
      if (problems.has(name)) wish.reject(problems.get(name));
      // Taken away as soon as it was confirmed.
      else if (wish.held && !held.has(name)) wish.reject(new Lost(NO_MASTER));
      else wish.resolve();
    }
  }

  #lose(cause: unknown): void {
    if (this.#over) return;
    const held = [...this.#client.held];
    this.end(refusalOf(cause)?.cause);
    this.#owner.lost(this, held, cause);
  }

  /** @internal */
  renew(): void {}

  /** @internal */
  stop(): void {
    this.#client.end();
  }

  end(cause: unknown = new Lost(GONE)): void {
    if (this.#over) return;
    this.#over = true;
    this.#side.stop();
    for (const { reject } of this.#wishes.values()) reject(cause);
    this.#wishes.clear();
  }
}

/** There was no answer of the right one. */
class Lost extends Error {}

/** Whether it may be otherwise in a moment, at this node or another one. */
export function isPassing(error: unknown): boolean {
  return error instanceof Lost || /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN|LOADING|MASTERDOWN)\b/.test(describe(error));
}
