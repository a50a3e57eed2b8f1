import { isPattern } from "./topic.ts";
import type { Filter } from "./transport.ts";

/** What a matcher holds: a filter, and two members that the matcher owns. The filter must not change while it is held. */
export interface Entry extends Filter {
  active: boolean;
  order: number;
}

/** The entries of one topic, in the order of adding. Removed ones stay as inactive until they are half of the list. */
class Bucket<E extends Entry> {
  list: E[];
  dead = 0;

  constructor(list: E[]) {
    this.list = list;
  }

  /** The caller has marked one entry of this bucket as inactive. */
  bury(): void {
    if (++this.dead * 2 >= this.list.length) this.sweep();
  }

  /** A dispatch under way keeps the old list. */
  sweep(): void {
    this.list = this.list.filter(isActive);
    this.dead = 0;
  }
}

function isActive(entry: Entry): boolean {
  return entry.active;
}

/** A lone entry is stored as it is: most topics have one, and a list would cost as much again. */
type Slot<E extends Entry> = E | Bucket<E>;

function withEntry<E extends Entry>(slot: Slot<E> | undefined, entry: E, again: boolean): Slot<E> {
  if (slot === undefined) return entry;
  if (!(slot instanceof Bucket)) return new Bucket([slot, entry]);
  // It may still lie buried in there, and must not rise in two places.
  if (again) slot.sweep();
  slot.list.push(entry);
  return slot;
}

/** For a slot one of whose entries was marked as inactive. */
function withoutOne<E extends Entry>(slot: Slot<E> | undefined): Slot<E> | undefined {
  if (!(slot instanceof Bucket)) return undefined;
  slot.bury();
  return slot.list.length === 0 ? undefined : slot;
}

/** The entries of one type or pattern: for every id, and for one. */
class Group<E extends Entry> {
  any: Slot<E> | undefined;
  ids: Map<string, Slot<E>> | undefined;
  /** Counts changes: an answer holds while the sum of its groups' versions is what it was. */
  version = 0;

  get empty(): boolean {
    return this.any === undefined && this.ids === undefined;
  }

  add(entry: E, again: boolean): void {
    this.version++;
    const { id } = entry;
    if (id === undefined) {
      this.any = withEntry(this.any, entry, again);
      return;
    }
    this.ids ??= new Map();
    const slot = this.ids.get(id);
    const next = withEntry(slot, entry, again);
    if (next !== slot) this.ids.set(id, next);
  }

  delete(id: string | undefined): void {
    this.version++;
    if (id === undefined) {
      this.any = withoutOne(this.any);
      return;
    }
    if (withoutOne(this.ids?.get(id)) !== undefined) return;
    this.ids?.delete(id);
    if (this.ids?.size === 0) this.ids = undefined;
  }
}

/** What a match gives. */
type Hit<E extends Entry> = E | readonly E[];

/** A type that was subscribed to, or that was asked for while there were patterns. */
class Topics<E extends Entry> extends Group<E> {
  readonly type: string;
  /** The groups of the patterns that match the type. */
  wide: readonly Group<E>[] | undefined;
  /** The matcher's epoch that `wide` is of. */
  epoch = -1;
  /** The sum of versions that the answers below are of. */
  stamp = -1;
  /** The first answer, for which a map would cost too much, and the others. */
  id = "";
  hit: Hit<E> | undefined;
  hits: Map<string, Hit<E>> | undefined;

  constructor(type: string) {
    super();
    this.type = type;
  }
}

/** One node of the trie of patterns. */
class Node<E extends Entry> {
  tokens: Map<string, Node<E>> | undefined;
  star: Node<E> | undefined;
  /** The pattern that ends at this node. */
  here: Group<E> | undefined;
  /** The pattern that ends here with `**`. */
  deep: Group<E> | undefined;
}

/** Answers that are remembered at most, and types that nobody subscribed to by name. */
const MAX_REMEMBERED = 8192;

/**
 * Finds the entries whose filter matches a topic, in the order of adding, at a cost that grows with what matches and
 * not with what exists: two maps from type and id (no joined key), and a trie of patterns. What a trie gave for a type is
 * kept until a pattern comes or goes, and what was put together for a topic until an entry of it does.
 */
