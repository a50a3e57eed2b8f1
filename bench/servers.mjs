/** Brokers of one's own, each on a free port of the loopback, with its data in a temporary folder: `{ port, end() }`. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram } from "../scripts/programs.mjs";
import { startPostgres as postgresAt } from "./postgres.mjs";
import { startRabbit as rabbitAt } from "./rabbitmq.mjs";

export const HOST = "127.0.0.1";

async function freePort() {
  const listener = createServer().listen(0, HOST);
  await once(listener, "listening");
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

export const startRedis = () =>
  start("redis-server", (port) => ["--port", port, "--bind", HOST, "--save", "", "--appendonly", "no"]);
export const startNats = () => start("nats-server", (port) => ["-a", HOST, "-p", port]);

/** It drops nothing, and sends small packets at once. */
export async function startMosquitto() {
  const folder = mkdtempSync(join(tmpdir(), "mosquitto-"));
  const file = join(folder, "conf");
  const server = await start("mosquitto", (port) => {
    const lines = [`listener ${port} ${HOST}`, "allow_anonymous true", "persistence false", "user root"];
    writeFileSync(file, [...lines, "max_queued_messages 0", "set_tcp_nodelay true", ""].join("\n"));
    return ["-c", file];
  });
  const end = () => {
    server.end();
    rmSync(folder, { recursive: true });
  };
  return { port: server.port, end };
}

async function start(name, args) {
  const program = findProgram(name);
  if (program === undefined) throw new Error(`there is no ${name}; run node scripts/programs.mjs`);
  const port = await freePort();
  const server = spawn(program, args(String(port)), { stdio: "ignore" });
  for (let up = false; !up;)
    up = await new Promise((resolve) => {
      const socket = connect(port, HOST);
      socket.on("connect", () => resolve(true));
      socket.on("error", () => setTimeout(resolve, 5, false));
      socket.on("connect", () => socket.destroy());
    });
  return { port, end: () => server.kill("SIGKILL") };
}

export const startRabbit = async () => rabbitAt([await freePort(), await freePort(), await freePort()]);
export const startPostgres = async () => postgresAt(await freePort());
