// What is published in the instant after subscribe, from another connection: on every path on which it could be lost.
import { createPubSub } from "@alkdev/pubsub";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { connectMqtt, isConnected, openMqtt, startMqtt } from "./fixtures/mqtt.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { testRaces } from "./fixtures/race-paths.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startMqtt()));
afterAll(() => server.end());

describe.each([5, 4] as const)("version %i", (protocolVersion) => {
  testRaces(
    opened,
    () => server.port,
    (port) => createPubSub({ eventTarget: openMqtt(opened, port, {}, { protocolVersion }).target }),
  );
});

test("the client's own subscribe loses them too, unless it is awaited (the client's way, a control)", async () => {
  const way = await startProxy(server.port);
  opened.add(() => way.close());
  const [near, far] = [connectMqtt(way.port), connectMqtt(server.port)];
  for (const client of [near, far]) opened.add(() => client.end(true));
  await Promise.all([near, far].map(isConnected));
  let came = 0;
  near.on("message", () => void came++);
  for (let i = 0; i < 20; i++) {
    way.freeze("toServer");
    const subscribing = near.subscribeAsync(`race/${i}`, { qos: 1 });
    await far.publishAsync(`race/${i}`, "first", { qos: 1 });
    way.thaw();
    await subscribing;
  }
  // Behind whatever has come.
  await near.unsubscribeAsync("race/0");
  expect(came).toBe(0);
});
