import { generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { PubSubError } from "@alkdev/pubsub";
import type { Status } from "@alkdev/pubsub";
import { coreOf, deadline, defineEventTarget, onAbort } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import type { BrokerClient } from "./broker-client.ts";
import { BrokerTransport } from "./broker-transport.ts";
import type { BrokerTransportOptions } from "./broker-transport.ts";
import type { Tool, VisibleTool } from "./directory.ts";
import { CODES, RpcError } from "./json-rpc.ts";
import type { Params } from "./json-rpc.ts";

/** Options of `openBroker`. */
export interface BrokerConnectionOptions extends Omit<
  BrokerTransportOptions,
  "privateKey" | "prepare" | "onNotification"
> {
  /** An Ed25519 key, which the agent id is derived from. Default: a new one, which lasts as long as the connection. */
  readonly privateKey?: KeyObject;
  /** Called when the tools that can be seen may be others: agents have come or gone, or there is a new session. */
  readonly onToolsChanged?: () => void;
  /** Told of what concerns no one call: a registration that a new session refused, messages that are none. Default: reported as uncaught. */
  readonly onError?: (error: unknown) => void;
}

/** Options of a call. */
export interface CallOptions {
  /** An agent's id, name or display name. Default: whoever has the tool. */
  readonly targetAgent?: string;
  /** Aborting cancels the call at the broker, and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Milliseconds after which the call is cancelled and rejects with `TIMEOUT`. Default: no time of its own. */
  readonly timeout?: number;
}

/** A client's standing connection to one broker. */
export interface BrokerConnection {
  /** Undefined until it has connected; then the same for every session, where the key is. */
  readonly agentId: string | undefined;
  /** Why there is no session now, in words; undefined while there is one. */
  readonly away: string | undefined;
  /** Events over the broker: a type is `kadi.event.` and a channel, an id is a network. */
  readonly eventTarget: AlkEventTarget;
  /**
   * Connects, if it has not, and resolves with the agent id once it is connected, its tools are registered and it is subscribed
   * to what it was. After an interruption it waits for that as long as for the first connection.
   *
   * @throws PubSubError `NOT_READY` where no broker answers, `REFUSED` where it does not want this client, `CLOSED`; the signal's
   * reason; as rejections
   */
  ready(signal?: AbortSignal): Promise<string>;
  /**
   * Offers these tools, in place of those before, in every network that was joined. Resolves when the broker knows them. They are
   * offered again in each session that follows.
   *
   * @throws RpcError what the broker answered, and then those before are still offered; else as `ready`; as rejections
   */
  register(tools: readonly Tool[]): Promise<void>;
  /**
   * Calls a tool. Events that it published before it answered have been delivered when this resolves. It does not outlast its
   * session: what is pending when that ends is rejected, and the tool may have run.
   *
   * @throws RpcError what the broker or the provider answered; PubSubError `DISCONNECTED`, `PAYLOAD`, `TIMEOUT`; else as `ready`; as
   * rejections
   */
  call(toolName: string, toolInput: unknown, options?: CallOptions): Promise<unknown>;
  /** The tools that can be seen in the networks that were joined. */
  tools(): Promise<VisibleTool[]>;
  /** Says goodbye and ends it. Idempotent. */
  close(): Promise<void>;
}

/**
 * A client's standing connection to one broker. It connects on first use and, once it was connected, again whenever it is
 * interrupted: then it offers its tools and subscribes as before, and tells of the gap.
 *
 * @param url `ws:` or `wss:`
 * @throws PubSubError `INVALID_OPTION` for any other
 * @example
 * const broker = openBroker("ws://localhost:8080", { name: "caller" });
 * console.log(await broker.call("echo", { message: "hi" }, { targetAgent: "echo-js" }));
 * await broker.close();
 */
export function openBroker(url: string, options: BrokerConnectionOptions = {}): BrokerConnection {
  if (!URL.canParse(url) || !/^wss?:$/.test(new URL(url).protocol))
    throw new PubSubError(
      "INVALID_OPTION",
      `${JSON.stringify(url)} is not the address of a broker; use ws://host:port or wss://host:port.`,
    );
  return new Connection(url, options);
}

/** Milliseconds that a broker has for what is asked once it has let a client in. */
const GRACE = 2000;

class Connection implements BrokerConnection {
  readonly eventTarget: AlkEventTarget;
  readonly #transport: BrokerTransport;
  readonly #connectTimeout: number;
  readonly #onError: ((error: unknown) => void) | undefined;
  /** As the broker has acknowledged them last; undefined where none ever were. */
  #tools: readonly Tool[] | undefined;
  #registering: Promise<void> = Promise.resolve();

  constructor(url: string, { onError, onToolsChanged, privateKey, ...options }: BrokerConnectionOptions) {
    const { connectTimeout = 10_000 } = options;
    this.#connectTimeout = connectTimeout;
    this.#onError = onError;
    this.#transport = new BrokerTransport(url, {
      ...options,
      privateKey: privateKey ?? generateKeyPairSync("ed25519").privateKey,
      prepare: async (session) => {
        await this.#registerAgain(session);
        if (onToolsChanged !== undefined) await session.request("kadi.ability.list", { watch: true });
      },
      onNotification: (method, params) => {
        if (method === "kadi.ability.changed") onToolsChanged?.();
        else if (method === "kadi.agent.withdrawn") this.#withdrawn(params);
      },
    });
    this.eventTarget = defineEventTarget(this.#transport, {
      // An attempt that takes too long says more of why.
      connectTimeout: connectTimeout + GRACE,
      ...(onError !== undefined && { onError }),
    });
    if (onToolsChanged !== undefined)
      this.eventTarget.onStatus((status) => {
        if (status === "ready") onToolsChanged();
      });
  }

  get agentId(): string | undefined {
    return this.#transport.agentId;
  }

  get away(): string | undefined {
    return this.#transport.away;
  }

  async ready(signal?: AbortSignal): Promise<string> {
    await this.#session(signal);
    return this.#transport.agentId ?? "";
  }

  /** The session of now, or of the time when there is one. */
  async #session(signal?: AbortSignal): Promise<BrokerClient> {
    signal?.throwIfAborted();
    const { status } = this.eventTarget;
    if (status !== "ready") {
      const waiting = status === "interrupted" ? this.#back(signal) : this.eventTarget[coreOf].open();
      await (signal === undefined ? waiting : unlessAborted(waiting, signal));
    }
    const { session } = this.#transport;
    if (session === undefined) throw this.#notReady();
    if (session.isOpen) return session;
    // It is just ending: what is asked now was not asked there, and is the next one's.
    const ended = session.closed.then(() => undefined);
    await (signal === undefined ? ended : unlessAborted(ended, signal));
    return this.#session(signal);
  }

  /** Resolves when the interruption is over. */
  #back(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (end: () => void): void => {
        stopTime();
        stopStatus();
        ignore?.();
        end();
      };
      const stopTime = deadline(this.#connectTimeout, () => done(() => reject(this.#notReady())));
      const ignore = signal && onAbort(signal, () => done(resolve));
      const stopStatus = this.eventTarget.onStatus((status: Status, cause) => {
        if (status === "ready") done(resolve);
        else if (status === "closed") done(() => reject(cause));
      });
    });
  }

  #notReady(): PubSubError {
    return new PubSubError(
      "NOT_READY",
      `Not connected within ${this.#connectTimeout} ms: ${this.#transport.problem ?? "the session has just ended"}. It goes on trying.`,
    );
  }

  register(tools: readonly Tool[]): Promise<void> {
    // One after the other: what was registered last is what is offered.
    const registered = this.#registering.then(() => this.#register(tools));
    this.#registering = registered.catch(() => undefined);
    return registered;
  }

  async #register(tools: readonly Tool[]): Promise<void> {
    for (;;) {
      const session = await this.#session();
      try {
        await session.request("kadi.agent.register", { tools });
        this.#tools = tools;
        return;
      } catch (error) {
        // The next session is asked, if there is one.
        if (!(error instanceof PubSubError) || error.code !== "DISCONNECTED") throw error;
        await session.closed;
      }
    }
  }

  /** In a new session, before anybody uses it. */
  async #registerAgain(session: BrokerClient): Promise<void> {
    if (this.#tools === undefined) return;
    try {
      await session.request("kadi.agent.register", { tools: this.#tools });
    } catch (error) {
      // Where the broker will hardly answer otherwise next time, the rest goes on without tools.
      if (!(error instanceof RpcError) || error.code === CODES.UNAVAILABLE) throw error;
      const message = `The broker no longer takes this client's tools, which nobody can call now: ${error.message}`;
      this.#report(new PubSubError("REFUSED", message, { cause: error }));
    }
  }

  /** Another agent was first, at another broker. */
  #withdrawn({ tools, reason }: Params): void {
    this.#tools = this.#tools?.filter(({ name }) => !Array.isArray(tools) || !tools.includes(name));
    this.#report(new PubSubError("REFUSED", `The broker took tools away from this client: ${String(reason)}`));
  }

  #report(error: unknown): void {
    if (this.#onError !== undefined) this.#onError(error);
    else
      queueMicrotask(() => {
        throw error;
      });
  }

  async call(toolName: string, toolInput: unknown, options: CallOptions = {}): Promise<unknown> {
    const { targetAgent, signal, timeout } = options;
    const params = { toolName, toolInput, ...(targetAgent !== undefined && { targetAgent }) };
    if (timeout === undefined) return (await this.#session(signal)).call(params, signal);
    const late = new AbortController();
    const stop = deadline(timeout, () =>
      late.abort(new PubSubError("TIMEOUT", `${JSON.stringify(toolName)} did not answer within ${timeout} ms.`)),
    );
    const either = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
    try {
      return await (await this.#session(either)).call(params, either);
    } finally {
      stop();
    }
  }

  async tools(): Promise<VisibleTool[]> {
    const session = await this.#session();
    const { tools } = (await session.request("kadi.ability.list", {})) as { tools: VisibleTool[] };
    return tools;
  }

  close(): Promise<void> {
    return this.eventTarget.close();
  }
}

/** Rejects with the signal's reason when that comes first; the promise then goes on for others. */
async function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  let ignore: (() => void) | undefined;
  const aborted = new Promise<void>((resolve) => (ignore = onAbort(signal, resolve)));
  try {
    await Promise.race([promise, aborted]);
  } finally {
    ignore?.();
  }
  signal.throwIfAborted();
}
