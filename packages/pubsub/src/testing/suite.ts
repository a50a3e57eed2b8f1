/** The conformance suite as data: run each of them in whatever test runner is at hand. */
import { consumers } from "./conformance/consumers.ts";
import { delivery } from "./conformance/delivery.ts";
import { endings } from "./conformance/endings.ts";
import { facade } from "./conformance/facade.ts";
import { peers } from "./conformance/peers.ts";
import { topics } from "./conformance/topics.ts";
import { trouble } from "./conformance/trouble.ts";
import type { Conformance, Harness } from "./harness.ts";

/**
 * What every transport is held to. `conformanceOf(harness)` picks those that apply.
 *
 * @example
 * for (const { name, run } of conformanceOf(makeHarness()))
 *   test(name, async () => {
 *     const harness = makeHarness();
 *     try {
 *       await run(harness);
 *     } finally {
 *       await harness.end();
 *     }
 *   });
 */
export const suite: readonly Conformance[] = [
  ...delivery,
  ...topics,
  ...consumers,
  ...endings,
  ...facade,
  ...trouble,
  ...peers,
];

/** The tests that apply to a transport: what it cannot do is replaced by the error that says so. */
export function conformanceOf({
  supports,
  features,
}: Pick<Harness, "supports" | "features">): Pick<Conformance, "name" | "run">[] {
  const applicable: Pick<Conformance, "name" | "run">[] = [];
  for (const { name, requires, needs = [], run, otherwise } of suite) {
    if (!needs.every((feature) => features.has(feature))) continue;
    if (requires === undefined || requires(supports)) applicable.push({ name, run });
    else if (otherwise !== undefined) applicable.push(otherwise);
  }
  return applicable;
}
