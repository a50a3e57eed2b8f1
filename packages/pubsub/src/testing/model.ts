/**
 * What a subscriber must have seen: the promise of the library in one small place, to hold any run against, random ones
 * above all. Whoever runs something tells the model what was called and what came back, in the order in which it
 * happened; `check()` says which promises were broken.
 */
import type { EventEnvelope } from "../envelope.ts";
import { formatTopic } from "../errors.ts";
import { matchesFilter } from "../topic.ts";
import type { Filter, Gap, Supports } from "../transport.ts";

/** One call of `publish`. */
export interface Publication {
  /** Who published: the number of its event target. */
  readonly publisher: number;
  readonly type: string;
  readonly id: string;
  /** Counts all publications of the run, from 0; it is the payload. */
  readonly number: number;
  readonly startedAt: number;
  /** When it resolved, or rejected. */
  settledAt: number | undefined;
  outcome: "pending" | "resolved" | "rejected";
}

/** One subscription, and what its consumer met, in order. */
export interface Watched {
  readonly subscriber: number;
  readonly filter: Filter;
  readonly own: boolean;
  /** Whether its buffer is small enough to overflow. */
  readonly bounded: boolean;
  readonly calledAt: number;
  /** When it was ready. */
  liveAt: number | undefined;
  /** When it was ended from this side, or ended. */
  endedAt: number | undefined;
  /** Whether it ended with an error, which reports the loss of all that comes after. */
  failed: boolean;
  readonly seen: Seen[];
}

/** What a consumer met. */
export type Seen =
  | { readonly kind: "event"; readonly at: number; readonly envelope: EventEnvelope }
  | { readonly kind: "gap"; readonly at: number; readonly gap: Gap };

/** What happened to one event target from outside. */
interface Trouble {
  readonly at: number;
  readonly target: number;
  readonly kind: TroubleKind;
}

/**
 * `interruption`: the connection is gone. `loss`: the far end lost events for this target. `refusal`: the far end may
 * refuse what this target publishes.
 */
export type TroubleKind = "interruption" | "loss" | "refusal";

/** Collects a run, and checks it. Event targets are numbers, from 0, in the order of the manifests. */
export class Model {
  readonly #supports: readonly Supports[];
  readonly #publications: Publication[] = [];
  readonly #subscriptions: Watched[] = [];
  readonly #troubles: Trouble[] = [];
  #clock = 0;

  constructor(supports: readonly Supports[]) {
    this.#supports = supports;
  }

  /** `publish` is about to be called, with the publication's number as the payload. */
  publishing(publisher: number, type: string, id: string): Publication {
    const publication: Publication = {
      publisher,
      type,
      id,
      number: this.#publications.length,
      startedAt: ++this.#clock,
      settledAt: undefined,
      outcome: "pending",
    };
    this.#publications.push(publication);
    return publication;
  }

  settled(publication: Publication, outcome: "resolved" | "rejected"): void {
    publication.settledAt = ++this.#clock;
    publication.outcome = outcome;
  }

  /** `subscribe` is about to be called. */
  subscribing(
    subscriber: number,
    filter: Filter,
    { own = true, bounded = false }: { readonly own?: boolean; readonly bounded?: boolean } = {},
  ): Watched {
    const watched: Watched = {
      subscriber,
      filter,
      own,
      bounded,
      calledAt: ++this.#clock,
      liveAt: undefined,
      endedAt: undefined,
      failed: false,
      seen: [],
    };
    this.#subscriptions.push(watched);
    return watched;
  }

  /** `subscribe` resolved. Where nobody acknowledges, call it once the other side is known to have the subscription. */
  live(watched: Watched): void {
    watched.liveAt ??= ++this.#clock;
  }

