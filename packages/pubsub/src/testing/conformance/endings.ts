import { assert, equal, isError, rejects, take, until } from "../assert.ts";
import type { PubSubErrorCode } from "../../errors.ts";
import type { PubSub } from "../../api.ts";
import type { AlkEventTarget } from "../../event-target.ts";
import type { Conformance } from "../harness.ts";
import { known, sequence } from "./common.ts";

type Call = (near: PubSub, signal?: AbortSignal) => Promise<unknown>;

/** Every operation of a PubSub that can be refused. */
const CALLS: Readonly<Record<string, Call>> = {
  publish: (near) => near.publish("test.over", "", 1),
  subscribe: (near, signal) => near.subscribe("test.over", "", signal && { signal }),
  "the iterator of subscribe": (near, signal) => {
    const pending = near.subscribe("test.over", "", signal && { signal });
    return pending[Symbol.asyncIterator]().next();
  },
  on: (near, signal) => near.on("test.over", "", () => undefined, signal && { signal }),
};

async function allReject(near: PubSub, code: PubSubErrorCode): Promise<void> {
  for (const [name, call] of Object.entries(CALLS))
    try {
      await rejects(call(near), code);
    } catch (error) {
      throw new Error(`${name}: ${(error as Error).message}`, { cause: error });
    }
}

/** Closing and aborting, as every operation sees them. */
export const endings: readonly Conformance[] = [
  {
    name: "a PubSub that was closed rejects every operation with CLOSED, and closes again without error",
    async run(harness) {
      const { near } = await harness.open();
      await near.close();
      equal(near.status, "closed", "the status");
      await allReject(near, "CLOSED");
      await near.close();
      await near[Symbol.asyncDispose]();
    },
  },
  {
    name: "a PubSub that is being closed rejects every new operation with CLOSED",
    async run(harness) {
      const { near } = await harness.open();
      await near.subscribe("test.over", "");
      const closing = near.close();
      await allReject(near, "CLOSED");
      await closing;
    },
  },
  {
    name: "an aborted signal rejects every operation that takes one with its reason, and does nothing",
    async run(harness) {
      const { near } = await harness.open();
      const reason = new Error("not wanted");
      for (const [name, call] of Object.entries(CALLS)) {
        if (name === "publish") continue;
        const error = await call(near, AbortSignal.abort(reason)).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        assert(error === reason, `${name} ended with ${String(error)}`);
      }
    },
  },
  {
    name: "what is buffered when a PubSub is closed can still be read, then it is done",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await near.subscribe("test.drain", "");
      const other = await near.subscribe("test.drain", "");
      await known(harness, near, far);
      for (let i = 0; i < 10; i++) await far.publish("test.drain", "", i);
      await take(other, 10);
      await near.close();
      equal(await take(events, 10), sequence(10));
      equal((await events.next()).done, true, "whether it is done");
      equal((await events.next()).done, true, "whether it stays done");
    },
  },
  {
    name: "closing a PubSub settles the publishes in flight",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await far.subscribe("test.flight", "");
      await known(harness, near, far);
      const publishing = sequence(50).map((i) => near.publish("test.flight", "", i));
      const closing = near.close();
      if (harness.features.has("target")) equal(await take(events, 50), sequence(50));
      await Promise.all(publishing);
      await closing;
    },
  },
  {
    name: "an event target that was closed rejects every operation with CLOSED, and closes again without error",
    needs: ["target"],
    async run(harness) {
      const errors: unknown[] = [];
      const { near, target } = await harness.open({ onError: (error) => void errors.push(error) });
      assert(target !== undefined, "there is no event target");
      await near.subscribe("test.over", "");
      await target.close();
      await target.closed;
      equal([target.status, near.status], ["closed", "closed"], "the statuses");
      await allReject(near, "CLOSED");
      errors.length = 0;
      await facadeIsOver(target, errors);
      await target.close();
      await target[Symbol.asyncDispose]();
    },
  },
  {
    name: "an event target that is being closed rejects every new operation with CLOSED",
    needs: ["target"],
    async run(harness) {
      const errors: unknown[] = [];
      const { near, target } = await harness.open({ onError: (error) => void errors.push(error) });
      assert(target !== undefined, "there is no event target");
      await near.subscribe("test.over", "");
      const closing = target.close();
      const facade = facadeIsOver(target, errors);
      await allReject(near, "CLOSED");
      await facade;
      await closing;
    },
  },
  {
    name: "subscriptions of an event target that is closed drain, then are done",
    needs: ["target"],
    async run(harness) {
      const { near, far, target } = await harness.open();
      const events = await near.subscribe("test.drain", "");
      const other = await near.subscribe("test.drain", "");
      await known(harness, near, far);
      for (let i = 0; i < 5; i++) await far.publish("test.drain", "", i);
      await take(other, 5);
      await target?.close();
      equal(await take(events, 5), sequence(5));
      equal((await events.next()).done, true, "whether it is done");
    },
  },
  {
    name: "subscribing and closing at once leaves nothing pending",
    needs: ["target"],
    async run(harness) {
      for (let ticks = 0; ticks < 10; ticks++) {
        const { near, target, farFilters } = await harness.open();
        assert(target !== undefined, "there is no event target");
        const calls = sequence(20).map((i) =>
          near.subscribe("test.closing", `${i}`).then(
            () => undefined,
            (error: unknown) => error,
          ),
        );
        for (let i = 0; i < ticks; i++) await Promise.resolve();
        await target.close();
        for (const error of await Promise.all(calls)) if (error !== undefined) isError(error, "CLOSED");
        if (farFilters !== undefined)
          await until(async () => (await farFilters()) === 0, "the far side holds no filter");
      }
    },
  },
];

/** `addEventListener` and `dispatchEvent` throw nothing: what they would say goes to `onError`. */
async function facadeIsOver(target: AlkEventTarget, errors: readonly unknown[]): Promise<void> {
  target.addEventListener("test.over", () => undefined);
  equal(
    target.dispatchEvent(new CustomEvent("test.over", { detail: { type: "test.over", id: "", payload: 1 } })),
    true,
    "what dispatchEvent returned",
  );
  await until(() => errors.length >= 2, "both errors were reported");
  for (const error of errors) isError(error, "CLOSED");
}
