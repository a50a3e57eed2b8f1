/** A RabbitMQ of one's own, on the loopback, with its data in a temporary folder. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { findProgram } from "../scripts/programs.mjs";

const HOST = "127.0.0.1";

/** @param ports three that are free: its own, and what Erlang needs */
export async function startRabbit([port, epmd, distribution]) {
  const program = findProgram("rabbitmq-server");
  if (program === undefined) throw new Error("there is no rabbitmq-server; run node scripts/programs.mjs");
  const folder = mkdtempSync(join(tmpdir(), "rabbitmq-"));
  writeFileSync(join(folder, "rabbitmq.conf"), `listeners.tcp.1 = ${HOST}:${port}\n`);
  writeFileSync(join(folder, "plugins"), "[].\n");
  const env = {
    ...process.env,
    HOME: folder,
    RABBITMQ_NODENAME: `bench${port}@localhost`,
    RABBITMQ_MNESIA_BASE: join(folder, "mnesia"),
    RABBITMQ_LOG_BASE: join(folder, "log"),
    RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq.conf"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "plugins"),
    RABBITMQ_PID_FILE: join(folder, "pid"),
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: HOST,
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
    // Its script then becomes the server.
    detached: "1",
  };
  // Neither outlives us.
  const start = (...command) => spawn("setpriv", ["--pdeathsig", "KILL", ...command], { env, stdio: "ignore" });
  const processes = [start("epmd", "-port", String(epmd), "-address", HOST), start(program)];
  for (let up = false; !up;)
    up = await new Promise((resolve) => {
      const socket = connect(port, HOST);
      socket.on("error", () => setTimeout(resolve, 20, false));
      // To a protocol of no such name it answers with its own.
      socket.on("connect", () => socket.write("AMQP\0\0\0\0"));
      socket.on("data", () => {
        resolve(true);
        socket.destroy();
      });
    });
  return {
    port,
    end() {
      for (const child of processes) child.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
