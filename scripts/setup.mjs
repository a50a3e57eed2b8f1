/**
 * Makes the repository ready to use: installs the dependencies and builds the packages, each only when it must.
 *
 * npm runs it before `npm start`, `npm test` and `npm run bench`, so a fresh clone needs no other step. It prints
 * nothing and costs a few milliseconds when there is nothing to do. `--build` asks the compiler even then. `--runtimes`
 * also installs what `npm run test:runtimes` runs.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { folder as runtimesFolder, RUNTIMES } from "./runtimes/programs.mjs";

const OLDEST_NODE = [20, 16];
const LOCK_EXPIRES_MS = 15 * 60_000;
const LOCK_UNSIGNED_MS = 5_000;

// import.meta.dirname is younger than the Node that must still be able to print why it is too old.
const root = fileURLToPath(new URL("..", import.meta.url));
const stampFile = join(root, "node_modules", ".alkdev-setup");
const lockFile = join(root, ".setup.lock");

class SetupError extends Error {}

// To stderr, so that the output of what runs next stays its own.
const say = (text) => process.stderr.write(`setup: ${text}\n`);
const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;
const read = (file) => (existsSync(file) ? readFileSync(file, "utf8") : undefined);
const json = (file) => {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return {};
  }
};
const hash = (text) => createHash("sha256").update(text).digest("hex");

const stamp = () => json(stampFile);
const setStamp = (part) => writeFileSync(stampFile, JSON.stringify({ ...stamp(), ...part }));

function filesUnder(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

const packages = () =>
  readdirSync(join(root, "packages"))
    .map((name) => join(root, "packages", name))
    .filter((folder) => existsSync(join(folder, "tsconfig.json")));

const sources = (folder) => filesUnder(join(folder, "src")).filter((file) => /(?<!\.d)\.ts$/.test(file));

// Install ------------------------------------------------------------------------------------------------------------

const installHash = (folder = root) =>
  hash(`${process.platform} ${process.arch} ${read(join(folder, "package-lock.json")) ?? ""}`);

/** Whether node_modules holds what the lockfile says, whoever put it there: a plain `npm install` is as good as ours. */
function installed() {
  if (stamp().install === installHash()) return true;
  const wanted = json(join(root, "package-lock.json")).packages;
  const present = json(join(root, "node_modules", ".package-lock.json")).packages;
  if (!wanted || !present) return false;
  const same = Object.entries(wanted).every(([path, entry]) => {
    if (!path.startsWith("node_modules/")) return true;
    return present[path] ? present[path].version === entry.version : entry.optional === true;
  });
  if (same) setStamp({ install: installHash() });
  return same;
}

function install() {
  const since = performance.now();
  say("installing dependencies…");
  npmInstall(root);
  setStamp({ install: installHash() });
  say(`dependencies installed in ${seconds(since)}`);
}

function npmInstall(folder) {
  const locked = existsSync(join(folder, "package-lock.json"));

  // npm hands its own options to the scripts it runs; those that change what an install does must not reach this one.
  const env = { ...process.env };
  const foreign =
    /^npm_config_(workspaces?|include_workspace_root|global|location|prefix|dry_run|omit|include|only|production)$/i;
  for (const name of Object.keys(env)) if (foreign.test(name)) delete env[name];

  const args = [
    "install",
    // As `npm ci`, which refuses a lock file without those optional packages (of other platforms) that a registry lacks.
    ...(locked ? ["--no-save"] : []),
    "--prefer-offline",
    "--include=dev",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
  ];
  const cli = env["npm_execpath"];
  const viaNode = cli !== undefined && /npm-cli\.[cm]?js$/.test(cli);
  const { status, error } = viaNode
    ? spawnSync(process.execPath, [cli, ...args], { cwd: folder, env, stdio: ["ignore", 2, 2] })
    : spawnSync("npm", args, { cwd: folder, env, stdio: ["ignore", 2, 2], shell: process.platform === "win32" });
  if (error) throw new SetupError(`npm could not be started: ${error.message}`);
  if (status !== 0) throw new SetupError("npm could not install the dependencies, see above; is the network up?");
}

/** A lock file of optional packages alone is met without any of them, so the programs are looked for. */
const missingRuntimes = () => Object.keys(RUNTIMES).filter((name) => !existsSync(RUNTIMES[name].program));
const runtimesInstalled = () => stamp().runtimes === installHash(runtimesFolder) && missingRuntimes().length === 0;

