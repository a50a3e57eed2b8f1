import { runConformance } from "./fixtures/conformance.ts";
import { throughRedis } from "./fixtures/harness-redis.ts";
import { CLIENTS } from "./fixtures/redis.ts";

for (const client of Object.keys(CLIENTS)) runConformance(`through Redis, with ${client}`, () => throughRedis(client));
runConformance("through Redis, with batches", () => throughRedis("ioredis 5", { batch: true }));
