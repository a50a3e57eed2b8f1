// What is published in the instant after subscribe, from another connection: on every path on which it could be lost.
import { createPubSub as createYogaPubSub } from "@graphql-yoga/subscription";
import { createRedisEventTarget as createYogaTarget } from "@graphql-yoga/redis-event-target";
import { createPubSub } from "@alkdev/pubsub";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { testRaces } from "./fixtures/race-paths.ts";
import { CLIENTS, openRedis } from "./fixtures/redis.ts";
import { startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startServer("redis")));
afterAll(() => server.end());

describe.each(Object.keys(CLIENTS))("with %s", (client) => {
  testRaces(
    opened,
    () => server.port,
    (port) => createPubSub({ eventTarget: openRedis(opened, client, port) }),
  );
});

test("Yoga's own target loses what is published at once on a path that is held up (the peer's way, a control)", async () => {
  const way = await startProxy(server.port);
  opened.add(() => way.close());
  const connect = (port: number): Redis => {
    const client = new Redis({ port, host: "127.0.0.1" });
    opened.add(() => client.disconnect());
    return client;
  };
  const [publishClient, subscribeClient, other] = [connect(server.port), connect(way.port), connect(server.port)];
  const pubsub = createYogaPubSub({ eventTarget: createYogaTarget({ publishClient, subscribeClient }) });
  await subscribeClient.ping();
  let lost = 0;
  for (let i = 0; i < 20; i++) {
    way.freeze("toServer");
    const events = pubsub.subscribe(`race:${i}`);
    const next = events.next();
    await other.publish(`race:${i}`, '"first"');
    way.thaw();
    // Sent behind its SUBSCRIBE, answered after it.
    await subscribeClient.ping();
    await other.publish(`race:${i}`, '"second"');
    if ((await next).value === "second") lost++;
    await events.return();
  }
  // It awaits no answer to what it asks for, so that there has to be one before the end.
  await subscribeClient.ping();
  expect(lost).toBe(20);
});
