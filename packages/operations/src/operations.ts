import { PubSubError } from "@alkdev/pubsub";
import { ALL_CALLS, callEvent, REGISTER, readCallEvent, requestId } from "./events.ts";
import { Calls, checkCount, checkName } from "./caller.ts";
import { OperationError } from "./errors.ts";
import type { CallEvent, Registration, Requested } from "./events.ts";
import type {
  AnyContract,
  CallOptions,
  Contract,
  Handler,
  HandleOptions,
  Operations,
  OperationsOptions,
  OperationStream,
  StreamOptions,
} from "./operations-api.ts";
import { Registrar } from "./registrar.ts";
import { Responder } from "./responder.ts";
import type { Handled } from "./responder.ts";
import { checkOf } from "./schema.ts";
import { PubSubWire } from "./wire.ts";
import type { AnyPubSub, OutOfReach, Wire, WireReceiver } from "./wire.ts";

/**
 * Makes calls, and answers to calls, over a PubSub: in process, over a pipe to one other side, through a router, or over a
 * broker with groups. Listens at once.
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const operations = createOperations(pubsub);
 * await operations.handle("math.add", ({ a, b }) => a + b);
 * await operations.call("math.add", { a: 1, b: 2 }); // 3
 */
export function createOperations<C extends Contract<C> = AnyContract>(
  pubsub: AnyPubSub,
  options: OperationsOptions = {},
): Operations<C> {
  const { grace = 1000, router = false } = options;
  if (typeof grace !== "number" || !(grace >= 0))
    throw new PubSubError("INVALID_OPTION", `grace must be a number of milliseconds, not ${String(grace)}.`);
  if (router && options.identity !== undefined)
    throw new PubSubError("INVALID_OPTION", "identity and router do not go together: the router says who calls.");
  return new WiredOperations(new PubSubWire(pubsub, { grace, router }), pubsub, options) as unknown as Operations<C>;
}

/** The operations of one PubSub, by name: several `Operations` in one process must not each carry out the same request. */
const inProcess = new WeakMap<object, Map<string, object>>();

/** Where requests come from, and who else may have them. */
type Reach =
  /** A router gives them to this side alone. */
  | "router"
  /** This side is all there is. */
  | "alone"
  /** Each goes to one member of the operation's group. */
  | "groups"
  /** Nobody can say who else has them. */
  | "open";

/** The part of a PubSub that is used here, for any event. */
interface Listening {
  on(type: string, listener: (envelope: never) => void, options: object): Promise<() => void>;
}

/** Operations over any wire. */
export class WiredOperations implements WireReceiver {
  readonly #wire: Wire;
  readonly #pubsub: AnyPubSub | undefined;
  readonly #options: OperationsOptions;
  readonly #calls: Calls;
  readonly #responder: Responder;
  readonly #handled = new Map<string, Handled>();
  readonly #names: Map<string, object>;
  readonly #registrar: Registrar | undefined;
  readonly #limit: number;
  readonly #instance = requestId();
  #closing: Promise<void> | undefined;

