/**
 * An event target over one end of a `MessageChannel`: between windows, to a SharedWorker, between two workers.
 *
 * Frames are structured clones, as with workers. A port that is closed on the other side ends the target where the platform
 * says so (Node, Bun, Deno); elsewhere, Chromium included, call `close()` on both sides, or set `heartbeat`.
 */
import type { Channel } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import type { AlkEventTarget } from "../event-target.ts";
import { overChannel } from "../link/link.ts";
import type { ChannelEventTargetOptions } from "../link/link.ts";
import { portChannel } from "../link/port-channel.ts";
import type { NodePort, WebPort } from "../link/port-channel.ts";

/** Options of the MessagePort event target. */
export interface MessagePortEventTargetOptions extends ChannelEventTargetOptions {}

/**
 * Events to and from whoever has the other port.
 *
 * @param port a `MessagePort` of the web or of `node:worker_threads`. It is started; closing the target does not close it.
 * @example
 * const { port1, port2 } = new MessageChannel();
 * worker.postMessage({ port: port2 }, [port2]);
 * const pubsub = createPubSub({ eventTarget: createMessagePortEventTarget(port1) });
 */
export function createMessagePortEventTarget<TEvent extends TypedEvent = TypedEvent>(
  port: NodePort | WebPort,
  options: MessagePortEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  return overChannel(messagePortChannel(port), options);
}

/** The pipe of a MessagePort: for a hub, or for `connectLink`. */
export function messagePortChannel(port: NodePort | WebPort): Channel {
  return portChannel(port);
}
