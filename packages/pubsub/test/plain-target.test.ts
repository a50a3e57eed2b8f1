// A PubSub over an EventTarget that is none of ours.
import { describe, expect, test } from "vitest";
import { createPubSub } from "@alkdev/pubsub";
import { settled, uncaughtDuring } from "./pubsub-support.ts";

function setUp() {
  const target = new EventTarget();
  const errors: unknown[] = [];
  const pubsub = createPubSub({ eventTarget: target, onError: (error) => errors.push(error) });
  return { target, pubsub, errors };
}

describe("over a plain EventTarget", () => {
  test("the status is ready, until the PubSub is closed", async () => {
    const { pubsub } = setUp();
    expect(pubsub.status).toBe("ready");
    await pubsub.close();
    expect(pubsub.status).toBe("closed");
  });

  test("a publish is a CustomEvent on the target, with the topic as its type and the envelope as its detail", async () => {
    const { target, pubsub } = setUp();
    const seen: Event[] = [];
    target.addEventListener("a.b:1", (event) => seen.push(event));
    target.addEventListener("a.b", (event) => seen.push(event));
    await pubsub.publish("a.b", "1", { n: 1 });
    await pubsub.publish("a.b", "", null);
    expect(seen).toMatchObject([
      { type: "a.b:1", detail: { type: "a.b", id: "1", payload: { n: 1 } } },
      { type: "a.b", detail: { type: "a.b", id: "", payload: null } },
    ]);
  });

  test("an event that is dispatched on the target reaches subscriptions and listeners of its exact topic", async () => {
    const { target, pubsub } = setUp();
    const events = await pubsub.subscribe("a", "1");
    const seen: unknown[] = [];
    await pubsub.on("a", "1", ({ payload }) => seen.push(payload));
    const detail = { type: "a", id: "1", payload: 7, meta: { trace: "t" } };
    target.dispatchEvent(new CustomEvent("a:1", { detail }));
    target.dispatchEvent(new CustomEvent("a:2", { detail: { ...detail, id: "2" } }));
    expect((await events.next()).value).toBe(detail);
    expect(events.received).toBe(1);
    expect(seen).toEqual([7]);
  });

  test("two PubSubs on one target hear each other", async () => {
    const { target, pubsub } = setUp();
    const other = createPubSub({ eventTarget: target });
    const events = await other.subscribe("a", "");
    await pubsub.publish("a", "", 1);
    expect((await events.next()).value?.payload).toBe(1);
  });

  test.each([
    ["a pattern", "a.*", "1"],
    ["a pattern for every id", "**", undefined],
    ["every id", "a", undefined],
  ])("%s rejects with UNSUPPORTED, and says what would do", async (_, type, id) => {
    const { pubsub } = setUp();
    const expected = {
      code: "UNSUPPORTED",
      message: expect.stringContaining("an event target of this library") as string,
    };
    await expect(pubsub.subscribe(type, id)).rejects.toMatchObject(expected);
    await expect(pubsub.on(type, id, () => {})).rejects.toMatchObject(expected);
  });

  test("a group rejects with UNSUPPORTED", async () => {
    const { pubsub } = setUp();
    await expect(pubsub.subscribe("a", "1", { group: "g" })).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });

  test("own: false skips what this PubSub publishes, and only that", async () => {
    const { target, pubsub } = setUp();
    const other = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a", "", { own: false });
    await pubsub.publish("a", "", "own");
    await other.publish("a", "", "other's");
    target.dispatchEvent(new CustomEvent("a", { detail: { type: "a", id: "", payload: "the target's" } }));
    expect((await events.next()).value?.payload).toBe("other's");
    expect((await events.next()).value?.payload).toBe("the target's");
    expect(events.received).toBe(2);
  });

  test("own: false is right for publishes inside listeners too", async () => {
    const { target, pubsub } = setUp();
    const other = createPubSub({ eventTarget: target });
    await other.on("a", "", () => void other.publish("b", "", "other's"));
    await pubsub.on("a", "", () => void pubsub.publish("b", "", "own"));
    const events = await pubsub.subscribe("b", "", { own: false });
    await pubsub.publish("a", "", null);
    expect((await events.next()).value?.payload).toBe("other's");
    expect(events.received).toBe(1);
  });

  test("own: false still skips an event after something else was published during it", async () => {
    const { pubsub } = setUp();
    await pubsub.on("a", "", () => void pubsub.publish("b", "", null));
    const events = await pubsub.subscribe("a", "", { own: false });
    await pubsub.publish("a", "", null);
    expect(events.received).toBe(0);
  });

  test.each([
    ["a bare payload", new CustomEvent("a:1", { detail: { n: 1 } })],
    ["nothing", new Event("a:1")],
    ["an envelope of another type", new CustomEvent("a:1", { detail: { type: "b", id: "1", payload: null } })],
    ["an envelope of another id", new CustomEvent("a:1", { detail: { type: "a", id: "2", payload: null } })],
  ])("a detail that is %s is reported, and reaches no subscriber", async (_, event) => {
    const { target, pubsub, errors } = setUp();
    const events = await pubsub.subscribe("a", "1");
    target.dispatchEvent(event);
    expect(errors).toMatchObject([
      { code: "MALFORMED", message: expect.stringMatching(/"a:1".*\{ type, id, payload \}/) as string },
    ]);
    expect(events.received).toBe(0);
  });

  test("a detail that is no envelope is an uncaught error without onError, and stops no other listener", async () => {
    const target = new EventTarget();
    await createPubSub({ eventTarget: target }).subscribe("a", "");
    let calls = 0;
    target.addEventListener("a", () => calls++);
    const uncaught = await uncaughtDuring(() => target.dispatchEvent(new Event("a")));
    expect(uncaught).toMatchObject([{ code: "MALFORMED" }]);
    expect(calls).toBe(1);
  });

  test("undefined and bad topics are refused as everywhere", async () => {
    const { pubsub } = setUp();
    await expect(pubsub.publish("a", "", undefined)).rejects.toMatchObject({ code: "PAYLOAD" });
    await expect(pubsub.publish("a b", "", 1)).rejects.toMatchObject({ code: "INVALID_TOPIC" });
  });

  test("ending a subscription takes its listener off the target", async () => {
    const { target, pubsub } = setUp();
    let listeners = 0;
    const [add, remove] = [target.addEventListener.bind(target), target.removeEventListener.bind(target)];
    target.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
    target.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
    const events = await pubsub.subscribe("a", "");
    const stop = await pubsub.on("a", "", () => {});
    await pubsub.subscribe("b", "");
    expect(listeners).toBe(3);
    await events.return();
    stop();
    stop();
    expect(listeners).toBe(1);
    await pubsub.close();
    expect(listeners).toBe(0);
  });

  test("a listener that is stopped during the dispatch is not called", async () => {
    const { pubsub } = setUp();
    let calls = 0;
    await pubsub.on("a", "", () => stop());
    const stop: () => void = await pubsub.on("a", "", () => calls++);
    await pubsub.publish("a", "", null);
    expect(calls).toBe(0);
  });

  test("closing leaves the target usable", async () => {
    const { target, pubsub } = setUp();
    const events = await pubsub.subscribe("a", "");
    await pubsub.publish("a", "", 1);
    await pubsub.close();
    let calls = 0;
    target.addEventListener("a", () => calls++);
    target.dispatchEvent(new CustomEvent("a", { detail: { type: "a", id: "", payload: 2 } }));
    expect(calls).toBe(1);
    expect((await events.next()).value?.payload).toBe(1);
    expect((await events.next()).done).toBe(true);
  });

  test("a dozen subscriptions of one topic print no warning", async () => {
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on("warning", warn);
    const { pubsub } = setUp();
    for (let i = 0; i < 12; i++) await pubsub.subscribe("a", "");
    await settled();
    process.off("warning", warn);
    expect(warnings).toEqual([]);
  });

  test("a target whose dispatchEvent throws makes publish reject, not throw", async () => {
    const boom = new Error("boom");
    const target = {
      addEventListener() {},
      removeEventListener() {},
      dispatchEvent() {
        throw boom;
      },
    };
    await expect(createPubSub({ eventTarget: target as never }).publish("a", "", null)).rejects.toBe(boom);
  });
});