export class Matcher<E extends Entry> {
  readonly #types = new Map<string, Topics<E>>();
  #trie: Node<E> | undefined;
  /** Counts patterns that came or went. */
  #epoch = 0;
  #order = 0;
  /** The last question and its answer: events often come in runs of one topic. */
  #lastType: string | undefined;
  #lastId = "";
  #lastHit: Hit<E> | undefined;
  /** Types that nobody subscribed to by name. */
  #idle: Topics<E>[] = [];
  /** Types with answers, and how many these are. */
  #answered: Topics<E>[] = [];
  #answers = 0;

  /** Adds an entry. It must not be in a matcher already. */
  add(entry: E): void {
    this.#lastType = undefined;
    const again = entry.order > 0;
    const { type } = entry;
    if (isPattern(type)) this.#groupOf(type).add(entry, again);
    else {
      let topics = this.#types.get(type);
      if (topics === undefined) this.#types.set(type, (topics = new Topics(type)));
      topics.add(entry, again);
    }
    entry.order = ++this.#order;
    entry.active = true;
  }

  /** Removes an entry; a dispatch under way skips it. Does nothing where it is not held. */
  delete(entry: E): void {
    if (!entry.active) return;
    entry.active = false;
    this.#lastType = this.#lastHit = undefined;
    const { type, id } = entry;
    if (isPattern(type)) {
      if (this.#trie !== undefined && this.#prune(this.#trie, type.split("."), 0, id)) this.#trie = undefined;
      this.#forgetAnswers();
      return;
    }
    const topics = this.#types.get(type);
    if (topics === undefined) return;
    topics.delete(id);
    // An answer that does not hold any more must not hold what was removed either.
    topics.hit = topics.hits = undefined;
    if (topics.empty) this.#types.delete(type);
  }

  /**
   * The entries that match: one, a list in order, or nothing. A list may hold inactive entries, and may grow at its
   * end while it is read: take its length first.
   */
  match(type: string, id: string): Hit<E> | undefined {
    if (type === this.#lastType && id === this.#lastId) return this.#lastHit;
    this.#lastType = type;
    this.#lastId = id;
    return (this.#lastHit = this.#find(type, id));
  }

  #find(type: string, id: string): Hit<E> | undefined {
    let topics = this.#types.get(type);
    if (topics === undefined) {
      if (this.#trie === undefined) return undefined;
      topics = new Topics(type);
      this.#types.set(type, topics);
      if (this.#idle.push(topics) > MAX_REMEMBERED) this.#forgetIdle();
    }
    if (topics.epoch !== this.#epoch) this.#widen(topics);
    const { wide } = topics;
    if (wide === undefined && topics.any === undefined) return hitOf(topics.ids?.get(id));
    let stamp = topics.version;
    if (wide !== undefined) for (let i = 0; i < wide.length; i++) stamp += (wide[i] as Group<E>).version;
    if (topics.stamp === stamp) {
      const hit = topics.id === id ? topics.hit : topics.hits?.get(id);
      if (hit !== undefined) return hit;
    }
    return this.#gather(topics, id, stamp);
  }

  /** Every entry, in no particular order. */
  *entries(): Generator<E, void, undefined> {
    for (const topics of this.#types.values()) yield* groupEntries(topics);
    if (this.#trie !== undefined) yield* nodeEntries(this.#trie);
  }

  #widen(topics: Topics<E>): void {
    topics.epoch = this.#epoch;
    topics.stamp = -1;
    const wide: Group<E>[] = [];
    if (this.#trie !== undefined) collect(this.#trie, topics.type.split("."), 0, wide);
    topics.wide = wide.length === 0 ? undefined : wide;
  }

  #gather(topics: Topics<E>, id: string, stamp: number): Hit<E> | undefined {
    const { wide } = topics;
    const slots: Slot<E>[] = [];
    for (let i = wide === undefined ? 0 : wide.length; i >= 0; i--) {
      const { any, ids } = i === 0 ? topics : ((wide as readonly Group<E>[])[i - 1] as Group<E>);
      if (any !== undefined) slots.push(any);
      const slot = ids?.get(id);
      if (slot !== undefined) slots.push(slot);
    }
    const hit = slots.length < 2 ? hitOf(slots[0]) : inOrder(slots);
    if (hit === undefined) return undefined;
    if (++this.#answers > MAX_REMEMBERED) this.#forgetAnswers();
    if (topics.hit === undefined) this.#answered.push(topics);
    if (topics.stamp !== stamp || topics.hit === undefined) {
      topics.stamp = stamp;
      topics.hits = undefined;
      topics.id = id;
      topics.hit = hit;
    } else (topics.hits ??= new Map()).set(id, hit);
    return hit;
  }

  #forgetAnswers(): void {
    for (const topics of this.#answered) topics.hit = topics.hits = undefined;
    this.#answered = [];
    this.#answers = 0;
  }

  #forgetIdle(): void {
    const latest = this.#idle.pop();
    for (const topics of this.#idle)
      if (topics.empty && this.#types.get(topics.type) === topics) this.#types.delete(topics.type);
    this.#idle = latest === undefined ? [] : [latest];
  }

  #groupOf(pattern: string): Group<E> {
    let node = (this.#trie ??= new Node());
    let end: "here" | "deep" = "here";
    for (const token of pattern.split("."))
      if (token === "**") end = "deep";
      else if (token === "*") node = node.star ??= new Node();
      else {
        node.tokens ??= new Map();
        let next = node.tokens.get(token);
        if (next === undefined) node.tokens.set(token, (next = new Node()));
        node = next;
      }
    let group = node[end];
    if (group === undefined) {
      group = node[end] = new Group();
      this.#epoch++;
    }
    return group;
  }

  /** Takes an entry out below a node; true if the node holds nothing any more. */
  #prune(node: Node<E>, tokens: readonly string[], at: number, id: string | undefined): boolean {
    const token = tokens[at];
    if (token === undefined || token === "**") {
      const end = token === undefined ? "here" : "deep";
      node[end]?.delete(id);
      if (node[end]?.empty === true) {
        node[end] = undefined;
        this.#epoch++;
      }
    } else if (token === "*") {
      if (node.star !== undefined && this.#prune(node.star, tokens, at + 1, id)) node.star = undefined;
    } else {
      const next = node.tokens?.get(token);
      if (next !== undefined && this.#prune(next, tokens, at + 1, id)) node.tokens?.delete(token);
      if (node.tokens?.size === 0) node.tokens = undefined;
    }
    return !node.here && !node.deep && !node.star && !node.tokens;
  }
}

function hitOf<E extends Entry>(slot: Slot<E> | undefined): Hit<E> | undefined {
  return slot instanceof Bucket ? slot.list : slot;
}

/** The active entries of several slots, each of which is in order. */
function inOrder<E extends Entry>(slots: readonly Slot<E>[]): E[] {
  const entries: E[] = [];
  for (const slot of slots)
    if (!(slot instanceof Bucket)) entries.push(slot);
    else for (const entry of slot.list) if (entry.active) entries.push(entry);
  if (entries.length > 16) return entries.sort((a, b) => a.order - b.order);
  // Sorting has a price of its own, which few entries are not worth.
  for (let i = 1; i < entries.length; i++) {
    const entry = entries[i] as E;
    let at = i;
    for (; at > 0 && (entries[at - 1] as E).order > entry.order; at--) entries[at] = entries[at - 1] as E;
    entries[at] = entry;
  }
  return entries;
}

function collect<E extends Entry>(start: Node<E>, tokens: readonly string[], from: number, out: Group<E>[]): void {
  let node = start;
  for (let i = from; ; i++) {
    if (node.deep !== undefined) out.push(node.deep);
    if (i === tokens.length) {
      if (node.here !== undefined) out.push(node.here);
      return;
    }
    if (node.star !== undefined) collect(node.star, tokens, i + 1, out);
    const next = node.tokens?.get(tokens[i] as string);
    if (next === undefined) return;
    node = next;
  }
}

function* groupEntries<E extends Entry>(group: Group<E> | undefined): Generator<E, void, undefined> {
  if (group === undefined) return;
  for (const slot of [group.any, ...(group.ids?.values() ?? [])])
    if (slot instanceof Bucket) yield* slot.list.filter(isActive);
    else if (slot !== undefined) yield slot;
}

function* nodeEntries<E extends Entry>(node: Node<E>): Generator<E, void, undefined> {
  yield* groupEntries(node.here);
  yield* groupEntries(node.deep);
  if (node.star !== undefined) yield* nodeEntries(node.star);
  for (const next of node.tokens?.values() ?? []) yield* nodeEntries(next);
}
