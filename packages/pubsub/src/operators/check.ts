import { MAX_TIME } from "./clock.ts";

/** @throws TypeError when it is no function */
export function needFunction(operator: string, fn: unknown): void {
  if (typeof fn !== "function") throw new TypeError(`${operator}() needs a function.`);
}

/**
 * A number of items that may be cut off, as TC39's helpers take it: a fraction is cut off, infinity is allowed.
 *
 * @throws RangeError when it is negative or not a number
 */
export function needLimit(operator: string, limit: number, what = "limit"): number {
  const whole = Math.trunc(limit);
  if (!(whole >= 0)) throw new RangeError(`${operator}() needs a ${what} of 0 or more, not ${limit}.`);
  return whole;
}

/** @throws RangeError when it is given and not a whole number from 1 */
export function needCount(operator: string, count: number | undefined, what = "count"): void {
  if (count !== undefined && !(Number.isInteger(count) && count > 0))
    throw new RangeError(`${operator}() needs a whole ${what} of 1 or more, not ${count}.`);
}

/** @throws RangeError when it is given and no timer can wait that long */
export function needTime(operator: string, time: number | undefined): void {
  if (time !== undefined && !(time >= 0 && time <= MAX_TIME))
    throw new RangeError(`${operator}() needs a time from 0 to ${MAX_TIME} milliseconds, not ${time}.`);
}
