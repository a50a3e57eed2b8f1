/**
 * One place: it publishes readings and bursts, subscribes, and keeps account of both. It is told what to do, and asked
 * for its account, on a path of its own (process messages, a message port), never through the topics that are measured. It
 * runs in Node and in the page of a browser alike.
 */
import { createPubSub } from "@alkdev/pubsub";
import { now } from "./clock.mjs";
import { Histogram } from "./histogram.mjs";
import { append, take } from "./ranges.mjs";
import { BURST, BURST_EVERY_MS, READ_EVERY_MS, subscriptionKey, topicOf } from "./routes.mjs";

/**
 * @import { AlkEventTarget } from "@alkdev/pubsub/transport"
 * @import { EventEnvelope } from "@alkdev/pubsub"
 * @import { Counts } from "./histogram.mjs"
 * @import { Ranges } from "./ranges.mjs"
 * @import { Readings } from "./readings.mjs"
 * @import { Filter, Place } from "./routes.mjs"
 *
 * @typedef {{ type: string, id: string, sent: number, resolved: number, rejected: Ranges }} Published
 *   `sent`: the last number; `resolved`: how many publishes resolved; `rejected`: the numbers of those that did not.
 * @typedef {{ first: number, last: number, count: number, afterGap: boolean, gapSince: boolean, holes: Ranges,
 *   untracked: number, inGaps: Ranges, repeated: number, disordered: number }} Received
 * @typedef {{ key: string, live: boolean, gaps: number, ended: string | undefined,
 *   from: Record<string, { topics: Record<string, Received>, latency: Counts }> }} Subscribed
 * @typedef {{ status: string, published: Record<string, Published>, subscribed: Subscribed[], notes: string[] }} Report
 * @typedef {{ at: number, n: number, from: Place, run: string }} Stamp what every payload carries
 * @typedef {{ what: string, place: string | undefined, topic: string | undefined }} Provoked
 * @typedef {{ places: readonly Place[], run: string, provoked: Provoked | undefined }} Setup what all places have in common:
 *   `run` tells the events of this run from a stranger's; `provoked` is what a test has go wrong
 */

/** Ranges of missing numbers that are kept for one topic; what is missing beyond them is only counted. */
const MAX_HOLES = 1000;

/** What a subscription received of one publisher on one topic. */
class Track {
  first = 0;
  last = 0;
  count = 0;
  /** Whether a gap was reported before the first one came. */
  afterGap = false;
  /** @type {Ranges} */
  holes = [];
  untracked = 0;
  /** @type {Ranges} Missing, and a gap was reported at the very place. */
  inGaps = [];
  repeated = 0;
  disordered = 0;
  /** The subscription's count of gaps when the last one came. */
  gaps = 0;

  /** @param {number} n @param {number} gaps */
  take(n, gaps) {
    if (n <= this.last) {
      if (take(this.holes, n) || take(this.inGaps, n)) {
        this.count++;
        this.disordered++;
      } else this.repeated++;
      return;
    }
    if (this.last === 0) {
      this.first = n;
      this.afterGap = gaps > 0;
    } else if (n > this.last + 1) {
      const ranges = gaps > this.gaps ? this.inGaps : this.holes;
      if (ranges.length < MAX_HOLES) append(ranges, this.last + 1, n - 1);
      else this.untracked += n - 1 - this.last;
    }
    this.last = n;
    this.gaps = gaps;
    this.count++;
  }

  /** @param {number} gaps @returns {Received} */
  report(gaps) {
    const { first, last, count, afterGap, holes, untracked, inGaps, repeated, disordered } = this;
    return {
      first,
      last,
      count,
      afterGap,
      gapSince: gaps > this.gaps,
      holes,
      untracked,
      inGaps,
      repeated,
      disordered,
    };
  }
}

/** What one subscription received. */
class Account {
  live = false;
  gaps = 0;
  /** @type {string | undefined} */
  ended;
  /** @type {Map<Place, { topics: Map<string, Track>, latency: Histogram }>} */
  #from;

  /** @param {readonly Place[]} places */
  constructor(places) {
    this.#from = new Map(places.map((place) => [place, { topics: new Map(), latency: new Histogram() }]));
  }

  /** @param {EventEnvelope} envelope @param {string} run */
  take({ type, id, payload }, run) {
    const stamp = /** @type {Partial<Stamp> | null} */ (payload);
    // Anyone may publish on this hub; only what the places publish is measured.
    if (stamp?.run !== run || typeof stamp.n !== "number" || typeof stamp.at !== "number") return;
    const from = this.#from.get(/** @type {Place} */ (stamp.from));
    if (from === undefined) return;
    from.latency.record(now() - stamp.at);
    const topic = topicOf({ type, id });
    let track = from.topics.get(topic);
    if (track === undefined) from.topics.set(topic, (track = new Track()));
    track.take(stamp.n, this.gaps);
  }

