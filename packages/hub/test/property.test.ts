// Random schedules over real transports, held to what the library promises. A failure prints its seed and the path to the
// shortest schedule that fails: PROPERTY_SEED and PROPERTY_PATH repeat it. PROPERTY_RUNS=20 runs twenty times as many.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { follow, hubAndClients, inProcess, schedules, workers } from "./fixtures/world.ts";
import type { Fault, Return, Step, World } from "./fixtures/world.ts";

const { PROPERTY_RUNS = "1", PROPERTY_SEED, PROPERTY_PATH } = process.env;
const FACTOR = Number(PROPERTY_RUNS);

/** How long a property may look for a schedule that fails, and then for a shorter one, in milliseconds. */
const TIME = 3000 * FACTOR;
const SHRINK_TIME = 30_000;

interface Looked {
  readonly details: fc.RunDetails<[unknown, Step[]]>;
  readonly runs: number;
}

/** Follows schedules until so many have passed or the time is up; no run is left behind. */
async function look<C>(
  configurations: fc.Arbitrary<C>,
  open: (configuration: C) => World | Promise<World>,
  numRuns: number,
  fails = false,
): Promise<Looked> {
  // One that is expected to fail needs no shorter schedule, but has to be found on a slow machine too.
  let end = Date.now() + (fails ? SHRINK_TIME : TIME);
  let failed = false;
  let runs = 0;
  const property = fc.asyncProperty(configurations, schedules, async (configuration, steps) => {
    if (Date.now() > end) return;
    runs++;
    const problems = await follow(await open(configuration), steps);
    if (problems.length === 0) return;
    if (!failed) end = Date.now() + SHRINK_TIME;
    failed = true;
    throw new Error(problems.join("\n"));
  });
  const details = await fc.check(property, {
    numRuns,
    endOnFailure: fails,
    ...(PROPERTY_SEED !== undefined && { seed: Number(PROPERTY_SEED) }),
    ...(PROPERTY_PATH !== undefined && { path: PROPERTY_PATH }),
  });
  return { details: details as fc.RunDetails<[unknown, Step[]]>, runs };
}

/** @throws with the seed, the path and the shortest schedule, if one failed */
async function holds<C>(
  configurations: fc.Arbitrary<C>,
  open: (configuration: C) => World | Promise<World>,
  numRuns: number,
): Promise<void> {
  const { details, runs } = await look(configurations, open, numRuns * FACTOR);
  if (details.failed) throw new Error(`${fc.defaultReportMessage(details)}\n\n${String(details.errorInstance)}`);
  // On a machine that is very slow, few are followed before the time is up.
  expect(runs).toBeGreaterThan(0);
  if (FACTOR !== 1) console.log(`${runs} schedules`);
}

const returns: fc.Arbitrary<Return> = fc.record({
  resumption: fc.constantFrom("none", "kept", "expiring", "crowded"),
  watchful: fc.boolean(),
});

const LONG = { timeout: TIME + SHRINK_TIME + 30_000 };

describe("every event is delivered once and in order, or lies in a gap, and every count is right", () => {
  test("in process", LONG, () => holds(fc.constant(undefined), inProcess, 1000));

  test("between a thread and its worker, which may be terminated", LONG, () =>
    holds(fc.constant("pair" as const), workers, 25),
  );

  test("between workers of a hub, which may be terminated and replaced", LONG, () =>
    holds(fc.constant("hub" as const), workers, 25),
  );

  test.each(["none", "kept", "expiring", "crowded"] as const)(
    "through a hub and proxies that cut and freeze, with resumption: %s",
    LONG,
    (resumption) =>
      holds(
        returns.map(({ watchful }) => ({ resumption, watchful })),
        (configuration) => hubAndClients(configuration),
        100,
      ),
  );
});

/** Each in what one client's core is told, behind a link that has acknowledged all of it. */
const faults: readonly { readonly name: string; readonly fault: Fault; readonly resumption: Return["resumption"] }[] = [
  {
    name: "drops an event that it has acknowledged",
    resumption: "none",
    fault(core) {
      const deliver = core.deliver.bind(core);
      let events = 0;
      core.deliver = (envelope, filter) => {
        if (++events % 7 > 0 || envelope.type === "last") deliver(envelope, filter);
      };
    },
  },
  {
    name: "delivers an event twice",
    resumption: "none",
    fault(core) {
      const deliver = core.deliver.bind(core);
      let events = 0;
      core.deliver = (envelope, filter) => {
        deliver(envelope, filter);
        if (++events % 7 === 0) deliver(envelope, filter);
      };
    },
  },
  {
    name: "keeps the gap of an interruption to itself",
    resumption: "none",
    fault(core) {
      const resumed = core.resumed.bind(core);
      core.resumed = (how) => resumed({ ...how, replayed: true });
    },
  },
  {
    name: "reports a gap where nothing was missed",
    resumption: "kept",
    fault(core) {
      const resumed = core.resumed.bind(core);
      core.resumed = (how) => resumed({ ...how, replayed: false });
    },
  },
  {
    name: "lets one event overtake another",
    resumption: "none",
    fault(core) {
      const deliver = core.deliver.bind(core);
      let held: (() => void) | undefined;
      core.deliver = (envelope, filter) => {
        const before = held;
        held = () => deliver(envelope, filter);
        if (before === undefined) {
          setImmediate(() => held?.());
          return;
        }
        held = undefined;
        deliver(envelope, filter);
        before();
      };
    },
  },
];

describe("the property finds a client that", () => {
  test.each(faults.map(({ name, ...rest }) => [name, rest] as const))("%s", LONG, async (_, { fault, resumption }) => {
    const { details } = await look(
      fc.constant({ resumption, watchful: false }),
      (configuration) => hubAndClients(configuration, fault),
      400,
      true,
    );
    expect(details.failed).toBe(true);
    // What a failure prints is enough to repeat it.
    const report = fc.defaultReportMessage(details);
    expect(report).toContain(`seed: ${details.seed}`);
    expect(report).toContain(`path: "${details.counterexamplePath}"`);
  });
});
