/**
 * The `pubsub` command. Nothing here ends the process: `main` resolves with the exit code once every handle is closed,
 * so that the process ends by itself and all that was written has been.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { PubSubError } from "@alkdev/pubsub";
import { CliError, parse, suggestion, UsageError } from "./cli/arguments.ts";
import type { Arguments, OptionTypes } from "./cli/arguments.ts";
import { GENERAL, HELP } from "./cli/help.ts";
import { hub, hubOptions } from "./cli/hub.ts";
import { publish, publishOptions } from "./cli/publish.ts";
import { tail, tailOptions } from "./cli/tail.ts";
import { complain, say } from "./cli/terminal.ts";

interface Command {
  readonly options: OptionTypes;
  readonly run: (args: Arguments) => Promise<number>;
}

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ["hub", { options: hubOptions, run: hub }],
  ["tail", { options: tailOptions, run: tail }],
  ["publish", { options: publishOptions, run: publish }],
]);

const NAMES = [...COMMANDS.keys(), "help"];

/**
 * Runs the command line and resolves with the exit code: 0 it worked, 1 it failed, 2 the command line is wrong. What was
 * asked for goes to stdout, everything else to stderr. Never rejects.
 *
 * @param argv the arguments alone: `process.argv.slice(2)`
 */
export async function main(argv: readonly string[]): Promise<number> {
  // Without a listener, a closed pipe is an uncaught error; `head` and `less` close theirs as a matter of course. They stay:
  // what was written last may fail after this is over.
  for (const stream of [process.stdout, process.stderr]) stream.off("error", ignore).on("error", ignore);
  try {
    return await dispatch(argv);
  } catch (error) {
    return failed(error);
  }
}

async function dispatch(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) throw new UsageError(undefined, "a command is missing: hub, tail or publish");
  if (name.startsWith("-")) {
    const args = parse(undefined, argv, { help: { type: "boolean", short: "h" }, version: { type: "boolean" } });
    if (args.flag("version")) return show(`${version()}\n`);
    if (args.flag("help")) return help(args.positionals);
    throw new UsageError(undefined, "a command is missing: hub, tail or publish");
  }
  if (name === "help") return help(parse(undefined, rest, { help: { type: "boolean", short: "h" } }).positionals);
  const command = COMMANDS.get(name);
  if (command === undefined) throw unknownCommand(name);
  const args = parse(name, rest, { ...command.options, help: { type: "boolean", short: "h" } });
  if (args.flag("help")) return help([name]);
  return command.run(args);
}

function help([name]: readonly string[]): number {
  if (name === undefined || name === "help") return show(GENERAL);
  const text = HELP[name];
  if (text === undefined) throw unknownCommand(name);
  return show(text);
}

function show(text: string): number {
  process.stdout.write(text);
  return 0;
}

function unknownCommand(name: string): UsageError {
  return new UsageError(undefined, `there is no command ${JSON.stringify(name)}${suggestion(name, NAMES)}`);
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return manifest.version;
}

function failed(error: unknown): number {
  if (error instanceof UsageError) {
    complain(error);
    say(`See: pubsub ${error.command === undefined ? "help" : `help ${error.command}`}`);
    return 2;
  }
  if (error instanceof PubSubError) {
    complain(error);
    return error.code === "INVALID_TOPIC" || error.code === "INVALID_OPTION" ? 2 : 1;
  }
  // What the operating system refused says so in its message. Anything else is a mistake in here, and needs its stack.
  const isExpected = error instanceof CliError || (error instanceof Error && "code" in error);
  if (isExpected) complain(error);
  else process.stderr.write(`pubsub: ${error instanceof Error ? error.stack : String(error)}\n`);
  return 1;
}

function ignore(): void {}
