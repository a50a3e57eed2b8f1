import { PubSubError } from "@alkdev/pubsub";
import { onAbort } from "@alkdev/pubsub/transport";
import type { LoadedAbility } from "../client-api.ts";
import type { Sources } from "../sources.ts";
import type { AbilityHost } from "./ability.ts";

/** What one client has loaded, and what of it is still on its way out. */
export class Abilities {
  /** The last of each name last. */
  readonly #loaded = new Set<LoadedAbility>();
  /** Those that have ended by themselves: who calls them is told so, until they are loaded again. */
  readonly #dead = new WeakSet<LoadedAbility>();
  readonly #endings = new Set<Promise<void>>();
  readonly #host: AbilityHost;
  /** Aborted by `end()`; there is another one afterwards. */
  #life = new AbortController();

  constructor(events: Sources, report: (error: unknown) => void) {
    this.#host = {
      events,
      report,
      died: (ability) => void this.#dead.add(ability),
      forget: (ability) => void this.#loaded.delete(ability),
      ending: (ending) => this.#follow(ending),
    };
  }

  find(target: string): LoadedAbility | undefined {
    return [...this.#loaded].findLast(({ name }) => name === target);
  }

  /**
   * @param load may use the signal to let go of what it waits for
   * @throws PubSubError `CLOSED` as soon as `end` is called meanwhile; as `load`; as rejections
   */
  async load(
    name: string,
    load: (host: AbilityHost, signal: AbortSignal) => Promise<LoadedAbility>,
  ): Promise<LoadedAbility> {
    const { signal } = this.#life;
    const loading = load(this.#host, signal);
    let stop: (() => void) | undefined;
    const ended = new Promise<undefined>((resolve) => (stop = onAbort(signal, () => resolve(undefined))));
    try {
      const ability = await Promise.race([loading, ended]);
      if (ability !== undefined && !signal.aborted) return this.#add(ability);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      stop?.();
    }
    // Nobody waits for what may never come, a module that is still evaluated say.
    loading.then((late) => late.disconnect()).catch(ignore);
    throw new PubSubError("CLOSED", `The client was disconnected while ${name} was loaded.`);
  }

  #add(ability: LoadedAbility): LoadedAbility {
    for (const each of this.#loaded) if (each.name === ability.name && this.#dead.has(each)) this.#loaded.delete(each);
    this.#loaded.add(ability);
    return ability;
  }

  /** Disconnects all. */
  async end(): Promise<void> {
    this.#life.abort();
    this.#life = new AbortController();
    await Promise.all([...[...this.#loaded].map((ability) => ability.disconnect()), ...this.#endings]);
  }

  #follow(ending: Promise<void>): void {
    const done = ending.catch((error: unknown) => this.#host.report(error)).finally(() => this.#endings.delete(done));
    this.#endings.add(done);
  }
}

function ignore(): void {}
