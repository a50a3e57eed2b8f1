/**
 * An event target over one WebSocket: a browser's, `ws`, or any with the same interface.
 *
 * One JSON frame a message, text sent, text and binary accepted. The target ends with its socket: subscriptions drain,
 * then throw `DISCONNECTED`. For a connection that comes back, use `createHubEventTarget` of `@alkdev/hub`.
 */
import type { Channel } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import type { AlkEventTarget } from "../event-target.ts";
import { overChannel } from "../link/link.ts";
import type { ChannelEventTargetOptions } from "../link/link.ts";
import { quietDeadline } from "../timers.ts";

/** Options of the WebSocket event target. */
export interface WebSocketEventTargetOptions extends ChannelEventTargetOptions {}

/** A WebSocket: the part of it that is used. Browsers', `ws`, Bun's and Deno's have it. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount: number;
  binaryType: string;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  terminate?(): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
  addEventListener(type: "open" | "error", listener: (event: { message?: string; error?: unknown }) => void): void;
}

/** Silence after which a socket's far end is asked whether it is there, in milliseconds. */
const HEARTBEAT = 10_000;
/** How long the far end has to answer a close, in milliseconds; where the socket can be ended without it (`ws`). */
const CLOSE_TIMEOUT = 2000;
const OPEN = 1;
const CLOSING = 2;

/**
 * Events to and from the other end of a WebSocket, open or still connecting.
 *
 * @example
 * const pubsub = createPubSub({ eventTarget: createWebSocketEventTarget(new WebSocket("ws://localhost:8080")) });
 * for await (const { payload } of pubsub.subscribe("chat.message", "room-1")) show(payload);
 */
export function createWebSocketEventTarget<TEvent extends TypedEvent = TypedEvent>(
  socket: WebSocketLike,
  options: WebSocketEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  return overChannel(webSocketChannel(socket), options);
}

/** The pipe of a WebSocket: for a hub, or for `connectLink`. What is sent before the socket is open waits for it. */
export function webSocketChannel(socket: WebSocketLike): Channel {
  // Blobs could be read only asynchronously, and would overtake each other.
  socket.binaryType = "arraybuffer";
  let early: string[] = [];
  let over = false;
  let lastError: string | undefined;
  return {
    encoding: "json",
    heartbeat: HEARTBEAT,
    get buffered() {
      return socket.bufferedAmount;
    },
    open(receiver) {
      const closed = (cause: unknown): void => {
        if (over) return;
        over = true;
        early = [];
        receiver.closed(cause);
      };
      socket.addEventListener("open", () => {
        for (const frame of early.splice(0)) socket.send(frame);
      });
      socket.addEventListener("message", ({ data }) => {
        if (!over) receiver.frame(typeof data === "string" ? data : decode(data));
      });
      // "close" always follows "error" and is the one that counts; the error says more.
      // Node's has no message where a host has several addresses and none was reached, but a code.
      socket.addEventListener("error", ({ message, error }) => {
        lastError = message || (error as { code?: string } | undefined)?.code;
      });
      socket.addEventListener("close", ({ code, reason }) =>
        closed(
          new Error(
            `the WebSocket closed with code ${code}${reason ? ` (${reason})` : ""}${lastError ? `: ${lastError}` : ""}`,
          ),
        ),
      );
      if (socket.readyState >= CLOSING) queueMicrotask(() => closed(new Error("the WebSocket was closed already")));
    },
    send(frame) {
      if (over || socket.readyState >= CLOSING) return;
      if (socket.readyState === OPEN) socket.send(frame as string);
      else early.push(frame as string);
    },
    close() {
      if (over) return;
      over = true;
      early = [];
      socket.close();
      // The closing handshake needs the far end, which may be why this is closed.
      quietDeadline(CLOSE_TIMEOUT, () => socket.terminate?.());
    },
  };
}

const utf8 = new TextDecoder();

/** Text of a binary message; anything else as it is, for the link to count as malformed. */
function decode(data: unknown): unknown {
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data) ? utf8.decode(data) : data;
}
