import { PubSubError } from "@alkdev/pubsub";
import type { Filter } from "@alkdev/pubsub";
import { givenId } from "@alkdev/pubsub/event-stream";
import type { EventStream } from "@alkdev/pubsub/event-stream";
import { checkFilter, coreOf, filterKey } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Core } from "@alkdev/pubsub/transport";
import { Feed, FeedReader, hubClosed } from "./event-feed.ts";
import type { FeedOwner } from "./event-feed.ts";
import type { Granted } from "./grants.ts";
import { safely } from "./hub.ts";

/** What event streams may cost together. */
export interface EventStreamLimits {
  /** Streams at the same time; more are refused with `LIMIT`. Default 10,000. */
  readonly streams?: number;
  /** Filters of one stream. Default 64. */
  readonly filters?: number;
  /** Sets of filters that are kept; all streams of one set share it. With more, the longest idle one goes. Default 10,000. */
  readonly feeds?: number;
  /** Events of one set that are kept, for readers that are slow or come back. Default 4,096. */
  readonly events?: number;
  /** Characters that all sets keep together; beyond them the one that keeps most gives up its older half. Default 64 Mi. */
  readonly characters?: number;
  /** Milliseconds that a set is kept without a reader, so that one can come back and miss nothing. 0: not at all. Default 30,000. */
  readonly resumeWindow?: number;
}

/** Options of `createEventStreams`. */
export interface EventStreamsOptions {
  readonly limits?: EventStreamLimits;
  /** Told of payloads that are no JSON; a gap stands in their place. Default: nothing is reported. */
  readonly onError?: (error: unknown) => void;
  /** Whether events of a type go to no stream, whatever it asks for. Asked once an event and set. Default: none are withheld. */
  readonly withhold?: (type: string) => boolean;
}

/** Options of `EventStreams.open`. */
export interface OpenStreamOptions {
  /** The consumer's `Last-Event-ID`: the stream goes on right after it, or begins with a gap. */
  readonly lastEventId?: string | readonly string[] | null | undefined;
}

/** Figures of event streams. */
export interface EventStreamsStatus {
  /** Streams that are open. */
  readonly streams: number;
  /** Sets of filters that are kept, those without a reader included. */
  readonly feeds: number;
  /** What they keep. */
  readonly events: number;
  readonly characters: number;
  /** Times that a reader was so slow that what it had not read yet was gone. */
  readonly slow: number;
}

/** Streams of server-sent events that can be resumed. */
export interface EventStreams extends AsyncDisposable {
  /**
   * Opens a stream of what matches any of the filters, each event once; resolves when it is live. Give it to `toEventStream` or
   * `sendEventStream`, or cancel it.
   *
   * With a `lastEventId` of the same filters it goes on right after that, once each and in order, as long as the events
   * are kept. Else a gap comes first: `trimmed` (with how many) where they are not, `resume-expired` where the id is of
   * another hub, of other filters or of a set that nobody read for `resumeWindow`.
   *
   * @throws InvalidTopicError, PubSubError `CLOSED`, `LIMIT`, `INVALID_OPTION` (too many filters, or none), and whatever subscribing rejects with; all as rejections
   */
  open(filters: Granted | readonly Granted[], options?: OpenStreamOptions): Promise<EventStream>;
  status(): EventStreamsStatus;
  /** Ends every stream with a word (`CLOSED`) and forgets what was kept. Idempotent. */
  close(): Promise<void>;
}

/**
 * Keeps the recent events of an event target (`hub.eventTarget`), so that consumers of server-sent events that were cut off
 * can come back and miss nothing. Only sets of filters that somebody reads, or read lately, are kept.
 *
 * @example
 * const streams = createEventStreams(hub.eventTarget);
 * createServer((request, response) => {
 *   const stream = streams.open("session.*", { lastEventId: request.headers["last-event-id"] });
 *   sendEventStream(stream, response).catch(() => response.writeHead(503).end());
 * });
 */
export function createEventStreams(eventTarget: AlkEventTarget, options: EventStreamsOptions = {}): EventStreams {
  return new Streams(eventTarget, options);
}

/** Filters of one stream, unless `limits.filters` says otherwise. */
export const MAX_FILTERS = 64;

