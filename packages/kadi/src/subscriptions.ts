import { InvalidTopicError, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { coreOf, Recent } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Core, Sink } from "@alkdev/pubsub/transport";
import { channelOfType, typeOfPattern } from "./channels.ts";
import type { EventCallback, EventLoss, SubscribeToEventOptions } from "./client-api.ts";
import type { Follower, Source } from "./sources.ts";

/** Events that came over several ways are known as the same for as many others. */
const REMEMBERED = 8192;

/** One call of `subscribeToEvent`: a sink at each source. */
interface Subscription {
  readonly pattern: string;
  /** The same for the core. */
  readonly type: string;
  readonly callback: EventCallback;
  readonly onLoss: ((loss: EventLoss) => void) | undefined;
  readonly sinks: Map<AlkEventTarget, EventSink>;
}

/**
 * What somebody is subscribed to, at all their sources. Which those are is all that is decided here: how a pattern is
 * checked, kept, made live and ended is the business of each source's core.
 */
export class Subscriptions implements Follower {
  readonly #sources = new Map<AlkEventTarget, Source>();
  readonly #subscriptions = new Set<Subscription>();
  readonly #seen = new Recent<AlkEventTarget>(REMEMBERED);
  readonly #hasOwn: boolean;
  readonly #report: (error: unknown) => void;
  readonly #told = new WeakSet<object>();

  /** @param hasOwn whether one of the sources has what this client publishes, so that brokers need not send it back */
  constructor(hasOwn: boolean, report: (error: unknown) => void) {
    this.#hasOwn = hasOwn;
    this.#report = report;
  }

