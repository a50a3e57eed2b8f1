// Publish to callbacks, in one process. A contestant: { on(i, listener), publish(i) } over the topics 0, 1, 2, …, and
// `iterate(i)`, which gives something that holds one iterated subscription.
import { EventEmitter, setMaxListeners } from "node:events";
import { heapUsed, kept, random, rate } from "../measure.mjs";

const PICKS = 1 << 16;

const contestants = {
  ours: {
    label: "@alkdev/pubsub",
    async make({ type, ids, payloads }) {
      const { createPubSub } = await import("@alkdev/pubsub");
      const pubsub = createPubSub();
      return {
        on: (i, listener) => pubsub.on(type, ids[i], listener),
        publish: (i) => void pubsub.publish(type, ids[i], payloads[i]),
        iterate: (i) => pubsub.subscribe(type, ids[i]),
      };
    },
  },
  yoga: {
    package: "@graphql-yoga/subscription",
    async make({ type, ids, payloads, topics }) {
      const { createPubSub } = await import("@graphql-yoga/subscription");
      const eventTarget = new EventTarget();
      setMaxListeners(0, eventTarget);
      const pubsub = createPubSub({ eventTarget });
      return {
        on: (i, listener) => eventTarget.addEventListener(topics[i], (event) => listener({ payload: event.detail })),
        publish: (i) => pubsub.publish(type, ids[i], payloads[i]),
        iterate(i) {
          const events = pubsub.subscribe(type, ids[i]);
          // It subscribes when it is first read.
          return [events, events.next()];
        },
      };
    },
  },
  eventTarget: {
    label: "EventTarget, CustomEvent",
    make({ topics, envelopes }) {
      const target = new EventTarget();
      setMaxListeners(0, target);
      return {
        on: (i, listener) => target.addEventListener(topics[i], (event) => listener(event.detail)),
        publish: (i) => target.dispatchEvent(new CustomEvent(topics[i], { detail: envelopes[i] })),
      };
    },
  },
  eventEmitter: {
    label: "EventEmitter",
    make({ topics, envelopes }) {
      const emitter = new EventEmitter().setMaxListeners(0);
      return {
        on: (i, listener) => emitter.on(topics[i], listener),
        publish: (i) => emitter.emit(topics[i], envelopes[i]),
      };
    },
  },
  mitt: {
    package: "mitt",
    async make({ topics, envelopes }) {
      const { default: mitt } = await import("mitt");
      const emitter = mitt();
      return {
        on: (i, listener) => emitter.on(topics[i], listener),
        publish: (i) => emitter.emit(topics[i], envelopes[i]),
      };
    },
  },
  limit: {
    label: "limit: type → id → listeners in two maps, nothing checked",
    make({ type, ids, envelopes }) {
      const types = new Map();
      return {
        on(i, listener) {
          const byId = types.get(type) ?? new Map();
          types.set(type, byId);
          const listeners = byId.get(ids[i]);
          if (listeners === undefined) byId.set(ids[i], [listener]);
          else listeners.push(listener);
        },
        publish(i) {
          const envelope = envelopes[i];
          const listeners = types.get(envelope.type)?.get(envelope.id);
          if (listeners !== undefined) for (let n = 0; n < listeners.length; n++) listeners[n](envelope);
        },
      };
    },
  },
};

const callbacks = ["ours", "yoga", "eventTarget", "eventEmitter", "mitt", "limit"];

const scenarios = {
  one: {
    title: "1 topic, 1 listener",
    topics: 1,
    listeners: 1,
    contestants: callbacks,
    targets: { yoga: 5, eventTarget: 3, limit: 0.5 },
  },
  ten: {
    title: "1 topic, 10 listeners",
    topics: 1,
    listeners: 10,
    contestants: callbacks,
    targets: { eventEmitter: 1, limit: 0.7 },
  },
  thousand: {
    title: "1 topic, 1,000 listeners",
    topics: 1,
    listeners: 1000,
    contestants: callbacks,
    targets: { eventEmitter: 1, limit: 0.7 },
  },
  topics: {
    title: "100,000 topics with a listener each, random",
    topics: 100_000,
    listeners: 1,
    contestants: callbacks,
    targets: { limit: 0.8 },
  },
  heapListener: {
    title: "heap of a listener, 100,000 topics",
    unit: "bytes",
    heap: "on",
    topics: 100_000,
    contestants: callbacks,
    most: 160,
  },
  heapIterated: {
    title: "heap of an iterated subscription, 100,000 topics",
    unit: "bytes",
    heap: "iterate",
    topics: 100_000,
    contestants: ["ours", "yoga"],
    most: 600,
  },
};

function dataOf(count) {
  const type = "session.status";
  const ids = Array.from({ length: count }, (_, i) => `proj_${i}`);
  // Parsed, so that each is one flat string as it would come from elsewhere, not two joined ones.
  const topics = ids.map((id) => JSON.parse(`"${type}:${id}"`));
  const payloads = ids.map((_, n) => ({ n }));
  const envelopes = ids.map((id, i) => ({ type, id, payload: payloads[i] }));
  return { type, ids, topics, payloads, envelopes };
}

async function measure(make, { topics, listeners, heap }) {
  const data = dataOf(topics);
  const contestant = await make(data);
  let sum = 0;
  const listener = () => (envelope) => {
    sum += envelope.payload.n + 1;
  };
  if (heap !== undefined) {
    const all = data.ids.map(listener);
    const subscriptions = [];
    const before = await heapUsed();
    for (let i = 0; i < topics; i++) {
      if (heap === "on") contestant.on(i, all[i]);
      else subscriptions.push(await contestant.iterate(i));
    }
    const after = await heapUsed();
    kept.push(contestant, data, all, subscriptions);
    return (after - before) / topics;
  }
  for (let i = 0; i < topics; i++) for (let n = 0; n < listeners; n++) await contestant.on(i, listener());
  const next = random(1);
  const picks = Uint32Array.from({ length: PICKS }, () => next() * topics);
  let at = 0;
  const result = await rate((count) => {
    for (let i = 0; i < count; i++) contestant.publish(picks[at++ & (PICKS - 1)]);
  });
  if (sum === 0) throw new Error("nothing was delivered");
  return result;
}

export default {
  about: "Publish to callbacks in one process; publishes a second, not awaited.",
  unit: "publishes/s",
  contestants,
  scenarios,
  measure,
};
