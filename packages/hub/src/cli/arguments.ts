import { parseArgs } from "node:util";
import type { ParseArgsConfig } from "node:util";

/** The command line is wrong: nothing was tried, and the exit code is 2. */
export class UsageError extends Error {
  /** The command whose help says how it goes; undefined for the help of all. */
  readonly command: string | undefined;

  constructor(command: string | undefined, message: string) {
    super(message);
    this.command = command;
  }
}

/** Something failed that one line can say; the exit code is 1. */
export class CliError extends Error {}

/** The options of a command, by their long names. */
export type OptionTypes = NonNullable<ParseArgsConfig["options"]>;

/** What was given to a command. */
export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(positionals: readonly string[], values: Readonly<Record<string, unknown>>) {
    this.positionals = positionals;
    this.#values = values;
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" ? value : undefined;
  }

  texts(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? (value as string[]) : [];
  }
}

/** @throws UsageError */
export function parse(command: string | undefined, args: readonly string[], options: OptionTypes): Arguments {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
    return new Arguments(positionals, values);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ERR_PARSE_ARGS_UNKNOWN_OPTION")
      throw unknownOption(command, args, options);
    // Node explains on several lines; the first sentence is the one that matters.
    throw new UsageError(command, (error as Error).message.split("\n")[0] ?? "");
  }
}

function unknownOption(command: string | undefined, args: readonly string[], options: OptionTypes): UsageError {
  const { tokens } = parseArgs({ args: [...args], options, allowPositionals: true, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind !== "option" || options[token.name] !== undefined) continue;
    const given = args[token.index] ?? token.rawName;
    if (!given.startsWith("--"))
      return new UsageError(
        command,
        `there is no option ${given}; to give an argument that begins with a dash, put -- before the arguments`,
      );
    return new UsageError(
      command,
      `there is no option ${token.rawName}${suggestion(token.name, Object.keys(options), "--")}`,
    );
  }
  return new UsageError(command, "there is an unknown option");
}

/** `; did you mean …?`, where something is near. */
export function suggestion(given: string, known: readonly string[], prefix = ""): string {
  let nearest: string | undefined;
  // Up to a third may be wrong, two letters in any case: `puslish`, `--cuont`, `tial`.
  let distance = Math.max(2, Math.floor(given.length / 3)) + 1;
  for (const name of known) {
    const far = name.startsWith(given) && given !== "" ? 0 : editDistance(given, name);
    if (far >= distance || far >= name.length) continue;
    distance = far;
    nearest = name;
  }
  return nearest === undefined ? "" : `; did you mean ${prefix}${nearest}?`;
}

/** Letters to insert, remove or replace, where two neighbours that changed places are one mistake. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let least = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, at(beforeLast, j - 2) + 1);
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Infinity;
}

/** A whole number within limits. @throws UsageError */
export function wholeNumber(command: string, option: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
  throw new UsageError(command, `--${option} takes a whole number ${range}, not ${JSON.stringify(text)}`);
}
