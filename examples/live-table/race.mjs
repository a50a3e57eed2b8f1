/**
 * The control: what happens to a subscriber that does not wait until its subscription is live.
 *
 * In each round a subscriber subscribes, and then tells the publisher to publish one event. The subscription travels
 * over a WebSocket whose path is a millisecond slower; the word to the publisher travels another way, and arrives
 * first. After the event the publisher publishes a fence on a topic of the same link, subscribed to long before: once the
 * fence is here, what has not come will not come. One subscriber awaits `on`, the other does not; all else is equal.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { createHubEventTarget } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { now } from "./clock.mjs";
import { Histogram } from "./histogram.mjs";

/**
 * @typedef {"awaited" | "unawaited"} Racer
 * @typedef {{ racer: Racer, round: number }} RaceSignal
 * @typedef {{ published: number, delivered: number, failed: string | undefined,
 *   latency: import("./histogram.mjs").Counts }} RaceReport
 */

/** @type {readonly Racer[]} */
const RACERS = ["unawaited", "awaited"];
const ROUND_EVERY_MS = 50;
const FENCE_TIMEOUT_MS = 5000;

/** The publisher's part of a round. @param {import("@alkdev/pubsub").PubSub} pubsub @param {RaceSignal} signal */
export async function publishRound(pubsub, { racer, round }) {
  await pubsub.publish("race.round", `${racer}-${round}`, { at: now() });
  await pubsub.publish("race.fence", racer, { round });
}

/** The subscriber's part. @param {string} url @param {(signal: RaceSignal) => void} tellPublisher */
export function startRace(url, tellPublisher) {
  const racers = RACERS.map((racer) => createRacer(racer, url, tellPublisher));
  const byName = (/** @type {(racer: ReturnType<typeof createRacer>) => unknown} */ value) =>
    Object.fromEntries(racers.map((racer) => [racer.name, value(racer)]));
  return {
    report: () => byName((racer) => racer.report()),
    stop: () => Promise.all(racers.map((racer) => racer.stop())).then(() => undefined),
  };
}

/** @param {Racer} name @param {string} url @param {(signal: RaceSignal) => void} tellPublisher */
function createRacer(name, url, tellPublisher) {
  const eventTarget = createHubEventTarget(url);
  const pubsub = createPubSub({ eventTarget, onGap: () => waiting?.resolve(false) });
  const latency = new Histogram();
  let published = 0;
  let delivered = 0;
  /** @type {string | undefined} */
  let failed;
  let stopping = false;
  /**
   * The round that is on; false says that a loss was reported, so that it proves nothing.
   * @type {{ round: number, resolve: (fenced: boolean) => void } | undefined}
   */
  let waiting;

  async function run() {
    await pubsub.on("race.fence", name, ({ payload }) => {
      if (/** @type {{ round: number }} */ (payload).round === waiting?.round) waiting.resolve(true);
    });
    // At least one, however slow the machine and short the run: a control without a round proves nothing.
    for (let round = 1; !stopping || round === 1; round++) {
      let arrived = 0;
      const fence = new Promise((/** @type {(fenced: boolean) => void} */ resolve) => (waiting = { round, resolve }));
      const subscribing = pubsub.on("race.round", `${name}-${round}`, ({ payload }) => {
        arrived++;
        latency.record(now() - /** @type {{ at: number }} */ (payload).at);
      });
      // Where it fails, the wait below says so.
      subscribing.catch(() => undefined);
      if (name === "awaited") await subscribing;
      tellPublisher({ racer: name, round });
      if (await within(FENCE_TIMEOUT_MS, fence)) {
        published++;
        delivered += arrived;
      }
      const unsubscribe = await subscribing;
      unsubscribe();
      await sleep(ROUND_EVERY_MS);
    }
  }

  const running = run().catch((/** @type {unknown} */ error) => {
    failed = error instanceof Error ? error.message : String(error);
  });
  /** @type {Promise<void> | undefined} */
  let stopped;
  return {
    name,
    /** @returns {RaceReport} */
    report: () => ({ published, delivered, failed, latency: latency.counts() }),
    stop() {
      stopping = true;
      stopped ??= running.then(() => pubsub.close()).then(() => eventTarget.close());
      return stopped;
    },
  };
}

/** @template T @param {number} ms @param {Promise<T>} promise @returns {Promise<T>} */
async function within(ms, promise) {
  const stop = new AbortController();
  const late = sleep(ms, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`no fence within ${ms} ms`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}
