// What the web's own tests ask of an EventTarget, asked of ours, as far as it applies to targets that are no nodes of a
// tree. The table in docs/architecture/event-targets.md says what holds; what does not is at the end of this file.
import { afterEach, describe, expect, test } from "vitest";
import { createPubSub } from "@alkdev/pubsub";
import { defineEventTarget, payloadTarget } from "@alkdev/pubsub/transport";
import { Opened } from "./fixtures/conformance.ts";
import { HandTransport, settled, uncaughtDuring } from "./pubsub-support.ts";

const opened = new Opened();
afterEach(() => opened.end());

interface SetUp {
  readonly target: EventTarget;
  readonly errors: unknown[];
  /** An event of the topic comes from outside. */
  readonly arrive: (topic?: string) => void;
}

type Make = () => Promise<SetUp>;

/** Both faces of a target: with envelopes, and with bare payloads. */
const FACES: readonly [string, Make][] = (["an event target", "a payload target"] as const).map((face) => [
  face,
  async () => {
    const errors: unknown[] = [];
    const onError = (error: unknown) => void errors.push(error);
    const transport = new HandTransport();
    const target = defineEventTarget(transport, { onError });
    opened.add(() => target.close());
    await createPubSub({ eventTarget: target }).publish("ready", "", null);
    return {
      target: face === "an event target" ? (target as object as EventTarget) : payloadTarget(target, { onError }),
      errors,
      arrive: (topic = "a") => transport.receiver.deliver({ type: topic, id: "", payload: null }),
    };
  },
]);

