// What is peculiar to a BroadcastChannel: anyone may be there, and nobody has to be.
import { bridge, createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub } from "@alkdev/pubsub";
import { createBroadcastChannelEventTarget } from "@alkdev/pubsub/event-target-broadcast-channel";
import type { BroadcastChannelLike } from "@alkdev/pubsub/event-target-broadcast-channel";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { once } from "node:events";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { Opened } from "./fixtures/conformance.ts";

const opened = new Opened();
afterEach(() => opened.end());

let buses = 0;
const newName = (): string => `bus ${++buses}`;

/** A bare channel of that name: a peer without the library, or a channel to hand in. */
function bare(name: string): BroadcastChannel {
  const channel = new BroadcastChannel(name);
  opened.add(() => channel.close());
  return channel;
}

function over(bus: string | BroadcastChannelLike, onError?: (error: unknown) => void): AlkEventTarget {
  const target = createBroadcastChannelEventTarget(bus, onError && { onError });
  opened.add(() => target.close());
  return target;
}

const pubsubOver = (bus: string | BroadcastChannelLike): PubSub => createPubSub({ eventTarget: over(bus) });

async function payloads(events: AsyncIterator<EventEnvelope>, count: number): Promise<unknown[]> {
  const seen: unknown[] = [];
  while (seen.length < count) seen.push(((await events.next()).value as EventEnvelope).payload);
  return seen;
}

test("with nobody there, subscribing and publishing resolve, and what is published reaches this side once", async () => {
  const near = pubsubOver(newName());
  const events = await near.subscribe("a");
  await near.publish("a", "", 1);
  await near.publish("a", "", 2);
  expect(await payloads(events, 2)).toEqual([1, 2]);
  expect(events.received).toBe(2);
});

test("three sides get what each publishes, once, their own included", async () => {
  const name = newName();
  const sides = [pubsubOver(name), pubsubOver(name), pubsubOver(name)];
  const subscriptions = await Promise.all(sides.map((side) => side.subscribe("a")));
  for (const [i, side] of sides.entries()) await side.publish("a", "", i);
  for (const side of sides) await side.publish("a", "", "last");
  for (const events of subscriptions) {
    expect((await payloads(events, 6)).map(String).sort()).toEqual(["0", "1", "2", "last", "last", "last"]);
    expect(events.received).toBe(6);
  }
});

test("a peer without the library posts envelopes, and gets them", async () => {
  const name = newName();
  const peer = bare(name);
  const near = pubsubOver(name);
  const events = await near.subscribe("a.*");
  peer.postMessage({ type: "a.b", id: "7", payload: new Map([["x", 1]]), later: true });
  expect((await events.next()).value).toEqual({ type: "a.b", id: "7", payload: new Map([["x", 1]]), later: true });
  const message = once(peer, "message") as Promise<[MessageEvent]>;
  await near.publish("a.c", "", 8);
  expect((await message)[0].data).toEqual({ type: "a.c", id: "", payload: 8 });
});

describe("a peer that posts garbage", () => {
  const GARBAGE = [null, 7, "text", {}, { type: "a b", id: "", payload: 1 }, [{}], new Uint8Array(3)];

  test("is reported, message by message, and ends nobody's target, however often it does", async () => {
    const name = newName();
    const peer = bare(name);
    const errors: unknown[] = [];
    const near = createPubSub({ eventTarget: over(name, (error) => errors.push(error)) });
    const events = await near.subscribe("a");
    for (let i = 0; i < 1000; i++) peer.postMessage(GARBAGE[i % GARBAGE.length]);
    peer.postMessage({ type: "a", id: "", payload: "after" });
    expect(await payloads(events, 1)).toEqual(["after"]);
    expect(errors).toHaveLength(1000);
    for (const error of errors) expect(error).toMatchObject({ code: "MALFORMED" });
    expect(near.status).toBe("ready");
  });

  test("cannot forge what belongs to the library", async () => {
    const name = newName();
    const peer = bare(name);
    const near = pubsubOver(name);
    const events = await near.subscribe("**");
    for (const type of ["$bye", "$hello", "$gap", "$secret"])
      peer.postMessage({ type, id: "", payload: { code: "END", nonce: "n", versions: [9] } });
    peer.postMessage({ type: "a", id: "", payload: "real" });
    expect(await payloads(events, 1)).toEqual(["real"]);
    expect(near.status).toBe("ready");
  });

  test("of messages that cannot be deserialised is reported with the cause", async () => {
    const name = newName();
    const channel = bare(name);
    const errors: unknown[] = [];
    const near = createPubSub({ eventTarget: over(channel, (error) => errors.push(error)) });
    const events = await near.subscribe("a");
    channel.dispatchEvent(new MessageEvent("messageerror", { data: null }));
    await near.publish("a", "", 1);
    expect(await payloads(events, 1)).toEqual([1]);
    expect(errors).toMatchObject([{ code: "MALFORMED", message: expect.stringContaining("cannot be deserialised") }]);
  });
});

