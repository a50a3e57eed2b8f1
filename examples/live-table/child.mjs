/** A child process: its standard input and output are its link to the hub. Started by `main.mjs`, which it ends with. */
import process from "node:process";
import { createParentProcessEventTarget } from "@alkdev/pubsub/event-target-stdio";
import { answerParent } from "./ipc.mjs";
import { createPlace } from "./place.mjs";
import { nodeReadings } from "./readings.mjs";

/** @type {{ setup: import("./place.mjs").Setup }} */
const { setup } = JSON.parse(process.argv[2] ?? "");
const place = createPlace("child", createParentProcessEventTarget(), setup, nodeReadings("child"));
answerParent(
  {
    ...place.handle,
    async startPublishing() {
      await place.handle.startPublishing();
      // As any library may do: it goes out in the midst of the events, and costs none of them.
      console.log("a line that is no event");
    },
  },
  () => place.close(),
);
