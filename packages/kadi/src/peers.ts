import type { EventEnvelope } from "@alkdev/pubsub";
import { quietDeadline } from "@alkdev/pubsub/transport";
import type { Bus, Listening } from "./bus.ts";
import { callMessage } from "./calls.ts";
import type { Calls } from "./calls.ts";
import { BROKERS } from "./channels.ts";
import { taken } from "./directory.ts";
import type { Agent, Directory } from "./directory.ts";

/**
 * What brokers say to all of them. A version counts the changes of a broker's agents, so that whoever missed one knows it
 * at the next sign of life, and asks.
 */
type PeerMessage = { readonly broker: string } &
  /** Without a version it is only said again. A claim is one that its broker has not heard itself yet. */
  (
    | { readonly kind: "agent"; readonly version?: number; readonly agent: Agent; readonly claim?: boolean }
    | { readonly kind: "gone"; readonly version: number; readonly session: string }
    /** These are all; each was said again just before. */
    | { readonly kind: "agents"; readonly version: number; readonly sessions: readonly string[] }
    | { readonly kind: "alive"; readonly version: number }
    /** Somebody is new, or has missed something: whoever is named, or everybody, is to say again which agents it has. */
    | { readonly kind: "ask"; readonly of?: string }
    /** Requests may have been lost on their way to this broker; these were not. */
    | { readonly kind: "missed"; readonly serving: readonly string[] }
    /** Comes back to whoever said it, after all that was said before. */
    | { readonly kind: "mark"; readonly mark: string }
    | { readonly kind: "bye" }
  );

interface Peer {
  /** Of its agents, as far as they are known here; -1 while they are not. */
  version: number;
  readonly sessions: Set<string>;
  heard: number;
}

/** Milliseconds that what was said is waited for to come back. */
const MARK = 2000;

/** What was said of an agent, until it is certain that nobody was faster. */
class Claim {
  readonly version: number;
  /** Resolves when it has come back: what comes after it is later. */
  readonly heard: Promise<void>;
  isHeard = false;
  /** Names that another key's agent had before. */
  lost: ReadonlySet<string> | undefined;
  #resolve: () => void = () => undefined;
  readonly #stop: () => void;