  /** Resolves when it is live at all sources, with what ends it. @throws InvalidTopicError, PubSubError as rejections */
  async subscribe(
    pattern: string,
    callback: EventCallback,
    options: SubscribeToEventOptions = {},
  ): Promise<() => void> {
    if (typeof callback !== "function")
      throw new PubSubError("INVALID_OPTION", `A subscription needs a function to call, not ${typeof callback}.`);
    const type = topic(pattern, typeOfPattern);
    const subscription: Subscription = { pattern, type, callback, onLoss: options.onLoss, sinks: new Map() };
    this.#subscriptions.add(subscription);
    try {
      await Promise.all([...this.#sources.values()].map((source) => this.#listen(subscription, source)));
    } catch (error) {
      this.#stop(subscription);
      throw error;
    }
    return () => this.#stop(subscription);
  }

  unsubscribe(pattern: string, callback: EventCallback): void {
    for (const each of this.#subscriptions)
      if (each.pattern === pattern && each.callback === callback) this.#stop(each);
  }

  async attach(source: Source): Promise<void> {
    this.#sources.set(source.eventTarget, source);
    await Promise.all([...this.#subscriptions].map((subscription) => this.#listen(subscription, source)));
  }

  detach({ eventTarget }: Source): void {
    this.#sources.delete(eventTarget);
    for (const { sinks } of this.#subscriptions) {
      sinks.get(eventTarget)?.stop();
      sinks.delete(eventTarget);
    }
  }

  /** Ends all subscriptions; the sources stay. */
  clear(): void {
    for (const subscription of this.#subscriptions) this.#stop(subscription);
  }

  #stop(subscription: Subscription): void {
    this.#subscriptions.delete(subscription);
    for (const sink of subscription.sinks.values()) sink.stop();
    subscription.sinks.clear();
  }

  async #listen(subscription: Subscription, source: Source): Promise<void> {
    const { eventTarget } = source;
    const own = !this.#hasOwn || source.transport !== "broker";
    const sink = new EventSink(eventTarget[coreOf], subscription.type, own, {
      deliver: (envelope) => this.#deliver(subscription, source, envelope),
      gap: (gap) => this.#lost(subscription, { source, reason: gap.reason, cause: gap }),
      fail: (error) => {
        subscription.sinks.delete(eventTarget);
        this.#lost(subscription, { source, reason: "ended", cause: error });
      },
    });
    subscription.sinks.set(eventTarget, sink);
    await sink.live();
  }

  #deliver({ callback }: Subscription, source: Source, { type, id, payload, meta }: EventEnvelope): void {
    // Where a publisher can be reached on several ways, the first on which its event arrives is the one.
    const name = meta?.passage;
    if (name !== undefined) {
      const first = this.#seen.use(name);
      if (first === undefined) this.#seen.set(name, source.eventTarget);
      else if (first !== source.eventTarget) return;
    }
    const isRemote = source.transport === "broker";
    const agentId = meta?.["agentId"];
    try {
      const result = callback(payload, {
        channel: channelOfType(type),
        data: payload,
        transport: source.transport,
        source: source.name,
        networkId: isRemote ? id : undefined,
        agentId: isRemote && typeof agentId === "string" ? agentId : undefined,
      }) as Promise<unknown> | undefined;
      if (typeof result?.then === "function") result.then(undefined, this.#report);
    } catch (error) {
      this.#report(error);
    }
  }

  #lost(
    { onLoss, pattern }: Subscription,
    {
      source: { name, title = name, transport },
      reason,
      cause,
    }: { source: Source; reason: EventLoss["reason"]; cause: unknown },
  ): void {
    const because = cause instanceof PubSubError && cause.code === "DISCONNECTED" ? (cause.cause ?? cause) : cause;
    if (onLoss !== undefined)
      try {
        return onLoss({ reason, transport, source: name, cause: because });
      } catch (error) {
        return this.#report(error);
      }
    // All subscriptions of a source are told of the same; whoever listens to errors needs it once.
    if (typeof cause === "object" && cause !== null) {
      if (this.#told.has(cause)) return;
      this.#told.add(cause);
    }
    const ended = reason === "ended";
    const why = because instanceof Error ? `: ${because.message}` : "";
    this.#report(
      new PubSubError(
        ended ? "DISCONNECTED" : "GAP",
        ended
          ? `No more events come from ${title} (${transport})${why}. Load it again, or give onLoss to ${pattern} to hear of it there.`
          : `Events from ${title} (${transport}) are missing: ${reason}. Give onLoss to hear of it where it happened.`,
        { cause: because, ...(!ended && { gap: cause as Gap }) },
      ),
    );
  }
}

/** What a channel or pattern is for a core. @throws InvalidTopicError */
export function topic(channel: string, typeOf: (channel: string) => string): string {
  if (typeof channel !== "string")
    throw new InvalidTopicError(String(channel), `A channel or pattern is a string, not ${typeof channel}.`);
  try {
    return typeOf(channel);
  } catch (error) {
    throw new InvalidTopicError(channel, error instanceof Error ? error.message : String(error));
  }
}

interface SinkOwner {
  deliver(envelope: EventEnvelope): void;
  gap(gap: Gap): void;
  fail(error: unknown): void;
}

/** One subscription at one source, as its core sees it. */
class EventSink implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly own: boolean;
  readonly owner: object = this;
  readonly #core: Core;
  readonly #to: SinkOwner;
  #stopped: (() => void) | undefined;

  constructor(core: Core, type: string, own: boolean, to: SinkOwner) {
    this.#core = core;
    this.type = type;
    this.own = own;
    this.#to = to;
  }

  /** Subscribes; resolves when it is live, or stopped before. @throws PubSubError as a rejection */
  async live(): Promise<void> {
    const live = this.#core.subscribe(this);
    if (live === undefined) return;
    // A core leaves those alone that are taken away before they are live.
    await Promise.race([live, new Promise<void>((resolve) => (this.#stopped = resolve))]);
  }

  stop(): void {
    this.#core.unsubscribe(this);
    this.#stopped?.();
  }

  deliver(envelope: EventEnvelope): void {
    this.#to.deliver(envelope);
  }

  gap(gap: Gap): void {
    this.#to.gap(gap);
  }

  fail(error: unknown): void {
    this.#to.fail(error);
  }

  end(): void {
    // Whoever closes a target of their own has taken it away before.
  }
}
