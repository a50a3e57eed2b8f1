import { pathToFileURL } from "node:url";
import { PubSubError } from "@alkdev/pubsub";
import { excerpt } from "@alkdev/pubsub/transport";
import { findAbility, moduleOf } from "../agent-json.ts";
import type { LoadedAbility, LoadNativeOptions, ToolDescription } from "../client-api.ts";
import type { Sources } from "../sources.ts";
import { Subscriptions } from "../subscriptions.ts";
import { createAbility } from "./ability.ts";
import type { AbilityHost } from "./ability.ts";
import type { ToolCalls } from "./calls.ts";

/** How one client loads another one of the same process. A registered symbol, so that two copies of the library agree. */
export const adopt: unique symbol = Symbol.for("@alkdev/kadi.adopt") as never;

/** A client that another one has loaded. */
export interface Adopted {
  readonly name: string;
  readonly tools: readonly ToolDescription[];
  readonly sources: Sources;
  readonly calls: ToolCalls;
  /** Ends what it has begun, once nobody needs it any more. */
  release(): Promise<void>;
}

/** A client that can be loaded. */
export interface Adoptable {
  [adopt](): Promise<Adopted>;
}

/**
 * Loads an ability into this process: a module whose default export is a client.
 *
 * @throws PubSubError `INVALID_OPTION` where it is none; whatever the module throws; as rejections
 */
export async function loadNative(name: string, options: LoadNativeOptions, host: AbilityHost): Promise<LoadedAbility> {
  const file = moduleOf(findAbility(name, options.path));
  const module = (await import(pathToFileURL(file).href)) as { readonly default?: Partial<Adoptable> };
  const client = module.default;
  if (typeof client?.[adopt] !== "function")
    throw new PubSubError(
      "INVALID_OPTION",
      `${file} is no native ability ${excerpt(name)}: its default export must be a KadiClient (export default client).`,
    );
  const adopted = await client[adopt]();
  const subscriptions = new Subscriptions(false, (error) => host.report(error));
  const stops: (() => void)[] = [];
  const end = async (): Promise<void> => {
    for (const stop of stops) stop();
    await adopted.release();
  };
  try {
    stops.push(await adopted.sources.follow(host.events));
    stops.push(await adopted.sources.follow(subscriptions));
  } catch (error) {
    await end();
    throw error;
  }
  const call: ToolCalls["call"] = (tool, input, callOptions) => adopted.calls.call(tool, input, callOptions);
  return createAbility({ name, transport: "native", tools: adopted.tools, subscriptions, call, end }, host);
}
