import { coreOf, DONE } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import type { EventEnvelope, TypedEventTarget } from "./envelope.ts";
import { report } from "./errors.ts";
import { PlainCore } from "./local-core.ts";
import { gapError } from "./queue.ts";
import { checkPattern } from "./topic.ts";
import type { Gap } from "./transport.ts";

/** Options of `bridge`. */
export interface BridgeOptions {
  /** The types and patterns that pass. Default `['**']`: everything; a plain `EventTarget` has no patterns. */
  readonly types?: readonly string[];
  /** `both` ways, or `forward` only, from the first target to the second. Default `both`. */
  readonly direction?: "both" | "forward";
  /** Told of events that could not be passed on, of losses on either side, and of a side that ended. */
  readonly onError?: (error: unknown) => void;
}

/** Two targets joined; closing it leaves both open. */
export interface Bridge extends AsyncDisposable {
  /** Stops passing events; those under way settle. Idempotent. */
  close(): Promise<void>;
}

/**
 * Passes events between two event targets, in both directions, each event once: it never returns to a target that it has
 * been to (`meta.hops`), however many bridges form a ring.
 *
 * @returns a promise that resolves once both sides are subscribed: what is published on one after that reaches the other
 * @throws InvalidTopicError, PubSubError as `subscribe`, as rejections; nothing is left behind then
 * @example
 * const joined = await bridge(createWorkerEventTarget(worker), createHubEventTarget("ws://localhost:8080"), {
 *   types: ["job.**"],
 * });
 */
export async function bridge(
  first: TypedEventTarget | EventTarget,
  second: TypedEventTarget | EventTarget,
  { types = ["**"], direction = "both", onError }: BridgeOptions = {},
): Promise<Bridge> {
  for (const type of types) checkPattern(type);
  const owner = {};
  const [a, b] = [coreFor(first, onError), coreFor(second, onError)];
  const ends: { readonly core: Core; readonly sink: Sink }[] = [];
  const lives: Promise<void>[] = [];
  const close = async (): Promise<void> => {
    for (const { core, sink } of ends.splice(0)) core.unsubscribe(sink);
    await Promise.all([a.settle(owner, CLOSE_TIMEOUT), b.settle(owner, CLOSE_TIMEOUT)]);
  };
  try {
    for (const [from, to] of direction === "both" ? [[a, b] as const, [b, a] as const] : [[a, b] as const])
      for (const type of types) {
        const sink = new Passage(type, from, to, owner, onError);
        ends.push({ core: from, sink });
        lives.push(from.subscribe(sink) ?? DONE);
      }
    await Promise.all(lives);
  } catch (error) {
    for (const live of lives) live.catch(() => undefined);
    await close();
    throw error;
  }
  return { close, [Symbol.asyncDispose]: close };
}

const CLOSE_TIMEOUT = 5000;

/** One type or pattern in one direction. */
class Passage implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly id = undefined;
  readonly own: boolean = false;
  readonly owner: object;
  readonly #from: Core;
  readonly #to: Core;
  readonly #onError: ((error: unknown) => void) | undefined;

  constructor(type: string, from: Core, to: Core, owner: object, onError: ((error: unknown) => void) | undefined) {
    this.type = type;
    this.#from = from;
    this.#to = to;
    this.owner = owner;
    this.#onError = onError;
  }

  deliver(envelope: EventEnvelope): void {
    const hops = Array.isArray(envelope.meta?.hops) ? (envelope.meta.hops as readonly string[]) : [];
    if (hops.includes(this.#to.id)) return;
    const seen = hops.includes(this.#from.id) ? [...hops, this.#to.id] : [...hops, this.#from.id, this.#to.id];
    // Overlapping types would pass it twice: the first passage to see it takes it.
    if (taken.get(envelope)?.has(this.#to) === true) return;
    taken.set(envelope, (taken.get(envelope) ?? new Set()).add(this.#to));
    this.#to
      .publish({ ...envelope, meta: { ...envelope.meta, hops: seen } }, this.owner)
      .catch((error: unknown) => this.fail(error));
  }

  gap(gap: Gap): void {
    this.fail(gapError(gap));
  }

  fail(error: unknown): void {
    report(error, this.#onError);
  }

  end(): void {
    // That side was closed on purpose; there is nothing to pass any more.
  }
}

/** Where each envelope has been passed to, while it is being dispatched. */
const taken = new WeakMap<EventEnvelope, Set<Core>>();

/** A plain target's core is made once, so that all bridges know it by one id. */
const plain = new WeakMap<EventTarget, PlainCore>();

function coreFor(target: TypedEventTarget | EventTarget, onError: ((error: unknown) => void) | undefined): Core {
  const own = (target as { [coreOf]?: Core })[coreOf];
  if (own !== undefined) return own;
  const known = plain.get(target);
  if (known !== undefined) return known;
  const core = new PlainCore(target, onError);
  plain.set(target, core);
  return core;
}
