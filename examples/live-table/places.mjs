/** Starts the hub and the three places, and ends them. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { MessageChannel, Worker } from "node:worker_threads";
import { createHub, createHubServer } from "@alkdev/hub";
import { workerChannel } from "@alkdev/pubsub/event-target-worker";
import { localRemote, Remote } from "./control-path.mjs";
import { createPlace } from "./place.mjs";
import { createSlowPath } from "./slow-path.mjs";

/**
 * @import { Hub } from "@alkdev/hub"
 * @typedef {{ remote: Remote, end: () => Promise<void>, kill: () => void, pid?: number }} Started
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

/** This process, on the hub's own event target. @param {Hub} hub @param {string} run @returns {Started} */
export function startMain(hub, run) {
  const place = createPlace("main", hub.eventTarget, run);
  const remote = localRemote(place.handle);
  return { remote, end: () => place.close(), kill: () => undefined };
}

/** A worker thread, linked to the hub over its message port. @param {Hub} hub @param {string} run @param {Note} note @returns {Started} */
export function startWorker(hub, run, note) {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL("worker.mjs", import.meta.url), {
    workerData: { control: port2, run },
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

/** A process of its own, over WebSocket. @param {string} url @param {string} slowUrl @param {string} run @param {Note} note @returns {Started} */
export function startProcess(url, slowUrl, run, note) {
  const child = fork(fileURLToPath(new URL("process.mjs", import.meta.url)), [url, slowUrl, run], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  // To a process that is gone nothing can be sent; its exit says so.
  const remote = new Remote((message) => void child.send(message, () => undefined));
  child.on("message", (message) => remote.receive(message));
  child.stderr?.on("data", (data) => note(`process: ${String(data).trim()}`));
  return {
    ...supervised("process", remote, {
      ended: new Promise((resolve) => {
        child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : signal));
        child.once("error", (error) => resolve(error.message));
      }),
      kill: () => void child.kill("SIGKILL"),
      release: () => undefined,
      note,
    }),
    ...(child.pid !== undefined && { pid: child.pid }),
  };
}

/**
 * A place that can die.
 *
 * @param {string} name
 * @param {Remote} remote
 * @param {{ ended: Promise<string>, kill: () => void, release: () => void, note: Note }} how
 * @returns {Started}
 */
function supervised(name, remote, { ended, kill, release, note }) {
  let ending = false;
  void ended.then((reason) => {
    release();
    const text = `${name} died (${reason})`;
    if (!ending) note(`${text}; its routes are interrupted`);
    remote.die(text);
  });
  return {
    remote,
    kill,
    async end() {
      if (remote.dead !== undefined) return;
      ending = true;
      const late = setTimeout(() => {
        note(`${name} did not end by itself within ${END_TIMEOUT_MS} ms and was ended`);
        kill();
      }, END_TIMEOUT_MS);
      // Whether the answer or the end comes first does not matter.
      await remote.ask("end").catch(() => undefined);
      await ended;
      clearTimeout(late);
    },
  };
}
