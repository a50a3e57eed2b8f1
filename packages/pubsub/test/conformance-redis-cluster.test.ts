// One cluster for all: it takes some seconds to make.
import { afterAll, beforeAll } from "vitest";
import { runConformance } from "./fixtures/conformance.ts";
import { throughCluster } from "./fixtures/harness-redis-cluster.ts";
import { CLUSTER_CLIENTS } from "./fixtures/redis-cluster.ts";
import { startRedisCluster } from "./fixtures/servers.ts";

let cluster: Awaited<ReturnType<typeof startRedisCluster>>;
beforeAll(async () => void (cluster = await startRedisCluster()));
afterAll(() => cluster[Symbol.asyncDispose]());

for (const client of Object.keys(CLUSTER_CLIENTS))
  for (const sharded of [false, true])
    runConformance(`through a cluster of Redis, ${sharded ? "sharded" : "plain"}, with ${client}`, () =>
      throughCluster(client, sharded, () => cluster.nodes),
    );
