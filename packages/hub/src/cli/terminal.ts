import { once } from "node:events";
import process from "node:process";

// Control characters (those of Unicode too), line separators and changes of direction: what comes from elsewhere must
// not move the cursor, begin a line of its own or pretend to be what it is not.
// eslint-disable-next-line no-control-regex
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Text that stays on its line, whoever wrote it. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Says one line to the person, on stderr: stdout is for what was asked for. */
export function say(line: string): void {
  process.stderr.write(`${printable(line)}\n`);
}

/** Says what is wrong, in one line. */
export function complain(error: unknown): void {
  complainAs("pubsub", error);
}

/** The same, of another program. */
export function complainAs(program: string, error: unknown): void {
  say(`${program}: ${error instanceof Error ? error.message : String(error)}`);
}

/** Why something ended, in the words of whoever knew first. */
export function rootOf(error: unknown): unknown {
  let root = error;
  while (root instanceof Error && root.cause !== undefined) root = root.cause;
  return root;
}

/** The message of an error's root. */
export function reasonOf(error: unknown): string {
  const root = rootOf(error);
  return root instanceof Error ? root.message : String(root);
}

/** Whether stdout is to be coloured. */
export function hasColours(): boolean {
  return process.stdout.isTTY && process.env["NO_COLOR"] === undefined && process.stdout.hasColors();
}

/** What ends a command early. */
export class Stopper {
  readonly #controller = new AbortController();
  /** The signal that the process got, if it got one. */
  by: "SIGINT" | "SIGTERM" | undefined;
  /** Why nothing more can be written to stdout; undefined where it simply has no reader any more. */
  writeError: Error | undefined;

  constructor() {
    process.on("SIGINT", this.#signalled);
    process.on("SIGTERM", this.#signalled);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get stopped(): boolean {
    return this.signal.aborted;
  }

  /** Makes an unwritable stdout end the command; what `| head` closed is no error. */
  readonly watchStdout = (): void => {
    process.stdout.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") this.writeError ??= error;
      this.#controller.abort();
    });
  };

  /** The next signal ends the process as if nobody listened: whoever asks twice does not want to wait. */
  readonly #signalled = (by: NodeJS.Signals): void => {
    this.by ??= by === "SIGTERM" ? "SIGTERM" : "SIGINT";
    this.release();
    this.#controller.abort();
  };

  /** Resolves once stopped. */
  async wait(): Promise<void> {
    if (!this.stopped) await once(this.signal, "abort");
  }

  release(): void {
    process.off("SIGINT", this.#signalled);
    process.off("SIGTERM", this.#signalled);
  }
}

/** Writes to stdout; resolves once there is room for more, or there never will be. */
export async function print(text: string, signal: AbortSignal): Promise<void> {
  if (process.stdout.write(text) || signal.aborted) return;
  await once(process.stdout, "drain", { signal }).catch(() => undefined);
}
