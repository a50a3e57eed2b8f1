/** What the live table counts on: what a resolved publish and a live subscription say of each other. */
import { MessageChannel } from "node:worker_threads";
import { createHub } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { createMainThreadEventTarget, workerChannel } from "@alkdev/pubsub/event-target-worker";
import { expect, onTestFinished, test } from "vitest";

test("a publish that passed the hub before a subscription of the same link resolves before that is live", async () => {
  const hub = createHub();
  onTestFinished(() => hub.close());
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port1.close());
  hub.connect(workerChannel(port1));
  const eventTarget = createMainThreadEventTarget({ port: port2 });
  onTestFinished(() => eventTarget.close());
  const pubsub = createPubSub({ eventTarget });
  await pubsub.subscribe("warm.up");

  // Both arrive at the hub in one turn: the event first, and the acknowledgement is due only after the turn.
  const order: string[] = [];
  const delivered: unknown[] = [];
  await Promise.all([
    pubsub.publish("host.load", "a", 1).then(() => order.push("published")),
    pubsub.on("host.load", "a", ({ payload }) => void delivered.push(payload)).then(() => order.push("live")),
  ]);
  await pubsub.publish("host.load", "a", 2);

  expect(order).toEqual(["published", "live"]);
  expect(delivered).toEqual([2]);
});
