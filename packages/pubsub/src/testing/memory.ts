/**
 * A broker in memory, and a Transport to it that can be told to promise anything a manifest can say. It proves the core
 * against each kind of broker, with every message and answer under the hand of a scheduler, and is a real transport
 * between the parts of one process.
 */
import type { EventEnvelope } from "../envelope.ts";
import { formatTopic, PayloadError, PubSubError } from "../errors.ts";
import type { PubSubErrorCode } from "../errors.ts";
import { Outgoing } from "../link/output.ts";
import { Matcher } from "../matcher.ts";
import type { Entry } from "../matcher.ts";
import { filterKey, isPattern, matchesType, utf8Length } from "../topic.ts";
import type { Filter, Gap, Receiver, Supports, Transport } from "../transport.ts";
import { createFreeScheduler } from "./scheduler.ts";
import type { Lane, Scheduler } from "./scheduler.ts";

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

// ------------------------------------------------------------------------------------------------- the broker's side

/** One event, as the broker keeps it. */
interface Logged {
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
class Session {
  readonly supports: Supports;
  readonly client: Client;
  readonly filters = new Map<string, FarFilter>();
  /** To the client; undefined while it is not connected. */
  down: Lane | undefined;
  /** Whether the broker remembers what the client believes it has: something was subscribed since the last welcome. */
  known = false;
  /** Whether a subscription was taken away since the last welcome; a cut may lose the word of it. */
  robbed = false;
  /** Events that are still to be lost. */
  losing = 0;
  /** Positions of those that were; a replay does not bring them back, out of their order. */
  readonly gone = new Set<number>();
  /** Since a resumption without its subscriptions: what was sent, where replays that overlap must not repeat it. */
  sent: Set<number> | undefined;

  constructor(client: Client, supports: Supports) {
    this.client = client;
    this.supports = supports;
  }
}

class Broker implements MemoryBroker {
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

function topicOf(filter: Filter): string {
  return formatTopic(filter.type, filter.id);
}

// ------------------------------------------------------------------------------------------------- the client's side

/** One filter of ours. */
interface Ref {
  readonly filter: Filter;
  /** Answers name the call: one that comes late must not be taken for that of the next. */
  readonly call: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  live: boolean;
  /** The position from which it has events: at which it became live, or which it asked to have replayed. */
  since: number | undefined;
}

interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Positions that a client remembers; a replay never goes back as far. */
const MAX_HAD = 4096;

class Client implements MemoryTransport {
  readonly supports: Supports;
  readonly #broker: Broker;
  readonly #delay: number;
  readonly #session: Session;
  /** What happens on this side alone: to notice a cut, to try again. A cut does not empty it. */
  readonly #own: Lane;
  #up: Lane | undefined;
  #down: Lane | undefined;
  /** What was still to be said when this side closed. */
  #leaving: Lane | undefined;
  #receiver: Receiver | undefined;
  #opening: Pending | undefined;
  /** Whether `open` has succeeded; before, it is the core that tries again. */
  #opened = false;
  #cuts = 0;
  #closed = false;
  readonly #refs = new Map<string, Ref>();
  readonly #publishes = new Map<number, Pending>();
  readonly #unsubscribes = new Map<string, (() => void)[]>();
  #calls = 0;
  /** The position of the last event that arrived. */
  #cursor = 0;
  /** Positions (and filters) of the last events that arrived, where they have to be told from repeats. */
  readonly #had = new Set<string>();
  /** Where replays begin, for the filters that have to be subscribed again. */
  #from = new Map<string, number>();

  constructor(broker: Broker, supports: Supports, delay: number) {
    this.#broker = broker;
    this.supports = supports;
    this.#delay = delay;
    this.#session = new Session(this, supports);
    this.#own = broker.scheduler.lane();
  }

  get connected(): boolean {
    return this.#up !== undefined;
  }

  // ------------------------------------------------------------------------------------------------ as a Transport

  open(receiver: Receiver, signal: AbortSignal): Promise<void> {
    this.#receiver = receiver;
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      signal.addEventListener("abort", () => this.#abandon(), { once: true });
      this.#connect(undefined);
    });
  }

