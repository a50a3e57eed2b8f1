import { EventEmitter } from "node:events";
import process from "node:process";
import { PubSubError } from "@alkdev/pubsub";
import { coreOf, excerpt, randomId } from "@alkdev/pubsub/transport";
import { Abilities } from "./abilities/abilities.ts";
import { loadBroker } from "./abilities/broker.ts";
import { ToolCalls } from "./abilities/calls.ts";
import type { AbilityDescription } from "./abilities/calls.ts";
import { adopt, loadNative } from "./abilities/native.ts";
import type { Adopted } from "./abilities/native.ts";
import { loadStdio } from "./abilities/stdio.ts";
import { Brokers } from "./brokers.ts";
import { typeOfChannel } from "./channels.ts";
import type {
  EventCallback,
  KadiClientOptions,
  LoadBrokerOptions,
  LoadedAbility,
  LoadNativeOptions,
  LoadStdioOptions,
  PublishEventOptions,
  SubscribeToEventOptions,
  ToolCallOptions,
  ToolDefinition,
  ToolHandler,
  ToolOptions,
  TransportName,
  Untyped,
} from "./client-api.ts";
import { createLocalTarget } from "./local-target.ts";
import { endLater, onStopSignal, serveParent } from "./serve.ts";
import { Sources } from "./sources.ts";
import type { Source } from "./sources.ts";
import { Subscriptions, topic } from "./subscriptions.ts";
import { Tools } from "./tools.ts";

/**
 * An agent, or an ability: registers tools, calls those of others, publishes events and subscribes to them, over brokers, to
 * child processes and in this process, all at once.
 *
 * It is an `EventEmitter` of `error`: what no call throws, a child that crashed say. Without a listener that is a warning
 * of the process, and the client lives on.
 *
 * @example
 * const client = new KadiClient({ name: "caller", broker: "ws://localhost:8080" });
 * await client.connect();
 * const stop = await client.subscribeToEvent("echo.*", (data, { channel }) => console.log(channel, data));
 * console.log(await client.callTool("echo-js", "echo", { message: "hi" }));
 * await client.disconnect();
 */
export class KadiClient extends EventEmitter<{ error: [unknown] }> implements AsyncDisposable {
  readonly name: string;
  readonly #options: KadiClientOptions;
  readonly #tools = new Tools();
  /** Where its own events are published, and calls of its own tools answered. */
  readonly #own: Source;
  /** Its own events and those of its abilities. */
  readonly #sources = new Sources();
  readonly #subscriptions = new Subscriptions(true, (error) => this.#report(error));
  readonly #brokers: Brokers;
  readonly #abilities = new Abilities(this.#sources, (error) => this.#report(error));
  readonly #id: string = randomId();
  #published = 0;
  #calls: Promise<ToolCalls> | undefined;
  /** How many clients of this process have loaded this one. */
  #adopters = 0;
  #isConnected = false;
  #isChild = false;
  /** Aborted by `disconnect()`; there is another one afterwards. */
  #life = new AbortController();

