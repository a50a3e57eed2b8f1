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
  return of("total") === 0 ? "–" : `${((100 * of("covered")) / of("total")).toFixed(1)} %`;
};
const row = (name, some) => [name.padEnd(44), ...KINDS.map((kind) => percent(some, kind).padStart(11))].join("");

console.log(["\nreached by the tests".padEnd(45), ...KINDS.map((kind) => kind.padStart(11))].join(""));
for (const folder of [...new Set(files.map(({ file }) => file.split("/").slice(0, 2).join("/")))])
  console.log(
    row(
      folder,
      files.filter(({ file }) => file.startsWith(`${folder}/`)),
    ),
  );
console.log(`\nthe least\n`);
for (const one of files.toSorted((a, b) => a.counts.branches.pct - b.counts.branches.pct).slice(0, LEAST))
  console.log(row(one.file, [one]));
