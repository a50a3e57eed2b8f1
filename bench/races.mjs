/**
 * Counts what is lost of that which is published, over another connection, in the instant after subscribe: over each broker, beside
 * GraphQL Yoga's target for Redis, all on one machine and in one run. Writes the table into docs/reliability.md.
 *
 *     npm run races              a thousand of each
 *     npm run races -- 100       fewer; prints only
 *
 * Ours is awaited. Yoga's gives nothing to await, so that it is told to begin, and then published to. Lost is what has not come
 * within `WAIT` after it was accepted.
 */
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import process from "node:process";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createPubSub as createYogaPubSub } from "@graphql-yoga/subscription";
import { createRedisEventTarget as createYogaTarget } from "@graphql-yoga/redis-event-target";
import { createPubSub } from "@alkdev/pubsub";
import { openEventTarget } from "@alkdev/pubsub/open";
import { Redis } from "ioredis";
import { HOST, startMosquitto, startNats, startPostgres, startRabbit, startRedis } from "./servers.mjs";

const WAIT = 250;
const WINDOW = 50;
const FULL = 1000;
const TYPE = "race";

const count = Number(process.argv[2] ?? FULL);
if (!Number.isInteger(count) || count < 1 || count > FULL) {
  console.error(`races: say how many, from 1 to ${FULL}, not ${process.argv[2]}`);
  process.exit(2);
}

/** A path to a server on which each way takes a millisecond longer. */
async function slower(port) {
  const proxy = createServer((near) => {
    const far = connect(port, HOST);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      from.on("data", (data) => setTimeout(() => to.write(data), 1));
      from.on("close", () => to.destroy()).on("error", () => to.destroy());
    }
  }).listen(0, HOST);
  await once(proxy, "listening");
  return { port: proxy.address().port, end: () => proxy.close() };
}

/** An end: { subscribe(id): what gives { next(), end() } once there is nothing more to wait for, publish(id), close() }. */
const ours = (urlOf) => async (port) => {
  const target = await openEventTarget(urlOf(port));
  const pubsub = createPubSub({ eventTarget: target });
  return {
    async subscribe(id) {
      const events = await pubsub.subscribe(TYPE, id);
      return { next: () => events.next(), end: () => void events.return() };
    },
    publish: (id) => pubsub.publish(TYPE, id, { id }),
    close: () => target.close(),
  };
};

/** @param warm whether its connections are there already */
const yoga = async (port, warm = true) => {
  const clients = [new Redis({ port, host: HOST }), new Redis({ port, host: HOST })];
  if (warm) await Promise.all(clients.map((client) => client.ping()));
  const [publishClient, subscribeClient] = clients;
  const pubsub = createYogaPubSub({ eventTarget: createYogaTarget({ publishClient, subscribeClient }) });
  const ends = [];
  return {
    subscribe(id, { lazy = false } = {}) {
      const events = pubsub.subscribe(TYPE, id);
      // It begins when it is first asked for an event.
      const first = lazy ? undefined : events.next();
      return { next: () => first ?? events.next(), end: () => void ends.push(events.return()) };
    },
    // Its own publish gives no answer.
    publish: (id) => publishClient.publish(`${TYPE}:${id}`, JSON.stringify({ id })),
    async close() {
      await Promise.all(ends);
      // It waits for no answer of Redis's, and would fail without one.
      await subscribeClient.ping();
      for (const client of clients) client.disconnect();
    },
  };
};

const contestants = {
  "Yoga over Redis": { server: startRedis, open: yoga },
  Redis: { server: startRedis, open: ours((port) => `redis://${HOST}:${port}`) },
  NATS: { server: startNats, open: ours((port) => `nats://${HOST}:${port}`) },
  RabbitMQ: { server: startRabbit, open: ours((port) => `amqp://${HOST}:${port}`) },
  Postgres: { server: startPostgres, open: ours((port) => `postgres://postgres@${HOST}:${port}/postgres`) },
  MQTT: { server: startMosquitto, open: ours((port) => `mqtt://${HOST}:${port}`) },
};

