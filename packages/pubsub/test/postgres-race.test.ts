// What is published in the instant after subscribe, from another connection: on every path on which it could be lost.
import { createPubSub } from "@alkdev/pubsub";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { at, openPostgres } from "./fixtures/postgres.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { testRaces } from "./fixtures/race-paths.ts";
import { startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
// Of the two hundred that connect each is one until the end.
beforeAll(async () => void (server = await startServer("postgres", { args: ["-c", "max_connections=300"] })));
afterAll(() => server.end());

testRaces(
  opened,
  () => server.port,
  (port) => createPubSub({ eventTarget: openPostgres(opened, port) }),
);

test("the client's own LISTEN loses them too, unless it is awaited (the client's way, a control)", async () => {
  const way = await startProxy(server.port);
  opened.add(() => way.close());
  const [near, far] = [new Client(at(way.port)), new Client(at(server.port))];
  for (const client of [near, far]) {
    await client.connect();
    opened.add(() => client.end());
  }
  let came = 0;
  near.on("notification", () => void came++);
  for (let i = 0; i < 20; i++) {
    way.freeze("toServer");
    const listening = near.query(`LISTEN "race ${i}"`);
    await far.query("SELECT pg_notify($1, 'first')", [`race ${i}`]);
    way.thaw();
    await listening;
  }
  // Behind whatever has come.
  await near.query("SELECT 1");
  expect(came).toBe(0);
});
