/** The page: a spoke of the hub over WebSocket. `page-host.mjs` loads it, with the packages as they are, by an import map. */
import { createHubEventTarget } from "@alkdev/hub/client";
import { setClock } from "./clock.mjs";
import { pageReadings } from "./page-readings.mjs";
import { createPlace } from "./place.mjs";

/** @import { Handle } from "./control-path.mjs" */

export { now } from "./clock.mjs";

/** @type {Handle} */
let handle = {};

/** @param {{ url: string, ahead: number, setup: import("./place.mjs").Setup }} options `ahead`: what this clock is ahead */
export function begin({ url, ahead, setup }) {
  setClock(ahead);
  const place = createPlace("page", createHubEventTarget(url), setup, pageReadings());
  handle = { ...place.handle, close: () => place.close() };
}

/** Asks the place, in JSON. @param {string} what @param {string} arg */
export async function answer(what, arg) {
  return JSON.stringify((await handle[what]?.(JSON.parse(arg))) ?? null);
}