class Streams implements EventStreams, FeedOwner {
  readonly core: Core;
  readonly limits: Required<EventStreamLimits>;
  readonly report: (error: unknown) => void;
  readonly isWithheld: (type: string) => boolean;
  readonly #feeds = new Map<string, Feed>();
  /** Feeds that keep something, those that are over and still read included. */
  readonly #kept = new Set<Feed>();
  /** Feeds without a reader, the longest idle first. */
  readonly #idle = new Set<Feed>();
  #streams = 0;
  #characters = 0;
  slow = 0;
  #closed = false;

  constructor(eventTarget: AlkEventTarget, { limits, onError, withhold = () => false }: EventStreamsOptions) {
    this.core = eventTarget[coreOf];
    this.isWithheld = withhold;
    const safe = safely(onError && ((error) => onError(error)));
    this.report = (error) => safe(error, undefined);
    this.limits = {
      streams: 10_000,
      filters: MAX_FILTERS,
      feeds: 10_000,
      events: 4096,
      characters: 64 * 1024 * 1024,
      resumeWindow: 30_000,
      ...limits,
    };
  }

  async open(filters: Granted | readonly Granted[], { lastEventId }: OpenStreamOptions = {}): Promise<EventStream> {
    const wanted = this.#checked(Array.isArray(filters) ? (filters as readonly Granted[]) : [filters as Granted]);
    if (this.#closed) throw hubClosed();
    if (this.#streams >= this.limits.streams)
      throw new PubSubError(
        "LIMIT",
        `There are ${this.limits.streams} event streams, which is the limit (limits.streams). Try again later.`,
      );
    const feed = this.#feeds.get(keyOf(wanted)) ?? this.#add(wanted);
    this.#streams++;
    feed.join();
    try {
      await feed.live;
    } catch (error) {
      feed.leave();
      throw error;
    }
    return new FeedReader(feed, givenId(lastEventId));
  }

  #checked(filters: readonly Granted[]): Filter[] {
    const wanted = new Map<string, Filter>();
    for (const given of filters) {
      const filter: Filter = typeof given === "string" ? { type: given } : { type: given.type, id: given.id };
      checkFilter(filter);
      wanted.set(filterKey(filter), filter);
    }
    if (wanted.size === 0 || wanted.size > this.limits.filters)
      throw new PubSubError(
        "INVALID_OPTION",
        `An event stream may have from 1 to ${this.limits.filters} filters, not ${wanted.size}; use a pattern, or raise limits.filters.`,
      );
    return [...wanted.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, filter]) => filter);
  }

  #add(filters: readonly Filter[]): Feed {
    if (this.#feeds.size >= this.limits.feeds) {
      const [longest] = this.#idle;
      if (longest === undefined)
        throw new PubSubError(
          "LIMIT",
          `There are event streams of ${this.limits.feeds} sets of filters, which is the limit (limits.feeds). Try again later.`,
        );
      longest.end(undefined);
    }
    const feed = new Feed(keyOf(filters), filters, this);
    // One that cannot be subscribed is gone already; whoever waits for it is told.
    if (!feed.isOver) this.#feeds.set(feed.key, feed);
    return feed;
  }

  status(): EventStreamsStatus {
    let events = 0;
    for (const feed of this.#kept) events += feed.kept;
    const { size: feeds } = this.#feeds;
    return { streams: this.#streams, feeds, events, characters: this.#characters, slow: this.slow };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const feed of [...this.#feeds.values()]) feed.end(hubClosed());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // ----------------------------------------------------------------------------------------- what feeds call

  grown(feed: Feed, characters: number): void {
    this.#kept.add(feed);
    this.#characters += characters;
    while (this.#characters > this.limits.characters) {
      let largest = feed;
      for (const each of this.#kept) if (each.characters > largest.characters) largest = each;
      if (largest.characters === 0) return;
      largest.halve();
    }
  }

  shrunk(characters: number): void {
    this.#characters -= characters;
  }

  left(feed: Feed): void {
    this.#streams--;
    if (!feed.isIdle || feed.isOver) return;
    this.#idle.add(feed);
  }

  joined(feed: Feed): void {
    this.#idle.delete(feed);
  }

  over(feed: Feed): void {
    this.#idle.delete(feed);
    if (this.#feeds.get(feed.key) === feed) this.#feeds.delete(feed.key);
  }

  emptied(feed: Feed): void {
    this.#kept.delete(feed);
  }
}

function keyOf(filters: readonly Filter[]): string {
  return JSON.stringify(filters.map(filterKey));
}
