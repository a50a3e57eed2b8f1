// Random calls among spokes that come and go: each settles once, none hangs, and none is carried out twice. A failure prints its
// seed and path; PROPERTY_SEED and PROPERTY_PATH repeat it, PROPERTY_RUNS=20 makes twenty times as many.
import { createMessagePortEventTarget } from "@alkdev/pubsub/event-target-message-port";
import { createWorkerEventTarget } from "@alkdev/pubsub/event-target-worker";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { createPubSub } from "@alkdev/pubsub";
import { createOperations, createRouter, OperationError } from "@alkdev/operations";
import type { CallContext, Caller, AnyContract, Router } from "@alkdev/operations";
import * as fc from "fast-check";
import { MessageChannel, Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { aborted, until } from "./fixtures/open.ts";

const { PROPERTY_RUNS = "1", PROPERTY_SEED, PROPERTY_PATH } = process.env;
const FACTOR = Number(PROPERTY_RUNS);
/** Whatever has not settled by then hangs. Far more than any timeout of a call. */
const HANGS_MS = 20_000;
const onError = (): void => undefined;

interface Step {
  readonly do: "call" | "stream" | "kill";
  /** What the handler does after so many turns of the event loop. */
  readonly how: "answer" | "throw" | "never";
  readonly turns: number;
  readonly timeout: number;
  /** After so many turns the caller aborts, or breaks. */
  readonly abort: number | undefined;
  /** Who calls, or who is killed. */
  readonly who: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom("call", "call", "call", "call", "stream", "stream", "kill"),
  how: fc.constantFrom("answer", "answer", "answer", "throw", "never"),
  turns: fc.nat(4),
  timeout: fc.integer({ min: 1, max: 60 }),
  abort: fc.option(fc.nat(4), { nil: undefined, freq: 4 }),
  who: fc.nat(2),
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Job {
  readonly number: number;
  readonly how: Step["how"];
  readonly turns: number;
}

/** What becomes of every job, whoever carries it out. */
class Book {
  readonly ran = new Map<number, number>();
  readonly settled = new Map<number, number>();
  readonly problems: string[] = [];

  settle(number: number): void {
    this.settled.set(number, (this.settled.get(number) ?? 0) + 1);
  }

  async play({ number, how, turns }: Job, { signal }: CallContext): Promise<number> {
    this.ran.set(number, (this.ran.get(number) ?? 0) + 1);
    for (let n = 0; n < turns; n++) await turn();
    if (how === "throw") throw new Error("as told");
    if (how === "never") await aborted(signal);
    return number;
  }

  async *items(job: Job, context: CallContext): AsyncGenerator<number, void, undefined> {
    yield await this.play(job, context);
    for (let n = 1; n < 20; n++) yield job.number + n;
  }
}

interface World {
  readonly router: Router;
  caller(who: number): Caller<AnyContract>;
  kill(who: number): void;
  end(): Promise<void>;
}

type Fault = "none" | "twice" | "silent";

/** A router and three spokes over ports; each that is killed is followed by another. */
function openWorld(book: Book, fault: Fault): World {
  const router = createRouter({ onError });
  const ends: (() => Promise<void>)[] = [];
  const spoke = (): { readonly operations: Caller<AnyContract>; readonly die: () => void } => {
    const { port1, port2 } = new MessageChannel();
    const targets = [
      createMessagePortEventTarget(port1, { onError }),
      createMessagePortEventTarget(port2, { onError }),
    ];
    const [near, far] = targets.map((eventTarget) => createPubSub({ eventTarget, onError })) as [never, never];
    router.connect(near);
    const operations = createOperations(far, { router: true, onError });
    const play = async (job: Job, context: CallContext): Promise<unknown> => {
      if (fault === "twice" && job.number % 20 === 7) await book.play({ ...job, how: "answer" }, context);
      if (fault === "silent" && job.number % 20 === 7) return new Promise(() => undefined);
      return book.play(job, context);
    };
    operations.handle("play", play).catch(onError);
    operations.handle("items", (job: Job, context) => book.items(job, context)).catch(onError);
    ends.push(async () => {
      await operations.close();
      for (const target of targets) await target.close();
      port1.close();
    });
    return { operations, die: () => port2.close() };
  };
  const spokes = [spoke(), spoke(), spoke()];
  const caller = spoke();
  return {
    router,
    caller: (who) => (who % 2 === 0 ? router.operations : caller.operations),
    kill(who) {
      spokes[who]?.die();
      spokes[who] = spoke();
    },
    async end() {
      await Promise.all(ends.map((end) => end()));
      await router.close();
    },
  };
}

const RIGHT: ReadonlySet<string> = new Set([
  "ABORTED",
  "HANDLER_ERROR",
  "OPERATION_NOT_FOUND",
  "TIMEOUT",
  "UNAVAILABLE",
]);

async function make(
  caller: Caller<AnyContract>,
  { do: what, how, turns, timeout, abort }: Step,
  number: number,
  fault: Fault,
): Promise<string | undefined> {
  const controller = new AbortController();
  const job: Job = { number, how, turns };
  // With a fault that makes calls hang, time does not save them.
  const options = { signal: controller.signal, timeout: fault === "silent" && how !== "never" ? Infinity : timeout };
  const aborting = async (): Promise<void> => {
    if (abort === undefined || fault === "silent") return;
    for (let n = 0; n < abort; n++) await turn();
    controller.abort();
  };
  void aborting();
  try {
    if (what === "call") {
      const answer = await caller.call("play", job, options);
      return answer === number ? undefined : `${number} was answered with ${String(answer)}`;
    }
    let next = number;
    for await (const item of caller.stream("items", job, { ...options, buffer: 4 })) {
      if (item !== next++) return `item ${String(item)} of ${number} came in the place of ${next - 1}`;
      if (abort !== undefined && next - number > abort) return undefined;
    }
    return next === number + 20 ? undefined : `${number} ended after ${next - number} items`;
  } catch (error) {
    if (error instanceof OperationError && RIGHT.has(error.code)) return undefined;
    return `${number} failed with ${String(error)}`;
  }
}

async function follow(steps: readonly Step[], fault: Fault, hangs: number): Promise<string[]> {
  const book = new Book();
  const world = openWorld(book, fault);
  try {
    await until(() => world.router.status().operations.length === 2);
    const calls = steps.map(async (each, n) => {
      // Not all in one task.
      for (let wait = 0; wait < n % 7; wait++) await turn();
      if (each.do === "kill") return world.kill(each.who);
      const number = n * 100;
      const problem = await make(world.caller(each.who), each, number + (n % 20), fault);
      if (problem !== undefined) book.problems.push(problem);
      return book.settle(number);
    });
    let stop: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<string>((resolve) => {
      stop = setTimeout(() => resolve("late"), hangs);
    });
    const ended = await Promise.race([Promise.all(calls).then(() => "ended"), late]);
    clearTimeout(stop);
    const made = steps.filter((each) => each.do !== "kill").length;
    if (ended === "late") book.problems.push(`${made - book.settled.size} of ${made} calls hang`);
    for (const [number, times] of book.ran) if (times > 1) book.problems.push(`${number} ran ${times} times`);
    for (const [number, times] of book.settled) if (times > 1) book.problems.push(`${number} settled ${times} times`);
    if (ended === "ended" && fault === "none") await until(() => world.router.status().pending === 0);
    return book.problems;
  } finally {
    await world.end();
  }
}

const schedules = fc.array(step, { minLength: 20, maxLength: 60 });

async function check(fault: Fault, numRuns: number, hangs: number): Promise<fc.RunDetails<[Step[]]>> {
  const property = fc.asyncProperty(schedules, async (steps) => {
    const problems = await follow(steps, fault, hangs);
    if (problems.length > 0) throw new Error(problems.slice(0, 5).join("\n"));
  });
  return (await fc.check(property, {
    numRuns,
    endOnFailure: fault !== "none",
    ...(PROPERTY_SEED !== undefined && { seed: Number(PROPERTY_SEED) }),
    ...(PROPERTY_PATH !== undefined && { path: PROPERTY_PATH }),
  })) as fc.RunDetails<[Step[]]>;
}

describe("thousands of calls, with aborts, timeouts and spokes that die", () => {
  test("settle once each, and run at most once each", { timeout: 120_000 * FACTOR }, async () => {
    const details = await check("none", 80 * FACTOR, HANGS_MS);
    if (details.failed) throw new Error(`${fc.defaultReportMessage(details)}\n\n${String(details.errorInstance)}`);
  });

  test("are seen to run twice where a handler does", { timeout: 120_000 }, async () => {
    const details = await check("twice", 50, HANGS_MS);
    expect(String(details.errorInstance)).toMatch(/ran 2 times/);
  });

  test("are seen to hang where nothing bounds them and nobody answers", { timeout: 120_000 }, async () => {
    const details = await check("silent", 50, 500);
    expect(String(details.errorInstance)).toMatch(/calls hang/);
  });
});

test("calls of worker threads that crash in their midst settle, and run at most once", async () => {
  const router = createRouter({ onError });
  const targets: AlkEventTarget[] = [];
  const workers: Worker[] = [];
  const start = (): void => {
    const worker = new Worker(new URL("fixtures/far-side.mjs", import.meta.url), { argv: ["router"] });
    const eventTarget = createWorkerEventTarget(worker, { onError });
    workers.push(worker);
    targets.push(eventTarget);
    router.connect(createPubSub({ eventTarget, onError }));
  };
  start();
  start();
  const offering = (): number => router.status().operations.find(({ name }) => name === "ran")?.spokes ?? 0;
  await until(() => offering() === 2);
  const { operations } = router;
  const outcomes: string[] = [];
  const made: Promise<number>[] = [];
  let number = 0;
  for (let round = 0; round < 5; round++) {
    for (let n = 0; n < 200; n++) {
      const job = { number: number++, steps: n % 5, how: n % 7 === 0 ? "throw" : "answer" };
      made.push(
        operations
          .call("play", job)
          .then(String, (error: OperationError) => error.code)
          .then((outcome) => outcomes.push(outcome)),
      );
    }
    if (round % 2 === 0) void operations.call("crash", null).catch(onError);
    await turn();
  }
  await Promise.all(made);
  expect(outcomes.length).toBe(1000);
  expect(
    outcomes.filter((outcome) => !/^\d+$|^HANDLER_ERROR$|^UNAVAILABLE$|^OPERATION_NOT_FOUND$/.test(outcome)),
  ).toEqual([]);
  // Both are gone by now; new ones are as good.
  start();
  await until(() => offering() > 0);
  await operations.call("play", { number: -1, steps: 0, how: "answer" });
  expect(await operations.call("ran", null)).toBe(1);
  for (const target of targets) await target.close();
  for (const worker of workers) await worker.terminate();
  await router.close();
});
