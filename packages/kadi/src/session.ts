import { Rate } from "@alkdev/hub/parts";
import { excerpt, quietDeadline } from "@alkdev/pubsub/transport";
import type { RawData, WebSocket } from "ws";
import { taken } from "./directory.ts";
import { Challenge } from "./identity.ts";
import { BadMessage, CODES, isObject, outcomeOf, parseMessage, RpcError } from "./json-rpc.ts";
import type { Params, RpcId } from "./json-rpc.ts";
import { invalid, names, optionalName, text, tools } from "./params.ts";
import { Participant } from "./participant.ts";
import type { Common, Introduction, ParticipantSide } from "./participant.ts";
import { GLOBAL } from "./participant-events.ts";
import { SessionCalls } from "./session-calls.ts";

/** What a session needs of its broker. */
export interface SessionOwner {
  readonly common: Common;
  readonly onError: (error: unknown) => void;
  /** It has authenticated. */
  known(session: Session): void;
  over(session: Session): void;
}

type Method = (params: Params, id: RpcId | undefined) => unknown;

/** One client of KADI's wire: JSON-RPC 2.0 over a WebSocket, and who it turned out to be. */
export class Session {
  readonly #socket: WebSocket;
  readonly #owner: SessionOwner;
  readonly #rate: Rate;
  readonly #refusals: Rate;
  readonly #calls = new SessionCalls();
  readonly #stopWaiting: () => void;
  #introduction: (Introduction & { readonly networks: readonly string[] }) | undefined;
  #challenge: Challenge | undefined;
  #participant: Participant | undefined;
  #heard = performance.now();
  #stopListening: () => void = () => undefined;
  #isOver = false;

