import { PubSubError } from "@alkdev/pubsub";
import type { TypedEvent } from "@alkdev/pubsub";
import { webSocketChannel } from "@alkdev/pubsub/event-target-websocket";
import type { WebSocketLike } from "@alkdev/pubsub/event-target-websocket";
import { connectLink, defineEventTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, EventTargetOptions, LinkOptions, Transport } from "@alkdev/pubsub/transport";

/** How long to wait before connecting again. All times are in milliseconds. */
export interface Backoff {
  /** The first wait. Doubled with each attempt that fails. Default 100. */
  readonly min?: number;
  /** The longest wait. Default 10,000. */
  readonly max?: number;
  /** The part of each wait that is left to chance, from 0 to 1, so that clients do not return in step. Default 0.5. */
  readonly jitter?: number;
}

/** Options of `createHubEventTarget`. */
export interface HubEventTargetOptions
  extends
    EventTargetOptions,
    Omit<LinkOptions, "reattach" | "plain" | "echo" | "groups" | "hub" | "origin" | "findSession"> {
  readonly backoff?: Backoff;
  /** Failed attempts before the first success after which the target gives up (`DISCONNECTED`). Default: never. */
  readonly firstAttempts?: number;
  /** The WebSocket class. Default: `ws` in Node, else the platform's. */
  readonly WebSocket?: new (url: string) => WebSocketLike;
  /** How long one attempt may take, handshake included. Default 10,000. */
  readonly attemptTimeout?: number;
}

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
  checkUrl(url);
  return defineEventTarget<TEvent>(reconnecting(url, options), { eager: true, ...options });
}

function reconnecting(url: string, options: HubEventTargetOptions): Transport {
  const { min = 100, max = 10_000, jitter = 0.5 } = options.backoff ?? {};
  const { firstAttempts = Infinity, attemptTimeout = 10_000 } = options;
  const link = connectLink({ ...options, reattach: true, hub: true });
  let failures = 0;
  let everWelcomed = false;
  let problem: string | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempt: ReturnType<typeof setTimeout> | undefined;
  /** The attempt under way took too long. */
  let late = false;
  let started = false;
  let closed = false;

  async function connect(): Promise<void> {
    if (closed) return;
    late = false;
    let socket: WebSocketLike;
    try {
      const WebSocket = options.WebSocket ?? (await defaultWebSocket());
      if (closed) return;
      socket = new WebSocket(url);
    } catch (error) {
      return failed(error);
    }
    const timeout = setTimeout(() => {
      late = true;
      // A closing handshake would need the far end, which does not answer.
      if (socket.terminate === undefined) socket.close();
      else socket.terminate();
    }, attemptTimeout);
    attempt = timeout;
    socket.addEventListener("close", () => clearTimeout(timeout));
    link.attach(webSocketChannel(socket));
  }

  function failed(cause: unknown): void {
    clearTimeout(attempt);
    if (closed) return;
    problem = describe(url, late ? `no answer within ${attemptTimeout} ms` : cause);
    failures++;
    if (!everWelcomed && failures >= firstAttempts) {
      closed = true;
      link.end(new PubSubError("DISCONNECTED", problem, { cause }));
      return;
    }
    const wait = Math.min(max, min * 2 ** Math.min(failures - 1, 30));
    timer = setTimeout(() => void connect(), wait * (1 - jitter * Math.random()));
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
      if (!started) void connect();
      started = true;
      return link.open(receiver, signal);
    },
    subscribe: (filter) => link.subscribe(filter),
    unsubscribe: (filter) => link.unsubscribe(filter),
    publish: (envelope) => link.publish(envelope),
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

/** An address as messages show it. */
function withoutPassword(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^/]*@/i, "$1");
}

/** The reason of a failed connection, without what a URL may hold of a password. */
function describe(url: string, cause: unknown): string {
  const { protocol, host } = new URL(url);
  let root: unknown = cause;
  while (root instanceof Error && root.cause !== undefined) root = root.cause;
  const reason = root instanceof Error ? root.message : String(root);
  return `no connection to ${protocol}//${host} (${reason.replaceAll(url, withoutPassword(url))})`;
}

async function defaultWebSocket(): Promise<new (url: string) => WebSocketLike> {
  const host = globalThis as {
    process?: { versions?: { node?: string } };
    WebSocket?: new (url: string) => WebSocketLike;
  };
  if (host.process?.versions?.node === undefined && host.WebSocket !== undefined) return host.WebSocket;
  // ws in Node: it says why a connection failed, and Node 20 has no WebSocket of its own.
  const { WebSocket } = await import("ws");
  return WebSocket;
}
