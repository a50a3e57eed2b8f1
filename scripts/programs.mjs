/**
 * The programs that the tests need beside Node: `node scripts/programs.mjs` installs what is missing from Debian's packages,
 * where it may; else it names what is missing, and how to install it, and exits with 1.
 *
 * It prints nothing and costs a few milliseconds when all is there. A test asks `findProgram` for the path.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";

/** By name: what it may be called, or where it is; the Debian package that has it; what it is for. */
export const PROGRAMS = {
  chromium: {
    commands: ["chromium", "chromium-browser", "google-chrome"],
    package: "chromium",
    for: "the tests in a real browser",
  },
  python3: { commands: ["python3"], package: "python3", for: "the examples in Python" },
  unshare: { commands: ["unshare"], package: "util-linux", for: "the tests over iroh, in a network of their own" },
  ip: { commands: ["ip"], package: "iproute2", for: "the tests over iroh, in a network of their own" },
  openssl: { commands: ["openssl"], package: "openssl", for: "the tests over TLS" },
  setpriv: { commands: ["setpriv"], package: "util-linux", for: "the tests over servers" },
  mosquitto: {
    commands: ["mosquitto", "/usr/sbin/mosquitto"],
    package: "mosquitto",
    for: "the tests over MQTT",
  },
  "nats-server": {
    commands: ["nats-server", "/usr/sbin/nats-server"],
    package: "nats-server",
    for: "the tests over NATS",
  },
  postgres: {
    // Debian has it beside the path, each version in a folder of its own.
    commands: ["/usr/lib/postgresql/17/bin/postgres", "/usr/lib/postgresql/15/bin/postgres", "postgres"],
    package: "postgresql",
    for: "the tests over Postgres",
  },
  pgbouncer: {
    commands: ["pgbouncer", "/usr/sbin/pgbouncer"],
    package: "pgbouncer",
    for: "the tests over Postgres",
  },
  "rabbitmq-server": {
    commands: ["/usr/lib/rabbitmq/bin/rabbitmq-server"],
    package: "rabbitmq-server",
    for: "the tests over AMQP",
  },
  "redis-server": { commands: ["redis-server"], package: "redis-server", for: "the tests over Redis" },
  "redis-cli": { commands: ["redis-cli"], package: "redis-tools", for: "the tests over Redis" },
};

const FOLDERS = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin", "/usr/bin", "/usr/games"];

function executable(file) {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** Where a program is, or undefined. */
export function findProgram(name) {
  return findCommand(PROGRAMS[name].commands);
}

/** Where the first of these is, names or paths; or undefined. */
export function findCommand(commands) {
  for (const command of commands) {
    if (command.includes("/")) {
      if (executable(command)) return command;
      continue;
    }
    for (const folder of FOLDERS) {
      const file = join(folder, command);
      if (folder !== "" && executable(file)) return file;
    }
  }
  return undefined;
}

const missing = () => Object.keys(PROGRAMS).filter((name) => findProgram(name) === undefined);
const packagesOf = (names) => [...new Set(names.map((name) => PROGRAMS[name].package))];

function aptGet(...args) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // To stderr, so that the output of what runs next stays its own; and only if it went wrong.
  const { status, stdout, stderr } = spawnSync("apt-get", ["-q", ...args], { env, encoding: "utf8" });
  if (status !== 0) process.stderr.write(`${stdout ?? ""}${stderr ?? ""}`);
  return status === 0;
}

function install(names) {
  const packages = packagesOf(names);
  process.stderr.write(`setup: installing ${packages.join(", ")} from Debian's packages…\n`);
  const since = performance.now();
  const done =
    aptGet("update") &&
    aptGet("install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", ...packages);
  if (done) process.stderr.write(`setup: installed in ${((performance.now() - since) / 1000).toFixed(1)} s\n`);
}

function main() {
  if (missing().length === 0) return;
  const mayInstall = process.getuid?.() === 0 && spawnSync("apt-get", ["--version"]).status === 0;
  if (mayInstall) install(missing());
  const names = missing();
  if (names.length === 0) return;
  const each = names.map((name) => `${name} (${PROGRAMS[name].for})`).join(", ");
  process.stderr.write(
    `setup: the tests need ${each}. Install with: sudo apt-get install --no-install-recommends ${packagesOf(names).join(" ")}\n`,
  );
  process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) main();
