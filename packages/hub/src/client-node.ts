import type { TypedEvent } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { WebSocket } from "ws";
import { createHubEventTarget as createOver } from "./client.ts";
import type { HubEventTargetOptions, WebSocketClass } from "./client.ts";

export type { Backoff, HubEventTargetOptions, WebSocketClass } from "./client.ts";

// ws rather than a global: it says why a connection failed, can end one that does not answer, and Node 20 has no other.
const DEFAULT = WebSocket as unknown as WebSocketClass;

/**
 * Events to and from a hub, over a WebSocket that this target owns: when it drops, it connects again with backoff and
 * jitter, subscribes to everything again, and a `reconnect` gap stands in each subscription where events may be missing.
 *
 * @param url `ws:` or `wss:`
 * @throws PubSubError `INVALID_OPTION` for anything else
 * @example
 * const pubsub = createPubSub({ eventTarget: createHubEventTarget("ws://localhost:8080") });
 * for await (const { id, payload } of pubsub.subscribe("host.*", { onGap: console.warn })) console.log(id, payload);
 */
export function createHubEventTarget<TEvent extends TypedEvent = TypedEvent>(
  url: string,
  options: HubEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  return createOver(url, { ...options, WebSocket: options.WebSocket ?? DEFAULT });
}
