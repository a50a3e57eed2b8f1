import { coreOf, DONE } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import type { EventEnvelope, TypedEventTarget } from "./envelope.ts";
import { excerpt, PubSubError, report } from "./errors.ts";
import { PlainCore } from "./local-core.ts";
import { gapError } from "./queue.ts";
import { Recent } from "./recent.ts";
import { randomId } from "./timers.ts";
import { checkFilter, matchesFilter } from "./topic.ts";
import type { Filter, Gap } from "./transport.ts";

/** Options of `bridge`. */
export interface BridgeOptions {
  /**
   * What passes: types and patterns, which pass with every id; or topics, `type:id`, where `type:` is the one with the
   * empty id. A plain `EventTarget`, and any whose manifest says `patterns: 'none'`, has topics only. Default `['**']`:
   * everything.
   */
  readonly types?: readonly string[];
  /** `both` ways, or `forward` only, from the first target to the second. Default `both`. */
  readonly direction?: "both" | "forward";
  /**
   * Told of events that could not be passed on, of losses on either side, and of a side that ended. Without it they are
   * reported as uncaught.
   */
  readonly onError?: (error: unknown) => void;
}

/** Two targets joined; closing it leaves both open. */
export interface Bridge extends AsyncDisposable {
  /** Stops passing events; those under way settle. Idempotent. */
  close(): Promise<void>;
}