  constructor(socket: WebSocket, owner: SessionOwner) {
    this.#socket = socket;
    this.#owner = owner;
    const { limits } = owner.common;
    this.#rate = new Rate(limits.rate);
    this.#refusals = new Rate(limits.rate);
    this.#stopWaiting = quietDeadline(limits.handshake, () =>
      this.close(1008, "Not authenticated in time: say kadi.session.hello and kadi.session.authenticate."),
    );
    this.#watch();
    socket.on("message", (data, isBinary) => this.#received(data, isBinary));
    // Not a message of KADI's, but a sign of life.
    socket.on("ping", () => this.#alive());
    socket.on("close", () => this.#end());
    // Broken framing, or a frame over the limit; the socket closes then, and that is one session's end.
    socket.on("error", (error) => owner.onError(error));
  }

  /** Ends it. What was sent before arrives before. */
  close(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#end();
    // A reason may have 123 bytes.
    this.#socket.close(code, reason.slice(0, 120));
    // Whoever does not answer is not waited for.
    const stop = quietDeadline(2000, () => this.#socket.terminate());
    this.#socket.once("close", stop);
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopWaiting();
    this.#stopListening();
    this.#participant?.leave();
    this.#owner.over(this);
  }

  #alive(): void {
    this.#heard = performance.now();
  }

  #watch(): void {
    const { silence } = this.#owner.common.limits;
    const left = this.#heard + silence - performance.now();
    this.#stopListening = quietDeadline(Math.max(1, left), () =>
      // A broker that was held up first reads what has come meanwhile.
      setImmediate(() => {
        if (this.#isOver) return;
        if (performance.now() - this.#heard < silence) return this.#watch();
        this.close(1001, `Silent for ${silence} ms: send kadi.session.ping.`);
      }),
    );
  }

  #send(message: object): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
    const { buffered } = this.#owner.common.limits;
    if (this.#socket.bufferedAmount <= buffered) return;
    this.close(1013, "Too slow: more waits to be read than the broker keeps (limits.buffered).");
    // A goodbye would wait behind all that is not read.
    this.#socket.terminate();
  }

  #notify(method: string, params: object): void {
    this.#send({ method, params });
  }

  // ----------------------------------------------------------------------------------------------------------- receiving

  #received(data: RawData, isBinary: boolean): void {
    if (this.#isOver) return;
    this.#alive();
    // Every message costs, also one that is refused.
    const within = this.#rate.take();
    if (!within && !this.#refusals.take()) return this.close(1008, "Too many messages (limits.rate).");
    const { strangerFrame } = this.#owner.common.limits;
    const bytes = data as Buffer;
    if (this.#participant === undefined && bytes.length > strangerFrame)
      return this.close(1009, "Too large a message before authentication (limits.strangerFrame).");
    try {
      if (isBinary) throw new BadMessage(CODES.INVALID_REQUEST, "Send JSON in text messages, not binary ones.");
      const message = parseMessage(bytes.toString("utf8"));
      if (message.kind === "answer") {
        // An answer that nobody waits for is dropped: its call may have been cancelled. None is refused for the rate.
        if (typeof message.id === "string") this.#participant?.answer(message.id, message.outcome);
        return;
      }
      if (!within) throw new BadMessage(CODES.LIMIT, "Too many messages a second (limits.rate).", message.id ?? null);
      this.#requested(message.method, message.params, message.id);
    } catch (error) {
      if (!(error instanceof BadMessage)) return this.#owner.onError(error);
      this.#send({ id: error.id, error: error.toObject() });
    }
  }

  #requested(name: string, params: Params, id: RpcId | undefined): void {
    const fail = (error: unknown): void => {
      const rpc =
        error instanceof RpcError ? error : new RpcError(CODES.INTERNAL, "The broker failed; its log says why.");
      if (rpc !== error) this.#owner.onError(error);
      // Whoever wants no answer is still told of what failed.
      this.#send({ id: id ?? null, error: rpc.toObject() });
    };
    const succeed = (result: unknown): void => {
      if (id !== undefined) this.#send({ id, result });
      this.#after?.();
    };
    try {
      const result = this.#method(name)(params, id);
      if (result instanceof Promise) result.then(succeed, fail);
      else succeed(result);
    } catch (error) {
      fail(error);
    }
  }

  /** What is to be done once the answer was sent. */
  #after: (() => void) | undefined;

  #method(name: string): Method {
    const open = STRANGERS.get(name);
    if (open !== undefined) return open(this);
    if (this.#participant === undefined)
      throw new RpcError(
        CODES.UNAUTHENTICATED,
        "Say kadi.session.hello, then kadi.session.authenticate; nothing else goes before.",
      );
    const method = Object.hasOwn(this.#methods, name) ? this.#methods[name] : undefined;
    if (method === undefined) throw new RpcError(CODES.UNKNOWN_METHOD, `There is no method ${excerpt(name)}.`);
    const participant = this.#participant;
    return (params, id) => method(participant, params, id);
  }

  // ------------------------------------------------------------------------------------------------- before it is known

  /** @internal */
  hello(params: Params): object {
    if (this.#participant !== undefined)
      throw new RpcError(CODES.INVALID_REQUEST, "This connection is authenticated already.");
    const { limits } = this.#owner.common;
    this.#introduction = {
      role: optionalName(params, "role") ?? "agent",
      name: optionalName(params, "name"),
      networks: names(params, "networks") ?? [GLOBAL],
    };
    this.#challenge = new Challenge(limits.handshake);
    return {
      nonce: this.#challenge.nonce,
      requiredSteps: ["kadi.session.authenticate"],
      heartbeatInterval: limits.heartbeat,
    };
  }

  /** @internal */
  async authenticate(params: Params): Promise<object> {
    const challenge = this.#challenge;
    const introduction = this.#introduction;
    // Whatever comes of it: a nonce is for one try.
    this.#challenge = undefined;
    if (challenge === undefined || introduction === undefined)
      throw new RpcError(CODES.UNAUTHENTICATED, "There is no nonce to sign; say kadi.session.hello for one.");
    const identity = challenge.verify({
      nonce: text(params, "nonce"),
      publicKey: text(params, "publicKey"),
      signature: text(params, "signature"),
      wantNewId: params["wantNewId"] === true,
    });
    this.#checkAgentId(params, identity.agentId);
    const { common } = this.#owner;
    const participant = await Participant.join(common, identity, introduction, introduction.networks, this.#side());
    if (this.#isOver) {
      participant.leave();
      throw new RpcError(CODES.CANCELLED, "The session is over.");
    }
    // Two may have been on their way.
    this.#participant?.leave();
    this.#participant = participant;
    this.#stopWaiting();
    this.#owner.known(this);
    return {
      status: "authenticated",
      agentId: identity.agentId,
      networks: participant.networks,
      maxMessage: common.limits.frame,
    };
  }

  /** An id is what the key makes it; who claims another is told so. */
  #checkAgentId(params: Params, agentId: string): void {
    const claimed = params["agentId"];
    if (claimed !== undefined && claimed !== null && claimed !== agentId)
      throw new RpcError(CODES.UNAUTHORISED, `The agent id of this key is ${agentId}, not ${excerpt(claimed)}.`);
  }

  #side(): ParticipantSide {
    return {
      delivered: (event) => this.#notify("kadi.event.delivery", event),
      gap: (gap) => this.#notify("kadi.event.gap", gap),
      requested: ({ call, tool, input, caller }) =>
        this.#send({
          id: call,
          method: "kadi.ability.request",
          params: {
            toolName: tool,
            toolInput: input,
            requestId: call,
            callerAgentId: caller.agentId,
            ...(caller.name !== undefined && { callerName: caller.name }),
          },
        }),
      cancelled: (call) => this.#notify("kadi.ability.cancel", { requestId: call }),
      withdrawn: (tools) => this.#notify("kadi.agent.withdrawn", { tools, reason: taken(tools).message }),
      failed: (error) => {
        this.#owner.onError(error);
        this.close(1011, "The broker lost its backplane: connect again.");
      },
    };
  }