  /** @param pubsub undefined for the router's own place, which needs neither groups nor a registration */
  constructor(wire: Wire, pubsub: AnyPubSub | undefined, options: OperationsOptions) {
    const { pending = 10_000, running = 10_000, operations = 1000 } = options.limits ?? {};
    checkCount("limits.pending", pending);
    checkCount("limits.running", running);
    checkCount("limits.operations", operations);
    this.#wire = wire;
    this.#pubsub = pubsub;
    this.#options = options;
    this.#limit = operations;
    this.#calls = new Calls(wire, pending);
    this.#responder = new Responder(wire, this.#calls, running, (error) => this.error(error));
    this.#names = namesOf(pubsub ?? this);
    if (options.router === true) {
      const instance = this.#instance;
      this.#registrar = new Registrar(
        () => {
          const registration: Registration = { instance, operations: [...this.#handled.keys()] };
          return this.#calls.call(REGISTER, registration, { timeout: REGISTER_TIMEOUT });
        },
        (error) => this.error(error),
      );
    }
    wire.open(this);
  }

  call(name: string, input: unknown, options?: CallOptions): Promise<unknown> {
    return this.#calls.call(name, input, options);
  }

  stream(name: string, input: unknown, options?: StreamOptions): OperationStream<unknown> {
    return this.#calls.stream(name, input, options);
  }

  client(): this {
    return this;
  }

  async handle(name: string, handler: Handler, options: HandleOptions = {}): Promise<() => void> {
    this.#checkHandled(name, handler, options);
    const input = options.input === undefined ? undefined : checkOf(options.input);
    const output = options.output === undefined ? undefined : checkOf(options.output);
    input?.catch(ignore);
    output?.catch(ignore);
    const handled: Handled = { name, handler, access: options.access, input, output };
    this.#handled.set(name, handled);
    this.#names.set(name, this);
    let leave: () => void = ignore;
    const stop = (): void => {
      leave();
      if (this.#handled.get(name) !== handled) return;
      this.#handled.delete(name);
      this.#names.delete(name);
      void this.#registrar?.changed();
    };
    try {
      await Promise.all([input, output]);
      await this.#wire.live();
      leave = await this.#offer(name);
    } catch (error) {
      stop();
      throw error;
    }
    return stop;
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#registrar?.close();
    for (const name of this.#handled.keys()) this.#names.delete(name);
    this.#handled.clear();
    this.#responder.close();
    this.#calls.close();
    await this.#wire.close();
  }

  // --------------------------------------------------------------------------------------------- what the wire calls

  event(event: CallEvent): void {
    if (event.type === "call.requested") {
      // Where groups give each request to one, this subscription sees those of everyone.
      if (this.#reach !== "groups") this.#request(event.payload);
      return;
    }
    if (event.type === "call.listening") return this.#calls.sayAgain();
    if (event.type === "call.aborted" || event.type === "call.credited") this.#responder.receive(event);
    if (event.type !== "call.credited") this.#calls.receive(event);
  }

  lost(why: OutOfReach): void {
    this.#calls.unreachable(why);
    // Their callers were told that nobody answers; or are now, where the router is still the same.
    if (this.#reach === "router") this.#responder.abortAll(why.message);
  }

  away(why: OutOfReach): void {
    this.#calls.unreachable(why);
  }

  ready(): void {
    // At a pipe the other side may have asked before anybody listened here, and a router may have registered nobody.
    const listening = callEvent("call.listening", { requestId: this.#instance });
    if (this.#pubsub?.supports.ends === 2) this.#wire.send(listening).catch(ignore);
    if (this.#handled.size > 0) void this.#registrar?.changed();
  }

  over(why: OutOfReach): void {
    this.#calls.unreachable(why);
    this.#responder.abortAll(why.message);
    this.#registrar?.close();
  }

  error(error: unknown): void {
    try {
      this.#options.onError?.(error);
    } catch {
      // What listens to errors must not break what reports them.
    }
  }

  // --------------------------------------------------------------------------------------------------- requests

  get #reach(): Reach {
    if (this.#pubsub === undefined || this.#options.router === true) return "router";
    const { supports } = this.#pubsub;
    if (this.#options.alone ?? supports.ends !== undefined) return "alone";
    return supports.groups ? "groups" : "open";
  }

  /** Makes requests for an operation come here, and to nobody else. */
  async #offer(name: string): Promise<() => void> {
    const reach = this.#reach;
    if (reach === "open")
      throw new PubSubError(
        "UNSUPPORTED",
        `${name} cannot be handled here: others on this target may handle it too, and it has no groups (supports.groups) that would choose one of them. Use a router, a target with groups, or { alone: true } if you know that there is no other.`,
      );
    if (reach === "router") await this.#registrar?.changed();
    if (reach !== "groups") return ignore;
    const pubsub = this.#pubsub as unknown as Listening;
    const listener = (envelope: never): void => {
      try {
        const event = readCallEvent(envelope);
        if (event?.type === "call.requested" && event.payload.operationId === name) this.#request(event.payload);
      } catch (error) {
        this.error(error);
      }
    };
    return pubsub.on("call.requested", listener, { group: `${ALL_CALLS}:${name}`, onGap: "ignore" });
  }

  #request(request: Requested): void {
    const handled = this.#handled.get(request.operationId);
    if (handled !== undefined) {
      const identity = this.#reach === "router" ? request.identity : this.#options.identity;
      return this.#responder.request(request, handled, identity);
    }
    if (this.#reach === "open" || !this.#speaksForAll(request.operationId)) return;
    const message = `There is no operation ${request.operationId} here.`;
    this.#responder.fail(request.requestId, new OperationError("OPERATION_NOT_FOUND", message));
  }

  /** Whether nobody else on this PubSub handles an operation, and it is for this one to say so. */
  #speaksForAll(name: string): boolean {
    if (this.#names.has(name)) return false;
    const [first] = this.#names.values();
    return first === undefined || first === this;
  }

  #checkHandled(name: string, handler: unknown, { access }: HandleOptions): void {
    checkName(name);
    if (name === REGISTER)
      throw new PubSubError("INVALID_OPTION", `${REGISTER} is what routers handle; choose another name.`);
    if (typeof handler !== "function")
      throw new PubSubError("INVALID_OPTION", `handle(name, handler) needs a function, not ${typeof handler}.`);
    if (access !== undefined && typeof access !== "function" && !Array.isArray(access))
      throw new PubSubError("INVALID_OPTION", "access must be a list of scopes or a function.");
    if (this.#closing !== undefined)
      throw new PubSubError("CLOSED", `Cannot handle ${name}: these operations were closed.`);
    if (this.#names.has(name))
      throw new PubSubError(
        "UNSUPPORTED",
        `${name} has a handler on this PubSub already: a request would be carried out twice. Stop that one first; several in different processes share the requests through a router or a target with groups.`,
      );
    if (this.#handled.size >= this.#limit)
      throw new PubSubError("LIMIT", `${this.#limit} operations are handled, which is the limit (limits.operations).`);
  }
}

/** Milliseconds until a router that does not answer is asked again. */
const REGISTER_TIMEOUT = 5000;

function namesOf(key: object): Map<string, object> {
  let names = inProcess.get(key);
  if (names === undefined) inProcess.set(key, (names = new Map()));
  return names;
}

function ignore(): void {}
