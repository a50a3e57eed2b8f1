import { afterAll, beforeAll } from "vitest";
import { runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import type { Opened } from "../../pubsub/test/fixtures/opened.ts";
import { openPostgres } from "../../pubsub/test/fixtures/postgres.ts";
import { startServer } from "../../pubsub/test/fixtures/servers.ts";
import type { Server } from "../../pubsub/test/fixtures/servers.ts";
import { throughHub } from "./fixtures/harness-hub.ts";
import type { OpenBackplane } from "./fixtures/harness-hub.ts";

let server: Server;
beforeAll(async () => void (server = await startServer("postgres")));
afterAll(() => server.end());

/** How many backplanes there were: each has a channel of its own. */
let channels = 0;

const overPostgres: OpenBackplane = async (opened: Opened) => {
  const channel = `backplane ${channels++}`;
  return () => openPostgres(opened, server.port, { channel, onError: () => undefined });
};

runConformance("through a hub over Postgres", () => throughHub(overPostgres, 1, false, 7999));
runConformance("through two hubs over Postgres", () => throughHub(overPostgres, 2, false, 7999));
