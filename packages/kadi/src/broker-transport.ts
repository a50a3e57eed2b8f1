import type { KeyObject } from "node:crypto";
import { PayloadError, parseEnvelope, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, Gap, Supports } from "@alkdev/pubsub";
import { waitAfter, withoutPassword } from "@alkdev/pubsub/transport";
import type { Backoff, Receiver, Transport } from "@alkdev/pubsub/transport";
import { connectToBroker, DEFAULT_MESSAGE } from "./broker-client.ts";
import type { BrokerClient, ToolRunner } from "./broker-client.ts";
import { patternOfType, typeOfDelivery } from "./channels.ts";
import { CODES, isObject, RpcError } from "./json-rpc.ts";
import type { Params } from "./json-rpc.ts";

/** Who connects, and how. All times are in milliseconds. */
export interface BrokerTransportOptions {
  readonly privateKey: KeyObject;
  readonly name?: string;
  readonly version?: string;
  readonly description?: string;
  readonly role?: string;
  readonly networks?: readonly string[];
  /** In which one attempt to connect must have come to something. Default 10,000. */
  readonly connectTimeout?: number;
  readonly backoff?: Backoff;
  readonly onRequest?: ToolRunner;
  /** What has to be done in each new session before it counts. A rejection ends the session, and is one of connecting. */
  readonly prepare?: (session: BrokerClient) => Promise<void>;
  /** Notifications that concern no event. */
  readonly onNotification?: (method: string, params: Params) => void;
}

/** Bytes that a message has more than the envelope which it carries, at most. */
const AROUND = 128;

/** Events of one client over sessions at a broker: another one whenever one ends. Types are KADI's channels, ids its networks. */
export class BrokerTransport implements Transport {
  problem: string | undefined;
  /** The same for every session, by the key. */
  agentId: string | undefined;
  readonly #url: string;
  readonly #options: BrokerTransportOptions;
  readonly #ended = new AbortController();
  #receiver: Receiver | undefined;
  #session: BrokerClient | undefined;
  #subscriptions = new Subscriptions();
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #maxMessage = DEFAULT_MESSAGE;

  constructor(url: string, options: BrokerTransportOptions) {
    this.#url = url;
    this.#options = options;
  }

  get supports(): Supports {
    return {
      publishAck: "hop",
      delivery: "at-most-once",
      lossDetection: "disconnect",
      subscribeAck: true,
      overlap: "once",
      patterns: "native",
      echo: true,
      groups: false,
      replay: false,
      maxPayload: this.#maxMessage - AROUND,
    };
  }

  /** Why nothing can be said now; undefined where it can. */
  get away(): string | undefined {
    if (this.#session?.isOpen === true) return undefined;
    return this.problem ?? `the session at ${withoutPassword(this.#url)} has just ended`;
  }

  /** The session that there is; undefined while there is none that is prepared. */
  get session(): BrokerClient | undefined {
    return this.#session;
  }

  async open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    this.#receiver = receiver;
    // For whoever is told that it took too long.
    this.problem = `there is no answer from ${withoutPassword(this.#url)}`;
    try {
      this.#adopt(await this.#connect(signal));
    } catch (error) {
      throw this.#refused(error);
    }
  }

