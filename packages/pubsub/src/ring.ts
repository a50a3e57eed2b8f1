/**
 * A queue over one array whose size is a power of two; it grows, and gives a large array back once it is empty.
 *
 * Every buffer of the library is one of these, so that none costs a shift of the whole array or an object an item.
 */
export class Ring<T> {
  #items: (T | undefined)[] = [];
  #mask = -1;
  #head = 0;
  #tail = 0;

  get size(): number {
    return this.#tail - this.#head;
  }

  push(item: T): void {
    if (this.#tail - this.#head > this.#mask) this.#grow();
    this.#items[this.#tail++ & this.#mask] = item;
  }

  /** Puts an item in front of all others. */
  unshift(item: T): void {
    if (this.#tail - this.#head > this.#mask) this.#grow();
    this.#items[--this.#head & this.#mask] = item;
  }

  shift(): T | undefined {
    if (this.#tail === this.#head) return undefined;
    const at = this.#head++ & this.#mask;
    const item = this.#items[at];
    this.#items[at] = undefined;
    if (this.#head === this.#tail) this.#rest();
    return item;
  }

  /** The item at a place counted from the front, or from the back where negative. */
  at(index: number): T | undefined {
    const size = this.#tail - this.#head;
    const place = index < 0 ? size + index : index;
    return place < 0 || place >= size ? undefined : this.#items[(this.#head + place) & this.#mask];
  }

  /** Takes everything out. */
  takeAll(): T[] {
    const head = this.#head & this.#mask;
    const size = this.size;
    const first = this.#items.slice(head, head + size) as T[];
    const out = first.length === size ? first : first.concat(this.#items.slice(0, size - first.length) as T[]);
    if (size > 0) {
      this.#items.fill(undefined, head, head + size);
      if (first.length < size) this.#items.fill(undefined, 0, size - first.length);
    }
    this.#head = this.#tail;
    this.#rest();
    return out;
  }

  clear(): void {
    this.#items = [];
    this.#mask = -1;
    this.#head = this.#tail = 0;
  }

  /** Empty: counts from zero again (the counters never reach the limits of small integers) and frees what was large. */
  #rest(): void {
    if (this.#mask >= 4096) this.clear();
    else this.#head = this.#tail = 0;
  }

  #grow(): void {
    const size = this.size;
    const bigger: (T | undefined)[] = new Array<T | undefined>(Math.max(8, (this.#mask + 1) * 2));
    for (let i = 0; i < size; i++) bigger[i] = this.#items[(this.#head + i) & this.#mask];
    this.#items = bigger;
    this.#mask = bigger.length - 1;
    this.#head = 0;
    this.#tail = size;
  }
}
