/**
 * Runs the tests and says what of the packages they reach; the details are in coverage/lcov.info.
 *
 *     npm run coverage            all tests
 *     npm run coverage -- topic   those whose path has "topic" in it
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { relative, sep } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Percent that all tests together must reach: a little below what they do, see CONTRIBUTING.md. Raise them with it. */
const THRESHOLDS = {
  "packages/hub": { lines: 97, branches: 91, functions: 95, statements: 96 },
  "packages/kadi": { lines: 95, branches: 85, functions: 91, statements: 92 },
  "packages/operations": { lines: 94, branches: 87, functions: 91, statements: 92 },
  "packages/pubsub": { lines: 98, branches: 95, functions: 96, statements: 97 },
};
const KINDS = ["lines", "branches", "functions", "statements"];
const LEAST = 10;

const root = fileURLToPath(new URL("..", import.meta.url));
const summary = new URL("../coverage/coverage-summary.json", import.meta.url);

rmSync(summary, { force: true });
const vitest = fileURLToPath(new URL("../node_modules/vitest/vitest.mjs", import.meta.url));
const { status } = spawnSync(process.execPath, [vitest, "run", "--coverage", ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit",
});
process.exitCode = status ?? 1;
if (!existsSync(summary)) process.exit();

const files = Object.entries(JSON.parse(readFileSync(summary, "utf8")))
  .filter(([file]) => file !== "total")
  .map(([file, counts]) => ({ file: relative(root, file).split(sep).join("/"), counts }));

const percent = (some, kind) => {
  const of = (what) => some.reduce((sum, { counts }) => sum + counts[kind][what], 0);
  return of("total") === 0 ? 100 : (100 * of("covered")) / of("total");
};
const row = (name, some) =>
  [name.padEnd(54), ...KINDS.map((kind) => `${percent(some, kind).toFixed(1)} %`.padStart(11))].join("");

console.log(`\n${["reached by the tests".padEnd(54), ...KINDS.map((kind) => kind.padStart(11))].join("")}`);
const short = [];
for (const [folder, thresholds] of Object.entries(THRESHOLDS)) {
  const inside = files.filter(({ file }) => file.startsWith(`${folder}/`));
  console.log(row(folder, inside));
  for (const kind of KINDS)
    if (percent(inside, kind) < thresholds[kind])
      short.push(`${folder}: less than ${thresholds[kind]} % of the ${kind}`);
}
console.log("\nthe least");
for (const one of files.toSorted((a, b) => a.counts.branches.pct - b.counts.branches.pct).slice(0, LEAST))
  console.log(row(one.file, [one]));

// Some of the tests cannot reach what all of them do.
if (process.argv.length === 2 && short.length > 0) {
  console.error(`\ncoverage: ${short.join("; ")}`);
  process.exitCode = 1;
}
