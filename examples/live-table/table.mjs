/** Lays the table out as lines of text. */
import { percentile } from "./histogram.mjs";
import { topicOf } from "./routes.mjs";

/**
 * @import { Figures } from "./account.mjs"
 * @import { Place, Route } from "./routes.mjs"
 *
 * @typedef {{ label: string, topic: string, from?: Place, to?: Place, figures: Figures,
 *   state: "ok" | "bad" | "broken" | "control" | "wait", status: string }} Row
 * @typedef {{ bold: string, dim: string, red: string, green: string, yellow: string, reset: string }} Palette
 */

/** @type {Palette} */
const PLAIN = { bold: "", dim: "", red: "", green: "", yellow: "", reset: "" };
/** @type {Palette} */
const COLOURED = {
  bold: "\u001B[1m",
  dim: "\u001B[2m",
  red: "\u001B[31m",
  green: "\u001B[32m",
  yellow: "\u001B[33m",
  reset: "\u001B[0m",
};

/** @param {boolean} coloured */
export const palette = (coloured) => (coloured ? COLOURED : PLAIN);

/** Columns that a full row takes. In a narrower terminal the latencies give way. */
const FULL = 99;
const WIDE = { label: 17, topic: 22, numbers: [10, 10, 6, 6, 6], gap: "  " };
const NARROW = { label: 17, topic: 22, numbers: [10, 10, 6], gap: " " };

/** @param {Palette} colours @param {number} [columns] */
export function header({ bold, reset }, columns) {
  const numbers = ["published", "delivered", "lost", "p50 ms", "p99 ms"];
  return `${bold}${line("route", "topic or pattern", numbers, columns)}status${reset}`;
}

/** @param {Row} row @param {Palette} colours @param {number} [columns] */
export function rowLine({ label, topic, figures, state, status }, { dim, red, green, yellow, reset }, columns) {
  const { began, published, delivered, lost, latency } = figures;
  // Of a place that died nobody can say what it still got.
  const known = status !== "interrupted" || lost > 0;
  const counts = began ? [count(published), count(delivered), known ? count(lost) : "–"] : ["–", "–", "–"];
  const text = line(
    label,
    topic,
    [...counts, milliseconds(percentile(latency, 0.5)), milliseconds(percentile(latency, 0.99))],
    columns,
  );
  const colour = { ok: green, bad: red, broken: yellow, control: dim, wait: dim }[state];
  return state === "control" ? `${dim}${text}${status}${reset}` : `${text}${colour}${status}${reset}`;
}

/** @param {string} label @param {string} topic @param {readonly string[]} values @param {number} [columns] */
function line(label, topic, values, columns = FULL) {
  const widths = columns < FULL ? NARROW : WIDE;
  // A control's label takes both columns.
  const left =
    topic === ""
      ? label.padEnd(widths.label + widths.topic + 1)
      : `${label.padEnd(widths.label)} ${topic.padEnd(widths.topic)}`;
  return `${left}${widths.numbers.map((width, i) => (values[i] ?? "").padStart(width)).join(" ")}${widths.gap}`;
}

/** @param {Route} route */
export const routeLabel = ({ from, to }) => `${from} → ${to}`;

/** @param {Route} route */
export const routeTopic = ({ filter }) => topicOf(filter);

export const count = (/** @type {number} */ n) => n.toLocaleString("en-US");

/** @param {number | undefined} ms */
function milliseconds(ms) {
  if (ms === undefined) return "–";
  return ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0);
}

/** What strangers send is shown without what could move the cursor. @param {string} text */
export const printable = (text) => text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "·");
