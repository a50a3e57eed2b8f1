import type { Channel, ChannelReceiver } from "../channel.ts";
import { PubSubError } from "../errors.ts";

/** A Web Worker, the global scope of one, or a MessagePort of the web: the part of it that is used. */
export interface WebPort {
  postMessage(message: unknown): void;
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  removeEventListener(type: string, listener: (event: MessageEvent) => void): void;
  /** A MessagePort holds its messages until started. */
  start?(): void;
}

/** A `Worker`, `parentPort` or `MessagePort` of `node:worker_threads`: the part of it that is used. */
export interface NodePort {
  postMessage(message: unknown): void;
  on(event: string, listener: (value: unknown) => void): unknown;
  off(event: string, listener: (value: unknown) => void): unknown;
}

/** The events of either kind of port: `message` and `messageerror`, and what says that the other side is gone. */
const ENDINGS = ["exit", "close"];

/**
 * The pipe of anything that posts messages.
 *
 * A worker's `exit` and a port's `close` end it. No listener is put on a worker's `error`: with one, a crash would look
 * handled.
 */
export function portChannel(port: NodePort | WebPort): Channel {
  let receiver: ChannelReceiver | undefined;
  const isNode = "on" in port;
  const message = (event: unknown): void => receiver?.frame(isNode ? event : (event as MessageEvent).data);
  const broken = (cause: unknown): void =>
    receiver?.frame(new PubSubError("MALFORMED", "A message that cannot be deserialised.", { cause }));
  const over = (cause: unknown): void => {
    const told = receiver;
    close();
    told?.closed(
      typeof cause === "number" ? new Error(`the worker exited with code ${cause}`) : new Error("the port was closed"),
    );
  };
  const listeners: [string, (value: unknown) => void][] = [
    ["message", message],
    ["messageerror", broken],
    ...ENDINGS.map((ending): [string, (value: unknown) => void] => [ending, over]),
  ];
  const close = (): void => {
    receiver = undefined;
    for (const [type, listener] of listeners)
      if (isNode) port.off(type, listener);
      else port.removeEventListener(type, listener);
  };
  return {
    encoding: "clone",
    heartbeat: 0,
    buffered: 0,
    open(opened) {
      receiver = opened;
      for (const [type, listener] of listeners)
        if (isNode) port.on(type, listener);
        else port.addEventListener(type, listener);
      if (!isNode) port.start?.();
    },
    send: (frame) => port.postMessage(frame),
    close,
  };
}
