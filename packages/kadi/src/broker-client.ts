import { createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { PubSubError } from "@alkdev/pubsub";
import { deadline, describe, onAbort, withoutPassword } from "@alkdev/pubsub/transport";
import { WebSocket } from "ws";
import { CODES, isObject, parseMessage, RpcError } from "./json-rpc.ts";
import type { Outcome, Params, RpcId } from "./json-rpc.ts";
import { tooLarge } from "./tool-json.ts";

/** Options of `connectToBroker`. */
export interface BrokerClientOptions {
  /** An Ed25519 key, which the agent id is derived from. Default: a new one. */
  readonly privateKey?: KeyObject;
  readonly name?: string;
  readonly version?: string;
  readonly description?: string;
  readonly role?: string;
  readonly networks?: readonly string[];
  /** Milliseconds in which it must have connected and authenticated. Default 10,000. */
  readonly connectTimeout?: number;
  readonly signal?: AbortSignal;
  /** What the broker says and wants no answer to: deliveries, gaps. */
  readonly onNotification?: (method: string, params: Params) => void;
  /** Runs a tool that somebody calls; the signal is aborted when nobody waits for it any more. Default: there are no tools. */
  readonly onRequest?: ToolRunner;
}

/** A call that somebody made of a tool of ours. */
export interface ToolRequest {
  readonly toolName: string;
  readonly toolInput: unknown;
  /** Names the call, among all of the broker's. */
  readonly requestId: string;
  readonly callerAgentId: string;
  readonly callerName?: string;
}

/** Resolves with what the tool returns, which must be JSON. What it rejects with is the answer's error: an `RpcError` as it is,
 * anything else with the code −32000 and its message. */
export type ToolRunner = (request: ToolRequest, signal: AbortSignal) => Promise<unknown>;

/** A session at a broker. */
export interface BrokerClient {
  readonly agentId: string;
  /** The networks that it has joined. */
  readonly networks: readonly string[];
  /** Bytes that a message to the broker may have. */
  readonly maxMessage: number;
  /** Whether anything can be said; false a little before `closed` resolves. */
  readonly isOpen: boolean;
  /** Resolves when it is over, with the code and the reason; never rejects. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  /**
   * @throws RpcError what the broker answered; PubSubError `DISCONNECTED` if it never did, `PAYLOAD` if it is larger than the
   * broker takes, and was not sent; as rejections
   */
  request(method: string, params: Params): Promise<unknown>;
  /** Calls a tool. Aborting tells the broker so, and rejects with the signal's reason at once. */
  call(params: Params, signal?: AbortSignal): Promise<unknown>;
  /** Says goodbye. Idempotent. */
  close(): Promise<void>;
}

/**
 * Connects to a broker and authenticates. It does not connect again: whoever uses it learns from `closed` that it is over.
 *
 * @throws PubSubError `NOT_READY` where nobody answers in time, RpcError where the broker refuses; as rejections
 */
export async function connectToBroker(url: string, options: BrokerClientOptions = {}): Promise<BrokerClient> {
  options.signal?.throwIfAborted();
  const session = new ClientSession(url, options);
  const ignore = options.signal && onAbort(options.signal, () => session.terminate());
  try {
    await session.open();
    return session;
  } catch (error) {
    session.terminate();
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    ignore?.();
  }
}

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Bytes of a message that a broker takes, where it does not say. */
export const DEFAULT_MESSAGE: number = 1024 * 1024;

class ClientSession implements BrokerClient {
  agentId = "";
  networks: readonly string[] = [];
  maxMessage: number = DEFAULT_MESSAGE;
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  readonly #url: string;
  readonly #options: BrokerClientOptions;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<RpcId, Waiting>();
  /** Tools of ours that run, by the id of their call. */
  readonly #running = new Map<RpcId, AbortController>();
  /** Answers that have come in the same turn as notifications, and wait until those were seen. */
  #answers: (() => void)[] | undefined;
  #lastId = 0;
  #pings: NodeJS.Timeout | undefined;
  #heard = false;
  #problem: unknown;

  constructor(url: string, options: BrokerClientOptions) {
    this.#url = url;
    this.#options = options;
    // A broker that says too much is as bad as one that says too little.
    this.#socket = new WebSocket(url, { perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 });
    this.#socket.on("error", (error) => (this.#problem ??= error));
    this.#socket.on("message", (data) => this.#received((data as Buffer).toString("utf8")));
    this.closed = new Promise((resolve) =>
      this.#socket.once("close", (code, reason) => {
        this.#over(code, reason.toString());
        resolve({ code, reason: reason.toString() });
      }),
    );
  }

  #over(code: number, reason: string): void {
    clearInterval(this.#pings);
    this.#settle();
    const gone = new PubSubError(
      "DISCONNECTED",
      `The session at ${withoutPassword(this.#url)} ended (${code}${reason === "" ? "" : ` ${reason}`}).`,
      { cause: this.#problem },
    );
    for (const { reject } of this.#waiting.values()) reject(gone);
    this.#waiting.clear();
    for (const running of this.#running.values()) running.abort(gone);
    this.#running.clear();
  }

  async open(): Promise<void> {
    const { connectTimeout = 10_000 } = this.#options;
    let late = false;
    const stop = deadline(connectTimeout, () => {
      late = true;
      this.#problem ??= new Error(`no answer within ${connectTimeout} ms`);
      this.#socket.terminate();
    });
    try {
      await this.#connected();
      await this.#authenticate();
    } catch (error) {
      throw late ? this.#nobody() : error;
    } finally {
      stop();
    }
  }

  async #connected(): Promise<void> {
    const isOpen = new Promise<true>((resolve) => this.#socket.once("open", () => resolve(true)));
    if ((await Promise.race([isOpen, this.closed])) !== true) throw this.#nobody();
  }

  #nobody(): PubSubError {
    return new PubSubError(
      "NOT_READY",
      `No broker at ${withoutPassword(this.#url)}: ${reasonOf(this.#problem)}. Start one with "kadi broker", or check the address.`,
      { cause: this.#problem },
    );
  }

  async #authenticate(): Promise<void> {
    const { name, version, description, role = "agent", networks } = this.#options;
    const key = this.#options.privateKey ?? generateKeyPairSync("ed25519").privateKey;
    const hello = await this.request("kadi.session.hello", {
      role,
      ...(name !== undefined && { name }),
      ...(version !== undefined && { version }),
      ...(description !== undefined && { description }),
      ...(networks !== undefined && { networks }),
    });
    const { nonce, heartbeatInterval } = isObject(hello) ? hello : {};
    if (typeof nonce !== "string")
      throw new PubSubError("MALFORMED", `What answers at ${withoutPassword(this.#url)} is no KADI broker.`);
    const publicKey = createPublicKey(key).export({ format: "der", type: "spki" }).toString("base64");
    const signature = sign(null, Buffer.from(nonce, "utf8"), key).toString("base64");
    const answer = await this.request("kadi.session.authenticate", { publicKey, signature, nonce });
    const { agentId, networks: joined, maxMessage } = isObject(answer) ? answer : {};
    if (typeof agentId === "string") this.agentId = agentId;
    this.networks = Array.isArray(joined) ? joined.map(String) : (networks ?? ["global"]);
    if (typeof maxMessage === "number" && maxMessage > 0) this.maxMessage = maxMessage;
    const every = typeof heartbeatInterval === "number" && heartbeatInterval > 0 ? heartbeatInterval : 30_000;
    this.#pings = setInterval(() => this.#ping(), every);
  }

  #ping(): void {
    // Whoever was held up first reads what has come meanwhile.
    setImmediate(() => {
      if (!this.#heard) {
        // Not even the answer to the last ping.
        this.#problem ??= new Error("the broker was silent");
        return this.terminate();
      }
      this.#heard = false;
      this.request("kadi.session.ping", {}).catch(() => undefined);
    });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  request(method: string, params: Params): Promise<unknown> {
    return this.#ask(++this.#lastId, method, params);
  }

  async call(params: Params, signal?: AbortSignal): Promise<unknown> {
    signal?.throwIfAborted();
    const id = ++this.#lastId;
    const answer = this.#ask(id, "kadi.ability.request", params);
    if (signal === undefined) return answer;
    let ignore: (() => void) | undefined;
    const aborted = new Promise<never>((_, reject) => {
      ignore = onAbort(signal, () => {
        // Its own request is answered then, to nobody.
        if (this.#waiting.delete(id)) this.request("kadi.ability.cancel", { requestId: id }).catch(() => undefined);
        reject(signal.reason);
      });
    });
    try {
      return await Promise.race([answer, aborted]);
    } finally {
      ignore?.();
    }
  }

  #ask(id: RpcId, method: string, params: Params): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.isOpen)
        return reject(new PubSubError("DISCONNECTED", `The session at ${withoutPassword(this.#url)} is over.`));
      const text = JSON.stringify({ jsonrpc: "2.0", id, method, params });
      const bytes = Buffer.byteLength(text);
      // The broker would end the whole session.
      if (bytes > this.maxMessage)
        return reject(
          new PubSubError("PAYLOAD", `${method} has ${bytes} bytes as a message; the broker takes ${this.maxMessage}.`),
        );
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(text);
    });
  }

  #received(text: string): void {
    this.#heard = true;
    let message: ReturnType<typeof parseMessage>;
    try {
      message = parseMessage(text);
    } catch (error) {
      this.#problem ??= error;
      return this.#socket.close(1002, "Not JSON-RPC.");
    }
    if (message.kind === "request") {
      if (message.id === undefined) this.#told(message.method, message.params);
      else this.#requested(message.id, message.method, message.params);
      return;
    }
    const { id, outcome } = message;
    if (this.#answers === undefined) this.#answered(id, outcome);
    else this.#answers.push(() => this.#answered(id, outcome));
  }

  #answered(id: RpcId, { result, error }: Outcome): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new RpcError(error.code, error.message, error.data));
  }

  #told(method: string, params: Params): void {
    if (method === "kadi.ability.cancel") {
      const id = params["requestId"] as RpcId;
      this.#running.get(id)?.abort(new RpcError(CODES.CANCELLED, "Nobody waits for this call any more."));
      this.#running.delete(id);
    }
    // What came before an answer is seen before it, also by whoever reads in a loop and so needs some microtasks.
    if (this.#answers === undefined) {
      this.#answers = [];
      setImmediate(() => this.#settle());
    }
    this.#options.onNotification?.(method, params);
  }

  #settle(): void {
    const answers = this.#answers;
    this.#answers = undefined;
    for (const answer of answers ?? []) answer();
  }

  #requested(id: RpcId, method: string, params: Params): void {
    const { onRequest } = this.#options;
    if (method !== "kadi.ability.request" || onRequest === undefined)
      return this.#answer(id, { error: { code: CODES.UNKNOWN_METHOD, message: `There is no method ${method}.` } });
    const running = new AbortController();
    this.#running.set(id, running);
    void this.#run(onRequest, { ...params, requestId: String(id) } as unknown as ToolRequest, running.signal).then(
      (outcome) => {
        if (this.#running.get(id) !== running) return;
        this.#running.delete(id);
        this.#answer(id, outcome);
      },
    );
  }

  async #run(onRequest: ToolRunner, request: ToolRequest, signal: AbortSignal): Promise<Outcome> {
    try {
      const result = (await onRequest(request, signal)) ?? null;
      if (typeof result === "function" || typeof result === "symbol")
        throw new TypeError(`What the tool returned is not JSON: it is a ${typeof result}.`);
      return { result };
    } catch (error) {
      if (error instanceof RpcError) return { error: error.toObject() };
      return { error: { code: CODES.TOOL_FAILED, message: error instanceof Error ? error.message : String(error) } };
    }
  }

  #answer(id: RpcId, outcome: Outcome): void {
    if (!this.isOpen) return;
    let text: string;
    try {
      text = JSON.stringify({ jsonrpc: "2.0", id, ...outcome });
    } catch (error) {
      const message = `What the tool returned is not JSON: ${error instanceof Error ? error.message : String(error)}`;
      return this.#answer(id, { error: { code: CODES.TOOL_FAILED, message } });
    }
    const bytes = Buffer.byteLength(text);
    if (bytes <= this.maxMessage) return this.#socket.send(text);
    // The broker would end the whole session.
    const message = tooLarge("What the tool returned", bytes, { name: "the broker", limit: this.maxMessage });
    this.#answer(id, { error: { code: CODES.LIMIT, message, data: { code: "HANDLER_ERROR" } } });
  }

  async close(): Promise<void> {
    await this.request("kadi.session.goodbye", {}).catch(() => undefined);
    const stop = deadline(2000, () => this.terminate());
    this.#socket.close(1000);
    await this.closed;
    stop();
  }

  terminate(): void {
    this.#socket.terminate();
  }
}

/** Why a connection failed, in a few words. */
function reasonOf(problem: unknown): string {
  return problem instanceof Error ? describe(problem) : "it hung up";
}
