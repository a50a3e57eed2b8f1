import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, PayloadError, Supports } from "@alkdev/pubsub";
import {
  checkFilter,
  defineEventTarget,
  isPattern,
  LINKED,
  Matcher,
  Outgoing,
  Session,
} from "@alkdev/pubsub/transport";
import type {
  AlkEventTarget,
  Channel,
  Entry,
  Receiver,
  SessionOptions,
  SessionOwner,
  Transport,
} from "@alkdev/pubsub/transport";

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
  /** Milliseconds that a link has to complete its handshake. Default 10,000. */
  readonly handshake?: number;
  /** Milliseconds of silence after which a link is asked whether it is there. Default: its channel's. */
  readonly heartbeat?: number;
}

/** Options of a hub. */
export interface HubOptions {
  readonly limits?: HubLimits;
  /** Told of malformed frames, closed links and the like. Default: nothing is reported; `status()` counts. */
  readonly onError?: (error: unknown, link: HubLink | undefined) => void;
}

/** One link of a hub, as `status()` shows it. */
export interface HubLinkStatus {
  readonly id: number;
  readonly identity: string | undefined;
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
  /** Events that came in, from links and in process. */
  readonly received: number;
  /** Events that went out to links. */
  readonly sent: number;
  /** Links that were closed because they were too slow. */
  readonly slow: number;
  /** Frames that were malformed. */
  readonly malformed: number;
}

/** A connected link. */
export interface HubLink {
  readonly id: number;
  /** Who is on the other side, as whoever connected it said. */
  readonly identity: string | undefined;
  /** Resolves with the reason once the link is over; never rejects. */
  readonly closed: Promise<PubSubError>;
  close(code: string, message?: string): void;
}

/** A place where links meet: each gets what it subscribed to, its own events included, and nothing else. */
export interface Hub extends AsyncDisposable {
  /** The hub's own place, in process. */
  readonly eventTarget: AlkEventTarget;
  /** Adds a link over any channel. @throws PubSubError `CLOSED`, `LIMIT` */
  connect(channel: Channel, identity?: string): HubLink;
  status(): HubStatus;
  /** Says goodbye to every link. Idempotent. */
  close(): Promise<void>;
}

/**
 * Makes a hub. It is transport only: give it channels (`createHubServer` gives it WebSockets).
 *
 * @example
 * const hub = createHub();
 * hub.connect(workerChannel(new Worker(new URL("./worker.js", import.meta.url))));
 * const pubsub = createPubSub({ eventTarget: hub.eventTarget });
 */
export function createHub(options: HubOptions = {}): Hub {
  return new LinkHub(options);
}

/** Bytes of one frame that a hub takes; undefined where it is none of `createHub`. */
export function frameLimit(hub: Hub): number | undefined {
  return hub instanceof LinkHub ? hub.limits.frame : undefined;
}

/** A subscription of a link. */
interface LinkFilter extends Entry {
  readonly link: Link;
}

const HUB: Supports = { ...LINKED, lossDetection: "full", maxPayload: undefined };

