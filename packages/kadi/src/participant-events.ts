import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { PubSubError } from "@alkdev/pubsub";
import type { Bus, Listening } from "./bus.ts";
import { channelOfType, typeOfChannel, typeOfPattern } from "./channels.ts";
import { CODES, RpcError } from "./json-rpc.ts";
import type { Params } from "./json-rpc.ts";

/** The network of those that name none. */
export const GLOBAL = "global";

/** An event on its way to whoever subscribed. */
export interface Delivery {
  readonly channel: string;
  readonly data: unknown;
  readonly networkId: string;
  /** Who published it, as the broker knows them. */
  readonly agentId: string;
  /** What the publisher sent beside the data; for event targets, which have more to say. */
  readonly meta?: Params | undefined;
}

/** What is told of events. */
export interface EventSide {
  delivered(event: Delivery): void;
  /** Events of this network may be missing here. */
  gap(gap: Gap & { readonly networkId: string }): void;
  /** The broker can no longer do what it has promised. */
  failed(error: unknown): void;
}

/** An event on the bus. */
interface BusEvent {
  readonly event: string;
  readonly agentId: string;
  readonly data: unknown;
  readonly meta?: Params | undefined;
}

/** What a participant publishes and is subscribed to, in the networks that it has joined. */
export class ParticipantEvents {
  readonly #bus: Bus;
  /** How many subscriptions it may have. */
  readonly #limit: number;
  readonly #agentId: string;
  readonly #networks: () => readonly string[];
  readonly #side: EventSide;
  readonly #once: (envelope: EventEnvelope, name: string) => boolean;
  readonly #subscriptions = new Map<string, Listening>();
  readonly #publishing = new Set<Promise<void>>();
  /** The last gap of each network. */
  readonly #gaps = new Map<string, string>();

  constructor(bus: Bus, limit: number, agentId: string, networks: () => readonly string[], side: EventSide) {
    this.#bus = bus;
    this.#limit = limit;
    this.#agentId = agentId;
    this.#networks = networks;
    this.#side = side;
    this.#once = bus.once();
  }

  /** How many channels and patterns it is subscribed to, each in one network. */
  get size(): number {
    return this.#subscriptions.size;
  }

  /** Resolves when what was published before has been accepted, or refused. */
  async published(): Promise<void> {
    // What is published after the answer does not delay it.
    if (this.#publishing.size > 0) await Promise.all([...this.#publishing]);
  }

  /**
   * Publishes to a network, by default the one that it joined first. Resolves once the event was accepted.
   *
   * @throws RpcError `INVALID_PARAMS`, `UNAUTHORISED`, `UNAVAILABLE`; as a rejection
   */
  async publish(
    channel: string,
    data: unknown,
    network: string = this.#networks()[0] ?? GLOBAL,
    meta?: Params,
  ): Promise<void> {
    const type = typeOfChannel(channel);
    this.#checkJoined(network);
    const event: BusEvent = { event: this.#bus.name(), agentId: this.#agentId, data, meta };
    const accepted = this.#bus.publish(type, network, event);
    const settled = accepted.then(ignore, ignore);
    this.#publishing.add(settled);
    void settled.then(() => this.#publishing.delete(settled));
    try {
      await accepted;
    } catch (error) {
      throw unavailable("publish", error);
    }
  }

  /**
   * Subscribes to channels and patterns of a network, by default of every network that it has joined. Resolves once all
   * are live.
   *
   * @throws RpcError `INVALID_PARAMS`, `UNAUTHORISED`, `LIMIT`, `UNAVAILABLE`; as a rejection, and then none was subscribed
   */
  async subscribe(channels: readonly string[], network?: string): Promise<void> {
    const wanted = this.#wanted(channels, network);
    const added = new Map<string, Listening>();
    const live: Promise<void>[] = [];
    try {
      for (const [key, filter] of wanted) {
        let listening = this.#subscriptions.get(key);
        if (listening === undefined) {
          if (this.#subscriptions.size >= this.#limit)
            throw new RpcError(CODES.LIMIT, `A session may have ${this.#limit} subscriptions (limits.subscriptions).`);
          listening = this.#listen(filter.type, filter.id);
          this.#subscriptions.set(key, listening);
          added.set(key, listening);
        }
        if (listening.live !== undefined) live.push(listening.live);
      }
      await Promise.all(live);
    } catch (error) {
      // Others may have left and subscribed again meanwhile.
      for (const [key, listening] of added) if (this.#subscriptions.get(key) === listening) this.#stop(key);
      throw error instanceof RpcError ? error : unavailable("subscribe", error);
    }
  }

  unsubscribe(channels: readonly string[], network?: string): void {
    for (const key of this.#wanted(channels, network).keys()) this.#stop(key);
  }

  #wanted(channels: readonly string[], network: string | undefined): Map<string, { type: string; id: string }> {
    const networks = network === undefined ? this.#networks() : [network];
    for (const each of networks) this.#checkJoined(each);
    const wanted = new Map<string, { type: string; id: string }>();
    for (const channel of channels) {
      const type = typeOfPattern(channel);
      // No type has a colon.
      for (const id of networks) wanted.set(`${type}:${id}`, { type, id });
    }
    return wanted;
  }

  #listen(type: string, networkId: string): Listening {
    return this.#bus.listen(
      { type, id: networkId },
      {
        deliver: (envelope) => {
          const { event, agentId, data, meta } = envelope.payload as BusEvent;
          if (this.#once(envelope, event))
            this.#side.delivered({ channel: channelOfType(envelope.type), data, networkId, agentId, meta });
        },
        gap: (gap) => this.#missed(gap, networkId),
        lost: (error) => this.#side.failed(error),
      },
    );
  }

  /** What several subscriptions have missed at once is one loss. */
  #missed(gap: Gap, networkId: string): void {
    const text = JSON.stringify(gap);
    if (this.#gaps.get(networkId) === text) return;
    this.#gaps.set(networkId, text);
    this.#side.gap({ ...gap, networkId });
  }

  #stop(key: string): void {
    this.#subscriptions.get(key)?.stop();
    this.#subscriptions.delete(key);
  }

  #checkJoined(network: string): void {
    if (!this.#networks().includes(network))
      throw new RpcError(CODES.UNAUTHORISED, `This session has not joined the network ${JSON.stringify(network)}.`);
  }

  /** Ends all subscriptions. */
  stop(): void {
    for (const key of [...this.#subscriptions.keys()]) this.#stop(key);
  }
}

/** Why what was asked for could not be done, where the backplane is to blame. */
export function unavailable(what: string, error: unknown): RpcError {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof PubSubError && error.code === "PAYLOAD")
    return new RpcError(CODES.LIMIT, `It cannot be carried between brokers: ${message}`);
  return new RpcError(CODES.UNAVAILABLE, `Cannot ${what}, the backplane failed: ${message}`);
}

function ignore(): void {}
