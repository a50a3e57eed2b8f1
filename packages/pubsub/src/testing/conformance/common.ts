// What several tests of the suite need.
import type { PubSub } from "../../api.ts";
import type { Subscription } from "../../subscription.ts";
import { KNOWN } from "../assert.ts";
import type { End, Harness } from "../harness.ts";

/** A subscription that is known to get events, also where nobody acknowledges it. */
export async function live(harness: Harness, near: PubSub, far: End, type: string): Promise<Subscription> {
  const events = await near.subscribe(type, "");
  await known(harness, near, far);
  return events;
}

/**
 * Resolves when each side knows every subscription that the other has made so far: at once where they are
 * acknowledged; elsewhere something later has to make the round.
 */
export async function known(harness: Harness, near: End, far: End): Promise<void> {
  if (harness.supports.subscribeAck) return;
  for (const [one, other] of [
    [near, far],
    [far, near],
  ] as const) {
    const events = await one.subscribe(KNOWN, "");
    let seen = false;
    const reading = events.next().then(() => (seen = true));
    while (!seen) {
      await other.publish(KNOWN, "", null);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await reading;
    await events.return();
  }
}

/** Publishes so many times, never more than `size` at once. */
export async function window(count: number, size: number, publish: (i: number) => Promise<void>): Promise<void> {
  for (let i = 0; i < count; i += size)
    await Promise.all(Array.from({ length: Math.min(size, count - i) }, (_, j) => publish(i + j)));
}

/** The whole numbers from 0. */
export function sequence(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}
