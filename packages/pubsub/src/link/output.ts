import type { Channel } from "../channel.ts";
import type { EventEnvelope } from "../envelope.ts";
import { PayloadError, PubSubError } from "../errors.ts";
import { stringify } from "../serializer.ts";
import { utf8Length } from "../topic.ts";
import type { Posted, Waiter } from "../transport.ts";
import type { Hello, Welcome } from "./frames.ts";
import { isTold } from "./outbox.ts";
import type { Sent, Told } from "./outbox.ts";
import { rowsFrame } from "./rows.ts";

/** An event on its way out, encoded at most once however many links it goes to. */
export class Outgoing {
  readonly envelope: EventEnvelope;
  /** Why it cannot be JSON, once somebody has tried. */
  problem: PayloadError | undefined;
  readonly #encode: (() => string) | undefined;
  #json: string | undefined;
  #unawaited: Sent | undefined;

  /** @param json its JSON, where that is known otherwise */
  constructor(envelope: EventEnvelope, json?: () => string) {
    this.envelope = envelope;
    this.#encode = json;
  }

  /** The same event for one subscription of the far end alone. */
  for(ref: number): Outgoing {
    return new Outgoing(
      { ...this.envelope, $to: ref } as EventEnvelope,
      () => `${this.json.slice(0, -1)},"$to":${ref}}`,
    );
  }

  /** Characters of JSON; 0 while nothing needed them (a channel that clones). */
  get size(): number {
    return this.#json?.length ?? 0;
  }

