import process from "node:process";
import { PubSubError } from "@alkdev/pubsub";
import { CliError, parse, suggestion, UsageError } from "./arguments.ts";
import type { Arguments, OptionTypes } from "./arguments.ts";
import { complainAs, say } from "./terminal.ts";

/** One command of a program. */
export interface Command {
  readonly options: OptionTypes;
  /** Resolves with the exit code. */
  readonly run: (args: Arguments) => Promise<number>;
}

/** A program of several commands. */
export interface Program {
  readonly name: string;
  readonly commands: ReadonlyMap<string, Command>;
  /** What the help of all says, and that of each command. */
  readonly general: string;
  readonly help: Readonly<Record<string, string>>;
  readonly version: () => string;
}

/**
 * Runs a command line and resolves with the exit code: 0 it worked, 1 it failed, 2 the command line is wrong. What was
 * asked for goes to stdout, everything else to stderr. Never rejects.
 */
export async function runProgram(program: Program, argv: readonly string[]): Promise<number> {
  // Without a listener, a closed pipe is an uncaught error; `head` and `less` close theirs as a matter of course. They stay:
  // what was written last may fail after this is over.
  for (const stream of [process.stdout, process.stderr]) stream.off("error", ignore).on("error", ignore);
  try {
    return await dispatch(program, argv);
  } catch (error) {
    return failed(program.name, error);
  }
}

async function dispatch(program: Program, argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const names = [...program.commands.keys()];
  const missing = (): UsageError => new UsageError(undefined, `a command is missing: ${either(names)}`);
  if (name === undefined) throw missing();
  if (name.startsWith("-")) {
    const args = parse(undefined, argv, { help: { type: "boolean", short: "h" }, version: { type: "boolean" } });
    if (args.flag("version")) return show(`${program.version()}\n`);
    if (args.flag("help")) return help(program, args.positionals);
    throw missing();
  }
  if (name === "help")
    return help(program, parse(undefined, rest, { help: { type: "boolean", short: "h" } }).positionals);
  const command = program.commands.get(name);
  if (command === undefined) throw unknownCommand(program, name);
  const args = parse(name, rest, { ...command.options, help: { type: "boolean", short: "h" } });
  if (args.flag("help")) return help(program, [name]);
  return command.run(args);
}

/** `hub, tail or publish`. */
function either(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

function help(program: Program, [name]: readonly string[]): number {
  if (name === undefined || name === "help") return show(program.general);
  const text = program.help[name];
  if (text === undefined) throw unknownCommand(program, name);
  return show(text);
}

function show(text: string): number {
  process.stdout.write(text);
  return 0;
}

function unknownCommand({ commands }: Program, name: string): UsageError {
  const names = [...commands.keys(), "help"];
  return new UsageError(undefined, `there is no command ${JSON.stringify(name)}${suggestion(name, names)}`);
}

function failed(program: string, error: unknown): number {
  if (error instanceof UsageError) {
    complainAs(program, error);
    say(`See: ${program} ${error.command === undefined ? "help" : `help ${error.command}`}`);
    return 2;
  }
  if (error instanceof PubSubError) {
    complainAs(program, error);
    return error.code === "INVALID_TOPIC" || error.code === "INVALID_OPTION" ? 2 : 1;
  }
  // What the operating system refused says so in its message. Anything else is a mistake in here, and needs its stack.
  const isExpected = error instanceof CliError || (error instanceof Error && "code" in error);
  if (isExpected) complainAs(program, error);
  else process.stderr.write(`${program}: ${error instanceof Error ? error.stack : String(error)}\n`);
  return 1;
}

function ignore(): void {}
