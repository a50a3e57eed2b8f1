// What time drives: debounce, throttle and timeout, on a clock that goes when it is told to.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PubSubError } from "../src/errors.ts";
import { batch, debounce, map, pipe, take, tap, throttle, timeout, toArray } from "../src/operators/index.ts";
import type { Operator, ThrottleOptions } from "../src/operators/index.ts";
import { poll } from "../src/poll.ts";
import { DONE, Feed, item, PolledFeed, TestClock, turn } from "./operators-sources.ts";

const error = new Error("no luck");
const never = new Promise<never>(() => {});
const kinds = { "a source that is awaited": Feed, "a source that is polled": PolledFeed };

/** Runs an operator over items that come at their time; gives what came out, and when. */
async function run<T>(
  feed: Feed<T>,
  clock: TestClock,
  operator: Operator<T, T>,
  items: readonly (readonly [at: number, value: T])[],
  end: number,
): Promise<[number, T][]> {
  const out: [number, T][] = [];
  const pipeline = pipe(feed, operator);
  const reading = (async () => {
    for await (const value of pipeline) out.push([clock.time, value]);
  })();
  for (const [at, value] of items) {
    await to(clock, at);
    feed.push(value);
    await turn();
  }
  await to(clock, end);
  feed.end();
  await reading;
  return out;
}

/** Goes there timer by timer, as time does. */
async function to(clock: TestClock, time: number): Promise<void> {
  for (;;) {
    await turn();
    if (clock.time >= time) return;
    clock.advance(1);
  }
}

