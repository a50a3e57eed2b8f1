// The web standard's face of every event target, by the standard's rules.
import { MessageChannel } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, TypedEvent } from "@alkdev/pubsub";
import { createWorkerEventTarget } from "@alkdev/pubsub/event-target-worker";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import { deferred, HandTransport, settled, uncaughtDuring } from "./pubsub-support.ts";

const envelope = (type: string, id = "", payload: unknown = null): EventEnvelope => ({ type, id, payload });
const event = (type: string, id = "", payload: unknown = null): TypedEvent =>
  new CustomEvent(id === "" ? type : `${type}:${id}`, { detail: envelope(type, id, payload) });

function setUp(options: { readonly onError?: (error: unknown) => void } = {}) {
  const transport = new HandTransport();
  const target = defineEventTarget(transport, options);
  /** What a broker does: the envelope comes from outside. */
  const arrive = (type: string, id = "", payload: unknown = null) =>
    transport.receiver.deliver(envelope(type, id, payload));
  return { transport, target, arrive };
}

/** A target with listeners on the topic `a`, live. */
async function live() {
  const all = setUp();
  await createPubSub({ eventTarget: all.target }).publish("ready", "", null);
  return all;
}

describe("an event", () => {
  test("has the topic as its type, the whole envelope as its detail, and the target as its target", async () => {
    const { target, arrive } = await live();
    const seen: Event[] = [];
    target.addEventListener("a.b:1:2", (event) => {
      expect(event.target).toBe(target);
      expect(event.currentTarget).toBe(target);
      expect(event.eventPhase).toBe(Event.AT_TARGET);
      seen.push(event);
    });
    arrive("a.b", "1:2", { n: 1 });
    expect(seen).toHaveLength(1);
    expect(seen[0]).toBeInstanceOf(CustomEvent);
    expect(seen[0]).toMatchObject({ type: "a.b:1:2", detail: { type: "a.b", id: "1:2", payload: { n: 1 } } });
  });

  test("reaches the listeners of its exact topic and no other", async () => {
    const { target, arrive } = await live();
    const seen: string[] = [];
    for (const topic of ["a", "a:1", "a:2", "a.b", "A"]) target.addEventListener(topic, () => seen.push(topic));
    arrive("a", "1");
    arrive("a");
    expect(seen).toEqual(["a:1", "a"]);
  });

  test("is one and the same for all listeners, and can be stopped among them", async () => {
    const { target, arrive } = await live();
    const seen: Event[] = [];
    target.addEventListener("a", (event) => seen.push(event));
    target.addEventListener("a", (event) => {
      seen.push(event);
      event.stopImmediatePropagation();
    });
    target.addEventListener("a", () => expect.unreachable());
    arrive("a");
    expect(seen).toHaveLength(2);
    expect(seen[0]).toBe(seen[1]);
  });

  test("that is dispatched is published, and heard here once", async () => {
    const { transport, target } = await live();
    const seen: unknown[] = [];
    target.addEventListener("a:1", (event) => seen.push(event.detail));
    expect(target.dispatchEvent(event("a", "1", 7))).toBe(true);
    await settled();
    expect(seen).toEqual([envelope("a", "1", 7)]);
    expect(transport.published.at(-1)).toEqual(envelope("a", "1", 7));
  });

  test("that is dispatched reaches a PubSub on the same target, and the reverse", async () => {
    const { target } = setUp();
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a.*");
    const seen: unknown[] = [];
    target.addEventListener("a.b", (event) => seen.push(event.detail.payload));
    target.dispatchEvent(event("a.b", "", 1));
    await pubsub.publish("a.b", "", 2);
    expect([(await events.next()).value?.payload, (await events.next()).value?.payload]).toEqual([1, 2]);
    expect(seen).toEqual([1, 2]);
  });
});

