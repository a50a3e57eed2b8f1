import type {
  EventCallback,
  LoadedAbility,
  SubscribeToEventOptions,
  ToolCallOptions,
  ToolDescription,
  TransportName,
} from "../client-api.ts";
import type { Sources } from "../sources.ts";
import type { Subscriptions } from "../subscriptions.ts";

/** The client that loads an ability. */
export interface AbilityHost {
  /** Where the events of its native and stdio abilities are wanted. */
  readonly events: Sources;
  report(error: unknown): void;
  /** The ability has ended by itself. Who calls it is told so. */
  died(ability: LoadedAbility): void;
  /** What is left of one that could not be loaded, or has died, and is still ending: `disconnect()` waits for it. */
  ending(ending: Promise<void>): void;
  /** The ability was disconnected: nobody may find it any more. */
  forget(ability: LoadedAbility): void;
}

/** What the three kinds of abilities differ in. */
export interface AbilityParts {
  readonly name: string;
  readonly transport: TransportName;
  readonly tools: readonly ToolDescription[];
  /** At the sources of this ability alone. */
  readonly subscriptions: Subscriptions;
  call(tool: string, input: unknown, options?: ToolCallOptions): Promise<unknown>;
  /** Called once. */
  end(): Promise<void>;
}

export function createAbility(parts: AbilityParts, host: AbilityHost): LoadedAbility {
  const ability = new Ability(parts, () => host.forget(ability as LoadedAbility));
  for (const { name } of parts.tools)
    // Nobody may take it for a promise, or lose one of its own methods to a tool.
    if (name !== "then" && !(name in ability))
      Object.defineProperty(ability, name, {
        value: (input?: unknown, options?: ToolCallOptions) => ability.invoke(name, input, options),
      });
  return ability as LoadedAbility;
}

class Ability {
  readonly name: string;
  readonly transport: TransportName;
  readonly #parts: AbilityParts;
  readonly #forget: () => void;
  #ending: Promise<void> | undefined;

  constructor(parts: AbilityParts, forget: () => void) {
    this.#parts = parts;
    this.#forget = forget;
    this.name = parts.name;
    this.transport = parts.transport;
  }

  invoke(tool: string, input: unknown = {}, options?: ToolCallOptions): Promise<unknown> {
    return this.#parts.call(tool, input, options);
  }

  getTools(): readonly ToolDescription[] {
    return this.#parts.tools;
  }

  subscribeToEvent(pattern: string, callback: EventCallback, options?: SubscribeToEventOptions): Promise<() => void> {
    return this.#parts.subscriptions.subscribe(pattern, callback, options);
  }

  unsubscribeFromEvent(pattern: string, callback: EventCallback): void {
    this.#parts.subscriptions.unsubscribe(pattern, callback);
  }

  disconnect(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    this.#forget();
    this.#parts.subscriptions.clear();
    await this.#parts.end();
  }
}
