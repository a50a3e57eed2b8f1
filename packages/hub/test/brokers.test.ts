// Every broker with every fault, in the middle of events from another process; also with numbers, which find every loss.
import { appendFileSync } from "node:fs";
import process from "node:process";
import { afterAll, describe, test } from "vitest";
import { FAULTS, runFault } from "./fixtures/broker-faults.ts";
import { mqttUnderTest } from "./fixtures/broker-mqtt.ts";
import { natsUnderTest } from "./fixtures/broker-nats.ts";
import { postgresUnderTest } from "./fixtures/broker-postgres.ts";
import { rabbitUnderTest } from "./fixtures/broker-rabbitmq.ts";
import { redisUnderTest } from "./fixtures/broker-redis.ts";

/** `npm run stress` wants to know what came of it, of each broker with and without numbers. */
const RESULTS = process.env["STRESS_RESULTS"];

const BROKERS = [
  { broker: redisUnderTest("ioredis 5"), sequences: [false] },
  { broker: redisUnderTest("ioredis 6"), sequences: [true] },
  { broker: redisUnderTest("node-redis 6"), sequences: [false] },
  { broker: natsUnderTest(), sequences: [false, true] },
  { broker: postgresUnderTest, sequences: [false, true] },
  { broker: rabbitUnderTest(), sequences: [false, true] },
  { broker: mqttUnderTest("5"), sequences: [false] },
  { broker: mqttUnderTest("3.1.1"), sequences: [true] },
];

const SAYS = {
  gap: "what is missing lies inside a gap",
  nothing: "nothing is missing",
  either: "nothing is missing, or lies inside a gap",
};

describe("brokers under stress", () => {
  afterAll(async () => {
    for (const { broker } of BROKERS) await broker.end?.();
  });
  for (const { broker, sequences } of BROKERS)
    for (const sequence of RESULTS === undefined ? sequences : [false, true])
      for (const [i, fault] of FAULTS.entries()) {
        // One that takes seconds to start has each fault once, unless the counts are wanted: with numbers every other one.
        if (RESULTS === undefined && broker.startsSlowly === true && (i % 2 === 1) !== sequence) continue;
        if (fault.needs !== undefined && broker[fault.needs] === undefined) continue;
        const { title, sees } = fault;
        const name = `${broker.kind}${sequence ? " with sequence" : ""}, ${title}: ${SAYS[sees]}`;
        test.concurrent(name, { timeout: 180_000 }, async ({ expect }) => {
          for (const outcome of await runFault(broker, fault, sequence)) {
            const line = { broker: broker.kind, fault: title, sequence, ...outcome };
            if (RESULTS !== undefined) appendFileSync(RESULTS, `${JSON.stringify(line)}\n`);
            expect(outcome).toMatchObject({ problems: [], ...(sees === "nothing" && { inGaps: 0 }) });
            if (sees === "gap") expect(outcome.gaps).toBeGreaterThan(0);
            // What was rejected has a number, and may not have come.
            if (sees === "nothing" && (!sequence || outcome.rejected === 0)) expect(outcome.gaps).toBe(0);
            if (!sequence) continue;
            expect(outcome.counted).toBeGreaterThanOrEqual(outcome.inGaps);
            expect(outcome.counted).toBeLessThanOrEqual(outcome.published - outcome.delivered);
          }
        });
      }
});
