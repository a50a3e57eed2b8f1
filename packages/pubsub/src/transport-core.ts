import { DONE } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import { Dispatcher } from "./dispatcher.ts";
import { isPlain } from "./envelope.ts";
import type { EventEnvelope } from "./envelope.ts";
import { describe, formatTopic, ours, PubSubError, report } from "./errors.ts";
import { FilterState } from "./filter-state.ts";
import { Outbound } from "./outbound.ts";
import { filterKey, isPattern, matchesFilter } from "./topic.ts";
import { deadline, quietDeadline, randomId } from "./timers.ts";
import type { Filter, Gap, Receiver, Status, Supports, Transport } from "./transport.ts";

/** Options of the core, and so of every event target. All times are in milliseconds. */
export interface CoreOptions {
  /** Told of what concerns no one call: malformed messages, failed facade calls. Else reported as uncaught. */
  readonly onError?: (error: unknown) => void;
  /** How long opening may take, and how long publishes wait for it. Default 10,000. */
  readonly connectTimeout?: number;
  /** How long a subscription may wait to become live, an interruption included. Default 10,000. */
  readonly subscribeTimeout?: number;
  /** How long `close()` waits for publishes in flight, and then for the transport. Default 5,000. */
  readonly closeTimeout?: number;
  /** Publishes that may wait while connecting; the next one rejects with `NOT_READY`. Default 1,024. */
  readonly maxWaiting?: number;
}

/**
 * The transport core: one per event target, shared by every PubSub and listener on it. It owns listeners, reference
 * counts, readiness, resubscription and status; the transport below owns none of these.
 */