describe("dispatchEvent", () => {
  test.each([
    ["a bare payload", new CustomEvent("a", { detail: { n: 1 } }), "MALFORMED"],
    ["no detail", new Event("a"), "MALFORMED"],
    ["a reserved type", event("$hello"), "INVALID_TOPIC"],
    ["a pattern", event("a.*"), "INVALID_TOPIC"],
    ["a long id", event("a", "x".repeat(1025)), "INVALID_TOPIC"],
    [
      "undefined as the payload",
      new CustomEvent("a", { detail: { type: "a", id: "", payload: undefined } }),
      "PAYLOAD",
    ],
  ])("of %s returns true, sends nothing, and tells onError", async (_, event, code) => {
    const errors: unknown[] = [];
    const { transport, target } = setUp({ onError: (error) => errors.push(error) });
    expect(target.dispatchEvent(event as TypedEvent)).toBe(true);
    await settled();
    expect(errors).toMatchObject([{ code }]);
    expect(transport.published).toEqual([]);
  });

  test("that fails later tells onError, or is an uncaught error", async () => {
    const errors: unknown[] = [];
    const { transport, target } = setUp({ onError: (error) => errors.push(error) });
    const refused = new Error("no");
    transport.publish = () => Promise.reject(refused);
    expect(target.dispatchEvent(event("a"))).toBe(true);
    await settled();
    const told = [{ code: "REFUSED", cause: refused }];
    expect(errors).toMatchObject(told);
    const silent = setUp();
    silent.transport.publish = () => Promise.reject(refused);
    expect(await uncaughtDuring(() => silent.target.dispatchEvent(event("a")))).toMatchObject(told);
  });

  test("after close tells onError", async () => {
    const errors: unknown[] = [];
    const { target } = setUp({ onError: (error) => errors.push(error) });
    await target.close();
    expect(target.dispatchEvent(event("a"))).toBe(true);
    await settled();
    expect(errors).toMatchObject([{ code: "CLOSED" }]);
  });
});

describe("addEventListener", () => {
  test("ignores a listener that it has, and tells capture apart", async () => {
    const { target, arrive } = await live();
    let calls = 0;
    const listener = () => calls++;
    target.addEventListener("a", listener);
    target.addEventListener("a", listener, false);
    target.addEventListener("a", listener, { once: true });
    arrive("a");
    expect(calls).toBe(1);
    target.addEventListener("a", listener, true);
    target.addEventListener("a", listener, { capture: true, passive: true });
    arrive("a");
    expect(calls).toBe(3);
    target.removeEventListener("a", listener);
    arrive("a");
    expect(calls).toBe(4);
    target.removeEventListener("a", listener, { capture: true });
    arrive("a");
    expect(calls).toBe(4);
  });

  test("calls an object's handleEvent on the object, and a function on the target", async () => {
    const { target, arrive } = await live();
    const seen: unknown[] = [];
    const object = {
      handleEvent(this: unknown) {
        seen.push(this);
      },
    };
    target.addEventListener("a", object);
    target.addEventListener("a", function (this: unknown) {
      seen.push(this);
    });
    arrive("a");
    expect(seen).toEqual([object, target]);
    object.handleEvent = () => seen.push("changed");
    target.removeEventListener("a", object);
    target.addEventListener("a", object, { once: true });
    seen.length = 0;
    arrive("a");
    arrive("a");
    expect(seen).toEqual([target, "changed", target]);
  });

  test("with once calls once, also when the listener dispatches the same topic", async () => {
    const { target, arrive } = await live();
    let calls = 0;
    target.addEventListener(
      "a",
      () => {
        calls++;
        arrive("a");
      },
      { once: true },
    );
    arrive("a");
    arrive("a");
    expect(calls).toBe(1);
  });

  test("with once can be removed before, and added again after", async () => {
    const { target, arrive } = await live();
    let calls = 0;
    const listener = () => calls++;
    target.addEventListener("a", listener, { once: true });
    target.removeEventListener("a", listener);
    arrive("a");
    expect(calls).toBe(0);
    target.addEventListener("a", listener, { once: true });
    arrive("a");
    target.addEventListener("a", listener, { once: true });
    arrive("a");
    arrive("a");
    expect(calls).toBe(2);
  });

  test("with a signal removes it on abort, and adds nothing where it is aborted already", async () => {
    const { target, arrive } = await live();
    let calls = 0;
    const abort = new AbortController();
    target.addEventListener("a", () => calls++, { signal: abort.signal });
    target.addEventListener("a", () => expect.unreachable(), { signal: AbortSignal.abort() });
    arrive("a");
    abort.abort();
    arrive("a");
    expect(calls).toBe(1);
  });

  test("with a signal that aborts after the listener was removed and added anew leaves the new one", async () => {
    const { target, arrive } = await live();
    let calls = 0;
    const listener = () => calls++;
    const abort = new AbortController();
    target.addEventListener("a", listener, { signal: abort.signal });
    target.removeEventListener("a", listener);
    target.addEventListener("a", listener);
    abort.abort();
    arrive("a");
    expect(calls).toBe(1);
  });

  test("of null does nothing; null options are no options", async () => {
    const { transport, target, arrive } = await live();
    target.addEventListener("a", null);
    target.addEventListener("a", undefined as never);
    target.removeEventListener("a", null);
    expect(transport.subscribed).toEqual([]);
    let calls = 0;
    const listener = () => calls++;
    target.addEventListener("a", listener, null as never);
    arrive("a");
    target.removeEventListener("a", listener, null as never);
    arrive("a");
    expect(calls).toBe(1);
  });

  test.each([5, "listener", true])("of %j throws, and leaves nothing behind", async (listener) => {
    const { transport, target } = await live();
    expect(() => target.addEventListener("a", listener as never)).toThrow(TypeError);
    const good = () => {};
    target.addEventListener("b", good);
    expect(() => target.addEventListener("b", listener as never)).toThrow(TypeError);
    target.removeEventListener("b", good);
    await settled();
    expect(transport.subscribed.map(({ type }) => type)).toEqual(["b"]);
    expect(transport.unsubscribed.map(({ type }) => type)).toEqual(["b"]);
  });

  test.each([null, {}, new AbortController()])(
    "with a signal that is none throws, and leaves nothing behind",
    async (signal) => {
      const { transport, target, arrive } = await live();
      let calls = 0;
      expect(() => target.addEventListener("a", () => calls++, { signal } as never)).toThrow("must be an AbortSignal");
      arrive("a");
      expect(calls).toBe(0);
      expect(transport.subscribed).toEqual([]);
    },
  );

  test.each(["a.*", "**", "", "a b", "$hello", ":1"])("of the topic %j throws: facade topics are exact", (topic) => {
    const { target } = setUp();
    expect(() => target.addEventListener(topic, () => {})).toThrow(expect.objectContaining({ code: "INVALID_TOPIC" }));
  });

  test("to a topic with an empty id is the bare type's", async () => {
    const { target, arrive } = await live();
    const seen: string[] = [];
    target.addEventListener("a", () => seen.push("a"));
    target.addEventListener("a:", () => seen.push("a:"));
    arrive("a");
    expect(seen).toEqual(["a", "a:"]);
  });
});

