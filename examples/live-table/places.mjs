/** Starts the hub and the places, and ends them. */
import { fork } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { MessageChannel, Worker } from "node:worker_threads";
import { createHub, createHubServer } from "@alkdev/hub";
import { stdioChannel } from "@alkdev/pubsub/event-target-stdio";
import { workerChannel } from "@alkdev/pubsub/event-target-worker";
import { findProgram, PROGRAMS } from "../../scripts/programs.mjs";
import { localRemote, Remote } from "./control-path.mjs";
import { createPlace } from "./place.mjs";
import { nodeReadings } from "./readings.mjs";
import { createSlowPath } from "./slow-path.mjs";

/**
 * @import { StdioOptions } from "node:child_process"
 * @import { Hub } from "@alkdev/hub"
 * @import { Setup } from "./place.mjs"
 * @typedef {{ remote: Remote, end: () => Promise<void>, kill: () => void, pid?: () => number | undefined }} Started
 * @typedef {(text: string) => void} Note
 */

/** How much slower the way from the control's subscriber to the hub is. */
export const DELAY_MS = 1;
/** How long a place may take to end before it is ended. */
const END_TIMEOUT_MS = 3000;

/**
 * A hub that listens on the port, or on a free one if it is in use; with the slow path to it beside it.
 *
 * @param {number} port @param {Note} note
 */
export async function startHub(port, note) {
  const hub = createHub({ onError: (error) => note(`hub: ${/** @type {Error} */ (error).message}`) });
  const server = await createHubServer({ hub, port }).catch((error) => {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EADDRINUSE") throw error;
    return createHubServer({ hub, port: 0 });
  });
  const slow = await createSlowPath(server.port, DELAY_MS);
  return {
    hub,
    port: server.port,
    moved: port !== 0 && server.port !== port,
    url: server.url,
    slowUrl: `ws://127.0.0.1:${slow.port}`,
    async close() {
      await slow.close();
      await hub.close();
      await server.close();
    },
  };
}

/** This process, on the hub's own event target. @param {Hub} hub @param {Setup} setup @returns {Started} */
export function startMain(hub, setup) {
  const place = createPlace("main", hub.eventTarget, setup, nodeReadings("main"));
  const remote = localRemote(place.handle);
  return { remote, end: () => place.close(), kill: () => undefined };
}

/** A worker thread, linked to the hub over its message port. @param {Hub} hub @param {Setup} setup @param {Note} note @returns {Started} */
export function startWorker(hub, setup, note) {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL("worker.mjs", import.meta.url), {
    workerData: { control: port2, setup },
    transferList: [port2],
    stderr: true,
  });
  hub.connect(workerChannel(worker), "worker");
  const remote = new Remote((message) => port1.postMessage(message));
  port1.on("message", (message) => remote.receive(message));
  worker.stderr.on("data", (data) => note(`worker: ${String(data).trim()}`));
  let why = "";
  worker.on("error", (error) => (why = `: ${error.message}`));
  return supervised("worker", remote, {
    ended: new Promise((resolve) => worker.once("exit", (code) => resolve(`exit code ${code}${why}`))),
    kill: () => void worker.terminate(),
    release: () => port1.close(),
    note,
  });
}

/** A process of its own, over WebSocket. @param {string} url @param {string} slowUrl @param {Setup} setup @param {Note} note @returns {Started} */
export function startProcess(url, slowUrl, setup, note) {
  return forked("process", "process.mjs", { setup, url, slowUrl }, ["ignore", "ignore", "pipe", "ipc"], note).started;
}

/**
 * A child process, over its standard input and output.
 *
 * @param {Hub} hub @param {Setup} setup
 * @param {{ note: Note, say: Note }} tell `say` is told what the child prints in between
 * @returns {Started}
 */
export function startChild(hub, setup, { note, say }) {
  const { child, started } = forked("child", "child.mjs", { setup }, ["pipe", "pipe", "pipe", "ipc"], note);
  hub.connect(stdioChannel(child, { onStray: (line) => say(`child printed: ${line}`) }), "child");
  return started;
}

