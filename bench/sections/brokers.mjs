// Events through a broker, publisher and subscriber in one process, each with a connection of its own. A contestant: { on(listener):
// promise, publish(message): promise or nothing, publishMany?(messages), flush?(): promise of the acknowledgement of what was
// published before, where publish has none }. Each cell has a server of its own.
import { HOST, startMosquitto, startNats, startPostgres, startRabbit, startRedis } from "../servers.mjs";

const CHANNEL = "session:abc";
const SUBJECT = "session.abc";
const COUNT = 30_000;
const AWAITED = 3000;

const messages = Array.from({ length: 1000 }, (_, i) => ({
  type: "session",
  id: "abc",
  payload: {
    seq: i,
    ts: 1_732_480_000_000 + i,
    user: "user-0123456789",
    text: "The quick brown fox jumps over the lazy dog, twice a day.",
    ok: true,
    tags: ["a", "b"],
  },
}));

const ioredis = async (port, options) => {
  const { Redis } = await import("ioredis");
  return [1, 2].map(() => new Redis({ port, host: HOST, ...options }));
};
const nodeRedis = async (port) => {
  const { createClient } = await import("redis");
  return Promise.all([1, 2].map(() => createClient({ socket: { port, host: HOST } }).connect()));
};

const ours = (clients, more) => async (port) => {
  const [publishClient, subscribeClient] = await clients(port);
  const { createPubSub } = await import("@alkdev/pubsub");
  const { createRedisEventTarget } = await import("@alkdev/pubsub/event-target-redis");
  const pubsub = createPubSub({ eventTarget: createRedisEventTarget({ publishClient, subscribeClient, ...more }) });
  return {
    on: (listener) => pubsub.on("session", "abc", listener),
    publish: ({ type, id, payload }) => pubsub.publish(type, id, payload),
  };
};

const rawIoredis = (options) => async (port) => {
  const [publisher, subscriber] = await ioredis(port, options);
  return {
    on(listener) {
      subscriber.on("message", (_, text) => listener(JSON.parse(text)));
      return subscriber.subscribe(CHANNEL);
    },
    publish: (message) => publisher.publish(CHANNEL, JSON.stringify(message)),
  };
};

const natsClients = async (port) => {
  const { connect } = await import("@nats-io/transport-node");
  return Promise.all([1, 2].map(() => connect({ servers: `${HOST}:${port}` })));
};

const oursNats = (more) => async (port) => {
  const { createPubSub } = await import("@alkdev/pubsub");
  const { createNatsEventTarget } = await import("@alkdev/pubsub/event-target-nats");
  const [publisher, subscriber] = (await natsClients(port)).map((connection) =>
    createPubSub({ eventTarget: createNatsEventTarget({ connection, ...more }) }),
  );
  return {
    on: (listener) => subscriber.on("session", "abc", listener),
    publish: ({ type, id, payload }) => publisher.publish(type, id, payload),
  };
};

/** Flushed once for all that is published in one tick, as ours is, for the acknowledgement. */
const rawNats = (received, sent) => async (port) => {
  const [publisher, subscriber] = await natsClients(port);
  return {
    on(listener) {
      subscriber.subscribe(SUBJECT, { callback: (_, message) => received(message, listener) });
      return subscriber.flush();
    },
    flush: () => publisher.flush(),
    [sent]: (message) => publisher.publish(SUBJECT, JSON.stringify(message)),
  };
};
const one = (message, listener) => listener(message.json());
const several = (message, listener) => message.json().forEach(listener);

/** @param publishers how many connections publish; with several, events come in any order */
const rawPg = (publishers) => async (port) => {
  const { Client, Pool } = await import("pg");
  const config = { host: HOST, port, user: "postgres", database: "postgres" };
  const subscriber = new Client(config);
  await subscriber.connect();
  const pool = new Pool({ ...config, max: publishers });
  return {
    on(listener) {
      subscriber.on("notification", ({ payload }) => listener(JSON.parse(payload)));
      return subscriber.query("LISTEN session");
    },
    publish: (message) => pool.query("SELECT pg_notify('session', $1)", [JSON.stringify(message)]),
  };
};

