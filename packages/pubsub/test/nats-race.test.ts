// What is published in the instant after subscribe, from another connection: on every path on which it could be lost.
import { createPubSub } from "@alkdev/pubsub";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { connectNats, openNats, startNats } from "./fixtures/nats.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { testRaces } from "./fixtures/race-paths.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startNats()));
afterAll(() => server.end());

testRaces(
  opened,
  () => server.port,
  async (port) => createPubSub({ eventTarget: (await openNats(opened, port)).target }),
);

test("the client's own subscribe loses them too, unless it is flushed (the client's way, a control)", async () => {
  const way = await startProxy(server.port);
  opened.add(() => way.close());
  const [near, far] = [await connectNats(way.port), await connectNats(server.port)];
  opened.add(() => near.close());
  opened.add(() => far.close());
  let came = 0;
  for (let i = 0; i < 20; i++) {
    way.freeze("toServer");
    near.subscribe(`race.${i}`, { callback: () => void came++ });
    far.publish(`race.${i}`);
    await far.flush();
    way.thaw();
    await near.flush();
  }
  expect(came).toBe(0);
});
