import { runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import type { Opened } from "../../pubsub/test/fixtures/opened.ts";
import { openRedis } from "../../pubsub/test/fixtures/redis.ts";
import { startServer } from "../../pubsub/test/fixtures/servers.ts";
import type { OpenBackplane } from "./fixtures/harness-hub.ts";
import { throughHub } from "./fixtures/harness-hub.ts";

const overRedis =
  (client: string): OpenBackplane =>
  async (opened: Opened) => {
    const server = await startServer("redis");
    opened.add(() => server.end());
    return () => openRedis(opened, client, server.port, { onError: () => undefined });
  };

runConformance("through a hub over Redis", () => throughHub(overRedis("node-redis 6")));
runConformance("through two hubs over Redis", () => throughHub(overRedis("ioredis 5"), 2));
