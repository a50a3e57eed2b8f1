// Calls, beside the same question and answer by hand over the same PubSub. A contestant: a function that makes one call. The
// far end is ../call-end.mjs.
import { once } from "node:events";
import { Worker } from "node:worker_threads";

const END = new URL("../call-end.mjs", import.meta.url);
const CALLS = 4000;
const AT_ONCE = 100;

const input = { user: "user-0123456789", text: "The quick brown fox jumps over the lazy dog.", tags: ["a", "b"] };

const startEnd = (over, by) => new Worker(END, { workerData: { over, by } });

async function byOperations(pubsub, options) {
  const { createOperations } = await import("@alkdev/operations");
  const operations = createOperations(pubsub, options);
  const call = () => operations.call("echo", input);
  return { operations, call };
}

/** Questions and answers found by their ids, and nothing else: no time-outs, no errors, no end. */
async function byHand(pubsub) {
  const waiting = new Map();
  let last = 0;
  await pubsub.on("answer", ({ id, payload }) => {
    waiting.get(id)?.(payload);
    waiting.delete(id);
  });
  return () =>
    new Promise((resolve) => {
      const id = String(++last);
      waiting.set(id, resolve);
      void pubsub.publish("ask", id, input);
    });
}

async function inProcess() {
  const { createPubSub } = await import("@alkdev/pubsub");
  return createPubSub();
}

async function worker(by) {
  const { createPubSub } = await import("@alkdev/pubsub");
  const { createWorkerEventTarget } = await import("@alkdev/pubsub/event-target-worker");
  return createPubSub({ eventTarget: createWorkerEventTarget(startEnd("worker", by)) });
}

async function webSocket(by) {
  const { createPubSub } = await import("@alkdev/pubsub");
  const { createHubEventTarget } = await import("@alkdev/hub");
  const [url] = await once(startEnd("hub", by), "message");
  return createPubSub({ eventTarget: createHubEventTarget(url) });
}

/** Calls until somebody answers: the far end may not listen yet. */
async function answered(call) {
  const tries = setInterval(() => void call(), 50);
  await call();
  clearInterval(tries);
  return call;
}

const OURS = "@alkdev/operations";
const HAND = "limit: the same PubSub, by hand";

const contestants = {
  "ours, in process": {
    label: OURS,
    async make() {
      const { operations, call } = await byOperations(await inProcess());
      await operations.handle("echo", (given) => given);
      return call;
    },
  },
  "hand, in process": {
    label: HAND,
    async make() {
      const pubsub = await inProcess();
      await pubsub.on("ask", ({ id, payload }) => void pubsub.publish("answer", id, payload));
      return byHand(pubsub);
    },
  },
  "ours, worker": { label: OURS, make: async () => (await byOperations(await worker("operations"))).call },
  "hand, worker": { label: HAND, make: async () => answered(await byHand(await worker("hand"))) },
  "ours, WebSocket": {
    label: OURS,
    make: async () => (await byOperations(await webSocket("operations"), { router: true })).call,
  },
  "hand, WebSocket": { label: HAND, make: async () => answered(await byHand(await webSocket("hand"))) },
};

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

const ways = [
  ["in process", "In process"],
  ["worker", "To a worker"],
  ["WebSocket", "To a hub's own place, over a WebSocket"],
];

export default {
  about:
    "Wall time: calls of an operation that returns its input, 100 bytes of JSON. The hand forgets what a call has to be sure of.",
  unit: "calls/s",
  contestants,
  scenarios: Object.fromEntries(
    ways.flatMap(([way, title]) => [
      [
        `${way}, one at a time`,
        {
          title: `${title}, one at a time: half of them take no longer`,
          unit: "µs",
          lower: true,
          contestants: [`ours, ${way}`, `hand, ${way}`],
        },
      ],
      [
        `${way}, ${AT_ONCE} at once`,
        { title: `${title}, ${AT_ONCE} at once`, contestants: [`ours, ${way}`, `hand, ${way}`] },
      ],
    ]),
  ),
  async measure(make, { lower }) {
    const call = await make();
    if (lower) {
      const times = [];
      for (let i = 0; i < CALLS * 1.25; i++) {
        const begin = performance.now();
        await call();
        times.push((performance.now() - begin) * 1000);
      }
      return median(times.slice(CALLS / 4));
    }
    const many = async (count) => {
      for (let i = 0; i < count; i += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, call));
    };
    await many(CALLS);
    const rates = [];
    for (let i = 0; i < 3; i++) {
      const begin = performance.now();
      await many(CALLS * 2);
      rates.push(((CALLS * 2) / (performance.now() - begin)) * 1000);
    }
    return median(rates);
  },
};
