// The conformance suite over a BroadcastChannel between this thread and a worker.
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import { createBroadcastChannelEventTarget } from "@alkdev/pubsub/event-target-broadcast-channel";
import type { Harness } from "@alkdev/pubsub/testing";
import { MessageChannel, Worker } from "node:worker_threads";
import { expect } from "vitest";
import { Opened, runConformance } from "./fixtures/conformance.ts";
import { RemoteEnd } from "./fixtures/remote.ts";

let buses = 0;

runConformance("a BroadcastChannel", (): Harness => {
  const opened = new Opened();
  const harness: Harness = {
    supports: {
      publishAck: "none",
      delivery: "at-most-once",
      lossDetection: "none",
      subscribeAck: false,
      overlap: "once",
      patterns: "filtered",
      echo: false,
      groups: false,
      replay: false,
      maxPayload: undefined,
    },
    features: new Set(["target", "serialises", "more"]),
    async open({ target: options, onError = () => undefined, more = 0 } = {}) {
      const bus = `conformance ${++buses}`;
      const { port1, port2 } = new MessageChannel();
      const worker = new Worker(new URL("fixtures/worker.mjs", import.meta.url), {
        workerData: { bus, control: port2 },
        transferList: [port2],
      });
      opened.add(async () => {
        await worker.terminate();
        port1.close();
      });
      const target = createBroadcastChannelEventTarget(bus, { ...options, onError });
      opened.add(() => target.close());
      expect(target.supports).toEqual(harness.supports);
      const another = (): PubSub => {
        const eventTarget = createBroadcastChannelEventTarget(bus);
        opened.add(() => eventTarget.close());
        return createPubSub({ eventTarget });
      };
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far: new RemoteEnd(port1),
        more: Array.from({ length: more }, another),
      };
    },
    end: () => opened.end(),
  };
  return harness;
});
