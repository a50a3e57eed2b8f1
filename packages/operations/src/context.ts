import type { Calls, Parent } from "./caller.ts";
import type { Identity, Requested } from "./events.ts";
import type { CallContext, CallOptions, OperationStream, StreamOptions } from "./operations-api.ts";

/** What a handler gets beside its input. Made for every call, and mostly not looked at: so each member is made when it is. */
export class HandlerContext {
  readonly #request: Requested;
  readonly #running: { readonly signal: AbortSignal };
  readonly #calls: Calls;
  readonly identity: Identity | undefined;

  private constructor(
    request: Requested,
    identity: Identity | undefined,
    running: { readonly signal: AbortSignal },
    calls: Calls,
  ) {
    this.#request = request;
    this.identity = identity;
    this.#running = running;
    this.#calls = calls;
  }

  /** @param running has the signal of the request, which costs more than all else of a call */
  static of(
    request: Requested,
    identity: Identity | undefined,
    running: { readonly signal: AbortSignal },
    calls: Calls,
  ): CallContext {
    return new HandlerContext(request, identity, running, calls) as unknown as CallContext;
  }

  get requestId(): string {
    return this.#request.requestId;
  }

  get operationId(): string {
    return this.#request.operationId;
  }

  get parentRequestId(): string | undefined {
    return this.#request.parentRequestId;
  }

  get deadline(): number | undefined {
    return this.#request.deadline;
  }

  get signal(): AbortSignal {
    return this.#running.signal;
  }

  // Functions of their own, since handlers take them apart: `(input, { call }) => …`.

  get call(): (name: string, input: unknown, options?: CallOptions) => Promise<unknown> {
    return (name, input, options) => this.#calls.call(name, input, options, this.#parent());
  }

  get stream(): (name: string, input: unknown, options?: StreamOptions) => OperationStream<unknown> {
    return (name, input, options) => this.#calls.stream(name, input, options, this.#parent());
  }

  get client(): () => this {
    return () => this;
  }

  #parent(): Parent {
    const { requestId, deadline } = this.#request;
    return { requestId, deadline, signal: this.signal };
  }
}
