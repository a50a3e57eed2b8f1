/** What the terminal shows: as a picture that is redrawn, or line by line. */
import { byPair, byPublisher } from "./groups.mjs";
import { DELAY_MS } from "./places.mjs";
import { count, header, rowLine } from "./table.mjs";

/**
 * @import { Figures } from "./account.mjs"
 * @import { Palette, Row } from "./table.mjs"
 *
 * @typedef {{ where: string, hints: readonly string[], phase: string, seconds: number, readings: ReadonlyMap<string, Readings>,
 *   pids: readonly (number | undefined)[], rows: readonly Row[], notes: readonly string[], said: readonly string[] }} View
 * @typedef {Record<string, number>} Readings
 */

/** Lines of what is not vital. */
const ROOMY = 7;

/**
 * @param {View} view
 * @param {{ rows: number, columns: number }} size of the terminal
 * @param {Palette} colours
 * @returns {string[]}
 */
export function picture({ where, hints, phase, seconds, readings, pids, rows: all, notes, said }, size, colours) {
  const { bold, dim, yellow, reset } = colours;
  const title = `${bold}${where}${reset} · ${phase} · ${seconds} s · Ctrl-C ends it`;
  const help = hints.map((hint) => `  ${dim}${hint}${reset}`);
  const foot = [...notes.map((text) => `${yellow}${text}${reset}`), ...said];
  const body = (/** @type {readonly Row[]} */ some) => some.map((row) => rowLine(row, colours, size.columns));
  const roomFor = size.rows - 1 - help.length - 1 - foot.length;
  const rows = fitting(all, roomFor);
  const spare = roomFor - rows.length;
  if (spare < 0) {
    const kept = fewer(rows, rows.length + spare - 1);
    const rest = `${dim}… and ${rows.length - kept.length} more: make the window taller${reset}`;
    return [title, ...help, header(colours, size.columns), ...body(kept), rest, ...foot];
  }
  // What is not vital, where there is room for it.
  const roomy = spare >= ROOMY;
  const slower = `${dim}main → process, subscribing over a path ${DELAY_MS} ms slower than the word to publish:${reset}`;
  return [
    title,
    ...(roomy ? [`${dim}in another terminal:${reset}`] : []),
    ...help,
    ...(roomy ? ["", ...machine(readings, pids, colours), ""] : []),
    header(colours, size.columns),
    ...body(rows.slice(0, -2)),
    ...(roomy ? [slower] : []),
    ...body(rows.slice(-2)),
    ...(roomy && foot.length > 0 ? [""] : []),
    ...foot,
  ];
}

/**
 * Every route, if there is room for them and the rest; else what is between two places as one row, or what a place publishes,
 * where it is in the same state. What was lost has its own row in any case.
 *
 * @param {readonly Row[]} rows @param {number} room
 */
function fitting(rows, room) {
  if (rows.length + ROOMY <= room) return rows;
  const pairs = byPair(rows);
  return pairs.length <= room ? pairs : byPublisher(rows);
}

/** As many rows as there is room for: first those in trouble, then the control. @param {readonly Row[]} rows @param {number} room */
function fewer(rows, room) {
  const urgency = (/** @type {Row} */ row) =>
    row.state === "bad" || row.state === "broken" ? 0 : rows.indexOf(row) >= rows.length - 2 ? 1 : 2;
  const kept = new Set([...rows].sort((a, b) => urgency(a) - urgency(b)).slice(0, Math.max(0, room)));
  return rows.filter((row) => kept.has(row));
}

/**
 * The latest readings, as they came in: of the machine, and of the places.
 *
 * @param {ReadonlyMap<string, Readings>} readings @param {View["pids"]} pids @param {Palette} colours
 */
function machine(readings, pids, { bold, reset }) {
  const cores = [...readings].filter(([topic]) => topic.startsWith("host.cpu:")).map(([, { busy = 0 }]) => busy);
  const percent = (/** @type {number | undefined} */ n = 0) => `${Math.round(n)}%`;
  const average = cores.reduce((sum, busy) => sum + busy, 0) / cores.length;
  const gib = (/** @type {number | undefined} */ bytes = 0) => (bytes / 2 ** 30).toFixed(1);
  const mib = (/** @type {number | undefined} */ bytes = 0) => `${Math.round(bytes / 2 ** 20)} MiB`;
  const host = [];
  if (cores.length > 0)
    host.push([
      "cpu",
      cores.length <= 8 ? cores.map(percent).join(" ") : `${percent(average)} of ${cores.length} cores`,
    ]);
  const memory = readings.get("host.memory:worker");
  if (memory !== undefined) host.push(["memory", `${gib(memory["used"])} of ${gib(memory["total"])} GiB`]);
  const load = readings.get("host.load:process");
  if (load !== undefined) host.push(["load", (load["one"] ?? 0).toFixed(2)]);
  const disk = readings.get("host.disk:child");
  if (disk !== undefined) host.push(["disk", `${gib(disk["free"])} GiB free`]);
  const places = [];
  // The worker's figures are those of its process, main.
  for (const name of ["main", "process", "child"]) {
    const { cpuPercent, rss } = readings.get(`process.figures:${name}`) ?? {};
    if (rss !== undefined) places.push([name, `${percent(cpuPercent)} ${mib(rss)}`]);
  }
  const page = readings.get("process.figures:page");
  if (page !== undefined) places.push(["page", mib(page["heapUsed"])]);
  // For whoever wants to see one die.
  places.push(["pids", pids.filter((pid) => pid !== undefined).join(" ")]);
  return [host, places].map((parts) => parts.map(([name, value]) => `${bold}${name}${reset} ${value}`).join("  "));
}

/** The sums of all rows that count, in one line, and how many rows have nothing to show yet. @param {readonly Row[]} rows @param {number} seconds */
export function oneLine(rows, seconds) {
  const sum = (/** @type {(figures: Figures) => number} */ of) =>
    count(rows.slice(0, -2).reduce((total, { figures }) => total + of(figures), 0));
  const parts = [
    `${sum((f) => f.published)} to deliver`,
    `${sum((f) => f.delivered)} delivered`,
    `${sum((f) => f.lost)} lost`,
    `${sum((f) => f.inFlight)} in flight`,
  ];
  const empty = rows.filter(({ figures }) => figures.published === 0).length;
  if (empty > 0) parts.push(`no events yet in ${empty} rows`);
  return `${seconds} s: ${parts.join(", ")}`;
}
