/**
 * Remembers the most recently used, in two halves: when the new one is full, what is still in the old one is forgotten.
 * (Taking the oldest out of one Map, again and again, gets slower and slower: V8 searches the places of the deleted.)
 */
export class Recent<V> {
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  readonly #limit: number;
  readonly #forgotten: (values: ReadonlyMap<string, V>) => void;

  /** Remembers at least half of the limit; calls back with what is forgotten. */
  constructor(limit: number, forgotten: (values: ReadonlyMap<string, V>) => void = () => undefined) {
    this.#limit = limit;
    this.#forgotten = forgotten;
  }

  /** The value, which counts as used now. */
  use(key: string): V | undefined {
    const value = this.#young.get(key);
    if (value !== undefined || this.#old.size === 0) return value;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.set(key, old);
    return old;
  }

  set(key: string, value: V): void {
    this.#young.set(key, value);
    if (this.#young.size < this.#limit / 2) return;
    const forgotten = this.#old;
    this.#old = this.#young;
    this.#young = new Map();
    if (forgotten.size > 0) this.#forgotten(forgotten);
  }
}
