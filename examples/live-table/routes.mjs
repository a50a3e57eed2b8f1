/**
 * Who publishes what, and who subscribes to what.
 *
 * The places: this process (on the hub's own event target), a worker thread (a spoke of the hub over its message port), a
 * process of its own (a spoke over WebSocket), a child process (over its standard input and output) and, where there is a
 * browser, a page in it (over WebSocket). Each publishes and each subscribes, also to its own events.
 *
 * @typedef {"main" | "worker" | "process" | "child" | "page"} Place
 * @typedef {{ type: string, id?: string }} Filter
 * @typedef {{ key: string, from: Place, to: Place, filter: Filter }} Route
 */

/** Events of one burst, and how often there is one. The places take turns, evenly spread over that time. */
export const BURST = 500;
export const BURST_EVERY_MS = 1000;
/** How often the machine is read. */
export const READ_EVERY_MS = 250;

/** @type {Record<Place, Filter>} */
const PATTERNS = {
  main: { type: "host.*" },
  worker: { type: "process.*" },
  process: { type: "**" },
  child: { type: "*.figures" },
  page: { type: "host.**" },
};

/**
 * What a place subscribes to: the bursts of each place by their exact topics, and one pattern.
 *
 * @param {Place} place @param {readonly Place[]} places all that there are
 */
export function filtersOf(place, places) {
  return [...places.map(burstsOf), PATTERNS[place]];
}

/** @param {Place} place @returns {Filter} */
const burstsOf = (place) => ({ type: "process.sample", id: place });

/** @param {Filter} filter */
export const topicOf = ({ type, id }) => (id === undefined ? type : `${type}:${id}`);

/** Names the subscription of a place. @param {Place} place @param {Filter} filter */
export const subscriptionKey = (place, filter) => `${place} ${topicOf(filter)}`;

/** Every route: from each place to each place, once by an exact topic and once by a pattern. @param {readonly Place[]} places @returns {Route[]} */
export function allRoutes(places) {
  return places.flatMap((from) =>
    places.flatMap((to) =>
      [burstsOf(from), PATTERNS[to]].map((filter) => ({ key: subscriptionKey(to, filter), from, to, filter })),
    ),
  );
}
