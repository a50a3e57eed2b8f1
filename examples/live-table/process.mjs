/** A process of its own: a spoke of the hub over WebSocket. Started by `main.mjs`, which it ends with. */
import process from "node:process";
import { createHubEventTarget } from "@alkdev/hub";
import { answering } from "./control-path.mjs";
import { createPlace } from "./place.mjs";
import { startRace } from "./race.mjs";

const [url = "", slowUrl = "", run = ""] = process.argv.slice(2);
const send = (/** @type {unknown} */ message) => {
  if (process.connected) process.send?.(message);
};

// Ctrl-C in a terminal goes to every process in it. Here the parent decides.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit(1));

const place = createPlace("process", createHubEventTarget(url), run);
const race = startRace(slowUrl, (signal) => send({ signal }));
const handle = {
  ...place.handle,
  raceReport: race.report,
  stopRace: race.stop,
  async end() {
    await race.stop();
    await place.close();
    setImmediate(() => {
      process.removeAllListeners("disconnect");
      process.disconnect();
    });
  },
};
const answer = answering(handle, send);
process.on("message", (message) => void answer(message));
