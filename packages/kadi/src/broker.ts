/**
 * @module The broker alone, without the rest of the package.
 */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { addressOf, answer, Gate, listen, refuse } from "@alkdev/hub/parts";
import { PubSubError } from "@alkdev/pubsub";
import { WebSocketServer } from "ws";
import { DEFAULT_LIMITS } from "./broker-api.ts";
import type { KadiBroker, KadiBrokerOptions, KadiBrokerStatus, KadiMcpOptions, Limits } from "./broker-api.ts";
import { Bus } from "./bus.ts";
import { Calls } from "./calls.ts";
import { Directory } from "./directory.ts";
import type { McpRoute } from "./mcp-route.ts";
import { withoutSdk } from "./mcp-sdk.ts";
import { GLOBAL } from "./participant-events.ts";
import type { Common, Participant } from "./participant.ts";
import { Peers } from "./peers.ts";
import { Session } from "./session.ts";

export type {
  Applicant,
  KadiBroker,
  KadiBrokerLimits,
  KadiBrokerOptions,
  KadiBrokerStatus,
  KadiMcpOptions,
} from "./broker-api.ts";

/** Where clients may connect. */
const PATHS: readonly string[] = ["/", "/kadi"];
/** Where MCP clients post. */
const MCP_PATH = "/mcp";

/**
 * Runs a broker: agents connect over WebSockets, at `/` and `/kadi`, offer tools and call those of others, and exchange
 * events. Resolves once it listens and, with a backplane, once the other brokers can reach it.
 *
 * @throws the error of `listen` (`EADDRINUSE`, `EACCES`), PubSubError `INVALID_OPTION`, `UNSUPPORTED` (MCP without its SDK), or
 * what the backplane refuses; all as rejections
 * @example
 * await using broker = await createKadiBroker({ port: 8080 });
 * console.log(`agents connect to ${broker.url}`);
 */
export async function createKadiBroker(options: KadiBrokerOptions = {}): Promise<KadiBroker> {
  const broker = new Broker(options);
  try {
    await broker.open();
  } catch (error) {
    await broker.close();
    throw error;
  }
  return broker;
}