  event(watched: Watched, envelope: EventEnvelope): void {
    watched.seen.push({ kind: "event", at: ++this.#clock, envelope });
  }

  gap(watched: Watched, gap: Gap): void {
    watched.seen.push({ kind: "gap", at: ++this.#clock, gap });
  }

  /** The subscription is over: left by its consumer, refused, or `failed`. */
  ended(watched: Watched, failed: boolean = false): void {
    if (watched.endedAt !== undefined) return;
    watched.endedAt = ++this.#clock;
    watched.failed = failed;
  }

  /** Something happened to an event target from outside. */
  trouble(target: number, kind: TroubleKind): void {
    this.#troubles.push({ at: ++this.#clock, target, kind });
  }

  /** The promises that were broken, one sentence each. Call it when nothing is on its way any more. */
  check(): string[] {
    const broken: string[] = [];
    for (const publication of this.#publications)
      if (publication.outcome === "pending") broken.push(`${name(publication)} never settled`);
    for (const watched of this.#subscriptions)
      for (const problem of this.#checkSubscription(watched)) broken.push(`${describe(watched)}: ${problem}`);
    for (const problem of this.#checkGroups()) broken.push(problem);
    return broken;
  }

  *#checkSubscription(watched: Watched): Generator<string, void, undefined> {
    if (watched.liveAt === undefined && watched.endedAt === undefined) yield "never became live, and never failed";
    /** The places at which events of one publisher and topic were seen, in order. */
    const streams = new Map<string, { readonly place: number; readonly publication: Publication }[]>();
    const all = new Map<number, number>();
    for (const [place, seen] of watched.seen.entries()) {
      if (watched.endedAt !== undefined && seen.at > watched.endedAt) yield `something came after its end`;
      if (seen.kind === "gap") {
        if (!this.#explained(watched, seen)) yield `a gap (${seen.gap.reason}) that nothing explains`;
        continue;
      }
      const { envelope } = seen;
      const publication = this.#publications[envelope.payload as number];
      if (publication === undefined || publication.type !== envelope.type || publication.id !== envelope.id) {
        yield `an event that nobody published: ${JSON.stringify(envelope)}`;
        continue;
      }
      if (!matchesFilter(watched.filter, envelope)) yield `${name(publication)} does not match`;
      if (!watched.own && publication.publisher === watched.subscriber) yield `${name(publication)} is its own`;
      const before = all.get(publication.number);
      if (before !== undefined) {
        if (!this.#mayRepeat(watched.subscriber, seen.at)) yield `${name(publication)} came twice`;
        continue;
      }
      all.set(publication.number, place);
      const key = streamKey(publication);
      const stream = streams.get(key) ?? [];
      streams.set(key, stream);
      const last = stream.at(-1)?.publication;
      if (
        last !== undefined &&
        last.number > publication.number &&
        // Repeats may begin before the subscription did.
        (this.#owed(watched, publication) || !this.#mayRepeat(watched.subscriber, seen.at))
      )
        yield `${name(publication)} came after ${name(last)}, which was published later`;
      stream.push({ place, publication });
    }
    /** How many are missing at one place. */
    const missing = new Map<string, { readonly from: number; readonly to: number; count: number }>();
    for (const publication of this.#publications) {
      if (all.has(publication.number) || !this.#owed(watched, publication)) continue;
      const stream = streams.get(streamKey(publication)) ?? [];
      const next = stream.find((other) => other.publication.number > publication.number);
      const previous = stream.findLast((other) => other.publication.number < publication.number);
      // Nobody is owed what was still on its way when it left.
      if (next === undefined && watched.endedAt !== undefined) continue;
      const from = (previous?.place ?? -1) + 1;
      const to = next?.place ?? watched.seen.length;
      if (!watched.seen.slice(from, to).some(({ kind }) => kind === "gap"))
        yield `${name(publication)} is missing, and no gap stands where it should be`;
      const place = `${streamKey(publication)} ${from}`;
      const here = missing.get(place) ?? { from, to, count: 0 };
      here.count++;
      missing.set(place, here);
    }
    for (const { from, to, count } of missing.values()) {
      let told = 0;
      let gaps = 0;
      for (const seen of watched.seen.slice(from, to)) {
        if (seen.kind !== "gap") continue;
        gaps++;
        told += seen.gap.lost === "unknown" ? Infinity : seen.gap.lost;
      }
      if (gaps > 0 && told < count) yield `${count} events are missing where the gaps tell of ${told}`;
    }
  }

  /** Whether a subscription must have seen a publication, or have been told of the loss. */
  #owed(watched: Watched, publication: Publication): boolean {
    const { subscriber, filter, own, liveAt } = watched;
    const { publisher, startedAt, settledAt = 0 } = publication;
    if (liveAt === undefined || publication.outcome !== "resolved" || startedAt < liveAt) return false;
    if (filter.group !== undefined) return false;
    if (!matchesFilter(filter, { type: publication.type, id: publication.id, payload: null })) return false;
    if (publisher === subscriber && !own) return false;
    // Who is told nothing on publishing, or nothing of a loss, is promised nothing once there is trouble.
    if (this.#supports[publisher]?.publishAck === "none" && this.#troubled(publisher, 0, Infinity)) return false;
    if (this.#supports[subscriber]?.lossDetection === "none" && this.#troubled(subscriber, 0, Infinity)) return false;
    return settledAt > 0;
  }

  /** A gap needs a cause: a full buffer, an interruption since the subscription began, or a loss on the far end. */
  #explained({ bounded, subscriber, calledAt }: Watched, { gap, at }: Seen & { readonly kind: "gap" }): boolean {
    if (bounded && gap.reason === "overflow") return true;
    return this.#troubled(subscriber, calledAt, at, "interruption") || this.#troubled(subscriber, 0, at, "loss");
  }

  /** At least once: repeats may follow an interruption, and nothing else. */
  #mayRepeat(subscriber: number, at: number): boolean {
    return (
      this.#supports[subscriber]?.delivery === "at-least-once" && this.#troubled(subscriber, 0, at, "interruption")
    );
  }

  #troubled(target: number, from: number, to: number, kind?: TroubleKind): boolean {
    return this.#troubles.some(
      (trouble) =>
        trouble.target === target &&
        trouble.at >= from &&
        trouble.at <= to &&
        (kind === undefined || trouble.kind === kind),
    );
  }

  /** Members of one group share: no event goes to two of them. */
  *#checkGroups(): Generator<string, void, undefined> {
    const served = new Map<string, { readonly watched: Watched; readonly at: number }>();
    for (const watched of this.#subscriptions) {
      if (watched.filter.group === undefined) continue;
      for (const seen of watched.seen) {
        if (seen.kind === "gap") continue;
        const key = `${watched.filter.group} ${String(seen.envelope.payload)}`;
        const other = served.get(key);
        if (
          other !== undefined &&
          other.watched !== watched &&
          ![other.watched, watched].some(({ subscriber }) => this.#mayRepeat(subscriber, Math.max(other.at, seen.at)))
        )
          yield `${name(this.#publications[seen.envelope.payload as number])} went to two members of the group ${watched.filter.group}`;
        served.set(key, { watched, at: seen.at });
      }
    }
  }
}

function streamKey({ publisher, type, id }: Publication): string {
  return `${publisher} ${formatTopic(type, id)}`;
}

function name(publication: Publication | undefined): string {
  if (publication === undefined) return "an unknown event";
  return `event ${publication.number} (${formatTopic(publication.type, publication.id)} of ${publication.publisher})`;
}

function describe({ subscriber, filter, own, calledAt }: Watched): string {
  const id = filter.id === undefined ? " with any id" : "";
  const group = filter.group === undefined ? "" : ` in ${filter.group}`;
  return `the subscription of ${subscriber} to ${formatTopic(filter.type, filter.id)}${id}${group}${own ? "" : ", own: false"}, called at ${calledAt}`;
}