  /** This event as one that nobody waits for: it has to be counted all the same. Shared by all links it goes to. */
  get unawaited(): Sent {
    return (this.#unawaited ??= { outgoing: this, awaited: false, resolve: nothing, reject: nothing });
  }

  /** @throws PayloadError if the payload cannot be JSON */
  get json(): string {
    if (this.problem !== undefined) throw this.problem;
    try {
      return (this.#json ??= this.#encode === undefined ? stringify(this.envelope) : this.#encode());
    } catch (error) {
      this.problem = error as PayloadError;
      throw error;
    }
  }
}

/** An event whose publisher waits for its acknowledgement; it goes to one link. */
export class Publication extends Outgoing implements Sent, Posted {
  readonly awaited = true;
  waiter: Waiter | undefined;

  get outgoing(): Outgoing {
    return this;
  }

  resolve(): void {
    this.waiter?.accepted();
  }

  reject(error: unknown): void {
    this.waiter?.refused(error);
  }
}

function nothing(): void {}

/** Envelopes that are gathered at most before they are sent. */
const MAX_GATHERED = 1000;

/**
 * What one link sends, gathered until the end of the current task and then sent in as few frames as fit. A lone
 * envelope goes out alone and in the same tick.
 */
export class Output {
  readonly #channel: Channel;
  readonly #sent: (sent: Sent | Told) => void;
  readonly #unsendable: (sent: Sent, error: PubSubError) => void;
  /** Adds what may go along with what is sent anyway. */
  readonly #along: () => void;
  #flushing = false;
  #frames: unknown[] = [];
  /** Beside `#frames`: who waits for the acknowledgement; undefined for most control frames, and in plain mode. */
  #pending: (Sent | Told | undefined)[] = [];
  #events = 0;
  #scheduled = false;
  #maxFrame: number;
  #batch = false;
  #rows = false;

  constructor(
    channel: Channel,
    maxFrame: number,
    sent: (sent: Sent | Told) => void,
    unsendable: (sent: Sent, error: PubSubError) => void,
    along: () => void,
  ) {
    this.#channel = channel;
    this.#maxFrame = maxFrame;
    this.#sent = sent;
    this.#unsendable = unsendable;
    this.#along = along;
  }

  /** Events gathered and not sent. */
  get waiting(): number {
    return this.#events;
  }

  /** What the far end takes. Its welcome says nothing of batches, its hello does. */
  peer(far: Hello | Welcome): void {
    if (far.limits?.frame !== undefined) this.#maxFrame = far.limits.frame;
    if (!("versions" in far)) return;
    this.#batch = Boolean(far.batch);
    this.#rows = Boolean(far.rows);
  }

  /** @param told what has to be sent again where it may not have arrived */
  control(frame: EventEnvelope, told?: Told): void {
    this.#add(this.#channel.encoding === "json" ? JSON.stringify(frame) : frame, told);
  }

  /** @throws PayloadError if it cannot be encoded, or is larger than the far end takes */
  event(outgoing: Outgoing, pending: Sent | undefined): void {
    if (this.#channel.encoding === "clone") this.#add(outgoing.envelope, pending);
    else {
      const { json } = outgoing;
      if (json.length * 3 > this.#maxFrame && utf8Length(json, this.#maxFrame) > this.#maxFrame) {
        const { type, id } = outgoing.envelope;
        throw new PayloadError(
          type,
          id,
          `The event has ${utf8Length(json)} bytes, the far end takes ${this.#maxFrame}; send less, or raise maxFrame there`,
        );
      }
      this.#add(json, pending);
    }
    if (pending !== undefined) this.#events++;
  }

  flush(): void {
    if (this.#frames.length === 0) return;
    if (!this.#flushing) {
      this.#flushing = true;
      this.#along();
      this.#flushing = false;
    }
    const frames = this.#frames;
    if (frames.length === 0) return;
    const pending = this.#pending;
    this.#frames = [];
    this.#pending = [];
    this.#events = 0;
    if (!this.#batch || frames.length === 1)
      for (let i = 0; i < frames.length; i++) this.#send(frames, pending, i, i + 1);
    else if (this.#channel.encoding === "clone") this.#send(frames, pending, 0, frames.length);
    else
      for (let from = 0; from < frames.length;) {
        // Up to three bytes a character: a frame that is full by this count is never over the limit.
        let size = (frames[from] as string).length * 3;
        let to = from + 1;
        for (; to < frames.length; to++) {
          size += (frames[to] as string).length * 3 + 1;
          if (size > this.#maxFrame) break;
        }
        this.#send(frames, pending, from, to);
        from = to;
      }
  }

  /** Takes out the events and gaps that were gathered and not sent; other control frames are dropped. */
  takeEvents(): (Sent | Told)[] {
    const events = this.#pending.filter((sent) => sent !== undefined);
    this.#frames = [];
    this.#pending = [];
    this.#events = 0;
    return events;
  }

  #add(frame: unknown, pending: Sent | Told | undefined): void {
    this.#frames.push(frame);
    this.#pending.push(pending);
    // A burst in one task is sent on the way, so that what waits here stays small and the channel's count tells.
    if (this.#frames.length >= MAX_GATHERED) return this.flush();
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  #send(frames: unknown[], pending: (Sent | Told | undefined)[], from: number, to: number): void {
    const lone = to - from === 1;
    try {
      if (this.#channel.encoding === "json")
        this.#channel.send(
          lone ? frames[from] : `[${(from === 0 && to === frames.length ? frames : frames.slice(from, to)).join(",")}]`,
        );
      else this.#channel.send(lone ? frames[from] : this.#rows ? rowsFrame(frames) : frames);
    } catch (cause) {
      if (!lone) {
        // One of them cannot be cloned. Nothing was sent; sent one by one, only that one fails.
        for (let i = from; i < to; i++) this.#send(frames, pending, i, i + 1);
        return;
      }
      const { type, id } = frames[from] as EventEnvelope;
      const sent = pending[from];
      const error =
        cause instanceof PubSubError
          ? cause
          : new PayloadError(type, id, `The payload cannot be cloned: ${(cause as Error).message}`, { cause });
      if (sent !== undefined && !isTold(sent)) this.#unsendable(sent, error);
      // What that made its owner say belongs here, before the frames that follow.
      this.flush();
      return;
    }
    for (let i = from; i < to; i++) {
      const each = pending[i];
      if (each !== undefined) this.#sent(each);
    }
  }
}
