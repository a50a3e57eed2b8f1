/**
 * Runs the conformance suite on every runtime that is supported, two at once, and says what passed where; exit code 1 if
 * anything failed, did not run, or took too long.
 *
 *     npm run test:runtimes                  all of them
 *     npm run test:runtimes -- bun deno      some of them
 *     … -- --report=<file>                   also writes a report as vitest's, for `scripts/tally.mjs`
 *
 * What runs is `packages/hub/test/runtimes/run.ts` with the harnesses of the tests, compiled; it prints a line of JSON a test.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { folder, RUNTIMES } from "./runtimes/programs.mjs";

/** A runtime that takes longer is ended, in milliseconds. The slowest takes half a minute on an idle machine. */
const LIMIT = 300_000;
const AT_ONCE = 2;

const root = fileURLToPath(new URL("..", import.meta.url));
const columns = [...new Set(Object.values(RUNTIMES).flatMap(({ parts }) => parts))];

function usage(message) {
  console.error(`test:runtimes: ${message}`);
  process.exit(2);
}

/** Where the program is; inside the repository, so that it finds the packages. Its own for each run. */
function compile() {
  mkdirSync(join(folder, "dist"), { recursive: true });
  const out = mkdtempSync(join(folder, "dist", "run-"));
  process.on("exit", () => rmSync(out, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const project = join(root, "packages", "hub", "test", "runtimes");
  const { status } = spawnSync(process.execPath, [tsc, "-p", project, "--outDir", out], { stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error("the harnesses do not compile, see above");
  return join(out, "packages", "hub", "test", "runtimes", "run.js");
}

/** What one runtime made of it. `tests`: those that ended; `broken`: what went wrong beside them. */
async function run(name, script) {
  const { runtime, program, args, parts } = RUNTIMES[name];
  const env = {
    ...process.env,
    NO_COLOR: "1",
    DENO_NO_UPDATE_CHECK: "1",
    DENO_DIR: join(folder, "node_modules", ".deno"),
  };
  const since = performance.now();
  const child = spawn(program, [...args, script, ...parts], { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
  const end = () => child.kill("SIGKILL");
  process.once("exit", end);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end();
  }, LIMIT);

  const result = { title: name, parts, tests: [], missing: {}, broken: [] };
  const said = [];
  const announced = new Map();
  let version;
  let done = false;
  const note = (line) => {
    said.push(line);
    if (said.length > 50) said.shift();
  };
  createInterface({ input: child.stderr }).on("line", note);
  createInterface({ input: child.stdout }).on("line", (line) => {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      message = undefined;
    }
    if (message?.part === undefined && message?.runtime === undefined && message?.done !== true) note(line);
    else if (message.runtime !== undefined) version = message;
    else if (message.done === true) done = true;
    else if (message.tests !== undefined) announced.set(message.part, message.tests);
    else result.tests.push(message);
  });
  const [code, signal] = await new Promise((resolve) => {
    child.once("error", (error) => {
      note(error.message);
      resolve([undefined, undefined]);
    });
    child.once("close", (...how) => resolve(how));
  });
  clearTimeout(timer);
  process.removeListener("exit", end);

  if (version !== undefined) result.title = `${version.runtime} ${version.version}`;
  if (version !== undefined && version.runtime !== runtime) result.broken.push(`it says that it is ${version.runtime}`);
  // What was announced and did not come is a failure, and so is what was not even announced.
  for (const part of parts) {
    const ended = result.tests.filter((test) => test.part === part).length;
    const missing = (announced.get(part) || 1) - ended;
    result.missing[part] = missing;
    if (missing > 0) result.broken.push(`${part}: ${missing} of its tests did not end`);
  }
  if (late) result.broken.push(`it took more than ${LIMIT / 1000} s and was ended`);
  else if (!done || code !== 0) result.broken.push(`it ended with ${signal ?? `exit code ${code}`}`);
  if (result.broken.length > 0) result.broken.push(...said.map((line) => `  ${line}`));
  result.seconds = (performance.now() - since) / 1000;
  return result;
}

const failures = ({ tests }) => tests.filter(({ error }) => error !== undefined);

function cell({ parts, tests, missing }, part) {
  if (!parts.includes(part)) return "–";
  const own = tests.filter((test) => test.part === part);
  const failed = failures({ tests: own }).length;
  const text = failed === 0 ? String(own.length) : `${own.length - failed}, ${failed} failed`;
  return missing[part] > 0 ? `${text}, ${missing[part]} missing` : text;
}

function table(results) {
  const rows = [
    ["passed", ...columns, "seconds"],
    ...results.map((result) => [result.title, ...columns.map((part) => cell(result, part)), result.seconds.toFixed(1)]),
  ];
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row.map((text, i) => (i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i]))).join("  "),
  );
}

/** As vitest's: a runtime that broke is a file that failed, whatever its tests say. */
function report(results) {
  const broken = (result) => result.broken.length > 0;
  return {
    testResults: results.map((result) => ({
      name: result.title,
      status: broken(result) || failures(result).length > 0 ? "failed" : "passed",
      assertionResults: [
        ...result.tests.map(({ part, name, error }) => ({
          fullName: `${part} ${name}`,
          status: error === undefined ? "passed" : "failed",
        })),
        ...(broken(result) ? [{ fullName: "the run", status: "failed" }] : []),
      ],
    })),
  };
}

async function main() {
  const asked = [];
  let file;
  for (const argument of process.argv.slice(2)) {
    if (argument.startsWith("--report=")) file = argument.slice("--report=".length);
    else if (Object.hasOwn(RUNTIMES, argument)) asked.push(argument);
    else usage(`there is no runtime ${argument}; there are ${Object.keys(RUNTIMES).join(", ")}`);
  }
  // The slowest first.
  const waiting = (asked.length > 0 ? [...new Set(asked)] : Object.keys(RUNTIMES)).toReversed();
  const script = compile();
  const results = {};
  const lane = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift())
      results[name] = await run(name, script);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));

  const ordered = Object.keys(RUNTIMES).flatMap((name) => results[name] ?? []);
  console.log(table(ordered).join("\n"));
  for (const result of ordered) {
    for (const { part, name, error } of failures(result))
      console.log(`\n✗ ${result.title}, ${part}: ${name}\n${error}`);
    if (result.broken.length > 0) console.log(`\n✗ ${result.title}: ${result.broken.join("\n")}`);
  }
  const written = report(ordered);
  if (file !== undefined) writeFileSync(file, JSON.stringify(written));
  const all = written.testResults.flatMap(({ assertionResults }) => assertionResults);
  const failed = all.filter(({ status }) => status === "failed").length;
  console.log(`\n${all.length - failed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}

await main();