  subscribe(filter: Filter): Promise<void> | void {
    const key = filterKey(filter);
    const from = this.#from.get(key);
    this.#from.delete(key);
    const call = ++this.#calls;
    const live = new Promise<void>((resolve, reject) => {
      this.#refs.set(key, { filter, call, resolve, reject, live: false, since: from });
      this.#up?.post(() => this.#broker.subscribe(this.#session, call, filter, from));
    });
    if (this.supports.subscribeAck) return live;
    // Nobody waits: a refusal comes as a subscription that is taken away.
    live.catch((error: unknown) => this.#receiver?.revoked(filter, error));
    return undefined;
  }

  unsubscribe(filter: Filter): Promise<void> | void {
    const key = filterKey(filter);
    this.#refs.delete(key);
    this.#from.delete(key);
    if (!this.supports.subscribeAck) {
      this.#up?.post(() => this.#broker.unsubscribe(this.#session, key));
      return undefined;
    }
    return new Promise((resolve) => {
      this.#unsubscribes.set(key, [...(this.#unsubscribes.get(key) ?? []), resolve]);
      this.#up?.post(() => this.#broker.unsubscribe(this.#session, key));
    });
  }

  publish(envelope: EventEnvelope): Promise<void> | void {
    const { type, id } = envelope;
    const { json } = new Outgoing(envelope);
    const { maxPayload, publishAck } = this.supports;
    const size = utf8Length(json);
    if (maxPayload !== undefined && size > maxPayload)
      throw new PayloadError(type, id, `The event has ${size} bytes, this broker takes ${maxPayload}; send less`);
    const call = ++this.#calls;
    const send = (): void => this.#up?.post(() => this.#broker.publish(this.#session, call, json, type, id));
    if (publishAck === "none") return send();
    return new Promise((resolve, reject) => {
      this.#publishes.set(call, { resolve, reject });
      send();
    });
  }

  close(): void {
    this.#closed = true;
    this.#rejectPublishes(new PubSubError("CLOSED", "Closed before the broker answered; the event may be delivered."));
    this.#leave();
  }

  // --------------------------------------------------------------------------------------------- what the world does

  cut(cause: unknown = new Error("the connection was cut")): void {
    if (this.#up === undefined) return;
    this.#disconnect();
    this.#cuts++;
    this.#own.post(() => {
      // Opened anew before this side noticed.
      if (this.#up !== undefined) return;
      if (this.#opening !== undefined) {
        const opening = this.#opening;
        this.#opening = undefined;
        opening.reject(cause);
        return;
      }
      this.#rejectPublishes(
        new PubSubError(
          "INTERRUPTED",
          "The connection was cut before the broker answered; the event may be delivered.",
          {
            cause,
          },
        ),
      );
      this.#receiver?.interrupted(cause);
    });
  }

  freeze(): void {
    this.#up?.freeze();
    this.#down?.freeze();
  }

  thaw(): void {
    this.#leaving?.thaw();
    this.#up?.thaw();
    this.#down?.thaw();
  }

  reconnect(how: Resumption = {}): void {
    if (this.#up !== undefined || !this.#opened) return;
    const cuts = this.#cuts;
    // After the step in which this side notices the cut, and not after another cut that it has not noticed.
    this.#own.post(() => {
      if (cuts === this.#cuts && this.#up === undefined && this.#opened && !this.#closed) this.#connect(how);
    });
  }

  lose(count: number = 1): void {
    this.#session.losing = count;
  }

  revoke(filter: Filter): void {
    this.#broker.revoke(this.#session, filter);
  }

  end(cause: unknown): void {
    if (this.#receiver === undefined) return;
    this.#closed = true;
    this.#disconnect();
    this.#broker.remove(this.#session);
    this.#own.post(() => {
      this.#rejectPublishes(new PubSubError("INTERRUPTED", "The broker ended the connection.", { cause }));
      this.#opening?.reject(cause);
      this.#receiver?.ended(cause);
    });
  }

