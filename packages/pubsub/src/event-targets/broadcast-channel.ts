/**
 * An event target over a `BroadcastChannel`: all pages and workers of one origin, or all threads of a Node process, that
 * use the same name.
 *
 * Nobody acknowledges anything, since nobody knows who is there: a subscription is live once this side listens, and a
 * publish is done once it is handed over. With `createPubSub({ sequence: true })` on all sides, losses are found end to end.
 */
import type { Channel } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import { PubSubError } from "../errors.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { overChannel } from "../link/link.ts";
import { portChannel } from "../link/port-channel.ts";
import type { WebPort } from "../link/port-channel.ts";

/** Options of the BroadcastChannel event target. */
export interface BroadcastChannelEventTargetOptions extends EventTargetOptions {}

/** A BroadcastChannel: the part of it that is used. Browsers, Node, Deno and Bun have one. */
export interface BroadcastChannelLike extends WebPort {
  close(): void;
}

/**
 * Events to and from all who use a BroadcastChannel of the same name.
 *
 * @param nameOrChannel a name, for a channel that is closed with the target; or a channel, which is left open
 * @throws PubSubError `UNSUPPORTED` where the platform has no BroadcastChannel
 * @example
 * const pubsub = createPubSub({ eventTarget: createBroadcastChannelEventTarget("my-app") });
 * await pubsub.on("session.closed", () => location.reload());
 */
export function createBroadcastChannelEventTarget<TEvent extends TypedEvent = TypedEvent>(
  nameOrChannel: string | BroadcastChannelLike,
  options: BroadcastChannelEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  const made = typeof nameOrChannel === "string";
  const bus = made ? open(nameOrChannel) : nameOrChannel;
  return overChannel(channelOf(bus, made), { ...options, plain: true });
}

/** @throws PubSubError `UNSUPPORTED` */
function open(name: string): BroadcastChannelLike {
  const { BroadcastChannel } = globalThis as { BroadcastChannel?: new (name: string) => BroadcastChannelLike };
  if (BroadcastChannel !== undefined) return new BroadcastChannel(name);
  throw new PubSubError(
    "UNSUPPORTED",
    "This platform has no BroadcastChannel. Hand one in, or use another event target.",
  );
}

function channelOf(bus: BroadcastChannelLike, made: boolean): Channel {
  const port = portChannel(bus);
  let closed: ((cause: unknown) => void) | undefined;
  return {
    ...port,
    shared: true,
    open(receiver) {
      closed = (cause) => receiver.closed(cause);
      port.open(receiver);
    },
    send(frame) {
      try {
        port.send(frame);
      } catch (cause) {
        if ((cause as { name?: unknown }).name !== "InvalidStateError") throw cause;
        // No event tells that a BroadcastChannel was closed, only that nothing can be posted any more.
        queueMicrotask(() => closed?.(cause));
        throw new PubSubError("DISCONNECTED", "The BroadcastChannel was closed by its owner; nothing was published.", {
          cause,
        });
      }
    },
    close() {
      closed = undefined;
      port.close();
      if (made) bus.close();
    },
  };
}
