/**
 * The `kadi` command. Nothing here ends the process: `main` resolves with the exit code once every handle is closed.
 */
import { runProgram } from "@alkdev/hub/parts";
import { broker, brokerOptions } from "./cli/broker.ts";
import { call } from "./cli/call.ts";
import { events, eventsOptions } from "./cli/events.ts";
import { GENERAL, HELP } from "./cli/help.ts";
import { mcp, mcpOptions } from "./cli/mcp.ts";
import { sessionOptions } from "./cli/session.ts";
import { tools } from "./cli/tools.ts";
import { version } from "./version.ts";

/**
 * Runs the command line and resolves with the exit code: 0 it worked, 1 it failed, 2 the command line is wrong. Never rejects.
 *
 * @param argv the arguments alone: `process.argv.slice(2)`
 */
export function main(argv: readonly string[]): Promise<number> {
  return runProgram(
    {
      name: "kadi",
      commands: new Map([
        ["broker", { options: brokerOptions, run: broker }],
        ["events", { options: eventsOptions, run: events }],
        ["tools", { options: sessionOptions, run: tools }],
        ["call", { options: sessionOptions, run: call }],
        ["mcp", { options: mcpOptions, run: mcp }],
      ]),
      general: GENERAL,
      help: HELP,
      version,
    },
    argv,
  );
}
