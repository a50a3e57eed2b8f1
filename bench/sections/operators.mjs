// filter → map → take → batch(100). A contestant: (source, stages) => AsyncIterable of arrays; `source` makes what it reads.

import { clock } from "../measure.mjs";

const ITEMS = 200_000;
const TAKE = 90_000;
const BATCH = 100;
const RUNS = 5;
const LONGEST_MS = 6000;

const wanted = (event) => event.payload.n % 2 === 0;
const project = (event) => ({ id: event.id, n: event.payload.n });

const events = Array.from({ length: ITEMS }, (_, n) => ({ type: "session.status", id: "proj_1", payload: { n } }));

/** An iterator whose items are all there, a promise each: a busy source that only has `next()`. */
function plainSource() {
  let at = 0;
  return {
    next: () => Promise.resolve(at < ITEMS ? { value: events[at++], done: false } : { value: undefined, done: true }),
    return: () => Promise.resolve({ value: undefined, done: true }),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

async function ourSubscription() {
  const { createPubSub } = await import("@alkdev/pubsub");
  const pubsub = createPubSub({ buffer: { limit: 2 ** 18 } });
  const subscription = await pubsub.subscribe("session.status", "proj_1");
  for (const { type, id, payload } of events) void pubsub.publish(type, id, payload);
  return subscription;
}

async function ourPipe(source) {
  const { batch, filter, map, pipe, take } = await import("@alkdev/pubsub/operators");
  return pipe(source, filter(wanted), map(project), take(TAKE), batch(BATCH));
}

async function* generatorTake(source, count) {
  let left = count;
  for await (const item of source) {
    yield item;
    if (--left === 0) return;
  }
}

async function* generatorBatch(source, size) {
  let items = [];
  for await (const item of source) {
    items.push(item);
    if (items.length < size) continue;
    yield items;
    items = [];
  }
  if (items.length > 0) yield items;
}

async function yogaPipe(source) {
  const { filter, map, pipe } = await import("@graphql-yoga/subscription");
  return generatorBatch(generatorTake(pipe(source, filter(wanted), map(project)), TAKE), BATCH);
}

/** The stages written into one loop, reading with `await source.next()`, and handing out arrays. */
function fusedByHand(source) {
  let left = TAKE;
  return {
    async next() {
      const items = [];
      while (left > 0 && items.length < BATCH) {
        const { value, done } = await source.next();
        if (done) break;
        if (!wanted(value)) continue;
        items.push(project(value));
        left--;
      }
      return items.length > 0 ? { value: items, done: false } : { value: undefined, done: true };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** Stages as a list that one iterator walks for each item: what fusing can be where stages are not known beforehand. */
function fusedStages(source) {
  const DROPPED = Symbol("dropped");
  let left = TAKE;
  let items = [];
  const stages = [
    (event) => (wanted(event) ? event : DROPPED),
    project,
    (item) => (left-- > 0 ? item : DROPPED),
    (item) => {
      items.push(item);
      if (items.length < BATCH) return DROPPED;
      const full = items;
      items = [];
      return full;
    },
  ];
  return {
    async next() {
      while (left > 0) {
        const { value, done } = await source.next();
        if (done) break;
        let item = value;
        for (let i = 0; i < stages.length && item !== DROPPED; i++) item = stages[i](item);
        if (item !== DROPPED) return { value: item, done: false };
      }
      const rest = items;
      items = [];
      return rest.length > 0 ? { value: rest, done: false } : { value: undefined, done: true };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The same over an array: no promise but that of the batch. */
function fusedOverBuffer() {
  let at = 0;
  let left = TAKE;
  return {
    next() {
      const items = [];
      while (left > 0 && at < ITEMS && items.length < BATCH) {
        const event = events[at++];
        if (!wanted(event)) continue;
        items.push(project(event));
        left--;
      }
      return Promise.resolve(items.length > 0 ? { value: items, done: false } : { value: undefined, done: true });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

const contestants = {
  ours: { label: "@alkdev/pubsub", make: () => ({ source: plainSource, run: ourPipe }) },
  oursSubscription: {
    label: "@alkdev/pubsub, from its subscription",
    make: () => ({ source: ourSubscription, run: ourPipe }),
  },
  yoga: {
    package: "@graphql-yoga/subscription",
    note: "its filter and map; take and batch as generators",
    make: () => ({ source: plainSource, run: yogaPipe }),
  },
  it: {
    package: "it-filter",
    label: "it-filter, it-map, it-take, it-batch",
    async make() {
      const [filter, map, take, batch] = await Promise.all(
        ["filter", "map", "take", "batch"].map(async (name) => (await import(`it-${name}`)).default),
      );
      return {
        source: plainSource,
        run: (source) => batch(take(map(filter(source, wanted), project), TAKE), BATCH),
      };
    },
  },
  ix: {
    package: "ix",
    async make() {
      const { from } = await import("ix/asynciterable");
      const { buffer, filter, map, take } = await import("ix/asynciterable/operators");
      return {
        source: plainSource,
        run: (source) => from(source).pipe(filter(wanted), map(project), take(TAKE), buffer(BATCH)),
      };
    },
  },
  limit: {
    label: "limit: one hand-written loop with await next()",
    make: () => ({ source: plainSource, run: fusedByHand }),
  },
  limitStages: {
    label: "limit: one loop over a list of stages, with await next()",
    make: () => ({ source: plainSource, run: fusedStages }),
  },
  limitBuffer: {
    label: "limit: one hand-written loop over an array",
    make: () => ({ source: () => undefined, run: fusedOverBuffer }),
  },
};

const scenarios = {
  plain: {
    title: "from an async iterator",
    contestants: ["ours", "yoga", "it", "ix", "limitStages", "limit"],
    targets: { yoga: 30, it: 3, limitStages: 0.7 },
  },
  subscription: {
    title: "from a subscription that has buffered (peers: from an async iterator)",
    contestants: ["oursSubscription", "yoga", "it", "ix", "limitBuffer"],
    targets: { yoga: 30, it: 3, limitBuffer: 0.7 },
  },
};

async function measure(make) {
  const { source, run } = await make();
  const rates = [];
  const begin = clock();
  while (rates.length < RUNS && (rates.length === 0 || clock() - begin < LONGEST_MS)) {
    const from = await source();
    const started = clock();
    let got = 0;
    for await (const items of await run(from)) got += items.length;
    rates.push((TAKE * 2 * 1000) / (clock() - started));
    if (got !== TAKE) throw new Error(`${got} items came out, not ${TAKE}`);
  }
  // The first runs warm up.
  if (rates.length > 2) rates.splice(0, 2);
  rates.sort((a, b) => a - b);
  return rates[rates.length >> 1];
}

export default {
  about: "filter → map → take → batch(100) over items that are there; items read a second.",
  unit: "items/s",
  contestants,
  scenarios,
  measure,
};
