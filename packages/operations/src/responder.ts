import { deadline as timer, Recent } from "@alkdev/pubsub/transport";
import type { Calls } from "./caller.ts";
import { HandlerContext } from "./context.ts";
import { messageOf, OperationError } from "./errors.ts";
import { callEvent } from "./events.ts";
import type { CallEvent, CallEvents, Identity, Requested } from "./events.ts";
import type { Handler, HandleOptions } from "./operations-api.ts";
import { sayIssues } from "./schema.ts";
import type { Check } from "./schema.ts";
import type { Wire } from "./wire.ts";

/** An operation that is handled here. */
export interface Handled {
  readonly name: string;
  readonly handler: Handler;
  readonly access: HandleOptions["access"];
  /** Loaded by the time that a request needs them. */
  readonly input: Promise<Check> | undefined;
  readonly output: Promise<Check> | undefined;
}

/** Requests that are known as done, so that one which comes again is not carried out again. */
const REMEMBERED = 65_536;
/** Answers of a stream that may wait for their acknowledgement where the caller has named no window. */
const IN_FLIGHT = 256;

/** The half of operations that answers: what runs, and what becomes of it. */
export class Responder {
  readonly wire: Wire;
  readonly calls: Calls;
  readonly onError: (error: unknown) => void;
  readonly #limit: number;
  readonly #running = new Map<string, Execution>();
  readonly #seen = new Recent<true>(REMEMBERED);
  #closed = false;

  constructor(wire: Wire, calls: Calls, limit: number, onError: (error: unknown) => void) {
    this.wire = wire;
    this.calls = calls;
    this.#limit = limit;
    this.onError = onError;
  }

