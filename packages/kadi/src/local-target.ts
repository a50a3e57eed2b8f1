import type { Supports } from "@alkdev/pubsub";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";

const SUPPORTS: Supports = {
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
  ends: 1,
};

/** An event target in this process, which bridges and several PubSubs can share: its core delivers what is published there. */
export function createLocalTarget(): AlkEventTarget {
  const nothing = (): void => undefined;
  return defineEventTarget(
    { supports: SUPPORTS, open: nothing, subscribe: nothing, unsubscribe: nothing, publish: nothing, close: nothing },
    { eager: true },
  );
}