  #connect(how: Resumption | undefined): void {
    const up = (this.#up = this.#broker.scheduler.lane(this.#delay));
    const down = (this.#down = this.#broker.scheduler.lane(this.#delay));
    // Who answers at least once cannot know the last answer that was heard: it begins a little before.
    const back = this.supports.delivery === "at-least-once" ? this.#broker.scheduler.random(3) + 1 : 0;
    up.post(() => this.#broker.hello(this.#session, down, how, Math.max(0, this.#cursor - back)));
  }

  #disconnect(): void {
    this.#up?.cut();
    this.#down?.cut();
    this.#up = undefined;
    this.#session.down = undefined;
  }

  /** Nobody waits for the connection any more. */
  #abandon(): void {
    this.#opening = undefined;
    this.#opened = false;
    this.#disconnect();
    this.#broker.remove(this.#session);
  }

  /** What was posted still arrives; nothing comes back. */
  #leave(): void {
    this.#opening = undefined;
    this.#down?.cut();
    const up = (this.#leaving = this.#up);
    this.#up = undefined;
    if (up === undefined) this.#broker.remove(this.#session);
    else up.post(() => this.#broker.remove(this.#session));
  }

  #rejectPublishes(error: PubSubError): void {
    for (const pending of this.#publishes.values()) pending.reject(error);
    this.#publishes.clear();
  }

  // ---------------------------------------------------------------------------------------------- the broker's words

  welcomed(how: { readonly kept: boolean; readonly replayed: boolean }): void {
    const opening = this.#opening;
    this.#opening = undefined;
    // Answers to what was asked before the cut will not come.
    this.#unsubscribes.clear();
    if (!how.replayed) this.#from.clear();
    if (how.replayed)
      for (const [key, { live, since }] of this.#refs)
        // What was not answered may have been about to replay: it asks for the same again.
        if (since !== undefined && !(live && how.kept))
          this.#from.set(key, live ? Math.max(since, this.#cursor) : since);
    if (!how.kept) this.#refs.clear();
    this.#opened = true;
    if (opening === undefined) this.#receiver?.resumed(how);
    else opening.resolve();
  }

  answered(key: string, call: number, error: PubSubError | undefined, since: number = 0): void {
    const ref = this.#refs.get(key);
    if (ref?.call !== call) return;
    if (error !== undefined) {
      this.#refs.delete(key);
      ref.reject(error);
      return;
    }
    ref.live = true;
    ref.since ??= since;
    ref.resolve();
  }

  unsubscribed(key: string): void {
    const waiting = this.#unsubscribes.get(key) ?? [];
    waiting.shift()?.();
    if (waiting.length === 0) this.#unsubscribes.delete(key);
  }

  accepted(call: number, error?: PubSubError): void {
    const pending = this.#publishes.get(call);
    this.#publishes.delete(call);
    if (error === undefined) pending?.resolve();
    else if (pending === undefined) this.#receiver?.error(error);
    else pending.reject(error);
  }

  /** An event for these filters; without keys, for all that match. */
  event(event: Logged, keys: readonly string[] | undefined): void {
    this.#cursor = Math.max(this.#cursor, event.position);
    for (const key of keys ?? [undefined]) {
      const filter = key === undefined ? undefined : this.#refs.get(key)?.filter;
      if ((key !== undefined && filter === undefined) || this.#repeats(event.position, key)) continue;
      this.#receiver?.deliver(JSON.parse(event.json) as EventEnvelope, filter);
    }
  }

  /** At most once, where replays may overlap: what was had is dropped. */
  #repeats(position: number, key: string = ""): boolean {
    const { delivery, replay } = this.supports;
    if (delivery !== "at-most-once" || !replay) return false;
    const place = `${position} ${key}`;
    if (this.#had.has(place)) return true;
    this.#had.add(place);
    if (this.#had.size > MAX_HAD) {
      const [oldest = ""] = this.#had;
      this.#had.delete(oldest);
    }
    return false;
  }

  missed(key: string | undefined, gap: Pick<Gap, "reason" | "lost">): void {
    const filter = key === undefined ? undefined : this.#refs.get(key)?.filter;
    const now = Date.now();
    if (key === undefined || filter !== undefined) this.#receiver?.gap({ ...gap, since: now, until: now }, filter);
  }

  revoked(key: string): void {
    const ref = this.#refs.get(key);
    // Asked for again meanwhile: that question has an answer of its own.
    if (ref?.live !== true) return;
    const { filter } = ref;
    this.#refs.delete(key);
    this.#receiver?.revoked(filter, new PubSubError("REFUSED", `The broker took ${topicOf(filter)} away.`));
  }
}
