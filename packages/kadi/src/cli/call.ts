import process from "node:process";
import { Stopper, UsageError } from "@alkdev/hub/parts";
import type { Arguments } from "@alkdev/hub/parts";
import { connect } from "./session.ts";

/** Calls a tool and prints what it returned. */
export async function call(args: Arguments): Promise<number> {
  const [targetAgent, toolName, input = "{}", ...more] = args.positionals;
  if (targetAgent === undefined || toolName === undefined)
    throw new UsageError("call", 'call needs an agent and a tool: kadi call echo-js echo \'{"message":"hi"}\'');
  if (more.length > 0)
    throw new UsageError("call", `call takes one input, and there is also ${JSON.stringify(more[0])}; quote it`);
  const toolInput = parsed(input);
  const stop = new Stopper();
  try {
    const client = await connect("call", args, stop.signal);
    try {
      const result = await client.call({ targetAgent, toolName, toolInput }, stop.signal);
      process.stdout.write(`${JSON.stringify(result, undefined, args.flag("json") ? undefined : 2)}\n`);
      return 0;
    } finally {
      await client.close();
    }
  } catch (error) {
    if (!stop.stopped) throw error;
    return 130;
  } finally {
    stop.release();
  }
}

function parsed(input: string): unknown {
  try {
    return JSON.parse(input);
  } catch {
    throw new UsageError("call", `the input must be JSON, not ${JSON.stringify(input)}; a string needs its own quotes`);
  }
}
