/**
 * A process that has the page: headless Chromium, driven by playwright-core, over whose pipe the page is asked. Started by
 * `main.mjs`, which it ends with; and when it ends, however it does, that pipe is closed, and Chromium ends.
 *
 * It is a process of its own because loading playwright-core takes a third of a second, in which `main.mjs` could do nothing.
 */
import process from "node:process";
import { importMap, launchBrowser, serveFiles } from "../../scripts/browser.mjs";
import { now, surelyAhead } from "./clock.mjs";
import { answerParent, tellParent } from "./ipc.mjs";

/**
 * @import { Page } from "playwright-core"
 * @import { Handle } from "./control-path.mjs"
 * @import { Setup } from "./place.mjs"
 *
 * @typedef {{ place: typeof import("./page.mjs") }} PageGlobals what the page has in `globalThis`
 */

const LOOKS_AT_THE_CLOCK = 5;

/** @type {{ setup: Setup, url: string }} */
const { setup, url } = JSON.parse(process.argv[2] ?? "");
let ending = false;

/** @param {string} why */
function fail(why) {
  if (ending) return;
  ending = true;
  process.send?.({ signal: { why } }, () => process.exit(1));
}

async function start() {
  // Signals are for the parent to decide on.
  const browser = await launchBrowser({ handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false });
  browser.once("disconnected", () => fail("Chromium ended"));
  const server = await serveFiles({
    pages: { "/": await html() },
    only: ["/packages/pubsub/dist/", "/packages/hub/dist/", "/examples/live-table/"],
  });
  const page = await browser.newPage();
  page.once("crash", () => fail("it crashed"));
  page.on("pageerror", (error) => process.stderr.write(`${error.message}\n`));
  await page.goto(server.url);
  // The page has loaded all that it will ever want.
  await server.close();
  await page.evaluate(
    (options) => /** @type {PageGlobals} */ (/** @type {unknown} */ (globalThis)).place.begin(options),
    { url, setup, ahead: surelyAhead(await looksAtTheClock(page)) },
  );
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  tellParent({ signal: { pid: processInfo.find(({ type }) => type === "browser")?.id } });
  return { browser, page };
}

/** @param {Page} page */
async function looksAtTheClock(page) {
  const looks = [];
  while (looks.length < LOOKS_AT_THE_CLOCK) {
    const before = now();
    const theirs = await page.evaluate(() =>
      /** @type {PageGlobals} */ (/** @type {unknown} */ (globalThis)).place.now(),
    );
    looks.push({ before, theirs, after: now() });
  }
  return looks;
}

async function html() {
  const map = JSON.stringify(await importMap());
  return `<!doctype html><title>live table</title><link rel="icon" href="data:,"><script type="importmap">${map}</script>
<script type="module">import * as place from "/examples/live-table/page.mjs"; globalThis.place = place;</script>`;
}

const starting = start();
starting.catch((/** @type {Error} */ error) => fail(error.message.split("\n", 1)[0] ?? ""));

/** @param {string} what @param {unknown} [arg] */
async function ask(what, arg) {
  // What did not start is about to end, which says more than an answer could.
  const { page } = await starting.catch(() => new Promise(() => undefined));
  // As JSON: playwright would wrap every number of it.
  const answer = await page.evaluate(
    (/** @type {{ what: string, arg: string }} */ { what, arg }) =>
      /** @type {PageGlobals} */ (/** @type {unknown} */ (globalThis)).place.answer(what, arg),
    { what, arg: JSON.stringify(arg ?? null) },
  );
  return JSON.parse(answer);
}

/** @type {Handle} */
const handle = {};
for (const what of ["startPublishing", "stopPublishing", "subscribe", "report"]) handle[what] = (arg) => ask(what, arg);
answerParent(handle, async () => {
  ending = true;
  await ask("close");
  const { browser } = await starting;
  await browser.close();
});
