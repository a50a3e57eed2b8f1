#!/usr/bin/env node
/**
 * Events of this machine through one hub, from three places to three places, and what became of every one of them.
 *
 *     npm start                     until Ctrl-C
 *     npm start -- --seconds 5      exit code 0 if nothing was lost
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
import { startHub, startMain, startProcess, startWorker } from "./places.mjs";
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

/** @typedef {{ seconds: number | undefined, port: number }} Options */

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
  /** @type {string[]} What anyone published as demo.note. */
  const fromUsers = [];
  /** @type {Map<string, Record<string, number>>} The latest readings, as they came in. */
  const readings = new Map();

  const stop = onCtrlC();
  const mark = randomBytes(4).toString("hex");
  const hub = await startHub(options.port, note);
  const places = {
    main: startMain(hub.hub, mark),
    worker: startWorker(hub.hub, mark, note),
    process: startProcess(hub.url, hub.slowUrl, mark, note),
  };
  const book = createBook(places, note);
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;

  const where = `hub on http://localhost:${hub.port}${hub.moved ? ` (port ${options.port} is in use)` : ""}`;
  const url = hub.port === 8080 ? "" : ` --url ws://localhost:${hub.port}`;
  const hints = [`npx pubsub tail 'host.*'${url}`, `echo '{"note":"hi"}' | npx pubsub publish demo.note me -${url}`];
  const screen = live ? createScreen(stdout) : undefined;
  process.on("exit", () => {
    screen?.leave();
    for (const place of Object.values(places)) place.kill();
  });
  if (!live)
    for (const text of [
      where,
      "in another terminal:",
      ...hints.map((hint) => `  ${hint}`),
      `the process of its own is pid ${places.process.pid}`,
    ])
      print(text);

  // What is only shown, not measured.
  const display = createPubSub({
    eventTarget: hub.hub.eventTarget,
    onError: (error) => note(String(error)),
    onGap: "ignore",
  });
  await display.on("demo.note", ({ id, payload }) => {
    const text = printable(`demo.note:${id} ${JSON.stringify(payload)}`.slice(0, 500));
    if (fromUsers.push(text) > 5) fromUsers.shift();
    if (!live) print(text);
  });
  await display.on("**", ({ type, id, payload }) => {
    const reading = /** @type {(Record<string, number> & { run?: unknown }) | null} */ (payload);
    if (reading?.run === mark && type !== "process.sample") readings.set(`${type}:${id}`, reading);
  });
  places.process.remote.onSignal = (signal) => {
    publishRound(display, signal).catch((error) => note(String(error)));
  };

  let phase = "starting";
  const draw = () =>
    screen?.draw(
      picture(
        {
          where,
          hints,
          phase,
          seconds: Math.floor(seconds()),
          readings,
          rows: book.rows(false),
          notes: [...notes].slice(-4),
          fromUsers,
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
  const begun = book.begin().then(
    () => {
      if (phase === "starting") phase = "live";
      if (options.seconds !== undefined) setTimeout(stop.now, options.seconds * 1000).unref();
    },
    (error) => {
      // Where it was ended meanwhile, that is why.
      if (phase !== "starting") return;
      failed = true;
      note(`not every route became live: ${/** @type {Error} */ (error).message}`);
      if (options.seconds !== undefined) stop.now();
    },
  );

  await stop.asked;
  await Promise.race([begun, sleep(500)]);
  if (phase === "starting" && !failed) note("it was ended before every route was live");

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
  await Promise.all(Object.values(places).map((place) => place.end()));
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
    ...(live ? [...notes, ...fromUsers] : []),
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