const mqttClients = async (port) => {
  const { connectAsync } = await import("mqtt");
  return Promise.all([1, 2].map(() => connectAsync(`mqtt://${HOST}:${port}`, { protocolVersion: 5 })));
};

const contestants = {
  ours: { label: "@alkdev/pubsub over ioredis", make: ours(ioredis) },
  "ours, batch": { label: "@alkdev/pubsub over ioredis, `batch: true`", make: ours(ioredis, { batch: true }) },
  "ours, node-redis": { label: "@alkdev/pubsub over node-redis", make: ours(nodeRedis) },
  ioredis: { package: "ioredis", make: rawIoredis() },
  pipelining: {
    package: "ioredis",
    note: "enableAutoPipelining",
    make: rawIoredis({ enableAutoPipelining: true }),
  },
  nodeRedis: {
    package: "redis",
    async make(port) {
      const [publisher, subscriber] = await nodeRedis(port);
      return {
        on: (listener) => subscriber.subscribe(CHANNEL, (text) => listener(JSON.parse(text))),
        publish: (message) => publisher.publish(CHANNEL, JSON.stringify(message)),
      };
    },
  },
  "ours, amqplib": {
    label: "@alkdev/pubsub over amqplib",
    async make(port) {
      const { createPubSub } = await import("@alkdev/pubsub");
      const { createAmqpEventTarget } = await import("@alkdev/pubsub/event-target-amqp");
      const { connect } = await import("amqplib");
      // The one that is measured beside it.
      const eventTarget = createAmqpEventTarget({ connect: () => connect(`amqp://${HOST}:${port}`) });
      const pubsub = createPubSub({ eventTarget });
      return {
        on: (listener) => pubsub.on("session", "abc", listener),
        publish: ({ type, id, payload }) => pubsub.publish(type, id, payload),
      };
    },
  },
  amqplib: {
    package: "amqplib",
    note: "with confirmations",
    async make(port) {
      const { connect } = await import("amqplib");
      const [publishing, consuming] = [
        await connect(`amqp://${HOST}:${port}`),
        await connect(`amqp://${HOST}:${port}`),
      ];
      const [publisher, subscriber] = [await publishing.createConfirmChannel(), await consuming.createChannel()];
      await subscriber.assertExchange("events", "topic");
      const { queue } = await subscriber.assertQueue("", { exclusive: true });
      return {
        async on(listener) {
          await subscriber.bindQueue(queue, "events", "session.abc");
          const options = { noAck: true };
          await subscriber.consume(queue, ({ content }) => listener(JSON.parse(content.toString())), options);
        },
        publish: (message) =>
          new Promise((resolve, reject) => {
            const content = Buffer.from(JSON.stringify(message));
            publisher.publish("events", "session.abc", content, {}, (error) => (error ? reject(error) : resolve()));
          }),
      };
    },
  },
  "ours, pg": {
    label: "@alkdev/pubsub over pg",
    async make(port) {
      const { Pool } = await import("pg");
      const { createPubSub } = await import("@alkdev/pubsub");
      const { createPostgresEventTarget } = await import("@alkdev/pubsub/event-target-postgres");
      const pool = new Pool({ host: HOST, port, user: "postgres", database: "postgres" });
      const pubsub = createPubSub({ eventTarget: createPostgresEventTarget({ pool }) });
      return {
        on: (listener) => pubsub.on("session", "abc", listener),
        publish: ({ type, id, payload }) => pubsub.publish(type, id, payload),
      };
    },
  },
  pg: { package: "pg", note: "one connection publishes", make: rawPg(1) },
  "pg, ten": { package: "pg", note: "ten do, in no order", make: rawPg(10) },
  "ours, mqtt": {
    label: "@alkdev/pubsub over mqtt",
    async make(port) {
      const { createPubSub } = await import("@alkdev/pubsub");
      const { createMqttEventTarget } = await import("@alkdev/pubsub/event-target-mqtt");
      const [publisher, subscriber] = (await mqttClients(port)).map((client) =>
        createPubSub({ eventTarget: createMqttEventTarget({ client }) }),
      );
      return {
        on: (listener) => subscriber.on("session", "abc", listener),
        publish: ({ type, id, payload }) => publisher.publish(type, id, payload),
      };
    },
  },
  mqtt: {
    package: "mqtt",
    note: "QoS 1",
    async make(port) {
      const [publisher, subscriber] = await mqttClients(port);
      return {
        on(listener) {
          subscriber.on("message", (_, payload) => listener(JSON.parse(payload.toString())));
          return subscriber.subscribeAsync("session/abc", { qos: 1 });
        },
        publish: (message) => publisher.publishAsync("session/abc", JSON.stringify(message), { qos: 1 }),
      };
    },
  },
  limit: {
    label: "limit: ioredis, an array of 100 a message",
    async make(port) {
      const [publisher, subscriber] = await ioredis(port);
      return {
        on(listener) {
          subscriber.on("message", (_, text) => {
            for (const message of JSON.parse(text)) listener(message);
          });
          return subscriber.subscribe(CHANNEL);
        },
        publishMany: (many) => publisher.publish(CHANNEL, JSON.stringify(many)),
      };
    },
  },
  "ours, nats": { label: "@alkdev/pubsub over transport-node", make: oursNats() },
  "ours, nats, batch": { label: "@alkdev/pubsub over transport-node, `batch: true`", make: oursNats({ batch: true }) },
  nats: { package: "@nats-io/transport-node", make: rawNats(one, "publish") },
  "nats, same": {
    package: "@nats-io/transport-node",
    note: "with what ours says of the publisher",
    async make(port) {
      const { publish, ...others } = await rawNats(one, "publish")(port);
      const meta = { origin: "0123456789abcdef0123456789abcdef" };
      return { ...others, publish: ({ type, id, payload }) => publish({ type, id, payload, meta }) };
    },
  },
  "nats, limit": {
    label: "limit: transport-node, an array of 100 a message",
    make: rawNats(several, "publishMany"),
  },
};

