/** Latencies in buckets that grow by 5 %, from a microsecond to a minute and a half: bounded memory, error below 3 %. */
const GROWTH = Math.log(1.05);
const SMALLEST_MS = 0.001;
const BUCKETS = 376;

export class Histogram {
  #counts = new Uint32Array(BUCKETS);
  #count = 0;

  /** @param {number} ms */
  record(ms) {
    const at = ms <= SMALLEST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / SMALLEST_MS) / GROWTH));
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#count++;
  }

  /** In milliseconds; undefined while there is none. @param {number} part from 0 to 1 */
  percentile(part) {
    if (this.#count === 0) return undefined;
    let left = Math.ceil(this.#count * part);
    for (let at = 0; at < BUCKETS; at++) {
      left -= this.#counts[at] ?? 0;
      // The middle of the bucket, by ratio.
      if (left <= 0) return at === 0 ? SMALLEST_MS : SMALLEST_MS * Math.exp((at - 0.5) * GROWTH);
    }
    return undefined;
  }
}
