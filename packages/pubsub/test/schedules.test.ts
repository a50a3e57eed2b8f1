import { expect, test } from "vitest";
import { runSchedule } from "./fixtures/schedule.ts";

const SEEDS = Number(process.env["SEEDS"] ?? 10_000);
const only = process.env["SEED"];

test("whatever happens, each event is delivered or lies inside a reported gap", async () => {
  if (only !== undefined) {
    const { problems, story } = await runSchedule(Number(only));
    console.log(story.join("\n"));
    expect(problems).toEqual([]);
    return;
  }
  for (let seed = 0; seed < SEEDS; seed++) {
    const { problems } = await runSchedule(seed);
    expect(problems, `repeat it with SEED=${seed} npx vitest run schedules`).toEqual([]);
  }
}, 120_000);
