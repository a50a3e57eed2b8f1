import { OperationError } from "@alkdev/operations";
import { callAt } from "../broker-calls.ts";
import type { Connected } from "../brokers.ts";
import type { LoadedAbility, ToolCallOptions, ToolDescription } from "../client-api.ts";
import type { VisibleTool } from "../directory.ts";
import { Subscriptions } from "../subscriptions.ts";
import { createAbility } from "./ability.ts";
import type { AbilityHost } from "./ability.ts";

/**
 * Finds an ability at a broker, by the name or the id of its agent.
 *
 * @throws OperationError `OPERATION_NOT_FOUND`, as a rejection
 */
export async function loadBroker(
  name: string,
  { connection, source }: Connected,
  host: AbilityHost,
): Promise<LoadedAbility> {
  const all = await connection.tools();
  const found = all.filter(({ agentId, agentName }) => agentName === name || agentId === name);
  if (found.length === 0)
    throw new OperationError(
      "OPERATION_NOT_FOUND",
      `At the broker ${source.title ?? source.name} nobody called ${name} offers a tool, in the networks that this client has joined.`,
    );
  const tools = found.map(describe);
  const subscriptions = new Subscriptions(false, (error) => host.report(error));
  await subscriptions.attach(source);
  const call = (tool: string, input: unknown, options: ToolCallOptions = {}): Promise<unknown> =>
    callAt(connection, name, tool, input, options);
  const end = (): Promise<void> => {
    subscriptions.detach(source);
    return Promise.resolve();
  };
  return createAbility({ name, transport: "broker", tools, subscriptions, call, end }, host);
}

/** As other languages may have registered it. */
function describe({ name, description = "", inputSchema = true, outputSchema }: VisibleTool): ToolDescription {
  const tool = { name, description, inputSchema, ...(outputSchema !== undefined && { outputSchema }) };
  return tool as ToolDescription;
}
