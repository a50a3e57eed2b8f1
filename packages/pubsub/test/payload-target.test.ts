// Our event targets under code that dispatches bare payloads: GraphQL Yoga's createPubSub, and plain dispatchEvent.
import { createPubSub as createYogaPubSub } from "@graphql-yoga/subscription";
import { MessageChannel } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub, Supports } from "@alkdev/pubsub";
import { createMessagePortEventTarget } from "@alkdev/pubsub/event-target-message-port";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import type { MemoryBroker } from "@alkdev/pubsub/testing";
import { defineEventTarget, payloadTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { Opened } from "./fixtures/conformance.ts";
import { HandTransport, settled, uncaughtDuring } from "./pubsub-support.ts";

const opened = new Opened();
afterEach(() => opened.end());

type Events = {
  message: [room: string, payload: { text: string }];
  clock: [payload: number];
  tick: [];
};

const yogaOver = (target: AlkEventTarget, onError?: (error: unknown) => void) =>
  createYogaPubSub<Events>({ eventTarget: payloadTarget(target, onError && { onError }) });

interface World {
  readonly target: AlkEventTarget;
  /** A PubSub in the same world that is not on this target. */
  readonly far: PubSub;
}

function broker(supports: Partial<Supports> = {}): World & { readonly broker: MemoryBroker } {
  const broker = createMemoryBroker();
  const connect = (supports: Partial<Supports>): AlkEventTarget => {
    const target = defineEventTarget(createMemoryTransport(broker, { supports }));
    opened.add(() => target.close());
    return target;
  };
  return { broker, target: connect(supports), far: createPubSub({ eventTarget: connect({}) }) };
}

function ports(): World {
  const { port1, port2 } = new MessageChannel();
  const [target, other] = [createMessagePortEventTarget(port1), createMessagePortEventTarget(port2)];
  opened.add(async () => {
    await Promise.all([target.close(), other.close()]);
    port1.close();
  });
  return { target, far: createPubSub({ eventTarget: other }) };
}

describe.each<[string, () => World]>([
  ["a broker", broker],
  ["a broker that echoes", () => broker({ echo: true })],
  ["exact topics", () => broker({ patterns: "none" })],
  ["a MessagePort", ports],
])("Yoga over %s", (_, make) => {
  test("gets what our createPubSub publishes, on the same target and from afar", async () => {
    const { target, far } = make();
    const near = createPubSub({ eventTarget: target });
    const messages = yogaOver(target).subscribe("message", "1");
    const first = messages.next();
    // Yoga has no way to know when it is live; ours on the same topic does.
    await near.subscribe("message", "1");
    await near.publish("message", "1", { text: "near" });
    expect((await first).value).toEqual({ text: "near" });
    await far.publish("message", "2", { text: "of another room" });
    await far.publish("message", "1", { text: "far" });
    expect((await messages.next()).value).toEqual({ text: "far" });
    await messages.return();
  });

  test("reaches our createPubSub, on the same target and from afar, with its id", async () => {
    const { target, far } = make();
    const near = createPubSub({ eventTarget: target });
    const subscriptions = [await near.subscribe("message", "1"), await far.subscribe("message", "1")];
    yogaOver(target).publish("message", "1", { text: "hi" });
    for (const events of subscriptions)
      expect((await events.next()).value).toMatchObject({ type: "message", id: "1", payload: { text: "hi" } });
  });

  test("has topics without an id: the bare type", async () => {
    const { target, far } = make();
    const yoga = yogaOver(target);
    const clock = yoga.subscribe("clock");
    const first = clock.next();
    await createPubSub({ eventTarget: target }).subscribe("clock", "");
    const events = await far.subscribe("clock", "");
    await far.publish("clock", "", 1);
    expect((await first).value).toBe(1);
    yoga.publish("clock", 2);
    expect((await clock.next()).value).toBe(2);
    expect((await events.next()).value).toMatchObject({ type: "clock", id: "", payload: 1 });
    expect((await events.next()).value).toMatchObject({ type: "clock", id: "", payload: 2 });
    await clock.return();
  });

  test("publishes without a payload: null", async () => {
    const { target, far } = make();
    const yoga = yogaOver(target);
    const events = await far.subscribe("tick", "");
    const tick = yoga.subscribe("tick").next();
    await createPubSub({ eventTarget: target }).subscribe("tick", "");
    yoga.publish("tick");
    expect((await tick).value).toBeNull();
    expect((await events.next()).value?.payload).toBeNull();
  });
});

test("two Yogas on one target hear each other once", async () => {
  const { target } = ports();
  const [one, two] = [yogaOver(target), yogaOver(target)];
  const seen: number[] = [];
  const clock = two.subscribe("clock");
  const first = clock.next();
  await createPubSub({ eventTarget: target }).subscribe("clock", "");
  one.publish("clock", 1);
  seen.push((await first).value as number);
  one.publish("clock", 2);
  seen.push((await clock.next()).value as number);
  expect(seen).toEqual([1, 2]);
  await clock.return();
});

test("a Yoga subscription that is left, or breaks, frees what the broker held", async () => {
  const { broker: held, target, far } = broker();
  const yoga = yogaOver(target);
  const [left, other] = [yoga.subscribe("message", "1"), yoga.subscribe("clock")];
  const waiting = [left.next(), other.next()];
  await settled();
  expect(held.filters).toBe(2);
  await left.return();
  await settled();
  expect(held.filters).toBe(1);
  await far.publish("clock", "", 1);
  await waiting[1];
  const looping = (async () => {
    for await (const n of other) if (n === 3) break;
  })();
  await far.publish("clock", "", 2);
  await far.publish("clock", "", 3);
  await looping;
  await settled();
  expect(held.filters).toBe(0);
});

describe("payloadTarget", () => {
  const seenOn = (target: EventTarget, topic: string) => {
    const seen: CustomEvent[] = [];
    target.addEventListener(topic, (event) => seen.push(event as CustomEvent));
    return seen;
  };

  function byHand(onError?: (error: unknown) => void) {
    const transport = new HandTransport();
    const target = defineEventTarget(transport);
    opened.add(() => target.close());
    return { transport, target, payloads: payloadTarget(target, onError && { onError }) };
  }

  test("gives bare payloads where the target gives envelopes", async () => {
    const { transport, target, payloads } = byHand();
    const [bare, whole] = [seenOn(payloads, "a.b:1:2"), seenOn(target, "a.b:1:2")];
    await settled();
    transport.receiver.deliver({ type: "a.b", id: "1:2", payload: [7], meta: { trace: "t" } });
    expect(bare).toMatchObject([{ type: "a.b:1:2", detail: [7] }]);
    expect(bare[0]?.target).toBe(payloads);
    expect(whole).toMatchObject([{ type: "a.b:1:2", detail: { type: "a.b", id: "1:2", payload: [7] } }]);
    expect(transport.subscribed).toHaveLength(1);
  });

  test.each([
    ["text", "a:1", { type: "a", id: "1", payload: "text" }],
    [null, "a", { type: "a", id: "", payload: null }],
    [0, "a:", { type: "a", id: "", payload: 0 }],
    [false, "a:b:c", { type: "a", id: "b:c", payload: false }],
    // What looks like an envelope is a payload all the same.
    [{ type: "x", id: "", payload: 1 }, "a", { type: "a", id: "", payload: { type: "x", id: "", payload: 1 } }],
  ])("publishes the detail %j of the topic %s", async (detail, topic, envelope) => {
    const { transport, payloads } = byHand();
    expect(payloads.dispatchEvent(new CustomEvent(topic, { detail }))).toBe(true);
    await settled();
    expect(transport.published).toEqual([envelope]);
  });

  test("publishes null where there is no detail", async () => {
    const { transport, payloads } = byHand();
    payloads.dispatchEvent(new CustomEvent("a"));
    payloads.dispatchEvent(new Event("a"));
    await settled();
    expect(transport.published.map(({ payload }) => payload)).toEqual([null, null]);
  });

  test("tells onError of bad topics and of failed publishes and subscriptions, else they are uncaught", async () => {
    const errors: unknown[] = [];
    const { transport, payloads } = byHand((error) => errors.push(error));
    expect(() => payloads.addEventListener("a b", () => {})).toThrow(
      expect.objectContaining({ code: "INVALID_TOPIC" }),
    );
    payloads.dispatchEvent(new CustomEvent("a b"));
    transport.publish = () => Promise.reject(new Error("no"));
    payloads.dispatchEvent(new CustomEvent("a"));
    transport.subscribe = () => Promise.reject(new Error("not that"));
    payloads.addEventListener("b", () => {});
    await settled();
    expect(errors).toMatchObject([{ code: "INVALID_TOPIC" }, { code: "REFUSED" }, { code: "REFUSED" }]);
    const bare = byHand().payloads;
    expect(await uncaughtDuring(() => bare.dispatchEvent(new CustomEvent("a b")))).toMatchObject([
      { code: "INVALID_TOPIC" },
    ]);
  });

  test.each([new EventTarget(), {}, null, undefined])("refuses what is none of our targets", (target) => {
    expect(() => payloadTarget(target as AlkEventTarget)).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }) as Error,
    );
  });

  test("is itself an event target of ours for createPubSub: the same core", async () => {
    const { transport, payloads } = byHand();
    await createPubSub({ eventTarget: payloads }).publish("a", "1", "x");
    expect(transport.published).toEqual([{ type: "a", id: "1", payload: "x" }]);
  });

  test("leaves nothing behind when its last listener goes, though the target has others", async () => {
    const { broker: held, target } = broker();
    const payloads = payloadTarget(target);
    const [one, two] = [() => {}, () => {}];
    payloads.addEventListener("a", one);
    target.addEventListener("b", two);
    await settled();
    expect(held.filters).toBe(2);
    payloads.removeEventListener("a", one);
    await settled();
    expect(held.filters).toBe(1);
  });
});
