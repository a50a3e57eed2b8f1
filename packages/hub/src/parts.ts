/**
 * @module What other packages of this repository build their own servers and commands of. Not for users: it may change with
 * any version.
 */
export { addressOf, answer, Gate, listen, refuse } from "./listener.ts";
export { Rate } from "./rate.ts";
export { CliError, UsageError, wholeNumber } from "./cli/arguments.ts";
export type { Arguments, OptionTypes } from "./cli/arguments.ts";
export { backplaneOf, joinedBy, openBackplane } from "./cli/backplane.ts";
export { cannotListen, isLoopback } from "./cli/listening.ts";
export { runProgram } from "./cli/program.ts";
export { complainAs, print, printable, say, Stopper } from "./cli/terminal.ts";
