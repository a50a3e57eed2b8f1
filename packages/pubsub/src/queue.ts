import { excerpt, PubSubError, report } from "./errors.ts";
import type { EventEnvelope } from "./envelope.ts";
import { NOTHING } from "./poll.ts";
import { Ring } from "./ring.ts";
import type { Sink } from "./core.ts";
import type { Filter, Gap } from "./transport.ts";

/** How much a subscription buffers, and what happens to the event that does not fit. */
export interface BufferOptions {
  /** Events that may wait for their consumer. Default 16,384; at most 16,777,216. */
  readonly limit?: number;
  /**
   * `error` (default): the subscription ends; what is buffered drains, then `OVERFLOW` is thrown. `drop-oldest` and
   * `drop-newest`: the event is dropped and counted, and a gap stands where it was.
   */
  readonly overflow?: "error" | "drop-oldest" | "drop-newest";
}

/** What a consumer does about gaps: a function that is told, or `'ignore'` to say that it does not care. */
export type OnGap = ((gap: Gap) => void) | "ignore";

/** What a queue needs to know; the same object serves every subscription of a PubSub that has no options of its own. */
export interface QueueSettings {
  readonly limit: number;
  readonly overflow: "error" | "drop-oldest" | "drop-newest";
  readonly onGap: OnGap | undefined;
  readonly onError: ((error: unknown) => void) | undefined;
}

/** @throws PubSubError `INVALID_OPTION` */
export function checkBuffer({ limit = 16_384, overflow = "error" }: BufferOptions): Required<BufferOptions> {
  if (!Number.isInteger(limit) || limit < 1 || limit > 2 ** 24)
    throw new PubSubError(
      "INVALID_OPTION",
      `buffer.limit must be a whole number from 1 to ${2 ** 24}, not ${excerpt(limit)}.`,
    );
  if (overflow !== "error" && overflow !== "drop-oldest" && overflow !== "drop-newest")
    throw new PubSubError(
      "INVALID_OPTION",
      `buffer.overflow must be 'error', 'drop-oldest' or 'drop-newest', not ${excerpt(overflow)}.`,
    );
  return { limit, overflow };
}

/** A gap in the queue. Grows while the same kind of loss goes on. */
class Mark {
  gap: Gap;
  constructor(gap: Gap) {
    this.gap = gap;
  }
}

/** Joins a loss to the mark of the same reason among the given ones; false if there is none. */
function join(marks: Iterable<Mark>, gap: Gap): boolean {
  for (const mark of marks) {
    if (mark.gap.reason !== gap.reason) continue;
    mark.gap = joinGaps(mark.gap, gap);
    return true;
  }
  return false;
}

/** Two losses of one reason, with no event between them, as one. */
export function joinGaps({ reason, since, until, lost }: Gap, gap: Gap): Gap {
  return {
    reason,
    since: Math.min(since, gap.since),
    until: Math.max(until, gap.until),
    lost: lost === "unknown" || gap.lost === "unknown" ? "unknown" : lost + gap.lost,
  };
}

/** The marks at the end of a queue, last first. One a reason at most, so there are few. */
function* marksAtEnd(ring: Ring<EventEnvelope | Mark>): Generator<Mark, void, undefined> {
  for (let i = -1; ; i--) {
    const mark = ring.at(i);
    if (!(mark instanceof Mark)) return;
    yield mark;
  }
}

/** Takes the marks at the front out of the queue and joins them to a run. */
function takeMarks(ring: Ring<EventEnvelope | Mark>, run: Mark[]): void {
  while (ring.at(0) instanceof Mark) {
    const mark = ring.shift() as Mark;
    if (!join(run, mark.gap)) run.push(mark);
  }
}

type Result = IteratorResult<EventEnvelope, undefined>;
const OVER: Result = { value: undefined, done: true };

/**
 * The buffer of one iterated subscription. The core holds it, the consumer holds the `Subscription` in front of it: an
 * abandoned Subscription can be collected while its queue still fills.
 *
 * States only advance: open → draining (no more comes in) → over (nothing is left to read).
 */
