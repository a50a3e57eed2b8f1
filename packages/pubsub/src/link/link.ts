import type { Channel } from "../channel.ts";
import type { EventEnvelope, TypedEvent } from "../envelope.ts";
import { PubSubError } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { Matcher } from "../matcher.ts";
import type { Entry } from "../matcher.ts";
import { checkFilter, filterKey } from "../topic.ts";
import type { Filter, Posted, Receiver, Supports, Transport } from "../transport.ts";
import { Publication } from "./output.ts";
import { Session } from "./session.ts";
import type { SessionOptions, SessionOwner } from "./session-contract.ts";

/** Options of a link. */
export interface LinkOptions extends SessionOptions {
  /**
   * Whether a closed channel will be followed by another `attach`. Default false: the target ends with its channel. Set
   * by whoever owns the socket and reconnects. With it, `resumeWindow` is 30,000 by default.
   */
  readonly reattach?: boolean;
  /** Whether the far end will be a hub, so that its manifest holds before the handshake too. Default false. */
  readonly hub?: boolean;
  /** Filters that the far end may have at once; more are refused with `LIMIT`. Default 16,384. */
  readonly maxFilters?: number;
}

/** A Transport over Channels, one after the other. */
export interface Link extends Transport {
  /** Begins a conversation over a channel. The one before must be over, or is ended. After `close` or `end`, closes the channel. */
  attach(channel: Channel): void;
  /** Says that no further channel will come: the target drains, then throws `DISCONNECTED`. Needed with `reattach`. */
  end(cause: unknown): void;
  post(envelope: EventEnvelope): Posted | undefined;
  /** Called when the current conversation is over and another `attach` is expected. Set by whoever reconnects. */
  onDetached: ((cause: PubSubError) => void) | undefined;
  /** Called when the far end has welcomed us. */
  onWelcomed: (() => void) | undefined;
}

/** What the far end has subscribed to. */
interface FarFilter extends Entry {
  readonly ref: number;
}

const PLAIN: Supports = {
  publishAck: "none",
  delivery: "at-most-once",
  lossDetection: "none",
  subscribeAck: false,
  overlap: "once",
  patterns: "filtered",
  echo: false,
  groups: false,
  replay: false,
  maxPayload: undefined,
};

/** What a link with the full protocol promises. */
export const LINKED: Supports = {
  ...PLAIN,
  publishAck: "hop",
  lossDetection: "disconnect",
  subscribeAck: true,
  patterns: "native",
};

/**
 * Makes a transport of channels: `attach` one, and when it closes its owner attaches the next.
 *
 * Both ends may publish and subscribe. An end sends what the other has subscribed to, and nothing else; a publish that
 * the far end did not ask for is done at once.
 *
 * @example
 * const link = connectLink();
 * link.attach(webSocketChannel(socket));
 * const pubsub = createPubSub({ eventTarget: defineEventTarget(link) });
 */
export function connectLink(options: LinkOptions = {}): Link {
  return new ChannelLink(options);
}

/** Options of an event target that lives as long as its one channel. */
export interface ChannelEventTargetOptions
  extends
    EventTargetOptions,
    Omit<
      LinkOptions,
      "reattach" | "echo" | "groups" | "hub" | "origin" | "resumeWindow" | "maxOutbox" | "findSession"
    > {}

/** An event target over one channel, connecting at once: what the pipes' `create…EventTarget` have in common. */
export function overChannel<TEvent extends TypedEvent>(
  channel: Channel,
  options: ChannelEventTargetOptions,
): AlkEventTarget<TEvent> {
  const link = connectLink(options);
  link.attach(channel);
  return defineEventTarget<TEvent>(link, { ...options, eager: true });
}

class ChannelLink implements Link {
  onDetached: ((cause: PubSubError) => void) | undefined;
  onWelcomed: (() => void) | undefined;
  readonly #options: LinkOptions;
  /** The manifest, and the part of it that is not concluded from the rest. */
  #supports!: Supports;
  #stated!: Supports;
  #shared = false;
  #origin: string | undefined;
  #session: Session | undefined;
  #receiver: Receiver | undefined;
  #opening: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  #up = false;
  #closed = false;
  #ended: unknown;
  /** Our subscriptions: the far end's reference by filter, and back. */
  readonly #refs = new Map<string, number>();
  readonly #filters = new Map<number, Filter>();
  #far = new Matcher<FarFilter>();
  readonly #farByRef = new Map<number, FarFilter>();
  /** Errors from before there was a receiver. */
  #early: unknown[] = [];

