/**
 * Puts every link under every fault, for long and with many events, and writes what came of it into docs/reliability.md.
 *
 *     npm run stress                    a minute of ten reconnects a second for each link that comes back
 *     npm run stress -- --seconds 10    less; prints only
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const document = join(root, "docs", "reliability.md");
const FULL = 60;

const { values } = parseArgs({ options: { seconds: { type: "string", default: String(FULL) } } });
const seconds = Number(values.seconds);
if (!(seconds >= 1 && seconds <= 600)) {
  console.error(`stress: --seconds must be from 1 to 600, not ${values.seconds}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "stress-"));
const results = join(folder, "results");
writeFileSync(results, "");
const { status } = spawnSync(
  "npx",
  // Two at a time: each has two processes of its own.
  ["vitest", "run", "packages/hub/test/stress.test.ts", "--typecheck.enabled=false", "--maxConcurrency=2"],
  {
    cwd: root,
    env: { ...process.env, STRESS_SECONDS: String(seconds), STRESS_RESULTS: results },
    stdio: "inherit",
    shell: process.platform === "win32",
  },
);
const lines = readFileSync(results, "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line));
const cells = lines.filter(({ order }) => order !== undefined).toSorted((one, other) => one.order - other.order);
const impossible = lines.filter(({ not }) => not !== undefined);
rmSync(folder, { recursive: true });

const number = (n) => n.toLocaleString("en");
const gapsOf = ({ gaps, gapReasons }) => (gaps === 0 ? "–" : `${number(gaps)} (${gapReasons.join(", ")})`);
const rows = cells.map((cell) => {
  const { link, fault, times, published, accepted, interrupted, unknown, delivered, inGaps, unwanted, problems } = cell;
  const counts = [times, published, accepted, interrupted, unknown, delivered, inGaps, unwanted].map(number);
  const ends = cell.endings.map((code) => `\`${code}\``).join(", ") || "–";
  return `| ${[link, fault, ...counts, gapsOf(cell), ends, problems.length].join(" | ")} |`;
});
const table = [
  "| link | fault | times | published | accepted | rejected | unknown | delivered | in gaps | unwanted | gaps | ends with | wrong |",
  "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|---:|",
  ...rows,
].join("\n");
const byReason = new Map();
for (const { link, not, fault } of impossible) {
  const key = `${link} | ${not}`;
  byReason.set(key, [...(byReason.get(key) ?? []), fault]);
}
const reasons = [
  "| link | why not | faults |",
  "|---|---|---|",
  ...[...byReason].map(([key, all]) => `| ${key} | ${all.join(", ")} |`),
].join("\n");
console.log(table);
if (status !== 0) {
  console.error("stress: not everything held; see above");
  process.exit(1);
}
if (seconds < FULL) process.exit(0);
const total = cells.reduce((sum, { published }) => sum + published, 0);
const today = new Date().toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
const counted = `${number(total)} events, on ${today}, Node ${process.versions.node}.`;

/** Puts a text between two marks of the document. */
function written(text, name, between) {
  const [begin, end] = [`<!-- ${name}: written by scripts/stress.mjs -->`, `<!-- /${name} -->`];
  const [head, rest = ""] = text.split(begin);
  return `${head}${begin}\n${between}\n${end}${rest.split(end)[1] ?? ""}`;
}

const before = readFileSync(document, "utf8");
writeFileSync(document, written(written(before, "impossible", reasons), "counts", `${counted}\n\n${table}`));
console.log("docs/reliability.md: wrote the counts");