function installRuntimes() {
  const since = performance.now();
  say("installing runtimes…");
  npmInstall(runtimesFolder);
  const missing = missingRuntimes();
  if (missing.length > 0)
    throw new SetupError(
      `npm did not install ${missing.join(", ")}: is the network up? There are packages for Linux, x64 and arm64; this is ${process.platform}, ${process.arch}.`,
    );
  setStamp({ runtimes: installHash(runtimesFolder) });
  say(`runtimes installed in ${seconds(since)}`);
}

// Build --------------------------------------------------------------------------------------------------------------

/** Changes whenever a source, a tsconfig, a manifest or the compiler does. By time and size: no file is read. */
function buildHash() {
  const files = [join(root, "tsconfig.base.json"), join(root, "tsconfig.json")];
  for (const folder of packages()) {
    files.push(join(folder, "package.json"), join(folder, "tsconfig.json"), ...sources(folder));
  }
  const facts = files.map((file) => {
    const { mtimeMs, size } = statSync(file);
    return `${file} ${mtimeMs} ${size}`;
  });
  return hash([installHash(), ...facts.toSorted()].join("\n"));
}

const output = (folder, source) => join(folder, "dist", source.slice(join(folder, "src").length + 1, -3));

/** The compiler trusts its own notes and does not look whether its output is still there. */
const outputMissing = () =>
  packages().some((folder) => sources(folder).some((file) => !existsSync(`${output(folder, file)}.js`)));

const built = () => stamp().build === buildHash() && !outputMissing();

function build() {
  const since = performance.now();
  const before = buildHash();
  say("building packages…");

  // What a deleted or renamed source left behind would still be importable here, and nowhere else.
  for (const folder of packages()) {
    const kept = new Set(sources(folder).map((file) => output(folder, file)));
    for (const file of filesUnder(join(folder, "dist"))) {
      const stem = file.replace(/\.(js|js\.map|d\.ts|d\.ts\.map)$/, "");
      if (stem !== file && !kept.has(stem)) rmSync(file, { force: true });
    }
  }

  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const run = (...args) =>
    spawnSync(process.execPath, [tsc, "-b", ...args], { cwd: root, stdio: ["ignore", 2, 2] }).status === 0;
  if (!run() || (outputMissing() && !run("--force"))) throw new SetupError("the packages do not compile, see above");
  setStamp({ build: before });
  say(`packages built in ${seconds(since)}`);
}

// One at a time ------------------------------------------------------------------------------------------------------

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Whether the lock's owner is gone: its process ended, it never signed, or it is far too old to be true. */
function abandoned() {
  try {
    const pid = Number(readFileSync(lockFile, "utf8"));
    const age = Date.now() - statSync(lockFile).mtimeMs;
    if (age > LOCK_EXPIRES_MS) return true;
    return pid > 0 ? !alive(pid) : age > LOCK_UNSIGNED_MS;
  } catch {
    return false; // Released meanwhile.
  }
}

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Under a lock of its own: else two that found the same old lock could each remove the other's new one. */
function breakLock() {
  const breaker = `${lockFile}.break`;
  try {
    writeFileSync(breaker, "", { flag: "wx" });
  } catch {
    const { mtimeMs = Date.now() } = statSync(breaker, { throwIfNoEntry: false }) ?? {};
    if (Date.now() - mtimeMs > LOCK_UNSIGNED_MS) rmSync(breaker, { force: true });
    sleep(100);
    return;
  }
  try {
    if (abandoned()) rmSync(lockFile, { force: true });
  } finally {
    rmSync(breaker, { force: true });
  }
}

function lock() {
  for (let told = false; ;) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: "wx" });
      process.on("exit", () => rmSync(lockFile, { force: true }));
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));
      return;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (abandoned()) {
      breakLock();
      continue;
    }
    if (!told) say("waiting for another set-up to finish…");
    told = true;
    sleep(100);
  }
}

// --------------------------------------------------------------------------------------------------------------------

function main() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    throw new SetupError(`Node ${OLDEST_NODE.join(".")} or newer is needed; this is ${process.versions.node}`);
  }
  const asked = process.argv.includes("--build");
  const runtimes = process.argv.includes("--runtimes");
  if (!asked && installed() && built() && (!runtimes || runtimesInstalled())) return;
  lock();
  if (!installed()) install();
  if (asked || !built()) build();
  if (runtimes && !runtimesInstalled()) installRuntimes();
}

try {
  main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
