// Events through a worker thread and a child process. A contestant: { send(count): promise once all have arrived there,
// echo(): promise once one has come back }. The far end is ../pipe-end.mjs.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { tick } from "../measure.mjs";

const END = new URL("../pipe-end.mjs", import.meta.url);
const COUNT = 100_000;
/** Events between two turns of the event loop, as a busy publisher has it. */
const BURST = 500;
const ECHOES = 4000;

const messages = Array.from({ length: 1000 }, (_, i) => ({
  type: "session",
  id: `abc${i}`,
  payload: {
    seq: i,
    ts: 1_732_480_000_000 + i,
    user: "user-0123456789",
    text: "The quick brown fox jumps over the lazy dog, twice a day.",
    ok: true,
    tags: ["a", "b"],
  },
}));

/** Calls back with every line of a stream. */
function lines(stream, onLine) {
  let rest = "";
  stream.setEncoding("utf8").on("data", (chunk) => {
    const all = (rest + chunk).split("\n");
    rest = all.pop();
    for (const line of all) onLine(line);
  });
}

async function startWorker(kind) {
  const worker = new Worker(END, { workerData: { kind } });
  await once(worker, "online");
  return worker;
}

const startChild = (kind) =>
  spawn(process.execPath, [fileURLToPath(END), kind], { stdio: ["pipe", "pipe", "inherit"] });

async function overPubSub(eventTarget) {
  const { createPubSub } = await import("@alkdev/pubsub");
  const pubsub = createPubSub({ eventTarget });
  let arrived;
  let echoed;
  await pubsub.on("done", () => arrived());
  await pubsub.on("echo", () => echoed());
  // The far end has subscribed once this comes back.
  for (let up = false; !up;) {
    const answer = new Promise((resolve) => (echoed = resolve));
    await pubsub.publish("ask", "", messages[0].payload);
    up = await Promise.race([answer.then(() => true), tick().then(() => false)]);
  }
  return {
    async send(count) {
      const done = new Promise((resolve) => (arrived = resolve));
      await pubsub.publish("expect", "", count);
      for (let i = 0; i < count;) {
        for (const end = Math.min(i + BURST, count); i < end; i++) {
          const { type, id, payload } = messages[i % 1000];
          void pubsub.publish(type, id, payload);
        }
        await tick();
      }
      await done;
    },
    echo() {
      const answer = new Promise((resolve) => (echoed = resolve));
      void pubsub.publish("ask", "", messages[0].payload);
      return answer;
    },
  };
}

/** @param drained what to wait for after a burst; `send` may ask to wait in the middle of one */
function raw(send, listen, drained = tick) {
  let told;
  listen(() => told());
  const answer = () => new Promise((resolve) => (told = resolve));
  return {
    async send(count) {
      const done = answer();
      send({ type: "expect", payload: count });
      for (let i = 0; i < count;) {
        for (const end = Math.min(i + BURST, count); i < end; i++) {
          const full = send(messages[i % 1000]);
          if (full instanceof Promise) await full;
        }
        await drained();
      }
      await done;
    },
    echo() {
      const answered = answer();
      send({ ...messages[0], type: "ask" });
      return answered;
    },
  };
}

const contestants = {
  "ours, worker": {
    label: "@alkdev/pubsub",
    async make() {
      const { createWorkerEventTarget } = await import("@alkdev/pubsub/event-target-worker");
      return overPubSub(createWorkerEventTarget(await startWorker("ours")));
    },
  },
  postMessage: {
    label: "postMessage",
    async make() {
      const worker = await startWorker("raw");
      return raw(
        (message) => worker.postMessage(message),
        (listener) => worker.on("message", listener),
      );
    },
  },
  "ours, stdio": {
    label: "@alkdev/pubsub",
    async make() {
      const { createStdioEventTarget } = await import("@alkdev/pubsub/event-target-stdio");
      return overPubSub(createStdioEventTarget(startChild("ours")));
    },
  },
  ndjson: {
    label: "lines of JSON, one write each",
    make() {
      const child = startChild("raw");
      return raw(
        (message) => child.stdin.write(`${JSON.stringify(message)}\n`) || once(child.stdin, "drain"),
        (listener) => lines(child.stdout, (line) => listener(JSON.parse(line))),
      );
    },
  },
  joined: {
    label: "limit: an array of JSON a burst",
    make() {
      const child = startChild("raw");
      let burst = [];
      const flush = () => {
        if (burst.length > 0) child.stdin.write(`${JSON.stringify(burst)}\n`);
        burst = [];
        return child.stdin.writableNeedDrain ? once(child.stdin, "drain") : tick();
      };
      return raw(
        (message) => burst.push(message),
        (listener) => lines(child.stdout, (line) => listener(JSON.parse(line))),
        flush,
      );
    },
  },
  clones: {
    label: "limit: an array of clones a burst",
    async make() {
      const worker = await startWorker("raw");
      let burst = [];
      return raw(
        (message) => burst.push(message),
        (listener) => worker.on("message", listener),
        () => {
          worker.postMessage(burst);
          burst = [];
          return tick();
        },
      );
    },
  },
};

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

export default {
  about: "Wall time, since two threads or processes share the work; events of about 200 bytes of JSON.",
  unit: "events/s",
  contestants,
  scenarios: {
    "worker, one way": {
      title: "To a worker, bursts of 500 a turn",
      contestants: ["ours, worker", "postMessage", "clones"],
      targets: { postMessage: 2 },
    },
    "worker, round trip": {
      title: "To a worker and back, one at a time: half of them take no longer",
      unit: "µs",
      lower: true,
      contestants: ["ours, worker", "postMessage"],
      targets: { postMessage: 1.15 },
    },
    "stdio, one way": {
      title: "To a child process over its standard input, bursts of 500 a turn",
      contestants: ["ours, stdio", "ndjson", "joined"],
      targets: { ndjson: 1.8 },
    },
    "stdio, round trip": {
      title: "To a child process and back, one at a time: half of them take no longer",
      unit: "µs",
      lower: true,
      contestants: ["ours, stdio", "ndjson"],
      targets: { ndjson: 1.15 },
    },
  },
  async measure(make, { lower }) {
    const pipe = await make();
    if (lower) {
      const times = [];
      for (let i = 0; i < ECHOES * 1.25; i++) {
        const begin = performance.now();
        await pipe.echo();
        times.push((performance.now() - begin) * 1000);
      }
      return median(times.slice(ECHOES / 4));
    }
    await pipe.send(COUNT);
    const rates = [];
    for (let i = 0; i < 3; i++) {
      const begin = performance.now();
      await pipe.send(COUNT);
      rates.push((COUNT / (performance.now() - begin)) * 1000);
    }
    return median(rates);
  },
};
