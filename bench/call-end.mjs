// The far end of the calls that are measured: a worker thread that answers over its own PubSub, or as a hub's server.
import { parentPort, workerData } from "node:worker_threads";
import { createPubSub } from "@alkdev/pubsub";
import { createOperations, createRouter } from "@alkdev/operations";

/** Answers by hand: what a call is at least. */
const answerAsks = (pubsub) => pubsub.on("ask", ({ id, payload }) => void pubsub.publish("answer", id, payload));

const { over, by } = workerData;
if (over === "worker") {
  const { createMainThreadEventTarget } = await import("@alkdev/pubsub/event-target-worker");
  const pubsub = createPubSub({ eventTarget: createMainThreadEventTarget() });
  if (by === "hand") await answerAsks(pubsub);
  else await createOperations(pubsub).handle("echo", (input) => input);
} else {
  const { createHubServer } = await import("@alkdev/hub");
  const { hub, url } = await createHubServer({ port: 0 });
  if (by === "hand") await answerAsks(createPubSub({ eventTarget: hub.eventTarget }));
  else {
    const router = createRouter();
    router.join(hub);
    await router.operations.handle("echo", (input) => input);
  }
  parentPort.postMessage(url);
}
