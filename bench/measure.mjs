/** What runs inside a measured process: clocks, heaps, and data that is the same in every process. */
import { setImmediate, setTimeout } from "node:timers/promises";

const WARM_MS = 150;
const MEASURED_MS = 300;
const STEP_MS = 1;

/**
 * Milliseconds of processor time. Nothing measured here waits for anything, so on an idle machine this is the time that
 * passes; on a busy one it does not count what others do.
 */
export function clock() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Operations a second of `step(count)`, which does that many at once; it may return a promise. */
export async function rate(step) {
  let count = 1024;
  for (const end = clock() + WARM_MS; clock() < end;) await step(count);
  // So many that looking at the clock does not count.
  for (let took = 0; took < STEP_MS;) {
    const begin = clock();
    await step(count);
    took = clock() - begin;
    if (took < STEP_MS) count *= 2;
  }
  const begin = clock();
  let done = 0;
  let took = 0;
  while (took < MEASURED_MS) {
    await step(count);
    done += count;
    took = clock() - begin;
  }
  return (done / took) * 1000;
}

/** Bytes of heap in use after everything that can be collected was. */
export async function heapUsed() {
  for (let i = 0; i < 4; i++) {
    globalThis.gc();
    await setTimeout(5);
  }
  return process.memoryUsage().heapUsed;
}

/** What must not be collected before the process ends. */
export const kept = [];

export const tick = () => setImmediate();

/** Numbers from 0 to 1 that are the same in every process (mulberry32). */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
