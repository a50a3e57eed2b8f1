/**
 * Puts every link and every broker under every fault, for long and with many events, and writes what came of it into
 * docs/reliability.md.
 *
 *     npm run stress                    a minute of ten reconnects a second for each link that comes back
 *     npm run stress -- --seconds 10    less; prints only
 *     npm run stress -- brokers         the brokers alone; or: links
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

const FILES = { links: "packages/hub/test/stress.test.ts", brokers: "packages/hub/test/brokers.test.ts" };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: "string", default: String(FULL) } },
});
const seconds = Number(values.seconds);
const parts = positionals.length > 0 ? positionals : Object.keys(FILES);
if (!(seconds >= 1 && seconds <= 600)) {
  console.error(`stress: --seconds must be from 1 to 600, not ${values.seconds}`);
  process.exit(2);
}
if (!parts.every((part) => part in FILES)) {
  console.error(`stress: there are ${Object.keys(FILES).join(" and ")}, not ${parts.join(", ")}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "stress-"));
const results = join(folder, "results");
writeFileSync(results, "");
const { status } = spawnSync(
  "npx",
  // Two at a time: each has two processes of its own.
  [
    ...["vitest", "run", ...parts.map((part) => FILES[part])],
    ...["--typecheck.enabled=false", "--maxConcurrency=2", "--no-file-parallelism"],
  ],
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

/** One row for each broker and fault: what its three subscriptions met together, without and with numbers. */
function brokerTable(outcomes) {
  const byKey = new Map();
  for (const outcome of outcomes) {
    const key = `${outcome.broker} | ${outcome.fault}`;
    byKey.set(key, [...(byKey.get(key) ?? []), outcome]);
  }
  const sum = (all, name) => number(all.reduce((total, outcome) => total + outcome[name], 0));
  const rows = [...byKey].map(([key, all]) => {
    const [plain, numbered] = [false, true].map((sequence) => all.filter((outcome) => outcome.sequence === sequence));
    // The publisher's figures are the same for each of its subscribers.
    const published = ["times", "published", "accepted", "rejected"].map((name) => sum(plain.slice(0, 1), name));
    const met = ["delivered", "inGaps", "gaps"].map((name) => sum(plain, name));
    const found = ["inGaps", "counted"].map((name) => sum(numbered, name));
    const wrong = all.reduce((total, { problems }) => total + problems.length, 0);
    return `| ${[key, ...published, ...met, ...found, wrong].join(" | ")} |`;
  });
  return [
    "| broker | fault | times | published | accepted | rejected | delivered | in gaps | gaps | with numbers: in gaps | counted | wrong |",
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ...rows,
  ].join("\n");
}

const outcomes = lines.filter(({ broker }) => broker !== undefined);
const brokers = brokerTable(outcomes);
if (parts.includes("links")) console.log(table);
if (parts.includes("brokers")) console.log(brokers);
if (status !== 0) {
  console.error("stress: not everything held; see above");
  process.exit(1);
}
if (seconds < FULL) process.exit(0);
const today = new Date().toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
const counted = (all) =>
  `${number(all.reduce((sum, { published }) => sum + published, 0))} events, on ${today}, Node ${process.versions.node}.`;

/** Puts a text between two marks of the document. */
function written(text, name, between) {
  const [begin, end] = [`<!-- ${name}: written by scripts/stress.mjs -->`, `<!-- /${name} -->`];
  const [head, rest = ""] = text.split(begin);
  return `${head}${begin}\n${between}\n${end}${rest.split(end)[1] ?? ""}`;
}

let text = readFileSync(document, "utf8");
if (parts.includes("links"))
  text = written(written(text, "impossible", reasons), "counts", `${counted(cells)}\n\n${table}`);
if (parts.includes("brokers")) text = written(text, "brokers", `${counted(outcomes)}\n\n${brokers}`);
writeFileSync(document, text);
console.log("docs/reliability.md: wrote the counts");