  /** Carries out a request, unless it has come before. */
  request(request: Requested, handled: Handled, identity: Identity | undefined): void {
    const { requestId: id } = request;
    if (this.#closed || this.#seen.use(id) === true) return;
    this.#seen.set(id, true);
    const { name } = handled;
    if (request.deadline !== undefined && request.deadline <= Date.now())
      return this.fail(id, new OperationError("TIMEOUT", `The request for ${name} came after its deadline.`));
    if (this.#running.size >= this.#limit)
      return this.fail(
        id,
        new OperationError("UNAVAILABLE", `${this.#limit} handlers run already; ${name} was not called.`, {
          retryable: true,
        }),
      );
    const execution = new Execution(this, request, handled, identity);
    this.#running.set(id, execution);
    void execution.run();
  }

  /** A request was carried out, or ended otherwise. */
  done(id: string): void {
    this.#running.delete(id);
  }

  receive(event: CallEvent): void {
    const execution = this.#running.get(event.id);
    if (event.type === "call.aborted") execution?.abort(new OperationError("ABORTED", "The caller aborted."));
    else if (event.type === "call.credited") execution?.credit(event.payload.count);
  }

  close(): void {
    this.#closed = true;
    this.abortAll("The handler's side was closed.");
  }

  /** Ends all that runs. Callers that can still be reached are told. */
  abortAll(message: string): void {
    const error = new OperationError("UNAVAILABLE", message, { retryable: true });
    for (const [id, execution] of this.#running) {
      if (!execution.isOver) this.fail(id, error);
      execution.abort(error);
    }
  }

  send(event: CallEvent): Promise<void> {
    return this.wire.send(event);
  }

  fail(id: string, error: OperationError): void {
    const { code, message, details, retryable } = error;
    const payload: CallEvents["call.error"] = {
      requestId: id,
      code,
      message,
      ...(details !== undefined && { details }),
      ...(retryable && { retryable }),
    };
    this.send(callEvent("call.error", payload)).catch((problem: unknown) => {
      if (details === undefined) return;
      // Whatever a handler says beside its message may be what cannot be carried.
      this.onError(problem);
      this.fail(id, new OperationError(code, message, { retryable }));
    });
  }
}

/** One request, being carried out. */
class Execution {
  readonly #responder: Responder;
  readonly #request: Requested;
  readonly #handled: Handled;
  readonly #identity: Identity | undefined;
  /** Made when a handler asks for its signal: most do not, and one costs more than all else of a call. */
  #controller: AbortController | undefined;
  #aborted: OperationError | undefined;
  #iterator: AsyncIterator<unknown> | undefined;
  #credits: number;
  #inFlight = 0;
  /** Wakes a stream that waits for room. */
  #wake: (() => void) | undefined;
  #last: Promise<unknown> | undefined;
  #stopTimer: () => void = ignore;
  /** Nothing more is sent: it was answered, or nobody waits. */
  isOver = false;

  constructor(responder: Responder, request: Requested, handled: Handled, identity: Identity | undefined) {
    this.#responder = responder;
    this.#request = request;
    this.#handled = handled;
    this.#identity = identity;
    this.#credits = request.window ?? Infinity;
  }

  async run(): Promise<void> {
    const { requestId, deadline } = this.#request;
    if (deadline !== undefined) this.#stopTimer = timer(deadline - Date.now(), () => this.#late());
    try {
      await this.#carryOut();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#stopTimer();
      this.#responder.done(requestId);
    }
  }

  #late(): void {
    const error = new OperationError("TIMEOUT", `${this.#handled.name} was not done by its deadline.`);
    if (!this.isOver) this.#responder.fail(this.#request.requestId, error);
    this.abort(error);
  }

  abort(reason: OperationError): void {
    this.isOver = true;
    this.#aborted ??= reason;
    this.#controller?.abort(this.#aborted);
    this.#wake?.();
    // A generator that is parked is returned when it comes to its next yield; the signal is what wakes it before.
    this.#return();
  }

  credit(count: number): void {
    this.#credits += count;
    this.#wake?.();
  }

  async #carryOut(): Promise<void> {
    const { handler } = this.#handled;
    const { input: check, access, output: outputCheck } = this.#handled;
    // Most operations check nothing, and what waits for nothing must not cost a turn.
    const input = check === undefined && access === undefined ? this.#request.input : await this.#admit();
    if (this.isOver) return;
    let result = handler(input, HandlerContext.of(this.#request, this.#identity, this, this.#responder.calls));
    if (!isIterable(result)) result = await result;
    if (isIterable(result)) return this.#stream(result as AsyncIterable<unknown>);
    if (this.isOver) return;
    const output = outputCheck === undefined ? result : await this.#checked(result);
    if (this.isOver) return;
    this.#stopTimer();
    const sent = this.#respond(output);
    // A stream was asked for, and one item is all of it.
    if (this.#request.window !== undefined && this.#request.limit === undefined) await this.#complete(sent);
    this.isOver = true;
  }

  /** The input, checked. @throws OperationError `ACCESS_DENIED`, `INVALID_INPUT` */
  async #admit(): Promise<unknown> {
    const { name, access } = this.#handled;
    const identity = this.#identity;
    const denied = (): OperationError =>
      new OperationError("ACCESS_DENIED", `${identity?.id ?? "Nobody in particular"} may not call ${name}.`);
    if (typeof access === "object" && !access.every((scope) => identity?.scopes.includes(scope) === true))
      throw denied();
    let { input } = this.#request;
    const check = this.#handled.input && (await this.#handled.input);
    if (check !== undefined) {
      const checked = await check(input);
      if (checked.issues !== undefined)
        throw new OperationError("INVALID_INPUT", `The input of ${name} does not fit: ${sayIssues(checked.issues)}.`, {
          details: { issues: checked.issues },
        });
      input = checked.value;
    }
    // Nothing but true is a yes, whatever a function without types returns.
    const granted: unknown = typeof access === "function" ? await access(identity, input) : true;
    if (granted !== true) throw denied();
    return input;
  }

  async #checked(output: unknown): Promise<unknown> {
    const check = this.#handled.output && (await this.#handled.output);
    if (check === undefined) return output;
    const checked = await check(output);
    if (checked.issues === undefined) return checked.value;
    throw new OperationError(
      "HANDLER_ERROR",
      `The output of ${this.#handled.name} does not fit: ${sayIssues(checked.issues)}.`,
      { details: { issues: checked.issues } },
    );
  }

  async #stream(iterable: AsyncIterable<unknown>): Promise<void> {
    const { limit = Infinity } = this.#request;
    let last: Promise<void> | undefined;
    const iterator = (this.#iterator = iterable[Symbol.asyncIterator]());
    // Aborted before there was anything to return.
    if (this.isOver) return this.#return();
    try {
      for (let sent = 0; sent < limit; sent++) {
        await this.#room();
        if (this.isOver) return;
        const { value, done } = await iterator.next();
        if (done === true) {
          this.#iterator = undefined;
          break;
        }
        if (this.isOver) return;
        const output = await this.#checked(value);
        if (this.isOver) return;
        last = this.#respond(output);
      }
      if (this.isOver) return;
      await this.#complete(last);
      this.isOver = true;
    } finally {
      this.#return();
    }
  }

  /** Waits until the caller takes one more. */
  async #room(): Promise<void> {
    while (!this.isOver && (this.#credits === 0 || this.#inFlight >= IN_FLIGHT))
      await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
    this.#credits--;
  }

  #respond(output: unknown): Promise<void> {
    const { requestId } = this.#request;
    this.#inFlight++;
    const sent = this.#responder.send(callEvent("call.responded", { requestId, output })).then(
      () => this.#delivered(),
      (error: unknown) => {
        this.#delivered();
        if (this.#aborted !== undefined) return;
        // Where the link is at its end, this is for nobody; else something is wrong with this answer alone.
        const message = `An answer of ${this.#handled.name} could not be sent: ${messageOf(error)}`;
        this.isOver = true;
        this.#responder.fail(requestId, new OperationError("HANDLER_ERROR", message));
        this.#return();
      },
    );
    this.#last = sent;
    return sent;
  }

  #delivered(): void {
    this.#inFlight--;
    this.#wake?.();
  }

  async #complete(last: Promise<void> | undefined): Promise<void> {
    // Events of different types may overtake one another where the wire does not say otherwise.
    if (!this.#responder.wire.ordered) await last;
    if (this.isOver) return;
    await this.#responder.send(callEvent("call.completed", { requestId: this.#request.requestId })).catch(ignore);
  }

  #fail(error: unknown): void {
    if (!(error instanceof OperationError)) this.#responder.onError(error);
    if (this.isOver) return;
    this.isOver = true;
    const told =
      error instanceof OperationError ? error : new OperationError("HANDLER_ERROR", messageOf(error), { cause: error });
    void this.#tell(told);
  }

  async #tell(error: OperationError): Promise<void> {
    if (!this.#responder.wire.ordered) await this.#last;
    this.#responder.fail(this.#request.requestId, error);
  }

  /** Lets a generator run its `finally`, once. What that throws is the handler's side's business. */
  #return(): void {
    const iterator = this.#iterator;
    this.#iterator = undefined;
    if (iterator?.return === undefined) return;
    try {
      Promise.resolve(iterator.return()).catch((error: unknown) => this.#responder.onError(error));
    } catch (error) {
      this.#responder.onError(error);
    }
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }
}

function isIterable(value: unknown): boolean {
  return typeof (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] === "function";
}

function ignore(): void {}
