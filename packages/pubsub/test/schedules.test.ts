import { describe, expect, test } from "vitest";
import { mutations } from "./fixtures/mutations.ts";
import { times } from "./fixtures/proofs.ts";
import { runSchedule } from "./fixtures/schedule.ts";

// SEED=4711 repeats one schedule and tells its story; SEEDS=100000 runs more of them.
const { SEED, SEEDS = String(times(10_000, 3000)) } = process.env;

if (SEED !== undefined)
  describe(`the schedule of SEED=${SEED}`, () => {
    test("keeps every promise", async () => {
      const { problems, story } = await runSchedule(Number(SEED), { tell: true });
      console.log(story.join("\n"));
      expect(problems).toEqual([]);
    });
  });
else
  describe("random schedules", () => {
    test(`deliver each event, or report the gap in which it lies, in ${SEEDS} of ${SEEDS}`, async () => {
      for (let seed = 0; seed < Number(SEEDS); seed++) {
        const { problems } = await runSchedule(seed);
        expect(problems, `repeat it with SEED=${seed} npx vitest run schedules`).toEqual([]);
      }
    }, 120_000);

    test("repeat with their seed, down to each message", async () => {
      for (let seed = 0; seed < 20; seed++) {
        const first = await runSchedule(seed, { tell: true });
        expect(await runSchedule(seed, { tell: true })).toEqual(first);
      }
    });

    for (const { name, supports, mutate } of mutations)
      test(`find a transport that ${name}`, async () => {
        const options = { mutate, ...(supports !== undefined && { supports }) };
        let caught: number | undefined;
        for (let seed = 0; caught === undefined && seed < 1000; seed++)
          if ((await runSchedule(seed, options)).problems.length > 0) caught = seed;
        expect(caught).toBeDefined();
      });
  });