/**
 * Passes events between two event targets, in both directions, each event once: it never returns to a target that it has
 * been to, and bridges of one process that form a ring or a star pass it once. When one side ends, so does the bridge.
 *
 * @returns a promise that resolves once all that is listened to is subscribed: what is published there after that passes
 * @throws InvalidTopicError, PubSubError as `subscribe`, `INVALID_OPTION`, as rejections; nothing is left behind then
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
  if (direction !== "both" && direction !== "forward")
    throw new PubSubError("INVALID_OPTION", `direction must be 'both' or 'forward', not ${excerpt(direction)}.`);
  const filters = types.map(filterOf);
  const [a, b] = [coreFor(first, onError), coreFor(second, onError)];
  if (a.id === b.id)
    throw new PubSubError("INVALID_OPTION", "A bridge needs two event targets; these are one and the same.");
  const joined = new Joined(a, b, onError);
  try {
    await joined.open(filters, direction === "both");
  } catch (error) {
    await joined.close();
    throw error;
  }
  return joined;
}

const CLOSE_TIMEOUT = 5000;

class Joined implements Bridge {
  readonly #cores: readonly [Core, Core];
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #passages: { readonly core: Core; readonly sink: Sink }[] = [];
  /** Each passage is told of a loss, or of the end, of its side; one report is enough. */
  readonly #told = new WeakSet<object>();
  #closing: Promise<void> | undefined;

  constructor(a: Core, b: Core, onError: ((error: unknown) => void) | undefined) {
    this.#cores = [a, b];
    this.#onError = onError;
  }

  async open(filters: readonly Filter[], both: boolean): Promise<void> {
    const [a, b] = this.#cores;
    const lives: Promise<void>[] = [];
    try {
      for (const [from, to] of both ? [[a, b] as const, [b, a] as const] : [[a, b] as const])
        filters.forEach((filter, i) => {
          const sink = new Passage(filter, filters.slice(0, i), from, to, this);
          this.#passages.push({ core: from, sink });
          lives.push(from.subscribe(sink) ?? DONE);
        });
      await Promise.all(lives);
    } catch (error) {
      for (const live of lives) live.catch(() => undefined);
      throw error;
    }
  }

  close(): Promise<void> {
    this.stop();
    return (this.#closing ??= Promise.all(this.#cores.map((core) => core.settle(this, CLOSE_TIMEOUT))).then(
      () => undefined,
    ));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  stop(): void {
    for (const { core, sink } of this.#passages.splice(0)) core.unsubscribe(sink);
  }

  /** @param cause what happened: known by its identity, so that it is reported once */
  report(error: unknown, cause: unknown = error): void {
    if (typeof cause === "object" && cause !== null) {
      if (this.#told.has(cause)) return;
      this.#told.add(cause);
    }
    report(error, this.#onError);
  }
}

/** One type, pattern or topic in one direction. */
class Passage implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  // What was published here must pass as well, be it by another bridge: where it has been is known.
  readonly own: boolean = true;
  readonly owner: Joined;
  readonly #earlier: readonly Filter[];
  readonly #from: Core;
  readonly #to: Core;

  constructor({ type, id }: Filter, earlier: readonly Filter[], from: Core, to: Core, owner: Joined) {
    this.type = type;
    this.id = id;
    this.#earlier = earlier;
    this.#from = from;
    this.#to = to;
    this.owner = owner;
  }

  deliver(envelope: EventEnvelope): void {
    const [from, to] = [this.#from.id, this.#to.id];
    const { meta } = envelope;
    const hops = Array.isArray(meta?.hops) ? (meta.hops as readonly string[]) : [];
    if (hops.includes(to)) return;
    // Of overlapping filters the first takes it, also where the far end sends one copy for each.
    if (this.#earlier.some((filter) => matchesFilter(filter, envelope))) return;
    const journey = journeyOf(envelope, this);
    if (journey.been.has(to)) return;
    journey.been.add(from).add(to);
    const passed: EventEnvelope = {
      ...envelope,
      meta: { ...meta, hops: hops.includes(from) ? [...hops, to] : [...hops, from, to], passage: journey.name },
    };
    byEnvelope.set(passed, { journey, seenBy: new Set() });
    this.#to.publish(passed, this.owner).catch((error: unknown) => this.owner.report(error));
  }

  gap(gap: Gap): void {
    this.owner.report(gapError(gap), gap);
  }

  fail(error: unknown): void {
    this.owner.report(error);
    // Without its link nothing can pass, and the other side should not go on trying. Else one filter alone was refused.
    if (error instanceof PubSubError && error.code === "DISCONNECTED") this.owner.stop();
  }

  end(): void {
    this.owner.stop();
  }
}

/** An event under way over bridges of this process, and the targets that it has been given to. */
interface Journey {
  readonly name: string;
  readonly been: Set<string>;
}

/** Events whose journeys are remembered: an echo of one may take as long as that many others. */
const MAX_JOURNEYS = 16_384;
/** Characters of a name. Ours have fewer; a peer's could be of any length. */
const MAX_NAME = 64;

/** By the object, with the passages that saw it: one that sees it again has been handed another event in it. */
const byEnvelope = new WeakMap<EventEnvelope, { readonly journey: Journey; readonly seenBy: Set<Passage> }>();
/** By name, for what comes back as a copy. Made when there is a first bridge. */
let byName: Recent<Journey> | undefined;
let here: string | undefined;
let named = 0;

function journeyOf(envelope: EventEnvelope, passage: Passage): Journey {
  const same = byEnvelope.get(envelope);
  if (same !== undefined && !same.seenBy.has(passage)) {
    same.seenBy.add(passage);
    return same.journey;
  }
  byName ??= new Recent(MAX_JOURNEYS);
  const given: unknown = same === undefined ? envelope.meta?.passage : undefined;
  const name = typeof given === "string" && given.length <= MAX_NAME ? given : undefined;
  const known = name === undefined ? undefined : byName.use(name);
  const journey = known ?? { name: name ?? `${(here ??= randomId())}.${named++}`, been: new Set() };
  if (known === undefined) byName.set(journey.name, journey);
  byEnvelope.set(envelope, { journey, seenBy: new Set([passage]) });
  return journey;
}

/** @throws InvalidTopicError */
function filterOf(entry: string): Filter {
  const colon = typeof entry === "string" ? entry.indexOf(":") : -1;
  const filter = colon < 0 ? { type: entry } : { type: entry.slice(0, colon), id: entry.slice(colon + 1) };
  checkFilter(filter);
  return filter;
}

/** The ids of plain targets, so that all bridges know one by the same. */
const plainIds = new WeakMap<object, string>();

function coreFor(target: TypedEventTarget | EventTarget, onError: ((error: unknown) => void) | undefined): Core {
  const core = (target as { [coreOf]?: Core } | null | undefined)?.[coreOf];
  if (core !== undefined) return core;
  const candidate = target as Partial<EventTarget> | null | undefined;
  if (typeof candidate?.addEventListener !== "function" || typeof candidate.dispatchEvent !== "function")
    throw new PubSubError("INVALID_OPTION", `A bridge joins event targets, not ${excerpt(target)}.`);
  const id = plainIds.get(target) ?? randomId();
  plainIds.set(target, id);
  return new PlainCore(target, onError, id);
}
