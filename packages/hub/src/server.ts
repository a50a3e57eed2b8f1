import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { PubSubError } from "@alkdev/pubsub";
import { webSocketChannel } from "@alkdev/pubsub/event-target-websocket";
import { WebSocketServer } from "ws";
import { UNAUTHENTICATED, whoSends } from "./authentication.ts";
import type { Authenticate } from "./authentication.ts";
import { EventRoute } from "./event-route.ts";
import type { EventRouteOptions } from "./event-route.ts";
import { createHub, frameLimit, linkHub, safely } from "./hub.ts";
import type { Hub, HubLink, HubOptions } from "./hub-api.ts";
import { addressOf, answer, Gate, listen, refuse } from "./listener.ts";

/** Options of `createHubServer`; those of the hub apply where no `hub` is given. */
export interface HubServerOptions extends HubOptions {
  /** The hub that the sockets join. Default: a new one, closed with the server. */
  readonly hub?: Hub;
  /** 0 takes a free one. Default 8080. */
  readonly port?: number;
  /** The address to listen on. Default 127.0.0.1: whoever can reach the port can publish. */
  readonly host?: string;
  /**
   * Host names, beside those of loopback, under which the server may be reached, and from whose pages (`Origin`) it
   * accepts sockets. Any page in a browser can reach a local port, so everything else is refused with 403.
   */
  readonly allowedHosts?: readonly string[];
  /**
   * Who asks: the identity of the link (what `authorize` is asked about, and what handlers of operations behind a router
   * see), of whoever listens at `GET /events`, and of whoever reads `GET /status`. Asked once a connection, with the request
   * that opens it; undefined for nobody known. A throw or a rejection is answered with 401, and so is one that takes longer
   * than `limits.handshake`; what is no `PubSubError` goes to `onError`. A page cannot set headers: it can give a `token` in
   * the address, or a cookie. Default: everybody is let in, as nobody known.
   *
   * @example
   * createHubServer({ authenticate: ({ headers }) => users.verify(headers.authorization) });
   */
  readonly authenticate?: Authenticate;
  /**
   * Whether `GET /events?type=session.*` answers with server-sent events, for consumers that only listen; what `authorize`
   * grants, under the same `Host` and `Origin` rules. Default false.
   */
  readonly events?: boolean | EventRouteOptions;
}

/** A hub that listens for WebSockets. */
export interface HubServer extends AsyncDisposable {
  readonly hub: Hub;
  /** Where clients connect: `ws://127.0.0.1:8080`. */
  readonly url: string;
  readonly port: number;
  /** Says goodbye to every link and stops listening. Idempotent. */
  close(): Promise<void>;
}

/** A frame up to this many times the limit is read, counted as malformed and survived; a larger one ends its link. */
const HARD_LIMIT = 4;

/**
 * Listens for WebSockets, at any path, and joins them to a hub. `GET /status` answers with the hub's figures as JSON.
 *
 * @throws the error of `listen` (`EADDRINUSE`, `EACCES`) as a rejection
 * @example
 * await using server = await createHubServer({ port: 8080 });
 * console.log(`listening on ${server.url}`);
 */
