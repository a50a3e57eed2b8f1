import { createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { PubSubError } from "@alkdev/pubsub";
import { deadline, onAbort } from "@alkdev/pubsub/transport";
import { WebSocket } from "ws";
import { CODES, isObject, parseMessage, RpcError } from "./json-rpc.ts";
import type { Params, RpcId } from "./json-rpc.ts";

/** Options of `connectToBroker`. */
export interface BrokerClientOptions {
  /** An Ed25519 key, which the agent id is derived from. Default: a new one. */
  readonly privateKey?: KeyObject;
  readonly name?: string;
  readonly role?: string;
  readonly networks?: readonly string[];
  /** Milliseconds in which it must have connected and authenticated. Default 10,000. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
  /** What the broker says and wants no answer to: deliveries, gaps, cancelled calls. */
  readonly onNotification?: (method: string, params: Params) => void;
}

/** A session at a broker. */
export interface BrokerClient {
  readonly agentId: string;
  /** Resolves when it is over, with the code and the reason; never rejects. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  /** @throws RpcError what the broker answered; PubSubError `DISCONNECTED` if it never did; as rejections */
  request(method: string, params: Params): Promise<unknown>;
  /** As `request`, for one that may be cancelled: aborting tells the broker so. */
  call(params: Params, signal: AbortSignal): Promise<unknown>;
  /** While paused, nothing is read. */
  pause(): void;
  resume(): void;
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

class ClientSession implements BrokerClient {
  agentId = "";
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  readonly #url: string;
  readonly #options: BrokerClientOptions;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<RpcId, Waiting>();
  #lastId = 0;
  #pings: NodeJS.Timeout | undefined;
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
        clearInterval(this.#pings);
        const gone = new PubSubError("DISCONNECTED", `The broker ended the session (${code} ${reason.toString()}).`, {
          cause: this.#problem,
        });
        for (const { reject } of this.#waiting.values()) reject(gone);
        this.#waiting.clear();
        resolve({ code, reason: reason.toString() });
      }),
    );
  }

  async open(): Promise<void> {
    const { timeout = 10_000 } = this.#options;
    const stop = deadline(timeout, () => {
      this.#problem ??= new Error(`no answer within ${timeout} ms`);
      this.#socket.terminate();
    });
    try {
      await this.#connected();
      await this.#authenticate();
    } finally {
      stop();
    }
  }

  async #connected(): Promise<void> {
    const isOpen = new Promise<true>((resolve) => this.#socket.once("open", () => resolve(true)));
    if ((await Promise.race([isOpen, this.closed])) === true) return;
    const why = this.#problem instanceof Error ? this.#problem.message : "it hung up";
    throw new PubSubError("NOT_READY", `No broker at ${this.#url}: ${why}.`, { cause: this.#problem });
  }

  async #authenticate(): Promise<void> {
    const { name, role = "agent", networks } = this.#options;
    const key = this.#options.privateKey ?? generateKeyPairSync("ed25519").privateKey;
    const hello = await this.request("kadi.session.hello", {
      role,
      ...(name !== undefined && { name }),
      ...(networks !== undefined && { networks }),
    });
    const { nonce, heartbeatInterval } = isObject(hello) ? hello : {};
    if (typeof nonce !== "string")
      throw new PubSubError("MALFORMED", `What answers at ${this.#url} is no KADI broker.`);
    const publicKey = createPublicKey(key).export({ format: "der", type: "spki" }).toString("base64");
    const signature = sign(null, Buffer.from(nonce, "utf8"), key).toString("base64");
    const answer = await this.request("kadi.session.authenticate", { publicKey, signature, nonce });
    this.agentId = isObject(answer) && typeof answer["agentId"] === "string" ? answer["agentId"] : "";
    const every = typeof heartbeatInterval === "number" && heartbeatInterval > 0 ? heartbeatInterval : 30_000;
    this.#pings = setInterval(() => void this.request("kadi.session.ping", {}).catch(() => undefined), every);
  }

  request(method: string, params: Params): Promise<unknown> {
    return this.#ask(++this.#lastId, method, params);
  }

  async call(params: Params, signal: AbortSignal): Promise<unknown> {
    signal.throwIfAborted();
    const id = ++this.#lastId;
    const ignore = onAbort(signal, () => {
      // Its own request is answered then, with CANCELLED.
      this.request("kadi.ability.cancel", { requestId: id }).catch(() => undefined);
    });
    try {
      return await this.#ask(id, "kadi.ability.request", params);
    } finally {
      ignore();
    }
  }

  #ask(id: RpcId, method: string, params: Params): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#socket.readyState !== this.#socket.OPEN)
        return reject(new PubSubError("DISCONNECTED", "The session is over."));
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }

  #received(text: string): void {
    let message: ReturnType<typeof parseMessage>;
    try {
      message = parseMessage(text);
    } catch (error) {
      this.#problem ??= error;
      return this.#socket.close(1002, "Not JSON-RPC.");
    }
    if (message.kind === "request") {
      if (message.id === undefined) this.#options.onNotification?.(message.method, message.params);
      else this.#refuse(message.id, message.method);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    const { result, error } = message.outcome;
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new RpcError(error.code, error.message, error.data));
  }

  /** It offers no tools. */
  #refuse(id: RpcId, method: string): void {
    const error = { code: CODES.UNKNOWN_METHOD, message: `There is no method ${method}.` };
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, error }));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  async close(): Promise<void> {
    this.resume();
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