export class Queue implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly group: string | undefined;
  readonly own: boolean;
  readonly owner: object;
  received = 0;
  dropped = 0;
  gaps = 0;
  /** Detaches from the core; set by whoever attached. */
  release: (() => void) | undefined;
  /** Nothing is left to read. Later than `release`: until then a signal may still discard what drains. */
  finished: (() => void) | undefined;

  #settings: QueueSettings;
  #ring: Ring<EventEnvelope | Mark> | undefined;
  #marks = 0;
  /** A parked `next()`. Resolving it with a rejected promise is how it throws. */
  #parked: ((result: Result | Promise<Result>) => void) | undefined;
  #moreParked: Ring<(result: Result | Promise<Result>) => void> | undefined;
  /** A parked reader of batches. */
  #wake: (() => void) | undefined;
  /** The Subscription, while something is parked: whoever waits for an event need not hold it, and still gets it. */
  reader: object | undefined;
  #state: "open" | "draining" | "over" = "open";
  #error: unknown;
  #failed = false;

  constructor(filter: Filter, settings: QueueSettings, own: boolean, owner: object) {
    this.#settings = settings;
    this.type = filter.type;
    this.id = filter.id;
    this.group = filter.group;
    this.own = own;
    this.owner = owner;
  }

  deliver(envelope: EventEnvelope): void {
    if (this.#state !== "open") return;
    this.received++;
    const parked = this.#parked;
    if (parked !== undefined) {
      this.#parked = this.#moreParked?.shift();
      if (this.#parked === undefined && this.#wake === undefined) this.reader = undefined;
      parked({ value: envelope, done: false });
      return;
    }
    const ring = (this.#ring ??= new Ring());
    if (ring.size - this.#marks >= this.#settings.limit) this.#overflow(ring, envelope);
    else ring.push(envelope);
    if (this.#wake !== undefined) this.#wakeUp();
  }

  gap(gap: Gap): void {
    if (this.#state !== "open") return;
    if (this.#parked !== undefined) {
      // The consumer stands at this very place, so it reaches the gap now.
      this.gaps++;
      this.#reach(gap);
      return;
    }
    this.#mark((this.#ring ??= new Ring()), gap);
    if (this.#wake !== undefined) this.#wakeUp();
  }

  fail(error: unknown): void {
    if (this.#state === "open") this.#drain(true, error);
  }

  end(): void {
    if (this.#state === "open") this.#drain(false, undefined);
  }

  /** The consumer is done with it: what is buffered is discarded, a parked `next()` is done at once. */
  discard(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#failed = false;
    this.#ring = undefined;
    this.#marks = 0;
    this.#detach();
    this.#settleParked();
    this.#finish();
  }

  next(reader?: object): Promise<Result> {
    // Read anew each time: reaching a gap may end the subscription.
    for (let ring = this.#ring; ring !== undefined && ring.size > 0; ring = this.#ring) {
      const item = ring.shift() as EventEnvelope | Mark;
      if (this.#marks === 0 || !(item instanceof Mark))
        return Promise.resolve({ value: item as EventEnvelope, done: false });
      this.#marks--;
      this.#reach(item.gap);
    }
    if (this.#state !== "open") return this.#terminal();
    this.reader = reader;
    return new Promise((resolve) => {
      if (this.#parked === undefined) this.#parked = resolve;
      else (this.#moreParked ??= new Ring()).push(resolve);
    });
  }

  /** The next run of events up to a gap; waits for the first. */
  async nextBatch(reader?: object): Promise<IteratorResult<EventEnvelope[], undefined>> {
    for (;;) {
      const ring = this.#ring;
      if (ring !== undefined && ring.size > 0) {
        if (this.#marks === 0) return { value: ring.takeAll() as EventEnvelope[], done: false };
        const batch: EventEnvelope[] = [];
        while (ring.size > 0 && !(ring.at(0) instanceof Mark)) batch.push(ring.shift() as EventEnvelope);
        if (batch.length > 0) return { value: batch, done: false };
        this.#marks--;
        this.#reach((ring.shift() as Mark).gap);
        continue;
      }
      if (this.#state !== "open") return this.#terminal() as Promise<IteratorResult<never, undefined>>;
      this.reader = reader;
      await new Promise<void>((resolve) => {
        const before = this.#wake;
        this.#wake = before === undefined ? resolve : () => (before(), resolve());
      });
    }
  }

  /** The next event if one is buffered and no gap stands before it. */
  poll(): EventEnvelope | typeof NOTHING {
    const ring = this.#ring;
    if (ring === undefined || ring.size === 0) return NOTHING;
    if (this.#marks > 0 && ring.at(0) instanceof Mark) return NOTHING;
    return ring.shift() as EventEnvelope;
  }

  /** Hands the gaps that the consumer comes to to the listener too, unless nobody cares for them. */
  gapsTo(listener: (gap: Gap) => void): void {
    const { onGap } = this.#settings;
    if (onGap === "ignore") return;
    const both: OnGap = (gap) => (listener(gap), onGap?.(gap));
    this.#settings = { ...this.#settings, onGap: both };
  }

  #overflow(ring: Ring<EventEnvelope | Mark>, envelope: EventEnvelope): void {
    const { limit, overflow } = this.#settings;
    this.dropped++;
    if (overflow === "error") {
      this.fail(
        new PubSubError(
          "OVERFLOW",
          `The subscription ended because ${limit} events were waiting and another came. Read faster (batches() reads all at once), raise buffer.limit, or choose buffer.overflow 'drop-oldest' or 'drop-newest'.`,
        ),
      );
      return;
    }
    const now = Date.now();
    const gap: Gap = { reason: "overflow", since: now, until: now, lost: 1 };
    if (overflow === "drop-newest") {
      this.#mark(ring, gap);
      return;
    }
    // Losses on both sides of the event that goes become neighbours: one run, one mark a reason, so that a consumer
    // which never reads cannot make it grow.
    const run: Mark[] = [];
    const before = ring.size;
    takeMarks(ring, run);
    ring.shift();
    takeMarks(ring, run);
    this.#marks -= before - ring.size - 1;
    if (!join(run, gap)) {
      run.push(new Mark(gap));
      this.gaps++;
    }
    for (let mark = run.pop(); mark !== undefined; mark = run.pop()) {
      ring.unshift(mark);
      this.#marks++;
    }
    ring.push(envelope);
  }

  #mark(ring: Ring<EventEnvelope | Mark>, gap: Gap): void {
    if (join(marksAtEnd(ring), gap)) return;
    ring.push(new Mark(gap));
    this.#marks++;
    this.gaps++;
  }

  /** The consumer has come to a gap. */
  #reach(gap: Gap): void {
    const { onGap, onError } = this.#settings;
    if (onGap === "ignore") return;
    if (onGap !== undefined) {
      try {
        onGap(gap);
      } catch (error) {
        report(error, onError);
      }
      return;
    }
    // Terminal, and unsubscribed already: after a throw from next(), for await calls no return().
    this.#ring = undefined;
    this.#marks = 0;
    this.#drain(true, gapError(gap));
  }

  #drain(failed: boolean, error: unknown): void {
    this.#state = "draining";
    this.#failed = failed;
    this.#error = error;
    this.#detach();
    if (this.#ring === undefined || this.#ring.size === 0) this.#settleParked();
    else if (this.#wake !== undefined) this.#wakeUp();
  }

  /** What a read gives once nothing is buffered: the error once, then done. */
  #terminal(): Promise<Result> {
    this.#state = "over";
    this.#finish();
    if (!this.#failed) return Promise.resolve(OVER);
    this.#failed = false;
    const error = this.#error;
    this.#error = undefined;
    return Promise.reject(error);
  }

  #settleParked(): void {
    for (let parked = this.#parked; parked !== undefined; parked = this.#parked) {
      this.#parked = this.#moreParked?.shift();
      parked(this.#terminal());
    }
    if (this.#wake === undefined) this.reader = undefined;
    if (this.#wake !== undefined) this.#wakeUp();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    if (this.#parked === undefined) this.reader = undefined;
    wake?.();
  }

  #detach(): void {
    const release = this.release;
    this.release = undefined;
    release?.();
  }

  #finish(): void {
    const finished = this.finished;
    this.finished = undefined;
    finished?.();
  }
}

/** The error that a gap is, where nobody handles gaps. */
export function gapError(gap: Gap): PubSubError {
  const count =
    gap.lost === "unknown" ? "An unknown number of events" : `${gap.lost} event${gap.lost === 1 ? "" : "s"}`;
  return new PubSubError(
    "GAP",
    `${count} may be missing here (${gap.reason}). Pass onGap to be told and go on, or onGap: 'ignore' not to care.`,
    { gap },
  );
}
