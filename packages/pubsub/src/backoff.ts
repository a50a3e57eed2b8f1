/** How long to wait before connecting again. All times are in milliseconds. */
export interface Backoff {
  /** The first wait. Doubled with each attempt that fails. Default 100. */
  readonly min?: number;
  /** The longest wait. Default 10,000. */
  readonly max?: number;
  /** The part of each wait that is left to chance, from 0 to 1, so that clients do not return in step. Default 0.5. */
  readonly jitter?: number;
}

/** Milliseconds to wait before the next attempt. @param failures how many there were in a row; 0 for the first wait */
export function waitAfter(failures: number, { min = 100, max = 10_000, jitter = 0.5 }: Backoff = {}): number {
  return Math.min(max, min * 2 ** Math.min(failures, 30)) * (1 - jitter * Math.random());
}