describe("during a dispatch", () => {
  test("a removed listener is not called, an added one is not yet", async () => {
    const { target, arrive } = await live();
    const seen: string[] = [];
    const removed = () => seen.push("removed");
    const added = () => seen.push("added");
    target.addEventListener("a", () => {
      seen.push("first");
      target.removeEventListener("a", removed);
      target.addEventListener("a", added);
    });
    target.addEventListener("a", removed);
    target.addEventListener("a", () => seen.push("last"));
    arrive("a");
    expect(seen).toEqual(["first", "last"]);
    arrive("a");
    expect(seen).toEqual(["first", "last", "first", "last", "added"]);
  });

  test.each([{}, { once: true }])(
    "an added listener (%j) misses the event under way, and gets the next one",
    async (options) => {
      const { target, arrive } = await live();
      const seen: unknown[] = [];
      target.addEventListener(
        "a",
        () => target.addEventListener("a", { handleEvent: ({ detail }) => seen.push(detail.payload) }, options),
        { once: true },
      );
      target.addEventListener("a", () => {});
      for (const n of [1, 2, 3]) arrive("a", "", n);
      expect(seen).toEqual("once" in options ? [2] : [2, 3]);
    },
  );

  test("the last listener may remove itself and come back", async () => {
    const { transport, target, arrive } = await live();
    let calls = 0;
    const listener = () => {
      calls++;
      target.removeEventListener("a", listener);
      target.addEventListener("a", listener);
    };
    target.addEventListener("a", listener);
    arrive("a");
    arrive("a");
    await settled();
    expect(calls).toBe(2);
    expect(transport.subscribed.length - transport.unsubscribed.length).toBe(1);
  });

  test("a throwing listener stops no other, and is an uncaught error", async () => {
    const { target, arrive } = await live();
    const boom = new Error("boom");
    const fail = () => {
      throw boom;
    };
    let calls = 0;
    target.addEventListener("a", fail);
    target.addEventListener("a", { handleEvent: fail });
    target.addEventListener("a", fail, { once: true, capture: true });
    target.addEventListener("a", () => calls++);
    expect(await uncaughtDuring(() => arrive("a"))).toEqual([boom, boom, boom]);
    expect(calls).toBe(1);
  });
});

