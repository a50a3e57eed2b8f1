// Links under stress: every link of the table with every fault, in the middle of bursts in both directions.
import { appendFileSync } from "node:fs";
import process from "node:process";
import { describe, test } from "vitest";
import { CELLS, FAULTS, IMPOSSIBLE, runCell } from "./fixtures/stress-cells.ts";
import type { Expectation } from "./fixtures/stress-cells.ts";

/** `npm run stress` says for how long, and wants to know what came of it. */
const SECONDS = Number(process.env["STRESS_SECONDS"] ?? 3);
const RESULTS = process.env["STRESS_RESULTS"];
const size = {
  events: RESULTS === undefined ? 300 : 10_000,
  milliseconds: SECONDS * 1000,
  pause: RESULTS === undefined ? 10 : 0,
};

const HOLDS: Record<Expectation, object> = {
  whole: { gaps: 0, interrupted: 0, unknown: 0, endings: [] },
  resumed: { gaps: 0, interrupted: 0, unknown: 0, endings: [] },
  anew: { gaps: 0, endings: [] },
  gap: { endings: [] },
  ends: { gaps: 0, endings: ["DISCONNECTED"] },
};

const SAYS: Record<Expectation, string> = {
  whole: "nothing happens",
  resumed: "it goes on over another channel, and nothing is missing",
  anew: "it begins anew, and nobody else misses anything",
  gap: "what may be missing lies inside a gap",
  ends: "both sides are told of the end, after everything that was accepted",
};

if (RESULTS !== undefined)
  for (const { row, fault, not } of IMPOSSIBLE)
    appendFileSync(RESULTS, `${JSON.stringify({ link: row.name, fault, not })}\n`);

describe("links under stress", () => {
  for (const cell of CELLS) {
    const { row, fault, expected } = cell;
    test.concurrent(
      `${row.name}, ${FAULTS[fault].title}: ${SAYS[expected]}`,
      { timeout: 120_000 + size.milliseconds * 3 },
      async ({ expect }) => {
        const result = await runCell(cell, size);
        const line = { order: CELLS.indexOf(cell), link: row.name, fault, ...result };
        if (RESULTS !== undefined) appendFileSync(RESULTS, `${JSON.stringify(line)}\n`);
        expect(result).toMatchObject({ problems: [], ...HOLDS[expected] });
        if (expected === "gap") expect(result.gaps).toBeGreaterThan(0);
        expect(result.times).toBeGreaterThan(0);
        expect(result.delivered).toBeGreaterThan(size.events);
      },
    );
  }
});
