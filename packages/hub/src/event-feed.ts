// One set of filters that event streams read: what it keeps, and its readers.
import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, Filter, Gap } from "@alkdev/pubsub";
import { endText, eventText, idText, MAX_TEXT } from "@alkdev/pubsub/event-stream";
import type { EventStream } from "@alkdev/pubsub/event-stream";
import { matchesFilter, Outgoing, quietDeadline, randomId, Ring } from "@alkdev/pubsub/transport";
import type { Core, Sink } from "@alkdev/pubsub/transport";

/** What a feed needs of whoever keeps it. */
export interface FeedOwner {
  readonly core: Core;
  readonly limits: { readonly events: number; readonly resumeWindow: number };
  slow: number;
  report(error: unknown): void;
  /** Whether events of a type go to nobody. */
  isWithheld(type: string): boolean;
  /** More is kept; the owner may call `halve`. */
  grown(feed: Feed, characters: number): void;
  shrunk(characters: number): void;
  joined(feed: Feed): void;
  left(feed: Feed): void;
  /** Nothing comes in any more. */
  over(feed: Feed): void;
  /** Nothing is kept any more. */
  emptied(feed: Feed): void;
}

/** An event or a gap, as it is sent. */
interface Entry {
  readonly text: string;
  readonly isGap: boolean;
  readonly at: number;
}

/**
 * A place in a feed: so many events and so many gaps lie before it. As an id of an event it has the feed's name in front,
 * and the time at its end, so that a gap after it can say since when.
 */
interface Place {
  readonly events: number;
  readonly gaps: number;
  readonly at: number;
}

/** One filter of a feed. */
class FeedFilter implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly own = true;
  readonly owner: Feed;

  constructor({ type, id }: Filter, owner: Feed) {
    this.type = type;
    this.id = id;
    this.owner = owner;
  }

  deliver(envelope: EventEnvelope): void {
    this.owner.deliver(envelope, this);
  }

  gap(gap: Gap): void {
    this.owner.gap(gap);
  }

  fail(error: unknown): void {
    this.owner.end(error);
  }

  end(): void {
    this.owner.end(hubClosed());
  }
}

export function hubClosed(): PubSubError {
  return new PubSubError("CLOSED", "The hub was closed. Connect again once it is back.");
}

/**
 * A set of filters with its recent events, shared by all streams that read it. It is subscribed from the first reader on
 * until nobody has read it for a while, without a break, so that every place in it is one that can be resumed from.
 */
export class Feed {
  readonly key: string;
  /** Resolves once every filter is live. */
  readonly live: Promise<unknown>;
  readonly name: string = randomId().slice(0, 16);
  readonly owner: FeedOwner;
  readonly #filters: readonly FeedFilter[];
  readonly #ring = new Ring<Entry>();
  /** Where the ring begins: what lies before is not kept. */
  #from: Place;
  /** Where it ends. */
  #to: Place;
  /** The last thing that came in, if it was a gap. */
  #lastGap: Gap | undefined;
  characters = 0;
  readonly #parked = new Set<() => void>();
  #readers = 0;
  #refuse: ((error: unknown) => void) | undefined;
  #stopWaiting: (() => void) | undefined;
  isOver = false;
  /** The last word for readers. */
  #end = "";

