import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, Gap } from "@alkdev/pubsub";
import {
  checkFilter,
  isPattern,
  matchesFilter,
  Outgoing,
  quietDeadline,
  randomId,
  Session,
} from "@alkdev/pubsub/transport";
import type { Channel, Entry, SessionOptions, SessionOwner } from "@alkdev/pubsub/transport";
import type { Interested } from "./backplane.ts";
import { covers } from "./grants.ts";
import type { Grant } from "./grants.ts";
import type { LinkHub } from "./hub.ts";
import type { ConnectOptions, HubLink, HubLinkStatus } from "./hub-api.ts";
import type { Member } from "./hub-group.ts";
import { Rate } from "./rate.ts";

/** A subscription of a link, as the hub's matcher and its backplane know it. */
export class LinkFilter implements Entry, Interested, Member {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly group: string | undefined;
  readonly link: Link;
  readonly ref: number;

  constructor(filter: Filter, link: Link, ref: number) {
    this.type = filter.type;
    this.id = filter.id;
    this.group = filter.group;
    this.link = link;
    this.ref = ref;
  }

  get isAway(): boolean {
    return !this.link.session.attached;
  }

  serve(outgoing: Outgoing): void {
    this.link.forward(outgoing, undefined, this.ref);
  }

  deliver(envelope: EventEnvelope): void {
    this.link.deliver(envelope, this);
  }

  gap(gap: Gap): void {
    this.link.sendGap(this.ref, gap);
  }

  revoked(error: PubSubError): void {
    this.link.revoke(this.ref, error);
  }
}

/** A link: one session of the hub. */
export class Link implements HubLink, SessionOwner {
  readonly id: number;
  readonly identity: string | undefined;
  readonly closed: Promise<PubSubError>;
  /** The `meta.origin` of this link's events; no other link may use it. */
  readonly origin: string = randomId();
  isOver = false;
  readonly #hub: LinkHub;
  readonly session: Session;
  readonly #filters = new Map<number, LinkFilter>();
  readonly #plain: boolean;
  readonly #since = Date.now();
  readonly #rate: Rate;
  #grant: Grant;
  #patterns = 0;
  /** Why subscriptions were taken away; the word of it may have got lost with a channel. */
  readonly #revoked = new Map<number, PubSubError>();
  readonly #onAttached = new Set<(attached: boolean) => void>();
  /** Where `send` looks first. */
  #sentBy: LinkFilter | undefined;
  #lastEvent = 0;
  #received = 0;
  #sent = 0;
  #markClosed!: (cause: PubSubError) => void;
  readonly #stopHandshake: (() => void) | undefined;

