/** The clock that all places share. */

/** What this clock was found to be ahead of the others'. */
let ahead = 0;

/**
 * Milliseconds since 1970 with microseconds behind the point. In every thread and process of one machine it is the same
 * clock, but each reads the time of day once, when it starts, and so may be a few microseconds off.
 */
export const now = () => performance.timeOrigin + performance.now() - ahead;

/** @param {number} ms what this clock is ahead */
export function setClock(ms) {
  ahead = ms;
}

/**
 * How far another clock is ahead, at the least: 0 if it may be right. Each look at it has our time before and after, so that
 * what it said can be too much, or too little, beyond doubt.
 *
 * @param {readonly { before: number, theirs: number, after: number }[]} looks
 */
export function surelyAhead(looks) {
  const least = Math.max(...looks.map(({ theirs, after }) => theirs - after));
  const most = Math.min(...looks.map(({ theirs, before }) => theirs - before));
  if (least > 0) return least;
  return most < 0 ? most : 0;
}
