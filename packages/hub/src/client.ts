import { PubSubError } from "@alkdev/pubsub";
import type { TypedEvent } from "@alkdev/pubsub";
import { webSocketChannel } from "@alkdev/pubsub/event-target-websocket";
import type { WebSocketLike } from "@alkdev/pubsub/event-target-websocket";
import { connectLink, defineEventTarget, waitAfter, withoutPassword } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Backoff, EventTargetOptions, LinkOptions, Transport } from "@alkdev/pubsub/transport";

export type { Backoff } from "@alkdev/pubsub/transport";

/** A WebSocket class: a browser's, or `ws`. */
export type WebSocketClass = new (url: string) => WebSocketLike;

/** Options of `createHubEventTarget`. */
export interface HubEventTargetOptions
  extends
    EventTargetOptions,
    Omit<LinkOptions, "reattach" | "plain" | "echo" | "groups" | "hub" | "origin" | "findSession"> {
  readonly backoff?: Backoff;
  /** Failed attempts before the first success after which the target gives up (`DISCONNECTED`). Default: never. */
  readonly firstAttempts?: number;
  /** The WebSocket class. Default: `ws` in Node, else the platform's. */
  readonly WebSocket?: WebSocketClass;
  /** How long one attempt may take, handshake included. Default 10,000. */
  readonly attemptTimeout?: number;
}

/**
 * Events to and from a hub, over a WebSocket that this target owns: when it drops, it connects again with backoff and
 * jitter, subscribes to everything again, and a `reconnect` gap stands in each subscription where events may be missing.
 *
 * @param url `ws:` or `wss:`
 * @throws PubSubError `INVALID_OPTION` for anything else; `UNSUPPORTED` where the platform has no WebSocket and none is given
 * @example
 * const pubsub = createPubSub({ eventTarget: createHubEventTarget("ws://localhost:8080") });
 * for await (const { id, payload } of pubsub.subscribe("host.*", { onGap: console.warn })) console.log(id, payload);
 */
export function createHubEventTarget<TEvent extends TypedEvent = TypedEvent>(
  url: string,
  options: HubEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  checkUrl(url);
  const WebSocket = options.WebSocket ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
  if (WebSocket === undefined)
    throw new PubSubError(
      "UNSUPPORTED",
      "This platform has no WebSocket. Give the class as options.WebSocket; ws on npm has one.",
    );
  return defineEventTarget<TEvent>(reconnecting(url, WebSocket, options), { eager: true, ...options });
}

function reconnecting(url: string, WebSocket: WebSocketClass, options: HubEventTargetOptions): Transport {
  const { firstAttempts = Infinity, attemptTimeout = 10_000 } = options;
  const link = connectLink({ ...options, reattach: true, hub: true });
  let failures = 0;
  let everWelcomed = false;
  let problem: string | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempt: ReturnType<typeof setTimeout> | undefined;
  let started = false;
  let closed = false;

  function connect(): void {
    if (closed) return;
    let socket: WebSocketLike;
    try {
      socket = new WebSocket(url);
    } catch (error) {
      return failed(error);
    }
    const channel = webSocketChannel(socket);
    const timeout = setTimeout(() => {
      // A closing handshake would need the far end, which does not answer: the socket is left to end when it likes.
      channel.close();
      failed(`no answer within ${attemptTimeout} ms`);
    }, attemptTimeout);
    attempt = timeout;
    socket.addEventListener("close", () => clearTimeout(timeout));
    link.attach(channel);
  }

  function failed(cause: unknown): void {
    clearTimeout(attempt);
    // A conversation that was given up may find out for itself afterwards.
    clearTimeout(timer);
    if (closed) return;
    problem = describe(url, cause);
    failures++;
    if (!everWelcomed && failures >= firstAttempts) {
      closed = true;
      link.end(new PubSubError("DISCONNECTED", problem, { cause }));
      return;
    }
    timer = setTimeout(connect, waitAfter(failures - 1, options.backoff));
  }

  link.onWelcomed = () => {
    clearTimeout(attempt);
    failures = 0;
    everWelcomed = true;
    problem = undefined;
  };
  link.onDetached = failed;

  return {
    get supports() {
      return link.supports;
    },
    get origin() {
      return link.origin;
    },
    get holds() {
      return link.holds === true;
    },
    get problem() {
      return problem;
    },
    open(receiver, signal) {
      if (!started) connect();
      started = true;
      return link.open(receiver, signal);
    },
    subscribe: (filter) => link.subscribe(filter),
    unsubscribe: (filter) => link.unsubscribe(filter),
    post: (envelope) => link.post(envelope),
    close() {
      closed = true;
      clearTimeout(timer);
      clearTimeout(attempt);
      return link.close();
    },
  };
}

/** @throws PubSubError `INVALID_OPTION` */
function checkUrl(url: string): void {
  let protocol = "";
  try {
    ({ protocol } = new URL(url));
  } catch {
    // Said below.
  }
  if (protocol !== "ws:" && protocol !== "wss:")
    throw new PubSubError(
      "INVALID_OPTION",
      `${JSON.stringify(withoutPassword(url))} is not the address of a hub; use ws://host:port or wss://host:port.`,
    );
}

/** The reason of a failed connection, without what a URL may hold of a password. */
function describe(url: string, cause: unknown): string {
  const { protocol, host } = new URL(url);
  let root: unknown = cause;
  while (root instanceof Error && root.cause !== undefined) root = root.cause;
  const reason = root instanceof Error ? root.message : String(root);
  return `no connection to ${protocol}//${host} (${reason.replaceAll(url, withoutPassword(url))})`;
}