test("what cannot be cloned rejects alone, with PAYLOAD", async () => {
  const name = newName();
  const [near, far] = [pubsubOver(name), pubsubOver(name)];
  const events = await far.subscribe("a");
  const published = [1, () => 2, 3].map((payload) => near.publish("a", "", payload));
  const results = await Promise.allSettled(published);
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  await expect(published[1]).rejects.toMatchObject({ code: "PAYLOAD", type: "a" });
  expect(await payloads(events, 2)).toEqual([1, 3]);
});

describe("closing", () => {
  test("closes a channel that was made for the target, after what was published", async () => {
    const name = newName();
    const close = vi.spyOn(BroadcastChannel.prototype, "close");
    onTestFinished(() => close.mockRestore());
    const target = over(name);
    const far = pubsubOver(name);
    const events = await far.subscribe("a");
    void createPubSub({ eventTarget: target }).publish("a", "", "last");
    await target.close();
    expect(close).toHaveBeenCalledTimes(1);
    expect(await payloads(events, 1)).toEqual(["last"]);
  });

  test("leaves a channel that was handed in open, and hears nothing of it any more", async () => {
    const name = newName();
    const channel = bare(name);
    const peer = bare(name);
    const errors: unknown[] = [];
    const target = over(channel, (error) => errors.push(error));
    const events = await createPubSub({ eventTarget: target }).subscribe("a");
    await target.close();
    expect(await events.next()).toEqual({ done: true, value: undefined });
    peer.postMessage("garbage");
    const message = once(channel, "message");
    await message;
    expect(errors).toEqual([]);
    channel.postMessage("still open");
  });

  test("by its owner shows at the next publish: it rejects, and subscriptions drain, then throw DISCONNECTED", async () => {
    const name = newName();
    const channel = bare(name);
    const target = over(channel);
    const near = createPubSub({ eventTarget: target });
    const events = await near.subscribe("a");
    await near.publish("a", "", 1);
    channel.close();
    const published = [2, 3].map((payload) => near.publish("a", "", payload));
    for (const each of published) await expect(each).rejects.toMatchObject({ code: "DISCONNECTED" });
    await target.closed;
    expect(await payloads(events, 1)).toEqual([1]);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    await expect(near.subscribe("a")).rejects.toMatchObject({ code: "DISCONNECTED" });
    expect(events.received).toBe(1);
  });
});

/** A channel that loses the messages that it is told to. */
function losing(channel: BroadcastChannel, isLost: (message: EventEnvelope) => boolean): BroadcastChannelLike {
  const wrapped = new Map<unknown, (event: MessageEvent) => void>();
  return {
    postMessage: (message) => channel.postMessage(message),
    close: () => channel.close(),
    addEventListener(type, listener) {
      const wrapper = (event: MessageEvent): void => {
        if (!isLost(event.data as EventEnvelope)) listener(event);
      };
      wrapped.set(listener, wrapper);
      channel.addEventListener(type, wrapper as (event: Event) => void);
    },
    removeEventListener: (type, listener) =>
      channel.removeEventListener(type, wrapped.get(listener) as (event: Event) => void),
  };
}

test.each([
  { sequence: true, story: [1, 2, "2 lost", 5] },
  // The control: nothing else would tell.
  { sequence: false, story: [1, 2, 5] },
])("a loss is a gap with its count where both sides number (sequence: $sequence)", async ({ sequence, story }) => {
  const name = newName();
  const lossy = losing(bare(name), ({ payload }) => payload === 3 || payload === 4);
  const far = createPubSub({ eventTarget: over(lossy), sequence });
  const near = createPubSub({ eventTarget: over(name), sequence });
  const seen: unknown[] = [];
  const events = await far.subscribe("a", "", { onGap: ({ lost }) => void seen.push(`${lost} lost`) });
  for (const payload of [1, 2, 3, 4, 5]) await near.publish("a", "", payload);
  while (seen.at(-1) !== 5) seen.push(...(await payloads(events, 1)));
  expect(seen).toEqual(story);
});

test("a bridge joins two buses, and each event passes once", async () => {
  const [a, b] = [newName(), newName()];
  const joined = await bridge(over(a), over(b), { types: ["**"] });
  opened.add(() => joined.close());
  const [left, right] = [pubsubOver(a), pubsubOver(b)];
  const subscriptions = [await left.subscribe("a"), await right.subscribe("a")];
  await left.publish("a", "", "from the left");
  for (const events of subscriptions) expect(await payloads(events, 1)).toEqual(["from the left"]);
  await right.publish("a", "", "from the right");
  for (const events of subscriptions) {
    expect(await payloads(events, 1)).toEqual(["from the right"]);
    expect(events.received).toBe(2);
  }
});

test("a platform without a BroadcastChannel is UNSUPPORTED, unless one is handed in", async () => {
  const channel = bare(newName());
  vi.stubGlobal("BroadcastChannel", undefined);
  onTestFinished(() => void vi.unstubAllGlobals());
  expect(() => createBroadcastChannelEventTarget("bus")).toThrow(
    expect.objectContaining({ code: "UNSUPPORTED" }) as Error,
  );
  await pubsubOver(channel).publish("a", "", 1);
});
