/**
 * The contract between the conformance suite and whatever opens a transport for it. A harness is made for each test and
 * ended after it; it opens the real thing, and does to it what the world does.
 */
import type { EventEnvelope } from "../envelope.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import type { LinkOptions } from "../link/link.ts";
import type { PubSub } from "../api.ts";
import type { Supports } from "../transport.ts";

/**
 * What a harness can do beside opening two ends; tests that need more than it has are left out.
 *
 * `target`: the near end has an event target. `serialises`: payloads are encoded or cloned on their way. `more`: further
 * ends, each of which reaches all others. `reconnects`: `cut` breaks the connection, and it comes back. `disconnects`:
 * `cut` ends it for good. `freezes`: `freeze` and `thaw`. `delays`: `OpenOptions.delay`. `restarts`: `restart`.
 * `counts`: `farFilters`. `raw`: peers that speak the link protocol badly. `binary`: frames may be bytes.
 */
export type Feature =
  | "target"
  | "serialises"
  | "more"
  | "reconnects"
  | "disconnects"
  | "freezes"
  | "delays"
  | "restarts"
  | "counts"
  | "raw"
  | "binary";

/** Options of the near end. */
export interface OpenOptions {
  /** Those of its event target; ignored where it has none. */
  readonly target?: EventTargetOptions & Pick<LinkOptions, "ackTimeout" | "maxFrame">;
  /** Told of errors that no call throws, by the PubSub and by its event target. Default: they are ignored. */
  readonly onError?: (error: unknown) => void;
  /** How many ends there are beside near and far. Default 0. Needs `more`. */
  readonly more?: number;
  /** Milliseconds that messages to and from the near end take longer. Default 0. Needs `delays`. */
  readonly delay?: number;
}

/** A subscription as far as the suite needs it; `Subscription` is one. */
export interface EndSubscription {
  next(): Promise<IteratorResult<EventEnvelope, undefined>>;
  return(): Promise<unknown>;
}

/** An end that may live in another thread or process, hence so little; a `PubSub` is one. */
export interface End {
  publish(type: string, id: string, payload: unknown): Promise<void>;
  subscribe(type: string, id?: string): Promise<EndSubscription>;
}

/** Two ends that reach each other, and what can be done to the connection of the near one. */
export interface Ends {
  /** In this process; the one that tests look at. */
  readonly near: PubSub;
  /** Its event target. Needs `target`. */
  readonly target?: AlkEventTarget;
  /** The other one. In process, where there is no other, `near` itself. */
  readonly far: End;
  readonly more?: readonly End[];
  /** Breaks the connection; resolves once it is broken, not once that is noticed. */
  readonly cut?: () => Promise<void> | void;
  /** Nothing arrives any more, in either direction, and nobody is told. */
  readonly freeze?: () => Promise<void> | void;
  readonly thaw?: () => Promise<void> | void;
  /** Ends the server and starts it anew at the same place. */
  readonly restart?: () => Promise<void> | void;
  /** How many filters the far side holds for all ends. */
  readonly farFilters?: () => Promise<number> | number;
}

/** The far end of a pipe, in the hands of a test. Nobody says anything for it: not even `$welcome`. */
export interface RawPeer {
  /** A PubSub over the near end of the pipe. */
  readonly near: PubSub;
  readonly target: AlkEventTarget;
  /** Sends a frame: a string as it is (which a pipe of clones carries as a string), anything else encoded. */
  send(frame: unknown): void;
  /** Sends a frame of text as bytes. Needs `binary`. */
  sendBytes?(frame: unknown): void;
  /** The next envelope of this type that the near end sent; those of other types before it are passed over. */
  receive(type: string): Promise<EventEnvelope>;
}

/** Opens a transport for one test. */
export interface Harness {
  readonly supports: Supports;
  readonly features: ReadonlySet<Feature>;
  open(options?: OpenOptions): Promise<Ends>;
  /** Opens the near end of a pipe whose far end is the test's. Needs `raw`. */
  openRaw?(options?: OpenOptions): Promise<RawPeer>;
  /** Ends all that it opened. */
  end(): Promise<void>;
}

/** One thing that is true of every transport, or of every one that says so. */
export interface Conformance {
  /** A sentence. */
  readonly name: string;
  /** What the manifest must say. Where it does not, `otherwise` is run instead, if there is one. */
  readonly requires?: (supports: Supports) => boolean;
  /** What the harness must be able to do. Where it is not, the test is left out. */
  readonly needs?: readonly Feature[];
  /** @throws AssertionError, or whatever else went wrong */
  readonly run: (harness: Harness) => Promise<void>;
  /** What is true where `requires` is not met: the right error, as early as possible. */
  readonly otherwise?: Pick<Conformance, "name" | "run">;
}
