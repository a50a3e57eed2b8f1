import process from "node:process";
import { printable, Stopper, UsageError } from "@alkdev/hub/parts";
import type { Arguments } from "@alkdev/hub/parts";
import type { VisibleTool } from "../directory.ts";
import { connect } from "./session.ts";

/** Prints the tools that can be seen in the networks that were named. */
export async function tools(args: Arguments): Promise<number> {
  const [extra] = args.positionals;
  if (extra !== undefined)
    throw new UsageError("tools", `tools takes options only, and there is also ${JSON.stringify(extra)}`);
  const stop = new Stopper();
  try {
    const client = await connect("tools", args, stop.signal);
    const { tools } = (await client.request("kadi.ability.list", {})) as { tools: VisibleTool[] };
    for (const tool of tools) process.stdout.write(`${args.flag("json") ? JSON.stringify(tool) : human(tool)}\n`);
    await client.close();
    return 0;
  } finally {
    stop.release();
  }
}

function human({ name, agentName, agentId, description }: VisibleTool): string {
  return printable(`${agentName ?? agentId}  ${name}${description === undefined ? "" : `  ${description}`}`);
}