export async function createHubServer(options: HubServerOptions = {}): Promise<HubServer> {
  const { host = "127.0.0.1", port = 8080, allowedHosts = [], limits, authenticate } = options;
  if (authenticate !== undefined && typeof authenticate !== "function")
    throw new PubSubError("INVALID_OPTION", "authenticate must be a function of the request.");
  const hub = options.hub ?? createHub(options);
  const onError = safely(options.onError);
  const gate = new Gate("hub", host, allowedHosts);
  const events = routeOf(hub, options);
  const frame = frameLimit(hub) ?? limits?.frame ?? 1024 * 1024;
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: frame * HARD_LIMIT,
  });
  /** Those of this server; a hub that was handed in may have others. */
  const links = new Set<HubLink>();
  /** Sockets whose request is being authenticated; nobody else knows them yet. */
  const waiting = new Set<Duplex>();
  const identify = async (request: IncomingMessage): Promise<string | undefined> => {
    if (authenticate === undefined) return undefined;
    try {
      return await whoSends(authenticate, request, limits?.handshake ?? 10_000);
    } catch (error) {
      if (!(error instanceof PubSubError)) onError(error, undefined);
      throw new Unauthenticated();
    }
  };
  const server = createServer((request, response) => respond(request, response));
  server.on("upgrade", (request, socket, head) => {
    const refusal = gate.refusal(request);
    if (refusal !== undefined) return refuse(socket, 403, "Forbidden", refusal);
    if (authenticate === undefined) return join(request, socket, head);
    const destroy = (): void => void socket.destroy();
    // Its peer may be gone before it is known, and an error without a listener would end the process.
    socket.on("error", destroy);
    waiting.add(socket);
    identify(request)
      .then(
        (identity) => {
          socket.off("error", destroy);
          if (!socket.destroyed) join(request, socket, head, identity);
        },
        () => refuse(socket, 401, "Unauthorized", UNAUTHENTICATED),
      )
      .finally(() => waiting.delete(socket));
  });

  function join(request: IncomingMessage, socket: Duplex, head: Buffer, identity?: string): void {
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      // A frame over the hard limit or broken framing is an error of the socket, which then closes: one link's end.
      webSocket.on("error", (error) => onError(error, undefined));
      try {
        const link = hub.connect(webSocketChannel(webSocket), identity);
        links.add(link);
        void link.closed.then(() => links.delete(link));
      } catch (error) {
        webSocket.close(1013, error instanceof PubSubError ? error.code : "ERROR");
      }
    });
  }

  function respond(request: IncomingMessage, response: ServerResponse): void {
    const refusal = gate.refusal(request);
    if (refusal !== undefined) return answer(response, 403, { error: refusal });
    const path = request.url?.split("?", 1)[0];
    if (path === "/status") return void figures(request, response);
    if (path === "/")
      return answer(response, 200, {
        hub: "@alkdev/hub",
        webSocket: url,
        status: "/status",
        ...(events && { events: events.path }),
      });
    if (path !== undefined && path === events?.path) return void stream(events, request, response);
    if (path === "/events" && events === undefined)
      return answer(response, 404, {
        error: "This hub sends no server-sent events. Start it with --events, or createHubServer({ events: true }).",
      });
    answer(response, 404, { error: "Not found. Connect a WebSocket, or GET /status." });
  }

  async function figures(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (authenticate !== undefined) await identify(request);
    } catch {
      return answer(response, 401, { error: UNAUTHENTICATED });
    }
    answer(response, 200, { ...hub.status(), ...(events && { events: events.streams.status() }) });
  }

  async function stream(route: EventRoute, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const refusal = await route.answer(request, response, () => identify(request));
      if (refusal !== undefined) answer(response, refusal.status, refusal.body);
    } catch (error) {
      if (error instanceof Unauthenticated) return answer(response, 401, { error: UNAUTHENTICATED });
      onError(error, undefined);
      if (response.headersSent) response.destroy();
      else answer(response, 500, { error: "The hub could not answer; its log says why." });
    }
  }

  await listen(server, port, host);
  const url = addressOf(server, host);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of waiting) socket.destroy();
      for (const link of [...links]) link.close("CLOSED", "The hub was closed.");
      await events?.close();
      if (options.hub === undefined) await hub.close();
      sockets.close();
      server.closeAllConnections();
      await closed;
    })());
  return { hub, url, port: (server.address() as AddressInfo).port, close, [Symbol.asyncDispose]: close };
}

/** Whoever asks is told 401; the reason has been reported. */
class Unauthenticated extends Error {}

function routeOf(hub: Hub, { events = false, onError }: HubServerOptions): EventRoute | undefined {
  if (events === false) return undefined;
  const report = onError && { onError: (error: unknown) => onError(error, undefined) };
  return new EventRoute(linkHub(hub), { ...report, ...(events === true ? {} : events) });
}
