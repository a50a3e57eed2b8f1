// What is peculiar to clusters of Redis: what is published in the instant after subscribe, and clients that do not fit.
import { createPubSub } from "@alkdev/pubsub";
import { createRedisEventTarget } from "@alkdev/pubsub/event-target-redis";
import { Cluster, Redis } from "ioredis";
import { createCluster } from "redis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { slotOf } from "../src/event-targets/redis-slots.ts";
import { times } from "./fixtures/proofs.ts";
import { testRacesOver } from "./fixtures/race-paths.ts";
import { channelsAt, CLUSTER_CLIENTS, openCluster, ownerOf, portsOf, waysTo } from "./fixtures/redis-cluster.ts";
import type { Ports } from "./fixtures/redis-cluster.ts";
import { askRedis, startRedisCluster, startServer } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let cluster: Awaited<ReturnType<typeof startRedisCluster>>;
beforeAll(async () => void (cluster = await startRedisCluster()));
afterAll(() => cluster[Symbol.asyncDispose]());

const HOST = "127.0.0.1";
const ignore = (): void => undefined;
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

for (const client of Object.keys(CLUSTER_CLIENTS))
  for (const sharded of [false, true])
    describe(`${sharded ? "sharded" : "plain"}, with ${client}`, () => {
      testRacesOver<Ports>(
        {
          direct: () => portsOf(cluster.nodes),
          through: async (options) => {
            const { ports, proxies } = await waysTo(opened, cluster.nodes, options);
            return {
              at: ports,
              freeze: (direction) => proxies.forEach((proxy) => proxy.freeze(direction)),
              thaw: () => proxies.forEach((proxy) => proxy.thaw()),
            };
          },
        },
        (ports) => createPubSub({ eventTarget: openCluster(opened, client, ports, { sharded }) }),
        times(1000, 100),
      );
    });

test.each(Object.keys(CLUSTER_CLIENTS))(
  "a sharded subscription that is taken away in one piece with its confirmation is made anew, with %s",
  async (client) => {
    const ways = await waysTo(opened, cluster.nodes);
    const target = openCluster(opened, client, ways.ports, { sharded: true, prefix: "taken:" });
    const pubsub = createPubSub({ eventTarget: target });
    const far = createPubSub({
      eventTarget: openCluster(opened, client, portsOf(cluster.nodes), { sharded: true, prefix: "taken:" }),
    });
    const channel = "taken:a:1";
    const node = await ownerOf(cluster.nodes, channel);
    // A connection to that node, which others are beside.
    const beside = (await channelsAt(node, "taken:a:", 2)).find((id) => id !== "1") ?? "";
    const others = await pubsub.subscribe("a", beside, { onGap: "ignore" });
    const channels = (): Promise<string> => askRedis(node, "PUBSUB SHARDCHANNELS taken:*");
    ways.to(node).freeze("toClient");
    const subscribing = pubsub.subscribe("a", "1", { onGap: "ignore" });
    while (!(await channels()).includes(`${channel}\r\n`)) await turn();
    // A slot that is given to a node is taken from its subscribers first, also where it had it.
    const id = (await askRedis(node, "CLUSTER MYID")).split("\r\n")[1];
    await askRedis(node, `CLUSTER SETSLOT ${slotOf(channel)} NODE ${id}`);
    expect(await channels()).not.toContain(`${channel}\r\n`);
    ways.to(node).thaw();
    const events = await subscribing;
    await far.publish("a", "1", "mine");
    await far.publish("a", beside, "beside");
    expect((await events.next()).value?.payload).toBe("mine");
    expect((await others.next()).value?.payload).toBe("beside");
  },
);

/** A cluster client of ioredis to these ports, which ends after the test. */
function clusterAt(port: number, options: object = {}): Cluster {
  const client = new Cluster([{ host: HOST, port }], options);
  client.on("error", ignore);
  opened.add(() => client.disconnect());
  return client;
}

function portOf(): number {
  return cluster.nodes[0]?.port ?? 0;
}

test("an ioredis cluster whose own subscribers are sharded is as good as any", async () => {
  const client = clusterAt(portOf(), { shardedSubscribers: true });
  for (const sharded of [false, true]) {
    const target = createRedisEventTarget({ publishClient: client, subscribeClient: client, sharded });
    opened.add(() => target.close());
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a", "1");
    await pubsub.publish("a", "1", "came");
    expect((await events.next()).value?.payload).toBe("came");
  }
});

test("a client of one node hears plain events of others that use the cluster", async () => {
  const connect = (): Redis => new Redis({ port: portOf(), host: HOST });
  const [publishClient, subscribeClient] = [connect(), connect()];
  const single = createRedisEventTarget({
    publishClient: publishClient,
    subscribeClient: subscribeClient,
  });
  opened.add(async () => {
    await single.close();
    publishClient.disconnect();
    subscribeClient.disconnect();
  });
  const events = await createPubSub({ eventTarget: single }).subscribe("a", "1");
  const far = createPubSub({ eventTarget: openCluster(opened, "ioredis 6", portsOf(cluster.nodes)) });
  await far.publish("a", "1", "came");
  expect((await events.next()).value?.payload).toBe("came");
});

test("cluster clients of a server that is no cluster: NOT_READY gives the client's reason", async () => {
  await using server = await startServer("redis");
  const nodeRedis = createCluster({ rootNodes: [{ socket: { host: HOST, port: server.port } }] });
  nodeRedis.on("error", ignore);
  for (const [client, reason] of [
    [clusterAt(server.port), "cluster support disabled"],
    [nodeRedis, "root nodes are unavailable"],
  ] as const) {
    const target = createRedisEventTarget({
      publishClient: client,
      subscribeClient: client,
      sharded: true,
      connectTimeout: 2000,
      onError: ignore,
    });
    await expect(createPubSub({ eventTarget: target }).subscribe("a", "1")).rejects.toMatchObject({
      code: "NOT_READY",
      message: expect.stringContaining(reason) as string,
    });
    await target.close();
  }
});

test("sharded channels need a client that knows them: UNSUPPORTED before anything is tried", () => {
  const old = Object.create(clusterAt(portOf(), { lazyConnect: true }), {
    ssubscribe: { value: undefined },
  }) as Cluster;
  expect(() => createRedisEventTarget({ publishClient: old, subscribeClient: old, sharded: true })).toThrow(
    expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("SSUBSCRIBE") as string }) as Error,
  );
});

test("sharded channels have no patterns and no whole types: UNSUPPORTED says what there is", async () => {
  const target = openCluster(opened, "ioredis 6", portsOf(cluster.nodes), { sharded: true });
  const pubsub = createPubSub({ eventTarget: target });
  for (const subscribed of [pubsub.subscribe("a.*"), pubsub.subscribe("a")])
    await expect(subscribed).rejects.toMatchObject({ code: "UNSUPPORTED" });
});
