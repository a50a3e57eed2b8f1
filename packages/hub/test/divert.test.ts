// Events that somebody beside the hub takes in the place of their subscribers, and sends on as it sees fit.
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";
import { createMainThreadEventTarget, workerChannel } from "@alkdev/pubsub/event-target-worker";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { createHub } from "@alkdev/hub";
import type { Hub, HubLink } from "@alkdev/hub";
import { MessageChannel } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { openClient, openHub, openProxy, over, take, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";

/** A client over a port whose link has an identity. */
function join(hub: Hub, identity: string): { readonly client: Client; readonly link: HubLink } {
  const { port1, port2 } = new MessageChannel();
  const link = hub.connect(workerChannel(port1), identity);
  onTestFinished(() => port2.close());
  return { client: over(createMainThreadEventTarget({ port: port2 })), link };
}

function openBareHub(options: Parameters<typeof createHub>[0] = {}): Hub {
  const hub = createHub(options);
  onTestFinished(() => hub.close());
  return hub;
}

const payloads = (events: readonly EventEnvelope[]): unknown[] => events.map(({ payload }) => payload);

describe("a diverted event", () => {
  test("goes to the taker with the link that published it, and to no subscriber", async () => {
    const hub = openBareHub();
    const [ann, bob] = [join(hub, "ann"), join(hub, "bob")];
    const all = await bob.client.subscribe("**");
    const taken: unknown[] = [];
    hub.divert("mail.*", ({ payload }, link) => taken.push([payload, link?.identity]));
    await ann.client.publish("mail.sent", "1", "diverted");
    await ann.client.publish("post.sent", "1", "routed");
    expect(taken).toEqual([["diverted", "ann"]]);
    expect(payloads(await take(all, 1))).toEqual(["routed"]);
  });

  test("is sent on to one link alone, once however many of its subscriptions match, and only if one does", async () => {
    const hub = openBareHub();
    const [ann, bob, eve] = [join(hub, "ann"), join(hub, "bob"), join(hub, "eve")];
    const bobs = await bob.client.subscribe("mail.*");
    const bobsToo = await bob.client.subscribe("mail.sent");
    const eves = await eve.client.subscribe("**");
    const sent: boolean[] = [];
    hub.divert("mail.*", (envelope, from) => {
      sent.push(bob.link.send({ ...envelope, payload: from?.identity }), ann.link.send(envelope));
    });
    await ann.client.publish("mail.sent", "1", "eve");
    await ann.client.publish("post", "1", null);
    expect(payloads(await take(bobs, 1))).toEqual(["ann"]);
    expect(payloads(await take(bobsToo, 1))).toEqual(["ann"]);
    expect(payloads(await take(eves, 1))).toEqual([null]);
    expect(sent).toEqual([true, false]);
    expect([bobs.received, bobsToo.received, eves.received]).toEqual([1, 1, 1]);
  });

  test("is none that its publisher may not publish, and is refused where the taker throws", async () => {
    const errors: unknown[] = [];
    const hub = openBareHub({ authorize: () => ({ publish: ["mail.sent"] }), onError: (error) => errors.push(error) });
    const { client } = join(hub, "ann");
    const taken: unknown[] = [];
    hub.divert("mail.*", ({ payload }) => {
      taken.push(payload);
      if (payload === 1) throw new PubSubError("LIMIT", "Enough.");
      if (payload === 2) throw new TypeError("a mistake of its own");
    });
    await expect(client.publish("mail.forged", "", 0)).rejects.toMatchObject({ code: "REFUSED" });
    await expect(client.publish("mail.sent", "", 1)).rejects.toMatchObject({ code: "LIMIT" });
    await expect(client.publish("mail.sent", "", 2)).rejects.toMatchObject({ code: "REFUSED" });
    await client.publish("mail.sent", "", 3);
    expect(taken).toEqual([1, 2, 3]);
    expect(errors).toEqual([expect.any(TypeError)]);
  });

  test("of the hub's own place has no link, and reaches those of no link", async () => {
    const hub = openBareHub();
    const here = createPubSub({ eventTarget: hub.eventTarget });
    const all = await join(hub, "ann").client.subscribe("**");
    const taken: unknown[] = [];
    hub.divert("mail.*", ({ payload }, link) => taken.push([payload, link]));
    await here.publish("mail.sent", "", 1);
    await here.publish("post", "", 2);
    expect(taken).toEqual([[1, undefined]]);
    expect(payloads(await take(all, 1))).toEqual([2]);
  });

  test.each([
    ["once", {}],
    ["once for each filter", { overlap: "per-filter", echo: true, groups: true }],
  ] as const)("does not reach a backplane that delivers %s, and comes to no link from there", async (_, supports) => {
    const broker = createMemoryBroker();
    const backplane = defineEventTarget(createMemoryTransport(broker, { supports }));
    const elsewhere = over(defineEventTarget(createMemoryTransport(broker)));
    onTestFinished(() => backplane.close());
    const hub = openBareHub({ backplane });
    const [ann, bob] = [join(hub, "ann"), join(hub, "bob")];
    const far = await elsewhere.subscribe("**");
    const near = await bob.client.subscribe("**");
    const taken: unknown[] = [];
    hub.divert("mail.*", ({ payload }) => taken.push(payload));
    await ann.client.publish("mail.sent", "", 1);
    await elsewhere.publish("mail.sent", "", 2);
    await elsewhere.publish("post", "", 3);
    expect(payloads(await take(near, 1))).toEqual([3]);
    expect(payloads(await take(far, 2))).toEqual([2, 3]);
    expect(taken).toEqual([1]);
  });

  test("is one no more once the diversion is ended; of several the first takes it", async () => {
    const hub = openBareHub();
    const { client } = join(hub, "ann");
    const events = await client.subscribe("mail.sent");
    const taken: unknown[] = [];
    const first = hub.divert("mail.*", () => taken.push("first"));
    const second = hub.divert("**", () => taken.push("second"));
    await client.publish("mail.sent", "", 1);
    first();
    first();
    await client.publish("mail.sent", "", 2);
    second();
    await client.publish("mail.sent", "", 3);
    expect(taken).toEqual(["first", "second"]);
    expect(payloads(await take(events, 1))).toEqual([3]);
    expect(() => hub.divert("mail:x", () => undefined)).toThrow(/mail:x/);
  });
});

test("what is sent to a link that has lost its channel waits for its return, and its comings and goings are told", async () => {
  const server = await openHub({ limits: { resumeWindow: 30_000 } });
  const proxy = await openProxy(server.port);
  const client = openClient(proxy.url);
  const events = await client.subscribe("news");
  const links: HubLink[] = [];
  server.hub.divert("hello", (_, link) => link && links.push(link));
  await client.publish("hello", "", null);
  const [link] = links as [HubLink];
  const told: boolean[] = [];
  link.onAttached((attached) => told.push(attached));
  expect(link.attached).toBe(true);
  proxy.cut();
  await until(() => !link.attached);
  expect(link.send({ type: "news", id: "", payload: 1 })).toBe(true);
  await until(() => link.attached);
  expect(payloads(await take(events, 1))).toEqual([1]);
  expect(told).toEqual([false, true]);
  await client.target.close();
  await link.closed;
  expect(link.send({ type: "news", id: "", payload: 2 })).toBe(false);
});

test("an event that is too large for a link, or no JSON, throws and is no gap for it", async () => {
  const server = await openHub();
  const client = openClient(server.url, { maxFrame: 4096 });
  const events = await client.subscribe("news");
  const links: HubLink[] = [];
  server.hub.divert("hello", (_, link) => link && links.push(link));
  await client.publish("hello", "", null);
  const [link] = links as [HubLink];
  expect(() => link.send({ type: "news", id: "", payload: "x".repeat(5000) })).toThrow(/far end takes 4096/);
  expect(() => link.send({ type: "news", id: "", payload: 1n })).toThrow(/JSON/);
  link.send({ type: "news", id: "", payload: 1 });
  expect(payloads(await take(events, 1))).toEqual([1]);
  expect(events.gaps).toBe(0);
});
