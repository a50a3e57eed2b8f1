/** What operators know about time; hand in another one to drive time in a test. */
export interface Clock {
  /** Calls `run` once after `ms` milliseconds. */
  setTimeout(run: () => void, ms: number): unknown;
  /** Forgets a timer that `setTimeout` gave. */
  clearTimeout(timer: unknown): void;
  /** Milliseconds since some moment. Only differences count. */
  now(): number;
}

/** The longest time a timer can wait, in milliseconds: about 24.8 days. A longer one would fire at once. */
export const MAX_TIME: number = 2 ** 31 - 1;

/** The clock on the wall. Looks the functions up when they are called, so that a test can replace them. */
export const realClock: Clock = {
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
  now: () => performance.now(),
};
