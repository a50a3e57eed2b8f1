import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, Gap, PayloadError, Status, Supports } from "@alkdev/pubsub";
import { coreOf, defineEventTarget, filterKey, LINKED, Matcher, Outgoing } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Channel, Entry, Receiver, Session, Transport } from "@alkdev/pubsub/transport";
import { Backplane } from "./backplane.ts";
import type { Interested } from "./backplane.ts";
import type { Grant, Granted } from "./grants.ts";
import { Link } from "./hub-link.ts";
import type { LinkFilter } from "./hub-link.ts";

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
  /** Resolves with the reason once the link is over; never rejects. */
  readonly closed: Promise<PubSubError>;
  close(code: string, message?: string): void;
}

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

/** An `onError` that may throw or reject: what listens to errors must not end the process. */
export function safely(onError: HubOptions["onError"]): (error: unknown, link: HubLink | undefined) => void {
  const call = async (error: unknown, link: HubLink | undefined): Promise<void> => {
    try {
      const result: unknown = onError?.(error, link);
      await result;
    } catch (thrown) {
      warn(thrown);
    }
  };
  return (error, link) => void call(error, link);
}

function warn(thrown: unknown): void {
  const { process } = globalThis as { process?: { emitWarning?: (message: string) => void } };
  process?.emitWarning?.(`onError of the hub threw: ${String(thrown)}`);
}

/** Bytes of one frame that a hub takes; undefined where it is none of `createHub`. */
export function frameLimit(hub: Hub): number | undefined {
  return hub instanceof LinkHub ? hub.limits.frame : undefined;
}

const HUB: Supports = { ...LINKED, lossDetection: "full", groups: true, maxPayload: undefined };

/** A member of a group: a link's subscription, or one of the hub's own place. */
export interface Member {
  /** Whether it has lost its channel; others are served first. */
  readonly isAway: boolean;
  serve(outgoing: Outgoing): void;
  gap(gap: Gap): void;
  revoked(error: PubSubError): void;
}

/** The members that share the events of one filter. */
class GroupFilter implements Entry, Interested {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly group: string | undefined;
  readonly members: Member[] = [];
  #turn = 0;

  constructor(filter: Filter) {
    this.type = filter.type;
    this.id = filter.id;
    this.group = filter.group;
  }