  /** @param {string} key @returns {Subscribed} */
  report(key) {
    const from = Object.fromEntries(
      Array.from(this.#from, ([place, { topics, latency }]) => [
        place,
        {
          topics: Object.fromEntries(Array.from(topics, ([topic, track]) => [topic, track.report(this.gaps)])),
          latency: latency.counts(),
        },
      ]),
    );
    return { key, live: this.live, gaps: this.gaps, ended: this.ended, from };
  }
}

/**
 * @param {Place} name
 * @param {AlkEventTarget} eventTarget
 * @param {Setup} setup
 * @param {Readings} readings
 */
export function createPlace(name, eventTarget, { places, run, provoked }, readings) {
  /** @type {string[]} */
  const notes = [];
  const note = (/** @type {unknown} */ error) => {
    if (notes.push(error instanceof Error ? error.message : String(error)) > 5) notes.shift();
  };
  const pubsub = createPubSub({ eventTarget, onError: note });
  /** @type {Map<string, Published>} */
  const published = new Map();
  /** @type {Map<string, Account>} */
  const accounts = new Map();
  /** @type {Set<Promise<void>>} */
  const underWay = new Set();
  /** @type {ReturnType<typeof setTimeout>[]} */
  const timers = [];
  let stopped = false;

  /** @param {string} type @param {string} id @param {object} value */
  function publish(type, id, value) {
    const topic = topicOf({ type, id });
    let account = published.get(topic);
    if (account === undefined) {
      account = { type, id, sent: 0, resolved: 0, rejected: [] };
      published.set(topic, account);
    }
    const { rejected } = account;
    const n = ++account.sent;
    const sending = pubsub.publish(type, id, { at: now(), n, from: name, run, ...value }).then(
      () => void account.resolved++,
      (error) => {
        append(rejected, n, n);
        note(error);
      },
    );
    underWay.add(sending);
    void sending.then(() => underWay.delete(sending));
  }

  function read() {
    for (const { type, id, value } of readings.take()) publish(type, id, value);
  }

  function burst() {
    for (let i = 0; i < BURST; i++) publish("process.sample", name, readings.sample());
  }

  /** Resolves once the first has been published. */
  async function startPublishing() {
    // Before there is a connection, no more than a thousand publishes would wait for it: one does.
    await pubsub.publish("place.connected", name, null);
    if (provoked?.what === "die" && provoked.place === name) await dieWhenTold();
    if (stopped) return;
    read();
    timers.push(setInterval(read, READ_EVERY_MS));
    const behind = (places.indexOf(name) * BURST_EVERY_MS) / places.length;
    timers.push(
      setTimeout(() => {
        burst();
        timers.push(setInterval(burst, BURST_EVERY_MS));
      }, behind),
    );
  }

  /** Resolves once no publish is under way any more. */
  async function stopPublishing() {
    stopped = true;
    for (const timer of timers.splice(0)) clearInterval(timer);
    await Promise.all(underWay);
  }

  /** Resolves once live. @param {Filter} filter */
  async function subscribe(filter) {
    const { type, id } = filter;
    const account = new Account(places);
    accounts.set(subscriptionKey(name, filter), account);
    const onGap = () => void account.gaps++;
    if (id === undefined) {
      await pubsub.on(type, (envelope) => account.take(envelope, run), { onGap });
    } else if (provoked?.place === name && provoked.topic === topicOf(filter)) {
      await provokeLoss(filter, account);
    } else {
      const subscription = await pubsub.subscribe(type, id, { onGap });
      void (async () => {
        try {
          for await (const batch of subscription.batches()) for (const event of batch) account.take(event, run);
        } catch (error) {
          account.ended = /** @type {{ code?: string }} */ (error).code ?? String(error);
          note(error);
        }
      })();
    }
    account.live = true;
  }

  async function dieWhenTold() {
    await pubsub.on("provoke.death", name, () => {
      setTimeout(() => {
        throw new Error("provoked");
      });
    });
  }

  /**
   * Unsubscribes in the middle of every burst; and, if so asked, subscribes again a moment later without waiting.
   * @param {Filter} filter @param {Account} account
   */
  async function provokeLoss(filter, account) {
    const { type, id } = filter;
    /** @type {(() => void) | undefined} */
    let stop;
    const listen = async () => {
      stop = await pubsub.on(type, id, (envelope) => {
        account.take(envelope, run);
        if (/** @type {Stamp} */ (envelope.payload).n % BURST !== BURST / 2) return;
        stop?.();
        if (provoked?.what === "resubscribe") setTimeout(() => void listen(), 20);
      });
    };
    await listen();
  }

  return {
    /** What the others may ask of this place. */
    handle: {
      startPublishing,
      stopPublishing,
      subscribe,
      /** @returns {Report} */
      report: () => ({
        status: pubsub.status,
        published: Object.fromEntries(published),
        subscribed: Array.from(accounts, ([key, account]) => account.report(key)),
        notes,
      }),
    },
    async close() {
      await stopPublishing();
      readings.stop();
      await pubsub.close();
      await eventTarget.close();
    },
  };
}
