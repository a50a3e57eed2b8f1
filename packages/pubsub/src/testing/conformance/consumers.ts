import { assert, deferred, equal, isError, nextEvent, rejects, take, until } from "../assert.ts";
import type { Conformance } from "../harness.ts";
import type { Gap } from "../../transport.ts";
import { known, sequence, window } from "./common.ts";

/** Buffers, listeners, and leaving. */
export const consumers: readonly Conformance[] = [
  {
    name: "a subscriber that does not read slows no other",
    async run(harness) {
      const { near, far } = await harness.open();
      const slow = await near.subscribe("test.slow", "", {
        buffer: { limit: 10, overflow: "drop-oldest" },
        onGap: "ignore",
      });
      const fast = await near.subscribe("test.slow", "");
      await known(harness, near, far);
      const publishing = window(2000, 200, (i) => far.publish("test.slow", "", i));
      equal(await take(fast, 2000), sequence(2000));
      await publishing;
      equal([slow.received, slow.dropped], [2000, 1990], "what the slow one received and dropped");
    },
  },
  {
    name: "with overflow 'error' a full buffer drains, then OVERFLOW is thrown, and the rest goes on",
    async run(harness) {
      const { near, far } = await harness.open();
      const full = await near.subscribe("test.full", "", { buffer: { limit: 5 } });
      const other = await near.subscribe("test.full", "");
      await known(harness, near, far);
      for (let i = 0; i < 10; i++) await far.publish("test.full", "", i);
      equal(await take(other, 10), sequence(10));
      equal(await take(full, 5), sequence(5));
      await rejects(full.next(), "OVERFLOW");
      equal((await full.next()).done, true, "whether it is done after the error");
      equal(full.dropped, 1, "the number of dropped events");
    },
  },
  {
    name: "with overflow 'drop-oldest' the newest stay, and one gap stands before them",
    async run(harness) {
      const { near, far } = await harness.open();
      const gaps: [number, Gap][] = [];
      let seen = 0;
      const onGap = (gap: Gap): void => void gaps.push([seen, gap]);
      const full = await near.subscribe("test.full", "", { buffer: { limit: 5, overflow: "drop-oldest" }, onGap });
      const other = await near.subscribe("test.full", "");
      await known(harness, near, far);
      for (let i = 0; i < 10; i++) await far.publish("test.full", "", i);
      await take(other, 10);
      for (; seen < 5; seen++) equal((await nextEvent(full)).payload, seen + 5);
      equal(
        gaps.map(([at, { reason, lost }]) => [at, reason, lost]),
        [[0, "overflow", 5]],
        "the gaps",
      );
    },
  },
  {
    name: "with overflow 'drop-newest' the oldest stay, and one gap stands after them",
    async run(harness) {
      const { near, far } = await harness.open();
      const gaps: [number, Gap][] = [];
      let seen = 0;
      const onGap = (gap: Gap): void => void gaps.push([seen, gap]);
      const full = await near.subscribe("test.full", "", { buffer: { limit: 5, overflow: "drop-newest" }, onGap });
      const other = await near.subscribe("test.full", "");
      await known(harness, near, far);
      for (let i = 0; i < 10; i++) await far.publish("test.full", "", i);
      await take(other, 10);
      for (; seen < 5; seen++) equal((await nextEvent(full)).payload, seen);
      await far.publish("test.full", "", 10);
      equal((await nextEvent(full)).payload, 10);
      equal(
        gaps.map(([at, { reason, lost }]) => [at, reason, lost]),
        [[5, "overflow", 5]],
        "the gaps",
      );
    },
  },
  {
    name: "a gap that nobody handles is thrown, and ends the subscription",
    async run(harness) {
      const { near, far } = await harness.open();
      const full = await near.subscribe("test.full", "", { buffer: { limit: 1, overflow: "drop-newest" } });
      const other = await near.subscribe("test.full", "");
      await known(harness, near, far);
      for (let i = 0; i < 3; i++) await far.publish("test.full", "", i);
      await take(other, 3);
      equal(await take(full, 1), [0]);
      const { gap } = await rejects(full.next(), "GAP");
      equal(gap?.lost, 2, "the number of lost events");
      equal((await full.next()).done, true, "whether it is done after the error");
    },
  },
  {
    name: "batches give everything that has arrived, in order",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await near.subscribe("test.batch", "");
      await known(harness, near, far);
      const publishing = window(1000, 250, (i) => far.publish("test.batch", "", i));
      const seen: unknown[] = [];
      for await (const batch of events.batches()) {
        assert(batch.length > 0, "a batch is empty");
        for (const { payload } of batch) seen.push(payload);
        if (seen.length === 1000) break;
      }
      equal(seen, sequence(1000));
      await publishing;
    },
  },
  {
    name: "a subscription that was left gets nothing more, and its topic's others go on",
    async run(harness) {
      const { near, far } = await harness.open();
      const stays = await near.subscribe("test.leave", "");
      const leaves = await near.subscribe("test.leave", "");
      await known(harness, near, far);
      await far.publish("test.leave", "", 0);
      for await (const { payload } of leaves) {
        equal(payload, 0);
        break;
      }
      await far.publish("test.leave", "", 1);
      equal(await take(stays, 2), [0, 1]);
      equal((await leaves.next()).done, true, "whether it is done");
      equal(leaves.received, 1, "the number of events that it got");
    },
  },
  {
    name: "a listener that was stopped is called no more",
    async run(harness) {
      const { near, far } = await harness.open();
      const seen: unknown[] = [];
      const stop = await near.on("test.stop", "", ({ payload }) => void seen.push(payload));
      const events = await near.subscribe("test.stop", "");
      await known(harness, near, far);
      await far.publish("test.stop", "", 0);
      await take(events, 1);
      stop();
      stop();
      await far.publish("test.stop", "", 1);
      await take(events, 1);
      equal(seen, [0]);
    },
  },
  {
    name: "the far side frees what nobody wants any more",
    needs: ["counts"],
    async run(harness) {
      const { near, farFilters = () => 0 } = await harness.open();
      const subscriptions = await Promise.all(sequence(20).map((i) => near.subscribe("test.free", `${i % 10}`)));
      const stop = await near.on("test.free", "listener", () => undefined);
      await until(async () => (await farFilters()) === 11, "the far side holds eleven filters");
      for (const events of subscriptions) await events.return();
      stop();
      await until(async () => (await farFilters()) === 0, "the far side holds no filter");
    },
  },
  {
    name: "a listener that throws or rejects stops no other, and is reported",
    async run(harness) {
      const errors: unknown[] = [];
      const reported = deferred();
      const { near, far } = await harness.open({ onError: (error) => errors.push(error) === 2 && reported.resolve() });
      const seen: unknown[] = [];
      await near.on("test.throw", "", () => {
        throw new Error("thrown");
      });
      await near.on("test.throw", "", () => Promise.reject(new Error("rejected")));
      await near.on("test.throw", "", ({ payload }) => void seen.push(payload));
      const events = await near.subscribe("test.throw", "");
      await known(harness, near, far);
      await far.publish("test.throw", "", 0);
      equal(await take(events, 1), [0]);
      equal(seen, [0]);
      await reported.promise;
      equal(errors.map((error) => (error as Error).message).sort(), ["rejected", "thrown"]);
    },
  },
  {
    name: "a subscribe that is aborted before it is live rejects with the signal's reason, and leaves nothing behind",
    needs: ["target"],
    async run(harness) {
      const { near, far, farFilters } = await harness.open();
      const reason = new Error("no longer wanted");
      for (let i = 0; i < 20; i++) {
        const abort = new AbortController();
        const pending = near.subscribe("test.abort", `${i}`, { signal: abort.signal });
        abort.abort(reason);
        const error: unknown = await pending.then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        assert(error === reason, `it ended with ${String(error)}`);
      }
      if (farFilters !== undefined) await until(async () => (await farFilters()) === 0, "the far side holds no filter");
      const events = await near.subscribe("test.abort", "0");
      await known(harness, near, far);
      await far.publish("test.abort", "0", 0);
      equal(await take(events, 1), [0]);
    },
  },
  {
    name: "one that aborts cancels no other that waits for the same topic",
    async run(harness) {
      const { near, far } = await harness.open();
      const abort = new AbortController();
      const first = near.subscribe("test.abort", "", { signal: abort.signal });
      const second = near.subscribe("test.abort", "");
      abort.abort(new Error("no longer wanted"));
      await first.catch(() => undefined);
      const events = await second;
      await known(harness, near, far);
      await far.publish("test.abort", "", 0);
      equal(await take(events, 1), [0]);
    },
  },
  {
    name: "an aborted signal ends a live subscription at once, and discards its buffer",
    async run(harness) {
      const { near, far } = await harness.open();
      const abort = new AbortController();
      const events = await near.subscribe("test.abort", "", { signal: abort.signal });
      const other = await near.subscribe("test.abort", "");
      await known(harness, near, far);
      await far.publish("test.abort", "", 0);
      await take(other, 1);
      abort.abort();
      equal((await events.next()).done, true, "whether it is done");
    },
  },
  {
    name: "a parked next() is done at once when its subscription is left",
    async run(harness) {
      const { near } = await harness.open();
      const events = await near.subscribe("test.park", "");
      const parked = events.next();
      await events.return();
      equal((await parked).done, true, "whether it is done");
    },
  },
  {
    name: "errors of a call carry their code",
    async run(harness) {
      const { near } = await harness.open();
      isError(await near.publish("no type", "", 1).catch((error: unknown) => error), "INVALID_TOPIC");
    },
  },
];
