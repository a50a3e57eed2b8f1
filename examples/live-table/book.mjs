/** The accounts of all places, and what they say together, row by row. */
import { figuresOf, figuresOfRace } from "./account.mjs";
import { allRoutes, filtersOf, subscriptionKey } from "./routes.mjs";
import { count, routeLabel, routeTopic } from "./table.mjs";

/**
 * @import { Baseline, Figures } from "./account.mjs"
 * @import { Report } from "./place.mjs"
 * @import { Started } from "./places.mjs"
 * @import { RaceReport } from "./race.mjs"
 * @import { Place, Route } from "./routes.mjs"
 * @import { Row } from "./table.mjs"
 */

/** @param {ReadonlyMap<Place, Started>} places @param {(text: string) => void} note */
export function createBook(places, note) {
  const names = [...places.keys()];
  const routes = allRoutes(names);
  /** @type {Partial<Record<Place, Report>>} */
  const reports = {};
  /** @type {Map<string, Baseline>} by publisher and subscription */
  const baselines = new Map();
  /** @type {Record<string, RaceReport>} */
  let races = {};

  /** @param {(name: Place) => Promise<unknown>} act */
  const each = (act) => Promise.all(names.map(act));
  const remote = (/** @type {Place} */ name) => /** @type {Started} */ (places.get(name)).remote;
  /** Of what is dead, undefined. @param {Place} name @param {string} what */
  const answerOf = (name, what) =>
    remote(name)
      .ask(what)
      .catch(() => undefined);
  const isStarting = (/** @type {Place} */ name) => remote(name).starting;
  const isDead = (/** @type {Place} */ name) => remote(name).dead !== undefined;
  /** What has never been there, and never will be, has no routes. @param {Route} route */
  const isLeftOut = ({ from, to }) => [from, to].some((name) => isStarting(name) && isDead(name));
  /** What a place that is not connected is. @param {Place[]} some */
  const awayOf = (...some) => some.map((name) => reports[name]?.status ?? "ready").find((status) => status !== "ready");

  return {
    /**
     * Starts the publishers, and makes the routes live: from that moment on, each has to get everything. `some`: those between
     * places that are there already.
     */
    begin() {
      const publishing = new Map(names.map((name) => [name, remote(name).ask("startPublishing")]));
      const subscribed = new Map(
        names.flatMap((to) =>
          filtersOf(to, names).map((filter) => [subscriptionKey(to, filter), remote(to).ask("subscribe", filter)]),
        ),
      );
      /** @param {Route} route */
      const goLive = async (route) => {
        try {
          await Promise.all([publishing.get(route.from), subscribed.get(route.key)]);
          const { published } = /** @type {Report} */ (await remote(route.from).ask("report"));
          baselines.set(`${route.from} ${route.key}`, published);
        } catch (error) {
          if (!isLeftOut(route)) throw error;
        }
      };
      const going = new Map(routes.map((route) => [route, goLive(route)]));
      const there = routes.filter(({ from, to }) => !isStarting(from) && !isStarting(to));
      return { some: Promise.all(there.map(async (route) => going.get(route))), all: Promise.all(going.values()) };
    },

    /** Stops the publishers; resolves when no publish is under way any more. What was about to start is left out. */
    async stop() {
      await each(async (name) => {
        if (isStarting(name)) await places.get(name)?.end();
        // What is dead has stopped.
        else await answerOf(name, "stopPublishing");
      });
      await answerOf("process", "stopRace");
    },

    /** Asks every place for its account. One that is gone has left its last. */
    async update() {
      await each(async (name) => {
        if (isStarting(name)) return;
        const report = /** @type {Report | undefined} */ (await answerOf(name, "report"));
        if (report === undefined) return;
        reports[name] = report;
        for (const text of report.notes) note(`${name}: ${text}`);
      });
      races = (await answerOf("process", "raceReport")) ?? races;
    },

    /** The routes, the control, and the control's counterpart. @param {boolean} final @returns {Row[]} */
    rows(final) {
      const rows = routes
        .filter((route) => !isLeftOut(route))
        .map((route) => {
          const { from, to } = route;
          const baseline = baselines.get(`${from} ${route.key}`);
          const broken = isDead(from) || isDead(to);
          const figures = figuresOf(route, reports[from], reports[to], baseline, final && !broken);
          const starting = isStarting(from) || isStarting(to);
          const away = awayOf(from, to);
          const row = toRow(routeLabel(route), routeTopic(route), figures, { broken, starting, away, final });
          return Object.assign(row, { from, to });
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
        toRow("the same, awaited", "", awaited, { broken, starting: false, away: undefined, final }),
      ];
    },

    /** Whether a place is not there yet. */
    starting: () => names.some((name) => isStarting(name) && !isDead(name)),

    /** What is wrong with the final rows, in sentences. @param {readonly Row[]} rows @returns {string[]} */
    verdict(rows) {
      const interrupted = rows.filter(({ status }) => status === "interrupted").length;
      const dead = names.flatMap((name) => (isStarting(name) ? [] : (remote(name).dead?.message ?? [])));
      return [
        ...(interrupted > 0 ? [`${dead.join(", ")}: ${interrupted} routes were interrupted`] : []),
        ...rows.filter(({ state }) => state === "bad").map(sentence),
      ];
    },
  };
}

/**
 * @param {string} label @param {string} topic @param {Figures} figures
 * @param {{ broken: boolean, starting: boolean, away: string | undefined, final: boolean }} how
 * @returns {Row}
 */
function toRow(label, topic, figures, { broken, starting, away, final }) {
  const row = (/** @type {Row["state"]} */ state, /** @type {string} */ status) => ({
    label,
    topic,
    figures,
    state,
    status,
  });
  if (broken) return row("broken", "interrupted");
  if (!figures.began) return row("wait", final ? "never live" : starting ? "starting" : "subscribing");
  if (figures.trouble !== undefined) return row("bad", figures.trouble);
  if (figures.lost > 0) return row("bad", "LOST");
  if (away !== undefined && !final)
    return away === "interrupted" ? row("broken", "reconnecting") : row("wait", "connecting");
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