  constructor(key: string, filters: readonly Filter[], owner: FeedOwner) {
    this.key = key;
    this.owner = owner;
    this.#from = this.#to = { events: 0, gaps: 0, at: Date.now() };
    this.#filters = filters.map((filter) => new FeedFilter(filter, this));
    // The core never answers for what was taken out again, hence the second promise.
    this.live = Promise.race([this.#subscribe(), new Promise((_, reject) => (this.#refuse = reject))]);
    // Whoever waits is told.
    this.live.catch((error: unknown) => this.end(error));
  }

  async #subscribe(): Promise<unknown> {
    return Promise.all(this.#filters.map(async (filter) => this.owner.core.subscribe(filter)));
  }

  get kept(): number {
    return this.#ring.size;
  }

  get isIdle(): boolean {
    return this.#readers === 0;
  }

  get from(): Place {
    return this.#from;
  }

  get to(): Place {
    return this.#to;
  }

  get endText(): string {
    return this.#end;
  }

  /** The entry after so many others of this feed, if it is kept. */
  after({ events, gaps }: Place): Entry | undefined {
    return this.#ring.at(events + gaps - this.#from.events - this.#from.gaps);
  }

  // -------------------------------------------------------------------------------------------------- what comes in

  deliver(envelope: EventEnvelope, filter: FeedFilter): void {
    if (this.owner.isWithheld(envelope.type)) return;
    // It comes once for each filter that matches: the first of them is the one that counts.
    for (const first of this.#filters)
      if (first === filter) break;
      else if (matchesFilter(first, envelope)) return;
    let json: string;
    try {
      ({ json } = new Outgoing(envelope));
    } catch (error) {
      this.owner.report(error);
      const now = Date.now();
      return this.gap({ reason: "overflow", since: now, until: now, lost: 1 });
    }
    this.#lastGap = undefined;
    this.#push(undefined, json);
  }

  gap(gap: Gap): void {
    // One loss of several filters is one.
    if (gap === this.#lastGap) return;
    this.#lastGap = gap;
    this.#push("gap", JSON.stringify(gap));
  }

  #push(event: "gap" | undefined, json: string): void {
    if (this.isOver) return;
    const isGap = event === "gap";
    const at = Date.now();
    const { events, gaps } = this.#to;
    this.#to = isGap ? { events, gaps: gaps + 1, at } : { events: events + 1, gaps, at };
    const text = eventText(this.idOf(this.#to), event, json);
    this.#ring.push({ text, isGap, at });
    this.characters += text.length;
    if (this.#ring.size > this.owner.limits.events) this.#trim();
    this.owner.grown(this, text.length);
    this.#wake();
  }

  /** Gives up the oldest entry. */
  #trim(): void {
    const entry = this.#ring.shift();
    if (entry === undefined) return;
    this.#from = follow(this.#from, entry);
    this.characters -= entry.text.length;
    this.owner.shrunk(entry.text.length);
  }

  /** Gives up the older half of what is kept, at least one entry. */
  halve(): void {
    const target = this.characters / 2;
    do this.#trim();
    while (this.characters > target);
  }

  /** Nothing more comes in: what is kept may still be read. */
  end(error: unknown): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#end = endText(error);
    this.#refuse?.(error);
    this.#stopWaiting?.();
    for (const filter of this.#filters) this.owner.core.unsubscribe(filter);
    this.owner.over(this);
    this.#wake();
    this.#forget();
  }

  // --------------------------------------------------------------------------------------------------------- readers

  join(): void {
    this.#readers++;
    this.#stopWaiting?.();
    this.owner.joined(this);
  }

  leave(): void {
    this.#readers--;
    this.owner.left(this);
    if (!this.isIdle) return;
    const { resumeWindow } = this.owner.limits;
    if (this.isOver) this.#forget();
    else if (resumeWindow === 0) this.end(undefined);
    else this.#stopWaiting = quietDeadline(resumeWindow, () => this.end(undefined));
  }

  #forget(): void {
    if (!this.isIdle) return;
    this.owner.shrunk(this.characters);
    this.characters = 0;
    this.#ring.clear();
    this.owner.emptied(this);
  }

  /** Calls back once when there is more, or the end. */
  park(wake: () => void): void {
    this.#parked.add(wake);
  }

  unpark(wake: () => void): void {
    this.#parked.delete(wake);
  }

  #wake(): void {
    const parked = [...this.#parked];
    this.#parked.clear();
    for (const wake of parked) wake();
  }

  idOf({ events, gaps, at }: Place): string {
    return `${this.name}.${events}.${gaps}.${at.toString(36)}`;
  }

  /** The place that an id names, if it is one of this feed. */
  placeOf(id: string): Place | undefined {
    const named = parseId(id);
    if (named?.name !== this.name) return undefined;
    const { events, gaps } = named;
    return events > this.#to.events || gaps > this.#to.gaps ? undefined : named;
  }
}

function follow({ events, gaps }: Place, { isGap, at }: Entry): Place {
  return isGap ? { events, gaps: gaps + 1, at } : { events: events + 1, gaps, at };
}

const ID = /^([0-9a-f]{16})\.(\d{1,15})\.(\d{1,15})\.([0-9a-z]{1,9})$/;

function parseId(id: string): (Place & { readonly name: string }) | undefined {
  const [, name, events, gaps, at] = ID.exec(id) ?? [];
  if (name === undefined) return undefined;
  return { name, events: Number(events), gaps: Number(gaps), at: Number.parseInt(at ?? "", 36) };
}

/** One stream: a place in a feed that moves on as it is read. */
export class FeedReader implements EventStream {
  readonly #feed: Feed;
  #place: Place;
  /** What the first read gives. */
  #beginning: string;
  #isOver = false;
  #wake: (() => void) | undefined;

  /** @param lastEventId where to go on; without one, from here on */
  constructor(feed: Feed, lastEventId: string | undefined) {
    this.#feed = feed;
    this.#place = feed.to;
    this.#beginning = this.#begin(lastEventId);
    abandoned.register(this, feed, this);
  }

  /** The first words are one event: a consumer that has the id has been told of the gap. */
  #begin(lastEventId: string | undefined): string {
    const feed = this.#feed;
    const place = lastEventId === undefined ? undefined : feed.placeOf(lastEventId);
    if (place !== undefined) {
      this.#place = place;
      return this.#isBehind() ? this.#skip("trimmed") : idText(feed.idOf(place));
    }
    if (lastEventId === undefined) return idText(feed.idOf(this.#place));
    const until = Date.now();
    // By the clock of whichever hub gave the id; nonsense is as good as now.
    const since = Math.min(parseId(lastEventId)?.at ?? until, until);
    const gap: Gap = { reason: "resume-expired", since, until, lost: "unknown" };
    return eventText(feed.idOf(this.#place), "gap", gap);
  }

  async read(): Promise<string | undefined> {
    for (;;) {
      if (this.#isOver) return undefined;
      const text = this.#take();
      if (text !== "") return text;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#feed.park(resolve);
      });
      this.#wake = undefined;
    }
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    abandoned.unregister(this);
    if (this.#wake !== undefined) this.#feed.unpark(this.#wake);
    this.#wake?.();
    this.#feed.leave();
  }

  #take(): string {
    const feed = this.#feed;
    let text = this.#beginning;
    this.#beginning = "";
    if (text !== "") return text;
    if (this.#isBehind()) {
      feed.owner.slow++;
      text = this.#skip("overflow");
    }
    for (
      let entry = feed.after(this.#place);
      entry !== undefined && text.length < MAX_TEXT;
      entry = feed.after(this.#place)
    ) {
      text += entry.text;
      this.#place = follow(this.#place, entry);
    }
    if (text !== "" || !feed.isOver) return text;
    this.cancel();
    return feed.endText;
  }

  /** Whether what comes next is not kept any more. */
  #isBehind(): boolean {
    const { events, gaps } = this.#feed.from;
    return this.#place.events + this.#place.gaps < events + gaps;
  }

  /** Goes on where the feed begins, and says what that leaves out. */
  #skip(reason: "trimmed" | "overflow"): string {
    const { from } = this.#feed;
    const events = from.events - this.#place.events;
    // With a gap among what is left out, or a place that was never given out, nobody can say.
    const lost = from.gaps === this.#place.gaps && events > 0 ? events : "unknown";
    const gap: Gap = { reason, since: Math.min(this.#place.at, from.at), until: from.at, lost };
    this.#place = from;
    return eventText(this.#feed.idOf(from), "gap", gap);
  }
}

/** A stream that nobody reads or holds any more leaves its feed. */
const abandoned = new FinalizationRegistry<Feed>((feed) => feed.leave());
