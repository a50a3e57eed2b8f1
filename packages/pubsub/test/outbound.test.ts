// Publishes that have not settled, whatever order their answers come in.
import { createPubSub } from "@alkdev/pubsub";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import type { Posted, Supports, Transport } from "@alkdev/pubsub/transport";
import * as fc from "fast-check";
import { expect, test } from "vitest";

const SUPPORTS: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  overlap: "once",
  patterns: "native",
  echo: true,
  groups: false,
  replay: false,
  maxPayload: undefined,
};

/** A far end that answers when it is told to. */
class Patient implements Transport {
  readonly supports: Supports;
  readonly posted: Posted[] = [];

  constructor(echo: boolean) {
    this.supports = { ...SUPPORTS, echo };
  }

  open(): void {}
  subscribe(): void {}
  unsubscribe(): void {}
  close(): void {}

  post(): Posted {
    const posted: Posted = { waiter: undefined };
    this.posted.push(posted);
    return posted;
  }
}

test.each([true, false])(
  "each of many publishes has its own answer, in any order, and close() ends those that have none (echo: %s)",
  async (echo) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom("accepted", "refused", "none"), fc.nat()), { maxLength: 400 }),
        async (plan) => {
          const transport = new Patient(echo);
          const pubsub = createPubSub({
            eventTarget: defineEventTarget(transport, { closeTimeout: 0 }),
            closeTimeout: 0,
          });
          await pubsub.subscribe("open");
          const outcomes: (string | undefined)[] = [];
          const all = plan.map((_, n) =>
            pubsub.publish("a", "", n).then(
              () => (outcomes[n] = "accepted"),
              (error: { code: string }) => (outcomes[n] = error.code === "CLOSED" ? "none" : error.code),
            ),
          );
          const order = plan.map(([what, rank], n) => ({ what, rank, n })).toSorted((a, b) => a.rank - b.rank);
          for (const { what, n } of order)
            if (what === "accepted") transport.posted[n]?.waiter?.accepted();
            else if (what === "refused") transport.posted[n]?.waiter?.refused(new Error("no"));
          await pubsub.close();
          await Promise.all(all);
          const held = echo ? -1 : plan.findIndex(([what]) => what === "none");
          // Without an echo, an event is looped back in its turn, so its publisher waits for the answers of those before it.
          const wanted = plan.map(([what], n) =>
            what === "refused" ? "REFUSED" : held >= 0 && n > held && what === "accepted" ? undefined : what,
          );
          for (const [n, what] of wanted.entries())
            if (what === undefined) expect(["accepted", "none"]).toContain(outcomes[n]);
            else expect(outcomes[n]).toBe(what);
        },
      ),
      { numRuns: 60 },
    );
  },
);
