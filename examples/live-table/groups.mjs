/** The same rows in fewer: those that belong together, and are in the same state, as one with their sums. */
import { together } from "./histogram.mjs";
import { count } from "./table.mjs";

/**
 * @import { Figures } from "./account.mjs"
 * @import { Row } from "./table.mjs"
 */

/** What was between two places, over whatever topics. @param {readonly Row[]} rows */
export const byPair = (rows) => grouped(rows, ({ from, to }) => `${from} → ${to}`);

/** What a place published, wherever it went. @param {readonly Row[]} rows */
export const byPublisher = (rows) => grouped(rows, ({ from }) => `${from} → …`);

/** @param {readonly Row[]} rows @param {(row: Row) => string} labelOf @returns {Row[]} */
function grouped(rows, labelOf) {
  /** @type {Map<unknown, Row[]>} */
  const groups = new Map();
  for (const row of rows) {
    const alone = row.from === undefined || row.state === "bad";
    const key = alone ? row : `${labelOf(row)} ${kindOf(row)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return Array.from(groups.values(), (group) => {
    const [first] = /** @type {[Row]} */ (group);
    if (group.length === 1) return first;
    const figures = sum(group.map((row) => row.figures));
    const { state, status } = decisive(group);
    return {
      ...first,
      state,
      label: labelOf(first),
      topic: `${group.length} routes`,
      figures,
      status: numbered(status, figures),
    };
  });
}

/** The status without its number; whether something has been published yet, or is in flight, makes no difference. @param {Row} row */
const kindOf = ({ state, status }) =>
  state === "ok" || status === "no events" ? "" : `${state} ${status.replace(/^[\d,]+ /, "")}`;

/** The row that says most of a group of one kind. @param {readonly Row[]} group @returns {Row} */
function decisive(group) {
  const rank = (/** @type {Row} */ { state, status }) => (/^\d/.test(status) ? 0 : state === "ok" ? 1 : 2);
  return /** @type {[Row]} */ ([...group].sort((a, b) => rank(a) - rank(b)))[0];
}

/** @param {string} status of one row @param {Figures} figures the sum of several */
const numbered = (status, { inFlight, inGaps }) =>
  status.replace(/^[\d,]+/, count(status.endsWith("in flight") ? inFlight : inGaps));

/** @param {readonly Figures[]} all @returns {Figures} */
function sum(all) {
  const total = (/** @type {"published" | "delivered" | "lost" | "inGaps" | "inFlight"} */ name) =>
    all.reduce((sum, figures) => sum + figures[name], 0);
  return {
    published: total("published"),
    delivered: total("delivered"),
    lost: total("lost"),
    inGaps: total("inGaps"),
    inFlight: total("inFlight"),
    latency: together(all.map(({ latency }) => latency)),
    trouble: undefined,
    began: all.some(({ began }) => began),
  };
}
