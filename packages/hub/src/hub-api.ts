// What users of a hub type: its options, limits and figures, and the interfaces of a hub and its links.
import type { EventEnvelope, PubSubError, Status } from "@alkdev/pubsub";
import type { AlkEventTarget, Channel } from "@alkdev/pubsub/transport";
import type { Grant, Granted } from "./grants.ts";

/** What a hub allows one link, and all of them together. */
export interface HubLimits {
  /** Links at the same time. Default 10,000. */
  readonly links?: number;
  /** Subscriptions of one link. Default 4,096. */
  readonly subscriptions?: number;
  /** Subscriptions of one link whose type is a pattern. Default 1,024. */
  readonly patterns?: number;
  /** Tokens of a pattern. Default 8. */
  readonly tokens?: number;
  /** Bytes of one frame. Default 1 MiB. */
  readonly frame?: number;
  /** Bytes that may wait to be sent to one link; a slower one is closed with `SLOW`. Default 64 MiB. */
  readonly buffered?: number;
  /** Events and subscriptions that a link may send in a second; more are refused with `LIMIT`. Default: no limit. */
  readonly rate?: number;
  /** Milliseconds that a link has to complete its handshake. Default 10,000. */
  readonly handshake?: number;
  /** Milliseconds that a link which lost its channel is kept, so that it can come back and miss nothing. 0: not at all. Default 30,000. */
  readonly resumeWindow?: number;
  /** Characters of JSON that are kept for a link meanwhile; with more, it is over and its return is a gap. Default 4 Mi. */
  readonly outbox?: number;
  /** Links that may wait without a channel; the oldest is over first. Default 1,000. */
  readonly detached?: number;
  /** Milliseconds of silence after which a link is asked whether it is there. Default: its channel's. */
  readonly heartbeat?: number;
}

/** Options of a hub. */
export interface HubOptions {
  /**
   * What an identity may publish and subscribe, as filters; asked when a link connects and when it comes back. It must not
   * throw. Default: everything.
   */
  readonly authorize?: (identity: string | undefined) => Grant;
  /**
   * An event target that several hubs share: they are one topic space then. A link's subscription is acknowledged once the
   * backplane has it, its events once the backplane has them, and events come to links only as they return from it. It is
   * not closed with the hub.
   */
  readonly backplane?: AlkEventTarget;
  readonly limits?: HubLimits;
  /** Told of malformed frames, closed links and the like. Default: nothing is reported; `status()` counts. */
  readonly onError?: (error: unknown, link: HubLink | undefined) => void;
}

/** One link of a hub, as `status()` shows it. */
export interface HubLinkStatus {
  readonly id: number;
  readonly identity: string | undefined;
  /** False while it has lost its channel and may come back. */
  readonly attached: boolean;
  /** When it was connected, in milliseconds since 1970. */
  readonly since: number;
  readonly subscriptions: number;
  /** Events that came from it, and events that were sent to it. */
  readonly received: number;
  readonly sent: number;
  /** Bytes that wait to be sent to it. */
  readonly buffered: number;
}

/** A hub's figures. */
export interface HubStatus {
  /** When the hub was made, in milliseconds since 1970. */
  readonly since: number;
  readonly links: readonly HubLinkStatus[];
  readonly subscriptions: number;
  /** Filters that events are matched with: those subscriptions, and one for each group. */
  readonly filters: number;
  /** Events that came in, from links and in process. */
  readonly received: number;
  /** Events that went out to links. */
  readonly sent: number;
  /** Links that were closed because they were too slow. */
  readonly slow: number;
  /** Frames that were malformed. */
  readonly malformed: number;
  /** Where the backplane stands; undefined where there is none. */
  readonly backplane: Status | undefined;
}

/** A connected link. */
export interface HubLink {
  readonly id: number;
  /** Who is on the other side, as whoever connected it said. */
  readonly identity: string | undefined;
  /** False while it has lost its channel and may come back. */
  readonly attached: boolean;
  /** Resolves with the reason once the link is over; never rejects. */
  readonly closed: Promise<PubSubError>;
  /** Calls back when it has lost its channel, and when it is back, until the returned function is called. */
  onAttached(listener: (attached: boolean) => void): () => void;
  /**
   * Sends an event to this link alone, once, if one of its subscriptions (those of groups apart) matches; held like any
   * other while it has no channel.
   *
   * @returns whether one did
   * @throws PayloadError if it cannot be encoded, or is larger than the far end takes
   */
  send(envelope: EventEnvelope): boolean;
  close(code: string, message?: string): void;
}

/**
 * Who takes events in the place of their subscribers.
 *
 * @param link where the event came from; undefined for the hub's own place
 * @throws PubSubError to refuse the event: its publisher is told
 */
export type Taker = (envelope: EventEnvelope, link: HubLink | undefined) => void;

/** Options of `Hub.connect`. */
export interface ConnectOptions {
  /** The far end speaks envelopes only: it gets what is listed here, and what it sends is published. */
  readonly plain?: { readonly subscribe: readonly Granted[] };
}

/** A place where links meet: each gets what it subscribed to, its own events included, and nothing else. */
export interface Hub extends AsyncDisposable {
  /** The hub's own place, in process; with a backplane, the backplane itself. */
  readonly eventTarget: AlkEventTarget;
  /**
   * Adds a link over any channel.
   *
   * @param identity who is on the other side: what `authorize` is asked about, and what a session belongs to
   * @throws PubSubError `CLOSED`, `LIMIT`
   */
  connect(channel: Channel, identity?: string, options?: ConnectOptions): HubLink;
  /**
   * Takes the events of a type, or of those that a pattern matches, out of the hub's routing: what a link publishes, and
   * may publish, goes to the taker and to no subscription, nor to the backplane; whatever of it comes from there is
   * dropped. With `HubLink.send` that is enough to route by more than topics, and to know who published. Of several, the
   * first that matches takes the event.
   *
   * @returns a function that ends it
   * @throws InvalidTopicError
   * @example
   * const stop = hub.divert("mail.*", (envelope, from) => linkOf(envelope.id)?.send({ ...envelope, payload: from?.identity }));
   */
  divert(type: string, taker: Taker): () => void;
  status(): HubStatus;
  /** Says goodbye to every link. Idempotent. */
  close(): Promise<void>;
}