  constructor(options: LinkOptions) {
    this.#options = options;
    const maxPayload = options.maxFrame;
    const hub = options.hub === true ? { echo: true, groups: true } : {};
    this.#state({ ...(options.plain === true ? PLAIN : LINKED), ...hub, maxPayload });
  }

  get supports(): Supports {
    return this.#supports;
  }

  #state(stated: Supports): void {
    this.#stated = stated;
    // Whoever sends publishers their own events has others to send them to.
    this.#supports = stated.echo || this.#shared ? stated : { ...stated, ends: 2 };
  }

  get origin(): string | undefined {
    return this.#origin;
  }

  get holds(): boolean {
    return this.#session?.resumable === true;
  }

  get #resumeWindow(): number {
    return this.#options.resumeWindow ?? 30_000;
  }

  /** Whether a session may go on over another channel: only where another can come. */
  get #resumes(): boolean {
    return this.#options.reattach === true && this.#options.plain !== true && this.#resumeWindow > 0;
  }

  attach(channel: Channel): void {
    // It came too late. A far end that is welcomed here would believe that somebody listens.
    if (this.#closed || this.#ended !== undefined) return channel.close();
    const maxPayload = channel.encoding === "json" ? (this.#options.maxFrame ?? 1024 * 1024) : undefined;
    this.#shared = channel.shared === true;
    this.#state({ ...this.#stated, maxPayload });
    if (this.#session !== undefined && this.#resumes) return this.#session.attach(channel);
    if (this.#session !== undefined) {
      this.#session.close("REPLACED", "Another channel takes the place of this one.");
      this.#receiver?.interrupted(new PubSubError("INTERRUPTED", "Another channel was attached."));
    }
    this.#session = new Session(channel, this.#owner, {
      ...this.#options,
      resumeWindow: this.#resumes ? this.#resumeWindow : 0,
    });
  }

  end(cause: unknown): void {
    this.#ended = cause;
    this.#session?.close("END");
    this.#opening?.reject(disconnected(cause));
    this.#receiver?.ended(cause);
  }

  // ----------------------------------------------------------------------------------------------- as a Transport

  open(receiver: Receiver, signal: AbortSignal): Promise<void> | void {
    this.#receiver = receiver;
    this.#closed = false;
    for (const error of this.#early.splice(0)) receiver.error(error);
    if (this.#ended !== undefined) {
      receiver.ended(this.#ended);
      return;
    }
    if (this.#up) return;
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      signal.addEventListener("abort", () => (this.#opening = undefined), { once: true });
    });
  }

  subscribe(filter: Filter): Promise<void> | void {
    if (this.#options.plain === true) return;
    const session = this.#needSession();
    const { ref, live } = session.subscribe(filter);
    this.#refs.set(filterKey(filter), ref);
    this.#filters.set(ref, filter);
    return live.catch((error: unknown) => {
      this.#forget(filter);
      throw error;
    });
  }

  unsubscribe(filter: Filter): void {
    const ref = this.#forget(filter);
    if (ref !== undefined) this.#session?.unsubscribe(ref);
  }

  post(envelope: EventEnvelope): Posted | undefined {
    // Without a channel the session keeps it for the next one, if it can.
    const session = this.#session?.resumable === true ? this.#session : this.#needSession();
    const wanted =
      this.#options.plain === true || this.#supports.echo || this.#far.match(envelope.type, envelope.id) !== undefined;
    // Whoever subscribes over there is answered after its filter is in `#far`, so nothing that was promised is missed.
    if (!wanted) return undefined;
    const publication = new Publication(envelope);
    return session.publish(publication) ? publication : undefined;
  }

  close(): void {
    this.#closed = true;
    this.#session?.close("CLOSED");
    this.#session = undefined;
  }

  #needSession(): Session {
    if (this.#session === undefined || !this.#up)
      throw new PubSubError("INTERRUPTED", "The connection is interrupted. Try again once status is 'ready'.");
    return this.#session;
  }

  #forget(filter: Filter): number | undefined {
    const key = filterKey(filter);
    const ref = this.#refs.get(key);
    this.#refs.delete(key);
    if (ref !== undefined) this.#filters.delete(ref);
    return ref;
  }

  // ------------------------------------------------------------------------------------- what the session calls

  readonly #owner: SessionOwner = {
    welcomed: (welcome, how) => {
      const resumed = how === "resumed";
      if (!resumed) this.#forgetOurs();
      this.#up = true;
      if (!resumed) this.#origin = welcome.origin;
      if (this.#options.plain !== true && !resumed)
        this.#state({
          ...this.#stated,
          echo: welcome.echo === true,
          groups: welcome.groups === true,
          replay: this.#session?.resumable === true,
        });
      this.onWelcomed?.();
      if (resumed) this.#session?.keep([...this.#filters.keys()]);
      const opening = this.#opening;
      this.#opening = undefined;
      if (opening === undefined)
        this.#receiver?.resumed({
          kept: resumed,
          replayed: resumed,
          reason: how === "expired" ? "resume-expired" : "reconnect",
        });
      else opening.resolve();
    },
    restarted: (why) => {
      this.#reset();
      this.#receiver?.interrupted(new PubSubError("INTERRUPTED", `${why}.`));
    },
    began: () => this.#forgetTheirs(),
    event: (envelope, to) => {
      const filter = to === undefined ? undefined : this.#filters.get(to);
      // Addressed to a subscription that has just ended: nobody wants it any more.
      if (to === undefined || filter !== undefined) this.#receiver?.deliver(envelope, filter);
      return undefined;
    },
    subscribe: (ref, filter) => this.#admit(ref, filter),
    unsubscribe: (ref) => {
      const far = this.#farByRef.get(ref);
      if (far === undefined) return;
      this.#farByRef.delete(ref);
      this.#far.delete(far);
    },
    gap: (ref, gap) => {
      const filter = ref === undefined ? undefined : this.#filters.get(ref);
      if (ref === undefined || filter !== undefined) this.#receiver?.gap(gap, filter);
    },
    revoked: (ref, error) => {
      const filter = this.#filters.get(ref);
      if (filter === undefined) return;
      this.#forget(filter);
      this.#receiver?.revoked(filter, error);
    },
    error: (error) => {
      if (this.#receiver === undefined) this.#early = [...this.#early.slice(-15), error];
      else this.#receiver.error(error);
    },
    detached: (cause, replaced) => {
      this.#up = false;
      this.#receiver?.interrupted(cause);
      if (!replaced) this.onDetached?.(cause);
    },
    keep: (refs) => {
      for (const [ref, far] of this.#farByRef)
        if (!refs.has(ref)) {
          this.#farByRef.delete(ref);
          this.#far.delete(far);
        }
      for (const ref of refs)
        if (!this.#farByRef.has(ref)) this.#session?.revoke(ref, "REFUSED", "This side does not have it any more.");
    },
    over: (cause) => {
      this.#reset();
      this.#session = undefined;
      // Closed on this side: whoever did that knows.
      if (cause.code === "CLOSED") return;
      // Another channel would not change the version that the far end speaks.
      if (this.#options.reattach !== true || cause.code === "VERSION")
        // What the channel itself says of its end is what helps.
        return this.end(cause.code === "DISCONNECTED" ? (cause.cause ?? cause) : cause);
      this.#receiver?.interrupted(cause);
      this.onDetached?.(cause);
    },
  };

  /** @throws InvalidTopicError, PubSubError: they refuse */
  #admit(ref: number, filter: Filter): void {
    const { maxFilters = 16_384 } = this.#options;
    checkFilter(filter);
    if (filter.group !== undefined)
      throw new PubSubError("UNSUPPORTED", "Groups need a hub or a broker; this link has two ends.");
    if (this.#farByRef.has(ref)) throw new PubSubError("REFUSED", `The reference ${ref} is in use.`);
    if (this.#farByRef.size >= maxFilters)
      throw new PubSubError(
        "LIMIT",
        `A link may have ${maxFilters} subscriptions; use a pattern instead of many topics, or raise maxFilters on the far end.`,
      );
    const far: FarFilter = { ...filter, ref, active: false, order: 0 };
    this.#farByRef.set(ref, far);
    this.#far.add(far);
  }

  #reset(): void {
    this.#up = false;
    this.#forgetOurs();
    this.#forgetTheirs();
  }

  #forgetOurs(): void {
    this.#refs.clear();
    this.#filters.clear();
  }

  #forgetTheirs(): void {
    this.#far = new Matcher();
    this.#farByRef.clear();
  }
}

function disconnected(cause: unknown): PubSubError {
  return cause instanceof PubSubError && cause.code === "VERSION"
    ? cause
    : new PubSubError("DISCONNECTED", "The connection ended before it was ready.", { cause });
}
