// Routers that share a PubSub: who is there, what they offer, and the events of the protocol between two of them.
import { PayloadError, PubSubError } from "@alkdev/pubsub";
import type { Subscription } from "@alkdev/pubsub";
import { quietDeadline, Recent } from "@alkdev/pubsub/transport";
import { readCallEvent, requestId } from "./events.ts";
import type { CallEvent } from "./events.ts";
import type { AnyPubSub } from "./wire.ts";

/** The type of all that routers say to each other; the id is the router that it is for, empty for all. */
export const PEERS = "router.peers";

/** A version counts the changes of what a router offers, so that whoever missed one knows it at the next sign of life. */
type PeerMessage = { readonly router: string } & (
  | {
      readonly kind: "offers";
      readonly version: number;
      readonly operations: readonly string[];
      readonly mark?: string;
    }
  | { readonly kind: "alive"; readonly version: number }
  /** Whoever is named, or everybody, is to say what it offers, with the mark. */
  | { readonly kind: "ask"; readonly of?: string; readonly mark?: string }
  /** What was on its way between this router and any other may be lost. */
  | { readonly kind: "missed" }
  | { readonly kind: "event"; readonly event: CallEvent }
  | { readonly kind: "bye" }
);

type Said<T = PeerMessage> = T extends unknown ? Omit<T, "router"> : never;

/** What a router does with what it hears of others. `S` is what it keeps of each. None of these may throw. */
export interface PeerHost<S> {
  /** What is offered here, by spokes of its own. */
  offered(): readonly string[];
  /** Another router is there. */
  joined(tell: (event: CallEvent) => Promise<void>): S;
  offers(peer: S, operations: readonly string[]): void;
  event(peer: S, event: CallEvent): void;
  /** Something may have been lost between the two. */
  lost(peer: S, message: string): void;
  gone(peer: S, message: string): void;
  error(error: unknown): void;
}

interface Peer<S> {
  readonly kept: S;
  /** Of what it offers; -1 while that is not known. */
  version: number;
  heard: number;
}

/** Milliseconds that an answer of all others is waited for. */
const ASK = 2000;

export class Peers<S> {
  readonly #pubsub: AnyPubSub;
  readonly #lease: number;
  readonly #host: PeerHost<S>;
  readonly #name: string = requestId();
  readonly #peers = new Map<string, Peer<S>>();
  readonly #subscriptions: Subscription[] = [];
  readonly #asked = new Map<string, { readonly of: Set<string>; readonly done: () => void }>();
  /** Whose last words may still come, over the other subscription. */
  readonly #left = new Recent<true>(1024);
  readonly #ignoreStatus: () => void;
  #version = 0;
  #saying: Promise<void> | undefined;
  /** The question that was put last, and the one that has not begun. */
  #round: Promise<void>;
  #next: Promise<void> | undefined;
  /** Others are to be told that something was lost. */
  #owes = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  #ticked = performance.now();
  #closed = false;

