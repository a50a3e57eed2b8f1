/**
 * The contract between the transport core and whatever carries events.
 *
 * Users never see a `Transport`: they hold a `PubSub`, or an event target that `defineEventTarget(transport)` made.
 * Implementers see nothing else. What every transport needs exists once, in the core: reference counts, readiness,
 * timeouts, resubscription, status, self-delivery, matching, the facade. A transport that needs more than about 250
 * lines means that the core lacks something.
 *
 * A broker implements `Transport`. A pipe (a socket, a worker, a child process) implements `Channel` (`channel.ts`),
 * and `connectLink` turns Channels into a Transport.
 */
import type { EventEnvelope } from "./envelope.ts";

export { defineEventTarget } from "./event-target.ts";
export type { AlkEventTarget, EventTargetOptions } from "./event-target.ts";
export { payloadTarget } from "./payload-target.ts";
export type { PayloadTargetOptions } from "./payload-target.ts";
export type { Channel, ChannelReceiver } from "./channel.ts";
export { connectLink, LINKED } from "./link/link.ts";
export type { Link, LinkOptions } from "./link/link.ts";
// What a hub is built of, beside the two contracts.
export { Session } from "./link/session.ts";
export type { SessionOptions, SessionOwner } from "./link/session-contract.ts";
export { Outgoing } from "./link/output.ts";
export { coreOf } from "./core.ts";
export type { Core, Sink } from "./core.ts";
export { deadline, quietDeadline, randomId } from "./timers.ts";
export { checkSignal, onAbort } from "./abort.ts";
export { Recent } from "./recent.ts";
export { Ring } from "./ring.ts";
export { Matcher } from "./matcher.ts";
export type { Entry } from "./matcher.ts";
export { waitAfter } from "./backoff.ts";
export type { Backoff } from "./backoff.ts";
export { describe, excerpt, withoutPassword } from "./errors.ts";
export { isEnvelope, parseEnvelope } from "./envelope.ts";
export { checkFilter, filterKey, isPattern, matchesFilter, matchesType } from "./topic.ts";

/** What a subscription asks for. Type and id must both match. */
export interface Filter {
  /** An event type, or a pattern: `*` is one token, a last `**` any number of them, none included. */
  readonly type: string;
  /** The id, the empty string included; absent means every id. */
  readonly id?: string | undefined;
  /** Consumers that name the same group share the events: each goes to one of them. Needs `supports.groups`. */
  readonly group?: string | undefined;
}

/**
 * What a transport can truly promise; a manifest on every event target (`target.supports`), read by the conformance
 * suite, the command line and the generated table in the README. Never state more than a test has shown.
 */
export interface Supports {
  /**
   * What a resolved `publish` means. `none`: it was handed over. `hop`: the next party has it and has given it to every
   * subscription that it knew. `stored`: it survives a restart of the server.
   */
  readonly publishAck: "none" | "hop" | "stored";
  /** `at-most-once`: never twice. `at-least-once`: repeats may follow an interruption. */
  readonly delivery: "at-most-once" | "at-least-once";
  /** `full`: every loss is reported. `disconnect`: a loss needs an interruption, and that is reported. `none`: neither. */
  readonly lossDetection: "full" | "disconnect" | "none";
  /** Whether `subscribe` resolves on the far end's word. Where false, ready means registered on this side. */
  readonly subscribeAck: boolean;
  /** How events that match several filters arrive: once for each filter (with the filter named), or once. */
  readonly overlap: "per-filter" | "once";
  /** `native`: the far end matches patterns. `filtered`: it sends more, the core filters. `none`: exact topics only. */
  readonly patterns: "native" | "filtered" | "none";
  /** Whether a publisher that is subscribed gets its own events back from the far end. */
  readonly echo: boolean;
  /** Whether `Filter.group` works. */
  readonly groups: boolean;
  /** Whether the far end can send again what an interruption missed. */
  readonly replay: boolean;
  /** Bytes that one encoded envelope may have; `undefined` where there is no limit to speak of. */
  readonly maxPayload: number | undefined;
  /**
   * How many parties there are: 1 in process, 2 at a pipe, whose other end is all there is. Absent: any number. Where it is
   * stated, what is asked for and what is published arrive in the order in which they were said.
   */
  readonly ends?: 1 | 2;
}

/** A loss, as it stands in the queue between the last event before it and the first after it. */
export interface Gap {
  /**
   * `reconnect`: the link was interrupted. `overflow`: a buffer was full. `trimmed`: the server no longer had it.
   * `resume-expired`: the interruption outlasted the far end's buffer. `sequence`: the publisher's numbers skip.
   */
  readonly reason: "reconnect" | "overflow" | "trimmed" | "resume-expired" | "sequence";
  /** When the loss may have begun, in milliseconds since 1970. Informs; proves nothing. */
  readonly since: number;
  /** When it was over, in milliseconds since 1970. */
  readonly until: number;
  /** How many events are missing. */
  readonly lost: number | "unknown";
}

/** Where a target stands. `interrupted`: it was ready, and is trying to be again. `closed` is final. */
export type Status = "idle" | "connecting" | "ready" | "interrupted" | "closed";

