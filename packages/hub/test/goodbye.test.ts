import { createPubSub } from "@alkdev/pubsub";
import { expect, test } from "vitest";
import { openClient, openHub } from "./fixtures/open.ts";

test("a hub that closes acknowledges what it has given out before it says goodbye", async () => {
  const server = await openHub();
  const here = createPubSub({ eventTarget: server.hub.eventTarget });
  const client = openClient(server.url);
  await client.reached("ready");
  const closing = new Promise<void>((resolve) => {
    // In the task in which the event is given out, and so before its acknowledgement is sent.
    void here.on("a", () => queueMicrotask(() => void server.close().then(resolve)));
  });
  await expect(client.publish("a", "x", 1)).resolves.toBeUndefined();
  await closing;
});
