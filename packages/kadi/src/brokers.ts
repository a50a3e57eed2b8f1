import { OperationError } from "@alkdev/operations";
import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";
import { coreOf, excerpt, withoutPassword } from "@alkdev/pubsub/transport";
import { callAt, carrierOf, toRpc } from "./broker-calls.ts";
import { openBroker } from "./broker-connection.ts";
import type { BrokerConnection, BrokerConnectionOptions } from "./broker-connection.ts";
import { channelOfType } from "./channels.ts";
import type { BrokerAddress, KadiClientOptions, ToolCallOptions } from "./client-api.ts";
import { RpcError } from "./json-rpc.ts";
import type { Source } from "./sources.ts";
import type { Subscriptions } from "./subscriptions.ts";
import type { Tools } from "./tools.ts";

/** Where a client looks for a broker that was given none. */
const DEFAULT_URL = "ws://localhost:8080";

/** A broker that a client is connected to. */
export interface Connected {
  readonly name: string;
  readonly connection: BrokerConnection;
  readonly source: Source;
  /** The network of what names none. */
  readonly network: string;
}

/** The brokers of one client: what they are called, and the connections to them. */
export class Brokers {
  readonly #addresses = new Map<string, BrokerAddress>();
  readonly #default: string;
  readonly #options: KadiClientOptions;
  readonly #tools: Tools;
  readonly #subscriptions: Subscriptions;
  readonly #report: (error: unknown) => void;
  readonly #connections = new Map<
    string,
    { readonly connection: BrokerConnection; readonly ready: Promise<Connected> }
  >();

