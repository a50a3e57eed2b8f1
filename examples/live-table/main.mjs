#!/usr/bin/env node
/**
 * Events of this machine through one hub, from several places to all of them, and what became of every one.
 *
 *     npm start                     until Ctrl-C
 *     npm start -- --seconds 5      exit code 0 if nothing was lost
 *     npm start -- --no-page        without the page in a browser, for which Chromium is needed
 *
 * Which place publishes and subscribes to what: `routes.mjs`. What a place does: `place.mjs`. What counts as lost:
 * `account.mjs`. The control, which does lose: `race.mjs`.
 */
import { randomBytes } from "node:crypto";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { createPubSub } from "@alkdev/pubsub";
import { createBook } from "./book.mjs";
import { HELP, OptionError, parseOptions } from "./options.mjs";
import { startChild, startHub, startMain, startPage, startProcess, startWorker, whyNoPage } from "./places.mjs";
import { publishRound } from "./race.mjs";
import { createScreen } from "./screen.mjs";
import { count, header, palette, printable, rowLine } from "./table.mjs";
import { oneLine, picture } from "./view.mjs";

const DRAW_EVERY_MS = 250;
/** After the publishers have stopped: how long nothing may change until what is missing counts as lost. */
const QUIET_MS = 2000;
const ASK_AGAIN_MS = 25;
/** npm passes Ctrl-C on to us, who have had it from the terminal already. */
const SAME_CTRL_C_MS = 400;
/** Nothing is left to do by then; what keeps the process alive is a mistake. */
const LINGER_MS = 2000;

/**
 * @import { Setup } from "./place.mjs"
 * @import { Started } from "./places.mjs"
 * @import { Place } from "./routes.mjs"
 *
 * @typedef {{ seconds: number | undefined, port: number, page: boolean }} Options
 */

/**
 * For the tests, to show that a loss and a death are seen: `LIVE_TABLE_PROVOKE="resubscribe main process.sample:worker"`,
 * `"stop process process.sample:main"`, `"die worker"` (once somebody publishes `provoke.death:worker`), `"without chromium"`.
 */
const PROVOKED = (() => {
  const [what = "", place, topic] = (process.env["LIVE_TABLE_PROVOKE"] ?? "").split(" ");
  return what === "" ? undefined : { what, place, topic };
})();

