import { randomId } from "@alkdev/pubsub/transport";
import type { Applicant, Limits } from "./broker-api.ts";
import type { Bus } from "./bus.ts";
import type { Calls, CallRequest, PendingCall, Provider } from "./calls.ts";
import type { Directory, Tool, VisibleTool } from "./directory.ts";
import type { Identity } from "./identity.ts";
import { CODES, RpcError } from "./json-rpc.ts";
import type { Outcome, Params } from "./json-rpc.ts";
import { ParticipantEvents, unavailable } from "./participant-events.ts";
import type { EventSide } from "./participant-events.ts";
import type { Peers } from "./peers.ts";

/** What a participant is told. Whatever wire it speaks, its session implements these; none may throw. */
export interface ParticipantSide extends EventSide {
  /** It is to run a tool, and to answer with `Participant.answer`. */
  requested(request: CallRequest): void;
  /** It need not answer any more. */
  cancelled(call: string): void;
  /** It no longer offers tools of these names: another key's agent holds them. */
  withdrawn(names: readonly string[]): void;
}

/** What a broker gives its participants. */
export interface Common {
  readonly bus: Bus;
  readonly directory: Directory;
  readonly peers: Peers;
  readonly calls: Calls;
  readonly limits: Limits;
  readonly authorize: (applicant: Applicant) => readonly string[] | Promise<readonly string[]>;
  /** Those of this broker, by session. */
  readonly participants: Map<string, Participant>;
}

/** Who somebody is, beside the key. */
export interface Introduction {
  readonly name?: string | undefined;
  readonly role: string;
}

/**
 * Somebody who is let in: what they may see and do, and nothing of how they say it. A session of KADI's wire has one; any
 * other wire gets at the broker the same way.
 */
export class Participant implements Provider {
  readonly session: string = randomId();
  readonly identity: Identity;
  readonly #introduction: Introduction;
  readonly #common: Common;
  readonly #side: ParticipantSide;
  readonly #events: ParticipantEvents;
  /** In the order of joining. */
  #networks: string[] = [];
  readonly #made = new Map<string, PendingCall>();
  /** Calls whose tool is still looked for. */
  #looking = 0;
  readonly #serving = new Set<string>();
  #stopWatching: (() => void) | undefined;
  #isOver = false;

  private constructor(common: Common, identity: Identity, introduction: Introduction, side: ParticipantSide) {
    this.#common = common;
    this.identity = identity;
    this.#introduction = introduction;
    this.#side = side;
    const { bus, limits } = common;
    this.#events = new ParticipantEvents(bus, limits.subscriptions, identity.agentId, () => this.#networks, side);
  }

  /** @throws RpcError `UNAUTHORISED`, `LIMIT`; as a rejection */
  static async join(
    common: Common,
    identity: Identity,
    introduction: Introduction,
    networks: readonly string[],
    side: ParticipantSide,
  ): Promise<Participant> {
    const participant = new Participant(common, identity, introduction, side);
    await participant.#join(networks);
    common.participants.set(participant.session, participant);
    return participant;
  }

  /** How many channels and patterns it is subscribed to, each in one network. */
  get subscriptions(): number {
    return this.#events.size;
  }

  get networks(): readonly string[] {
    return this.#networks;
  }

