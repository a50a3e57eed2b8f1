// What users of a client type: its options, tools, events and abilities.
import type { KeyObject } from "node:crypto";
import type { Gap, StandardSchema } from "@alkdev/pubsub";
import type { JsonSchema, OperationSchema } from "@alkdev/operations";

// oxlint-disable-next-line typescript/no-explicit-any -- what travels is known to the programs alone
export type Untyped = any;

/** The ways on which abilities are reached: in this process, in a child process, at a broker. */
export type TransportName = "native" | "stdio" | "broker";

/** A broker by its address, and the networks to join there instead of the client's. */
export interface BrokerAddress {
  /** `ws:` or `wss:`. */
  readonly url: string;
  readonly networks?: readonly string[];
}

/** Options of `KadiClient`. Either `broker`, or `brokers` by name. */
export interface KadiClientOptions {
  /** What others call this client by. Default `"kadi-client"`. */
  readonly name?: string;
  readonly version?: string;
  readonly description?: string;
  /** What brokers are told that this is. Default `agent`. */
  readonly role?: "agent" | "ability" | "service";
  /** What `serve()` serves. `native` and `stdio` say that brokers are used only once `connect()` was called. Default `broker`. */
  readonly transport?: TransportName;
  /** The one broker. Default, where a broker is asked for and none is named: `ws://localhost:8080`. */
  readonly broker?: string;
  readonly brokers?: Readonly<Record<string, string | BrokerAddress>>;
  /** The name of the broker that is used where a call names none. Default: the first. */
  readonly defaultBroker?: string;
  /** The networks to join. Default `["global"]`. */
  readonly networks?: readonly string[];
  /** Milliseconds in which a broker must have let this client in; after that whoever waits for it is told `NOT_READY`. Default 10,000. */
  readonly connectTimeout?: number;
  /** An Ed25519 key, which the agent id is derived from: keep it, and the id stays. Default: a new one for each connection. */
  readonly privateKey?: KeyObject;
}

/** What a tool is, without what it does. */
export interface ToolDescription {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: JsonSchema;
  readonly outputSchema?: JsonSchema;
}

/** A tool as `registerTool(definition, handler)` takes it. Schemas are zod's, or any by Standard Schema, or JSON Schema. */
export interface ToolDefinition<In = unknown, Out = unknown> {
  readonly name: string;
  readonly description?: string;
  readonly input?: StandardSchema<Untyped, In> | JsonSchema;
  readonly output?: StandardSchema<Out, Untyped> | JsonSchema;
}

/** What `registerTool(name, handler, options)` takes beside the two. */
export interface ToolOptions {
  readonly description?: string;
  readonly inputSchema?: OperationSchema;
  readonly outputSchema?: OperationSchema;
}

/** What a tool's handler gets beside its input. */
export interface ToolContext {
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  /** The agent id of the caller, as its broker vouches for it; undefined on other ways. */
  readonly callerAgentId: string | undefined;
}

/**
 * Carries out a tool: the input, which is JSON, was checked; what it returns, or resolves with, is checked and is, as JSON, the
 * answer: a `Date` is text there, a `Map` `{}`, `undefined` null. What cannot be JSON is `HANDLER_ERROR`.
 */
export type ToolHandler<In = Untyped, Out = Untyped> = (input: In, context: ToolContext) => Out | Promise<Out>;

/** Options of a call. */
export interface ToolCallOptions {
  /** Aborting rejects the call, and aborts the signal of its handler. */
  readonly signal?: AbortSignal;
  /** Milliseconds until the call rejects with `TIMEOUT`; `Infinity` for none. Default 30,000. */
  readonly timeout?: number;
}

/** An event as its subscribers see it, beside its data. */
export interface KadiEvent<T = Untyped> {
  /** Without wildcards: what it was published to. */
  readonly channel: string;
  readonly data: T;
  /** On which way it arrived; `native` for this client's own. */
  readonly transport: TransportName;
  /** What it arrived from: the name of an ability or of a broker, or the client's own name. */
  readonly source: string;
  /** The network that it was published in; undefined where it came over no broker. */
  readonly networkId: string | undefined;
  /** Who published, as the broker says; undefined where it came over no broker. */
  readonly agentId: string | undefined;
}

/** Called for each event that matches. What it throws, or rejects with, is the client's `error`, and stops nobody else. */
export type EventCallback<T = Untyped> = (data: T, event: KadiEvent<T>) => unknown;

/** Events that a subscriber did not get, or will not get. */
export interface EventLoss {
  /** `ended`: nothing more comes from there, the process or the connection is over. Else why some are missing. */
  readonly reason: Gap["reason"] | "ended";
  readonly transport: TransportName;
  /** The name of the ability or of the broker. */
  readonly source: string;
  /** What happened; of a child process that ended a `ChildExitError` with its `exitCode`. */
  readonly cause: unknown;
}

/** Options of `subscribeToEvent`. */
export interface SubscribeToEventOptions {
  /** Called where events are missing, between the last before and the first after. Default: the client's `error`. */
  readonly onLoss?: (loss: EventLoss) => void;
}

/** Options of `publishEvent`. */
export interface PublishEventOptions {
  /** The name of a broker. Default: `defaultBroker`. */
  readonly broker?: string;
  /** Default: the first that was joined. */
  readonly network?: string;
}

/** Options of `loadNative`. */
export interface LoadNativeOptions {
  /** The ability's folder, or its module. Default: `abilities/<name>` below the working directory, or the package of that name. */
  readonly path?: string;
}

/** Options of `loadStdio`. Without a command it is that of the `agent.json` in the ability's folder. */
export interface LoadStdioOptions extends LoadNativeOptions {
  readonly command?: string;
  readonly args?: readonly string[];
  /** Default: the ability's folder, or this process's own. */
  readonly cwd?: string;
  /** In addition to this process's. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds until it must serve. Default 30,000. */
  readonly timeout?: number;
  /** Told of what the ability prints. Default: it is printed to standard error. */
  readonly onOutput?: (line: string) => void;
}

/** Options of `loadBroker`. */
export interface LoadBrokerOptions {
  /** The name of a broker. Default: `defaultBroker`. */
  readonly broker?: string;
}

/**
 * An ability that was loaded. Its tools are methods as well, where their names are free: `await calculator.add({ a: 1, b: 2 })`.
 */
export interface LoadedAbility {
  readonly name: string;
  readonly transport: TransportName;
  /** Calls a tool. @throws OperationError, as a rejection */
  invoke<T = Untyped>(tool: string, input?: unknown, options?: ToolCallOptions): Promise<T>;
  /** The tools that it had when it was loaded. */
  getTools(): readonly ToolDescription[];
  /**
   * Resolves when it is live, with what ends it. From a native or stdio ability come its own events, and those of the
   * abilities that it has loaded; from a broker all that match there.
   */
  subscribeToEvent<T = Untyped>(
    pattern: string,
    callback: EventCallback<T>,
    options?: SubscribeToEventOptions,
  ): Promise<() => void>;
  unsubscribeFromEvent(pattern: string, callback: EventCallback): void;
  /** Ends its process, if it has one, and forgets it. Idempotent. */
  disconnect(): Promise<void>;
  readonly [tool: string]: Untyped;
}