/** @param {Options} options @returns {Promise<number>} the exit code */
async function run(options) {
  const { stdout } = process;
  const live = stdout.isTTY && process.env["TERM"] !== "dumb";
  const colours = palette(live && (process.env["NO_COLOR"] ?? "") === "");
  const print = (/** @type {string} */ text) => void stdout.write(`${text}\n`);
  // Whoever reads the output may go away at any time (`| head`).
  stdout.on("error", () => process.exit(1));

  /** @type {Set<string>} What went wrong. */
  const notes = new Set();
  const note = (/** @type {string} */ raw) => {
    const text = printable(raw);
    if (notes.has(text) || notes.size >= 50) return;
    notes.add(text);
    if (!live) print(text);
  };
  /** @type {string[]} What anyone published as demo.note, or printed. */
  const said = [];
  const say = (/** @type {string} */ raw) => {
    const text = printable(raw.slice(0, 500));
    if (said.push(text) > 5) said.shift();
    if (!live) print(text);
  };
  /** @type {Map<string, Record<string, number>>} The latest readings, as they came in. */
  const readings = new Map();

  const stop = onCtrlC();
  const mark = randomBytes(4).toString("hex");
  const hub = await startHub(options.port, note);
  const withoutPage = options.page ? whyNoPage(PROVOKED) : "";
  if (withoutPage) note(withoutPage);
  /** @type {Setup} */
  const setup = {
    places: [
      "main",
      "worker",
      "process",
      "child",
      ...(withoutPage === undefined ? [/** @type {const} */ ("page")] : []),
    ],
    run: mark,
    provoked: PROVOKED,
  };
  // What takes longest to start comes first, but for the page, which the others do not wait for.
  const other = startProcess(hub.url, hub.slowUrl, setup, note);
  const child = startChild(hub.hub, setup, { note, say });
  const worker = startWorker(hub.hub, setup, note);
  /** @type {Map<Place, Started>} */
  const places = new Map([
    ["main", startMain(hub.hub, setup)],
    ["worker", worker],
    ["process", other],
    ["child", child],
  ]);
  if (setup.places.includes("page")) places.set("page", startPage(hub.url, setup, { note, say }));
  const book = createBook(places, note);
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;

  const where = `hub on http://localhost:${hub.port}${hub.moved ? ` (port ${options.port} is in use)` : ""}`;
  const url = hub.port === 8080 ? "" : ` --url ws://localhost:${hub.port}`;
  const hints = [`npx pubsub tail 'host.*'${url}`, `echo '{"note":"hi"}' | npx pubsub publish demo.note me -${url}`];
  const screen = live ? createScreen(stdout) : undefined;
  process.on("exit", () => {
    screen?.leave();
    for (const place of places.values()) place.kill();
  });
  if (!live)
    for (const text of [
      where,
      "in another terminal:",
      ...hints.map((hint) => `  ${hint}`),
      `the process of its own is pid ${other.pid?.()}, the child process ${child.pid?.()}`,
    ])
      print(text);

  // What is only shown, not measured.
  const display = createPubSub({
    eventTarget: hub.hub.eventTarget,
    onError: (error) => note(String(error)),
    onGap: "ignore",
  });
  await display.on("demo.note", ({ id, payload }) => {
    say(`demo.note:${id} ${JSON.stringify(payload)}`);
  });
  await display.on("**", ({ type, id, payload }) => {
    const reading = /** @type {(Record<string, number> & { run?: unknown }) | null} */ (payload);
    if (reading?.run === mark && type !== "process.sample") readings.set(`${type}:${id}`, reading);
  });
  other.remote.onSignal = (signal) => {
    publishRound(display, signal).catch((error) => note(String(error)));
  };

  let phase = "starting";
  const draw = () =>
    screen?.draw(
      picture(
        {
          where,
          hints,
          phase: phase === "live" && book.starting() ? "live, the page is starting" : phase,
          seconds: Math.floor(seconds()),
          readings,
          pids: Array.from(places.values(), ({ pid }) => pid?.()),
          rows: book.rows(false),
          notes: [...notes].slice(-4),
          said,
        },
        stdout,
        colours,
      ),
    );
  draw();
  stdout.on("resize", draw);
  const drawing = repeat(DRAW_EVERY_MS, async () => {
    await book.update();
    draw();
  });
  const telling = repeat(live ? 0 : 1000, () => {
    if (phase === "live") print(oneLine(book.rows(false), Math.round(seconds())));
  });

  let failed = false;
  let ending = false;
  let allLive = false;
  const { some, all } = book.begin();
  some.then(
    () => {
      if (!ending) phase = "live";
    },
    // The other has it too.
    () => undefined,
  );
  const begun = all.then(
    () => {
      if (ending) return;
      allLive = true;
      if (options.seconds !== undefined) setTimeout(stop.now, options.seconds * 1000).unref();
    },
    (error) => {
      // Where it was ended meanwhile, that is why.
      if (ending) return;
      failed = true;
      note(`not every route became live: ${/** @type {Error} */ (error).message}`);
      if (options.seconds !== undefined) stop.now();
    },
  );

  await stop.asked;
  await Promise.race([begun, sleep(500)]);
  ending = true;
  if (!allLive && !failed) note("it was ended before every route was live");

  // The publishers stop; then the subscribers are asked until they have everything, or nothing more comes.
  phase = "waiting for what is on its way";
  draw();
  await book.stop();
  let before = "";
  for (let changedAt = performance.now(); performance.now() - changedAt < QUIET_MS; await sleep(ASK_AGAIN_MS)) {
    await book.update();
    const rows = book.rows(false);
    // To and from a place that is gone nothing more comes.
    if (rows.every(({ figures, status }) => figures.inFlight === 0 || status === "interrupted")) break;
    const now = JSON.stringify(rows);
    if (now !== before) changedAt = performance.now();
    before = now;
  }
  drawing();
  telling();
  stdout.off("resize", draw);

  const rows = book.rows(true);
  const problems = book.verdict(rows);
  if (failed) problems.push("not every route became live");
  const took = seconds().toFixed(1);
  await display.close();
  await Promise.all(Array.from(places.values(), (place) => place.end()));
  await hub.close();
  screen?.leave();

  const counted = rows.slice(0, -2);
  const sum = (/** @type {"published" | "inGaps"} */ of) =>
    count(counted.reduce((total, { figures }) => total + figures[of], 0));
  const gaps = sum("inGaps") === "0" ? "" : `, ${sum("inGaps")} of them missing inside reported gaps`;
  const fine = `nothing was lost${gaps === "" ? "" : " silently"}: ${sum("published")} deliveries on ${counted.length} routes in ${took} s${gaps}`;
  for (const text of [
    live ? where : "",
    header(colours, stdout.columns),
    ...rows.map((row) => rowLine(row, colours, stdout.columns)),
    ...(live ? [...notes, ...said] : []),
    "",
    ...(problems.length === 0 ? [fine] : problems),
  ])
    print(text);
  stop.release();
  return problems.length === 0 ? 0 : 1;
}

/** The first Ctrl-C asks to stop; a second ends the process at once. */
function onCtrlC() {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  /** @type {() => void} */
  let now = () => undefined;
  const asked = new Promise((/** @type {(value: void) => void} */ resolve) => (now = resolve));
  /** @type {number | undefined} */
  let first;
  const listener = () => {
    if (first !== undefined && performance.now() - first > SAME_CTRL_C_MS) process.exit(130);
    first ??= performance.now();
    now();
  };
  for (const signal of signals) process.on(signal, listener);
  const release = () => {
    for (const signal of signals) process.off(signal, listener);
  };
  return { asked, now, release };
}

/** Repeats, one at a time, until the returned function is called; with 0 never. @param {number} ms @param {() => unknown} act */
function repeat(ms, act) {
  let busy = false;
  const turn = async () => {
    if (busy) return;
    busy = true;
    await act();
    busy = false;
  };
  const timer = setInterval(() => void turn(), ms);
  if (ms === 0) clearInterval(timer);
  return () => clearInterval(timer);
}

try {
  const { help, ...options } = parseOptions(process.argv.slice(2));
  if (help) process.stdout.write(HELP);
  else process.exitCode = await run(options);
  setTimeout(() => {
    process.stderr.write(`live-table: still alive, because of ${process.getActiveResourcesInfo().join(", ")}\n`);
    process.exit(1);
  }, LINGER_MS).unref();
} catch (error) {
  const { message } = /** @type {Error} */ (error);
  process.stderr.write(`live-table: ${message}${error instanceof OptionError ? "; --help says more" : ""}\n`);
  // Whatever had been started already ends with this process.
  process.exit(error instanceof OptionError ? 2 : 1);
}
