import { createPubSub } from "@alkdev/pubsub";
import type { Harness } from "@alkdev/pubsub/testing";
import { Opened, runConformance } from "./fixtures/conformance.ts";

runConformance("in process", (): Harness => {
  const opened = new Opened();
  return {
    supports: {
      publishAck: "hop",
      delivery: "at-most-once",
      lossDetection: "full",
      subscribeAck: true,
      overlap: "once",
      patterns: "native",
      echo: false,
      groups: false,
      replay: false,
      maxPayload: undefined,
    },
    features: new Set(),
    async open({ onError = () => undefined } = {}) {
      const pubsub = createPubSub({ onError });
      opened.add(() => pubsub.close());
      return { near: pubsub, far: pubsub };
    },
    end: () => opened.end(),
  };
});