/**
 * The core's side of the contract; a transport calls it. No method throws, and all may be called at any time after
 * `open` began. After `ended`, or once `close` was called, all are ignored.
 */
export interface Receiver {
  /**
   * An envelope arrived. With a filter (the very object that `subscribe` was called with), only that filter's
   * subscribers get it, and the core checks that it matches: for brokers that deliver once per matching subscription,
   * and for every filter with a group (one of its subscribers gets it, in turn). Without, the core matches all that have
   * no group. The envelope must have a valid type (`parseEnvelope` checks that).
   */
  deliver(envelope: EventEnvelope, filter?: Filter): void;
  /**
   * The connection is gone and the transport is trying to get it back. The core rejects every publish that was not
   * acknowledged with `INTERRUPTED` (unless the transport `holds`), and asks again for every pending `subscribe`, whatever
   * becomes of their promises. Called again while interrupted, it changes nothing.
   */
  interrupted(cause: unknown): void;
  /**
   * The connection is back. `kept`: the far end still has our subscriptions, else the core subscribes to all of them
   * again. `replayed`: all that was missed has been or will be delivered, else a `reconnect` gap is queued for each
   * live subscription, before anything that is delivered after this call; or one with the given reason. Only the core
   * resubscribes.
   */
  resumed(how: { readonly kept: boolean; readonly replayed: boolean; readonly reason?: Gap["reason"] }): void;
  /** Events were lost while the connection held; with a filter, only that filter's subscriptions are told. */
  gap(gap: Gap, filter?: Filter): void;
  /** The far end took a live subscription away (a permission was withdrawn, a queue deleted): it drains, then throws. */
  revoked(filter: Filter, error: unknown): void;
  /** The transport is over and will not come back: subscriptions drain, then throw `DISCONNECTED`. */
  ended(cause: unknown): void;
  /** Something is wrong that concerns no one call: a malformed message, a late refusal. Goes to `onError`. */
  error(error: unknown): void;
}

/** Who waits for the answer to one event. Calls after the first are ignored; neither throws, or runs anybody's code. */
export interface Waiter {
  accepted(): void;
  refused(error: unknown): void;
}

/** An event that was handed over and has no answer yet. */
export interface Posted {
  waiter: Waiter | undefined;
}

/**
 * What a broker implements.
 *
 * The core calls `open` before anything else and not again while it is open; every other method only between a
 * successful `open` and `close`, and, `close` apart, never while interrupted. For one filter, `subscribe` and
 * `unsubscribe` alternate and do not overlap, except that after a cut which left one unanswered the same may be asked
 * again, and that an `unsubscribe` follows a `subscribe` which was not answered in time: both must bear that. Filters are
 * told apart by identity: equal ones may follow one another, and different ones may need the same channel of a broker,
 * which the transport then counts. An error that is no `PubSubError` becomes one, as its cause. A method may return nothing for «done at once»; a throw counts as a rejection.
 */
export interface Transport {
  /** Read often; it may become more precise once open (links learn from the far end whether it echoes). */
  readonly supports: Supports;
  /** Why it is not ready, in a few words (the last connection's error); part of the messages of time-outs. */
  readonly problem?: string | undefined;
  /**
   * Whether `publish` may be called while interrupted: what it takes is kept, within bounds, and sent when the connection
   * is back, once. Default false: the core rejects with `INTERRUPTED`.
   */
  readonly holds?: boolean;
  /** The `meta.origin` that the far end knows this side by, where it gives one. Default: the core's own. */
  readonly origin?: string | undefined;
  /**
   * Makes the transport ready, once. A rejection is forgotten: the next use calls `open` again. The signal is aborted
   * when the core no longer waits (time-out, close); whatever was begun is then undone.
   */
  open(receiver: Receiver, signal: AbortSignal): Promise<void> | void;
  /**
   * Resolves when the far end has acknowledged: every event published after that, by anyone, will be delivered. Events
   * may be delivered before. A rejection says why (`REFUSED`, `UNSUPPORTED`); the core then forgets the filter.
   */
  subscribe(filter: Filter): Promise<void> | void;
  /** Stops the filter and frees what the far end holds for it. */
  unsubscribe(filter: Filter): Promise<void> | void;
  /**
   * Sends one envelope; resolves as `supports.publishAck` says, in the order of the calls for one topic. Rejects alone:
   * `PAYLOAD` if it cannot be encoded, `INTERRUPTED` if a cut left it unacknowledged, `TIMEOUT` if no answer came. Left out
   * where there is `post`; one of the two has to be there.
   */
  publish?(envelope: EventEnvelope): Promise<void> | void;
  /**
   * As `publish`, for transports that hear of many at once: no promise is made for each. What it returns tells its waiter,
   * which the core sets at once, of the answer, and not before `post` has returned; `undefined` for «done at once». A throw
   * counts as a rejection. Where it is there, the core calls it, and never `publish`.
   */
  post?(envelope: EventEnvelope): Posted | undefined;
  /** Releases everything. Called once, also while interrupted; publishes still pending may reject with `CLOSED`. */
  close(): Promise<void> | void;
}
