// What is published in the instant after subscribe, from another connection: on every path on which it could be lost.
import amqplib from "amqplib";
import { createPubSub } from "@alkdev/pubsub";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { newExchange, openAmqp } from "./fixtures/amqp.ts";
import { Opened } from "./fixtures/conformance.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { testRaces } from "./fixtures/race-paths.ts";
import { startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startServer("rabbitmq")));
afterAll(() => server.end());

const exchange = newExchange();
testRaces(
  opened,
  () => server.port,
  (port) => createPubSub({ eventTarget: openAmqp(opened, port, { exchange }) }),
);

test("the client's own bind loses them too, unless it is awaited (the client's way, a control)", async () => {
  const way = await startProxy(server.port);
  opened.add(() => way.close());
  const open = async (port: number): Promise<Awaited<ReturnType<typeof amqplib.connect>>> => {
    const connection = await amqplib.connect(`amqp://127.0.0.1:${port}`);
    opened.add(() => connection.close());
    return connection;
  };
  const [near, far] = [await open(way.port), await open(server.port)];
  const [subscriber, publisher] = [await near.createChannel(), await far.createConfirmChannel()];
  await subscriber.assertExchange(exchange, "topic");
  const { queue } = await subscriber.assertQueue("", { exclusive: true });
  let came = 0;
  await subscriber.consume(queue, () => void came++, { noAck: true });
  for (let i = 0; i < 20; i++) {
    way.freeze("toServer");
    const bound = subscriber.bindQueue(queue, exchange, `race.${i}`);
    publisher.publish(exchange, `race.${i}`, Buffer.from("first"));
    await publisher.waitForConfirms();
    way.thaw();
    await bound;
  }
  // Whatever came would have come before the answer.
  await subscriber.checkQueue(queue);
  expect(came).toBe(0);
});
