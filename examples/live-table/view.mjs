/** What the terminal shows: as a picture that is redrawn, or line by line. */
import { DELAY_MS } from "./places.mjs";
import { count, header, rowLine } from "./table.mjs";

/**
 * @import { Figures } from "./account.mjs"
 * @import { Palette, Row } from "./table.mjs"
 *
 * @typedef {{ where: string, hints: readonly string[], phase: string, seconds: number, readings: ReadonlyMap<string, Readings>,
 *   rows: readonly Row[], notes: readonly string[], fromUsers: readonly string[] }} View
 * @typedef {Record<string, number>} Readings
 */

/**
 * @param {View} view
 * @param {{ rows: number, columns: number }} size of the terminal
 * @param {Palette} colours
 * @returns {string[]}
 */
export function picture({ where, hints, phase, seconds, readings, rows, notes, fromUsers }, size, colours) {
  const { bold, dim, yellow, reset } = colours;
  const title = `${bold}${where}${reset} · ${phase} · ${seconds} s · Ctrl-C ends it`;
  const help = hints.map((hint) => `  ${dim}${hint}${reset}`);
  const foot = [...notes.map((text) => `${yellow}${text}${reset}`), ...fromUsers];
  const body = (/** @type {readonly Row[]} */ some) => some.map((row) => rowLine(row, colours, size.columns));
  const spare = size.rows - 1 - help.length - 1 - rows.length - foot.length;
  if (spare < 0) {
    const kept = fewer(rows, rows.length + spare - 1);
    const rest = `${dim}… and ${rows.length - kept.length} more: make the window taller${reset}`;
    return [title, ...help, header(colours, size.columns), ...body(kept), rest, ...foot];
  }
  // What is not vital, where there is room for it.
  const roomy = spare >= 6;
  const slower = `${dim}main → process, subscribing over a path that is ${DELAY_MS} ms slower than the word to the publisher:${reset}`;
  return [
    title,
    ...(roomy ? [`${dim}in another terminal:${reset}`] : []),
    ...help,
    ...(roomy ? ["", machine(readings, colours), ""] : []),
    header(colours, size.columns),
    ...body(rows.slice(0, -2)),
    ...(roomy ? [slower] : []),
    ...body(rows.slice(-2)),
    ...(roomy && foot.length > 0 ? [""] : []),
    ...foot,
  ];
}

/** As many rows as there is room for: first those in trouble, then the control. @param {readonly Row[]} rows @param {number} room */
function fewer(rows, room) {
  const urgency = (/** @type {Row} */ row) =>
    row.state === "bad" || row.state === "broken" ? 0 : rows.indexOf(row) >= rows.length - 2 ? 1 : 2;
  const kept = new Set([...rows].sort((a, b) => urgency(a) - urgency(b)).slice(0, Math.max(0, room)));
  return rows.filter((row) => kept.has(row));
}

/** The latest readings, as they came in. @param {ReadonlyMap<string, Readings>} readings @param {Palette} colours */
function machine(readings, { bold, reset }) {
  const cores = [...readings].filter(([topic]) => topic.startsWith("host.cpu:")).map(([, { busy = 0 }]) => busy);
  const percent = (/** @type {number | undefined} */ n = 0) => `${Math.round(n)}%`;
  const average = cores.reduce((sum, busy) => sum + busy, 0) / cores.length;
  const parts = [];
  if (cores.length > 0)
    parts.push([
      "cpu",
      cores.length <= 8 ? cores.map(percent).join(" ") : `${percent(average)} of ${cores.length} cores`,
    ]);
  const memory = readings.get("host.memory:worker");
  const gib = (/** @type {number | undefined} */ bytes = 0) => (bytes / 2 ** 30).toFixed(1);
  if (memory !== undefined) parts.push(["memory", `${gib(memory["used"])} of ${gib(memory["total"])} GiB`]);
  const load = readings.get("host.load:process");
  if (load !== undefined) parts.push(["load", (load["one"] ?? 0).toFixed(2)]);
  for (const name of ["main", "process"]) {
    const { pid, cpuPercent, rss = 0 } = readings.get(`process.figures:${name}`) ?? {};
    if (pid === undefined) continue;
    const which = name === "process" ? ` (pid ${pid})` : "";
    parts.push([name, `${percent(cpuPercent)} ${Math.round(rss / 2 ** 20)} MiB${which}`]);
  }
  return parts.map(([name, value]) => `${bold}${name}${reset} ${value}`).join("  ");
}

/** The sums of all rows that count, in one line. @param {readonly Row[]} rows @param {number} seconds */
export function oneLine(rows, seconds) {
  const sum = (/** @type {(figures: Figures) => number} */ of) =>
    count(rows.slice(0, -2).reduce((total, { figures }) => total + of(figures), 0));
  const parts = [
    `${sum((f) => f.published)} to deliver`,
    `${sum((f) => f.delivered)} delivered`,
    `${sum((f) => f.lost)} lost`,
    `${sum((f) => f.inFlight)} in flight`,
  ];
  return `${seconds} s: ${parts.join(", ")}`;
}
