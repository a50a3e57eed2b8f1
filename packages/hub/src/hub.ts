import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, PayloadError, Supports } from "@alkdev/pubsub";
import {
  checkFilter,
  coreOf,
  defineEventTarget,
  filterKey,
  LINKED,
  Matcher,
  matchesType,
  Outgoing,
} from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Channel, Receiver, Session, Transport } from "@alkdev/pubsub/transport";
import { Backplane } from "./backplane.ts";
import type { Grant } from "./grants.ts";
import type { ConnectOptions, Hub, HubLimits, HubLink, HubOptions, HubStatus, Taker } from "./hub-api.ts";
import { GroupFilter } from "./hub-group.ts";
import type { Member } from "./hub-group.ts";
import { Link } from "./hub-link.ts";
import type { LinkFilter } from "./hub-link.ts";

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
  const host = globalThis as {
    process?: { emitWarning?: (message: string) => void };
    reportError?: (error: unknown) => void;
  };
  const message = `onError of the hub threw: ${String(thrown)}`;
  if (host.process?.emitWarning !== undefined) host.process.emitWarning(message);
  // In a browser, where that ends nothing.
  else host.reportError?.(new Error(message, { cause: thrown }));
}

/** Bytes of one frame that a hub takes; undefined where it is none of `createHub`. */
export function frameLimit(hub: Hub): number | undefined {
  return hub instanceof LinkHub ? hub.limits.frame : undefined;
}

/** @throws PubSubError `INVALID_OPTION` where it is none of `createHub` */
export function linkHub(hub: Hub): LinkHub {
  if (hub instanceof LinkHub) return hub;
  throw new PubSubError("INVALID_OPTION", "events need a hub that createHub() of this package made.");
}

const HUB: Supports = { ...LINKED, lossDetection: "full", groups: true, maxPayload: undefined };

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
  /** What goes to somebody else than the subscribers, in the order of asking. */
  readonly #diversions: { readonly type: string; readonly taker: Taker }[] = [];
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
    this.#backplane =
      backplane &&
      new Backplane(
        backplane,
        (envelope) => void this.#route(envelope),
        (type) => this.diverts(type),
      );
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
        const taker = this.#taker(envelope.type);
        if (taker !== undefined) {
          taker(envelope, undefined);
          return;
        }
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

  divert(type: string, taker: Taker): () => void {
    checkFilter({ type });
    const diversion = { type, taker };
    this.#diversions.push(diversion);
    return () => {
      const at = this.#diversions.indexOf(diversion);
      if (at >= 0) this.#diversions.splice(at, 1);
    };
  }

  /** Whether events of a type go to a taker in the place of their subscribers. */
  diverts(type: string): boolean {
    return this.#taker(type) !== undefined;
  }

  #taker(type: string): Taker | undefined {
    if (this.#diversions.length === 0) return undefined;
    return this.#diversions.find((each) => matchesType(each.type, type))?.taker;
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
  publish(envelope: EventEnvelope, link: Link): PubSubError | undefined | Promise<PubSubError | undefined> {
    this.#received++;
    const taker = this.#taker(envelope.type);
    if (taker !== undefined) return this.#divert(taker, envelope, link);
    if (this.#backplane !== undefined) return this.#backplane.publish(envelope);
    const problem = this.#route(envelope);
    this.#receiver?.deliver(envelope);
    return problem;
  }

  #divert(taker: Taker, envelope: EventEnvelope, link: Link): PubSubError | undefined {
    try {
      taker(envelope, link);
      return undefined;
    } catch (error) {
      if (error instanceof PubSubError) return error;
      // Its own mistake must not end the link, whose publisher learns no more than that.
      this.report(error, link);
      return new PubSubError("REFUSED", "Whoever takes this event at the hub failed.");
    }
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