export class TransportCore implements Core, Receiver {
  readonly #transport: Transport;
  readonly #options: Required<Omit<CoreOptions, "onError">> & Pick<CoreOptions, "onError">;
  readonly #dispatcher = new Dispatcher();
  readonly #filters = new Map<string, FilterState>();
  /** The same filters by the object that the transport was given. */
  readonly #byFilter = new WeakMap<Filter, FilterState>();
  readonly #outbound: Outbound;
  readonly #statusListeners = new Set<(status: Status, cause: unknown) => void>();
  readonly id: string = randomId();
  /** What the far end has known this side by; what was published under an earlier one may still come back. */
  #origins: readonly string[] = [];
  /** Counts interruptions; an answer to a question of an earlier epoch is void. */
  #epoch = 0;
  #status: Status = "idle";
  #opening: Promise<void> | undefined;
  /** While `open` is under way: closing an open transport is `close`'s business. */
  #openAbort: AbortController | undefined;
  #interruptedAt = 0;
  /** Whether the transport may be asked: open, and not between a cut and its `resumed`. */
  #linkUp = false;
  /** A cut between the transport's word that it is open and the tick in which that is known here. */
  #cutEarly: { readonly cause: unknown } | undefined;
  /** Questions to the transport that have no answer yet; a cut answers them. */
  readonly #asked = new Set<() => void>();
  /** Filters that a resume still waits for. */
  #unresumed = 0;
  #closing: Promise<void> | undefined;
  /** Set once nothing more can happen; what every later call is told. */
  #over: PubSubError | undefined;
  #markClosed: () => void = () => undefined;
  readonly closed: Promise<void> = new Promise((resolve) => (this.#markClosed = resolve));

  constructor(transport: Transport, options: CoreOptions) {
    if (transport.post === undefined && transport.publish === undefined)
      throw new PubSubError(
        "INVALID_OPTION",
        "The transport has neither post nor publish; one of them has to be there.",
      );
    this.#transport = transport;
    this.#options = {
      connectTimeout: 10_000,
      subscribeTimeout: 10_000,
      closeTimeout: 5000,
      maxWaiting: 1024,
      ...options,
    };
    this.#outbound = new Outbound((envelope) => this.#dispatcher.dispatch(envelope, true));
  }

  get supports(): Supports {
    return this.#transport.supports;
  }

  get status(): Status {
    return this.#status;
  }

  onStatus(listener: (status: Status, cause: unknown) => void): () => void {
    this.#statusListeners.add(listener);
    return () => this.#statusListeners.delete(listener);
  }

  *sinks(): Generator<Sink, void, undefined> {
    for (const state of this.#filters.values()) yield* state.sinks;
  }

  settle(owner: object, timeout: number): Promise<void> {
    return this.#outbound.settle(owner, timeout);
  }

  // ---------------------------------------------------------------------------------------------------- publishing

  publish(envelope: EventEnvelope, owner: object): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    const interrupted = this.#status === "interrupted";
    if (this.#status === "ready" || (interrupted && this.#transport.holds === true)) return this.#send(envelope, owner);
    if (interrupted)
      return Promise.reject(
        new PubSubError(
          "INTERRUPTED",
          `${topicOf(envelope)} was not published: the connection is interrupted. Publish again once status is 'ready'.`,
        ),
      );
    if (this.#outbound.waiting >= this.#options.maxWaiting)
      return Promise.reject(
        new PubSubError(
          "NOT_READY",
          `${topicOf(envelope)} was not published: ${this.#options.maxWaiting} others already wait for the connection. Await publish, or wait for status 'ready'.`,
        ),
      );
    const waiting = this.#outbound.wait(envelope, owner);
    void this.open().catch(ignore);
    return waiting;
  }

  #send(envelope: EventEnvelope, owner: object): Promise<void> {
    const { echo } = this.#transport.supports;
    let accepted: Promise<void> | void = undefined;
    try {
      const sent = echo ? withOrigin(envelope, this.#origin()) : envelope;
      if (this.#transport.post === undefined) accepted = this.#transport.publish?.(sent);
      else {
        const posted = this.#transport.post(sent);
        if (posted !== undefined) return this.#outbound.track(envelope, owner, posted, !echo);
      }
    } catch (error) {
      return Promise.reject(ours("REFUSED", "The event was not published", error));
    }
    if (accepted === undefined && this.#outbound.empty) {
      if (!echo) this.#dispatcher.dispatch(envelope, true);
      return DONE;
    }
    return this.#outbound.follow(envelope, owner, accepted ?? DONE, !echo);
  }

  #origin(): string {
    const { origin } = this.#transport;
    if (origin === undefined) return this.id;
    if (this.#origins[0] !== origin) this.#origins = [origin, ...this.#origins.slice(0, MAX_ORIGINS - 1)];
    return origin;
  }

  #isOwn(origin: unknown): boolean {
    return origin !== undefined && (origin === this.id || this.#origins.includes(origin as string));
  }

  // --------------------------------------------------------------------------------------------------- subscribing

  subscribe(sink: Sink): Promise<void> | undefined {
    if (this.#over !== undefined) throw this.#over;
    this.#checkSupported(sink);
    const key = filterKey(sink);
    let state = this.#filters.get(key);
    if (state === undefined) {
      state = new FilterState(sink, key);
      this.#filters.set(key, state);
      this.#byFilter.set(state.filter, state);
    }
    state.add(sink);
    this.#attach(sink);
    if (state.phase === "live" && this.#status === "ready") return undefined;
    const live = this.#waitFor(state, sink);
    this.#drive(state);
    return live;
  }

  unsubscribe(sink: Sink): void {
    const state = this.#filters.get(filterKey(sink));
    if (state === undefined || !state.delete(sink)) return;
    this.#detach(sink);
    state.waiters.get(sink)?.stop();
    state.waiters.delete(sink);
    if (state.sinks.size === 0) this.#drive(state);
  }

  /** Members of a group get what is delivered to their filter, and nothing that the core would match for itself. */
  #attach(sink: Sink): void {
    if (sink.group === undefined) this.#dispatcher.add(sink);
    else sink.active = true;
  }

  #detach(sink: Sink): void {
    if (sink.group === undefined) this.#dispatcher.delete(sink);
    else sink.active = false;
  }

  #checkSupported(sink: Sink): void {
    const { patterns, groups } = this.#transport.supports;
    if (patterns === "none" && (isPattern(sink.type) || sink.id === undefined))
      throw new PubSubError(
        "UNSUPPORTED",
        `This event target has exact topics only (supports.patterns is 'none'); subscribe to a type with an id rather than to ${formatTopic(sink.type, sink.id)}.`,
      );
    if (sink.group !== undefined && !groups)
      throw new PubSubError(
        "UNSUPPORTED",
        "This event target has no groups (supports.groups is false); leave out the group, or use a transport that has them.",
      );
  }

  #waitFor(state: FilterState, sink: Sink): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = deadline(this.#options.subscribeTimeout, () => {
        // Others hold up the status; this one is live all the same.
        if (state.phase === "live" && this.#linkUp) return this.#resolveWaiters(state);
        this.unsubscribe(sink);
        reject(this.#notLive(state));
      });
      state.waiters.set(sink, {
        stop,
        resolve: () => (stop(), resolve()),
        reject: (error) => (stop(), reject(error)),
      });
    });
  }