  // -------------------------------------------------------------------------------------------------------- once it is

  readonly #methods: Readonly<
    Record<string, (participant: Participant, params: Params, id: RpcId | undefined) => unknown>
  > = {
    "kadi.session.ping": () => "pong",
    "kadi.session.goodbye": (participant) => {
      participant.leave();
      this.#after = () => this.close(1000, "Goodbye.");
      return { status: "goodbye" };
    },
    "kadi.agent.register": async (participant, params) => {
      this.#checkAgentId(params, participant.identity.agentId);
      const offered = tools(params);
      const networks = names(params, "networks") ?? participant.networks;
      await participant.register(offered, networks, optionalName(params, "displayName"));
      return { status: "registered", agentId: participant.identity.agentId, networks };
    },
    "kadi.ability.list": (participant, params) => {
      const watch = params["watch"];
      // Before it looks: whatever changes after this is told.
      if (watch === true) participant.watch(() => this.#notify("kadi.ability.changed", {}));
      else if (watch === false) participant.unwatch();
      return { tools: participant.tools() };
    },
    "kadi.ability.request": (participant, params, id) => this.#calls.call(participant, params, id),
    "kadi.ability.result": (participant, params) =>
      answered(participant.answer(text(params, "requestId"), { result: params["result"] ?? null })),
    "kadi.ability.error": (participant, params) =>
      answered(
        participant.answer(
          text(params, "requestId"),
          outcomeOf({ error: params["error"] ?? "The tool failed and did not say why." }),
        ),
      ),
    "kadi.ability.cancel": (participant, params) => this.#calls.cancel(participant, params),
    "kadi.event.publish": async (participant, params) => {
      const data = params["data"] ?? null;
      const meta = isObject(params["meta"]) ? params["meta"] : undefined;
      await participant.publish(text(params, "channel"), data, optionalName(params, "networkId"), meta);
      return { status: "published" };
    },
    "kadi.event.subscribe": async (participant, params) => {
      const channels = channelsOf(params);
      await participant.subscribe(channels, optionalName(params, "networkId"));
      return { status: "subscribed", channels };
    },
    "kadi.event.unsubscribe": (participant, params) => {
      const channels = channelsOf(params);
      participant.unsubscribe(channels, optionalName(params, "networkId"));
      return { status: "unsubscribed", channels };
    },
  };
}

/** What a session may say before anybody knows who it is. */
const STRANGERS: ReadonlyMap<string, (session: Session) => Method> = new Map([
  ["kadi.session.hello", (session: Session) => (params: Params) => session.hello(params)],
  ["kadi.session.authenticate", (session: Session) => (params: Params) => session.authenticate(params)],
]);

function channelsOf(params: Params): readonly string[] {
  const channels = names(params, "channels");
  if (channels === undefined) throw invalid("channels", "must be an array of channels", params["channels"]);
  return channels;
}

function answered(known: boolean): object {
  if (known) return { status: "ok" };
  throw new RpcError(
    CODES.INVALID_PARAMS,
    "This session serves no call of that requestId: it was answered or cancelled, or is another's.",
  );
}
