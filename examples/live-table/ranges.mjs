/**
 * Sets of sequence numbers, as sorted ranges that do not touch: `[[3, 5], [9, 9]]` is 3, 4, 5 and 9. Plain arrays, so
 * that they travel in messages.
 *
 * @typedef {[from: number, to: number][]} Ranges
 */

/** How many numbers there are above `after`. @param {Ranges} ranges @param {number} [after] */
export function size(ranges, after = 0) {
  let sum = 0;
  for (const [from, to] of ranges) sum += Math.max(0, to - Math.max(from - 1, after));
  return sum;
}

/** Adds numbers that are all higher than those that are in. @param {Ranges} ranges @param {number} from @param {number} to */
export function append(ranges, from, to) {
  if (to < from) return;
  const last = ranges.at(-1);
  if (last !== undefined && last[1] + 1 >= from) last[1] = Math.max(last[1], to);
  else ranges.push([from, to]);
}

/** Takes a number out; false if it was not in. @param {Ranges} ranges @param {number} n */
export function take(ranges, n) {
  const at = ranges.findIndex(([from, to]) => from <= n && n <= to);
  const range = ranges[at];
  if (range === undefined) return false;
  const [from, to] = range;
  /** @type {Ranges} */
  const rest = [];
  append(rest, from, n - 1);
  if (n < to) rest.push([n + 1, to]);
  ranges.splice(at, 1, ...rest);
  return true;
}

/** What is in the first and not in the second. @param {Ranges} ranges @param {Ranges} without @returns {Ranges} */
export function minus(ranges, without) {
  /** @type {Ranges} */
  let left = ranges.map(([from, to]) => [from, to]);
  for (const [low, high] of without)
    left = left.flatMap(([from, to]) => {
      if (high < from || low > to) return [/** @type {[number, number]} */ ([from, to])];
      /** @type {Ranges} */
      const parts = [];
      if (from < low) parts.push([from, low - 1]);
      if (to > high) parts.push([high + 1, to]);
      return parts;
    });
  return left;
}
