// What users type: the interfaces of operations and their options.
import type { StandardSchema } from "@alkdev/pubsub";
import type { Identity } from "./events.ts";
import type { OperationSchema } from "./schema.ts";

/**
 * What operations there are, as a type: names with their input and either the output of a call or the items of a stream.
 *
 * @example
 * type Contract = {
 *   "math.add": { input: { a: number; b: number }; output: number };
 *   "log.tail": { input: { file: string }; stream: string };
 * };
 */
export type Contract<C> = { readonly [K in keyof C]: { readonly input: unknown } };

// oxlint-disable-next-line typescript/no-explicit-any -- a handler says itself what it takes
type Unchecked = any;

/** The contract of those who have none: any name, any input, and answers of which nothing is known. */
export type AnyContract = { readonly [name: string]: { input: Unchecked; output: unknown; stream: unknown } };

/** The names of a contract's operations. */
export type OperationNames<C> = keyof C & string;
/** Those that answer once. */
export type CallNames<C> = { [K in keyof C]: C[K] extends { readonly output: unknown } ? K : never }[keyof C] & string;
/** Those that answer with a stream. */
export type StreamNames<C> = { [K in keyof C]: C[K] extends { readonly stream: unknown } ? K : never }[keyof C] &
  string;

type InputOf<C, K extends keyof C> = C[K] extends { readonly input: infer I } ? I : never;
type OutputOf<C, K extends keyof C> = C[K] extends { readonly output: infer O } ? O : never;
type ItemOf<C, K extends keyof C> = C[K] extends { readonly stream: infer S } ? S : never;

/** Options of `call`. */
export interface CallOptions {
  /** Aborting rejects the call with `ABORTED`, and aborts its handler. */
  readonly signal?: AbortSignal;
  /** Milliseconds until the call rejects with `TIMEOUT` and its handler is aborted; `Infinity` for none. Default 30,000. */
  readonly timeout?: number;
}

/** Options of `stream`. */
export interface StreamOptions {
  /** Aborting throws `ABORTED` from the stream, and aborts its handler. */
  readonly signal?: AbortSignal;
  /** Milliseconds that the stream may take as a whole. Default: any. */
  readonly timeout?: number;
  /**
   * Milliseconds without an item after which it throws `TIMEOUT` and its handler is aborted, not counting the time in which
   * the handler waits for this side to read; `Infinity` for none. Default 30,000 where nothing tells that a handler is gone
   * (groups, other brokers), else none: pipes and routers notice it.
   */
  readonly idleTimeout?: number;
  /** Items that may wait here for the consumer; the handler is held back beyond. Default 256. */
  readonly buffer?: number;
}

/**
 * The items of a stream, in order, for one consumer. Nothing is sent before the first `next()`. `break`, `return()`,
 * disposing and an aborted signal abort the handler.
 *
 * @throws OperationError from `next()`, after what had arrived; PubSubError `OVERFLOW` where a handler that knows nothing
 * of windows sends more than the buffer holds
 */
export interface OperationStream<T> extends AsyncIterableIterator<T, undefined>, AsyncDisposable {
  next(): Promise<IteratorResult<T, undefined>>;
  return(): Promise<IteratorResult<T, undefined>>;
  [Symbol.asyncIterator](): OperationStream<T>;
}

/** Whoever can call: `Operations`, what `client()` returns, and the context of a handler. */
export interface Caller<C> {
  /**
   * Asks for one answer.
   *
   * @throws OperationError, PubSubError (`CLOSED`, `INVALID_OPTION`, `LIMIT`, `PAYLOAD`), all as rejections
   * @example
   * const sum = await operations.call("math.add", { a: 1, b: 2 }, { timeout: 1000 });
   */
  call<K extends CallNames<C>>(name: K, input: InputOf<C, K>, options?: CallOptions): Promise<OutputOf<C, K>>;
  /**
   * Asks for a stream of answers.
   *
   * @example
   * for await (const line of operations.stream("log.tail", { file: "app.log" })) console.log(line);
   */
  stream<K extends StreamNames<C>>(
    name: K,
    input: InputOf<C, K>,
    options?: StreamOptions,
  ): OperationStream<ItemOf<C, K>>;
}

