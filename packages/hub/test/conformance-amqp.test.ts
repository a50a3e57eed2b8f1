import { afterAll, beforeAll } from "vitest";
import { newExchange, openAmqp } from "../../pubsub/test/fixtures/amqp.ts";
import { runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import type { Opened } from "../../pubsub/test/fixtures/opened.ts";
import { startServer } from "../../pubsub/test/fixtures/servers.ts";
import type { Server } from "../../pubsub/test/fixtures/servers.ts";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { throughHub } from "./fixtures/harness-hub.ts";

let server: Server;
beforeAll(async () => void (server = await startServer("rabbitmq")));
afterAll(() => server.end());

/** A RabbitMQ, at which each test has an exchange of its own. */
async function overAmqp(opened: Opened): Promise<() => AlkEventTarget> {
  const exchange = newExchange();
  return () => openAmqp(opened, server.port, { exchange, onError: () => undefined });
}

runConformance("through a hub over RabbitMQ", () => throughHub(overAmqp, 1, true));
runConformance("through two hubs over RabbitMQ", () => throughHub(overAmqp, 2, true));
