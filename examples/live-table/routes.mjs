/**
 * Who publishes what, and who subscribes to what.
 *
 * Three places: this process (on the hub's own event target), a worker thread (a spoke of the hub over its message
 * port), and a process of its own (a spoke over WebSocket). Each publishes and each subscribes, also to its own events.
 *
 * @typedef {"main" | "worker" | "process"} Place
 * @typedef {{ type: string, id?: string }} Filter
 * @typedef {{ key: string, from: Place, to: Place, filter: Filter }} Route
 */

/** @type {readonly Place[]} */
export const PLACES = ["main", "worker", "process"];

/** Events of one burst, and how often there is one. Each place is a third of the time behind the one before. */
export const BURST = 1000;
export const BURST_EVERY_MS = 1000;
/** How often the machine is read. */
export const READ_EVERY_MS = 250;

/** @type {Record<Place, Filter>} */
const PATTERNS = { main: { type: "host.*" }, worker: { type: "process.*" }, process: { type: "**" } };

/** What a place subscribes to: the bursts of each place by their exact topics, and one pattern. @param {Place} place */
export function filtersOf(place) {
  return [...PLACES.map((from) => ({ type: "process.sample", id: from })), PATTERNS[place]];
}

/** @param {Filter} filter */
export const topicOf = ({ type, id }) => (id === undefined ? type : `${type}:${id}`);

/** Names the subscription of a place. @param {Place} place @param {Filter} filter */
export const subscriptionKey = (place, filter) => `${place} ${topicOf(filter)}`;

/** Every route: from each place to each place, once by an exact topic and once by a pattern. @returns {Route[]} */
export function allRoutes() {
  return PLACES.flatMap((from) =>
    PLACES.flatMap((to) =>
      [{ type: "process.sample", id: from }, PATTERNS[to]].map((filter) => ({
        key: subscriptionKey(to, filter),
        from,
        to,
        filter,
      })),
    ),
  );
}
