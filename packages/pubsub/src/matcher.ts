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

  /** The caller has marked one entry of this bucket as inactive. A dispatch under way keeps the old list. */
  bury(): void {
    if (++this.dead * 2 < this.list.length) return;
    this.list = this.list.filter(isActive);
    this.dead = 0;
  }
}

function isActive(entry: Entry): boolean {
  return entry.active;
}

/** A lone entry is stored as it is: most topics have one, and a list would cost as much again. */
type Slot<E extends Entry> = E | Bucket<E>;

/** One node of the trie of patterns. */
interface Node<E extends Entry> {
  tokens: Map<string, Node<E>> | undefined;
  star: Node<E> | undefined;
  /** Patterns that end at this node. */
  here: Wild<E> | undefined;
  /** Patterns that end here with `**`. */
  deep: Wild<E> | undefined;
}

/** Entries of one pattern: for every id, and for one id. */
interface Wild<E extends Entry> {
  any: E[];
  ids: Map<string, E[]> | undefined;
}

/** What matches one type beside the entries of its exact topics; kept until a pattern or an any-id entry comes or goes. */
interface Wide<E extends Entry> {
  /** For every id, in order. */
  any: E[];
  /** Patterns with one id. */
  ids: Map<string, E[]> | undefined;
  /** Merged with an exact topic's entries, by id. */
  merged: Map<string, E[]> | undefined;
}

const MAX_WIDE = 4096;
const MAX_MERGED = 1024;

/**
 * Finds the entries whose filter matches a topic, in the order of adding, at a cost that grows with what matches and
 * not with what exists: exact topics in two maps (no joined key), patterns in a trie, results of hot types in a small
 * cache that exact subscriptions do not empty.
 */
export class Matcher<E extends Entry> {
  readonly #exact = new Map<string, Map<string, Slot<E>>>();
  readonly #anyId = new Map<string, Bucket<E>>();
  readonly #wide = new Map<string, Wide<E>>();
  #trie: Node<E> | undefined;
  #patterns = 0;
  #order = 0;

  /** Adds an entry. It must not be in a matcher already. */
  add(entry: E): void {
    entry.order = ++this.#order;
    entry.active = true;
    const { type, id } = entry;
    if (isPattern(type)) {
      this.#addPattern(type, id, entry);
      this.#wide.clear();
    } else if (id === undefined) {
      const bucket = this.#anyId.get(type);
      if (bucket === undefined) this.#anyId.set(type, new Bucket([entry]));
      else bucket.list.push(entry);
      this.#wide.delete(type);
    } else {
      let ids = this.#exact.get(type);
      if (ids === undefined) this.#exact.set(type, (ids = new Map()));
      const slot = ids.get(id);
      if (slot === undefined) ids.set(id, entry);
      else if (slot instanceof Bucket) slot.list.push(entry);
      else ids.set(id, new Bucket([slot, entry]));
      this.#wide.get(type)?.merged?.delete(id);
    }
  }

  /** Removes an entry; a dispatch under way skips it. Does nothing where it is not held. */
  delete(entry: E): void {
    if (!entry.active) return;
    entry.active = false;
    const { type, id } = entry;
    if (isPattern(type)) {
      this.#deletePattern(type, id, entry);
      this.#wide.clear();
    } else if (id === undefined) {
      const bucket = this.#anyId.get(type);
      bucket?.bury();
      if (bucket?.list.length === 0) this.#anyId.delete(type);
      this.#wide.delete(type);
    } else {
      const ids = this.#exact.get(type);
      const slot = ids?.get(id);
      if (ids === undefined || slot === undefined) return;
      if (slot instanceof Bucket) {
        slot.bury();
        if (slot.list.length === 0) ids.delete(id);
      } else ids.delete(id);
      if (ids.size === 0) this.#exact.delete(type);
      this.#wide.get(type)?.merged?.delete(id);
    }
  }

  /**
   * The entries that match: one, a list in order, or nothing. A list may hold inactive entries, and may grow at its
   * end while it is read: take its length first.
   */
  match(type: string, id: string): E | readonly E[] | undefined {
    const slot = this.#exact.get(type)?.get(id);
    if (this.#patterns > 0 || this.#anyId.size > 0) {
      const wide = this.#wideOf(type);
      const byId = wide.ids?.get(id);
      if (wide.any.length > 0 || byId !== undefined) {
        if (slot === undefined && byId === undefined) return wide.any;
        return this.#merge(wide, id, byId, slot);
      }
    }
    return slot instanceof Bucket ? slot.list : slot;
  }

