/** A Postgres of one's own, on the loopback, with its data in a temporary folder. */
import { spawn, spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { findProgram } from "../scripts/programs.mjs";

const HOST = "127.0.0.1";
/** A request for TLS, which it declines. */
const HELLO = Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]);

/** Whom to run it as: it refuses to be root. */
function userArgs(folder) {
  if (process.getuid?.() !== 0) return [];
  const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8")) ?? [];
  chownSync(folder, Number(uid), Number(gid));
  return ["--reuid", uid, "--regid", gid, "--clear-groups"];
}

/** @param port one that is free */
export async function startPostgres(port) {
  const program = findProgram("postgres");
  if (program === undefined) throw new Error("there is no postgres; run node scripts/programs.mjs");
  const folder = mkdtempSync(join(tmpdir(), "postgres-"));
  const user = userArgs(folder);
  const data = join(folder, "data");
  const initdb = [program.replace(/postgres$/, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N"];
  const [command, ...rest] = user.length > 0 ? ["setpriv", ...user, ...initdb] : initdb;
  const { status, stderr } = spawnSync(command, rest, { cwd: folder, encoding: "utf8" });
  if (status !== 0) throw new Error(`initdb failed: ${stderr}`);
  const args = ["-D", data, "-p", String(port), "-k", folder, "-F", "-c", `listen_addresses=${HOST}`];
  // It does not outlive us.
  const server = spawn("setpriv", ["--pdeathsig", "KILL", ...user, program, ...args], { cwd: folder, stdio: "ignore" });
  for (let up = false; !up;)
    up = await new Promise((resolve) => {
      const socket = connect(port, HOST);
      socket.on("error", () => setTimeout(resolve, 20, false));
      socket.on("connect", () => socket.write(HELLO));
      socket.on("data", () => {
        resolve(true);
        socket.destroy();
      });
    });
  return {
    port,
    end() {
      server.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
