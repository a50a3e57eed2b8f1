/** A place in a process of its own, on the control path: Node's channel to the parent, with which it ends. */
import process from "node:process";
import { answering } from "./control-path.mjs";

/** @param {unknown} message */
export function tellParent(message) {
  if (process.connected) process.send?.(message);
}

/**
 * @param {import("./control-path.mjs").Handle} handle
 * @param {() => Promise<void>} end ends the place, when the parent asks for it; the process then ends by itself
 */
export function answerParent(handle, end) {
  // Where Ctrl-C reaches every process of the terminal all the same. Here the parent decides.
  process.on("SIGINT", () => undefined);
  process.on("disconnect", () => process.exit(1));
  const answer = answering(
    {
      ...handle,
      async end() {
        await end();
        // After the answer to this very question has gone out.
        setImmediate(() => {
          process.removeAllListeners("disconnect");
          process.disconnect();
        });
      },
    },
    tellParent,
  );
  process.on("message", (message) => void answer(message));
}
