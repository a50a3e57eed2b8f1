// One cluster for all: it takes some seconds to make.
import { afterAll, beforeAll } from "vitest";
import { runConformance } from "./fixtures/conformance.ts";
import { throughCluster } from "./fixtures/harness-redis-cluster.ts";
import type { RedisClient } from "@alkdev/pubsub/event-target-redis";
import { Opened } from "./fixtures/opened.ts";
import { CLUSTER_CLIENTS, connectCluster, portsOf } from "./fixtures/redis-cluster.ts";
import { startRedisCluster } from "./fixtures/servers.ts";

let cluster: Awaited<ReturnType<typeof startRedisCluster>>;
beforeAll(async () => void (cluster = await startRedisCluster()));
const opened = new Opened();
afterAll(async () => {
  await opened.end();
  await cluster[Symbol.asyncDispose]();
});

/** One client for all, made when it is asked for. */
function shared(name: string): () => RedisClient {
  let made: RedisClient | undefined;
  return () => (made ??= connectCluster(opened, name, portsOf(cluster.nodes)).client);
}

for (const client of Object.keys(CLUSTER_CLIENTS)) {
  const farClient = shared(client);
  for (const sharded of [false, true])
    runConformance(`through a cluster of Redis, ${sharded ? "sharded" : "plain"}, with ${client}`, () =>
      throughCluster(client, sharded, () => cluster.nodes, farClient),
    );
}
