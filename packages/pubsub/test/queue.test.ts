// The queue of a subscription, held against a list that is too simple to be wrong.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NOTHING } from "../src/poll.ts";
import { checkBuffer, gapError, Queue } from "../src/queue.ts";
import type { OnGap } from "../src/queue.ts";
import type { Gap } from "../src/transport.ts";

type Overflow = "error" | "drop-oldest" | "drop-newest";
const event = (payload: number) => ({ type: "a", id: "", payload });
const gap = (lost: number, reason: Gap["reason"] = "reconnect"): Gap => ({ reason, since: 0, until: 0, lost });

function queueOf(limit: number, overflow: Overflow, onGap?: OnGap): Queue {
  return new Queue({ type: "a" }, { ...checkBuffer({ limit, overflow }), onGap, onError: undefined }, true, {});
}

type Step =
  | { readonly do: "deliver" | "read" | "batch" | "poll" }
  | { readonly do: "gap"; readonly reason: "reconnect" | "trimmed" };

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.constant<Step>({ do: "deliver" }) },
    { weight: 3, arbitrary: fc.constantFrom<Step>({ do: "read" }, { do: "poll" }) },
    { weight: 1, arbitrary: fc.constant<Step>({ do: "batch" }) },
    {
      weight: 2,
      arbitrary: fc.constantFrom<Step>({ do: "gap", reason: "reconnect" }, { do: "gap", reason: "trimmed" }),
    },
  ),
  { maxLength: 80 },
);

/** Every event is a number, every loss is a string; neighbouring losses are compared as a set, with their sums. */
type Story = (number | Record<string, number>)[];

function tell(story: Story, reason: string, lost: number): void {
  const last = story.at(-1);
  if (typeof last === "object") last[reason] = (last[reason] ?? 0) + lost;
  else story.push({ [reason]: lost });
}

describe("the queue", () => {
  test("does what a list does: every event or its loss, in order, each once", async () => {
    await fc.assert(
      fc.asyncProperty(
        steps,
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom<Overflow>("drop-oldest", "drop-newest"),
        async (steps, limit, overflow) => {
          const story: Story = [];
          const queue = queueOf(limit, overflow, ({ reason, lost }) => tell(story, reason, lost as number));
          /** Items that wait: events, and losses in their places. */
          let list: Story = [];
          const expected: Story = [];
          const buffered = () => list.filter((item) => typeof item === "number").length;
          let sent = 0;
          let dropped = 0;
          /** Moves losses that stand at the front, then events, to what is expected. */
          const take = (events: number) => {
            for (let taken = 0; list.length > 0;) {
              const [item] = list as [Story[number]];
              if (typeof item === "number" && taken === events) return;
              list.shift();
              if (typeof item === "object") {
                for (const [reason, lost] of Object.entries(item)) tell(expected, reason, lost);
              } else {
                expected.push(item);
                if (++taken === events) return;
              }
            }
          };
          for (const step of steps)
            if (step.do === "deliver") {
              const n = sent++;
              queue.deliver(event(n));
              if (buffered() < limit) list.push(n);
              else {
                dropped++;
                if (overflow === "drop-newest") tell(list, "overflow", 1);
                else {
                  const at = list.findIndex((item) => typeof item === "number");
                  const before: Story = [];
                  for (const [i, item] of list.entries())
                    if (i === at) tell(before, "overflow", 1);
                    else if (typeof item === "number") before.push(item);
                    else for (const [reason, lost] of Object.entries(item)) tell(before, reason, lost);
                  list = [...before, n];
                }
              }
            } else if (step.do === "gap") {
              queue.gap(gap(1, step.reason));
              tell(list, step.reason, 1);
            } else if (buffered() > 0) {
              if (step.do === "poll") {
                const polled = queue.poll();
                expect(polled === NOTHING).toBe(typeof list[0] === "object");
                if (polled === NOTHING) continue;
                story.push(polled.payload as number);
                take(1);
              } else if (step.do === "read") {
                story.push((await queue.next()).value?.payload as number);
                take(1);
              } else {
                const { value } = await queue.nextBatch();
                expect(value?.length).toBeGreaterThan(0);
                for (const { payload } of value ?? []) story.push(payload as number);
                if (typeof list[0] === "object") take(0);
                const end = list.findIndex((item) => typeof item === "object");
                take(end < 0 ? list.length : end);
              }
              expect(story).toEqual(expected);
            }
          queue.end();
          for (let read = await queue.next(); read.done !== true; read = await queue.next())
            story.push(read.value.payload as number);
          take(Infinity);
          expect(story).toEqual(expected);
          expect([queue.received, queue.dropped]).toEqual([sent, dropped]);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("of the policy 'error' gives the first events up to the limit, then the error, then nothing", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 20 }), fc.nat({ max: 40 }), async (limit, count) => {
        const queue = queueOf(limit, "error");
        for (let i = 0; i < count; i++) queue.deliver(event(i));
        const seen: unknown[] = [];
        queue.end();
        let failed: unknown;
        for (;;) {
          const read = await queue.next().catch((error: unknown) => {
            expect(failed).toBeUndefined();
            failed = error;
          });
          if (read === undefined) continue;
          if (read.done === true) break;
          seen.push(read.value.payload);
        }
        expect(seen).toEqual(Array.from({ length: Math.min(limit, count) }, (_, i) => i));
        expect(failed).toEqual(count > limit ? expect.objectContaining({ code: "OVERFLOW" }) : undefined);
      }),
    );
  });

  test("detaches when nothing more comes in, and finishes when nothing is left to read, each once", async () => {
    const queue = queueOf(2, "error");
    const told: string[] = [];
    queue.release = () => told.push("release");
    queue.finished = () => told.push("finished");
    queue.deliver(event(1));
    queue.end();
    queue.fail(new Error("too late"));
    expect(told).toEqual(["release"]);
    await queue.next();
    expect(told).toEqual(["release"]);
    expect(await queue.next()).toEqual({ value: undefined, done: true });
    queue.discard();
    await queue.next();
    expect(told).toEqual(["release", "finished"]);
  });

  test("takes nothing more once it ends", async () => {
    const queue = queueOf(2, "error", "ignore");
    queue.end();
    queue.deliver(event(1));
    queue.gap(gap(1));
    expect([queue.received, queue.gaps]).toEqual([0, 0]);
    expect((await queue.next()).done).toBe(true);
  });

  test("has nothing to poll where a gap stands first, and a poll passes no gap", async () => {
    const seen: Gap[] = [];
    const queue = queueOf(5, "error", (gap) => seen.push(gap));
    expect(queue.poll()).toBe(NOTHING);
    queue.deliver(event(1));
    queue.gap(gap(1));
    queue.deliver(event(2));
    expect(queue.poll()).toEqual(event(1));
    expect(queue.poll()).toBe(NOTHING);
    expect(seen).toEqual([]);
    expect((await queue.next()).value).toEqual(event(2));
    expect(seen).toEqual([gap(1)]);
    queue.discard();
    expect(queue.poll()).toBe(NOTHING);
  });

  test.each([
    [gap(1), "1 event may be missing here (reconnect)"],
    [gap(2, "overflow"), "2 events may be missing here (overflow)"],
    [{ ...gap(0), lost: "unknown" as const }, "An unknown number of events may be missing here"],
  ])("words a gap so that one knows what to do", (gap, text) => {
    expect(gapError(gap)).toMatchObject({ code: "GAP", gap });
    expect(gapError(gap).message).toContain(text);
    expect(gapError(gap).message).toContain("onGap: 'ignore'");
  });
});