const nats = { server: startNats };
const amqp = { server: startRabbit };
const all = ["ours", "ioredis", "pipelining", "ours, node-redis", "nodeRedis", "limit"];
const single = all.slice(0, -1);

// A bare client commits each event by itself, so fewer will do.
const postgres = { server: startPostgres, count: 6000 };
const mosquitto = { server: startMosquitto };

const scenarios = {
  hundred: {
    title: "100 in flight",
    window: 100,
    contestants: all,
    targets: { ioredis: 1, nodeRedis: 1 },
  },
  thousand: { title: "1,000 in flight", window: 1000, contestants: all, targets: { ioredis: 1 } },
  batched: {
    title: "100 in flight, of a topic whose ends are all ours",
    window: 100,
    contestants: ["ours, batch", "ioredis", "pipelining", "limit"],
    targets: { ioredis: 2.5 },
  },
  "batched-thousand": {
    title: "1,000 in flight, of a topic whose ends are all ours",
    window: 1000,
    contestants: ["ours, batch", "ioredis", "pipelining", "limit"],
    targets: { ioredis: 2.5 },
  },
  awaited: { title: "each publish awaited", contestants: single, targets: { ioredis: 1 } },
  "nats-hundred": {
    title: "NATS, 100 in flight",
    ...nats,
    window: 100,
    contestants: ["ours, nats", "nats", "nats, same", "nats, limit"],
    targets: { nats: 0.9 },
  },
  "nats-thousand": {
    title: "NATS, 1,000 in flight",
    ...nats,
    window: 1000,
    contestants: ["ours, nats", "nats", "nats, same", "nats, limit"],
    targets: { nats: 0.9 },
  },
  "nats-batched": {
    title: "NATS, 100 in flight, of a topic whose ends are all ours",
    ...nats,
    window: 100,
    contestants: ["ours, nats, batch", "nats", "nats, limit"],
    targets: { nats: 1.7 },
  },
  "nats-batched-thousand": {
    title: "NATS, 1,000 in flight, of a topic whose ends are all ours",
    ...nats,
    window: 1000,
    contestants: ["ours, nats, batch", "nats", "nats, limit"],
    targets: { nats: 1.7 },
  },
  "nats-awaited": {
    title: "NATS, each publish awaited",
    ...nats,
    contestants: ["ours, nats", "nats"],
  },
  amqp: {
    ...amqp,
    title: "100 in flight, through RabbitMQ",
    window: 100,
    contestants: ["ours, amqplib", "amqplib"],
    targets: { amqplib: 1 },
  },
  "amqp-thousand": {
    ...amqp,
    title: "1,000 in flight, through RabbitMQ",
    window: 1000,
    contestants: ["ours, amqplib", "amqplib"],
    targets: { amqplib: 1 },
  },
  "amqp-awaited": {
    ...amqp,
    title: "each publish awaited, through RabbitMQ",
    contestants: ["ours, amqplib", "amqplib"],
    targets: { amqplib: 1 },
  },
  postgres: {
    ...postgres,
    title: "100 in flight, through Postgres",
    window: 100,
    contestants: ["ours, pg", "pg", "pg, ten"],
    targets: { pg: 1 },
  },
  "postgres-awaited": {
    ...postgres,
    title: "each publish awaited, through Postgres",
    contestants: ["ours, pg", "pg"],
    targets: { pg: 1 },
  },
  mqtt: {
    ...mosquitto,
    title: "100 in flight, through MQTT",
    window: 100,
    contestants: ["ours, mqtt", "mqtt"],
    targets: { mqtt: 1 },
  },
  "mqtt-awaited": {
    ...mosquitto,
    title: "each publish awaited, through MQTT",
    contestants: ["ours, mqtt", "mqtt"],
    targets: { mqtt: 1 },
  },
};

