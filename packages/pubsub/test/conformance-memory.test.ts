import { createPubSub } from "@alkdev/pubsub";
import type { PubSub, Supports } from "@alkdev/pubsub";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import type { Feature, Harness, MemoryTransport } from "@alkdev/pubsub/testing";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import { Opened, runConformance } from "./fixtures/conformance.ts";

const FEATURES: readonly Feature[] = [
  "target",
  "serialises",
  "more",
  "reconnects",
  "freezes",
  "delays",
  "restarts",
  "counts",
];

/** Manifests that brokers of different kinds would have. */
const KINDS: Readonly<Record<string, Partial<Supports>>> = {
  "the default": {},
  "echo, once for each filter": { echo: true, overlap: "per-filter" },
  "coarse patterns": { patterns: "filtered", echo: true },
  "coarse patterns, once for each filter": { patterns: "filtered", overlap: "per-filter" },
  "exact topics, stored": { patterns: "none", publishAck: "stored", maxPayload: 8000 },
  "at least once, with groups and replay": {
    publishAck: "stored",
    delivery: "at-least-once",
    overlap: "per-filter",
    echo: true,
    groups: true,
    replay: true,
  },
  "at most once, with replay": { publishAck: "stored", replay: true },
  "no acknowledgements": { publishAck: "none", subscribeAck: false, lossDetection: "none" },
};

for (const [kind, supports] of Object.entries(KINDS)) runConformance(`memory: ${kind}`, () => memoryHarness(supports));

function memoryHarness(supports: Partial<Supports>): Harness {
  const opened = new Opened();
  return {
    supports: createMemoryTransport(createMemoryBroker(), { supports }).supports,
    features: new Set(FEATURES),
    async open({ target: options, onError = () => undefined, more = 0, delay = 0 } = {}) {
      const broker = createMemoryBroker();
      const connect = (delay: number): MemoryTransport => createMemoryTransport(broker, { supports, delay });
      const transport = connect(delay);
      const target = defineEventTarget(transport, { ...options, onError });
      opened.add(() => target.close());
      const ends = Array.from({ length: 1 + more }, () => {
        const target = defineEventTarget(connect(0), { onError: () => undefined });
        opened.add(() => target.close());
        // Far ends are cut by a restart; what they miss is not what is looked at.
        return createPubSub({ eventTarget: target, onError: () => undefined, onGap: "ignore" });
      });
      const back = (): void => transport.reconnect({ kept: true, replayed: true });
      // All that is cut comes back.
      target.onStatus((status) => {
        if (status === "interrupted") back();
      });
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far: ends.at(0) as PubSub,
        more: ends.slice(1),
        cut: () => transport.cut(),
        freeze: () => transport.freeze(),
        thaw: () => transport.thaw(),
        restart: () => broker.restart(),
        farFilters: () => broker.filters,
      };
    },
    end: () => opened.end(),
  };
}
