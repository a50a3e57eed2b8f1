import { PubSubError } from "@alkdev/pubsub";
import { checkSignal, deadline as timer, onAbort, Recent } from "@alkdev/pubsub/transport";
import { AnswerStream } from "./answer-stream.ts";
import type { Waiting } from "./answer-stream.ts";
import { OperationError, unavailable, unsent } from "./errors.ts";
import { callEvent, MAX_NAME, requestId } from "./events.ts";
import type { CallEvent, Requested } from "./events.ts";
import type { CallOptions, OperationStream, StreamOptions } from "./operations-api.ts";
import { Silence } from "./silence.ts";
import type { OutOfReach, Wire } from "./wire.ts";

/** The request whose handler makes a call. */
export interface Parent {
  readonly requestId: string;
  readonly deadline: number | undefined;
  readonly signal: AbortSignal;
}

/** Milliseconds that a call may take unless it says otherwise. */
const TIMEOUT = 30_000;
const BUFFER = 256;
/** Answered calls whose handlers are told to stop if they go on answering. */
const REMEMBERED = 8192;

/** A request that is under way. */
class Pending {
  readonly id: string = requestId();
  readonly name: string;
  readonly waiting: Waiting;
  readonly deadline: number | undefined;
  /** Said again to whoever listens only now; undefined once there was an answer. */
  request: CallEvent | undefined;
  /** Of a stream whose handler may be gone without a word. */
  silence: Silence | undefined;
  #stopTimer: (() => void) | undefined;
  /** Most calls have no signal. */
  #stopSignals: (() => void)[] | undefined;

  constructor(name: string, waiting: Waiting, deadline: number | undefined) {
    this.name = name;
    this.waiting = waiting;
    this.deadline = deadline;
  }

  /** Ends early: by time, or by a signal. */
  watch(signals: readonly (AbortSignal | undefined)[], end: (error: OperationError) => void): void {
    const { deadline, name } = this;
    if (deadline !== undefined) {
      const late = (): void => end(new OperationError("TIMEOUT", `${name} was not answered in time.`));
      this.#stopTimer = timer(Math.max(0, deadline - Date.now()), late);
    }
    for (const signal of signals)
      if (signal !== undefined)
        (this.#stopSignals ??= []).push(
          onAbort(signal, () =>
            end(new OperationError("ABORTED", `The call of ${name} was aborted.`, { cause: signal.reason })),
          ),
        );
  }

  settle(): void {
    this.silence?.stop();
    this.#stopTimer?.();
    for (const stop of this.#stopSignals ?? []) stop();
    this.#stopSignals = undefined;
  }
}

/** The half of operations that asks: what is pending, and what becomes of it. */
export class Calls {
  readonly #wire: Wire;
  readonly #limit: number;
  readonly #pending = new Map<string, Pending>();
  /** Requests that were settled here before their handlers were done. */
  readonly #settled = new Recent<true>(REMEMBERED);
  #closed = false;

  constructor(wire: Wire, limit: number) {
    this.#wire = wire;
    this.#limit = limit;
  }

