import type { EnvelopeMeta, EventEnvelope } from "./envelope.ts";
import { PubSubError } from "./errors.ts";
import { Recent } from "./recent.ts";
import { isPattern } from "./topic.ts";
import { randomId } from "./timers.ts";
import type { Filter, Gap } from "./transport.ts";

/** Topics whose numbers are remembered, on each side; those longest unused are forgotten first. */
const MAX_TOPICS = 65_536;
/** How far back a number is a repetition or late. Further back it is neither: someone else used the publisher's name. */
const MAX_LATE = 1_048_576;
/** Characters of a publisher's name. Ours have fewer; a peer's could be of any length. */
const MAX_NAME = 64;
/** Milliseconds by which a peer's clock may be ahead for its word to count. */
const MAX_AHEAD = 3_600_000;

/** What `sequence: true` puts into `meta.seq`. */
export interface Sequence {
  /** The publisher: another one after a restart, and after its count of the topic was forgotten. */
  readonly by: string;
  /** The number of the event among this publisher's events of this topic, from 1. */
  readonly n: number;
  /** When number 1 was published, in milliseconds since 1970. */
  readonly at: number;
}

interface Count {
  readonly by: string;
  readonly at: number;
  n: number;
  /** The latest run of numbers that were given and not sent. */
  unsentFrom: number;
  unsentTo: number;
}

let latest = 0;

/** Now, in milliseconds since 1970, and later than whatever was stamped before in this process. */
function stamp(): number {
  const now = Date.now();
  // Within one millisecond fractions tell before from after. A clock that was set back is followed.
  latest = now > latest || now < latest - 1000 ? now : latest + 1 / 1024;
  return latest;
}

/** The publisher's side: numbers events per topic. */
export class Numbering {
  readonly #id = randomId().slice(0, 16);
  // A topic that was forgotten begins anew under another name: the same one would look like a repetition.
  readonly #counts = new Recent<Count>(MAX_TOPICS, () => this.#generation++);
  #generation = 0;

  /** The `meta` of the next event of a topic. */
  next(type: string, id: string): EnvelopeMeta {
    const key = `${type}:${id}`;
    let count = this.#counts.use(key);
    if (count === undefined) {
      count = { by: `${this.#id}.${this.#generation}`, at: stamp(), n: 0, unsentFrom: 1, unsentTo: 0 };
      this.#counts.set(key, count);
    }
    return { seq: { by: count.by, n: ++count.n, at: count.at } satisfies Sequence };
  }

  /** A publish failed. A number that was surely not sent is given again, unless a later one was: then it is a gap. */
  failed({ type, id, meta }: EventEnvelope, error: unknown): void {
    const seq = meta?.["seq"] as Sequence | undefined;
    if (seq === undefined || !(error instanceof PubSubError) || !UNSENT.has(error.code)) return;
    const { by, n } = seq;
    const count = this.#counts.use(`${type}:${id}`);
    if (count?.by !== by) return;
    if (n !== count.unsentTo + 1) count.unsentFrom = n;
    count.unsentTo = n;
    if (n === count.n) count.n = count.unsentTo = count.unsentFrom - 1;
  }
}

/** Codes of publishes that never left. */
const UNSENT: ReadonlySet<string> = new Set(["PAYLOAD", "NOT_READY", "OVERFLOW"]);

interface Place {
  n: number;
  readonly at: number;
}

/**
 * One subscription's side: finds what is missing and what is repeated, per publisher and topic.
 *
 * Numbers are not signed. Who may publish to a topic can spoil the numbers of others there: hide at most `MAX_LATE` of
 * their events, or feign a gap. It can cost neither memory nor what comes after.
 */
export class Tracking {
  readonly #places = new Recent<Place>(MAX_TOPICS, (places) => {
    // Of a topic as old as one that was forgotten nobody knows whether it was seen before.
    for (const { at } of places.values()) if (at > this.#since) this.#since = at;
  });
  readonly #exact: boolean;
  /** Topics that began after it are seen from their first event. */
  #since = Infinity;

  constructor(filter: Filter) {
    this.#exact = filter.id !== undefined && !isPattern(filter.type);
  }

  /** The subscription is live: from now on what is published is owed. */
  live(): void {
    this.#since = stamp();
  }

  /**
   * Looks at an event that arrived.
   *
   * @returns what is missing before it; `true` if it is in place, `false` if it is a repetition or comes too late (its
   * place was reported as a gap already)
   */
  admit({ type, id, meta }: EventEnvelope): Gap | boolean {
    const seq = meta?.["seq"] as Partial<Sequence> | null | undefined;
    if (typeof seq?.by !== "string" || seq.by.length > MAX_NAME) return true;
    const { by, n = 0 } = seq;
    if (!Number.isSafeInteger(n) || n < 1) return true;
    const key = this.#exact ? by : `${by.length}:${by}${type}:${id}`;
    const place = this.#places.use(key);
    if (place === undefined) return this.#first(key, n, seq.at);
    const last = place.n;
    if (n <= last && last - n < MAX_LATE) return false;
    place.n = n;
    return n === last + 1 || sequenceGap(n < last ? "unknown" : n - last - 1);
  }

  #first(key: string, n: number, at: unknown): Gap | boolean {
    const began = typeof at === "number" && at < Date.now() + MAX_AHEAD ? at : 0;
    // What came before it was missed only if it was published since we listen.
    const missed = began > this.#since ? n - 1 : 0;
    this.#places.set(key, { n, at: began });
    return missed === 0 || sequenceGap(missed);
  }
}

function sequenceGap(lost: Gap["lost"]): Gap {
  const now = Date.now();
  return { reason: "sequence", since: now, until: now, lost };
}
