/**
 * What must hold before a change is sent, tests apart. Says which part failed, and why; exit code 1 if one did.
 *
 *     npm run check                     every part
 *     npm run check -- types packages   some of them
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const env = { ...process.env, PATH: `${join(root, "node_modules", ".bin")}${delimiter}${process.env.PATH ?? ""}` };

/** Runs a command; what it said is shown only if it failed, or if `shown`. */
function run(command, shown = false) {
  const { status, stdout, stderr, error } = spawnSync(command, { cwd: root, env, shell: true, encoding: "utf8" });
  const failed = error !== undefined || status !== 0;
  if (failed) console.error(`\n$ ${command}\n${error?.message ?? `${stdout}${stderr}`.trim()}\n`);
  else if (shown) console.log(stdout.trimEnd());
  return !failed;
}

/** The tarballs that would be published, held to what Node, bundlers and compilers make of them. */
function packages() {
  const folder = mkdtempSync(join(tmpdir(), "alkdev-pack-"));
  try {
    if (!run(`npm pack --workspaces --silent --pack-destination "${folder}"`)) return false;
    const outcomes = readdirSync(folder)
      .map((name) => `"${join(folder, name)}"`)
      .flatMap((tarball) => [run(`publint --strict ${tarball}`), run(`attw --profile esm-only ${tarball}`)]);
    return outcomes.length > 0 && !outcomes.includes(false);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const PARTS = {
  lint: () => run("oxlint --type-aware --deny-warnings"),
  format: () => run("oxfmt --check"),
  types: () => run("tsc -b") && run("tsc -p tsconfig.test.json") && run("tsc -p tsconfig.examples.json"),
  // Files, exports and dependencies that nothing uses.
  unused: () => run("knip --no-progress"),
  packages,
  // Limits and targets are in .size-limit.js.
  size: () => run("size-limit", process.argv.includes("size")),
};

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !Object.hasOwn(PARTS, name));
if (unknown !== undefined) {
  console.error(`check: there is no part ${unknown}; there are ${Object.keys(PARTS).join(", ")}`);
  process.exit(2);
}

const failed = [];
for (const name of asked.length > 0 ? asked : Object.keys(PARTS)) {
  const since = performance.now();
  const passed = PARTS[name]();
  if (!passed) failed.push(name);
  console.log(`${passed ? "✓" : "✗"} ${name.padEnd(9)} ${((performance.now() - since) / 1000).toFixed(1)} s`);
}
if (failed.length > 0) {
  console.error(`check: failed: ${failed.join(", ")}`);
  process.exitCode = 1;
}
