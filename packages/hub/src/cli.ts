/**
 * The `pubsub` command. Nothing here ends the process: `main` resolves with the exit code once every handle is closed,
 * so that the process ends by itself and all that was written has been.
 */
import { readFileSync } from "node:fs";
import { GENERAL, HELP } from "./cli/help.ts";
import { hub, hubOptions } from "./cli/hub.ts";
import { runProgram } from "./cli/program.ts";
import { publish, publishOptions } from "./cli/publish.ts";
import { tail, tailOptions } from "./cli/tail.ts";

/**
 * Runs the command line and resolves with the exit code, see `runProgram`. Never rejects.
 *
 * @param argv the arguments alone: `process.argv.slice(2)`
 */
export function main(argv: readonly string[]): Promise<number> {
  return runProgram(
    {
      name: "pubsub",
      commands: new Map([
        ["hub", { options: hubOptions, run: hub }],
        ["tail", { options: tailOptions, run: tail }],
        ["publish", { options: publishOptions, run: publish }],
      ]),
      general: GENERAL,
      help: HELP,
      version,
    },
    argv,
  );
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return manifest.version;
}
