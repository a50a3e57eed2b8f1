// Publish to `for await`. A contestant: { push(message), open(): AsyncIterable }; `read` gets the message out of what is
// iterated. `batches`: what is iterated are arrays.
import { EventEmitter, on } from "node:events";
import { rate, heapUsed, kept, tick } from "../measure.mjs";

const TYPE = "session.status";
const ID = "proj_1";
const BUFFER = 2 ** 18;

/** A queue with one reader: what an iterator costs that checks nothing and counts nothing. */
function plainQueue() {
  const readers = [];
  return {
    push(message) {
      for (const reader of readers) reader.push(message);
    },
    open() {
      let items = new Array(16);
      let head = 0;
      let tail = 0;
      let parked;
      readers.push({
        push(message) {
          if (parked !== undefined) {
            const resolve = parked;
            parked = undefined;
            resolve({ value: message, done: false });
            return;
          }
          if (tail - head === items.length) {
            const bigger = new Array(items.length * 2);
            for (let i = head; i < tail; i++) bigger[i - head] = items[i & (items.length - 1)];
            items = bigger;
            tail -= head;
            head = 0;
          }
          items[tail++ & (items.length - 1)] = message;
        },
      });
      return {
        next() {
          if (head === tail)
            return new Promise((resolve) => {
              parked = resolve;
            });
          const at = head++ & (items.length - 1);
          const value = items[at];
          items[at] = undefined;
          return Promise.resolve({ value, done: false });
        },
        [Symbol.asyncIterator]() {
          return this;
        },
      };
    },
  };
}

/** The same, handing out all that has come. */
function plainBatches() {
  let items = [];
  let wake;
  return {
    push(message) {
      items.push(message);
      wake?.();
      wake = undefined;
    },
    open: () => ({
      async next() {
        if (items.length === 0)
          await new Promise((resolve) => {
            wake = resolve;
          });
        const value = items;
        items = [];
        return { value, done: false };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    }),
  };
}

async function ours() {
  const { createPubSub } = await import("@alkdev/pubsub");
  const pubsub = createPubSub({ buffer: { limit: BUFFER } });
  return {
    push: (message) => void pubsub.publish(TYPE, ID, message),
    open: () => pubsub.subscribe(TYPE, ID),
    read: (event) => event.payload,
  };
}

const contestants = {
  ours: { label: "@alkdev/pubsub", make: ours },
  oursBatches: {
    label: "@alkdev/pubsub, batches()",
    async make() {
      const { push, open, read } = await ours();
      return { push, open: async () => (await open()).batches(), read, batches: true };
    },
  },
  yoga: {
    package: "@graphql-yoga/subscription",
    async make({ heap }) {
      const { createPubSub } = await import("@graphql-yoga/subscription");
      const { FixedBuffer } = await import("@repeaterjs/repeater");
      // As it comes it has no buffer but 1,024 pending pushes, and the next one is an uncaught error. One serves them all.
      const pubsub = createPubSub(heap === undefined ? {} : { repeaterBuffer: new FixedBuffer(4 * BUFFER) });
      return {
        push: (message) => pubsub.publish(TYPE, ID, message),
        open: () => pubsub.subscribe(TYPE, ID),
        lazy: true,
      };
    },
  },
  emittery: {
    package: "emittery",
    async make() {
      const { default: Emittery } = await import("emittery");
      const emitter = new Emittery();
      return {
        push: (message) => void emitter.emit(ID, message),
        open: () => emitter.events(ID),
      };
    },
  },
  eventsOn: {
    label: "events.on",
    make() {
      const emitter = new EventEmitter().setMaxListeners(0);
      return {
        push: (message) => emitter.emit(ID, message),
        open: () => on(emitter, ID),
        read: ([message]) => message,
      };
    },
  },
  limit: { label: "limit: a queue and a parked promise, nothing checked", make: plainQueue },
  limitBatches: {
    label: "limit: an array, swapped when read",
    make: () => ({ ...plainBatches(), batches: true }),
  },
};

const iterated = ["ours", "yoga", "emittery", "eventsOn", "limit"];

const scenarios = {
  burst: {
    title: "`for await`, 128 at once",
    burst: 128,
    contestants: iterated,
    targets: { yoga: 30, eventsOn: 1, limit: 0.8 },
  },
  lockstep: {
    title: "`for await`, one at a time",
    burst: 1,
    contestants: iterated,
    targets: { yoga: 15, limit: 0.7 },
  },
  batches: {
    title: "`batches()`, 128 at once",
    burst: 128,
    contestants: ["oursBatches", "limitBatches"],
    targets: { limitBatches: 0.45 },
  },
  heap: {
    title: "heap of a buffered event beside the envelope",
    unit: "bytes",
    heap: 100_000,
    contestants: ["ours", "yoga", "eventsOn", "limit"],
    most: 16,
  },
};

async function measure(make, scenario) {
  const contestant = await make(scenario);
  return scenario.heap === undefined
    ? deliveries(contestant, scenario.burst)
    : bufferedBytes(contestant, scenario.heap);
}

async function deliveries({ push, open, read = (message) => message, batches = false }, burst) {
  const message = { n: 1, user: "user-0123456789", text: "The quick brown fox jumps over the lazy dog." };
  let seen = 0;
  let wanted = Infinity;
  let arrived;
  let sum = 0;
  const see = (item) => {
    sum += read(item).n;
    if (++seen === wanted) arrived();
  };
  const consume = async (source) => {
    if (batches) for await (const items of source) for (const item of items) see(item);
    else for await (const item of source) see(item);
  };
  void consume(await open());
  await tick();
  // The count is a power of two from 1,024 on, so that there are only whole bursts.
  const result = await rate(async (count) => {
    for (let left = count; left > 0; left -= burst) {
      wanted = seen + burst;
      const all = new Promise((resolve) => {
        arrived = resolve;
      });
      for (let i = 0; i < burst; i++) push(message);
      await all;
    }
  });
  if (sum !== seen) throw new Error("something else was delivered");
  return result;
}

/** What each further subscription costs that buffers the same events: so the envelopes, made or not, do not count. */
async function bufferedBytes({ push, open, lazy = false }, count) {
  const subscriptions = [];
  const fill = async (more) => {
    for (let i = 0; i < more; i++) {
      const iterator = (await open())[Symbol.asyncIterator]();
      subscriptions.push(iterator);
      if (lazy) {
        const first = iterator.next();
        await tick();
        push(message);
        await first;
      }
    }
    for (let i = 0; i < count; i++) {
      push(message);
      if (i % 500 === 0) await tick();
    }
  };
  const message = { n: 1 };
  await fill(1);
  const one = await heapUsed();
  // Read empty, and filled again along with the others: both times there are as many envelopes.
  for (let i = 0; i < count; i++) await subscriptions[0].next();
  await fill(4);
  const five = await heapUsed();
  kept.push(push, open, subscriptions);
  return (five - one) / 4 / count;
}

export default {
  about: "Publish to `for await` in one process; events delivered a second.",
  unit: "events/s",
  contestants,
  scenarios,
  measure,
};
