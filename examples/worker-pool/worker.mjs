/** A worker of the pool: offers what it can do to the router in the thread that started it. */
import process from "node:process";
import { createPubSub } from "@alkdev/pubsub";
import { createMainThreadEventTarget } from "@alkdev/pubsub/event-target-worker";
import { createOperations } from "@alkdev/operations";

const pubsub = createPubSub({ eventTarget: createMainThreadEventTarget() });
const operations = createOperations(pubsub, { router: true });

await operations.handle("primes.count", countPrimes, {
  input: {
    type: "object",
    properties: { from: { type: "integer", minimum: 0 }, to: { type: "integer" } },
    required: ["from", "to"],
  },
});
// Dies in the middle of a request, for the sake of showing what becomes of it.
await operations.handle("crash", () => process.exit(1));

/** How many primes there are in a range, in the slowest way. */
function countPrimes({ from, to }) {
  let count = 0;
  for (let n = Math.max(2, from); n < to; n++) {
    let prime = true;
    for (let d = 2; d * d <= n && prime; d++) prime = n % d !== 0;
    if (prime) count++;
  }
  return count;
}
