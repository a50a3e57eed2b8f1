import { onAbort } from "./abort.ts";
import { afterArrivals, deadline } from "./timers.ts";

/**
 * What a promise gives, unless it takes too long or the signal is aborted; what it gives then is undone. Where `patient`, what has come is
 * looked at before: a process that did nothing else for so long has not.
 */
export function within<T>(
  promise: Promise<T>,
  milliseconds: number,
  how: { late: () => unknown; signal?: AbortSignal | undefined; undo?: (value: T) => void; patient?: boolean },
): Promise<T> {
  const { late, signal, undo, patient = false } = how;
  return new Promise((resolve, reject) => {
    let over = false;
    const settle = (outcome: () => void): void => {
      over = true;
      stopTimer();
      stopSignal();
      outcome();
    };
    const giveUp = (reason: unknown): void => settle(() => reject(reason));
    const isLate = (): unknown => over || giveUp(late());
    const stopTimer = deadline(milliseconds, () => (patient ? afterArrivals(isLate) : isLate()));
    const stopSignal = signal === undefined ? (): void => undefined : onAbort(signal, () => giveUp(signal.reason));
    // Aborted meanwhile, before anybody listened.
    if (signal?.aborted === true) giveUp(signal.reason);
    promise.then(
      (value) => (over ? undo?.(value) : settle(() => resolve(value))),
      (error: unknown) => over || giveUp(error),
    );
  });
}
