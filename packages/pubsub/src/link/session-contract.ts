// What a session is given, and what it calls.
import type { EventEnvelope } from "../envelope.ts";
import type { PubSubError } from "../errors.ts";
import type { Filter, Gap } from "../transport.ts";
import type { Control } from "./frames.ts";
import type { Session } from "./session.ts";

/** Options of one conversation over a channel. All times are in milliseconds. */
export interface SessionOptions {
  /** Envelopes only, no handshake and no acknowledgements: for peers that do not speak the link protocol. */
  readonly plain?: boolean;
  /** Bytes of a frame that this side takes, and the size up to which frames are gathered. Default 1 MiB. */
  readonly maxFrame?: number;
  /** Events sent and not acknowledged; the next publish rejects with `OVERFLOW`. Default 131,072. */
  readonly maxUnacknowledged?: number;
  /**
   * Bytes that may wait in the channel. Beyond, a publish rejects with `OVERFLOW`; where it is forwarded events or answers
   * that nobody takes, the far end is too slow and the link ends with `SLOW`. Default 64 MiB.
   */
  readonly maxBuffered?: number;
  /** How long a publish waits for its acknowledgement before it rejects with `TIMEOUT`; up to twice that. Default 10,000. */
  readonly ackTimeout?: number;
  /** Silence after which the far end is asked, and after as much again given up. 0: never. Default: the channel's. */
  readonly heartbeat?: number;
  /** What `$welcome` says of this side; a hub sends events back to their publisher. */
  readonly echo?: boolean;
  /** What `$welcome` says of this side; a hub serves groups. */
  readonly groups?: boolean;
  /** What `$welcome` says of this side: the `meta.origin` that it knows the far end by. */
  readonly origin?: string;
  /**
   * How long a session outlives its channel, so that another channel can go on with it and nothing is lost. 0: not at
   * all. Default 0.
   */
  readonly resumeWindow?: number;
  /** Characters of JSON of unacknowledged events that are kept for a resumption. Default 8 Mi. */
  readonly maxOutbox?: number;
  /** Finds the session that a `$hello` wants to go on with, where one side holds many (a hub). */
  readonly findSession?: (session: string) => Session | undefined;
}

/** Who holds a session; the session calls it. None of these may throw. */
export interface SessionOwner {
  /**
   * The far end has welcomed us: all may be sent now. Again after it restarted, or on another channel. `resumed`: it
   * still has our subscriptions and has lost nothing. `expired`: we asked for that, and it could not.
   */
  welcomed(welcome: Control["$welcome"], how: "new" | "resumed" | "expired"): void;
  /** The conversation begins anew: the far end knows nothing of us, and its subscriptions are void. `welcomed` follows. */
  restarted(why: string): void;
  /** The far end is at its beginning: whatever it had subscribed to is void. Before anything that it says after. */
  began(): void;
  /**
   * An event, for one of our subscriptions alone where `to` is given. What is returned refuses it; it is acknowledged
   * once that is known. A promise must not reject.
   */
  event(envelope: EventEnvelope, to: number | undefined): PubSubError | undefined | Promise<PubSubError | undefined>;
  /** The far end asks for events; a rejection or throw refuses. */
  subscribe(ref: number, filter: Filter): Promise<void> | void;
  unsubscribe(ref: number): void;
  gap(ref: number | undefined, gap: Gap): void;
  /** A live subscription of ours was taken away. */
  revoked(ref: number, error: PubSubError): void;
  /** Something was wrong that concerns no one call. */
  error(error: unknown): void;
  /**
   * The channel is gone, and another may go on with this session until `over`. Only with a `resumeWindow`.
   *
   * @param replaced the other one is here already
   */
  detached(cause: PubSubError, replaced: boolean): void;
  /** Which of the far end's subscriptions it still wants, after a resumption. */
  keep(refs: ReadonlySet<number>): void;
  /** The session is over; called once, nothing after it. */
  over(cause: PubSubError): void;
}
