/** The worker thread: a spoke of the hub over its message port. */
import { workerData } from "node:worker_threads";
import { createMainThreadEventTarget } from "@alkdev/pubsub/event-target-worker";
import { answering } from "./control-path.mjs";
import { createPlace } from "./place.mjs";
import { nodeReadings } from "./readings.mjs";

/** @type {{ control: import("node:worker_threads").MessagePort, setup: import("./place.mjs").Setup }} */
const { control, setup } = workerData;
const place = createPlace("worker", createMainThreadEventTarget(), setup, nodeReadings("worker"));
const handle = {
  ...place.handle,
  async end() {
    await place.close();
    // After the answer to this very question has gone out.
    setImmediate(() => control.close());
  },
};
const answer = answering(handle, (message) => control.postMessage(message));
control.on("message", (message) => void answer(message));
