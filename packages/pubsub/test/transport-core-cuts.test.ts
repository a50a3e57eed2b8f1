import { createPubSub } from "@alkdev/pubsub";
import type { Filter } from "@alkdev/pubsub";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import type { Receiver, Supports, Transport } from "@alkdev/pubsub/transport";
import { expect, test } from "vitest";
import { settled } from "./pubsub-support.ts";

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

/** A far end that answers nothing of its own accord but `subscribe`. */
class Silent implements Transport {
  readonly supports: Supports;
  readonly calls: string[] = [];
  receiver: Receiver | undefined;
  unsubscribed: (() => void) | undefined;

  constructor(echo: boolean) {
    this.supports = { ...SUPPORTS, echo };
  }

  open(receiver: Receiver): void {
    this.receiver = receiver;
  }

  subscribe(_filter: Filter): Promise<void> | void {
    this.calls.push("subscribe");
  }

  unsubscribe(): Promise<void> {
    this.calls.push("unsubscribe");
    return new Promise((resolve) => (this.unsubscribed = resolve));
  }

  publish(): Promise<void> {
    this.calls.push("publish");
    return new Promise(() => undefined);
  }

  close(): void {}
}

test.each([true, false])(
  "what is subscribed to while connecting is asked for before what waits is published (echo: %s)",
  async (echo) => {
    const transport = new Silent(echo);
    const target = defineEventTarget(transport, { closeTimeout: 0 });
    const pubsub = createPubSub({ eventTarget: target });
    const published = pubsub.publish("a", "1", null);
    await pubsub.subscribe("a", "1");
    expect(transport.calls).toEqual(["subscribe", "publish"]);
    void target.close();
    await expect(published).rejects.toMatchObject({ code: "CLOSED" });
  },
);

test.each([true, false])("a publish that is never answered settles when the PubSub closes (echo: %s)", async (echo) => {
  const target = defineEventTarget(new Silent(echo));
  const pubsub = createPubSub({ eventTarget: target, closeTimeout: 0 });
  await pubsub.subscribe("a", "1");
  const published = pubsub.publish("a", "1", null);
  void pubsub.close();
  await expect(published).rejects.toMatchObject({ code: "CLOSED" });
  await target.close();
});

test.each([true, false])("a publish that is never answered settles when the target closes (echo: %s)", async (echo) => {
  const target = defineEventTarget(new Silent(echo), { closeTimeout: 0 });
  const pubsub = createPubSub({ eventTarget: target });
  await pubsub.subscribe("a", "1");
  const published = pubsub.publish("a", "1", null);
  void target.close();
  await expect(published).rejects.toMatchObject({ code: "CLOSED" });
});

test.each([true, false])(
  "a publish that is never answered settles when the far end is gone (echo: %s)",
  async (echo) => {
    const transport = new Silent(echo);
    const pubsub = createPubSub({ eventTarget: defineEventTarget(transport) });
    await pubsub.subscribe("a", "1");
    const published = pubsub.publish("a", "1", null);
    transport.receiver?.ended("gone");
    await expect(published).rejects.toMatchObject({ code: "DISCONNECTED" });
  },
);

test("a topic that is subscribed to during an interruption is live once publishes pass, whichever the far end answers first", async () => {
  const answers = new Map<string, () => void>();
  class Slow extends Silent {
    override subscribe({ type }: Filter): Promise<void> | void {
      if (cut) return new Promise((resolve) => answers.set(type, resolve));
    }
    override publish(): Promise<void> {
      return Promise.resolve();
    }
  }
  let cut = false;
  const transport = new Slow(true);
  const target = defineEventTarget(transport, { subscribeTimeout: 500 });
  const pubsub = createPubSub({ eventTarget: target });
  const first = await pubsub.subscribe("first", "", { onGap: "ignore" });
  cut = true;
  transport.receiver?.interrupted("cut");
  let live = false;
  const second = pubsub.subscribe("second", "").then((events) => ((live = true), events));
  transport.receiver?.resumed({ kept: false, replayed: false });
  const late = pubsub.subscribe("late", "").then((events) => ((live = true), events));
  answers.get("second")?.();
  answers.get("late")?.();
  await settled();
  expect([live, target.status]).toEqual([false, "interrupted"]);
  answers.get("first")?.();
  await second;
  await pubsub.publish("second", "", 1);
  await late;
  expect(target.status).toBe("ready");

  // Where one of the others is not answered in time, it holds up nobody for longer than that.
  transport.receiver?.interrupted("cut again");
  const third = pubsub.subscribe("third", "");
  transport.receiver?.resumed({ kept: false, replayed: false });
  for (const type of ["second", "late", "third"]) answers.get(type)?.();
  await third;
  await expect(first.next()).rejects.toMatchObject({ code: "TIMEOUT" });
  expect(target.status).toBe("ready");
});

test("a topic wanted again is subscribed anew when a cut and its end come in one task, in the middle of unsubscribing", async () => {
  const transport = new Silent(true);
  const target = defineEventTarget(transport);
  const pubsub = createPubSub({ eventTarget: target });
  const first = await pubsub.subscribe("a", "1");
  await first.return();
  const again = pubsub.subscribe("a", "1");
  transport.receiver?.interrupted("cut");
  transport.receiver?.resumed({ kept: false, replayed: false });
  const events = await again;
  expect(transport.calls).toEqual(["subscribe", "unsubscribe", "subscribe"]);
  expect(target.status).toBe("ready");
  transport.receiver?.deliver({ type: "a", id: "1", payload: 7 });
  expect((await events.next()).value?.payload).toBe(7);
});