async function isLost(events) {
  const stop = new AbortController();
  const came = await Promise.race([
    Promise.resolve(events.next()).then(({ done }) => done !== true),
    after(WAIT, false, { signal: stop.signal }).catch(() => false),
  ]);
  stop.abort();
  events.end();
  return !came;
}

let topics = 0;
/** One event: its subscription, a pause perhaps, and the event. */
const round =
  (pause = async () => undefined, options = {}) =>
  async (near, far) => {
    const id = String(topics++);
    const events = await near.subscribe(id, options);
    await pause();
    await far.publish(id);
    return isLost(events);
  };

/** @returns how many of so many rounds lost theirs, a window of them at a time */
async function lostOf(rounds, window, one) {
  let lost = 0;
  for (let from = 0; from < rounds; from += window) {
    const all = await Promise.all(Array.from({ length: Math.min(window, rounds - from) }, one));
    lost += all.filter(Boolean).length;
  }
  return lost;
}

/** Each has two ends of its own. */
const between =
  (one, { slow = false, window = WINDOW } = {}) =>
  async (open, port) => {
    const path = slow ? await slower(port) : undefined;
    const [near, far] = [await open(path?.port ?? port), await open(port)];
    const lost = await lostOf(count, window, () => one(near, far));
    await Promise.all([near.close(), far.close()]);
    path?.end();
    return { lost, of: count };
  };

const scenarios = {
  "at once, one after the other": between(round(), { window: 1 }),
  "after a turn of the event loop": between(round(() => new Promise((resolve) => setImmediate(resolve)))),
  "after a millisecond": between(round(() => after(1))),
  "all subscribed in one tick, then all published": async (open, port) => {
    const [near, far] = [await open(port), await open(port)];
    const ids = Array.from({ length: count }, () => String(topics++));
    const all = await Promise.all(ids.map((id) => near.subscribe(id)));
    await Promise.all(ids.map((id) => far.publish(id)));
    const lost = (await Promise.all(all.map(isLost))).filter(Boolean).length;
    await Promise.all([near.close(), far.close()]);
    return { lost, of: count };
  },
  "the subscriber's path a millisecond slower": between(round(), { slow: true }),
  "the subscriber opened just before": async (open, port) => {
    const of = Math.ceil(count / 5);
    const far = await open(port);
    const cold = async () => {
      const near = await open(port, false);
      const lost = await round()(near, far);
      await near.close();
      return lost;
    };
    const lost = await lostOf(of, 10, cold);
    await far.close();
    return { lost, of };
  },
  "read only after it was published": between(round(undefined, { lazy: true })),
};

const rows = Object.keys(scenarios).map((name) => [name]);
for (const [name, { server: start, open }] of Object.entries(contestants)) {
  const server = await start();
  for (const [i, scenario] of Object.values(scenarios).entries()) {
    const { lost, of } = await scenario(open, server.port);
    console.error(`${name}, ${rows[i][0]}: ${lost} of ${of}`);
    rows[i].push(of === FULL ? lost : `${lost} of ${of}`);
  }
  server.end();
}
const table = [
  ["published", ...Object.keys(contestants)],
  ["---", ...Object.keys(contestants).map(() => "---:")],
  ...rows,
]
  .map((cells) => `| ${cells.join(" | ")} |`)
  .join("\n");
console.log(table);

if (count === FULL) {
  const document = fileURLToPath(new URL("../docs/reliability.md", import.meta.url));
  const [begin, end] = ["<!-- races: written by bench/races.mjs -->", "<!-- /races -->"];
  const text = readFileSync(document, "utf8");
  const [head, rest] = text.split(begin);
  writeFileSync(document, `${head}${begin}\n${table}\n${end}${rest.split(end)[1]}`);
}
process.exit(0);