  /** Gives an event to the next member; to one that has lost its channel only where all have. */
  serve(outgoing: Outgoing): void {
    const { members } = this;
    for (let i = 0; i < members.length; i++) {
      const member = members[this.#turn++ % members.length];
      if (member?.isAway === false) return member.serve(outgoing);
    }
    members[this.#turn++ % members.length]?.serve(outgoing);
  }

  deliver(envelope: EventEnvelope): void {
    this.serve(new Outgoing(envelope));
  }

  gap(gap: Gap): void {
    for (const member of this.members) member.gap(gap);
  }

  revoked(error: PubSubError): void {
    for (const member of [...this.members]) member.revoked(error);
  }
}

export class LinkHub implements Hub {
  readonly eventTarget: AlkEventTarget;
  readonly limits: Required<Omit<HubLimits, "heartbeat">> & Pick<HubLimits, "heartbeat">;
  readonly report: (error: unknown, link: HubLink | undefined) => void;
  readonly #options: HubOptions;
  readonly #filters = new Matcher<LinkFilter | GroupFilter>();
  readonly #groups = new Map<string, GroupFilter>();
  readonly #links = new Set<Link>();
  /** Links by the session that a returning one names. */
  readonly #sessions = new Map<string, Link>();
  /** What the links' events are known by, and those of the hub's own place. */
  readonly #origins = new Set<string>();
  /** Links without a channel, oldest first. */
  readonly #detached = new Set<Link>();
  readonly #backplane: Backplane | undefined;
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
    this.#options = options;
    this.report = safely(options.onError);
    this.limits = {
      links: 10_000,
      subscriptions: 4096,
      patterns: 1024,
      tokens: 8,
      frame: 1024 * 1024,
      buffered: 64 * 1024 * 1024,
      rate: Infinity,
      handshake: 10_000,
      resumeWindow: 30_000,
      outbox: 4 * 1024 * 1024,
      detached: 1000,
      ...options.limits,
    };
    const { backplane } = options;
    this.#backplane = backplane && new Backplane(backplane, (envelope) => void this.#route(envelope));
    this.eventTarget = backplane ?? this.#ownPlace();
    this.#origins.add(this.eventTarget[coreOf].id);
  }

  #ownPlace(): AlkEventTarget {
    /** The own place's members of groups, by the filter that the core gave. */
    const members = new Map<Filter, Member>();
    const own: Transport = {
      supports: HUB,
      open: (receiver) => {
        this.#receiver = receiver;
      },
      // The core matches for itself; whatever comes in is shown to it. A group is served by the hub.
      subscribe: (filter) => {
        if (filter.group === undefined) return;
        const member: Member = {
          isAway: false,
          serve: (outgoing) => this.#receiver?.deliver(outgoing.envelope, filter),
          gap: (gap) => this.#receiver?.gap(gap, filter),
          revoked: (error) => this.#receiver?.revoked(filter, error),
        };
        members.set(filter, member);
        void this.#join(filter, member);
      },
      unsubscribe: (filter) => {
        const member = members.get(filter);
        members.delete(filter);
        if (member !== undefined) this.#leave(filter, member);
      },
      publish: (envelope) => {
        this.#received++;
        const problem = this.#route(envelope);
        if (problem !== undefined) throw problem;
      },
      close: () => undefined,
    };
    return defineEventTarget(own, {
      eager: true,
      ...(this.#options.onError !== undefined && { onError: (error) => this.report(error, undefined) }),
    });
  }

  connect(channel: Channel, identity?: string, options: ConnectOptions = {}): HubLink {
    if (this.#closing !== undefined) throw new PubSubError("CLOSED", "This hub was closed. Make a new one.");
    // Those without a channel have a limit of their own; and one that comes back must not find its own place taken.
    if (this.#links.size - this.#detached.size >= this.limits.links)
      throw new PubSubError("LIMIT", `This hub has ${this.limits.links} links, which is its limit (limits.links).`);
    const link = new Link(this, channel, ++this.#lastId, identity, options);
    if (!link.isOver) {
      this.#links.add(link);
      this.#origins.add(link.origin);
    }
    return link;
  }

  authorize(identity: string | undefined): Grant {
    return this.#options.authorize?.(identity) ?? {};
  }

  // --------------------------------------------------------------------------------------------- what links call

  /** The session that a returning link names; whoever names it must be who began it. */
  findSession(session: string, identity: string | undefined): Session | undefined {
    const link = this.#sessions.get(session);
    return link !== undefined && link.identity === identity ? link.session : undefined;
  }

  attached(link: Link): void {
    this.#detached.delete(link);
    this.#sessions.set(link.session.id, link);
  }

  /** A link lost its channel. The hub keeps so many of them and no more. */
  keepDetached(link: Link): void {
    this.#detached.add(link);
    for (const oldest of this.#detached) {
      if (this.#detached.size <= this.limits.detached) return;
      oldest.close("EXPIRED");
    }
  }

  gone(link: Link, cause: PubSubError): void {
    if (cause.code === "OVERFLOW") this.slow++;
    this.#links.delete(link);
    this.#origins.delete(link.origin);
    this.#detached.delete(link);
    this.#sessions.delete(link.session.id);
  }

  /**
   * Whether the hub puts a link's own origin in place of this one: it is that of another link, or there is none and the
   * backplane would take the event for the hub's own. Others are left: bridges and hubs pass on what they did not begin.
   */
  mustMark(origin: string | undefined): boolean {
    return origin === undefined ? this.#backplane !== undefined : this.#origins.has(origin);
  }

  /** An event of a link. @returns what refuses it */
  publish(envelope: EventEnvelope): PubSubError | undefined | Promise<PubSubError | undefined> {
    this.#received++;
    if (this.#backplane !== undefined) return this.#backplane.publish(envelope);
    const problem = this.#route(envelope);
    this.#receiver?.deliver(envelope);
    return problem;
  }

  /** @returns what to wait for before the subscription may be acknowledged */
  addFilter(filter: LinkFilter): Promise<void> | undefined {
    if (filter.group !== undefined) return this.#join(filter, filter);
    this.#filters.add(filter);
    return this.#backplane?.acquire(filter);
  }

  removeFilter(filter: LinkFilter): void {
    if (filter.group !== undefined) return this.#leave(filter, filter);
    this.#filters.delete(filter);
    this.#backplane?.release(filter);
  }

  status(): HubStatus {
    const links = Array.from(this.#links, (link) => link.status());
    return {
      since: this.#since,
      links,
      subscriptions: links.reduce((sum, link) => sum + link.subscriptions, 0),
      filters: Array.from(this.#filters.entries()).length,
      received: this.#received,
      sent: this.sent,
      slow: this.slow,
      malformed: this.malformed,
      backplane: this.#options.backplane?.status,
    };
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const link of [...this.#links]) link.close("CLOSED", "The hub was closed.");
    if (this.#backplane === undefined) await this.eventTarget.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Gives an event to every link that wants it.
   *
   * @returns why it could not be written as JSON, for the publisher: links that needed that have a gap instead
   */
  #route(envelope: EventEnvelope): PayloadError | undefined {
    const hit = this.#filters.match(envelope.type, envelope.id);
    if (hit === undefined) return undefined;
    const event = ++this.#event;
    const outgoing = new Outgoing(envelope);
    if (!isList(hit)) serve(hit, outgoing, event);
    else
      for (let i = 0, n = hit.length; i < n; i++) {
        const filter = hit[i];
        if (filter?.active === true) serve(filter, outgoing, event);
      }
    return outgoing.problem;
  }

  #join(filter: Filter, member: Member): Promise<void> | undefined {
    const key = filterKey(filter);
    let group = this.#groups.get(key);
    if (group === undefined) {
      this.#groups.set(key, (group = new GroupFilter(filter)));
      // With a backplane, that serves the group, and gives the hub its share.
      if (this.#backplane === undefined) this.#filters.add(group);
    }
    group.members.push(member);
    return this.#backplane?.acquire(group);
  }

  #leave(filter: Filter, member: Member): void {
    const key = filterKey(filter);
    const group = this.#groups.get(key);
    const at = group?.members.indexOf(member) ?? -1;
    if (group === undefined || at < 0) return;
    group.members.splice(at, 1);
    if (group.members.length > 0) return;
    this.#groups.delete(key);
    this.#filters.delete(group);
    this.#backplane?.release(group);
  }
}

function serve(filter: LinkFilter | GroupFilter, outgoing: Outgoing, event: number): void {
  if (filter instanceof GroupFilter) filter.serve(outgoing);
  else filter.link.forward(outgoing, event);
}

function isList<E extends object>(hit: E | readonly E[]): hit is readonly E[] {
  return Array.isArray(hit);
}
