import type { OperationErrorCode } from "@alkdev/operations";
import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";
import { quietDeadline, Recent } from "@alkdev/pubsub/transport";
import type { Bus } from "./bus.ts";
import { BROKERS } from "./channels.ts";
import type { Agent } from "./directory.ts";
import { CODES, RpcError } from "./json-rpc.ts";
import type { Outcome } from "./json-rpc.ts";

/** What a provider learns of who calls. */
export interface Caller {
  readonly agentId: string;
  readonly name?: string | undefined;
}

/** A call on its way to whoever runs it. */
export interface CallRequest {
  readonly kind: "request";
  /** Names the call, among all brokers. */
  readonly call: string;
  /** The broker of the caller, which the answer goes to. */
  readonly broker: string;
  /** The session that is to run it. */
  readonly session: string;
  readonly tool: string;
  readonly input: unknown;
  readonly caller: Caller;
}

interface CallAnswer {
  readonly kind: "answer";
  readonly call: string;
  readonly outcome: Outcome;
}

interface CallCancel {
  readonly kind: "cancel";
  readonly call: string;
}

/** What brokers say to one of them about calls. */
export type CallMessage = CallRequest | CallAnswer | CallCancel;

/** Whoever is here and runs tools. */
export interface Provider {
  /** @throws RpcError if it takes no more */
  serve(request: CallRequest): void;
  /** The caller no longer waits. */
  cancelled(call: string): void;
  /** Resolves when what it has published so far was accepted. */
  published(): Promise<void>;
}

/** A call that was made here. */
export interface PendingCall {
  readonly name: string;
  /** Rejects with an `RpcError`. */
  readonly outcome: Promise<unknown>;
  /** The provider is told; the outcome rejects at once. */
  cancel(why: string): void;
}

interface Pending {
  readonly broker: string;
  /** When it has taken too long. */
  readonly until: number;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: RpcError) => void;
}

/** Between a caller's broker and a provider's, which may be one: requests there, answers back, each taken once. */
export class Calls {
  readonly #bus: Bus;
  readonly #providers: (session: string) => Provider | undefined;
  readonly #onError: (error: unknown) => void;
  /** Made here, by name. */
  readonly #pending = new Map<string, Pending>();
  /** Served here: who runs it, and which broker waits for it. */
  readonly #served = new Map<string, { readonly provider: Provider; readonly broker: string }>();
  /** Answers that are not accepted yet. */
  readonly #answering = new Set<string>();
  /** Lately served: a target that delivers twice must not run a tool twice. */
  readonly #known = new Recent<true>(16_384);
  readonly #timeout: number;
  /** Set while somebody looks for calls that take too long. */
  #stopLooking: (() => void) | undefined;