  /** @throws PubSubError `INVALID_OPTION` */
  constructor(
    options: KadiClientOptions,
    tools: Tools,
    subscriptions: Subscriptions,
    report: (error: unknown) => void,
  ) {
    const { broker, brokers = {}, networks, connectTimeout = 1 } = options;
    this.#options = options;
    this.#tools = tools;
    this.#subscriptions = subscriptions;
    this.#report = report;
    if (broker !== undefined) this.#addresses.set("default", { url: broker });
    for (const [name, address] of Object.entries(brokers))
      this.#addresses.set(name, typeof address === "string" ? { url: address } : address);
    for (const [name, { url }] of this.#addresses)
      if (typeof url !== "string")
        throw new PubSubError("INVALID_OPTION", `The broker ${excerpt(name)} needs an address: ws://host:port.`);
    if (networks !== undefined && !Array.isArray(networks))
      throw new PubSubError("INVALID_OPTION", "networks must be a list of names.");
    if (typeof connectTimeout !== "number" || !(connectTimeout > 0))
      throw new PubSubError("INVALID_OPTION", "connectTimeout must be a positive number of milliseconds.");
    const [first = "default"] = this.#addresses.keys();
    this.#default = options.defaultBroker ?? first;
    if (this.#addresses.size > 0) this.#address(this.#default);
  }

  /** Whether it was given any. */
  get known(): boolean {
    return this.#addresses.size > 0;
  }

  /** The agent id at the default broker, once there is a connection. */
  get agentId(): string | undefined {
    return this.#connections.get(this.#default)?.connection.agentId;
  }

  /** Connects to all. @throws PubSubError as a rejection */
  async connectAll(): Promise<void> {
    const names = this.known ? [...this.#addresses.keys()] : [this.#default];
    await Promise.all(names.map((name) => this.connect(name)));
  }

  /** Connects, registers and subscribes, once. @throws PubSubError, RpcError, as rejections; the next use tries again */
  connect(name: string = this.#default): Promise<Connected> {
    const known = this.#connections.get(name);
    if (known !== undefined) return known.ready;
    let connection: BrokerConnection;
    try {
      connection = this.#open(name);
    } catch (error) {
      return Promise.reject(error);
    }
    const { eventTarget } = connection;
    const source: Source = { name, title: this.#titleOf(name), transport: "broker", eventTarget };
    const ready = this.#ready(name, connection, source);
    this.#connections.set(name, { connection, ready });
    return ready;
  }

  /** @throws PubSubError `INVALID_OPTION` */
  #address(name: string): BrokerAddress {
    const address = this.#addresses.get(name);
    if (address !== undefined) return address;
    if (!this.known && name === this.#default) return { url: DEFAULT_URL };
    throw new PubSubError(
      "INVALID_OPTION",
      `There is no broker ${excerpt(name)}; there are ${[...this.#addresses.keys()].join(", ") || "none"}.`,
    );
  }

  /** What messages call a broker: by its address where it was given no name. */
  #titleOf(name: string): string {
    const isNamed = Object.hasOwn(this.#options.brokers ?? {}, name);
    return isNamed ? name : withoutPassword(this.#address(name).url);
  }

  #networks(name: string): readonly string[] {
    return this.#address(name).networks ?? this.#options.networks ?? ["global"];
  }

  #open(name: string): BrokerConnection {
    const { name: clientName, version, description, role, privateKey, connectTimeout } = this.#options;
    const options: BrokerConnectionOptions = {
      networks: this.#networks(name),
      ...(clientName !== undefined && { name: clientName }),
      ...(version !== undefined && { version }),
      ...(description !== undefined && { description }),
      ...(role !== undefined && { role }),
      ...(privateKey !== undefined && { privateKey }),
      ...(connectTimeout !== undefined && { connectTimeout }),
      onError: this.#report,
      onRequest: async ({ toolName, toolInput = {}, requestId, callerAgentId }, signal) => {
        try {
          const context = { signal, requestId, callerAgentId };
          return await this.#tools.call(toolName, toolInput, context, carrierOf(connection));
        } catch (error) {
          throw toRpc(error);
        }
      },
    };
    const connection = openBroker(this.#address(name).url, options);
    return connection;
  }

  async #ready(name: string, connection: BrokerConnection, source: Source): Promise<Connected> {
    try {
      await connection.ready();
      if (this.#tools.size > 0) await this.#register(name, connection);
      await this.#subscriptions.attach(source);
    } catch (error) {
      const isOurs = this.#connections.get(name)?.connection !== connection;
      await this.#forget(name, connection, source);
      if (!isOurs || !(error instanceof PubSubError) || error.code !== "CLOSED") throw error;
      const message = `The client was disconnected while it connected to the broker ${this.#titleOf(name)}.`;
      throw new PubSubError("CLOSED", message, { cause: error });
    }
    return { name, connection, source, network: this.#networks(name)[0] ?? "global" };
  }

  async #forget(name: string, connection: BrokerConnection, source: Source): Promise<void> {
    if (this.#connections.get(name)?.connection === connection) this.#connections.delete(name);
    this.#subscriptions.detach(source);
    await connection.close();
  }

  /** @throws PubSubError `REFUSED` where another agent has a tool of that name, or there are too many; as a rejection */
  async #register(name: string, connection: BrokerConnection): Promise<void> {
    try {
      await connection.register(this.#tools.list());
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      throw new PubSubError(
        "REFUSED",
        `The broker ${this.#titleOf(name)} refuses this client's tools: ${error.message}`,
        {
          cause: error,
        },
      );
    }
  }

  /** Tells all brokers which tools there are now. */
  register(): void {
    for (const [name, { connection, ready }] of this.#connections)
      ready.then(() => this.#register(name, connection)).catch(this.#report);
  }

  /**
   * Calls a tool at the default broker; where nobody there has it, at the next one.
   *
   * @param target an agent's id or name; undefined for whoever has the tool
   * @throws OperationError, PubSubError, as rejections
   */
  async call(
    target: string | undefined,
    tool: string,
    input: unknown,
    options: ToolCallOptions = {},
  ): Promise<unknown> {
    const names = [this.#default, ...[...this.#addresses.keys()].filter((name) => name !== this.#default)];
    for (const [i, name] of names.entries()) {
      const { connection } = await this.connect(name);
      try {
        return await callAt(connection, target, tool, input, options);
      } catch (error) {
        // It has surely not run.
        if (!(error instanceof OperationError) || error.code !== "OPERATION_NOT_FOUND" || i === names.length - 1)
          throw error;
      }
    }
    return undefined;
  }

  /**
   * Publishes an event at one broker.
   *
   * @param owner whose event it is
   * @throws PubSubError `INTERRUPTED` where the broker is away, as a rejection
   */
  async publish(
    event: Omit<EventEnvelope, "id">,
    broker: string | undefined,
    network: string | undefined,
    owner: object,
  ): Promise<void> {
    const { connection, source, network: first } = await this.connect(broker);
    const { away, eventTarget } = connection;
    if (away !== undefined)
      throw new PubSubError(
        "INTERRUPTED",
        `${channelOfType(event.type)} was not published at the broker ${source.title ?? source.name}, which is not connected now: ${away}. It is connected to again by itself; publish again then.`,
      );
    await eventTarget[coreOf].publish({ ...event, id: network ?? first }, owner);
  }

  async close(): Promise<void> {
    const all = [...this.#connections];
    this.#connections.clear();
    await Promise.all(
      all.map(async ([, { connection, ready }]) => {
        // One that is not ready yet takes itself back, as its connection ends.
        await connection.close();
        const connected = await ready.catch(() => undefined);
        if (connected !== undefined) this.#subscriptions.detach(connected.source);
      }),
    );
  }
}