describe.each(Object.entries(kinds))("%s", (_, Kind) => {
  describe.each([
    ["debounce", (clock: TestClock): Operator<number, number> => debounce(100, { clock })],
    ["throttle", (clock: TestClock): Operator<number, number> => throttle(100, { leading: false, clock })],
  ])("%s, while it holds an item", (_, operator) => {
    const holding = async () => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const pipeline = pipe(feed, operator(clock));
      const next = pipeline.next();
      await feed.whenParked();
      feed.push(1);
      await feed.whenParked();
      expect(clock.timers).toBe(1);
      return { clock, feed, pipeline, next };
    };

    test("gives it when the time is over, and stops the time", async () => {
      const { clock, next, pipeline, feed } = await holding();
      clock.advance(99);
      await turn();
      expect(clock.timers).toBe(1);
      clock.advance(1);
      expect(await next).toEqual(item(1));
      expect(clock.timers).toBe(0);
      expect(feed.closed).toBe(0);
      await pipeline.return();
      expect(feed.closed).toBe(1);
    });

    test("closes a parked source, stops the time and discards it when the consumer returns", async () => {
      const { clock, feed, pipeline, next } = await holding();
      const left = pipeline.return();
      expect(feed.closed).toBe(1);
      expect(clock.timers).toBe(0);
      expect(await next).toEqual(DONE);
      expect(await left).toEqual(DONE);
      expect(await pipeline.next()).toEqual(DONE);
    });

    test("gives it at once when the source ends, and stops the time", async () => {
      const { clock, feed, pipeline, next } = await holding();
      feed.end();
      expect(await next).toEqual(item(1));
      expect(clock.timers).toBe(0);
      expect(await pipeline.next()).toEqual(DONE);
      expect(feed.closed).toBe(0);
    });

    test("gives it at once when the source fails, then the error", async () => {
      const { clock, feed, pipeline, next } = await holding();
      feed.fail(error);
      expect(await next).toEqual(item(1));
      expect(clock.timers).toBe(0);
      await expect(pipeline.next()).rejects.toBe(error);
      expect(await pipeline.next()).toEqual(DONE);
      expect(feed.closed).toBe(0);
    });

    test("settles when an async generator is parked in await and cannot close", async () => {
      const clock = new TestClock();
      let parked = () => {};
      const whenParked = new Promise<void>((resolve) => (parked = resolve));
      const source = async function* (): AsyncGenerator<number> {
        yield 1;
        parked();
        yield await never;
      };
      const pipeline = pipe(source(), operator(clock));
      const next = pipeline.next();
      await whenParked;
      expect(await pipeline.return()).toEqual(DONE);
      expect(await next).toEqual(DONE);
      expect(clock.timers).toBe(0);
    });
  });

  describe.each([
    ["debounce", (clock: TestClock): Operator<number, number> => debounce(100, { clock })],
    ["throttle", (clock: TestClock): Operator<number, number> => throttle(100, { clock })],
    ["throttle without the first", (clock: TestClock) => throttle<number>(100, { leading: false, clock })],
    ["throttle without the last", (clock: TestClock) => throttle<number>(100, { trailing: false, clock })],
  ])("%s", (_, operator) => {
    test("closes its source, which is parked, when a stage after it has enough", async () => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const result = pipe(feed, operator(clock), take(1), toArray());
      await feed.whenParked();
      feed.push(1);
      await turn();
      clock.advance(100);
      expect(await result).toEqual([1]);
      expect(feed.closed).toBe(1);
      expect(clock.timers).toBe(0);
    });

    test("closes its source, which is parked, when a stage after it throws", async () => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const thrower = map((): number => {
        throw error;
      });
      const result = pipe(feed, operator(clock), thrower, toArray());
      const rejects = expect(result).rejects.toBe(error);
      await feed.whenParked();
      feed.push(1);
      await turn();
      clock.advance(100);
      await rejects;
      expect(feed.closed).toBe(1);
      expect(clock.timers).toBe(0);
    });

    test("closes its source when the consumer breaks", async () => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const reading = (async () => {
        for await (const _ of pipe(feed, operator(clock))) break;
      })();
      await feed.whenParked();
      feed.push(1);
      await turn();
      clock.advance(100);
      await reading;
      expect(feed.closed).toBe(1);
    });
  });

  describe("debounce", () => {
    const items = [
      [0, "a"],
      [50, "b"],
      [149, "c"],
      [300, "d"],
    ] as const;

    test("gives the last item after silence, and what is held at the end", async () => {
      const clock = new TestClock();
      expect(await run(new Kind<string>(), clock, debounce(100, { clock }), items, 310)).toEqual([
        [249, "c"],
        [310, "d"],
      ]);
      expect(clock.timers).toBe(0);
    });

    test("needs one timer of the clock for all items that follow one another closely", async () => {
      const clock = new TestClock();
      let started = 0;
      const counted = Object.assign(Object.create(clock) as TestClock, {
        setTimeout: (run: () => void, ms: number) => (started++, clock.setTimeout(run, ms)),
        clearTimeout: (timer: unknown) => clock.clearTimeout(timer),
        now: () => clock.now(),
      });
      const feed = new Kind<number>();
      const pipeline = pipe(feed, debounce(100, { clock: counted }));
      const next = pipeline.next();
      for (let n = 0; n < 10; n++) {
        await feed.whenParked();
        feed.push(n);
        await feed.whenParked();
        clock.time += 5;
      }
      expect(started).toBe(1);
      clock.advance(50);
      expect(started).toBe(2);
      clock.advance(45);
      expect(await next).toEqual(item(9));
    });

    test("gives an item after which there was silence, also if no timer could fire", async () => {
      const clock = new TestClock();
      const at = tap((time: number) => (clock.time = time));
      expect(await pipe(Kind.of(0, 10, 110, 150, 250), at, debounce(100, { clock }), toArray())).toEqual([
        10, 150, 250,
      ]);
    });

    test("does not take a new item for the one whose time was over", async () => {
      for (let ticks = 0; ticks < 10; ticks++) {
        const clock = new TestClock();
        const feed = new Kind<number>();
        const pipeline = pipe(feed, debounce(100, { clock }));
        const out: number[] = [];
        const reading = (async () => {
          for await (const n of pipeline) out.push(n);
        })();
        await feed.whenParked();
        feed.push(1);
        await feed.whenParked();
        feed.push(2);
        for (let n = 0; n < ticks; n++) await Promise.resolve();
        clock.advance(100);
        await turn();
        // The new item came before the silence was long enough, or after that; then its own is still to come.
        clock.advance(99);
        await turn();
        expect([[1], [2]]).toContainEqual(out);
        clock.advance(1);
        await turn();
        expect([[1, 2], [2]]).toContainEqual(out);
        await pipeline.return();
        await reading;
      }
    });

    test("reads nothing while nobody asks", async () => {
      const clock = new TestClock();
      const feed = new Kind([1]);
      const pipeline = pipe(feed, debounce(100, { clock }));
      await turn();
      expect(feed.buffer).toEqual([1]);
      expect(clock.timers).toBe(0);
      await pipeline.return();
    });
  });

  describe("throttle", () => {
    const items = [
      [0, "a"],
      [50, "b"],
      [60, "c"],
      [150, "d"],
      [400, "e"],
    ] as const;
    const outcome = (options: ThrottleOptions, end = 600) => {
      const clock = new TestClock();
      return run(new Kind<string>(), clock, throttle(100, { clock, ...options }), items, end);
    };

    test("gives the first of an interval at once and the last at its end, where the next one begins", async () => {
      expect(await outcome({})).toEqual([
        [0, "a"],
        [100, "c"],
        [200, "d"],
        [400, "e"],
      ]);
    });

    test("without the last gives the first of each interval", async () => {
      expect(await outcome({ trailing: false })).toEqual([
        [0, "a"],
        [150, "d"],
        [400, "e"],
      ]);
    });

    test("without the first gives the last of each interval, and what is held at the end", async () => {
      expect(await outcome({ leading: false })).toEqual([
        [100, "c"],
        [200, "d"],
        [500, "e"],
      ]);
      expect((await outcome({ leading: false }, 410)).at(-1)).toEqual([410, "e"]);
    });

    test("keeps to the time, also if no timer could fire", async () => {
      const clock = new TestClock();
      const at = tap((time: number) => (clock.time = time));
      const source = () => pipe(Kind.of(0, 10, 120, 130, 500, 510), at);
      expect(await pipe(source(), throttle(100, { clock }), toArray())).toEqual([0, 10, 130, 510]);
      clock.time = 0;
      expect(await pipe(source(), throttle(100, { clock, trailing: false }), toArray())).toEqual([0, 120, 500]);
      expect(clock.timers).toBe(0);
    });

    test("without the last needs no timer, and is polled as one with the stages around it", () => {
      const clock = new TestClock();
      const pipeline = pipe(
        new PolledFeed([1, 2]),
        map((n) => n * 10),
        throttle(100, { trailing: false, clock }),
      );
      expect(pipeline[poll]()).toBe(10);
      expect(clock.timers).toBe(0);
    });
  });

  describe("timeout", () => {
    const waiting = async (ms = 100) => {
      const clock = new TestClock();
      const feed = new Kind<number>();
      const pipeline = pipe(feed, timeout(ms, { clock }));
      const next = pipeline.next();
      await feed.whenParked();
      return { clock, feed, pipeline, next };
    };

    test("throws TIMEOUT and closes its source when the next item takes too long, and is done then", async () => {
      const { clock, feed, pipeline, next } = await waiting();
      clock.advance(99);
      expect(feed.closed).toBe(0);
      clock.advance(1);
      await expect(next).rejects.toMatchObject({ code: "TIMEOUT" });
      await expect(next).rejects.toBeInstanceOf(PubSubError);
      expect(feed.closed).toBe(1);
      expect(await pipeline.next()).toEqual(DONE);
      expect(await pipeline.return()).toEqual(DONE);
      expect(feed.closed).toBe(1);
    });

    test("gives each item its own time, and stops the time with the item", async () => {
      const { clock, feed, pipeline, next } = await waiting();
      clock.advance(80);
      feed.push(1);
      expect(await next).toEqual(item(1));
      expect(clock.timers).toBe(0);
      clock.advance(1000);
      const second = pipeline.next();
      await feed.whenParked();
      clock.advance(80);
      feed.push(2);
      expect(await second).toEqual(item(2));
      expect(feed.closed).toBe(0);
    });

    test("gives an item or throws if both come in one tick, but not one after the other", async () => {
      for (let ticks = 0; ticks < 10; ticks++) {
        const { clock, feed, pipeline, next } = await waiting();
        feed.push(1);
        for (let n = 0; n < ticks; n++) await Promise.resolve();
        clock.advance(100);
        const outcome = await next.catch((thrown: PubSubError) => thrown.code);
        if (outcome === "TIMEOUT") continue;
        expect(outcome).toEqual(item(1));
        const second = pipeline.next();
        await feed.whenParked();
        expect(clock.timers).toBe(1);
        feed.push(2);
        expect(await second).toEqual(item(2));
      }
    });

    test("counts the end as well, and stops the time with it", async () => {
      const { clock, feed, next } = await waiting();
      feed.end();
      expect(await next).toEqual(DONE);
      expect(clock.timers).toBe(0);
    });

    test("stops the time when the source fails, and when the consumer returns", async () => {
      const failed = await waiting();
      failed.feed.fail(error);
      await expect(failed.next).rejects.toBe(error);
      expect(failed.clock.timers).toBe(0);
      const left = await waiting();
      await left.pipeline.return();
      expect(await left.next).toEqual(DONE);
      expect(left.clock.timers).toBe(0);
      expect(left.feed.closed).toBe(1);
    });

    test("throws also where the source is parked and does not close", async () => {
      const clock = new TestClock();
      let parked = () => {};
      const whenParked = new Promise<void>((resolve) => (parked = resolve));
      const source = async function* (): AsyncGenerator<number> {
        parked();
        yield await never;
      };
      const next = pipe(source(), timeout(100, { clock })).next();
      await whenParked;
      clock.advance(100);
      await expect(next).rejects.toMatchObject({ code: "TIMEOUT" });
    });

    test("gives a batch of what came before it", async () => {
      const clock = new TestClock();
      const feed = new Kind([1, 2]);
      const pipeline = pipe(feed, timeout(100, { clock }), batch(5));
      const next = pipeline.next();
      await feed.whenParked();
      clock.advance(100);
      expect(await next).toEqual(item([1, 2]));
      await expect(pipeline.next()).rejects.toMatchObject({ code: "TIMEOUT" });
    });
  });

  test("time operators follow what plain loops over the times give", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 12 }),
        fc.integer({ min: 1, max: 10 }),
        async (pauses, ms) => {
          let time = 0;
          const items = pauses.map((pause, n) => [(time += pause), n] as const);
          const end = time + 30;
          const outcome = (operator: (clock: TestClock) => Operator<number, number>) => {
            const clock = new TestClock();
            return run(new Kind<number>(), clock, operator(clock), items, end);
          };
          const quiet = items.filter(([at], n) => (items[n + 1]?.[0] ?? Infinity) - at > ms);
          // What comes in the very moment in which the silence is long enough may still be in time, or not.
          if (items.every(([at], n) => (items[n + 1]?.[0] ?? Infinity) - at !== ms))
            expect(await outcome((clock) => debounce(ms, { clock }))).toEqual(quiet.map(([at, n]) => [at + ms, n]));
          let until = -Infinity;
          const first = items.filter(([at]) => at >= until && ((until = at + ms), true));
          expect(await outcome((clock) => throttle(ms, { trailing: false, clock }))).toEqual(first);
          const both = await outcome((clock) => throttle(ms, { clock }));
          both.forEach(([at], n) => expect(at - (both[n - 1]?.[0] ?? -Infinity)).toBeGreaterThanOrEqual(ms));
          // Neither the first nor the last item of all is ever missed.
          expect(both[0]?.[1]).toEqual(items[0]?.[1]);
          expect(both.at(-1)?.[1]).toEqual(items.at(-1)?.[1]);
        },
      ),
      { numRuns: 50 },
    );
  });
});

test("the real clock is taken where none is given", async () => {
  expect(await pipe(new Feed([1]), debounce(0), take(1), toArray())).toEqual([1]);
  expect(await pipe(new Feed([1]), throttle(0, { leading: false }), take(1), toArray())).toEqual([1]);
  const feed = new Feed<number>();
  await expect(pipe(feed, timeout(0)).next()).rejects.toMatchObject({ code: "TIMEOUT" });
  expect(feed.closed).toBe(1);
});