  /** @param timeout milliseconds that a call may take */
  constructor(
    bus: Bus,
    providers: (session: string) => Provider | undefined,
    timeout: number,
    onError: (error: unknown) => void,
  ) {
    this.#bus = bus;
    this.#providers = providers;
    this.#timeout = timeout;
    this.#onError = onError;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** The names of the calls that are served here, those included whose answer could not be sent yet. */
  served(): string[] {
    return [...this.#served.keys(), ...this.#answering];
  }

  // ------------------------------------------------------------------------------------------------- the caller's side

  call(to: Agent, tool: string, input: unknown, caller: Caller): PendingCall {
    const name = this.#bus.name();
    const outcome = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(name, { broker: to.broker, until: performance.now() + this.#timeout, resolve, reject });
    });
    this.#look();
    const request: CallRequest = {
      kind: "request",
      call: name,
      broker: this.#bus.id,
      session: to.session,
      tool,
      input,
      caller,
    };
    // Once only: a tool must not run twice.
    this.#bus
      .publish(BROKERS, to.broker, request)
      .catch((error: unknown) => this.#giveUp(name, to.broker, unsent(error)));
    return { name, outcome, cancel: (why) => this.#giveUp(name, to.broker, new RpcError(CODES.CANCELLED, why)) };
  }

  /** All may take equally long, so the first is the first to have taken too long: one timer does for all. */
  #look(): void {
    const [first] = this.#pending.values();
    if (this.#stopLooking !== undefined || first === undefined) return;
    this.#stopLooking = quietDeadline(Math.max(1, Math.ceil(first.until - performance.now())), () => {
      this.#stopLooking = undefined;
      const now = performance.now();
      for (const [name, { broker, until }] of [...this.#pending]) {
        if (until > now) break;
        const message = `No answer within ${this.#timeout} ms (callTimeout); the tool may have run.`;
        this.#giveUp(name, broker, new RpcError(CODES.TIMEOUT, message));
      }
      this.#look();
    });
  }

  close(): void {
    this.#stopLooking?.();
  }

  /** Whatever was to be answered by a broker, and may never be: it died, or lost what it was sent. */
  failAll(broker: string, why: string, except: ReadonlySet<string> = new Set()): void {
    for (const [name, pending] of [...this.#pending])
      if (pending.broker === broker && !except.has(name)) this.#giveUp(name, broker, new RpcError(CODES.GONE, why));
  }

  /** Answers may have been lost on their way to this broker. */
  missedAnswers(): void {
    const error = new RpcError(CODES.UNAVAILABLE, "The answer may have been lost; the tool may have run.");
    for (const [name, { broker }] of [...this.#pending]) this.#giveUp(name, broker, error);
  }

  /** The caller waits no more, and whoever runs the tool is told. */
  #giveUp(call: string, broker: string, error: RpcError): void {
    if (!this.#settle(call, { error: error.toObject() })) return;
    // Where that fails, the provider's answer is dropped here.
    this.#bus.publishSurely(BROKERS, broker, { kind: "cancel", call } satisfies CallCancel).catch(() => undefined);
  }

  /** False if there is no such call, or no longer. */
  #settle(name: string, { result, error }: Outcome): boolean {
    const pending = this.#pending.get(name);
    if (pending === undefined) return false;
    this.#pending.delete(name);
    if (error === undefined) pending.resolve(result);
    else pending.reject(new RpcError(error.code, error.message, error.data));
    return true;
  }

  // ----------------------------------------------------------------------------------------------- the provider's side

  /** The provider's answer; false if it is no call that this provider serves. */
  answer(name: string, provider: Provider, outcome: Outcome): boolean {
    const served = this.#served.get(name);
    if (served?.provider !== provider) return false;
    this.#served.delete(name);
    void this.#reply(served.broker, name, outcome, provider);
    return true;
  }

  /** A provider is gone, and with it all that it served. */
  leave(provider: Provider): void {
    for (const [name, served] of [...this.#served])
      if (served.provider === provider)
        this.answer(name, provider, {
          error: { code: CODES.GONE, message: "The provider went away before it answered; the tool may have run." },
        });
  }

  async #reply(broker: string, call: string, outcome: Outcome, provider?: Provider): Promise<void> {
    this.#answering.add(call);
    // Topics may overtake one another on their way. What was accepted before the answer was sent does not.
    await provider?.published();
    const send = (outcome: Outcome): Promise<void> =>
      this.#bus.publishSurely(BROKERS, broker, { kind: "answer", call, outcome } satisfies CallAnswer);
    try {
      await send(outcome).catch((error: unknown) => {
        if (!(error instanceof PubSubError) || error.code !== "PAYLOAD") throw error;
        return send({ error: tooLarge("answer", "HANDLER_ERROR", error).toObject() });
      });
    } catch (error) {
      this.#onError(error);
    } finally {
      this.#answering.delete(call);
    }
  }

  // ---------------------------------------------------------------------------------------------------------- messages

  received(message: CallMessage): void {
    switch (message.kind) {
      case "request":
        return this.#requested(message);
      case "answer":
        return void this.#settle(message.call, message.outcome);
      case "cancel": {
        const served = this.#served.get(message.call);
        this.#served.delete(message.call);
        return served?.provider.cancelled(message.call);
      }
    }
  }

  #requested(request: CallRequest): void {
    const { call, broker, session } = request;
    // What stays in this process arrives once.
    if (this.#bus.shared) {
      if (this.#known.use(call) === true) return;
      this.#known.set(call, true);
    }
    const provider = this.#providers(session);
    if (provider === undefined) {
      const message = "The provider went away before the call reached it; the tool did not run.";
      return void this.#reply(broker, call, { error: { code: CODES.GONE, message } });
    }
    this.#served.set(call, { provider, broker });
    try {
      provider.serve(request);
    } catch (error) {
      this.#served.delete(call);
      const rpc = error instanceof RpcError ? error : new RpcError(CODES.INTERNAL, "The broker failed.");
      if (rpc !== error) this.#onError(error);
      void this.#reply(broker, call, { error: rpc.toObject() });
    }
  }
}

/** @param code what it is to the caller */
function tooLarge(what: string, code: OperationErrorCode, { message }: PubSubError): RpcError {
  // What is said of its topic is between brokers.
  const why = message.replace(/ \(topic [^)]*\)$/, "");
  return new RpcError(CODES.LIMIT, `The ${what} cannot be carried between brokers: ${why} Send less at once.`, {
    code,
  });
}

/** Why a request could not be sent, for the caller. */
function unsent(error: unknown): RpcError {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof PubSubError && error.code === "PAYLOAD") return tooLarge("input", "INVALID_INPUT", error);
  return new RpcError(CODES.UNAVAILABLE, `The backplane failed, and the tool may have run: ${message}`);
}

/** What an envelope of `kadi.broker` says, if it is one of the kinds about calls. */
export function callMessage({ payload }: EventEnvelope): CallMessage | undefined {
  const { kind } = payload as { kind?: unknown };
  return kind === "request" || kind === "answer" || kind === "cancel" ? (payload as CallMessage) : undefined;
}
