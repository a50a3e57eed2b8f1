/**
 * Measures the library beside its peers, prints the tables and writes them into RESULTS.md.
 *
 *     npm run bench                                  everything
 *     npm run bench -- dispatch size --rounds 3      some sections
 *     npm run bench -- patterns --scenario hot       some scenarios; prints only
 *     npm run bench -- iterate --only ours,limit     some contestants; prints only
 *
 * A number from one machine says little, so every contestant runs beside us: each cell (scenario, contestant, round) is a
 * process of its own, and within a round the contestants come one after the other, in an order that moves on from round to
 * round. A ratio compares the two cells of one round; what is shown is its median and, in brackets, its lowest and highest.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { sizes } from "./size.mjs";
import { table } from "./table.mjs";

const folder = fileURLToPath(new URL(".", import.meta.url));
const resultsFile = join(folder, "RESULTS.md");
const SECTIONS = ["dispatch", "iterate", "operators", "patterns", "pipes", "operations", "kadi", "brokers"];
const MAX_ROUNDS = 25;
const CELL_MS = 60_000;

const say = (text) => process.stderr.write(`bench: ${text}\n`);
const json = (file) => JSON.parse(readFileSync(file, "utf8"));

// What is asked for ---------------------------------------------------------------------------------------------------

function asked() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "5" },
      minutes: { type: "string", default: "15" },
      scenario: { type: "string", default: "" },
      only: { type: "string", default: "" },
    },
  });
  const known = [...SECTIONS, "size"];
  const unknown = positionals.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`there is no section ${unknown}; there are ${known.join(", ")}`);
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS)
    throw new Error(`--rounds must be a whole number from 1 to ${MAX_ROUNDS}, not ${values.rounds}`);
  const minutes = Number(values.minutes);
  if (!(minutes > 0 && minutes <= 120)) throw new Error(`--minutes must be from 0 to 120, not ${values.minutes}`);
  const words = (text) => text.split(",").filter((word) => word !== "");
  return {
    sections: positionals.length > 0 ? known.filter((name) => positionals.includes(name)) : known,
    rounds,
    until: performance.now() + minutes * 60_000,
    scenarios: words(values.scenario),
    contestants: words(values.only),
  };
}

// Peers -----------------------------------------------------------------------------------------------------------------

/** Peers are installed when something is measured for the first time, and again when the lock file says so. */
function installPeers() {
  const wanted = json(join(folder, "package-lock.json")).packages;
  const manifest = join(folder, "node_modules", ".package-lock.json");
  const present = existsSync(manifest) ? json(manifest).packages : {};
  const differs = ([path, { version }]) => path !== "" && present[path]?.version !== version;
  if (!Object.entries(wanted).some(differs)) return;
  say("installing the peers to measure beside us, into bench/node_modules…");
  const { status, error } = spawnSync(
    "npm",
    ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
    {
      cwd: folder,
      stdio: ["ignore", 2, 2],
      shell: process.platform === "win32",
    },
  );
  if (error) throw new Error(`npm could not be started: ${error.message}`);
  if (status !== 0) throw new Error("npm could not install the peers, see above; is the network up?");
}

function labelOf({ label, package: name, note }) {
  const version = name === undefined ? "" : ` ${json(join(folder, "node_modules", name, "package.json")).version}`;
  return `${label ?? name}${version}${note === undefined ? "" : ` (${note})`}`;
}

// Measuring -------------------------------------------------------------------------------------------------------------

function cell(section, scenario, contestant) {
  const { stdout, stderr, error } = spawnSync(
    process.execPath,
    ["--expose-gc", "--no-warnings", join(folder, "cell.mjs"), section, scenario, contestant],
    { encoding: "utf8", timeout: CELL_MS, maxBuffer: 2 ** 24 },
  );
  const found = /^@(\{.*\})$/m.exec(stdout ?? "");
  if (found !== null) return JSON.parse(found[1]);
  const why = error?.message ?? /^\w*Error.*$/m.exec(stderr)?.[0] ?? "it said nothing";
  return { failed: why };
}

async function measureSection(name, { rounds, until, scenarios, contestants }) {
  const { default: section } = await import(`./sections/${name}.mjs`);
  const picked = (key, words) =>
    words.length === 0 || words.some((word) => key.toLowerCase().includes(word.toLowerCase()));
  const keys = Object.keys(section.scenarios).filter((key) => picked(key, scenarios));
  const cells = Object.fromEntries(keys.map((key) => [key, {}]));
  let done = 0;
  for (; done < rounds && (done === 0 || performance.now() < until); done++) {
    for (const key of keys) {
      const names = section.scenarios[key].contestants.filter((contestant) => picked(contestant, contestants));
      for (let i = 0; i < names.length; i++) {
        const contestant = names[(i + done) % names.length];
        (cells[key][contestant] ??= []).push(cell(name, key, contestant));
      }
    }
    say(`${name}: round ${done + 1} of ${rounds}`);
  }
  if (done < rounds) say(`${name}: no time for more than ${done} of ${rounds} rounds (--minutes)`);
  return { section, cells, rounds: done };
}