/** Why there can be no page, or undefined if there can. @param {Setup["provoked"]} provoked */
export function whyNoPage(provoked) {
  const { package: name } = /** @type {{ package: string }} */ (PROGRAMS["chromium"]);
  if (findProgram("chromium") === undefined || (provoked?.what === "without" && provoked.place === "chromium"))
    return `the page is left out, as there is no Chromium: sudo apt-get install --no-install-recommends ${name}`;
  try {
    import.meta.resolve("playwright-core");
  } catch {
    return "the page is left out, as there is no playwright-core: npm install";
  }
  return undefined;
}

/**
 * A page in a browser, over WebSocket. Nothing waits until it is there: `remote.starting` says so, and what it is asked
 * meanwhile waits.
 *
 * @param {string} url @param {Setup} setup
 * @param {{ note: Note, say: Note }} tell `say` is told when it is there
 * @returns {Started}
 */
export function startPage(url, setup, { note, say }) {
  const { started, last } = forked("page", "page-host.mjs", { setup, url }, ["ignore", "ignore", "pipe", "ipc"], note);
  const { remote } = started;
  /** Chromium's. @type {number | undefined} */
  let pid;
  remote.starting = true;
  remote.onSignal = (signal) => {
    if (signal.why !== undefined) {
      last.words = `: ${signal.why}`;
      return;
    }
    ({ pid } = signal);
    remote.starting = false;
    say(`the page is there, in a browser that is pid ${pid}`);
  };
  return { ...started, pid: () => pid };
}

/**
 * A place in a process of its own, whose control path is Node's channel to it.
 *
 * @param {string} name @param {string} file
 * @param {{ setup: Setup } & Record<string, unknown>} options
 * @param {StdioOptions} stdio @param {Note} note
 */
function forked(name, file, options, stdio, note) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(options)], {
    stdio,
    // Ctrl-C in a terminal goes to every process of its group: it is for this one to decide what comes of it.
    detached: process.platform !== "win32",
  });
  // To a process that is gone nothing can be sent; its exit says so.
  const remote = new Remote((message) => void child.send(message, () => undefined));
  child.on("message", (message) => remote.receive(message));
  child.stderr?.on("data", (data) => note(`${name}: ${String(data).trim()}`));
  /** Why it is about to end, if it says so. */
  const last = { words: "" };
  /** @type {Started} */
  const started = {
    ...supervised(name, remote, {
      ended: new Promise((resolve) => {
        child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}${last.words}` : signal));
        child.once("error", (error) => resolve(error.message));
      }),
      abandon: () => {
        if (child.connected) child.disconnect();
      },
      kill: () => void child.kill("SIGKILL"),
      release: () => undefined,
      note,
    }),
    pid: () => child.pid,
  };
  return { child, started, last };
}

/**
 * A place that can die.
 *
 * @param {string} name
 * @param {Remote} remote
 * @param {{ ended: Promise<string>, abandon?: () => void, kill: () => void, release: () => void, note: Note }} how `abandon`
 *   ends one that is still starting
 * @returns {Started}
 */
function supervised(name, remote, { ended, abandon, kill, release, note }) {
  let ending = false;
  void ended.then((reason) => {
    release();
    const text = remote.starting ? `${name} did not start (${reason})` : `${name} died (${reason})`;
    if (!ending) note(`${text}; ${remote.starting ? "it is left out" : "its routes are interrupted"}`);
    remote.die(text);
  });
  return {
    remote,
    kill,
    async end() {
      if (remote.dead !== undefined) return;
      ending = true;
      const late = setTimeout(() => {
        // What is just starting is not expected to.
        if (!remote.starting) note(`${name} did not end by itself within ${END_TIMEOUT_MS} ms and was ended`);
        kill();
      }, END_TIMEOUT_MS);
      // Whether the answer or the end comes first does not matter.
      if (remote.starting) abandon?.();
      else await remote.ask("end").catch(() => undefined);
      await ended;
      clearTimeout(late);
    },
  };
}
