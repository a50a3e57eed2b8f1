/**
 * What became of the events of each route: the publishers' account against the subscribers'.
 *
 * Counted are the events published after the route's subscription was live. Once it is live, the publisher is asked for
 * its last number (the baseline); every higher one whose publish resolves has to be received, unless a gap was reported
 * at that very place. (One that was under way at that moment may have passed the hub before the subscription came.)
 * Published and delivered are two counts kept in two places: that they differ by what is missing is checked too.
 */
import { matchesFilter } from "@alkdev/pubsub/transport";
import { minus, size } from "./ranges.mjs";

/**
 * @import { Published, Received, Report, Subscribed } from "./place.mjs"
 * @import { Counts } from "./histogram.mjs"
 * @import { Ranges } from "./ranges.mjs"
 * @import { Route } from "./routes.mjs"
 * @import { RaceReport } from "./race.mjs"
 *
 * @typedef {Record<string, Published>} Baseline
 * @typedef {{ published: number, delivered: number, lost: number, inGaps: number, inFlight: number,
 *   latency: Counts, trouble: string | undefined, began: boolean }} Figures
 */

/** @type {Figures} */
const NOTHING = {
  published: 0,
  delivered: 0,
  lost: 0,
  inGaps: 0,
  inFlight: 0,
  latency: [],
  trouble: undefined,
  began: false,
};

/**
 * @param {Route} route
 * @param {Report | undefined} publisher
 * @param {Report | undefined} subscriber
 * @param {Baseline | undefined} baseline
 * @param {boolean} final whether no more will come: what is on its way is lost then
 * @returns {Figures}
 */
export function figuresOf(route, publisher, subscriber, baseline, final) {
  const subscribed = subscriber?.subscribed.find(({ key }) => key === route.key);
  if (publisher === undefined || subscribed === undefined || baseline === undefined) return NOTHING;
  const { topics, latency } = subscribed.from[route.from] ?? { topics: {}, latency: [] };
  const sum = { ...NOTHING, latency, began: true };
  let repeated = 0;
  let disordered = 0;
  for (const [topic, published] of Object.entries(publisher.published)) {
    if (!matchesFilter(route.filter, { type: published.type, id: published.id, payload: null })) continue;
    const received = topics[topic];
    const one = figuresOfTopic(published, received, baseline[topic], subscribed);
    sum.published += one.published;
    sum.delivered += one.delivered;
    sum.lost += one.holes + (final ? one.tail : 0);
    sum.inGaps += one.inGaps;
    sum.inFlight += final ? 0 : Math.max(0, one.published - one.delivered - one.holes - one.inGaps);
    repeated += received?.repeated ?? 0;
    disordered += received?.disordered ?? 0;
  }
  /** @type {string | undefined} */
  let trouble;
  if (subscribed.ended !== undefined) trouble = `ended: ${subscribed.ended}`;
  else if (repeated > 0) trouble = `${repeated} came twice`;
  else if (disordered > 0) trouble = `${disordered} out of order`;
  else if (final && sum.published !== sum.delivered + sum.lost + sum.inGaps) trouble = "figures differ";
  return { ...sum, trouble };
}

/**
 * @param {Published} published
 * @param {Received | undefined} received
 * @param {Published | undefined} before the publisher's account when the route had become live
 * @param {Subscribed} subscribed
 */
function figuresOfTopic(published, received, before, subscribed) {
  const { sent, resolved, rejected } = published;
  const base = before?.sent ?? 0;
  // Of those up to the base, all that were not rejected have resolved, or soon will have.
  const counted = Math.max(0, resolved - (base - (size(rejected) - size(rejected, base))));
  if (received === undefined || received.last === 0) {
    const missing = size(minus(range(base + 1, sent), rejected));
    return {
      published: counted,
      delivered: 0,
      holes: 0,
      tail: subscribed.gaps > 0 ? 0 : missing,
      inGaps: subscribed.gaps > 0 ? missing : 0,
    };
  }
  const { first, last, count, afterGap, gapSince, untracked } = received;
  const head = range(1, first - 1);
  const tail = range(last + 1, sent);
  /** @type {Ranges} */
  const holes = [...(afterGap ? [] : head), ...received.holes];
  const inGaps = [...(afterGap ? head : []), ...received.inGaps, ...(gapSince ? tail : [])];
  const missing = (/** @type {Ranges} */ ranges) => size(minus(ranges, rejected), base);
  // Of what was received, that which was published before the route counted, and that whose publish was rejected.
  const early = size(minus(range(first, Math.min(base, last)), [...received.holes, ...received.inGaps]));
  const unasked = size(minus(rejected, [...holes, ...inGaps, ...tail]), base);
  return {
    published: counted,
    delivered: count - early - unasked,
    holes: missing(holes) + untracked,
    tail: gapSince ? 0 : missing(tail),
    inGaps: missing(inGaps),
  };
}

/** @param {number} from @param {number} to @returns {Ranges} */
function range(from, to) {
  return to < from ? [] : [[from, to]];
}

/** @param {RaceReport | undefined} report @returns {Figures} */
export function figuresOfRace(report) {
  if (report === undefined) return NOTHING;
  const { published, delivered, failed, latency } = report;
  const trouble = failed ?? (delivered > published ? `${delivered - published} came twice` : undefined);
  const lost = Math.max(0, published - delivered);
  return { ...NOTHING, published, delivered, lost, latency, trouble, began: true };
}