  call(name: string, input: unknown, options: CallOptions = {}, parent?: Parent): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { answer: resolve, complete: () => resolve(undefined), fail: reject };
      this.#begin(name, input, { timeout: TIMEOUT, ...options }, parent, waiting, { limit: 1 });
    });
  }

  stream(name: string, input: unknown, options: StreamOptions = {}, parent?: Parent): OperationStream<unknown> {
    const { buffer = BUFFER } = options;
    return new AnswerStream(buffer, (waiting) => {
      checkCount("buffer", buffer);
      // Where there is an order there is one other side, whose end is noticed.
      const { idleTimeout = this.#wire.ordered ? Infinity : TIMEOUT } = options;
      checkTime("idleTimeout", idleTimeout);
      const pending = this.#begin(name, input, { timeout: Infinity, ...options }, parent, waiting, { window: buffer });
      if (idleTimeout !== Infinity)
        pending.silence = new Silence(idleTimeout, buffer, () => {
          this.#abort(pending);
          waiting.fail(
            new OperationError(
              "TIMEOUT",
              `${name} has sent nothing for ${idleTimeout} ms, and may be gone. If it may be silent for longer, raise idleTimeout.`,
            ),
          );
        });
      return {
        credit: (count) => {
          pending.silence?.credited(count);
          this.#tell(pending, callEvent("call.credited", { requestId: pending.id, count }));
        },
        abort: () => this.#abort(pending),
      };
    });
  }

  /** An event for a caller; one that nobody waits for is dropped. */
  receive(event: CallEvent): void {
    const pending = this.#pending.get(event.id);
    if (pending === undefined) {
      // A handler that goes on for nobody: the word to stop was lost, or it never had one.
      if (event.type === "call.responded" && this.#settled.use(event.id) === true) this.#sendAbort(event.id);
      return;
    }
    const { waiting } = pending;
    pending.request = undefined;
    switch (event.type) {
      case "call.responded":
        pending.silence?.heard();
        waiting.answer(event.payload.output);
        if (!(waiting instanceof AnswerStream)) this.#settle(pending, true);
        return;
      case "call.completed":
        this.#settle(pending);
        return waiting.complete();
      case "call.aborted":
        this.#settle(pending);
        return waiting.fail(new OperationError("ABORTED", `${pending.name} was aborted by the other side.`));
      case "call.error": {
        this.#settle(pending);
        const { code, message, details, retryable = false } = event.payload;
        return waiting.fail(new OperationError(code, message, { details, retryable }));
      }
      case "call.requested":
      case "call.credited":
      case "call.listening":
    }
  }

  /** Nobody can say what became of the pending requests. */
  unreachable({ message, cause }: OutOfReach): void {
    this.#failAll(({ name }) => unavailable(`${name} may not have been answered: ${message}`, cause));
  }

  close(): void {
    this.#closed = true;
    for (const pending of this.#pending.values()) this.#sendAbort(pending.id);
    this.#failAll(
      ({ name }) => new OperationError("ABORTED", `The call of ${name} was aborted: operations were closed.`),
    );
  }

  #failAll(error: (pending: Pending) => OperationError): void {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const pending of all) {
      pending.settle();
      this.#settled.set(pending.id, true);
      pending.waiting.fail(error(pending));
    }
  }

  /** Sends a request. @throws what is wrong with it; what goes wrong later fails `waiting` */
  #begin(
    name: string,
    input: unknown,
    { signal, timeout = TIMEOUT }: CallOptions,
    parent: Parent | undefined,
    waiting: Waiting,
    wanted: Pick<Requested, "window" | "limit">,
  ): Pending {
    checkName(name);
    checkSignal(signal);
    checkTime("timeout", timeout);
    if (this.#closed) throw new PubSubError("CLOSED", `Cannot call ${name}: these operations were closed.`);
    for (const each of [signal, parent?.signal])
      if (each?.aborted === true)
        throw new OperationError("ABORTED", `The call of ${name} was aborted.`, { cause: each.reason });
    if (this.#pending.size >= this.#limit)
      throw new PubSubError(
        "LIMIT",
        `${this.#limit} calls are pending, which is the limit (limits.pending). Await some.`,
      );
    const reach = this.#wire.outOfReach;
    if (reach !== undefined) throw unavailable(`${name} was not called: ${reach.message}`, reach.cause);
    const until = Math.min(Date.now() + timeout, parent?.deadline ?? Infinity);
    const deadline = until === Infinity ? undefined : until;
    const pending = new Pending(name, waiting, deadline);
    this.#pending.set(pending.id, pending);
    pending.watch([signal, parent?.signal], (error) => {
      this.#abort(pending);
      waiting.fail(error);
    });
    const request: Requested = {
      requestId: pending.id,
      operationId: name,
      input,
      ...(parent !== undefined && { parentRequestId: parent.requestId }),
      ...(deadline !== undefined && { deadline }),
      ...wanted,
    };
    pending.request = callEvent("call.requested", request);
    this.#send(pending, pending.request);
    return pending;
  }

  #send(pending: Pending, request: CallEvent): void {
    this.#wire.send(request).catch((error: unknown) => {
      if (this.#pending.get(pending.id) !== pending) return;
      this.#settle(pending, true);
      pending.waiting.fail(unsent(pending.name, error));
    });
  }

  /** Somebody listens only now: what has had no answer may have come before. */
  sayAgain(): void {
    for (const pending of this.#pending.values())
      if (pending.request !== undefined) this.#send(pending, pending.request);
  }

  /** @param early whether its handler may go on */
  #settle(pending: Pending, early: boolean = false): void {
    this.#pending.delete(pending.id);
    pending.settle();
    if (early) this.#settled.set(pending.id, true);
  }

  /** Tells the handler to stop, once; what it still says is dropped. */
  #abort(pending: Pending): void {
    if (!this.#pending.has(pending.id)) return;
    this.#settle(pending, true);
    this.#sendAbort(pending.id);
  }

  #tell(pending: Pending, event: CallEvent): void {
    if (this.#pending.has(pending.id)) this.#wire.send(event).catch(ignore);
  }

  #sendAbort(id: string): void {
    this.#wire.send(callEvent("call.aborted", { requestId: id })).catch(ignore);
  }
}

/** @throws PubSubError `INVALID_OPTION` */
export function checkName(name: unknown): void {
  if (typeof name === "string" && name !== "" && name.length <= MAX_NAME) return;
  throw new PubSubError("INVALID_OPTION", `The name of an operation must be a string of 1 to ${MAX_NAME} characters.`);
}

/** @throws PubSubError `INVALID_OPTION` */
export function checkCount(option: string, value: number): void {
  if (Number.isSafeInteger(value) && value > 0) return;
  throw new PubSubError("INVALID_OPTION", `${option} must be a positive whole number, not ${String(value)}.`);
}

/** @throws PubSubError `INVALID_OPTION` */
function checkTime(option: string, value: unknown): void {
  if (typeof value === "number" && value >= 0) return;
  throw new PubSubError("INVALID_OPTION", `${option} must be a number of milliseconds, not ${String(value)}.`);
}

function ignore(): void {}