class Broker implements KadiBroker {
  url = "";
  port = 0;
  readonly #options: KadiBrokerOptions;
  readonly #host: string;
  readonly #limits: Limits;
  readonly #common: Common;
  readonly #gate: Gate;
  readonly #sockets: WebSocketServer;
  readonly #server = createServer((request, response) => this.#respond(request, response));
  readonly #sessions = new Set<Session>();
  /** Those that have not authenticated, oldest first. */
  readonly #strangers = new Set<Session>();
  #mcp: McpRoute | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: KadiBrokerOptions) {
    this.#options = options;
    this.#host = options.host ?? "127.0.0.1";
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    const { lease = 15_000, callTimeout = 3_600_000 } = options;
    const { authorize = ({ networks }) => networks.filter((each) => each === GLOBAL) } = options;
    for (const [name, value] of Object.entries({ lease, callTimeout }))
      if (!(value > 0))
        throw new PubSubError("INVALID_OPTION", `${name} must be a number of milliseconds, not ${value}.`);
    const bus = new Bus(options.backplane, this.#report);
    const directory = new Directory();
    const participants = new Map<string, Participant>();
    const calls = new Calls(bus, (session) => participants.get(session), callTimeout, this.#report);
    const withdrawn = (session: string, names: readonly string[]): void => participants.get(session)?.withdrawn(names);
    const peers = new Peers(bus, directory, calls, lease, withdrawn, this.#report);
    this.#common = { bus, directory, peers, calls, limits: this.#limits, authorize, participants };
    this.#gate = new Gate("broker", this.#host, options.allowedHosts ?? []);
    this.#sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: this.#limits.frame,
    });
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  async open(): Promise<void> {
    const { mcp } = this.#options;
    if (mcp !== undefined) this.#mcp = await this.#openMcp(Array.isArray(mcp) ? mcp : [mcp as KadiMcpOptions]);
    await this.#common.peers.open();
    await listen(this.#server, this.#options.port ?? 8080, this.#host);
    // Kept: a server that was closed has no address any more.
    this.url = addressOf(this.#server, this.#host);
    this.port = (this.#server.address() as AddressInfo).port;
  }

  /** Whoever lets no MCP client in loads nothing for it. */
  async #openMcp(options: readonly KadiMcpOptions[]): Promise<McpRoute> {
    const { McpRoute } = await import("./mcp-route.ts").catch(withoutSdk);
    return McpRoute.open(options, {
      common: this.#common,
      onError: this.#report,
      hasRoom: () => this.#closing === undefined && this.#size < this.#limits.sessions,
    });
  }

  get #size(): number {
    return this.#sessions.size + (this.#mcp?.size ?? 0);
  }

  status(): KadiBrokerStatus {
    const { directory, calls, peers, bus, participants } = this.#common;
    let subscriptions = 0;
    for (const participant of participants.values()) subscriptions += participant.subscriptions;
    return {
      sessions: this.#size,
      strangers: this.#strangers.size,
      agents: directory.size,
      subscriptions,
      calls: calls.size,
      brokers: peers.size,
      backplane: bus.shared ? bus.status : undefined,
    };
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refusal = this.#gate.refusal(request);
    if (refusal !== undefined) return refuse(socket, 403, "Forbidden", refusal);
    if (!PATHS.includes(pathOf(request)))
      return refuse(socket, 404, "Not Found", `Connect to ${PATHS.join(" or ")} of this broker.`);
    if (this.#closing !== undefined || this.#size >= this.#limits.sessions)
      return refuse(socket, 503, "Service Unavailable", "This broker has no room for more sessions (limits.sessions).");
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const session = new Session(webSocket, {
        common: this.#common,
        onError: this.#report,
        known: (session) => this.#strangers.delete(session),
        over: (session) => {
          this.#sessions.delete(session);
          this.#strangers.delete(session);
        },
      });
      this.#sessions.add(session);
      this.#strangers.add(session);
      for (const oldest of this.#strangers) {
        if (this.#strangers.size <= this.#limits.strangers) break;
        oldest.close(1013, "Too many sessions that have not authenticated (limits.strangers).");
      }
    });
  }

  #respond(request: IncomingMessage, response: ServerResponse): void {
    const refusal = this.#gate.refusal(request);
    if (refusal !== undefined) return answer(response, 403, { error: refusal });
    const path = pathOf(request);
    if (path === "/status") return answer(response, 200, this.status());
    if (path === "/")
      return answer(response, 200, {
        broker: "@alkdev/kadi",
        webSocket: this.url,
        status: "/status",
        ...(this.#mcp && { mcp: MCP_PATH }),
      });
    if (path === MCP_PATH && this.#mcp !== undefined) return void this.#mcp.answer(request, response);
    if (path === MCP_PATH)
      return answer(response, 404, {
        error:
          "This broker lets no MCP clients in. Start it with --mcp-token, or createKadiBroker({ mcp: { token } }).",
      });
    answer(response, 404, { error: "Not found. Connect a WebSocket to / or /kadi, or GET /status." });
  }

  /** An `onError` that throws ends nothing. */
  readonly #report = (error: unknown): void => {
    try {
      this.#options.onError?.(error);
    } catch (thrown) {
      process.emitWarning(`onError of the broker threw: ${String(thrown)}`);
    }
  };

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of [...this.#sessions]) session.close(1001, "The broker was closed.");
    await this.#mcp?.close();
    this.#common.peers.close();
    this.#common.calls.close();
    await this.#common.bus.close();
    this.#sockets.close();
    this.#server.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function pathOf(request: IncomingMessage): string {
  return request.url?.split("?", 1)[0] ?? "";
}
