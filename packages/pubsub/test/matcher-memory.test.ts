// What was matched is remembered; what was removed must not be held by that.
import { expect, test } from "vitest";
import { inOwnProcess } from "./pubsub-support.ts";

test.each([
  ["a pattern", `"a.*"`],
  ["a pattern with one id", `"a.*", "1"`],
  ["every id of a type", `"a." + n`],
  ["one id of a type", `"a." + n, "1"`],
])("a stopped listener of %s is let go of, though nothing is published any more", async (_, filter) => {
  const result = await inOwnProcess(
    `
    import { createPubSub } from "@alkdev/pubsub";
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const pubsub = createPubSub();
    // There are others, so that there are lists and answers put together.
    await pubsub.on("**", () => {});
    for (let n = 0; n < 5; n++) await pubsub.on("a." + n, () => {});
    let calls = 0;
    async function listenOnce(n) {
      const listener = () => void calls++;
      const stop = await pubsub.on(${filter}, listener);
      for (const id of ["1", "2", "1"]) await pubsub.publish("a." + n, id, null);
      stop();
      return new WeakRef(listener);
    }
    const refs = [];
    for (let n = 0; n < 5; n++) refs.push(await listenOnce(n));
    const left = () => refs.filter((ref) => ref.deref() !== undefined).length;
    // The engine itself may keep the last one for a while.
    for (let i = 0; i < 200 && left() > 1; i++) {
      await turn();
      gc();
      await turn();
    }
    console.log(JSON.stringify({ calls, left: left() }));`,
    64,
  );
  expect(result["calls"]).toBeGreaterThanOrEqual(10);
  expect(result["left"]).toBeLessThanOrEqual(1);
});
