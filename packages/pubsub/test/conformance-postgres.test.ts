import { afterAll, beforeAll } from "vitest";
import { runConformance } from "./fixtures/conformance.ts";
import { throughPostgres } from "./fixtures/harness-postgres.ts";
import { startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

// It costs more to start than all that a test does with it.
let server: Server;
beforeAll(async () => void (server = await startServer("postgres")));
afterAll(() => server.end());

runConformance("through Postgres", () => throughPostgres(() => server));