// Tables ----------------------------------------------------------------------------------------------------------------

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function short(value) {
  for (const [unit, letter] of [
    [1e6, "M"],
    [1e3, "k"],
  ])
    if (value >= unit) return `${(value / unit).toPrecision(3)}${letter}`;
  return value >= 100 ? value.toFixed(0) : value.toPrecision(2);
}

const factor = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(value >= 10 ? 3 : 2));

function scenarioTable(section, scenario, results) {
  const { title, unit = section.unit, lower = false, targets = {}, most, contestants } = scenario;
  const [us] = contestants;
  const ours = results[us];
  const checks = new Set(Object.values(results).flatMap((runs) => runs.map(({ check }) => check)));
  const rows = contestants
    .filter((name) => name in results)
    .map((name) => {
      const runs = results[name];
      const label = name.startsWith("ours")
        ? `**${labelOf(section.contestants[name])}**`
        : labelOf(section.contestants[name]);
      const values = runs.flatMap(({ value }) => value ?? []);
      if (values.length === 0) return [label, `failed: ${runs[0].failed}`, "", "", ""];
      let ratio = "1";
      let target = "";
      let reached = "";
      if (name === us) {
        if (most !== undefined) {
          target = `≤ ${most} ${unit}`;
          reached = median(values) <= most ? "yes" : "**no**";
        }
      } else if (ours !== undefined) {
        const ratios = ours.flatMap(({ value }, i) => (value && runs[i]?.value ? value / runs[i].value : []));
        if (ratios.length > 0) {
          const middle = median(ratios);
          ratio = `${factor(middle)} × (${factor(Math.min(...ratios))}–${factor(Math.max(...ratios))})`;
          if (targets[name] !== undefined) {
            target = `${lower ? "≤" : "≥"} ${targets[name]} ×`;
            reached = (lower ? middle <= targets[name] : middle >= targets[name]) ? "yes" : "**no**";
          }
        } else ratio = "";
      } else ratio = "";
      return [label, short(median(values)), ratio, target, reached];
    });
  const warning = checks.size > 1 ? "\n\n**The contestants did not deliver the same events.**" : "";
  return `### ${title}\n\n${table(
    ["", unit, "ours as a ratio", "target", "reached"],
    ["---", "---:", "---", "---", "---"],
    rows,
  )}${warning}`;
}

function conditions(rounds) {
  const date = new Date().toISOString().slice(0, 10);
  const machine = `${process.platform} ${process.arch}, ${availableParallelism()} cores`;
  return `${date}, Node ${process.versions.node}, ${machine}${rounds === undefined ? "" : `; ${rounds} round${rounds === 1 ? "" : "s"}`}.`;
}

async function report(name, options) {
  if (name === "size") return `## size\n\n${await sizes()}\n\n${conditions()}`;
  const { section, cells, rounds } = await measureSection(name, options);
  const tables = Object.entries(cells).map(([key, results]) => scenarioTable(section, section.scenarios[key], results));
  return `## ${name}\n\n${section.about} ${conditions(rounds)}\n\n${tables.join("\n\n")}`;
}

const HEAD = `# What was measured

Written by \`npm run bench\`, see \`bench/run.mjs\` for how. The ratio is ours divided by theirs in the same round: the median, and the
lowest and highest in brackets. For rates more is better, for bytes and times less. A «limit» is written by hand for the one purpose, with
nothing checked, counted or bounded.`;

/** Sections that were not measured this time stay as they are. */
function write(reports) {
  const before = existsSync(resultsFile) ? readFileSync(resultsFile, "utf8") : "";
  const sections = new Map(
    before
      .split(/^(?=## )/m)
      .slice(1)
      .map((text) => [/^## (\S+)/.exec(text)[1], text.trim()]),
  );
  for (const [name, text] of reports) sections.set(name, text);
  const order = ["size", ...SECTIONS].flatMap((name) => sections.get(name) ?? []);
  writeFileSync(resultsFile, `${[HEAD, ...order].join("\n\n")}\n`);
}

async function main() {
  const options = asked();
  if (options.sections.some((name) => name !== "size")) installPeers();
  const [load] = loadavg();
  if (load > availableParallelism() / 2)
    say(`the machine is busy (load ${load.toFixed(1)}): trust the ratios, and the spread, not the numbers`);
  const reports = new Map();
  for (const name of options.sections) {
    const text = await report(name, options);
    console.log(`${text}\n`);
    reports.set(name, text);
  }
  if (options.scenarios.length > 0 || options.contestants.length > 0) return;
  write(reports);
  say("written to bench/RESULTS.md");
}

try {
  await main();
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}
