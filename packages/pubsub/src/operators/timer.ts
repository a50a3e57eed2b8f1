import type { Clock } from "./clock.ts";
import type { Run } from "./fuse.ts";

/** The one timer of the first stage of a `timed` pipeline. */
export interface Timer {
  /** When it is over, on the clock's scale. Stays after `clear`. */
  readonly until: number;
  /** Starts it anew. A later end costs no new timer of the clock. */
  set(ms: number): void;
  clear(): void;
}

/** Makes `due` the next thing that the pipeline does when the time is over; cleared when the source is closed. */
export function timer(clock: Clock, run: Run, due: () => unknown): Timer {
  let timer: unknown;
  let until = 0;
  const arm = (ms: number): void => {
    timer = clock.setTimeout(() => {
      timer = undefined;
      const left = until - clock.now();
      if (left > 0) return arm(left);
      run.due = due;
      run.wake();
    }, ms);
  };
  const clear = (): void => {
    if (timer !== undefined) clock.clearTimeout(timer);
    timer = run.due = undefined;
  };
  run.cancel = clear;
  return {
    get until() {
      return until;
    },
    set(ms) {
      run.due = undefined;
      until = clock.now() + ms;
      if (timer === undefined) arm(ms);
    },
    clear,
  };
}
