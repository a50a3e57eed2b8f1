import { createPubSub } from "@alkdev/pubsub";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import type { Receiver, Supports, Transport } from "@alkdev/pubsub/transport";
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

  subscribe(): void {
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