/** What a handler gets beside its input: the request, and calls of its own that belong to it. */
export interface CallContext extends Caller<AnyContract> {
  readonly requestId: string;
  readonly operationId: string;
  /** The request whose handler made this one. */
  readonly parentRequestId: string | undefined;
  /** Who calls, as their link's authentication says; undefined where nobody vouches for them. */
  readonly identity: Identity | undefined;
  /** When the caller stops waiting, in milliseconds since 1970. Calls made here stop then too. */
  readonly deadline: number | undefined;
  /** Aborted when the caller aborts or is gone, or the deadline passes. Calls made here are aborted with it. */
  readonly signal: AbortSignal;
  /** The same for a contract. */
  client<D extends Contract<D>>(): Caller<D>;
}

/** Carries out an operation: returns one output, or an async iterable (an async generator) whose items are a stream. */
export type Handler<In = unknown, Out = unknown> = (
  input: In,
  context: CallContext,
) => Out | Promise<Out> | AsyncIterable<Out>;

/** Options of `handle`. */
export interface HandleOptions {
  /** What the input must be; what does not fit is `INVALID_INPUT`. The handler gets what the schema makes of it. */
  readonly input?: OperationSchema;
  /** What each answer must be; what does not fit is `HANDLER_ERROR`. */
  readonly output?: OperationSchema;
  /**
   * Who may call; others are told `ACCESS_DENIED`. Scopes, all of which the caller must have; or a function of the identity and
   * the checked input. Default: everyone.
   */
  readonly access?:
    | readonly string[]
    | ((identity: Identity | undefined, input: unknown) => boolean | Promise<boolean>);
}

type HandlerOf<C, K extends keyof C> = C extends AnyContract
  ? Handler<Unchecked>
  : Handler<InputOf<C, K>, OutputOf<C, K> | ItemOf<C, K>>;

/** What there may be at the same time. */
export interface OperationLimits {
  /** Calls and streams of this side that are under way; one more rejects with `LIMIT`. Default 10,000. */
  readonly pending?: number;
  /** Handlers that run; one more request is `UNAVAILABLE`. Default 10,000. */
  readonly running?: number;
  /** Operations that are handled here; one more rejects with `LIMIT`. Default 1,000. */
  readonly operations?: number;
}

/** Options of `createOperations`. */
export interface OperationsOptions {
  /**
   * A router is on the other side (`createRouter`): what is handled here is registered there, now and whenever the
   * connection is made anew, and it says who calls. Default false.
   */
  readonly router?: boolean;
  /**
   * Who is on the other side of this PubSub, as the application has authenticated them; what their requests say of it is not
   * believed. Not with `router`. Default: nobody known.
   */
  readonly identity?: Identity;
  /**
   * Whether the handlers here are all that a request can reach, so that one for another operation is answered with
   * `OPERATION_NOT_FOUND`, and nobody else may carry it out. Default: where the target's manifest says so (`supports.ends`).
   */
  readonly alone?: boolean;
  /** Milliseconds that pending calls wait for an interrupted connection to go on; then they are `UNAVAILABLE`. Default 1,000. */
  readonly grace?: number;
  readonly limits?: OperationLimits;
  /** Told of what no call throws: malformed events, errors of handlers (their callers are told too), failed registrations. */
  readonly onError?: (error: unknown) => void;
}

/** Calls, and handlers of calls, over one PubSub. */
export interface Operations<C extends Contract<C> = AnyContract> extends Caller<C>, AsyncDisposable {
  /**
   * Carries out an operation, from this moment on. Resolves when requests are sure to arrive, with a function that ends it.
   *
   * @throws PubSubError `UNSUPPORTED` where the name has a handler here already, or where the target can neither exclude nor
   * choose among others; `INVALID_OPTION`, `LIMIT`, `CLOSED`; OperationError where a router refuses; all as rejections
   * @example
   * const stop = await operations.handle("math.add", ({ a, b }) => a + b, { input: z.object({ a: z.number(), b: z.number() }) });
   */
  handle<K extends OperationNames<C>, I, O>(
    name: K,
    handler: Handler<O>,
    options: HandleOptions & { readonly input: StandardSchema<I, O> },
  ): Promise<() => void>;
  handle<K extends OperationNames<C>>(name: K, handler: HandlerOf<C, K>, options?: HandleOptions): Promise<() => void>;
  /** The same calls, typed by a contract. */
  client<D extends Contract<D>>(): Caller<D>;
  /**
   * Ends everything at once: pending calls are `ABORTED`, the callers of running handlers are told `UNAVAILABLE`. Idempotent.
   * The PubSub stays open.
   */
  close(): Promise<void>;
}
