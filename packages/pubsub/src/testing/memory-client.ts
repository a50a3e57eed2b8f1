// The client's side of the memory broker: a Transport, and what the world does to its connection.
import type { EventEnvelope } from "../envelope.ts";
import { PayloadError, PubSubError } from "../errors.ts";
import { Outgoing } from "../link/output.ts";
import { filterKey, utf8Length } from "../topic.ts";
import type { Filter, Gap, Receiver, Supports } from "../transport.ts";
import { Session, topicOf } from "./memory-broker.ts";
import type { Broker, Logged } from "./memory-broker.ts";
import type { MemoryTransport, Resumption } from "./memory.ts";
import type { Lane } from "./scheduler.ts";

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

export class Client implements MemoryTransport {
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