  #notLive(state: FilterState): PubSubError {
    const topic = formatTopic(state.filter.type, state.filter.id);
    const waited = `within ${this.#options.subscribeTimeout} ms`;
    if (!this.#linkUp) {
      const state = this.#status === "interrupted" ? "is interrupted and has not come back" : "is not open yet";
      return new PubSubError(
        "TIMEOUT",
        `${topic} was not subscribed ${waited}: the connection ${state}${this.#problem()}.`,
      );
    }
    return new PubSubError(
      "TIMEOUT",
      `The far end did not acknowledge the subscription to ${topic} ${waited}. Likely it does not speak the link protocol (then use { plain: true } on this side), is frozen, or is overloaded.`,
    );
  }

  /** What the transport says is wrong, for the end of a sentence. */
  #problem(): string {
    const { problem } = this.#transport;
    return problem === undefined ? "" : `: ${problem}`;
  }

  /** Brings what the far end has to what is wanted here, one step after the other, until they agree. */
  #drive(state: FilterState): void {
    if (state.driven || this.#over !== undefined) return;
    state.driven = true;
    void this.#driving(state);
  }

  async #driving(state: FilterState): Promise<void> {
    for (;;) {
      const wanted = state.sinks.size > 0;
      if (this.#over !== undefined || (wanted ? state.phase === "live" : state.phase === "idle")) break;
      if (!this.#linkUp) {
        // Nothing can be asked now. Whoever brings the link up (open, resumed) drives every filter.
        if (!wanted || this.#status !== "idle") break;
        await this.open().catch(ignore);
        if (!this.#linkUp) break;
        continue;
      }
      const epoch = this.#epoch;
      if (wanted) {
        state.phase = "subscribing";
        state.revoked = false;
        const problem = await this.#ask(
          () => this.#transport.subscribe(state.filter),
          () => this.#notLive(state),
        );
        if (epoch !== this.#epoch) state.phase = "idle";
        else if (problem === undefined && state.wasRevoked()) {
          this.#refuse(state, state.revocation);
          // Whichever of the two the far end said last, nothing is left there after this.
          await this.#ask(
            () => this.#transport.unsubscribe(state.filter),
            () => this.#notLive(state),
          );
        } else if (problem === undefined) this.#becomeLive(state);
        else this.#refuse(state, ours("REFUSED", "The subscription was refused", problem.error));
      } else {
        state.phase = "unsubscribing";
        const problem = await this.#ask(
          () => this.#transport.unsubscribe(state.filter),
          () => this.#notLive(state),
        );
        // Cut off in the middle: if the far end turns out to have kept its subscriptions, this one may be among them.
        // Back already, and wanted again: what was kept is not known here any more, so ask anew.
        if (epoch === this.#epoch || (this.#linkUp && state.sinks.size > 0)) state.phase = "idle";
        else {
          state.phase = "live";
          state.doubtful = true;
        }
        if (problem !== undefined && epoch === this.#epoch) this.#report(problem.error);
      }
    }
    // In the same tick as the decision to stop: whoever wants something new in the next one finds nobody driving.
    state.driven = false;
    if (state.sinks.size === 0 && state.phase === "idle" && this.#filters.get(state.key) === state)
      this.#filters.delete(state.key);
    if (this.#linkUp) this.#hasResumed(state);
  }

  /** Asks the transport, until it answers, the time is up or the link is cut; returns what went wrong. */
  #ask(
    question: () => Promise<void> | void,
    late: () => unknown,
    timeout: number = this.#options.subscribeTimeout,
  ): Promise<{ readonly error: unknown } | undefined> {
    return new Promise((resolve) => {
      const done = (problem?: { readonly error: unknown }): void => {
        stop();
        this.#asked.delete(cut);
        resolve(problem);
      };
      const cut = (): void => done();
      const stop = deadline(timeout, () => done({ error: late() }));
      this.#asked.add(cut);
      try {
        const answer = question();
        if (answer === undefined) done();
        else
          answer.then(
            () => done(),
            (error: unknown) => done({ error }),
          );
      } catch (error) {
        done({ error });
      }
    });
  }

  /** Whoever then publishes is not to be refused for the interruption that they waited out: they wait for the status, too. */
  #becomeLive(state: FilterState): void {
    state.phase = "live";
    if (this.#status === "ready") this.#resolveWaiters(state);
  }

  #resolveWaiters(state: FilterState): void {
    const waiting = [...state.waiters.values()];
    state.waiters.clear();
    for (const waiter of waiting) waiter.resolve();
  }

  /** The far end said no, or nothing. Those that wait get the error; those that were live before a cut end with it. */
  #refuse(state: FilterState, error: unknown): void {
    state.phase = "idle";
    this.#dissolve(state, error, (sink) => sink.fail(error));
    if (!(error instanceof PubSubError) || error.code !== "TIMEOUT") return;
    // It may still be subscribed over there: undo it, whatever comes of that.
    void this.#ask(
      () => this.#transport.unsubscribe(state.filter),
      () => error,
    );
  }

  /** Takes every sink of a filter out: waiters are told the error, live sinks are ended. */
  #dissolve(state: FilterState, error: unknown, end: (sink: Sink) => void): void {
    const waiting = new Map(state.waiters);
    const sinks = state.list;
    state.waiters.clear();
    for (const sink of sinks) {
      state.delete(sink);
      this.#detach(sink);
    }
    for (const sink of sinks) {
      const waiter = waiting.get(sink);
      if (waiter === undefined) end(sink);
      else waiter.reject(error);
    }
  }

  // -------------------------------------------------------------------------------------------- opening and closing

  /** Makes the transport ready, once. A failure is told to all who wait, and forgotten. */
  open(): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    return (this.#opening ??= this.#open());
  }

  async #open(): Promise<void> {
    const { connectTimeout } = this.#options;
    const abort = (this.#openAbort = new AbortController());
    this.#cutEarly = undefined;
    this.#setStatus("connecting", undefined);
    const problem = await this.#ask(
      () => this.#transport.open(this, abort.signal),
      () =>
        new PubSubError(
          "NOT_READY",
          `The connection did not become ready within ${connectTimeout} ms${this.#problem()}. Check that the other side runs and speaks the same protocol, or raise connectTimeout.`,
        ),
      connectTimeout,
    );
    if (this.#over !== undefined) throw this.#over;
    if (problem !== undefined) {
      const error = ours("NOT_READY", "The connection could not be opened", problem.error);
      abort.abort(error);
      this.#opening = undefined;
      this.#setStatus("idle", error);
      this.#outbound.rejectWaiting(error);
      for (const state of [...this.#filters.values()]) {
        this.#dissolve(state, error, ignore);
        this.#filters.delete(state.key);
      }
      throw error;
    }
    this.#openAbort = undefined;
    this.#linkUp = true;
    if (this.#cutEarly !== undefined) {
      const { cause } = this.#cutEarly;
      this.interrupted(cause);
      this.#outbound.rejectWaiting(
        new PubSubError(
          "INTERRUPTED",
          "The connection was interrupted as soon as it was open; nothing was published.",
          {
            cause,
          },
        ),
      );
      return;
    }
    this.#setStatus("ready", undefined);
    // What is asked for goes first, so that whoever subscribed and then published hears what comes of it.
    for (const state of this.#filters.values()) this.#drive(state);
    this.#outbound.sendWaiting((envelope, owner) => this.#send(envelope, owner));
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    if (this.#over !== undefined) return;
    const { closeTimeout } = this.#options;
    this.#over = new PubSubError("CLOSED", "This event target was closed. Make a new one.");
    this.#outbound.rejectWaiting(this.#over);
    await this.#outbound.settle(undefined, closeTimeout);
    this.#finish(this.#over, (sink) => sink.end());
    let stop: (() => void) | undefined;
    try {
      await Promise.race([
        this.#transport.close(),
        new Promise<void>((resolve) => (stop = deadline(closeTimeout, resolve))),
      ]);
    } catch (error) {
      this.#report(error);
    } finally {
      stop?.();
      this.#markClosed();
    }
  }

  /** The last word for every sink and waiter. */
  #finish(error: PubSubError, end: (sink: Sink) => void): void {
    this.#over = error;
    this.#linkDown();
    this.#openAbort?.abort(error);
    this.#outbound.rejectWaiting(error);
    this.#outbound.rejectAll(error);
    const states = [...this.#filters.values()];
    this.#filters.clear();
    for (const state of states) this.#dissolve(state, error, end);
    this.#setStatus("closed", error);
  }

  #linkDown(): void {
    this.#linkUp = false;
    this.#epoch++;
    for (const cut of [...this.#asked]) cut();
  }

  // ------------------------------------------------------------------------------------------ the transport's calls

  deliver(envelope: EventEnvelope, filter?: Filter): void {
    if (this.#over !== undefined && this.#status === "closed") return;
    const own = this.#isOwn(envelope.meta?.origin);
    if (filter === undefined) return this.#dispatcher.dispatch(envelope, own);
    const state = this.#byFilter.get(filter);
    // Brokers' patterns may be wider than ours (Redis globs cross dots), so the filter has the last word.
    if (state !== undefined && matchesFilter(filter, envelope))
      this.#dispatcher.dispatchTo(filter.group === undefined ? state.list : state.inTurn(own), envelope, own);
  }

  interrupted(cause: unknown): void {
    if (this.#status === "connecting" && !this.#linkUp) {
      // Unless `open` has resolved already, what the transport is doing about it is part of opening.
      const early = (this.#cutEarly = { cause });
      quietDeadline(0, () => {
        if (this.#cutEarly === early) this.#cutEarly = undefined;
      });
    }
    if (this.#over !== undefined || !this.#linkUp) return;
    this.#linkDown();
    if (this.#status !== "interrupted") this.#interruptedAt = Date.now();
    if (this.#transport.holds !== true)
      this.#outbound.rejectAll(
        new PubSubError(
          "INTERRUPTED",
          "The connection was interrupted before the far end acknowledged; the event may have been delivered.",
          { cause },
        ),
      );
    this.#setStatus("interrupted", cause);
  }

  resumed(how: { readonly kept: boolean; readonly replayed: boolean; readonly reason?: Gap["reason"] }): void {
    this.#cutEarly = undefined;
    if (this.#over !== undefined || this.#status !== "interrupted" || this.#linkUp) return;
    this.#linkUp = true;
    this.#epoch++;
    const gap: Gap = {
      reason: how.reason ?? "reconnect",
      since: this.#interruptedAt,
      until: Date.now(),
      lost: "unknown",
    };
    const states = [...this.#filters.values()];
    this.#unresumed = 0;
    for (const state of states) {
      if (!how.replayed) this.#tell(state, gap);
      // Kept, unless the cut left an unsubscribe unanswered: wanted again, that has to be asked.
      const kept = how.kept && !(state.doubtful && state.sinks.size > 0);
      state.doubtful = false;
      if (kept && state.phase === "live") this.#becomeLive(state);
      else if (state.phase === "live") state.phase = "idle";
      state.resuming = state.sinks.size > 0 && state.phase !== "live";
      if (state.resuming) this.#unresumed++;
    }
    for (const state of states) this.#drive(state);
    if (this.#unresumed === 0) this.#allResumed();
  }

  /** A filter is as it should be again; with the last one, so is the target. */
  #hasResumed(state: FilterState): void {
    if (!state.resuming) return;
    state.resuming = false;
    if (--this.#unresumed === 0) this.#allResumed();
  }

  #allResumed(): void {
    this.#setStatus("ready", undefined);
    for (const state of this.#filters.values())
      if (state.phase === "live" && this.#status === "ready") this.#resolveWaiters(state);
  }

  gap(gap: Gap, filter?: Filter): void {
    if (this.#over !== undefined) return;
    const state = filter && this.#byFilter.get(filter);
    if (state !== undefined) this.#tell(state, gap);
    else if (filter === undefined) for (const each of [...this.#filters.values()]) this.#tell(each, gap);
  }

  revoked(filter: Filter, error: unknown): void {
    const state = this.#byFilter.get(filter);
    if (state === undefined || this.#over !== undefined) return;
    state.revoked = state.phase === "subscribing";
    state.revocation = error;
    this.#refuse(state, error);
  }

  ended(cause: unknown): void {
    if (this.#over !== undefined) return;
    this.#finish(
      new PubSubError(
        "DISCONNECTED",
        `The other side is gone: ${describe(cause)}. Make a new event target to connect again.`,
        { cause },
      ),
      (sink) => sink.fail(this.#over),
    );
    this.#closing ??= DONE;
    this.#markClosed();
  }

  error(error: unknown): void {
    this.#report(error);
  }

  /** A loss, for those sinks of a filter that were promised its events: the ones that are live. */
  #tell(state: FilterState, gap: Gap): void {
    for (const sink of state.list) if (!state.waiters.has(sink)) sink.gap(gap);
  }

  #setStatus(status: Status, cause: unknown): void {
    if (this.#status === status) return;
    this.#status = status;
    for (const listener of [...this.#statusListeners])
      try {
        listener(status, cause);
      } catch (error) {
        this.#report(error);
      }
  }

  #report(error: unknown): void {
    report(error, this.#options.onError);
  }
}

/** Origins that are remembered. */
const MAX_ORIGINS = 16;

function topicOf(envelope: EventEnvelope): string {
  return formatTopic(envelope.type, envelope.id);
}

function withOrigin(envelope: EventEnvelope, origin: string): EventEnvelope {
  const { type, id, payload, meta } = envelope;
  // One that is passed on keeps the mark of whoever published it first.
  if (meta?.origin !== undefined) return envelope;
  const marked = meta === undefined ? { origin } : { ...meta, origin };
  // A spread costs as much as stringifying what it makes.
  return isPlain(envelope) ? { type, id, payload, meta: marked } : { ...envelope, meta: marked };
}

function ignore(): void {}
