import { assert, equal, isError, nextEvent, rejects, take, whenStatus } from "../assert.ts";
import type { AlkEventTarget } from "../../event-target.ts";
import type { Gap } from "../../transport.ts";
import type { Conformance, Ends, Harness, OpenOptions } from "../harness.ts";
import { known, sequence } from "./common.ts";

type Opened = Ends & { readonly target: AlkEventTarget };

async function openTarget(harness: Harness, options?: OpenOptions): Promise<Opened> {
  const ends = await harness.open(options);
  const { target } = ends;
  assert(target !== undefined, "there is no event target");
  return { ...ends, target };
}

/** Breaks the connection, and waits until it is noticed and over. */
async function interrupt({ target, cut }: Opened): Promise<void> {
  const interrupted = whenStatus(target, "interrupted");
  await cut?.();
  await interrupted;
  await whenStatus(target, "ready");
}

/** Publishes until the first event arrives: after an interruption, where nobody knows when the far side is back. */
async function nextAfter(
  ends: Ends,
  events: { next(): Promise<IteratorResult<{ payload: unknown }, undefined>> },
  type: string,
): Promise<unknown> {
  let seen = false;
  const next = events.next().finally(() => (seen = true));
  for (let i = 0; !seen; i++) {
    await ends.far.publish(type, "", `after ${i}`).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return (await next).value?.payload;
}

/** Cuts, freezes and restarts. */
export const trouble: readonly Conformance[] = [
  {
    name: "a gap stands where a cut lost events, and what comes after it is delivered",
    requires: ({ lossDetection, replay }) => lossDetection !== "none" && !replay,
    needs: ["target", "reconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far } = ends;
      const story: unknown[] = [];
      const onGap = ({ reason, lost }: Gap): void => void story.push([reason, lost]);
      const events = await near.subscribe("test.cut", "", { onGap });
      await known(harness, near, far);
      await far.publish("test.cut", "", "before");
      story.push(await nextEvent(events).then(({ payload }) => payload));
      await interrupt(ends);
      const after = await nextAfter(ends, events, "test.cut");
      equal(story, ["before", ["reconnect", "unknown"]], "what was seen before the next event");
      assert(String(after).startsWith("after"), `the next event is ${String(after)}`);
    },
  },
  {
    name: "a gap that nobody handles is thrown after a cut",
    requires: ({ lossDetection, replay }) => lossDetection !== "none" && !replay,
    needs: ["target", "reconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const events = await ends.near.subscribe("test.cut", "");
      await interrupt(ends);
      const { gap } = await rejects(events.next(), "GAP");
      equal(gap?.reason, "reconnect", "the reason");
      equal((await events.next()).done, true, "whether it is done after the error");
    },
  },
  {
    name: "every filter is subscribed again before the status is ready",
    requires: ({ subscribeAck }) => subscribeAck,
    needs: ["target", "reconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far } = ends;
      const subscriptions = await Promise.all(
        sequence(20).map((i) => near.subscribe("test.again", `${i}`, { onGap: "ignore" })),
      );
      for (let round = 0; round < 3; round++) {
        await interrupt(ends);
        for (const i of sequence(20)) await far.publish("test.again", `${i}`, [round, i]);
        for (const [i, events] of subscriptions.entries()) {
          let next = await nextEvent(events);
          // At least once: what came before the cut may come again.
          while (harness.supports.delivery === "at-least-once" && (next.payload as number[])[0] !== round)
            next = await nextEvent(events);
          equal(next.payload, [round, i]);
        }
      }
    },
  },
  {
    name: "what a cut missed is replayed, without a gap",
    requires: ({ replay, publishAck }) => replay && publishAck !== "none",
    needs: ["target", "reconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far } = ends;
      const gaps: Gap[] = [];
      const events = await near.subscribe("test.replay", "", { onGap: (gap) => void gaps.push(gap) });
      await known(harness, near, far);
      const interrupted = interrupt(ends);
      for (let i = 0; i < 50; i++) await far.publish("test.replay", "", i);
      await interrupted;
      const seen = new Set<unknown>();
      while (seen.size < 50) seen.add((await nextEvent(events)).payload);
      equal([...seen], sequence(50));
      equal(gaps, [], "the gaps");
    },
  },
  {
    name: "a subscribe while the connection is interrupted waits for it",
    requires: ({ subscribeAck }) => subscribeAck,
    needs: ["target", "reconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far, target, cut } = ends;
      await near.subscribe("test.other", "", { onGap: "ignore" });
      const interrupted = whenStatus(target, "interrupted");
      await cut?.();
      await interrupted;
      const events = await near.subscribe("test.cut", "");
      equal(target.status, "ready", "the status once it is live");
      await far.publish("test.cut", "", 0);
      equal(await take(events, 1), [0]);
    },
  },
  {
    name: "a publish while the connection is interrupted is refused with INTERRUPTED",
    needs: ["target", "reconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, target, cut } = ends;
      await near.publish("test.cut", "", 0);
      const result = new Promise<unknown>((resolve) => {
        const stop = target.onStatus((status) => {
          if (status !== "interrupted") return;
          stop();
          resolve(near.publish("test.cut", "", 1).catch((error: unknown) => error));
        });
      });
      await cut?.();
      isError(await result, "INTERRUPTED");
      await whenStatus(target, "ready");
      await near.publish("test.cut", "", 2);
    },
  },
  {
    name: "no event is delivered twice, or out of order, however often the connection is cut",
    requires: ({ delivery }) => delivery === "at-most-once",
    needs: ["target", "reconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far } = ends;
      const seen: number[] = [];
      await near.on("test.cuts", "", ({ payload }) => void seen.push(payload as number), { onGap: "ignore" });
      await known(harness, near, far);
      let i = 0;
      for (let round = 0; round < 3; round++) {
        const interrupted = interrupt(ends);
        let over = false;
        void interrupted.finally(() => (over = true));
        while (!over) {
          await far.publish("test.cuts", "", i++);
          await new Promise((resolve) => setTimeout(resolve, 0));
        }
        await interrupted;
      }
      const events = await near.subscribe("test.cuts", "", { onGap: "ignore" });
      await known(harness, near, far);
      await far.publish("test.cuts", "", i);
      // What was still on its way when this subscription began comes to it too.
      while ((await nextEvent(events)).payload !== i);
      equal(
        seen,
        [...new Set(seen)].sort((a, b) => a - b),
        "what was delivered",
      );
      assert(seen.at(-1) === i, "the last event is missing");
    },
  },
  {
    name: "when the connection is over, subscriptions drain and then throw DISCONNECTED, and calls are refused with it",
    needs: ["target", "disconnects"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, far, target, cut } = ends;
      const events = await near.subscribe("test.over", "");
      const other = await near.subscribe("test.over", "");
      await known(harness, near, far);
      for (let i = 0; i < 5; i++) await far.publish("test.over", "", i);
      await take(other, 5);
      // Expected from the beginning: it may reject before whoever cuts has said that it is done.
      const parked = rejects(other.next(), "DISCONNECTED");
      await cut?.();
      await parked;
      await target.closed;
      equal(target.status, "closed", "the status");
      equal(await take(events, 5), sequence(5));
      await rejects(events.next(), "DISCONNECTED");
      await rejects(near.publish("test.over", "", 1), "DISCONNECTED");
      await rejects(near.subscribe("test.over", ""), "DISCONNECTED");
    },
  },
  {
    name: "a publish that is in flight when the connection ends settles",
    needs: ["target", "disconnects"],
    async run(harness) {
      const { near, far, cut } = await openTarget(harness);
      await far.subscribe("test.flight", "");
      await known(harness, near, far);
      const flight = sequence(100).map((i) => near.publish("test.flight", "", i));
      const settled = Promise.allSettled(flight);
      await cut?.();
      for (const result of await settled)
        if (result.status === "rejected")
          assert(
            ["INTERRUPTED", "DISCONNECTED"].includes((result.reason as { code: string }).code),
            String(result.reason),
          );
    },
  },
  {
    name: "a subscribe that is not answered rejects with TIMEOUT, which names the topic, and works once there are answers",
    requires: ({ subscribeAck }) => subscribeAck,
    needs: ["target", "freezes"],
    async run(harness) {
      const ends = await openTarget(harness, { target: { subscribeTimeout: 50 } });
      const { near, far, freeze, thaw } = ends;
      // Waits for the connection, however long that takes; the time-out is for what comes after.
      await near.publish("test.other", "", 0);
      await freeze?.();
      const { message } = await rejects(near.subscribe("test.frozen", "topic 7"), "TIMEOUT");
      assert(message.includes("test.frozen:topic 7"), `the message does not name the topic: ${message}`);
      await thaw?.();
      const events = await untilLive(near);
      await far.publish("test.frozen", "topic 7", 0);
      equal(await take(events, 1), [0]);
    },
  },
  {
    name: "what a freeze held back arrives after it",
    needs: ["target", "freezes"],
    async run(harness) {
      const { near, far, freeze, thaw } = await openTarget(harness);
      const events = await near.subscribe("test.frozen", "");
      await known(harness, near, far);
      await freeze?.();
      const publishing = sequence(20).map((i) => far.publish("test.frozen", "", i));
      await thaw?.();
      equal(await take(events, 20), sequence(20));
      await Promise.all(publishing);
    },
  },
  {
    name: "a restart of the server is a gap, or is replayed, and everything works after it",
    requires: ({ lossDetection }) => lossDetection !== "none",
    needs: ["target", "restarts"],
    async run(harness) {
      const ends = await openTarget(harness);
      const { near, target, restart } = ends;
      const gaps: Gap[] = [];
      const events = await near.subscribe("test.restart", "", { onGap: (gap) => void gaps.push(gap) });
      const interrupted = whenStatus(target, "interrupted");
      await restart?.();
      await interrupted;
      await whenStatus(target, "ready");
      await nextAfter(ends, events, "test.restart");
      if (!harness.supports.replay)
        equal(
          gaps.map(({ reason }) => reason),
          ["reconnect"],
          "the gaps",
        );
    },
  },
];

/** Subscribes until it works: a peer that was frozen may answer late more than once. */
async function untilLive(near: Ends["near"]): Promise<Awaited<ReturnType<Ends["near"]["subscribe"]>>> {
  for (;;)
    try {
      return await near.subscribe("test.frozen", "topic 7");
    } catch (error) {
      isError(error, "TIMEOUT");
    }
}