describe("the subscription of a topic", () => {
  test("is made with the first listener and freed with the last, once each", async () => {
    const { transport, target } = await live();
    const [one, two] = [() => {}, () => {}];
    target.addEventListener("a:1", one);
    target.addEventListener("a:1", two);
    target.addEventListener("a:1", two, true);
    await settled();
    expect(transport.subscribed).toEqual([{ type: "a", id: "1", group: undefined }]);
    target.removeEventListener("a:1", one);
    target.removeEventListener("a:1", two);
    target.removeEventListener("a:1", one);
    await settled();
    expect(transport.unsubscribed).toEqual([]);
    target.removeEventListener("a:1", two, true);
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });

  test.each(["once", "signal"])("is freed when %s removes the last listener", async (how) => {
    const { transport, target, arrive } = await live();
    const abort = new AbortController();
    target.addEventListener("a", () => {}, how === "once" ? { once: true } : { signal: abort.signal });
    await settled();
    if (how === "once") arrive("a");
    else abort.abort();
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });

  test("is shared with the PubSubs of the target", async () => {
    const { transport, target } = await live();
    const events = await createPubSub({ eventTarget: target }).subscribe("a", "1");
    const listener = () => {};
    target.addEventListener("a:1", listener);
    await settled();
    expect(transport.subscribed).toHaveLength(1);
    await events.return();
    await settled();
    expect(transport.unsubscribed).toEqual([]);
    target.removeEventListener("a:1", listener);
    await settled();
    expect(transport.unsubscribed).toHaveLength(1);
  });

  test("that is refused drops the listeners and tells onError; they may come again", async () => {
    const errors: unknown[] = [];
    const { transport, target, arrive } = setUp({ onError: (error) => errors.push(error) });
    transport.subscribing = deferred();
    let calls = 0;
    const listener = () => calls++;
    target.addEventListener("a", listener);
    await settled();
    const refused = new Error("no");
    transport.subscribing.reject(refused);
    await settled();
    expect(errors).toMatchObject([{ code: "REFUSED", cause: refused }]);
    transport.subscribing = undefined;
    target.addEventListener("a", listener);
    await settled();
    arrive("a");
    expect(calls).toBe(1);
  });

  test("reports a gap, and the end of the other side, to onError", async () => {
    const errors: unknown[] = [];
    const { transport, target } = setUp({ onError: (error) => errors.push(error) });
    target.addEventListener("a", () => {});
    await settled();
    transport.receiver.gap({ reason: "reconnect", since: 0, until: 1, lost: 2 });
    transport.receiver.ended(new Error("gone"));
    expect(errors).toMatchObject([{ code: "GAP" }, { code: "DISCONNECTED" }]);
  });

  test("ends with close() in silence", async () => {
    const errors: unknown[] = [];
    const { transport, target } = setUp({ onError: (error) => errors.push(error) });
    target.addEventListener("a", () => expect.unreachable());
    await settled();
    await target.close();
    transport.receiver.deliver(envelope("a"));
    expect(errors).toEqual([]);
    expect(target.status).toBe("closed");
    await target.closed;
  });
});

test("hundreds of listeners of one topic, and of one signal, print no warning", async () => {
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on("warning", warn);
  const { target, arrive } = await live();
  const { signal } = new AbortController();
  let calls = 0;
  for (let i = 0; i < 300; i++) target.addEventListener("a", () => calls++, { signal });
  arrive("a");
  await settled();
  process.off("warning", warn);
  expect(calls).toBe(300);
  expect(warnings).toEqual([]);
});

test("two targets over a MessageChannel hear each other's events, and their own once", async () => {
  const { port1, port2 } = new MessageChannel();
  const [left, right] = [createWorkerEventTarget(port1), createWorkerEventTarget(port2)];
  const heard = deferred();
  const seen: string[] = [];
  left.addEventListener("a:1", ({ detail }) => seen.push(`left ${String(detail.payload)}`));
  right.addEventListener("a:1", ({ detail }) => {
    seen.push(`right ${String(detail.payload)}`);
    heard.resolve();
  });
  await createPubSub({ eventTarget: left }).subscribe("a", "1");
  await createPubSub({ eventTarget: right }).subscribe("a", "1");
  expect(left.dispatchEvent(event("a", "1", "x"))).toBe(true);
  await heard.promise;
  await settled();
  expect(seen.sort()).toEqual(["left x", "right x"]);
  await left.close();
  await right.close();
  port1.close();
});