  async #join(networks: readonly string[]): Promise<void> {
    const more = [...new Set(networks)].filter((network) => !this.#networks.includes(network));
    if (more.length === 0) return;
    const { limits, authorize } = this.#common;
    const check = (): void => {
      if (this.#networks.length + more.length > limits.networks)
        throw new RpcError(CODES.LIMIT, `A session may join ${limits.networks} networks (limits.networks).`);
    };
    check();
    let granted: readonly string[] = [];
    let cause: unknown;
    try {
      granted = await authorize({ agentId: this.identity.agentId, networks: more });
    } catch (error) {
      cause = error;
    }
    const refused = more.filter((network) => !granted.includes(network));
    if (refused.length > 0)
      throw Object.assign(new RpcError(CODES.UNAUTHORISED, `This key may not join ${list(refused)}.`), { cause });
    // Others may have been joined meanwhile.
    check();
    for (const network of more) if (!this.#networks.includes(network)) this.#networks.push(network);
  }

  // -------------------------------------------------------------------------------------------------------------- tools

  /**
   * Offers tools, in place of those that it offered before. Resolves once the brokers that this one is joined with were told.
   *
   * @throws RpcError `TAKEN`, `UNAUTHORISED`, `LIMIT`, `UNAVAILABLE`; as a rejection
   */
  async register(tools: readonly Tool[], networks: readonly string[], displayName: string | undefined): Promise<void> {
    const { limits, directory, peers, bus } = this.#common;
    if (tools.length > limits.tools)
      throw new RpcError(CODES.LIMIT, `A session may offer ${limits.tools} tools (limits.tools).`);
    await this.#join(networks);
    if (this.#isOver) throw new RpcError(CODES.CANCELLED, "The session is over.");
    const { agentId, keyId } = this.identity;
    const before = directory.of(this.session);
    const agent = {
      ...this.#introduction,
      session: this.session,
      broker: bus.id,
      agentId,
      keyId,
      displayName,
      since: before?.since ?? Date.now(),
      networks: [...new Set(networks)],
      tools,
    };
    try {
      await peers.put(agent);
    } catch (error) {
      // What the others do not know, or another has, is not offered here either; what was offered before is again.
      if (directory.of(this.session) === agent) {
        if (before === undefined) peers.remove(this.session);
        else peers.set(before);
      }
      throw error instanceof RpcError ? error : unavailable("register", error);
    }
  }

  /** Another key's agent has turned out to hold these names. */
  withdrawn(names: readonly string[]): void {
    this.#side.withdrawn(names);
  }

  /** The tools that it can see. */
  tools(networks: readonly string[] = this.#networks): VisibleTool[] {
    return this.#common.directory.visible(networks);
  }

  /** Calls back, once a turn, when the tools that it can see may be others. A later watcher replaces an earlier one. */
  watch(changed: () => void): void {
    this.unwatch();
    this.#stopWatching = this.#common.directory.watch(() => this.#networks, changed);
  }

  unwatch(): void {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
  }

  /**
   * Calls a tool.
   *
   * @param target an agent's id or name; whoever has the tool, where it is undefined
   * @throws RpcError `UNKNOWN_TOOL`, `LIMIT`; as a rejection
   */
  async call(tool: string, input: unknown, target?: string): Promise<PendingCall> {
    const { directory, peers, calls, limits } = this.#common;
    const find = (): ReturnType<Directory["find"]> => directory.find(tool, this.#networks, target);
    if (this.#made.size + this.#looking >= limits.calls)
      throw new RpcError(CODES.LIMIT, `A session may have ${limits.calls} calls without an answer (limits.calls).`);
    let agent = find();
    if (agent === undefined) {
      // It may have registered at another broker a moment ago.
      this.#looking++;
      await peers.upToDate();
      this.#looking--;
      agent = find();
    }
    if (agent === undefined) {
      const who = target === undefined ? "No agent" : `No agent ${JSON.stringify(target)} with the tool`;
      throw new RpcError(
        CODES.UNKNOWN_TOOL,
        target === undefined
          ? `${who} of your networks has the tool ${JSON.stringify(tool)}; kadi.ability.list shows those there are.`
          : `${who} ${JSON.stringify(tool)} is in your networks; kadi.ability.list shows those there are.`,
      );
    }
    if (this.#isOver) throw new RpcError(CODES.CANCELLED, "The session is over.");
    const call = calls.call(agent, tool, input, { agentId: this.identity.agentId, name: this.#introduction.name });
    this.#made.set(call.name, call);
    const done = (): void => void this.#made.delete(call.name);
    call.outcome.then(done, done);
    return call;
  }

  /** Its answer to a call; false where it serves none of that name. */
  answer(call: string, outcome: Outcome): boolean {
    return this.#serving.delete(call) && this.#common.calls.answer(call, this, outcome);
  }

  serve(request: CallRequest): void {
    const { directory } = this.#common;
    // The caller's broker may not have heard yet that it is offered no more, or was refused.
    if (directory.of(this.session)?.tools.some(({ name }) => name === request.tool) !== true)
      throw new RpcError(
        CODES.UNKNOWN_TOOL,
        `The provider does not offer the tool ${JSON.stringify(request.tool)} any more; it did not run.`,
      );
    if (this.#serving.size >= this.#common.limits.calls)
      throw new RpcError(CODES.LIMIT, "The provider serves as many calls as it may (limits.calls); try again later.");
    this.#serving.add(request.call);
    this.#side.requested(request);
  }

  cancelled(call: string): void {
    if (this.#serving.delete(call)) this.#side.cancelled(call);
  }

  published(): Promise<void> {
    return this.#events.published();
  }

  // ------------------------------------------------------------------------------------------------------------- events

  /**
   * Publishes to a network, by default the one that it joined first. Resolves once the event was accepted.
   *
   * @throws RpcError `INVALID_PARAMS`, `UNAUTHORISED`, `UNAVAILABLE`; as a rejection
   */
  publish(channel: string, data: unknown, network?: string, meta?: Params): Promise<void> {
    return this.#events.publish(channel, data, network, meta);
  }

  /**
   * Subscribes to channels and patterns of a network, by default of every network that it has joined. Resolves once all
   * are live.
   *
   * @throws RpcError `INVALID_PARAMS`, `UNAUTHORISED`, `LIMIT`, `UNAVAILABLE`; as a rejection, and then none was subscribed
   */
  subscribe(channels: readonly string[], network?: string): Promise<void> {
    return this.#events.subscribe(channels, network);
  }

  unsubscribe(channels: readonly string[], network?: string): void {
    this.#events.unsubscribe(channels, network);
  }

  /** The end: its tools are withdrawn, and its calls, made and served, fail. Idempotent. */
  leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { participants, peers, calls } = this.#common;
    participants.delete(this.session);
    this.unwatch();
    this.#events.stop();
    peers.remove(this.session);
    calls.leave(this);
    this.#serving.clear();
    for (const call of [...this.#made.values()]) call.cancel("The caller is gone.");
  }
}

function list(networks: readonly string[]): string {
  return `the network${networks.length > 1 ? "s" : ""} ${networks.map((network) => JSON.stringify(network)).join(", ")}`;
}