  /** Every entry, in no particular order. */
  *entries(): Generator<E, void, undefined> {
    for (const ids of this.#exact.values())
      for (const slot of ids.values()) {
        if (slot instanceof Bucket) yield* slot.list.filter(isActive);
        else yield slot;
      }
    for (const bucket of this.#anyId.values()) yield* bucket.list.filter(isActive);
    if (this.#trie !== undefined) yield* nodeEntries(this.#trie);
  }

  #merge(wide: Wide<E>, id: string, byId: readonly E[] | undefined, slot: Slot<E> | undefined): readonly E[] {
    const known = wide.merged?.get(id);
    if (known !== undefined) return known;
    const exact = slot === undefined ? [] : slot instanceof Bucket ? slot.list : [slot];
    const merged = inOrder([...wide.any, ...(byId ?? []), ...exact]);
    wide.merged ??= new Map();
    if (wide.merged.size >= MAX_MERGED) wide.merged.clear();
    wide.merged.set(id, merged);
    return merged;
  }

  #wideOf(type: string): Wide<E> {
    let wide = this.#wide.get(type);
    if (wide !== undefined) return wide;
    const any: E[] = [];
    const found: Wild<E>[] = [];
    if (this.#trie !== undefined) collect(this.#trie, type.split("."), 0, found);
    let ids: Map<string, E[]> | undefined;
    for (const wild of found) {
      for (const entry of wild.any) any.push(entry);
      if (wild.ids === undefined) continue;
      ids ??= new Map();
      for (const [id, entries] of wild.ids) ids.set(id, (ids.get(id) ?? []).concat(entries));
    }
    const bucket = this.#anyId.get(type);
    if (bucket !== undefined) for (const entry of bucket.list) any.push(entry);
    wide = { any: inOrder(any), ids, merged: undefined };
    if (this.#wide.size >= MAX_WIDE) this.#wide.clear();
    this.#wide.set(type, wide);
    return wide;
  }

  #addPattern(type: string, id: string | undefined, entry: E): void {
    this.#patterns++;
    let node = (this.#trie ??= newNode());
    let wild: Wild<E> | undefined;
    for (const token of type.split(".")) {
      if (token === "**") wild = node.deep ??= { any: [], ids: undefined };
      else if (token === "*") node = node.star ??= newNode();
      else {
        node.tokens ??= new Map();
        let next = node.tokens.get(token);
        if (next === undefined) node.tokens.set(token, (next = newNode()));
        node = next;
      }
    }
    wild ??= node.here ??= { any: [], ids: undefined };
    if (id === undefined) wild.any.push(entry);
    else {
      wild.ids ??= new Map();
      const entries = wild.ids.get(id);
      if (entries === undefined) wild.ids.set(id, [entry]);
      else entries.push(entry);
    }
  }

  #deletePattern(type: string, id: string | undefined, entry: E): void {
    if (this.#trie === undefined) return;
    this.#patterns--;
    prune(this.#trie, type.split("."), 0, id, entry);
    if (this.#patterns === 0) this.#trie = undefined;
  }
}

function newNode<E extends Entry>(): Node<E> {
  return { tokens: undefined, star: undefined, here: undefined, deep: undefined };
}

function inOrder<E extends Entry>(entries: E[]): E[] {
  return entries.length < 2 ? entries : entries.sort((a, b) => a.order - b.order);
}

function collect<E extends Entry>(start: Node<E>, tokens: readonly string[], from: number, out: Wild<E>[]): void {
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

/** Removes the entry below a node; true if the node holds nothing any more. */
function prune<E extends Entry>(
  node: Node<E>,
  tokens: readonly string[],
  at: number,
  id: string | undefined,
  entry: E,
): boolean {
  const token = tokens[at];
  if (token === undefined) {
    if (node.here !== undefined && without(node.here, id, entry)) node.here = undefined;
  } else if (token === "**") {
    if (node.deep !== undefined && without(node.deep, id, entry)) node.deep = undefined;
  } else if (token === "*") {
    if (node.star !== undefined && prune(node.star, tokens, at + 1, id, entry)) node.star = undefined;
  } else {
    const next = node.tokens?.get(token);
    if (next !== undefined && prune(next, tokens, at + 1, id, entry)) node.tokens?.delete(token);
  }
  return !node.here && !node.deep && !node.star && (node.tokens === undefined || node.tokens.size === 0);
}

/** Takes the entry out; true if nothing is left. A new list each time: a dispatch may be reading the old one. */
function without<E extends Entry>(wild: Wild<E>, id: string | undefined, entry: E): boolean {
  if (id === undefined) wild.any = wild.any.filter((other) => other !== entry);
  else {
    const left = wild.ids?.get(id)?.filter((other) => other !== entry) ?? [];
    if (left.length > 0) wild.ids?.set(id, left);
    else wild.ids?.delete(id);
    if (wild.ids?.size === 0) wild.ids = undefined;
  }
  return wild.any.length === 0 && wild.ids === undefined;
}

function* nodeEntries<E extends Entry>(node: Node<E>): Generator<E, void, undefined> {
  for (const wild of [node.here, node.deep]) {
    if (wild === undefined) continue;
    yield* wild.any;
    for (const entries of wild.ids?.values() ?? []) yield* entries;
  }
  if (node.star !== undefined) yield* nodeEntries(node.star);
  for (const next of node.tokens?.values() ?? []) yield* nodeEntries(next);
}
