import type { EnvelopeMeta, EventEnvelope } from "./envelope.ts";
import { randomId } from "./timers.ts";
import type { Gap } from "./transport.ts";

/** Topics whose numbers are remembered, on each side; the one longest unused is forgotten first. */
const MAX_TOPICS = 65_536;

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
}

/** Remembers the most recently used; a Map keeps the order of insertion. */
class Recent<V> {
  readonly #map = new Map<string, V>();

  /** The value, which counts as used now. */
  use(key: string): V | undefined {
    const value = this.#map.get(key);
    if (value !== undefined && this.#map.size > MAX_TOPICS / 2) {
      this.#map.delete(key);
      this.#map.set(key, value);
    }
    return value;
  }

  /** @returns true if another one was forgotten for it */
  set(key: string, value: V): boolean {
    this.#map.set(key, value);
    if (this.#map.size <= MAX_TOPICS) return false;
    for (const oldest of this.#map.keys()) {
      this.#map.delete(oldest);
      break;
    }
    return true;
  }
}

/** The publisher's side: numbers events per topic. */
export class Numbering {
  readonly #id = randomId().slice(0, 16);
  readonly #counts = new Recent<Count>();
  #generation = 0;

  /** The `meta` of the next event of a topic. */
  next(type: string, id: string): EnvelopeMeta {
    const key = `${type}:${id}`;
    let count = this.#counts.use(key);
    if (count === undefined) {
      // A topic that was forgotten begins anew under another name: the same one would look like a repetition.
      count = { by: `${this.#id}.${this.#generation}`, at: Date.now(), n: 0 };
      if (this.#counts.set(key, count)) this.#generation++;
    }
    return { seq: { by: count.by, n: ++count.n, at: count.at } satisfies Sequence };
  }
}

/** One subscription's side: finds what is missing and what is repeated, per publisher and topic. */
export class Tracking {
  readonly #last = new Recent<{ n: number }>();
  readonly #since = Date.now();

  /**
   * Looks at an event that arrived.
   *
   * @returns what is missing before it; `true` if it is in place, `false` if it is a repetition or comes too late (its
   * place was reported as a gap already)
   */
  admit({ type, id, meta }: EventEnvelope): Gap | boolean {
    const seq = meta?.["seq"] as Partial<Sequence> | undefined;
    if (typeof seq?.by !== "string" || typeof seq.n !== "number") return true;
    const key = `${seq.by} ${type}:${id}`;
    const known = this.#last.use(key);
    // The first one that we see: what came before it was missed only if it was published since we listen.
    const last = known?.n ?? ((seq.at ?? 0) > this.#since ? 0 : seq.n - 1);
    if (seq.n <= last) return false;
    if (known === undefined) this.#last.set(key, { n: seq.n });
    else known.n = seq.n;
    if (seq.n === last + 1) return true;
    const now = Date.now();
    return { reason: "sequence", since: now, until: now, lost: seq.n - last - 1 };
  }
}