  /** @param lease milliseconds without a sign of life after which another router is gone */
  constructor(pubsub: AnyPubSub, lease: number, host: PeerHost<S>) {
    this.#pubsub = pubsub;
    this.#lease = lease;
    this.#host = host;
    this.#ignoreStatus = pubsub.onStatus((status) => {
      if (status === "ready" && this.#owes) this.#settleUp();
      if (status === "closed") this.#end();
    });
    this.#round = this.#open().catch((error: unknown) => this.#host.error(error));
  }

  get size(): number {
    return this.#peers.size;
  }

  /** What is offered here has changed. Resolves once the others are told, or will find out by themselves. */
  changed(): Promise<void> {
    this.#version++;
    // Once for all that changes in one tick.
    return (this.#saying ??= Promise.resolve().then(() => {
      this.#saying = undefined;
      return this.#sayOffers().catch((error: unknown) => this.#failed(error));
    }));
  }

  /** Resolves when every router that is known has said what it offers, after this was called; two seconds at most. */
  upToDate(): Promise<void> {
    return (this.#next ??= this.#round.then(() => {
      this.#next = undefined;
      return (this.#round = this.#ask());
    }));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    const bye = this.#say({ kind: "bye" }).catch(ignore);
    // Nothing may follow it, or this router would be taken for a new one.
    this.#end();
    await bye;
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#ignoreStatus();
    for (const subscription of this.#subscriptions) void subscription.return();
    for (const { done } of [...this.#asked.values()]) done();
    for (const name of [...this.#peers.keys()]) this.#forget(name, "The routers do not share a PubSub any more.");
  }

  async #open(): Promise<void> {
    const onGap = (): void => this.#missed();
    const subscriptions = await Promise.all(["", this.#name].map((id) => this.#pubsub.subscribe(PEERS, id, { onGap })));
    for (const subscription of subscriptions as unknown as Subscription[]) {
      this.#subscriptions.push(subscription);
      if (this.#closed) void subscription.return();
      else void this.#read(subscription);
    }
    if (this.#closed) return;
    this.#timer = setInterval(() => this.#tick(), this.#lease / 3);
    (this.#timer as { unref?: () => void }).unref?.();
    await this.#say({ kind: "ask" });
    await this.#sayOffers();
  }

  async #read(subscription: Subscription): Promise<void> {
    try {
      for await (const { payload } of subscription) this.#heard(payload as PeerMessage);
    } catch (error) {
      if (!this.#closed) this.#host.error(error);
    }
    this.#end();
  }

  #say(message: Said, to: string = ""): Promise<void> {
    if (this.#closed) return Promise.reject(new PubSubError("CLOSED", "This router was closed."));
    const said = { router: this.#name, ...message };
    return (this.#pubsub as { publish(type: string, id: string, payload: unknown): Promise<void> }).publish(
      PEERS,
      to,
      said,
    );
  }

  #sayOffers(mark?: string): Promise<void> {
    const operations = this.#host.offered();
    return this.#say({ kind: "offers", version: this.#version, operations, ...(mark !== undefined && { mark }) });
  }

  #failed(error: unknown): void {
    if (!this.#closed) this.#host.error(error);
  }

  async #ask(): Promise<void> {
    const mark = requestId();
    const of = new Set(this.#peers.keys());
    if (of.size === 0 || this.#closed) return;
    await new Promise<void>((resolve) => {
      const stop = quietDeadline(ASK, () => done());
      const done = (): void => {
        stop();
        this.#asked.delete(mark);
        resolve();
      };
      this.#asked.set(mark, { of, done });
      this.#say({ kind: "ask", mark }).catch(done);
    });
  }

  /** In both directions: what was sent here may be lost, or what was sent from here. */
  #missed(): void {
    for (const { kept } of this.#peers.values())
      this.#host.lost(kept, "The routers were cut off from each other for a time.");
    this.#owes = true;
    if (this.#pubsub.status === "ready") this.#settleUp();
  }

  #settleUp(): void {
    this.#owes = false;
    const all: Said[] = [{ kind: "missed" }, { kind: "ask" }];
    Promise.all(all.map((message) => this.#say(message))).catch(() => {
      // At the next sign of life.
      this.#owes = true;
    });
  }

  #tick(): void {
    const now = performance.now();
    // Whoever was held up itself has not listened either, and judges nobody.
    const wasHeldUp = now - this.#ticked > (this.#lease * 2) / 3;
    this.#ticked = now;
    if (this.#pubsub.status === "ready") {
      if (this.#owes) this.#settleUp();
      this.#say({ kind: "alive", version: this.#version }).catch((error: unknown) => this.#failed(error));
    }
    for (const [name, peer] of [...this.#peers])
      if (wasHeldUp) peer.heard = now;
      else if (now - peer.heard > this.#lease) this.#forget(name, "Its router is gone.");
  }

  #forget(name: string, message: string): void {
    const peer = this.#peers.get(name);
    this.#peers.delete(name);
    this.#answered(name);
    if (peer !== undefined) this.#host.gone(peer.kept, message);
  }

  #answered(name: string, mark?: string): void {
    for (const [each, { of, done }] of [...this.#asked])
      if ((mark === undefined || each === mark) && of.delete(name) && of.size === 0) done();
  }

  #tell(name: string, event: CallEvent): Promise<void> {
    return this.#say({ kind: "event", event }, name).catch((error: unknown) => {
      // A request tells its caller by itself. Of anything else somebody may wait for what does not come.
      if (!(error instanceof PayloadError) && event.type !== "call.requested" && !this.#closed) this.#missed();
      throw error;
    });
  }

  #heard(message: PeerMessage): void {
    const { router: name } = message;
    if (typeof name !== "string" || name === this.#name || this.#closed) return;
    if (message.kind === "bye") {
      this.#left.set(name, true);
      return this.#forget(name, "Its router was closed.");
    }
    if (this.#left.use(name) === true) return;
    let peer = this.#peers.get(name);
    if (peer === undefined) {
      const kept = this.#host.joined((event) => this.#tell(name, event));
      this.#peers.set(name, (peer = { kept, version: -1, heard: 0 }));
    }
    peer.heard = performance.now();
    switch (message.kind) {
      case "offers":
        peer.version = message.version;
        this.#host.offers(peer.kept, message.operations);
        return this.#answered(name, message.mark ?? "");
      case "alive":
        if (message.version !== peer.version)
          this.#say({ kind: "ask", of: name }).catch((error: unknown) => this.#failed(error));
        return;
      case "ask":
        if (message.of === undefined || message.of === this.#name)
          this.#sayOffers(message.mark).catch((error: unknown) => this.#failed(error));
        return;
      case "missed":
        return this.#host.lost(peer.kept, "The routers were cut off from each other for a time.");
      case "event":
        try {
          const event = readCallEvent({ ...message.event });
          if (event !== undefined) this.#host.event(peer.kept, event);
        } catch (error) {
          this.#host.error(error);
        }
        return;
      default:
        this.#host.error(new PubSubError("MALFORMED", `A router said what this one does not know.`));
    }
  }
}

function ignore(): void {}
