#!/usr/bin/env node
/**
 * A pool of worker threads that take operations: the same work with one worker and with two, how much faster that is, and
 * what becomes of a request whose worker dies.
 *
 *     npm run example -- worker-pool
 *     npm run example -- worker-pool --jobs 64 --rounds 5
 */
import { availableParallelism } from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { createPubSub } from "@alkdev/pubsub";
import { createWorkerEventTarget } from "@alkdev/pubsub/event-target-worker";
import { createRouter } from "@alkdev/operations";

const { values } = parseArgs({
  options: { jobs: { type: "string", default: "32" }, rounds: { type: "string", default: "3" } },
});
const jobs = Number(values.jobs);
const rounds = Number(values.rounds);
/** Numbers that one job looks at. */
const RANGE = 60_000;
const FROM = 1_000_000;

/** Workers behind a router. */
async function openPool(size) {
  const router = createRouter();
  const members = Array.from({ length: size }, () => {
    const worker = new Worker(new URL("worker.mjs", import.meta.url));
    const target = createWorkerEventTarget(worker);
    const pubsub = createPubSub({ eventTarget: target });
    router.connect(pubsub);
    return { worker, target };
  });
  const ready = () => router.status().operations.some(({ name, spokes }) => name === "crash" && spokes === size);
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 5));
  return {
    operations: router.operations,
    async close() {
      await router.close();
      for (const { target, worker } of members) {
        await target.close();
        await worker.terminate();
      }
    },
  };
}

/** All jobs at once; the router gives each to the worker that has the fewest. */
async function measure({ operations }) {
  const since = performance.now();
  const counts = await Promise.all(
    Array.from({ length: jobs }, (_, n) =>
      operations.call("primes.count", { from: FROM + n * RANGE, to: FROM + (n + 1) * RANGE }, { timeout: 120_000 }),
    ),
  );
  return { ms: performance.now() - since, primes: counts.reduce((sum, count) => sum + count, 0) };
}

// Whoever reads the output may go away at any time (`| head`).
process.stdout.on("error", () => process.exit(1));
const print = (text) => void process.stdout.write(`${text}\n`);
const pools = [await openPool(1), await openPool(2)];
// In alternation, so that whatever else this machine does meets both; the first round only warms up.
const times = [[], []];
let primes;
for (let round = 0; round <= rounds; round++)
  for (const [n, pool] of pools.entries()) {
    const result = await measure(pool);
    if (round > 0) times[n].push(result.ms);
    if (primes !== undefined && primes !== result.primes) throw new Error("The pools do not agree.");
    primes = result.primes;
  }
const best = times.map((all) => Math.min(...all));
print(`${jobs} jobs, ${primes} primes, ${availableParallelism()} processors`);
for (const [n, ms] of best.entries()) print(`${n + 1} worker${n === 0 ? " " : "s"}  ${ms.toFixed(0).padStart(6)} ms`);
print(`speed-up   ${(best[0] / best[1]).toFixed(2)}`);

// A worker dies with a request: whoever waits is told at once, and the other one goes on.
const pool = pools[1];
const error = /** @type {import("@alkdev/operations").OperationError} */ (
  await pool.operations.call("crash", null).catch((reason) => reason)
);
print(`a worker that dies: ${error.code}, retryable: ${error.retryable}`);
const below = await pool.operations.call("primes.count", { from: 0, to: 100 });
print(`the other one: ${String(below)} primes below 100`);
for (const each of pools) await each.close();
