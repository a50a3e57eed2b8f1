// The servers that other tests start: that they are as these take them to be, and that nothing of them is left.
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { askRedis, startRedisCluster, startServer } from "./fixtures/servers.ts";

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => resolve(false));
    socket.on("connect", () => resolve(true)).on("connect", () => socket.destroy());
  });

test("a server that was killed starts again at its port, and once ended it has left nothing", async () => {
  const server = await startServer("redis");
  const { port, folder } = server;
  expect(await askRedis(server, "SET key value")).toContain("+OK");
  await server.kill();
  expect(await accepts(port)).toBe(false);
  await server.start();
  expect(await askRedis(server, "GET key")).toContain("$-1");
  await server.end();
  await server.end();
  expect([await accepts(port), existsSync(folder)]).toEqual([false, false]);
});

test("a server that is frozen answers nothing until it is thawed", async () => {
  await using server = await startServer("redis");
  server.freeze();
  let answered = false;
  const answer = askRedis(server, "PING").then(() => (answered = true));
  // The system accepts for it.
  expect(await accepts(server.port)).toBe(true);
  expect(answered).toBe(false);
  server.thaw();
  await answer;
});

test("a server whose program ends at once is told of with what it said", async () => {
  await expect(startServer("redis", { args: ["--no-such-option"] })).rejects.toThrow(/no-such-option/);
});

test("three nodes of Redis are one cluster", async () => {
  await using cluster = await startRedisCluster();
  for (const node of cluster.nodes) expect(await askRedis(node, "CLUSTER INFO")).toContain("cluster_known_nodes:3");
});