  constructor(hub: LinkHub, channel: Channel, id: number, identity: string | undefined, { plain }: ConnectOptions) {
    this.#hub = hub;
    this.#plain = plain !== undefined;
    this.id = id;
    this.identity = identity;
    this.#grant = hub.authorize(identity);
    this.closed = new Promise((resolve) => (this.#markClosed = resolve));
    const { frame, buffered, heartbeat, handshake, resumeWindow, outbox, rate } = hub.limits;
    this.#rate = new Rate(rate);
    const options: SessionOptions = {
      plain: plain !== undefined,
      echo: true,
      groups: true,
      origin: this.origin,
      maxFrame: frame,
      maxBuffered: buffered,
      resumeWindow,
      maxOutbox: outbox,
      findSession: (session) => hub.findSession(session, identity),
      ...(heartbeat !== undefined && { heartbeat }),
    };
    if (plain === undefined) {
      this.#stopHandshake = quietDeadline(handshake, () =>
        this.close("HANDSHAKE", `No handshake within ${handshake} ms. This hub speaks the link protocol.`),
      );
    }
    this.session = new Session(channel, this, options);
    // A plain link cannot subscribe; it gets what it was granted.
    let ref = 0;
    for (const granted of plain?.subscribe ?? [])
      void this.#add(--ref, typeof granted === "string" ? { type: granted } : granted);
  }

  /**
   * Sends an event.
   *
   * @param event its number, so that a link with several matching filters gets it once; not with `ref`
   * @param ref the one subscription that it is for
   */
  forward(outgoing: Outgoing, event: number | undefined, ref?: number): void {
    if (this.isOver || (event !== undefined && this.#lastEvent === event)) return;
    if (event !== undefined) this.#lastEvent = event;
    try {
      this.session.forward(outgoing, ref);
    } catch (error) {
      // The address makes it larger than it was when it came; where nobody else of this link would get it, it does without.
      if (ref !== undefined && this.#isAlone(ref, outgoing.envelope)) return this.forward(outgoing, undefined);
      // Too large for what this link takes: it is told that something is missing.
      const now = Date.now();
      this.session.sendGap(ref, { reason: "overflow", since: now, until: now, lost: 1 });
      return this.error(error);
    }
    this.#hub.sent++;
    this.#sent++;
  }

  /** Whether this is the one subscription of the link that an event without an address would come to. */
  #isAlone(ref: number, envelope: EventEnvelope): boolean {
    for (const [other, filter] of this.#filters)
      if (other === ref ? filter.group !== undefined : filter.group === undefined && matchesFilter(filter, envelope))
        return false;
    return true;
  }

  get attached(): boolean {
    return this.session.attached;
  }

  onAttached(listener: (attached: boolean) => void): () => void {
    // Its own function each time: the same listener may be given twice.
    const call = (attached: boolean): void => listener(attached);
    this.#onAttached.add(call);
    return () => this.#onAttached.delete(call);
  }

  send(envelope: EventEnvelope): boolean {
    if (this.isOver || !this.#wants(envelope)) return false;
    this.session.forward(new Outgoing(envelope));
    this.#hub.sent++;
    this.#sent++;
    return true;
  }

  #wants(envelope: EventEnvelope): boolean {
    const last = this.#sentBy;
    if (last !== undefined && this.#filters.get(last.ref) === last && matchesFilter(last, envelope)) return true;
    for (const filter of this.#filters.values())
      if (filter.group === undefined && matchesFilter(filter, envelope)) {
        this.#sentBy = filter;
        return true;
      }
    return false;
  }

  /** An event that came for one filter alone; it comes again for each other one that matches. */
  deliver(envelope: EventEnvelope, filter: LinkFilter): void {
    const outgoing = new Outgoing(envelope);
    if (!this.#plain) return this.forward(outgoing, undefined, filter.ref);
    // Plain links know no filters: the first that matches is the one that counts.
    for (const each of this.#filters.values())
      if (matchesFilter(each, envelope)) {
        if (each === filter) this.forward(outgoing, undefined);
        return;
      }
  }

  sendGap(ref: number, gap: Gap): void {
    this.session.sendGap(ref, gap);
  }

  /** Takes a subscription away: the far end's subscribers get the error. */
  revoke(ref: number, error: PubSubError): void {
    this.unsubscribe(ref);
    this.#revoked.set(ref, error);
    for (const oldest of this.#revoked.keys()) {
      if (this.#revoked.size <= MAX_REVOKED) break;
      this.#revoked.delete(oldest);
    }
    this.session.revoke(ref, error.code, error.message);
  }

  status(): HubLinkStatus {
    return {
      id: this.id,
      identity: this.identity,
      attached: this.session.attached,
      since: this.#since,
      subscriptions: this.#filters.size,
      received: this.#received,
      sent: this.#sent,
      buffered: this.session.buffered,
    };
  }

  close(code: string, message?: string): void {
    this.session.close(code, message);
  }

  // ------------------------------------------------------------------------------------- what the session calls

  welcomed(_: unknown, how: string): void {
    this.#stopHandshake?.();
    this.#hub.attached(this);
    this.#tellAttached(true);
    if (how !== "resumed") return;
    // What it may do can have changed since.
    try {
      this.#grant = this.#hub.authorize(this.identity);
    } catch (error) {
      // Who cannot be asked about may do nothing.
      this.#grant = { publish: [], subscribe: [] };
      this.error(error);
    }
    for (const [ref, filter] of this.#filters)
      if (!covers(this.#grant.subscribe, filter)) this.revoke(ref, notGranted("subscribe to", filter));
  }

  detached(_: unknown, replaced: boolean): void {
    if (replaced) return;
    this.#tellAttached(false);
    this.#hub.keepDetached(this);
  }

  #tellAttached(attached: boolean): void {
    for (const listener of [...this.#onAttached])
      try {
        listener(attached);
      } catch (error) {
        this.error(error);
      }
  }

  keep(refs: ReadonlySet<number>): void {
    for (const ref of this.#filters.keys()) if (!refs.has(ref)) this.unsubscribe(ref);
    for (const ref of refs) {
      if (this.#filters.has(ref)) continue;
      const { code, message } = this.#revoked.get(ref) ?? gone();
      this.session.revoke(ref, code, message);
    }
    this.#revoked.clear();
  }

  restarted(): void {
    this.#dropFilters();
  }

  began(): void {
    this.#dropFilters();
  }

  event(envelope: EventEnvelope): PubSubError | undefined | Promise<PubSubError | undefined> {
    this.#received++;
    if (!this.#rate.take()) return this.#tooFast();
    if (!covers(this.#grant.publish, envelope)) return notGranted("publish", envelope);
    return this.#hub.publish(this.#marked(envelope), this);
  }

  /** An event must not pass for that of another link, whose subscriptions may skip its own. */
  #marked(envelope: EventEnvelope): EventEnvelope {
    const origin = envelope.meta?.origin;
    if (origin === this.origin || !this.#hub.mustMark(origin)) return envelope;
    return { ...envelope, meta: { ...envelope.meta, origin: this.origin } };
  }

  subscribe(ref: number, filter: Filter): Promise<void> | void {
    const { subscriptions, patterns, tokens } = this.#hub.limits;
    checkFilter(filter);
    if (!this.#rate.take()) throw this.#tooFast();
    if (!covers(this.#grant.subscribe, filter)) throw notGranted("subscribe to", filter);
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
    }
    return this.#add(ref, filter);
  }

  unsubscribe(ref: number): void {
    const filter = this.#filters.get(ref);
    if (filter === undefined) return;
    this.#filters.delete(ref);
    if (isPattern(filter.type)) this.#patterns--;
    this.#hub.removeFilter(filter);
  }

  gap(): void {
    // A spoke's own losses concern its own subscribers; a hub has asked it for nothing.
  }

  revoked(): void {
    // As above.
  }

  error(error: unknown): void {
    if (error instanceof PubSubError && error.code === "MALFORMED") this.#hub.malformed++;
    this.#hub.report(error, this);
  }

  over(cause: PubSubError): void {
    this.isOver = true;
    this.#stopHandshake?.();
    this.#dropFilters();
    this.#hub.gone(this, cause);
    this.#markClosed(cause);
  }

  #add(ref: number, wanted: Filter): Promise<void> | undefined {
    const filter = new LinkFilter(wanted, this, ref);
    if (isPattern(filter.type)) this.#patterns++;
    this.#filters.set(ref, filter);
    const undo = (error: unknown): never => {
      if (this.#filters.get(ref) === filter) this.unsubscribe(ref);
      throw error;
    };
    try {
      return this.#hub.addFilter(filter)?.catch(undo);
    } catch (error) {
      return undo(error);
    }
  }

  #dropFilters(): void {
    for (const ref of [...this.#filters.keys()]) this.unsubscribe(ref);
  }

  #tooFast(): PubSubError {
    return new PubSubError(
      "LIMIT",
      `A link may send ${this.#hub.limits.rate} events a second; send less, or raise limits.rate.`,
    );
  }
}

/** Reasons that are remembered; refs are never used twice. */
const MAX_REVOKED = 1024;

function gone(): PubSubError {
  return new PubSubError("REFUSED", "The subscription was taken away while the connection was interrupted.");
}

export function notGranted(what: string, { type, id }: Filter): PubSubError {
  return new PubSubError(
    "REFUSED",
    `This identity may not ${what} ${id === undefined || id === "" ? type : `${type}:${id}`}.`,
  );
}