async function measure(make, { window, count = COUNT, server: start = startRedis }) {
  const server = await start();
  try {
    const contestant = await make(server.port);
    let sum = 0;
    let got = 0;
    let wanted = 0;
    let arrived = () => undefined;
    await contestant.on(({ payload }) => {
      sum += payload.seq;
      if (++got === wanted) arrived();
    });
    const next = (count) => {
      wanted = got + count;
      return new Promise((resolve) => (arrived = resolve));
    };
    const run = async () => {
      if (window === undefined) {
        const done = next(AWAITED);
        for (let i = 0; i < AWAITED; i++) {
          const published = contestant.publish(messages[i % 1000]);
          await (contestant.flush === undefined ? published : contestant.flush());
        }
        await done;
        return;
      }
      for (let i = 0; i < count; i += window) {
        const done = next(window);
        const from = i % 1000;
        if (contestant.publishMany === undefined)
          for (let k = from; k < from + window; k++) void contestant.publish(messages[k]);
        else for (let k = from; k < from + window; k += 100) void contestant.publishMany(messages.slice(k, k + 100));
        void contestant.flush?.();
        await done;
      }
    };
    await run();
    const took = [];
    for (let i = 0; i < 3; i++) {
      const begun = performance.now();
      await run();
      took.push(performance.now() - begun);
    }
    const [, median] = took.toSorted((a, b) => a - b);
    return { value: ((window === undefined ? AWAITED : count) / median) * 1000, check: sum };
  } finally {
    server.end();
  }
}

export default {
  about:
    "Events through a Redis, a NATS, a RabbitMQ, a Postgres or a mosquitto, on the loopback, publisher and subscriber in one process; events a second that arrived.",
  unit: "events/s",
  contestants,
  scenarios,
  measure,
};
