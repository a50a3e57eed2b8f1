/** The accounts of all places, and what they say together, row by row. */
import { figuresOf, figuresOfRace } from "./account.mjs";
import { allRoutes, filtersOf, PLACES, subscriptionKey } from "./routes.mjs";
import { count, routeLabel, routeTopic } from "./table.mjs";

/**
 * @import { Baseline, Figures } from "./account.mjs"
 * @import { Report } from "./place.mjs"
 * @import { Started } from "./places.mjs"
 * @import { RaceReport } from "./race.mjs"
 * @import { Place } from "./routes.mjs"
 * @import { Row } from "./table.mjs"
 */

const routes = allRoutes();

/** @param {Record<Place, Started>} places @param {(text: string) => void} note */
export function createBook(places, note) {
  /** @type {Partial<Record<Place, Report>>} */
  const reports = {};
  /** @type {Map<string, Baseline>} by publisher and subscription */
  const baselines = new Map();
  /** @type {Record<string, RaceReport>} */
  let races = {};

  /** @param {(name: Place) => Promise<unknown>} act */
  const each = (act) => Promise.all(PLACES.map(act));
  const isDead = (/** @type {Place} */ name) => places[name].remote.dead !== undefined;
  const isAway = (/** @type {Place} */ name) => (reports[name]?.status ?? "ready") !== "ready";

  return {
    /** Starts the publishers, then makes the routes live: from that moment on, each has to get everything. */
    async begin() {
      await each((name) => places[name].remote.ask("startPublishing"));
      await each((to) =>
        Promise.all(
          filtersOf(to).map(async (filter) => {
            await places[to].remote.ask("subscribe", filter);
            await each(async (from) => {
              const report = /** @type {Report} */ (await places[from].remote.ask("report"));
              baselines.set(`${from} ${subscriptionKey(to, filter)}`, report.published);
            });
          }),
        ),
      );
    },

    /** Stops the publishers; resolves when no publish is under way any more. */
    async stop() {
      // What is dead has stopped.
      await each((name) => places[name].remote.ask("stopPublishing").catch(() => undefined));
      await places.process.remote.ask("stopRace").catch(() => undefined);
    },

    /** Asks every place for its account. One that is gone has left its last. */
    async update() {
      await each(async (name) => {
        const report = /** @type {Report | undefined} */ (
          await places[name].remote.ask("report").catch(() => undefined)
        );
        if (report === undefined) return;
        reports[name] = report;
        for (const text of report.notes) note(`${name}: ${text}`);
      });
      races = (await places.process.remote.ask("raceReport").catch(() => undefined)) ?? races;
    },

    /** The routes, the control, and the control's counterpart. @param {boolean} final @returns {Row[]} */
    rows(final) {
      const rows = routes.map((route) => {
        const { from, to } = route;
        const baseline = baselines.get(`${from} ${route.key}`);
        const broken = isDead(from) || isDead(to);
        const figures = figuresOf(route, reports[from], reports[to], baseline, final && !broken);
        return toRow(routeLabel(route), routeTopic(route), figures, {
          broken,
          away: isAway(from) || isAway(to),
          final,
        });
      });
      const broken = isDead("process");
      const unawaited = figuresOfRace(races["unawaited"]);
      const awaited = figuresOfRace(races["awaited"]);
      const status = unawaited.trouble ?? (unawaited.lost > 0 ? "as expected" : "no loss yet");
      return [
        ...rows,
        {
          label: "control: not awaited (expected to lose)",
          topic: "",
          figures: unawaited,
          state: "control",
          status: broken ? "interrupted" : status,
        },
        toRow("the same, awaited", "", awaited, { broken, away: false, final }),
      ];
    },

    /** What is wrong with the final rows, in sentences. @param {readonly Row[]} rows @returns {string[]} */
    verdict(rows) {
      const interrupted = rows.filter(({ status }) => status === "interrupted").length;
      const dead = PLACES.flatMap((name) => places[name].remote.dead?.message ?? []);
      return [
        ...(interrupted > 0 ? [`${dead.join(", ")}: ${interrupted} routes were interrupted`] : []),
        ...rows.filter(({ state }) => state === "bad").map(sentence),
      ];
    },
  };
}

/**
 * @param {string} label @param {string} topic @param {Figures} figures
 * @param {{ broken: boolean, away: boolean, final: boolean }} how
 * @returns {Row}
 */
function toRow(label, topic, figures, { broken, away, final }) {
  const row = (/** @type {Row["state"]} */ state, /** @type {string} */ status) => ({
    label,
    topic,
    figures,
    state,
    status,
  });
  if (broken) return row("broken", "interrupted");
  if (!figures.began) return row("wait", final ? "never live" : "subscribing");
  if (figures.trouble !== undefined) return row("bad", figures.trouble);
  if (figures.lost > 0) return row("bad", "LOST");
  if (away && !final) return row("broken", "reconnecting");
  if (figures.inGaps > 0) return row("broken", `${count(figures.inGaps)} in gaps`);
  if (figures.inFlight > 0) return row("ok", `${count(figures.inFlight)} in flight`);
  if (figures.published === 0) return row("wait", "no events");
  return row("ok", final ? "complete" : "live");
}

/** @param {Row} row */
function sentence({ label, topic, figures: { lost, published, trouble } }) {
  const route = `${label} ${topic}`.trim();
  if (lost === 0) return `${route}: ${trouble}`;
  return `${route}: lost ${count(lost)} of ${count(published)}${trouble === undefined ? "" : ` (${trouble})`}`;
}