  constructor(version: number) {
    this.version = version;
    this.heard = new Promise((resolve) => (this.#resolve = resolve));
    this.#stop = quietDeadline(MARK, () => this.hear());
  }

  hear(): void {
    this.#stop();
    this.isHeard = true;
    this.#resolve();
  }
}

/** The brokers that share a backplane: who is there, and which agents they have. A broker without one is alone. */
export class Peers {
  readonly #bus: Bus;
  readonly #directory: Directory;
  readonly #calls: Calls;
  readonly #lease: number;
  readonly #onError: (error: unknown) => void;
  readonly #peers = new Map<string, Peer>();
  /** The agents of this broker, by session. */
  readonly #own = new Map<string, Agent>();
  readonly #marks = new Map<string, () => void>();
  /** Registrations that are not answered yet. */
  readonly #claims = new Map<Agent, Claim>();
  readonly #withdrawn: (session: string, names: readonly string[]) => void;
  #version = 0;
  #listening: Listening[] = [];
  #timer: NodeJS.Timeout | undefined;
  #ticked = 0;
  #saying = false;
  #mending = false;
  #closed = false;

  /** @param withdrawn told of names that an agent of this broker has lost to another key's */
  constructor(
    bus: Bus,
    directory: Directory,
    calls: Calls,
    lease: number,
    withdrawn: (session: string, names: readonly string[]) => void,
    onError: (error: unknown) => void,
  ) {
    this.#bus = bus;
    this.#directory = directory;
    this.#calls = calls;
    this.#lease = lease;
    this.#withdrawn = withdrawn;
    this.#onError = onError;
  }

  get size(): number {
    return this.#peers.size;
  }

  /** Resolves once the broker can be reached by the others, and has asked them what they have. */
  async open(): Promise<void> {
    const listener = {
      deliver: (envelope: EventEnvelope) => this.#received(envelope),
      gap: () => this.#missed(),
      lost: (error: unknown) => this.#onError(error),
    };
    this.#listening.push(this.#bus.listen({ type: BROKERS, id: this.#bus.id }, listener));
    if (this.#bus.shared) this.#listening.push(this.#bus.listen({ type: BROKERS, id: "" }, listener));
    await Promise.all(this.#listening.flatMap(({ live }) => live ?? []));
    if (!this.#bus.shared) return;
    await this.#say({ kind: "ask" });
    await this.#say({ kind: "agents", version: this.#version, sessions: [] });
    this.#ticked = performance.now();
    this.#timer = setInterval(() => this.#tick(), this.#lease / 3).unref();
  }

  /**
   * An agent of this broker registers. Resolves once the others were told, and nobody turned out to have been faster.
   *
   * @throws RpcError `TAKEN`; PubSubError where the backplane failed; as rejections, after which it is still there
   */
  async put(agent: Agent): Promise<void> {
    for (const names of this.#directory.rivals(agent).values()) throw taken(names);
    this.#add(agent);
    if (!this.#bus.shared) return;
    const version = this.#version;
    const claim = new Claim(version);
    this.#claims.set(agent, claim);
    try {
      await this.#say({ kind: "agent", version, agent, claim: true });
      await claim.heard;
    } finally {
      claim.hear();
      this.#claims.delete(agent);
    }
    if (claim.lost !== undefined) throw taken(claim.lost);
  }

  /** An agent of this broker is what it is now, without anybody's contesting it. */
  set(agent: Agent): void {
    this.#add(agent);
    if (this.#bus.shared) this.#tell({ kind: "agent", version: this.#version, agent });
  }

  #add(agent: Agent): void {
    this.#directory.put(agent);
    this.#own.set(agent.session, agent);
    this.#version++;
  }

  /**
   * Another broker's agent may hold what one of ours does. What all hear in one order has a first: whoever hears the other's
   * word before its own was second, and is refused. Where two were both accepted, as while the brokers could not hear one
   * another, the older one keeps the name, and both brokers know which that is.
   */
  #contest(theirs: Agent, isClaim: boolean): void {
    for (const [mine, names] of this.#directory.rivals(theirs)) {
      if (mine.broker !== this.#bus.id) continue;
      const claim = this.#claims.get(mine);
      if (claim?.lost !== undefined) continue;
      if (claim?.isHeard === false) {
        claim.lost = names;
        // To the end of those who hold the names, until its session has heard of it.
        this.#directory.remove(mine.session);
        this.#directory.put(mine);
      } else if (isClaim) this.#tell({ kind: "agent", agent: mine });
      else if (!isOlder(theirs, mine)) continue;
      else if (claim !== undefined) claim.lost = names;
      else {
        this.set({ ...mine, tools: mine.tools.filter(({ name }) => !names.has(name)) });
        this.#withdrawn(mine.session, [...names]);
      }
    }
  }

  /** An agent of this broker is gone. */
  remove(session: string): void {
    if (!this.#own.delete(session)) return;
    this.#directory.remove(session);
    this.#version++;
    if (this.#bus.shared) this.#tell({ kind: "gone", version: this.#version, session });
  }

  /** Resolves when all that others had said before, and that the backplane had accepted, has arrived here. */
  async upToDate(): Promise<void> {
    if (!this.#bus.shared) return;
    const mark = this.#bus.name();
    await new Promise<void>((resolve) => {
      const stop = quietDeadline(MARK, resolve);
      this.#marks.set(mark, () => {
        stop();
        resolve();
      });
      this.#say({ kind: "mark", mark }).catch(() => resolve());
    });
    this.#marks.delete(mark);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    if (this.#bus.shared) this.#tell({ kind: "bye" });
    for (const { stop } of this.#listening) stop();
  }

  #say(message: WithoutBroker<PeerMessage>): Promise<void> {
    return this.#bus.publish(BROKERS, "", { broker: this.#bus.id, ...message });
  }

  /** What cannot be said now is made up for later: versions differ then. */
  #tell(message: WithoutBroker<PeerMessage>): void {
    this.#say(message).catch((error: unknown) => {
      if (!this.#closed) this.#onError(error);
    });
  }

  /** Every agent of this broker once more; once for all that ask at the same time. */
  #sayAll(): void {
    if (this.#saying) return;
    this.#saying = true;
    queueMicrotask(() => {
      this.#saying = false;
      if (this.#closed) return;
      for (const agent of this.#own.values())
        this.#tell({ kind: "agent", agent, claim: this.#claims.get(agent)?.isHeard === false });
      this.#tell({ kind: "agents", version: this.#version, sessions: [...this.#own.keys()] });
    });
  }

  #tick(): void {
    const now = performance.now();
    // Whoever was held up itself has not listened either, and judges nobody.
    const wasHeldUp = now - this.#ticked > (this.#lease * 2) / 3;
    this.#ticked = now;
    if (this.#bus.status === "ready") this.#tell({ kind: "alive", version: this.#version });
    for (const [broker, peer] of [...this.#peers])
      if (wasHeldUp) peer.heard = now;
      else if (now - peer.heard > this.#lease)
        this.#forget(broker, "The provider's broker is gone; the tool may have run.");
  }

  #forget(broker: string, why: string): void {
    const peer = this.#peers.get(broker);
    this.#peers.delete(broker);
    for (const session of peer?.sessions ?? []) this.#directory.remove(session);
    this.#calls.failAll(broker, why);
  }

  /** This broker was cut off: what was sent to it meanwhile may be lost, in both directions. */
  #missed(): void {
    this.#calls.missedAnswers();
    if (this.#mending || !this.#bus.shared) return;
    this.#mending = true;
    void this.#mend();
  }

  async #mend(): Promise<void> {
    try {
      // Nothing can be said until the target has subscribed again; what is served is what is so then.
      await this.#bus.ready();
      this.#mending = false;
      await this.#say({ kind: "missed", serving: this.#calls.served() });
      await this.#say({ kind: "ask" });
      this.#sayAll();
    } catch (error) {
      // Another interruption, after which there is another gap.
      if (!this.#closed) this.#onError(error);
    }
  }

  #received(envelope: EventEnvelope): void {
    const call = envelope.id === "" ? undefined : callMessage(envelope);
    if (call !== undefined) this.#calls.received(call);
    else this.#heard(envelope.payload as PeerMessage);
  }

  #heard(message: PeerMessage): void {
    const { broker } = message;
    if (typeof broker !== "string") return;
    if (broker === this.#bus.id) {
      if (message.kind === "mark") this.#marks.get(message.mark)?.();
      if (message.kind === "agent")
        for (const claim of this.#claims.values()) if (claim.version === message.version) claim.hear();
      return;
    }
    if (message.kind === "bye") return this.#forget(broker, "The provider's broker was closed; the tool may have run.");
    let peer = this.#peers.get(broker);
    if (peer === undefined) this.#peers.set(broker, (peer = { version: -1, sessions: new Set(), heard: 0 }));
    peer.heard = performance.now();
    switch (message.kind) {
      case "agent":
        this.#directory.put(message.agent);
        peer.sessions.add(message.agent.session);
        this.#contest(message.agent, message.claim === true);
        break;
      case "gone":
        this.#directory.remove(message.session);
        peer.sessions.delete(message.session);
        break;
      case "agents": {
        const left = new Set(message.sessions);
        for (const session of peer.sessions)
          if (!left.has(session)) {
            this.#directory.remove(session);
            peer.sessions.delete(session);
          }
        peer.version = message.version;
        return;
      }
      case "alive":
        if (message.version !== peer.version) this.#tell({ kind: "ask", of: broker });
        return;
      case "ask":
        if (message.of === undefined || message.of === this.#bus.id) this.#sayAll();
        return;
      case "missed":
        this.#calls.failAll(
          broker,
          "The provider's broker was cut off, and the call may have been lost on its way.",
          new Set(message.serving),
        );
        return;
      case "mark":
        return;
    }
    // One change more than what is known. Anything else is said again at the end of a list, or leads to a question.
    if (message.version === peer.version + 1) peer.version++;
  }
}

function isOlder(one: Agent, other: Agent): boolean {
  return one.since === other.since ? one.keyId < other.keyId : one.since < other.since;
}

type WithoutBroker<T> = T extends unknown ? Omit<T, "broker"> : never;