  async #connect(signal: AbortSignal): Promise<BrokerClient> {
    const { prepare, backoff: _, ...options } = this.#options;
    const session = await connectToBroker(this.#url, {
      ...options,
      signal,
      onNotification: (method, params) => this.#told(method, params),
    });
    try {
      this.agentId = session.agentId;
      await prepare?.(session);
      signal.throwIfAborted();
      return session;
    } catch (error) {
      void session.close();
      throw error;
    }
  }

  /** What a broker refuses, with its address. */
  #refused(error: unknown): unknown {
    if (!(error instanceof RpcError)) return error;
    const address = withoutPassword(this.#url);
    const advice =
      error.code === CODES.UNAUTHORISED
        ? " Ask for other networks (networks), or let the broker allow these (its option authorize)."
        : "";
    return new PubSubError("REFUSED", `The broker at ${address} refuses this client: ${error.message}${advice}`, {
      cause: error,
    });
  }

  #adopt(session: BrokerClient): void {
    this.#session = session;
    this.#subscriptions = new Subscriptions();
    this.#maxMessage = session.maxMessage;
    this.#failures = 0;
    this.problem = undefined;
    void session.closed.then(({ code, reason }) => {
      if (this.#session !== session) return;
      this.#session = undefined;
      this.problem = `the session at ${withoutPassword(this.#url)} ended (${code}${reason === "" ? "" : ` ${reason}`})`;
      this.#receiver?.interrupted(new PubSubError("DISCONNECTED", `${capital(this.problem)}.`));
      this.#connectLater();
    });
  }

  #connectLater(): void {
    if (this.#ended.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#connectAgain(), waitAfter(this.#failures, this.#options.backoff));
  }

  async #connectAgain(): Promise<void> {
    try {
      const session = await this.#connect(this.#ended.signal);
      this.#adopt(session);
      this.#receiver?.resumed({ kept: false, replayed: false });
    } catch (error) {
      this.#failures++;
      const refused = this.#refused(error);
      this.problem = refused instanceof Error ? refused.message : String(refused);
      this.#connectLater();
    }
  }

  subscribe(filter: Filter): Promise<void> {
    const session = this.#present();
    return this.#subscriptions.add(session, filter);
  }

  unsubscribe(filter: Filter): Promise<void> {
    return this.#subscriptions.delete(this.#present(), filter);
  }

  async publish({ type, id, payload, meta }: EventEnvelope): Promise<void> {
    if (typeof payload === "function" || typeof payload === "symbol")
      throw new PayloadError(type, id, `A ${typeof payload} is not JSON`);
    try {
      const channel = patternOfType(type);
      await this.#present().request("kadi.event.publish", {
        channel,
        data: payload,
        networkId: id,
        ...(meta !== undefined && { meta }),
      });
    } catch (error) {
      if (error instanceof TypeError)
        throw new PayloadError(type, id, `The payload is not JSON: ${error.message.replace(/\.$/, "")}`, {
          cause: error,
        });
      if (error instanceof RpcError && error.code === CODES.UNAVAILABLE)
        throw new PubSubError("INTERRUPTED", error.message, { cause: error });
      if (!(error instanceof PubSubError)) throw error;
      const { code, message } = error;
      if (code === "PAYLOAD")
        throw new PayloadError(type, id, `${message} The payload may have ${this.supports.maxPayload} bytes or so`, {
          cause: error,
        });
      if (code === "DISCONNECTED")
        throw new PubSubError("INTERRUPTED", `${message} The event may have been delivered.`, { cause: error });
      throw error;
    }
  }

  #present(): BrokerClient {
    if (this.#session?.isOpen === true) return this.#session;
    throw new PubSubError("INTERRUPTED", `The broker is not connected now: ${this.away}.`);
  }

  #told(method: string, params: Params): void {
    if (method === "kadi.event.delivery") this.#delivered(params);
    else if (method === "kadi.event.gap") this.#missed(params);
    else this.#options.onNotification?.(method, params);
  }

  #delivered({ channel, networkId, data = null, agentId, meta }: Params): void {
    let envelope: EventEnvelope;
    try {
      envelope = parseEnvelope({
        type: typeof channel === "string" ? typeOfDelivery(channel) : channel,
        id: networkId,
        payload: data,
        // Who published is the broker's word, not theirs.
        meta: { ...(isObject(meta) && meta), agentId },
      });
    } catch (error) {
      return this.#receiver?.error(error);
    }
    this.#receiver?.deliver(envelope);
  }

  #missed({ networkId, ...gap }: Params): void {
    // One that names no network may be of any.
    for (const filter of this.#subscriptions.filters)
      if (networkId === undefined || filter.id === undefined || filter.id === networkId)
        this.#receiver?.gap(gap as unknown as Gap, filter);
  }

  async close(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#timer);
    const session = this.#session;
    this.#session = undefined;
    await session?.close();
  }
}

/** One channel or pattern in one network, for as many filters as need it. */
interface Held {
  readonly channel: string;
  readonly networkId: string;
  readonly filters: Set<Filter>;
  readonly live: Promise<unknown>;
}

/** What one session is subscribed to. A filter without an id is one in each network, and may share them with others. */
class Subscriptions {
  readonly #held = new Map<string, Held>();
  readonly #filters = new Map<Filter, readonly string[]>();

  get filters(): Iterable<Filter> {
    return this.#filters.keys();
  }

  async add(session: BrokerClient, filter: Filter): Promise<void> {
    const channel = patternOfType(filter.type);
    const networks = filter.id === undefined ? session.networks : [filter.id];
    const keys: string[] = [];
    this.#filters.set(filter, keys);
    try {
      await Promise.all(
        networks.map((networkId) => {
          // No channel has a colon.
          const key = `${channel}:${networkId}`;
          keys.push(key);
          let held = this.#held.get(key);
          if (held === undefined) {
            const live = session.request("kadi.event.subscribe", { channels: [channel], networkId });
            this.#held.set(key, (held = { channel, networkId, filters: new Set(), live }));
          }
          held.filters.add(filter);
          return held.live;
        }),
      );
    } catch (error) {
      await this.delete(session, filter);
      throw error;
    }
  }

  async delete(session: BrokerClient, filter: Filter): Promise<void> {
    const keys = this.#filters.get(filter) ?? [];
    this.#filters.delete(filter);
    await Promise.all(
      keys.map(async (key) => {
        const held = this.#held.get(key);
        if (held?.filters.delete(filter) !== true || held.filters.size > 0) return;
        this.#held.delete(key);
        const { channel, networkId } = held;
        await session.request("kadi.event.unsubscribe", { channels: [channel], networkId });
      }),
    );
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
