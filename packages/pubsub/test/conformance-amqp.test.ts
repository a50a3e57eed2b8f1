import { afterAll, beforeAll } from "vitest";
import { runConformance } from "./fixtures/conformance.ts";
import { throughAmqp } from "./fixtures/harness-amqp.ts";
import { startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

let server: Server;
beforeAll(async () => void (server = await startServer("rabbitmq")));
afterAll(() => server.end());

runConformance("through RabbitMQ", () => throughAmqp(() => server));
