/** What opens the URLs of one scheme: the contract of the files beside this one. */
import { waitAfter } from "../backoff.ts";
import type { Backoff } from "../backoff.ts";
import { describe, PubSubError } from "../errors.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import type { Address } from "./address.ts";

/**
 * Connects, and makes a target of that. Rejects with the first failure, in the client's own words: trying again is what
 * the target does once it is open, for ever. Called once; whoever gives up waiting says so to `owned` alone.
 *
 * @param options to be passed on to the target; `connectTimeout` is for the client too
 * @param owned told of whatever has to be ended, as soon as it is there; the target itself it learns of by the return value
 * @throws PubSubError `UNSUPPORTED` for a missing package
 */
export type Opener = (
  address: Address,
  options: EventTargetOptions & { readonly connectTimeout: number },
  owned: Owned,
) => Promise<AlkEventTarget> | AlkEventTarget;

/** What a file of a scheme exports. */
export interface OpenerModule {
  readonly open: Opener;
  /** What the server has said where it does not let this client in; undefined where something else is wrong. */
  readonly refused?: (error: unknown) => string | undefined;
}

/** What is ended with a target, last first. */
export class Owned {
  readonly #ends: (() => unknown)[] = [];
  #ending: Promise<void> | undefined;

  /** @param end called once, at once where all was ended already; may throw */
  add(end: () => unknown): void {
    if (this.#ending === undefined) this.#ends.push(end);
    else void attempt(end);
  }

  end(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) await attempt(end);
  }
}

/** What cannot be ended is over already. */
async function attempt(end: () => unknown): Promise<void> {
  try {
    await end();
  } catch {
    // Nobody waits for it.
  }
}

/**
 * The first of these packages that is installed, and its name.
 *
 * @param scheme what needs it, for the message
 * @throws PubSubError `UNSUPPORTED`
 */
export async function load(
  scheme: string,
  ...names: readonly [string, ...string[]]
): Promise<{ readonly name: string; readonly module: unknown }> {
  for (const name of names)
    try {
      // Bundlers leave it alone, and so does the compiler: it is looked for where and when this runs.
      return { name, module: await import(/* @vite-ignore */ /* webpackIgnore: true */ name) };
    } catch (cause) {
      if (isMissing(cause, name)) continue;
      throw new PubSubError("UNSUPPORTED", `The package ${name} cannot be loaded: ${describe(cause)}.`, { cause });
    }
  const packages = names.map(packageOf);
  throw new PubSubError(
    "UNSUPPORTED",
    `${scheme} needs the package ${packages.join(" or ")}, which is not installed. Install it beside @alkdev/pubsub: npm install ${packages[0]}.`,
  );
}

/** Whether it is this package that is not there, rather than one that it needs. */
function isMissing(error: unknown, name: string): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") && String(message).includes(packageOf(name));
}

/** `@alkdev/hub` of `@alkdev/hub/client`. */
function packageOf(specifier: string): string {
  return specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

/** What an error says, if it says any of these. */
export function saying(error: unknown, words: RegExp): string | undefined {
  const said = describe(error);
  return words.test(said) ? said : undefined;
}

/** The longest wait that timers know. */
const MAX_WAIT = 0x7fff_ffff;

/** By how many milliseconds the time-outs of clients are later than that of whoever opens, which names the address. */
const LATER = 500;

/** How long a client may wait for its server: it knows neither Infinity nor more than timers do. */
export function patience(connectTimeout: number): number {
  return Math.min(connectTimeout + LATER, MAX_WAIT);
}

/** How long clients wait before they connect again: servers of events are near, and back soon. */
export const BACKOFF: Backoff = { min: 50, max: 2000 };

/** The same, for clients that ask for each wait. @param failures how many there were in a row */
export function backoff(failures: number): number {
  return waitAfter(failures, BACKOFF);
}