describe.each(FACES)("%s", (_, setUp) => {
  describe("once", () => {
    test("calls the listener a single time", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      target.addEventListener("a", () => calls++, { once: true });
      arrive();
      arrive();
      expect(calls).toBe(1);
    });

    test("has removed the listener before it is called, so that it may come back or nest", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      const listener = (): void => {
        calls++;
        if (calls < 3) target.addEventListener("a", listener, { once: true });
        arrive();
      };
      target.addEventListener("a", listener, { once: true });
      arrive();
      expect(calls).toBe(3);
      arrive();
      expect(calls).toBe(3);
    });

    test("does not tell listeners apart: what was added first counts", async () => {
      const { target, arrive } = await setUp();
      const calls = { first: 0, second: 0 };
      const first = () => calls.first++;
      const second = () => calls.second++;
      target.addEventListener("a", first, { once: true });
      target.addEventListener("a", first);
      target.addEventListener("a", second);
      target.addEventListener("a", second, { once: true });
      for (let i = 0; i < 3; i++) arrive();
      expect(calls).toEqual({ first: 1, second: 3 });
    });

    test("is removed like any other, whatever the options say", async () => {
      const { target, arrive } = await setUp();
      const listener = () => expect.unreachable();
      target.addEventListener("a", listener, { once: true });
      target.removeEventListener("a", listener, { once: false } as never);
      arrive();
    });

    test("of several is used up by one event, each", async () => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      for (const n of [1, 2, 3]) target.addEventListener("a", () => seen.push(n), { once: true, capture: n === 2 });
      arrive();
      arrive();
      expect(seen.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
    });

    test("is used up by a listener that throws", async () => {
      const { target, arrive } = await setUp();
      const boom = new Error("boom");
      const listener = () => {
        throw boom;
      };
      target.addEventListener("a", listener, { once: true });
      expect(await uncaughtDuring(() => (arrive(), arrive()))).toEqual([boom]);
    });
  });

  describe("passive", () => {
    test.each([true, false, undefined])("(%s) changes nothing: no event of ours can be cancelled", async (passive) => {
      const { target, arrive } = await setUp();
      let event: Event | undefined;
      const listener = (dispatched: Event) => {
        dispatched.preventDefault();
        event = dispatched;
      };
      target.addEventListener("a", listener, passive === undefined ? {} : { passive });
      arrive();
      expect(event).toMatchObject({ cancelable: false, defaultPrevented: false, returnValue: true });
    });

    test("does not tell listeners apart", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      const listener = () => calls++;
      target.addEventListener("a", listener, { passive: true });
      target.addEventListener("a", listener, { passive: false });
      arrive();
      expect(calls).toBe(1);
      target.removeEventListener("a", listener);
      arrive();
      expect(calls).toBe(1);
    });
  });

  describe("the capture option", () => {
    test.each<[unknown, boolean]>([
      [undefined, false],
      [null, false],
      [false, false],
      [0, false],
      ["", false],
      [NaN, false],
      [{}, false],
      [{ capture: 0 }, false],
      [{ capture: null }, false],
      [true, true],
      [1, true],
      ["false", true],
      [{ capture: 1 }, true],
      [{ capture: "yes" }, true],
    ])("is read from %j as truth is", async (options, capture) => {
      const { target, arrive } = await setUp();
      let calls = 0;
      const listener = () => calls++;
      target.addEventListener("a", listener, options as never);
      target.addEventListener("a", listener, capture);
      arrive();
      expect(calls).toBe(1);
      target.removeEventListener("a", listener, !capture);
      arrive();
      expect(calls).toBe(2);
      target.removeEventListener("a", listener, capture);
      arrive();
      expect(calls).toBe(2);
      target.addEventListener("a", listener, capture);
      target.removeEventListener("a", listener, options as never);
      arrive();
      expect(calls).toBe(2);
    });
  });

  describe("capture", () => {
    test("listeners come first, each kind in the order of adding", async () => {
      const { target, arrive } = await setUp();
      const seen: string[] = [];
      for (const n of [1, 2])
        for (const kind of ["bubble", "capture"])
          target.addEventListener("a", () => seen.push(`${kind} ${n}`), kind === "capture");
      arrive();
      expect(seen).toEqual(["capture 1", "capture 2", "bubble 1", "bubble 2"]);
    });

    test.each(["stopPropagation", "cancelBubble"])("listeners that use %s let no other kind be called", async (how) => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      target.addEventListener("a", () => expect.unreachable());
      target.addEventListener(
        "a",
        (event) => {
          seen.push(1);
          if (how === "stopPropagation") event.stopPropagation();
          else event.cancelBubble = true;
        },
        true,
      );
      target.addEventListener("a", () => seen.push(2), true);
      arrive();
      expect(seen).toEqual([1, 2]);
    });
  });

  describe("signal", () => {
    test("removes the listener when it aborts", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      const abort = new AbortController();
      target.addEventListener("a", () => calls++, { signal: abort.signal });
      arrive();
      abort.abort();
      arrive();
      expect(calls).toBe(1);
    });

    test("that has aborted adds nothing", async () => {
      const { target, arrive } = await setUp();
      target.addEventListener("a", () => expect.unreachable(), { signal: AbortSignal.abort() });
      arrive();
    });

    test("of one serves many listeners and topics", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      const { signal, abort } = controller();
      for (const topic of ["a", "b", "a"]) target.addEventListener(topic, () => calls++, { signal });
      target.addEventListener("a", () => calls++, { signal, once: true });
      arrive("a");
      arrive("b");
      expect(calls).toBe(4);
      abort();
      arrive("a");
      arrive("b");
      expect(calls).toBe(4);
    });

    test("aborted by a listener stops those that come after it, in the same dispatch", async () => {
      const { target, arrive } = await setUp();
      const { signal, abort } = controller();
      target.addEventListener("a", () => abort(), { signal });
      target.addEventListener("a", () => expect.unreachable(), { signal });
      arrive();
    });

    test("aborted by a listener stops one that the same listener added", async () => {
      const { target, arrive } = await setUp();
      const { signal, abort } = controller();
      target.addEventListener(
        "a",
        () => {
          target.addEventListener("a", () => expect.unreachable(), { signal });
          abort();
        },
        { once: true },
      );
      arrive();
      arrive();
    });

    test("does not come in the way of removeEventListener, nor of a listener that came back without it", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      const listener = () => calls++;
      const { signal, abort } = controller();
      target.addEventListener("a", listener, { signal });
      target.removeEventListener("a", listener);
      arrive();
      expect(calls).toBe(0);
      target.addEventListener("a", listener);
      abort();
      arrive();
      expect(calls).toBe(1);
    });

    test.each([null, {}, 1, "signal"])("that is %j throws, for a listener that is null too", async (signal) => {
      const { target, arrive } = await setUp();
      for (const listener of [() => expect.unreachable(), null])
        expect(() => target.addEventListener("a", listener, { signal } as never)).toThrow("AbortSignal");
      arrive();
    });

    test("is let go of when its listener is removed or used up", async () => {
      const { target, arrive } = await setUp();
      let held = 0;
      const { signal } = controller();
      const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
      signal.addEventListener = (...args: unknown[]) => (held++, add(...(args as Parameters<typeof add>)));
      signal.removeEventListener = (...args: unknown[]) => (held--, remove(...(args as Parameters<typeof remove>)));
      const listener = () => {};
      target.addEventListener("a", listener, { signal });
      target.addEventListener("a", () => {}, { signal, once: true });
      expect(held).toBe(2);
      target.removeEventListener("a", listener);
      arrive();
      expect(held).toBe(0);
    });
  });

  describe("handleEvent", () => {
    test("is called on its object, with the event", async () => {
      const { target, arrive } = await setUp();
      const seen: unknown[] = [];
      const object = {
        handleEvent(this: unknown, event: Event) {
          seen.push(this, event.type);
        },
      };
      target.addEventListener("a", object);
      arrive();
      expect(seen).toEqual([object, "a"]);
    });

    test("is got each time an event is dispatched, and not before", async () => {
      const { target, arrive } = await setUp();
      let gets = 0;
      let calls = 0;
      target.addEventListener("a", {
        get handleEvent() {
          gets++;
          return () => calls++;
        },
      });
      expect(gets).toBe(0);
      arrive();
      arrive();
      expect([gets, calls]).toEqual([2, 2]);
    });

    test("may be there later than its object, be replaced, and be inherited", async () => {
      const { target, arrive } = await setUp();
      const seen: string[] = [];
      const late: { handleEvent?: () => void } = {};
      class Base {
        handleEvent(): void {
          seen.push("inherited");
        }
      }
      class Derived extends Base {}
      target.addEventListener("a", late as EventListenerObject);
      target.addEventListener("a", new Derived());
      late.handleEvent = () => void seen.push("late");
      arrive();
      late.handleEvent = () => void seen.push("replaced");
      arrive();
      expect(seen).toEqual(["late", "inherited", "replaced", "inherited"]);
    });

    test("is not looked for on a function", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      const listener = Object.defineProperty(() => calls++, "handleEvent", { get: () => expect.unreachable() });
      target.addEventListener("a", listener);
      arrive();
      expect(calls).toBe(1);
    });

    test("whose getter throws is an uncaught error, and stops no other listener", async () => {
      const { target, arrive } = await setUp();
      const boom = new Error("boom");
      let calls = 0;
      target.addEventListener("a", {
        get handleEvent(): () => void {
          throw boom;
        },
      });
      target.addEventListener("a", () => calls++);
      expect(await uncaughtDuring(() => arrive())).toEqual([boom]);
      expect(calls).toBe(1);
    });

    test.each([undefined, null, false, 0, "", 7, "text", {}, []])(
      "that is %j is a TypeError when an event comes, uncaught",
      async (handleEvent) => {
        const { target, arrive } = await setUp();
        let calls = 0;
        target.addEventListener("a", { handleEvent } as never);
        target.addEventListener("a", () => calls++);
        const uncaught = await uncaughtDuring(() => arrive());
        expect(uncaught).toHaveLength(1);
        expect(uncaught[0]).toBeInstanceOf(TypeError);
        expect(calls).toBe(1);
      },
    );

    test("of an object that has none at all is one as well", async () => {
      const { target, arrive } = await setUp();
      target.addEventListener("a", {} as never);
      expect((await uncaughtDuring(() => arrive()))[0]).toBeInstanceOf(TypeError);
    });

    test("of an object that was removed is not looked for any more", async () => {
      const { target, arrive } = await setUp();
      const object = { handleEvent: () => expect.unreachable() };
      target.addEventListener("a", object);
      target.removeEventListener("a", object);
      arrive();
    });
  });

  describe("listeners", () => {
    test("are called in the order in which they were added", async () => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      for (const n of [1, 2, 3]) target.addEventListener("a", () => seen.push(n));
      target.addEventListener("a", { handleEvent: () => seen.push(4) });
      target.addEventListener("a", () => seen.push(5), { once: true });
      arrive();
      expect(seen).toEqual([1, 2, 3, 4, 5]);
    });

    test("keep their place when they are added again, and lose it when they are removed between", async () => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      const [one, two] = [() => seen.push(1), () => seen.push(2)];
      target.addEventListener("a", one);
      target.addEventListener("a", two);
      target.addEventListener("a", one);
      arrive();
      target.removeEventListener("a", one);
      target.addEventListener("a", one);
      arrive();
      expect(seen).toEqual([1, 2, 2, 1]);
    });

    test("that are null or missing are none; nothing is returned", async () => {
      const { target, arrive } = await setUp();
      expect(target.addEventListener("a", null)).toBeUndefined();
      expect(target.addEventListener("a", undefined as never)).toBeUndefined();
      expect(target.removeEventListener("a", null)).toBeUndefined();
      const unknown = () => {};
      expect(target.removeEventListener("a", unknown)).toBeUndefined();
      arrive();
    });

    test.each([0, 1, "listener", true, Symbol("listener")])(
      "that are neither function nor object (%s) throw",
      async (listener) => {
        const { target } = await setUp();
        for (const options of [undefined, { once: true }])
          expect(() => target.addEventListener("a", listener as never, options)).toThrow(TypeError);
      },
    );

    test("see the target as this and as currentTarget", async () => {
      const { target, arrive } = await setUp();
      const seen: unknown[] = [];
      for (const options of [{}, { once: true }])
        target.addEventListener(
          "a",
          function (this: unknown, event) {
            seen.push(this === target, event.currentTarget === this);
          },
          options,
        );
      arrive();
      expect(seen).toEqual([true, true, true, true]);
    });

    test("that throw stop no other, and each error is uncaught, in order", async () => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      const errors = [new Error("one"), new Error("two")];
      for (const [n, error] of errors.entries()) {
        target.addEventListener("a", () => {
          seen.push(n);
          throw error;
        });
        target.addEventListener("a", () => seen.push(n + 10));
      }
      expect(await uncaughtDuring(() => arrive())).toEqual(errors);
      expect(seen).toEqual([0, 10, 1, 11]);
    });
  });

  describe("during a dispatch", () => {
    test("a listener that is removed is not called any more, one that was called before makes no difference", async () => {
      const { target, arrive } = await setUp();
      const seen: string[] = [];
      const first = () => seen.push("first");
      const last = () => seen.push("last");
      target.addEventListener("a", first);
      target.addEventListener("a", () => {
        target.removeEventListener("a", first);
        target.removeEventListener("a", last);
      });
      target.addEventListener("a", last);
      arrive();
      expect(seen).toEqual(["first"]);
      arrive();
      expect(seen).toEqual(["first"]);
    });

    test("all may be removed, and the dispatch ends", async () => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      const listeners = [1, 2, 3].map((n) => () => {
        seen.push(n);
        for (const listener of listeners) target.removeEventListener("a", listener);
      });
      for (const listener of listeners) target.addEventListener("a", listener);
      arrive();
      arrive();
      expect(seen).toEqual([1]);
    });

    test("a listener that is added is not called yet; of another topic it is in time", async () => {
      const { target, arrive } = await setUp();
      const seen: string[] = [];
      target.addEventListener(
        "a",
        () => {
          for (const topic of ["a", "b"]) target.addEventListener(topic, () => seen.push(topic));
          arrive("b");
        },
        { once: true },
      );
      arrive();
      expect(seen).toEqual(["b"]);
      arrive();
      expect(seen).toEqual(["b", "a"]);
    });

    test("one that is removed and added again has come anew: it is called next time, at the end", async () => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      const two = () => seen.push(2);
      target.addEventListener("a", () => {
        seen.push(1);
        target.removeEventListener("a", two);
        target.addEventListener("a", two);
      });
      target.addEventListener("a", two);
      arrive();
      expect(seen).toEqual([1]);
    });

    test("an event has its target, its phase and its path for every listener; afterwards the target alone", async () => {
      const { target, arrive } = await setUp();
      const events: Event[] = [];
      const look = (event: Event): void => {
        events.push(event);
        expect(event.target).toBe(target);
        expect(event.currentTarget).toBe(target);
        expect(event.srcElement).toBe(target);
        expect(event.eventPhase).toBe(Event.AT_TARGET);
        expect(event.composedPath()).toEqual([target]);
      };
      target.addEventListener("a", look);
      target.addEventListener("a", { handleEvent: look });
      target.addEventListener("a", look, { capture: true, once: true });
      expect(await uncaughtDuring(() => arrive())).toEqual([]);
      const [event] = events;
      expect(events).toEqual([event, event, event]);
      expect(event).toBeInstanceOf(CustomEvent);
      expect(event?.target).toBe(target);
      expect(event?.currentTarget).toBeNull();
      expect(event?.eventPhase).toBe(Event.NONE);
      expect(event?.composedPath()).toEqual([]);
    });

    test("an event is of its topic, does not bubble, cannot be cancelled, and is nobody's but the script's", async () => {
      const { target, arrive } = await setUp();
      let event: Event | undefined;
      target.addEventListener("a", (dispatched) => (event = dispatched));
      arrive();
      expect(event).toMatchObject({
        type: "a",
        bubbles: false,
        cancelable: false,
        composed: false,
        defaultPrevented: false,
        isTrusted: false,
        cancelBubble: false,
      });
      expect(event?.timeStamp).toBeGreaterThan(0);
    });

    test("stopImmediatePropagation stops the listeners that come after it, for this event", async () => {
      const { target, arrive } = await setUp();
      const seen: number[] = [];
      target.addEventListener("a", () => seen.push(1));
      target.addEventListener("a", (event) => event.stopImmediatePropagation(), { once: true });
      target.addEventListener("a", () => seen.push(2));
      target.addEventListener("a", () => seen.push(3), { once: true });
      arrive();
      expect(seen).toEqual([1]);
      arrive();
      expect(seen).toEqual([1, 1, 2, 3]);
    });

    test("stopPropagation and cancelBubble stop no listener of the same target", async () => {
      const { target, arrive } = await setUp();
      let calls = 0;
      target.addEventListener("a", (event) => event.stopPropagation());
      target.addEventListener("a", (event) => (event.cancelBubble = true));
      target.addEventListener("a", () => calls++);
      arrive();
      expect(calls).toBe(1);
    });
  });

  test("instanceof EventTarget, with the three methods where the standard has them", async () => {
    const { target } = await setUp();
    expect(target).toBeInstanceOf(EventTarget);
    for (const method of ["addEventListener", "removeEventListener", "dispatchEvent"] as const)
      expect(Object.hasOwn(target, method)).toBe(false);
  });

  // What follows does not hold, on purpose or because it cannot; the table says why.
  describe("other than on the web", () => {
    test("dispatchEvent publishes: listeners see another event object, later or elsewhere, and it returns true", async () => {
      const { target } = await setUp();
      const seen: Event[] = [];
      target.addEventListener("a", (event) => {
        event.preventDefault();
        seen.push(event);
      });
      const event = new CustomEvent("a", { detail: { type: "a", id: "", payload: 1 }, cancelable: true });
      expect(target.dispatchEvent(event)).toBe(true);
      await settled();
      expect(seen).toHaveLength(1);
      expect(seen[0]).not.toBe(event);
      expect(event.target).toBeNull();
      expect(event.defaultPrevented).toBe(false);
    });

    test("an event may be dispatched again, also by its listener: it is published again, after the current one", async () => {
      const { target } = await setUp();
      const seen: string[] = [];
      const event = new CustomEvent("a", { detail: { type: "a", id: "", payload: 1 } });
      target.addEventListener("a", () => {
        seen.push("begin");
        if (seen.length < 3) target.dispatchEvent(event);
        seen.push("end");
      });
      target.dispatchEvent(event);
      await settled();
      expect(seen).toEqual(["begin", "end", "begin", "end"]);
    });

    test.each([null, undefined, {}, "a"])("dispatchEvent of %j tells onError instead of throwing", async (event) => {
      const { target, errors } = await setUp();
      expect(target.dispatchEvent(event as never)).toBe(true);
      expect(errors).toHaveLength(1);
    });

    test("an event type that is no topic throws InvalidTopicError", async () => {
      const { target } = await setUp();
      expect(() => target.addEventListener("two words", () => {})).toThrow(
        expect.objectContaining({ code: "INVALID_TOPIC" }) as Error,
      );
    });
  });
});

function controller(): { readonly signal: AbortSignal; readonly abort: () => void } {
  const abort = new AbortController();
  return { signal: abort.signal, abort: () => abort.abort() };
}
