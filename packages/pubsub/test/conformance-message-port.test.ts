// The conformance suite over a MessageChannel between this thread and a worker.
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";
import { createMessagePortEventTarget } from "@alkdev/pubsub/event-target-message-port";
import type { Harness } from "@alkdev/pubsub/testing";
import { MessageChannel } from "node:worker_threads";
import { expect } from "vitest";
import { Opened, runConformance } from "./fixtures/conformance.ts";
import { Inbox } from "./fixtures/inbox.ts";
import { startPortWorker } from "./fixtures/message-port.ts";

runConformance("a MessagePort", (): Harness => {
  const opened = new Opened();
  const harness: Harness = {
    supports: {
      publishAck: "hop",
      delivery: "at-most-once",
      lossDetection: "disconnect",
      subscribeAck: true,
      overlap: "once",
      patterns: "native",
      echo: false,
      groups: false,
      replay: false,
      maxPayload: undefined,
    },
    features: new Set(["target", "serialises", "disconnects", "freezes", "delays", "raw"]),
    async open({ target: options, onError = () => undefined, delay = 0 } = {}) {
      const ends = startPortWorker(delay, { ...options, onError });
      opened.add(() => ends.end());
      const { target, far } = ends;
      expect(target.supports).toEqual(harness.supports);
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far,
        cut: () => ends.cut(),
        freeze: () => ends.freeze(),
        thaw: () => ends.thaw(),
      };
    },
    async openRaw({ target: options, onError = () => undefined } = {}) {
      const { port1, port2 } = new MessageChannel();
      const inbox = new Inbox();
      port2.on("message", (frame: EventEnvelope | EventEnvelope[]) => inbox.push(frame));
      const target = createMessagePortEventTarget(port1, { ...options, onError });
      opened.add(async () => {
        await target.close();
        port1.close();
      });
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        send: (frame) => port2.postMessage(frame),
        receive: (type) => inbox.receive(type),
      };
    },
    end: () => opened.end(),
  };
  return harness;
});