class LinkHub implements Hub {
  readonly eventTarget: AlkEventTarget;
  readonly limits: Required<Omit<HubLimits, "heartbeat">> & Pick<HubLimits, "heartbeat">;
  readonly filters = new Matcher<LinkFilter>();
  readonly links = new Set<Link>();
  readonly onError: HubOptions["onError"];
  readonly #since = Date.now();
  #lastId = 0;
  /** Numbers the events, so that a link with two matching filters is seen to have had one. */
  #event = 0;
  #received = 0;
  sent = 0;
  slow = 0;
  malformed = 0;
  #receiver: Receiver | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: HubOptions) {
    this.onError = options.onError;
    this.limits = {
      links: 10_000,
      subscriptions: 4096,
      patterns: 1024,
      tokens: 8,
      frame: 1024 * 1024,
      buffered: 64 * 1024 * 1024,
      handshake: 10_000,
      ...options.limits,
    };
    const own: Transport = {
      supports: HUB,
      open: (receiver) => {
        this.#receiver = receiver;
      },
      // The core matches for itself; whatever comes in is shown to it.
      subscribe: () => undefined,
      unsubscribe: () => undefined,
      publish: (envelope) => {
        const problem = this.#forward(envelope);
        if (problem !== undefined) throw problem;
      },
      close: () => undefined,
    };
    this.eventTarget = defineEventTarget(own, {
      eager: true,
      ...(this.onError !== undefined && { onError: (error) => this.onError?.(error, undefined) }),
    });
  }

  connect(channel: Channel, identity?: string): HubLink {
    if (this.#closing !== undefined) throw new PubSubError("CLOSED", "This hub was closed. Make a new one.");
    if (this.links.size >= this.limits.links)
      throw new PubSubError("LIMIT", `This hub has ${this.limits.links} links, which is its limit (limits.links).`);
    const link = new Link(this, channel, ++this.#lastId, identity);
    if (!link.isOver) this.links.add(link);
    return link;
  }

  /**
   * An event of a link, for all others, itself and the hub's own place.
   *
   * @returns why it could not be written as JSON, for the publisher: links that needed that have a gap instead
   */
  route(envelope: EventEnvelope): PayloadError | undefined {
    const problem = this.#forward(envelope);
    this.#receiver?.deliver(envelope);
    return problem;
  }

  #forward(envelope: EventEnvelope): PayloadError | undefined {
    this.#received++;
    const hit = this.filters.match(envelope.type, envelope.id);
    if (hit === undefined) return undefined;
    const event = ++this.#event;
    const outgoing = new Outgoing(envelope);
    if (!isList(hit)) hit.link.forward(outgoing, event);
    else
      for (let i = 0, n = hit.length; i < n; i++) {
        const filter = hit[i];
        if (filter?.active === true) filter.link.forward(outgoing, event);
      }
    return outgoing.problem;
  }

  status(): HubStatus {
    const links = Array.from(this.links, (link) => link.status());
    return {
      since: this.#since,
      links,
      subscriptions: links.reduce((sum, link) => sum + link.subscriptions, 0),
      received: this.#received,
      sent: this.sent,
      slow: this.slow,
      malformed: this.malformed,
    };
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const link of [...this.links]) link.close("CLOSED", "The hub was closed.");
    await this.eventTarget.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class Link implements HubLink, SessionOwner {
  readonly id: number;
  readonly identity: string | undefined;
  readonly closed: Promise<PubSubError>;
  isOver = false;
  readonly #hub: LinkHub;
  readonly #session: Session;
  readonly #filters = new Map<number, LinkFilter>();
  readonly #since = Date.now();
  #patterns = 0;
  #lastEvent = 0;
  #received = 0;
  #sent = 0;
  #markClosed!: (cause: PubSubError) => void;
  #handshake: ReturnType<typeof setTimeout> | undefined;

  constructor(hub: LinkHub, channel: Channel, id: number, identity: string | undefined) {
    this.#hub = hub;
    this.id = id;
    this.identity = identity;
    this.closed = new Promise((resolve) => (this.#markClosed = resolve));
    const { frame, buffered, heartbeat, handshake } = hub.limits;
    const options: SessionOptions = {
      echo: true,
      maxFrame: frame,
      maxBuffered: buffered,
      ...(heartbeat !== undefined && { heartbeat }),
    };
    this.#handshake = setTimeout(
      () => this.close("HANDSHAKE", `No handshake within ${handshake} ms. This hub speaks the link protocol.`),
      handshake,
    );
    this.#handshake.unref();
    this.#session = new Session(channel, this, options);
  }

  /** Sends an event, once however many of its filters match. */
  forward(outgoing: Outgoing, event: number): void {
    if (this.#lastEvent === event || this.isOver) return;
    this.#lastEvent = event;
    try {
      this.#session.forward(outgoing);
    } catch (error) {
      // No JSON, or too large for what this link takes: it is told that something is missing.
      const now = Date.now();
      this.#session.sendGap(undefined, { reason: "overflow", since: now, until: now, lost: 1 });
      return this.error(error);
    }
    this.#hub.sent++;
    this.#sent++;
  }

  status(): HubLinkStatus {
    return {
      id: this.id,
      identity: this.identity,
      since: this.#since,
      subscriptions: this.#filters.size,
      received: this.#received,
      sent: this.#sent,
      buffered: this.#session.buffered,
    };
  }

  close(code: string, message?: string): void {
    this.#session.close(code, message);
  }

  // ------------------------------------------------------------------------------------- what the session calls

  welcomed(): void {
    clearTimeout(this.#handshake);
  }

  restarted(): void {
    this.#dropFilters();
  }

  event(envelope: EventEnvelope): PayloadError | undefined {
    this.#received++;
    return this.#hub.route(envelope);
  }

  subscribe(ref: number, filter: Filter): void {
    const { subscriptions, patterns, tokens } = this.#hub.limits;
    checkFilter(filter);
    if (filter.group !== undefined) throw new PubSubError("UNSUPPORTED", "This hub has no groups.");
    if (this.#filters.has(ref)) throw new PubSubError("REFUSED", `The reference ${ref} is in use.`);
    if (this.#filters.size >= subscriptions)
      throw new PubSubError(
        "LIMIT",
        `A link may have ${subscriptions} subscriptions; use a pattern, or raise limits.subscriptions.`,
      );
    if (isPattern(filter.type)) {
      if (this.#patterns >= patterns)
        throw new PubSubError(
          "LIMIT",
          `A link may have ${patterns} patterns; use wider ones, or raise limits.patterns.`,
        );
      if (filter.type.split(".").length > tokens)
        throw new PubSubError(
          "LIMIT",
          `A pattern may have ${tokens} tokens; use ** at the end, or raise limits.tokens.`,
        );
      this.#patterns++;
    }
    const entry: LinkFilter = { ...filter, link: this, active: false, order: 0 };
    this.#filters.set(ref, entry);
    this.#hub.filters.add(entry);
  }

  unsubscribe(ref: number): void {
    const entry = this.#filters.get(ref);
    if (entry === undefined) return;
    this.#filters.delete(ref);
    if (isPattern(entry.type)) this.#patterns--;
    this.#hub.filters.delete(entry);
  }

  gap(): void {
    // A spoke's own losses concern its own subscribers; a hub has asked it for nothing.
  }

  revoked(): void {
    // As above.
  }

  error(error: unknown): void {
    if (error instanceof PubSubError && error.code === "MALFORMED") this.#hub.malformed++;
    this.#hub.onError?.(error, this);
  }

  over(cause: PubSubError): void {
    this.isOver = true;
    if (cause.code === "OVERFLOW") this.#hub.slow++;
    clearTimeout(this.#handshake);
    this.#dropFilters();
    this.#hub.links.delete(this);
    this.#markClosed(cause);
  }

  #dropFilters(): void {
    for (const entry of this.#filters.values()) this.#hub.filters.delete(entry);
    this.#filters.clear();
    this.#patterns = 0;
  }
}

function isList(hit: LinkFilter | readonly LinkFilter[]): hit is readonly LinkFilter[] {
  return Array.isArray(hit);
}
