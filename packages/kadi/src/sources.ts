import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import type { TransportName } from "./client-api.ts";

/** Where events come from: a client's own place, a child process, a broker. */
export interface Source {
  readonly name: string;
  /** As messages call it, where the name says too little: a broker's address. */
  readonly title?: string;
  readonly transport: TransportName;
  readonly eventTarget: AlkEventTarget;
}

/** Whoever wants the events of all sources, those that are added later too. */
export interface Follower {
  /** Resolves when every event that is published there after this arrives. */
  attach(source: Source): Promise<void>;
  detach(source: Source): void;
}

/**
 * The sources of one client: its own events and its abilities'. Followers are the client's subscriptions, the pipe to the process
 * that started it, and the sources of a client that has loaded this one natively. So every source has one name on every
 * way that leads to it, and its events arrive once.
 */
export class Sources implements Follower {
  /** How often each was added. */
  readonly #sources = new Map<AlkEventTarget, { readonly source: Source; count: number; attached: Promise<void> }>();
  readonly #followers = new Set<Follower>();

  /** Resolves when all followers hear it. Added again, it needs to be detached as often. */
  async attach(source: Source): Promise<void> {
    const known = this.#sources.get(source.eventTarget);
    if (known !== undefined) {
      known.count++;
      return known.attached;
    }
    const attached = Promise.all([...this.#followers].map((follower) => follower.attach(source))).then(() => undefined);
    attached.catch(() => undefined);
    this.#sources.set(source.eventTarget, { source, count: 1, attached });
    try {
      await attached;
    } catch (error) {
      this.detach(source);
      throw error;
    }
  }

  detach(source: Source): void {
    const known = this.#sources.get(source.eventTarget);
    if (known === undefined || --known.count > 0) return;
    this.#sources.delete(source.eventTarget);
    for (const follower of this.#followers) follower.detach(known.source);
  }

  /** Resolves when the follower hears all that there are, with what ends that. */
  async follow(follower: Follower): Promise<() => void> {
    this.#followers.add(follower);
    const stop = (): void => {
      if (!this.#followers.delete(follower)) return;
      for (const { source } of this.#sources.values()) follower.detach(source);
    };
    try {
      await Promise.all([...this.#sources.values()].map(({ source }) => follower.attach(source)));
    } catch (error) {
      stop();
      throw error;
    }
    return stop;
  }
}