  /** @throws PubSubError `INVALID_OPTION` */
  constructor(options: KadiClientOptions = {}) {
    super();
    const { name = "kadi-client" } = options;
    if (typeof name !== "string" || name === "")
      throw new PubSubError("INVALID_OPTION", `The name of a client is a string, not ${excerpt(name)}.`);
    this.name = name;
    this.#options = { ...options, name };
    this.#own = { name, transport: "native", eventTarget: createLocalTarget() };
    this.#brokers = new Brokers(this.#options, this.#tools, this.#subscriptions, (error) => this.#report(error));
    Object.defineProperty(this, adopt, { value: () => this.#adopt() });
    // Nobody can refuse what is in process.
    void this.#sources.follow(this.#subscriptions);
    void this.#sources.attach(this.#own);
  }

  /** What the default broker knows this client by; undefined until it has connected. */
  get agentId(): string | undefined {
    return this.#brokers.agentId;
  }

  // -------------------------------------------------------------------------------------------------------- brokers

  /**
   * Connects to all brokers, registers the tools and makes the subscriptions live there. After that it connects again by itself.
   *
   * @returns the agent id at the default broker
   * @throws PubSubError `NOT_READY` where none answers, `REFUSED`, as rejections
   */
  async connect(): Promise<string> {
    this.#isConnected = true;
    try {
      await this.#brokers.connectAll();
    } catch (error) {
      this.#isConnected = false;
      throw error;
    }
    return this.agentId ?? "";
  }

  /** The same as `connect`, by its older name. */
  connectToBrokers(): Promise<string> {
    return this.connect();
  }

  /**
   * Ends all that it has begun: says goodbye to brokers, ends its child processes (those that do not end by themselves by
   * SIGTERM, then SIGKILL) and its subscriptions. Its tools stay registered; it can connect and load again.
   */
  async disconnect(): Promise<void> {
    const life = this.#life;
    this.#life = new AbortController();
    life.abort();
    this.#isConnected = false;
    this.#subscriptions.clear();
    await Promise.all([this.#brokers.close(), this.#abilities.end(), this.#calls?.then((calls) => calls.close())]);
    this.#calls = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.disconnect();
  }

  /**
   * Offers its tools until it is told to stop: by `disconnect()`, by SIGINT or SIGTERM, and over standard input and output by the
   * end of the parent process. Then it has disconnected, and resolves.
   *
   * @param transport by default that of the constructor. `broker`: connects; `stdio`: answers the process that started this one
   * @throws as `connect`
   */
  async serve(transport: TransportName = this.#options.transport ?? "broker"): Promise<void> {
    if (transport === "native")
      throw new PubSubError(
        "INVALID_OPTION",
        "A native ability is not served: export it (export default client) and load it with loadNative.",
      );
    const { signal } = this.#life;
    const toldToStop = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    const ignoreSignals = onStopSignal(() => void this.disconnect());
    try {
      if (transport === "stdio") await this.#serveParent(toldToStop);
      else {
        await this.connect();
        await toldToStop;
      }
    } finally {
      ignoreSignals();
      await this.disconnect();
    }
  }

  async #serveParent(toldToStop: Promise<void>): Promise<void> {
    this.#isChild = true;
    const parent = await serveParent(this.#about, this.#tools, this.#sources, (error) => this.#report(error));
    const isGone = await Promise.race([parent.gone.then(() => true), toldToStop.then(() => false)]);
    await parent.close();
    this.#isChild = false;
    if (isGone) endLater();
  }

  get #about(): AbilityDescription {
    const { version, description } = this.#options;
    return { name: this.name, version, description };
  }

  /** Whether brokers are used without having been asked for: not where this is part of another program. */
  get #usesBrokers(): boolean {
    if (this.#isConnected) return true;
    const { transport = "broker" } = this.#options;
    return this.#brokers.known && transport === "broker" && !this.#isChild && this.#adopters === 0;
  }

  // ---------------------------------------------------------------------------------------------------------- tools

  /**
   * Offers a tool, in place of one of the same name. Connected brokers are told; errors of that are this client's `error`.
   *
   * @throws PubSubError `INVALID_OPTION`
   * @example
   * client.registerTool(
   *   { name: "add", description: "Adds", input: z.object({ a: z.number(), b: z.number() }) },
   *   ({ a, b }) => ({ sum: a + b }),
   * );
   */
  registerTool<In, Out>(tool: ToolDefinition<In, Out>, handler: ToolHandler<In, Out>): void;
  registerTool(name: string, handler: ToolHandler, options?: ToolOptions): void;
  registerTool(tool: string | ToolDefinition, handler: ToolHandler, options?: ToolOptions): void {
    this.#tools.add(tool, handler, options);
    this.#brokers.register();
  }

  /**
   * Calls a tool of an ability that was loaded, of this client itself, or of an agent at a broker, in this order. Events that
   * the tool has published before it answered were delivered when this resolves.
   *
   * @param target the name of an ability or agent, or an agent id
   * @throws OperationError whose code says why; PubSubError where no broker can be reached; as rejections
   */
  async callTool<T = Untyped>(
    target: string,
    tool: string,
    input: unknown = {},
    options?: ToolCallOptions,
  ): Promise<T> {
    const ability = this.#abilities.find(target);
    if (ability !== undefined) return ability.invoke<T>(tool, input, options);
    if (target === this.name && this.#tools.has(tool))
      return (await (await this.#ownCalls()).call(tool, input, options)) as T;
    return (await this.#brokers.call(target, tool, input, options)) as T;
  }

  /** Calls a tool at the brokers, of whichever agent has it. @throws as `callTool` */
  async invokeRemote<T = Untyped>(tool: string, input: unknown = {}, options?: ToolCallOptions): Promise<T> {
    return (await this.#brokers.call(undefined, tool, input, options)) as T;
  }

  #ownCalls(): Promise<ToolCalls> {
    return (this.#calls ??= this.#serveOwn());
  }

  async #serveOwn(): Promise<ToolCalls> {
    const calls = new ToolCalls(this.#own.eventTarget, (error) => this.#report(error));
    await calls.serve(this.#about, this.#tools);
    return calls;
  }

  // --------------------------------------------------------------------------------------------------------- events

  /**
   * Calls back for each event that matches, wherever it is published: here, by an ability, at a broker; once each. Resolves
   * when it is live on every transport of this client, with what ends it: nothing that is published after that is
   * lost in silence. An ability that is loaded later, and a broker that is connected to later, is subscribed to before that resolves.
   *
   * @param pattern words between dots; `*` is any one word, a last `#` any number of them
   * @throws InvalidTopicError where it is no pattern; PubSubError where a broker refuses it or cannot be reached; as rejections
   */
  async subscribeToEvent<T = Untyped>(
    pattern: string,
    callback: EventCallback<T>,
    options?: SubscribeToEventOptions,
  ): Promise<() => void> {
    const stop = await this.#subscriptions.subscribe(pattern, callback, options);
    try {
      if (this.#usesBrokers) await this.#brokers.connectAll();
    } catch (error) {
      stop();
      throw error;
    }
    return stop;
  }

  /** Ends the subscriptions of this callback to this pattern. */
  unsubscribeFromEvent(pattern: string, callback: EventCallback): void {
    this.#subscriptions.unsubscribe(pattern, callback);
  }

  /**
   * Publishes an event to those who have loaded this client, to its own subscriptions, and, where it uses brokers, to a broker.
   * Resolves when that has accepted it.
   *
   * @throws InvalidTopicError where the channel is none; PubSubError where a broker cannot be reached (`NOT_READY`), or is away just
   * now (`INTERRUPTED`, whose message says whether it was published there); as rejections
   */
  async publishEvent(channel: string, data: unknown, options: PublishEventOptions = {}): Promise<void> {
    const type = topic(channel, typeOfChannel);
    // Bridges, and subscriptions that have several sources, know the event by it.
    const meta = { passage: `${this.#id}.${++this.#published}` };
    const here = this.#own.eventTarget[coreOf].publish({ type, id: "", payload: data, meta }, this);
    const { broker, network } = options;
    if (broker === undefined && !this.#usesBrokers) return here;
    await Promise.all([here, this.#brokers.publish({ type, payload: data, meta }, broker, network, this)]);
  }

  // ------------------------------------------------------------------------------------------------------ abilities

  /** Loads an ability on one of the three ways. @throws as the method for that way */
  load(
    name: string,
    transport: TransportName = "native",
    options: LoadNativeOptions & LoadStdioOptions & LoadBrokerOptions = {},
  ): Promise<LoadedAbility> {
    switch (transport) {
      case "native":
        return this.loadNative(name, options);
      case "stdio":
        return this.loadStdio(name, options);
      case "broker":
        return this.loadBroker(name, options);
      default:
        return Promise.reject(
          new PubSubError(
            "INVALID_OPTION",
            `An ability is loaded 'native', 'stdio' or 'broker', not ${excerpt(transport satisfies never)}.`,
          ),
        );
    }
  }

  /**
   * Loads an ability into this process: a module whose default export is a `KadiClient`.
   *
   * @throws PubSubError `INVALID_OPTION` where it is none; whatever the module throws; as rejections
   */
  loadNative(name: string, options: LoadNativeOptions = {}): Promise<LoadedAbility> {
    return this.#abilities.load(name, (host) => loadNative(name, options, host));
  }

  /**
   * Starts an ability as a child process, which serves over standard input and output (`serve("stdio")`). What it prints besides
   * goes to `onOutput`. Should it crash, its calls reject (`UNAVAILABLE`, with `details.exitCode`), also those that follow until it
   * is loaded again, and subscribers are told (`onLoss`).
   *
   * @throws PubSubError `INVALID_OPTION` where there is none, or the program is none; OperationError where it does not start to
   * serve; as rejections, in time: a program that has to be made to end is waited for by `disconnect()`
   */
  loadStdio(name: string, options: LoadStdioOptions = {}): Promise<LoadedAbility> {
    return this.#abilities.load(name, (host, signal) => loadStdio(name, options, host, signal));
  }

  /**
   * Finds an ability at a broker, by the name or the id of its agent.
   *
   * @throws OperationError `OPERATION_NOT_FOUND`; PubSubError where the broker cannot be reached; as rejections
   */
  loadBroker(name: string, { broker }: LoadBrokerOptions = {}): Promise<LoadedAbility> {
    return this.#abilities.load(name, async (host) => loadBroker(name, await this.#brokers.connect(broker), host));
  }

  async #adopt(): Promise<Adopted> {
    this.#adopters++;
    const calls = await this.#ownCalls();
    let isReleased = false;
    return {
      name: this.name,
      tools: this.#tools.list(),
      sources: this.#sources,
      calls,
      release: async () => {
        if (isReleased) return;
        isReleased = true;
        if (--this.#adopters === 0) await this.disconnect();
      },
    };
  }

  #report(error: unknown): void {
    if (this.listenerCount("error") > 0) this.emit("error", error);
    else process.emitWarning(error instanceof Error ? error : String(error));
  }
}
