/**
 * A broker in memory, and a Transport to it that can be told to promise anything a manifest can say. It proves the core
 * against each kind of broker, with every message and answer under the hand of a scheduler, and is a real transport
 * between the parts of one process.
 */
import type { EventEnvelope } from "../envelope.ts";
import { PubSubError } from "../errors.ts";
import type { PubSubErrorCode } from "../errors.ts";
import type { Filter, Supports, Transport } from "../transport.ts";
import { Broker } from "./memory-broker.ts";
import { Client } from "./memory-client.ts";
import type { Scheduler } from "./scheduler.ts";

/** Options of the broker. */
export interface MemoryBrokerOptions {
  /** Who decides when a message arrives. Default: each in a microtask of its own. */
  readonly scheduler?: Scheduler;
  /** Events that are kept for connections which come back and can replay. Default 1,024. */
  readonly log?: number;
}

/** A broker that lives in this process. */
export interface MemoryBroker {
  readonly scheduler: Scheduler;
  /** Connections that the broker knows. */
  readonly connections: number;
  /** Filters that it holds, those of all connections together. */
  readonly filters: number;
  /** Asked about each subscription and each event; a code refuses it. Default: all is allowed. */
  authorize: ((action: "subscribe" | "publish", topic: Filter) => PubSubErrorCode | undefined) | undefined;
  /** Cuts every connection, and forgets every subscription and every event that was not `stored`. */
  restart(): void;
}

/** Options of one connection. */
export interface MemoryTransportOptions {
  /**
   * What differs from the default: `publishAck: 'hop'`, `delivery: 'at-most-once'`, `lossDetection: 'disconnect'`,
   * `subscribeAck: true`, `overlap: 'once'`, `patterns: 'native'`, no echo, no groups, no replay, no `maxPayload`.
   */
  readonly supports?: Partial<Supports>;
  /** Milliseconds that each message takes longer, both ways. Default 0. Needs a scheduler that knows time. */
  readonly delay?: number;
}

/** How a connection comes back, as far as the manifest and the broker's memory allow. */
export interface Resumption {
  /** The broker still has the subscriptions. Default false. */
  readonly kept?: boolean;
  /** It sends again what was missed. Default false. */
  readonly replayed?: boolean;
}

/** One connection to a memory broker, and what the world can do to it. */
export interface MemoryTransport extends Transport {
  /** Whether the connection is there; false before `open`, after a cut and after `close`. */
  readonly connected: boolean;
  publish(envelope: EventEnvelope): Promise<void> | void;
  /** Breaks the connection: what is on its way is lost, both ways. This side notices a step later. */
  cut(cause?: unknown): void;
  /** Nothing arrives any more, in either direction, and nobody is told. */
  freeze(): void;
  /** What was held back arrives. */
  thaw(): void;
  /** Connects again after a cut. Does nothing while connected, or while there is no open target to connect for. */
  reconnect(how?: Resumption): void;
  /**
   * The next events (default 1) for this connection do not reach it: reported where `lossDetection` is `full`; where it is
   * `disconnect` the broker cuts the connection; where it is `none`, that is all.
   */
  lose(count?: number): void;
  /** The broker takes a subscription away. */
  revoke(filter: Filter): void;
  /** The broker ends the connection for good; does nothing before there is one. */
  end(cause: unknown): void;
}

const DEFAULTS: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  overlap: "once",
  patterns: "native",
  echo: false,
  groups: false,
  replay: false,
  maxPayload: undefined,
};

/**
 * Makes a broker; connect to it with `createMemoryTransport`.
 *
 * @example
 * const broker = createMemoryBroker();
 * const target = defineEventTarget(createMemoryTransport(broker));
 */
export function createMemoryBroker(options: MemoryBrokerOptions = {}): MemoryBroker {
  return new Broker(options);
}

/**
 * A connection to a broker of `createMemoryBroker`; it connects when its event target does.
 *
 * @throws PubSubError `INVALID_OPTION` for a manifest that no broker can keep
 * @example
 * const transport = createMemoryTransport(broker, { supports: { replay: true, publishAck: "stored" } });
 * const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
 */
export function createMemoryTransport(broker: MemoryBroker, options: MemoryTransportOptions = {}): MemoryTransport {
  const supports = { ...DEFAULTS, ...options.supports };
  if (supports.groups && (supports.overlap !== "per-filter" || !supports.echo))
    throw new PubSubError(
      "INVALID_OPTION",
      "Groups need overlap 'per-filter' and echo: who is served is the broker's choice, so it has to name the filter, and the publisher's own members wait their turn too.",
    );
  return new Client(broker as Broker, supports, options.delay ?? 0);
}
