/** A process of its own: a spoke of the hub over WebSocket. Started by `main.mjs`, which it ends with. */
import process from "node:process";
import { createHubEventTarget } from "@alkdev/hub";
import { answerParent, tellParent } from "./ipc.mjs";
import { createPlace } from "./place.mjs";
import { startRace } from "./race.mjs";
import { nodeReadings } from "./readings.mjs";

/** @type {{ setup: import("./place.mjs").Setup, url: string, slowUrl: string }} */
const { setup, url, slowUrl } = JSON.parse(process.argv[2] ?? "");
const place = createPlace("process", createHubEventTarget(url), setup, nodeReadings("process"));
const race = startRace(slowUrl, (signal) => tellParent({ signal }));
answerParent({ ...place.handle, raceReport: race.report, stopRace: race.stop }, async () => {
  await race.stop();
  await place.close();
});
