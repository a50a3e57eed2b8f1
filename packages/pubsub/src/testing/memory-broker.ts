// The broker's side of the memory broker: who has subscribed to what, the log, and what a connection is sent.
import { formatTopic, PubSubError } from "../errors.ts";
import type { PubSubErrorCode } from "../errors.ts";
import { Matcher } from "../matcher.ts";
import type { Entry } from "../matcher.ts";
import { filterKey, isPattern, matchesType } from "../topic.ts";
import type { Filter, Supports } from "../transport.ts";
import type { Client } from "./memory-client.ts";
import type { MemoryBroker, MemoryBrokerOptions, Resumption } from "./memory.ts";
import { createFreeScheduler } from "./scheduler.ts";
import type { Lane, Scheduler } from "./scheduler.ts";

/** One event, as the broker keeps it. */
export interface Logged {
  readonly position: number;
  readonly type: string;
  readonly id: string;
  readonly json: string;
  readonly publisher: Session;
  readonly stored: boolean;
  /** Whose turn it was, by group. */
  readonly served: Map<string, FarFilter> | undefined;
}

/** What a connection has subscribed to. Where patterns are `filtered`, wider than what was asked for. */
interface FarFilter extends Entry {
  readonly key: string;
  readonly session: Session;
  /** The position of the last event before it. */
  readonly since: number;
}

/** What the broker knows of one connection; outlives a cut. */
export class Session {
  readonly supports: Supports;
  readonly client: Client;
  readonly filters: Map<string, FarFilter> = new Map();
  /** To the client; undefined while it is not connected. */
  down: Lane | undefined;
  /** Whether the broker remembers what the client believes it has: something was subscribed since the last welcome. */
  known = false;
  /** Whether a subscription was taken away since the last welcome; a cut may lose the word of it. */
  robbed = false;
  /** Events that are still to be lost. */
  losing = 0;
  /** Positions of those that were; a replay does not bring them back, out of their order. */
  readonly gone: Set<number> = new Set();
  /** Since a resumption without its subscriptions: what was sent, where replays that overlap must not repeat it. */
  sent: Set<number> | undefined;

  constructor(client: Client, supports: Supports) {
    this.client = client;
    this.supports = supports;
  }
}

export class Broker implements MemoryBroker {
  authorize: ((action: "subscribe" | "publish", topic: Filter) => PubSubErrorCode | undefined) | undefined;
  readonly scheduler: Scheduler;
  readonly #limit: number;
  readonly #sessions = new Set<Session>();
  readonly #matcher = new Matcher<FarFilter>();
  readonly #turns = new Map<string, number>();
  #log: Logged[] = [];
  #position = 0;
  /** The position of the last event that is gone from the log. */
  #floor = 0;

  constructor({ scheduler = createFreeScheduler(), log = 1024 }: MemoryBrokerOptions) {
    this.scheduler = scheduler;
    this.#limit = log;
  }

  get connections(): number {
    return this.#sessions.size;
  }

