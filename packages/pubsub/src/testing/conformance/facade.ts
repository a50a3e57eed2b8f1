import { assert, equal, isError, nextEvent, take, until } from "../assert.ts";
import type { TypedEvent } from "../../envelope.ts";
import type { AlkEventTarget } from "../../event-target.ts";
import type { Conformance, Ends, Harness, OpenOptions } from "../harness.ts";
import { known } from "./common.ts";

type WithTarget = Ends & { readonly target: AlkEventTarget };

async function openTarget(harness: Harness, options?: OpenOptions): Promise<WithTarget> {
  const ends = await harness.open(options);
  const { target } = ends;
  assert(target !== undefined, "there is no event target");
  return { ...ends, target };
}

/** Waits until the topic's listener is known on the far side: the facade has no promise to wait for. */
async function listening({ near, far }: Ends, harness: Harness, type: string): Promise<void> {
  const events = await near.subscribe(type, "1");
  await known(harness, near, far);
  await events.return();
}

/** The web standard's face of an event target. */
export const facade: readonly Conformance[] = [
  {
    name: "a listener of a topic gets CustomEvents whose type is the topic and whose detail is the envelope",
    needs: ["target"],
    async run(harness) {
      const ends = await openTarget(harness);
      const seen: TypedEvent[] = [];
      ends.target.addEventListener("test.facade:1", (event) => void seen.push(event));
      await listening(ends, harness, "test.facade");
      await ends.far.publish("test.facade", "2", "other");
      await ends.far.publish("test.facade", "1", { n: 1 });
      await until(() => seen.length > 0, "an event arrived");
      const [event] = seen;
      assert(event instanceof CustomEvent, "the event is no CustomEvent");
      equal(event.type, "test.facade:1", "the type");
      equal([event.detail.type, event.detail.id, event.detail.payload], ["test.facade", "1", { n: 1 }], "the detail");
      equal(seen.length, 1, "the number of events");
    },
  },
  {
    name: "dispatchEvent publishes the envelope to the far end, and returns true",
    needs: ["target"],
    async run(harness) {
      const { near, far, target } = await openTarget(harness);
      const events = await far.subscribe("test.facade", "1");
      await known(harness, near, far);
      const detail = { type: "test.facade", id: "1", payload: [1, 2] };
      equal(target.dispatchEvent(new CustomEvent("test.facade:1", { detail })), true, "what it returned");
      const { type, id, payload } = await nextEvent(events);
      equal({ type, id, payload }, detail);
    },
  },
  {
    name: "listeners follow the standard: once, signals, objects, duplicates, removal",
    needs: ["target"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far, target } = ends;
      const calls: string[] = [];
      const abort = new AbortController();
      const twice = (): void => void calls.push("duplicate");
      const removed = (): void => void calls.push("removed");
      target.addEventListener("test.facade:1", () => void calls.push("once"), { once: true });
      target.addEventListener("test.facade:1", () => void calls.push("signal"), { signal: abort.signal });
      target.addEventListener("test.facade:1", { handleEvent: () => void calls.push("object") });
      target.addEventListener("test.facade:1", twice);
      target.addEventListener("test.facade:1", twice);
      target.addEventListener("test.facade:1", removed);
      target.removeEventListener("test.facade:1", removed);
      const events = await near.subscribe("test.facade", "1");
      await known(harness, near, far);
      await far.publish("test.facade", "1", 0);
      await take(events, 1);
      equal(calls.splice(0), ["once", "signal", "object", "duplicate"]);
      abort.abort();
      await far.publish("test.facade", "1", 1);
      await take(events, 1);
      equal(calls, ["object", "duplicate"]);
    },
  },
  {
    name: "a listener that throws stops no other listener and no subscription",
    needs: ["target"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far, target } = ends;
      const calls: string[] = [];
      // The platform reports what a listener of an EventTarget throws as uncaught, so this one only returns early.
      target.addEventListener("test.facade:1", (event) => event.stopImmediatePropagation());
      target.addEventListener("test.facade:1", () => void calls.push("stopped"));
      const events = await near.subscribe("test.facade", "1");
      await known(harness, near, far);
      await far.publish("test.facade", "1", 0);
      equal(await take(events, 1), [0]);
      equal(calls, [], "what a stopped listener saw");
    },
  },
  {
    name: "the last listener of a topic frees it on the far side",
    needs: ["target", "counts"],
    async run(harness) {
      const { target, farFilters = () => 0 } = await openTarget(harness);
      const [one, two] = [(): void => undefined, (): void => undefined];
      target.addEventListener("test.facade:1", one);
      target.addEventListener("test.facade:1", two);
      await until(async () => (await farFilters()) === 1, "the far side holds one filter");
      target.removeEventListener("test.facade:1", one);
      target.removeEventListener("test.facade:1", two);
      await until(async () => (await farFilters()) === 0, "the far side holds no filter");
    },
  },
  {
    name: "dispatchEvent reports what has no envelope, and returns true",
    needs: ["target"],
    async run(harness) {
      const errors: unknown[] = [];
      const { target } = await openTarget(harness, { onError: (error) => void errors.push(error) });
      equal(target.dispatchEvent(new CustomEvent("test.facade")), true, "what it returned");
      const forged = { type: "$hello", id: "", payload: null };
      equal(target.dispatchEvent(new CustomEvent("$hello", { detail: forged })), true, "what it returned");
      await until(() => errors.length === 2, "both errors were reported");
      isError(errors[0], "MALFORMED");
      isError(errors[1], "INVALID_TOPIC");
    },
  },
];
