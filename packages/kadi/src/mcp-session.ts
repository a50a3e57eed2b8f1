import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { Rate } from "@alkdev/hub/parts";
import { excerpt, onAbort, quietDeadline } from "@alkdev/pubsub/transport";
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js";
import type { RequestId } from "@modelcontextprotocol/sdk/types.js";
import type { PendingCall } from "./calls.ts";
import type { VisibleTool } from "./directory.ts";
import type { Identity } from "./identity.ts";
import { CODES, isObject } from "./json-rpc.ts";
import type { Params } from "./json-rpc.ts";
import { serveTools } from "./mcp.ts";
import type { ToolServer } from "./mcp.ts";
import { Participant } from "./participant.ts";
import type { Common, ParticipantSide } from "./participant.ts";

/** What an MCP session needs of where it is. */
export interface McpSessionOwner {
  /** Its `authorize` lets it into the networks of its token. */
  readonly common: Common;
  readonly onError: (error: unknown) => void;
  over(session: McpSession): void;
}

/** It offers no tools and subscribes to nothing, so there is nothing to tell it. */
const SIDE: ParticipantSide = {
  delivered: () => undefined,
  gap: () => undefined,
  requested: () => undefined,
  cancelled: () => undefined,
  withdrawn: () => undefined,
  failed: () => undefined,
};

/** What of a request the transport looks at. */
const HEADERS = ["accept", "content-type", "mcp-session-id", "mcp-protocol-version", "last-event-id"];

/** One client of MCP over streamable HTTP: another wire to a `Participant`. */
export class McpSession {
  readonly id: string = randomUUID();
  readonly #owner: McpSessionOwner;
  readonly #participant: Participant;
  readonly #transport: WebStandardStreamableHTTPServerTransport;
  readonly #tools: ToolServer;
  readonly #rate: Rate;
  readonly #calls = new Set<PendingCall>();
  /** Requests that are answered, streams among them. */
  readonly #answers = new Set<Promise<void>>();
  #stopWaiting: () => void = () => undefined;
  /** Whether there is a stream on which the client can be told of changes; and whether there was one to tell. */
  #isHeard = false;
  #isStale = false;
  #ending: Promise<void> | undefined;

  /** @throws RpcError what joining the networks of its token was refused with; as a rejection */
  static async open(
    owner: McpSessionOwner,
    identity: Identity,
    name: string | undefined,
    networks: readonly string[],
  ): Promise<McpSession> {
    const participant = await Participant.join(owner.common, identity, { name, role: "mcp" }, networks, SIDE);
    const session = new McpSession(owner, participant);
    await session.#connect();
    return session;
  }

  private constructor(owner: McpSessionOwner, participant: Participant) {
    this.#owner = owner;
    this.#participant = participant;
    this.#rate = new Rate(owner.common.limits.rate);
    this.#transport = new WebStandardStreamableHTTPServerTransport({ sessionIdGenerator: () => this.id });
    this.#tools = serveTools(
      { tools: () => participant.tools(), call: (tool, input, signal) => this.#call(tool, input, signal) },
      // What is wrong with a message, or cannot be sent, is in an answer, or is reported with it.
      () => undefined,
    );
    participant.watch(() => {
      this.#isStale = !this.#isHeard;
      this.#tools.changed();
    });
    this.#wait();
  }

  async #connect(): Promise<void> {
    await this.#tools.server.connect(this.#transport);
    // oxlint-disable-next-line prefer-add-event-listener -- It is no EventTarget. What is wrong with a request is in its answer.
    this.#transport.onerror = () => undefined;
  }

  async #call(tool: VisibleTool, input: unknown, signal: AbortSignal): Promise<unknown> {
    const call = await this.#participant.call(tool.name, input, tool.agentId);
    const cancel = (): void => call.cancel("The client cancelled the call.");
    const ignore = onAbort(signal, cancel);
    if (signal.aborted) cancel();
    this.#calls.add(call);
    try {
      return await call.outcome;
    } finally {
      this.#calls.delete(call);
      ignore();
    }
  }

  // ------------------------------------------------------------------------------------------------------------ requests

  /** Whether its client knows of it. */
  get isInitialized(): boolean {
    return this.#transport.sessionId !== undefined;
  }

  /** False for a message more than one session may send a second. */
  take(): boolean {
    return this.#rate.take();
  }

  /**
   * Answers a request of this session.
   *
   * @param message what was posted
   */
  async answer(request: IncomingMessage, response: ServerResponse, message?: Params): Promise<void> {
    this.#stopWaiting();
    const answer = this.#answer(request, response, message);
    this.#answers.add(answer);
    try {
      await answer;
    } finally {
      this.#answers.delete(answer);
      this.#wait();
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse, message: Params | undefined): Promise<void> {
    const { method = "", headers } = request;
    const kept = HEADERS.flatMap((name): [string, string][] => {
      const value = headers[name];
      return typeof value === "string" ? [[name, value]] : [];
    });
    const answer = await this.#transport.handleRequest(
      new Request("http://kadi/mcp", { method, headers: kept }),
      message !== undefined ? { parsedBody: message } : {},
    );
    if (message?.["method"] === "notifications/cancelled" && isObject(message["params"]))
      this.#abandon(message["params"]["requestId"]);
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body === null) return void response.end();
    response.flushHeaders();
    const listens = method === "GET" && answer.ok;
    if (listens) this.#heard();
    try {
      await pipeline(Readable.fromWeb(answer.body as ReadableStream), response);
    } catch (cause) {
      // A client that hangs up has not cancelled what it asked for, which goes on; but it will not have the answer.
      const lost = `The MCP client hung up before it had the answer to ${excerpt(message?.["method"])}.`;
      if (!listens) this.#owner.onError(new Error(lost, { cause }));
    }
    if (listens) this.#isHeard = false;
  }

  #heard(): void {
    this.#isHeard = true;
    if (!this.#isStale) return;
    this.#isStale = false;
    this.#tools.changed();
  }

  /** A request that was cancelled gets no answer, and the transport would keep its stream. */
  #abandon(id: unknown): void {
    const requestId = id as RequestId;
    this.#transport.closeSSEStream(requestId);
    // Nobody hears this, and the transport forgets the request.
    const error = { code: CODES.CANCELLED, message: "Cancelled." };
    this.#transport.send({ jsonrpc: "2.0", id: requestId, error }).catch(() => undefined);
  }

  /** A client need not say that it goes. */
  #wait(): void {
    this.#stopWaiting();
    if (this.#answers.size > 0 || this.#ending !== undefined) return;
    const { idle } = this.#owner.common.limits;
    this.#stopWaiting = quietDeadline(idle, () => void this.end("The session was idle for too long (limits.idle)."));
  }

  /** Fails its calls, and resolves once that and all else was answered, or nobody reads it. Idempotent. */
  end(why: string): Promise<void> {
    return (this.#ending ??= this.#end(why));
  }

  async #end(why: string): Promise<void> {
    this.#stopWaiting();
    this.#owner.over(this);
    for (const call of this.#calls) call.cancel(why);
    this.#participant.leave();
    // The errors are on their way to the streams by then.
    await new Promise((resolve) => setImmediate(resolve));
    await this.#tools.server.close();
    let stop = (): void => undefined;
    const late = new Promise<void>((resolve) => (stop = quietDeadline(1000, resolve)));
    await Promise.race([Promise.allSettled(this.#answers), late]);
    stop();
  }
}