  get filters(): number {
    let count = 0;
    for (const session of this.#sessions) count += session.filters.size;
    return count;
  }

  restart(): void {
    const lost = this.#log.findLast((event) => !event.stored);
    if (lost !== undefined) this.#floor = Math.max(this.#floor, lost.position);
    this.#log = this.#log.filter((event) => event.stored);
    for (const session of [...this.#sessions]) {
      this.#forget(session);
      session.client.cut(new Error("the broker restarted"));
    }
  }

  /** A client says who it is. What it missed follows the answer. */
  hello(session: Session, down: Lane, how: Resumption | undefined, cursor: number): void {
    const replayed = how?.replayed === true && session.supports.replay && cursor >= this.#floor;
    // Without an acknowledgement nobody knows which of the subscriptions arrived before the cut.
    const { known, robbed, supports } = session;
    const kept = how?.kept === true && known && !robbed && supports.subscribeAck;
    if (!kept) this.#forget(session);
    session.robbed = false;
    session.sent = replayed && !kept && session.supports.overlap === "once" ? new Set() : undefined;
    session.down = down;
    this.#sessions.add(session);
    down.post(() => session.client.welcomed({ kept, replayed }));
    if (replayed && kept) this.#replay(session, [...session.filters.values()], cursor);
  }

  subscribe(session: Session, call: number, filter: Filter, from: number | undefined): void {
    const key = filterKey(filter);
    const code = this.authorize?.("subscribe", filter);
    const { patterns } = session.supports;
    if (code !== undefined || (patterns === "none" && (isPattern(filter.type) || filter.id === undefined))) {
      const error = new PubSubError(code ?? "UNSUPPORTED", `The broker refuses a subscription to ${topicOf(filter)}.`);
      session.down?.post(() => session.client.answered(key, call, error));
      return;
    }
    this.#drop(session, key);
    const wide = patterns === "filtered" ? widened(filter) : filter;
    const { type, id, group } = wide;
    // What is to be replayed is owed from there, should a cut come before it was sent.
    const far: FarFilter = { type, id, group, key, session, since: from ?? this.#position, active: false, order: 0 };
    session.filters.set(key, far);
    session.known = true;
    this.#matcher.add(far);
    const since = this.#position;
    if (from !== undefined) {
      if (from < this.#floor)
        session.down?.post(() => session.client.missed(key, { reason: "trimmed", lost: "unknown" }));
      this.#replay(session, [far], from);
    }
    // After the replay: who has the answer has what was missed.
    session.down?.post(() => session.client.answered(key, call, undefined, since));
  }

  unsubscribe(session: Session, key: string): void {
    this.#drop(session, key);
    session.down?.post(() => session.client.unsubscribed(key));
  }

  publish(session: Session, call: number, json: string, type: string, id: string): void {
    const { publishAck } = session.supports;
    const code = this.authorize?.("publish", { type, id });
    if (code !== undefined) {
      const error = new PubSubError(code, `The broker refuses ${topicOf({ type, id })}.`);
      session.down?.post(() => session.client.accepted(call, error));
      return;
    }
    const served = new Map<string, FarFilter>();
    const position = ++this.#position;
    const event: Logged = { position, type, id, json, publisher: session, stored: publishAck === "stored", served };
    const hit = this.#matcher.match(type, id);
    const matching = hit === undefined ? [] : ((Array.isArray(hit) ? hit : [hit]) as FarFilter[]).filter(isActive);
    const to = new Map<Session, FarFilter[]>();
    for (const far of [...matching.filter(({ group }) => group === undefined), ...this.#serve(matching, served)])
      if (far.session.supports.echo || far.session !== session)
        to.set(far.session, [...(to.get(far.session) ?? []), far]);
    this.#log.push(event);
    if (this.#log.length > this.#limit) this.#floor = Math.max(this.#floor, this.#log.shift()?.position ?? 0);
    for (const [receiver, filters] of to) this.#send(receiver, event, filters);
    if (publishAck !== "none") session.down?.post(() => session.client.accepted(call));
  }

  revoke(session: Session, filter: Filter): void {
    const key = filterKey(filter);
    if (!session.filters.has(key)) return;
    this.#drop(session, key);
    session.robbed = true;
    session.down?.post(() => session.client.revoked(key));
  }

  /** The client is gone and will not come back. */
  remove(session: Session): void {
    this.#forget(session);
    session.down = undefined;
    this.#sessions.delete(session);
  }

  /** One member of each group, in turn; members that are not connected are passed over. */
  #serve(matching: readonly FarFilter[], served: Map<string, FarFilter>): Iterable<FarFilter> {
    const groups = new Map<string, FarFilter[]>();
    for (const far of matching)
      if (far.group !== undefined && far.session.down !== undefined)
        groups.set(far.group, [...(groups.get(far.group) ?? []), far]);
    for (const [group, members] of groups) {
      const turn = this.#turns.get(group) ?? 0;
      this.#turns.set(group, turn + 1);
      served.set(group, members[turn % members.length] as FarFilter);
    }
    return served.values();
  }

  #send(session: Session, event: Logged, filters: readonly FarFilter[]): void {
    const { down, client, supports } = session;
    if (down === undefined) return;
    if (session.losing > 0) {
      session.losing--;
      if (supports.lossDetection === "disconnect") return client.cut(new Error("the broker cut off a slow subscriber"));
      session.gone.add(event.position);
      this.#tellLoss(session, filters);
      return;
    }
    const keys = filters.map(({ key }) => key);
    session.sent?.add(event.position);
    // Where a cut may be followed by a replay, the copies of one event arrive together: a position is had or is not.
    if (supports.overlap === "once") down.post(() => client.event(event, undefined));
    else if (supports.replay) down.post(() => client.event(event, keys));
    else for (const key of keys) down.post(() => client.event(event, [key]));
  }

  #tellLoss({ down, client, supports }: Session, filters: readonly FarFilter[]): void {
    if (supports.lossDetection !== "full") return;
    // Where an event comes once for all filters, so does the word of its loss: one filter's would come too late for others.
    const keys = supports.overlap === "once" ? [undefined] : filters.map(({ key }) => key);
    for (const key of keys) down?.post(() => client.missed(key, { reason: "overflow", lost: 1 }));
  }

  #replay(session: Session, filters: readonly FarFilter[], cursor: number): void {
    for (const event of this.#log) {
      if (event.position <= cursor || session.sent?.has(event.position) === true) continue;
      if (event.publisher === session && !session.supports.echo) continue;
      const missed = filters.filter(
        (far) =>
          event.position > far.since &&
          matches(far, event) &&
          (far.group === undefined || isSame(far, event.served?.get(far.group))),
      );
      if (missed.length === 0) continue;
      if (!session.gone.has(event.position)) this.#send(session, event, missed);
      // The cut may have lost the word of the loss.
      else this.#tellLoss(session, missed);
    }
  }

  #forget(session: Session): void {
    for (const key of [...session.filters.keys()]) this.#drop(session, key);
    session.known = false;
  }

  #drop(session: Session, key: string): void {
    const far = session.filters.get(key);
    if (far === undefined) return;
    session.filters.delete(key);
    this.#matcher.delete(far);
  }
}

function isActive(far: FarFilter): boolean {
  return far.active;
}

/** Whether the two are one filter of one connection, which may have been subscribed again meanwhile. */
function isSame(far: FarFilter, other: FarFilter | undefined): boolean {
  return far.session === other?.session && far.key === other.key;
}

function matches(far: Filter, event: Logged): boolean {
  return (far.id === undefined || far.id === event.id) && matchesType(far.type, event.type);
}

/** What a broker with coarser patterns than ours subscribes to: everything below the first token, every id. */
function widened(filter: Filter): Filter {
  if (filter.id !== undefined && !isPattern(filter.type)) return filter;
  const [first = "**"] = filter.type.split(".");
  return { type: isPattern(first) ? "**" : `${first}.**`, id: undefined, group: filter.group };
}

export function topicOf(filter: Filter): string {
  return formatTopic(filter.type, filter.id);
}
