// `own: false` skips what a target published itself; nobody else may make it skip anything.
import { createPubSub } from "@alkdev/pubsub";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { coreOf, defineEventTarget } from "@alkdev/pubsub/transport";
import type { Core } from "@alkdev/pubsub/transport";
import { expect, onTestFinished, test } from "vitest";
import { openClient, openHub, openProxy, take, until } from "./fixtures/open.ts";
import { dial, envelope } from "./fixtures/peer.ts";

function forged(payload: unknown, origin: unknown): object {
  return { ...envelope("a", payload), meta: { origin } };
}

test("a peer that marks its events with the origin of another link is not skipped there", async () => {
  const { url } = await openHub();
  const victim = openClient(url);
  const events = await victim.subscribe("a", { own: false });
  const peer = dial(url);
  await peer.shakeHands();
  peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
  await peer.next("$subscribed");
  await victim.publish("a", "", "own");
  // Everybody who hears the victim knows its mark.
  const { meta } = await peer.next("a");
  const { origin } = meta as { origin: string };
  const core = (victim.target as unknown as { [coreOf]: Core })[coreOf];
  peer.send(forged("forged", origin));
  await victim.publish("a", "", "own again");
  peer.send(forged("last", undefined));
  expect((await take(events, 2)).map(({ payload }) => payload)).toEqual(["forged", "last"]);
  // The core's id is its name among bridges, and no mark at the hub.
  expect(core.id).not.toBe(origin);
});

test("an origin that no link of the hub has is passed on as it is: bridges tell of whoever published first", async () => {
  const { url } = await openHub();
  const client = openClient(url);
  const events = await client.subscribe("a", { own: false });
  const peer = dial(url);
  await peer.shakeHands();
  peer.send(forged(1, "somebody elsewhere"));
  expect((await take(events, 1))[0]?.meta).toEqual({ origin: "somebody elsewhere" });
});

test("own events are still known after a reconnection that the hub knows nothing of, those on their way too", async () => {
  const broker = createMemoryBroker();
  const transport = createMemoryTransport(broker, { supports: { echo: true } });
  const backplane = defineEventTarget(transport);
  onTestFinished(() => backplane.close());
  const { port, url, hub } = await openHub({ backplane });
  const proxy = await openProxy(port);
  const client = openClient(proxy.url, {}, { onGap: "ignore" });
  const events = await client.subscribe("a", { own: false });
  transport.freeze();
  const early = client.publish("a", "", "early").catch(() => "interrupted");
  await until(() => hub.status().received === 1);
  proxy.cut();
  await client.reached("interrupted");
  expect(await early).toBe("interrupted");
  transport.thaw();
  await client.reached("ready");
  await client.publish("a", "", "own");
  await openClient(url).publish("a", "", "other");
  expect((await take(events, 1))[0]?.payload).toBe("other");
});

test("the hub's own place, on a backplane that echoes, does not take a peer's events for its own", async () => {
  const broker = createMemoryBroker();
  const backplane = defineEventTarget(createMemoryTransport(broker, { supports: { echo: true } }));
  const { url, hub } = await openHub({ backplane });
  const here = createPubSub({ eventTarget: hub.eventTarget });
  onTestFinished(async () => {
    await here.close();
    await backplane.close();
  });
  const events = await here.subscribe("a", { own: false });
  const peer = dial(url);
  await peer.shakeHands();
  peer.send(envelope("a", "unmarked"), forged("forged", (backplane as unknown as { [coreOf]: Core })[coreOf].id));
  await peer.ping();
  await here.publish("a", "", "own");
  await openClient(url).publish("a", "", "other");
  expect((await take(events, 3)).map(({ payload }) => payload)).toEqual(["unmarked", "forged", "other"]);
});
