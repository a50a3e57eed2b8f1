/**
 * Latencies in buckets that grow by 5 %, from a microsecond to a minute and a half: bounded memory, error below 3 %.
 *
 * @typedef {number[]} Counts bucket, count, bucket, count …: those that are not empty, as they travel in messages
 */
const GROWTH = Math.log(1.05);
const SMALLEST_MS = 0.001;
const BUCKETS = 376;

export class Histogram {
  #counts = new Uint32Array(BUCKETS);

  /** @param {number} ms */
  record(ms) {
    const at = ms <= SMALLEST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / SMALLEST_MS) / GROWTH));
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  /** @returns {Counts} */
  counts() {
    return Array.from(this.#counts, (count, at) => (count === 0 ? [] : [at, count])).flat();
  }
}

/** The counts of several histograms in one. @param {readonly Counts[]} several @returns {Counts} */
export function together(several) {
  /** @type {Map<number, number>} */
  const sums = new Map();
  for (const counts of several) for (const [at, count] of pairs(counts)) sums.set(at, (sums.get(at) ?? 0) + count);
  return [...sums].sort(([a], [b]) => a - b).flat();
}

/** In milliseconds; undefined while there is none. @param {Counts} counts @param {number} part from 0 to 1 */
export function percentile(counts, part) {
  const all = pairs(counts);
  let left = Math.ceil(all.reduce((sum, [, count]) => sum + count, 0) * part);
  for (const [at, count] of all) {
    left -= count;
    // The middle of the bucket, by ratio.
    if (left <= 0) return at === 0 ? SMALLEST_MS : SMALLEST_MS * Math.exp((at - 0.5) * GROWTH);
  }
  return undefined;
}

/** @param {Counts} counts */
function pairs(counts) {
  /** @type {[at: number, count: number][]} */
  const list = [];
  for (let i = 0; i < counts.length; i += 2) list.push([counts[i] ?? 0, counts[i + 1] ?? 0]);
  return list;
}
