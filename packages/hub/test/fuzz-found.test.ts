// What fuzzing found, each as a frame that is written out.
import { createHub } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { createMessagePortEventTarget, messagePortChannel } from "@alkdev/pubsub/event-target-message-port";
import { MessageChannel } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { expect, onTestFinished, test } from "vitest";
import { openClient, openHub, over, take } from "./fixtures/open.ts";
import { dial, envelope } from "./fixtures/peer.ts";

/** Shakes hands with whoever has the other port. */
async function shakeHands(port: MessagePort): Promise<void> {
  await new Promise<void>((resolve) =>
    port.on("message", ({ type, payload }: { type: string; payload: { nonce: string } }) => {
      if (type !== "$hello") return;
      port.postMessage(welcomeFor(payload.nonce));
      resolve();
    }),
  );
  port.postMessage(envelope("$hello", { nonce: "n", versions: [1], limits: { frame: 1 << 20 }, batch: false }));
}

function welcomeFor(nonce: string, members: object = {}): object {
  const limits = { frame: 1 << 20 };
  return envelope("$welcome", { nonce, version: 1, session: "s", resumed: false, limits, ...members });
}

test("an event whose payload is undefined, which clones can carry and JSON cannot, is refused to all and passed on to nobody", async () => {
  const server = await openHub();
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port1.close());
  server.hub.connect(messagePortChannel(port2));
  const watcher = openClient(server.url, {}, { onGap: "ignore" });
  const events = await watcher.subscribe("a");
  await shakeHands(port1);
  // One more than a link survives of frames that are no envelopes.
  for (let i = 0; i < 16; i++) port1.postMessage({ type: "a", id: "", payload: undefined });
  port1.postMessage(envelope("a", "last"));
  expect(await take(events, 1)).toMatchObject([{ payload: "last" }]);
  expect(server.hub.status().malformed).toBe(16);
  expect(watcher.errors).toEqual([]);
});

test("a payload whose toJSON returns nothing rejects alone, and the acknowledgements of others stay in step", async () => {
  const server = await openHub();
  const client = openClient(server.url);
  const events = await client.subscribe("a");
  await expect(client.publish("a", "", { toJSON: () => undefined })).rejects.toMatchObject({ code: "PAYLOAD" });
  await client.publish("a", "", 1);
  expect(await take(events, 1)).toMatchObject([{ payload: 1 }]);
  expect(server.hub.status().malformed).toBe(0);
});

test("a refusal whose message is no text is malformed, and no error of another class", async () => {
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port1.close());
  let report: (error: unknown) => void = () => undefined;
  const reported = new Promise<unknown>((resolve) => (report = resolve));
  const client = over(createMessagePortEventTarget(port2, { onError: (error) => report(error) }));
  await shakeHands(port1);
  await client.reached("ready");
  port1.postMessage(envelope("$refused", { ref: 1, code: "LIMIT", message: { toString: null } }));
  expect(await reported).toMatchObject({ name: "PubSubError", code: "MALFORMED" });
});

test.each([
  ["a session that is no text", { session: { toString: null } }],
  ["a resume window that is no number", { resumeWindow: { valueOf: 1, toString: 1 } }],
])("a welcome with %s is malformed, and the next one counts", async (_, welcome) => {
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port1.close());
  const errors: unknown[] = [];
  const client = over(createMessagePortEventTarget(port2, { onError: (error) => errors.push(error) }), errors);
  let first = true;
  // Its hello is said again until it is welcomed; the answer to the first one is wrong.
  port1.on("message", ({ type, payload }: { type: string; payload: { nonce: string } }) => {
    if (type !== "$hello") return;
    port1.postMessage(welcomeFor(payload.nonce, first ? welcome : {}));
    first = false;
  });
  await client.reached("ready");
  expect(errors).toMatchObject([{ name: "PubSubError", code: "MALFORMED" }]);
});

test("a group has a name of at most 1,024 characters, so that no link can fill the hub with them", async () => {
  const server = await openHub();
  const peer = dial(server.url);
  await peer.shakeHands();
  const group = "g".repeat(1024);
  peer.send(envelope("$subscribe", { ref: 1, type: "a", group: `${group}g` }));
  peer.send(envelope("$subscribe", { ref: 2, type: "a", group }));
  await peer.next("$subscribed", ({ ref }) => ref === 2);
  expect(server.hub.status()).toMatchObject({ malformed: 1, subscriptions: 1 });
  const client = openClient(server.url);
  await expect(client.subscribe("a", { group: `${group}g` })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  const hub = createHub();
  await expect(
    createPubSub({ eventTarget: hub.eventTarget, onError: () => undefined }).subscribe("a", { group: `${group}g` }),
  ).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await hub.close();
});
