/**
 * Event targets between a process and its children, in any language, over the child's standard input and output.
 *
 * One JSON frame a line. Whatever else the child prints to its standard output is a stray line: it is passed to `onStray`
 * and costs nothing but itself. Standard error is not touched. The end of the child ends the target: subscriptions drain,
 * then throw `DISCONNECTED` with a `ChildExitError`, which has the exit code, as its cause.
 */
import type { Channel, ChannelReceiver } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import { isEnvelope, parseJson } from "../envelope.ts";
import { excerpt, PubSubError } from "../errors.ts";
import type { AlkEventTarget } from "../event-target.ts";
import { tooLong } from "../link/frames.ts";
import { LineReader } from "../link/lines.ts";
import { overChannel } from "../link/link.ts";
import type { ChannelEventTargetOptions } from "../link/link.ts";
import { quietDeadline } from "../timers.ts";

/** Options of the pipe over standard input and output. */
export interface StdioChannelOptions {
  /**
   * Told of each line, or part of one, that the other side printed and that is no frame; without the newline. Default: it is
   * reported to `onError` as `MALFORMED`.
   */
  readonly onStray?: (line: string) => void;
}

/** Options of the stdio event targets. */
export interface StdioEventTargetOptions extends ChannelEventTargetOptions, StdioChannelOptions {}

/** What is written to: the part of a `Writable` of Node that is used. */
export interface StdioWritable {
  readonly writableLength: number;
  write(chunk: string): boolean;
  end(): unknown;
  on(event: "error", listener: (error: unknown) => void): unknown;
}

/** What is read from: the part of a `Readable` of Node that is used. */
export interface StdioReadable {
  readonly readableEnded: boolean;
  on(event: "data" | "end" | "error", listener: (value: unknown) => void): unknown;
  off(event: "data" | "end" | "error", listener: (value: unknown) => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

/** A `ChildProcess` of `node:child_process`: the part of it that is used. */
export interface StdioChild {
  readonly stdin: StdioWritable | null;
  readonly stdout: StdioReadable | null;
  readonly pid?: number | undefined;
  readonly exitCode: number | null;
  readonly signalCode: string | null;
  on(event: "exit", listener: (code: number | null, signal: string | null) => void): unknown;
  on(event: "error", listener: (error: unknown) => void): unknown;
}

/** The two streams of a process that talks to its parent; `process` itself is one. */
export interface StdioStreams {
  readonly stdin: StdioReadable;
  readonly stdout: StdioWritable;
}

/** How a child process ended; the cause of the `DISCONNECTED` that its subscriptions throw. */
export class ChildExitError extends Error {
  /** The exit code; null if a signal ended it, or if it never started. */
  readonly exitCode: number | null;
  /** The name of the signal that ended it, else null. */
  readonly signal: string | null;

  constructor(exitCode: number | null, signal: string | null) {
    super(
      signal === null ? `the child process exited with code ${exitCode}` : `the child process was ended by ${signal}`,
    );
    this.exitCode = exitCode;
    this.signal = signal;
  }

  static {
    Object.defineProperty(this.prototype, "name", { value: "ChildExitError" });
  }
}

/** Silence after which the other side is asked whether it is there, in milliseconds. */
const HEARTBEAT = 10_000;
/**
 * How long the last lines and the exit code may follow each other, in milliseconds. Both come together, unless a process that
 * the child left behind keeps its output open, or the child closed its output and lives on.
 */
const LAST_WORDS = 1000;

/**
 * The parent's side: events to and from one child process.
 *
 * @param child started with pipes, `stdio: ["pipe", "pipe", "inherit"]`. One target a child. Closing the target ends the child's
 * standard input, which ends a child that listens to nothing else; it is not killed.
 * @throws PubSubError `UNSUPPORTED` if the child has no such pipes
 * @example
 * const child = spawn("python3", ["agent.py"], { stdio: ["pipe", "pipe", "inherit"] });
 * const pubsub = createPubSub({ eventTarget: createStdioEventTarget(child, { onStray: console.log }) });
 * for await (const { payload } of pubsub.subscribe("agent.progress")) show(payload);
 */
export function createStdioEventTarget<TEvent extends TypedEvent = TypedEvent>(
  child: StdioChild,
  options: StdioEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  return overChannel(stdioChannel(child, options), options);
}

/**
 * The child's side: events to and from the process that started it.
 *
 * What the child prints beside them, by `console.log` say, reaches the parent as stray lines. Once the parent closes its end or
 * is gone, subscriptions drain and throw `DISCONNECTED` (an `on` reports it to `onError`), and nothing here keeps the process
 * alive.
 *
 * @param options `stdin` and `stdout` are by default the process's own.
 * @throws PubSubError `UNSUPPORTED` where there is no process
 * @example
 * const pubsub = createPubSub({ eventTarget: createParentProcessEventTarget(), onError: console.error });
 * await pubsub.on("job.requested", async ({ id, payload }) => pubsub.publish("job.done", id, await work(payload)));
 */
export function createParentProcessEventTarget<TEvent extends TypedEvent = TypedEvent>(
  options: StdioEventTargetOptions & Partial<StdioStreams> = {},
): AlkEventTarget<TEvent> {
  const host = (globalThis as { process?: Partial<StdioStreams> }).process;
  const { stdin = host?.stdin, stdout = host?.stdout, ...rest } = options;
  if (stdin === undefined || stdout === undefined)
    throw new PubSubError(
      "UNSUPPORTED",
      "createParentProcessEventTarget() works in a process with standard input and output, or with { stdin, stdout }.",
    );
  return overChannel(parentProcessChannel({ stdin, stdout }, rest), rest);
}

/**
 * The pipe to a child process: for a hub, or for `connectLink`.
 *
 * @throws PubSubError `UNSUPPORTED` if the child's standard input and output are no pipes
 */
export function stdioChannel(child: StdioChild, options: StdioChannelOptions = {}): Channel {
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null)
    throw new PubSubError(
      "UNSUPPORTED",
      'The child process has no pipes. Start it with { stdio: ["pipe", "pipe", "inherit"] }.',
    );
  const channel = new LineChannel(stdout, stdin, options, true, () => {
    stdin.end();
    // Nobody reads what still comes, and the child must not wait until somebody does.
    stdout.resume();
  });
  const exited = (code: number | null, signal: string | null): void => channel.exited(new ChildExitError(code, signal));
  child.on("exit", exited);
  // Also says that a signal could not be sent; only a child without a pid has never run.
  child.on("error", (error) => {
    if (child.pid === undefined) channel.exited(error);
  });
  if (child.exitCode !== null || child.signalCode !== null) exited(child.exitCode, child.signalCode);
  return channel;
}

/** The pipe to the parent process: for `connectLink`. */
export function parentProcessChannel({ stdin, stdout }: StdioStreams, options: StdioChannelOptions = {}): Channel {
  // Standard output is the process's own and stays open; paused, standard input keeps no process alive.
  return new LineChannel(stdin, stdout, options, false, () => void stdin.pause());
}

/**
 * What a frame has in it, in whatever order, and text that was printed rarely. Bounded, so that no line takes long to look
 * through.
 */
const FRAME = /\[?\s{0,16}\{\s{0,16}"(?:type|id|payload|meta)"\s{0,16}:/;

/** Lines of JSON over two streams, in the middle of whatever else is printed. */
class LineChannel implements Channel {
  readonly encoding = "json";
  readonly heartbeat: number = HEARTBEAT;
  readonly #input: StdioReadable;
  readonly #output: StdioWritable;
  readonly #onStray: ((line: string) => void) | undefined;
  readonly #release: () => void;
  readonly #waitsForExit: boolean;
  #receiver: ChannelReceiver | undefined;
  #lines: LineReader | undefined;
  #closed = false;
  #inputEnded = false;
  /** How the other process ended, or why nothing can be written to it any more. */
  #exit: { readonly cause: unknown } | undefined;
  #broken: { readonly cause: unknown } | undefined;

  /** @param waitsForExit whether `exited` will be called */
  constructor(
    input: StdioReadable,
    output: StdioWritable,
    { onStray }: StdioChannelOptions,
    waitsForExit: boolean,
    release: () => void,
  ) {
    this.#input = input;
    this.#output = output;
    this.#onStray = onStray;
    this.#waitsForExit = waitsForExit;
    this.#release = release;
    // Without a listener an EPIPE would be an uncaught error. It stays after close: what was written may still fail.
    output.on("error", this.#fail);
  }

  get buffered(): number {
    return this.#output.writableLength;
  }

  open(receiver: ChannelReceiver): void {
    this.#receiver = receiver;
    this.#lines = new LineReader(receiver.maxFrame, (line, problem) => this.#line(line, problem));
    this.#input.on("data", this.#data);
    this.#input.on("end", this.#end);
    this.#input.on("error", this.#fail);
    // What was over before there was anybody to tell.
    queueMicrotask(() => (this.#input.readableEnded ? this.#end() : this.#settle()));
  }

  send(frame: unknown): void {
    if (!this.#closed && this.#broken === undefined) this.#output.write(`${frame as string}\n`);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#receiver = undefined;
    this.#input.off("data", this.#data);
    this.#input.off("end", this.#end);
    this.#input.off("error", this.#fail);
    this.#release();
  }

  /** The process at the other end is over; its last lines may still come. */
  exited(cause: unknown): void {
    this.#exit ??= { cause };
    this.#settle();
  }

  readonly #data = (chunk: unknown): void => this.#lines?.push(chunk as Uint8Array | string);

  readonly #end = (): void => {
    this.#lines?.end();
    this.#inputEnded = true;
    this.#settle();
  };

  readonly #fail = (cause: unknown): void => {
    this.#broken ??= { cause };
    this.#settle();
  };

  /** Ends the channel once the last line has come and the exit is known; or one of them, and the other does not come. */
  #settle(): void {
    if (this.#receiver === undefined) return;
    if (this.#inputEnded && (this.#exit !== undefined || !this.#waitsForExit)) this.#over();
    else if (this.#inputEnded || this.#exit !== undefined || this.#broken !== undefined)
      quietDeadline(LAST_WORDS, () => this.#over());
  }

  #over(): void {
    const receiver = this.#receiver;
    this.close();
    const { cause } = this.#exit ?? this.#broken ?? { cause: new Error("the other side closed the pipe") };
    receiver?.closed(cause);
  }

  #line(line: string, problem: "length" | "encoding" | undefined): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    const start = line.search(FRAME);
    let what = problem === "encoding" ? "It is no UTF-8." : "";
    if (problem === undefined)
      // Something may have been printed without a newline, and a frame after it.
      for (const from of start > 0 && /^\s{0,16}[{[]/.test(line) ? [0, start] : [start]) {
        if (from < 0) continue;
        try {
          const value = parseJson(from === 0 ? line : line.slice(from));
          if (!isEnvelope(Array.isArray(value) ? value[0] : value)) return this.#stray(line);
          if (from > 0) this.#stray(line.slice(0, from));
          return receiver.frame(value);
        } catch (error) {
          what = (error as PubSubError).message;
        }
      }
    if (start < 0) this.#stray(line);
    // Whoever sends more than it was told keeps no count that could be trusted, as with any other pipe.
    else if (problem === "length") receiver.frame(tooLong(line, receiver.maxFrame));
    else receiver.damaged(new PubSubError("MALFORMED", `A line that held a frame is broken. ${what}`));
  }

  #stray(line: string): void {
    if (this.#onStray === undefined) {
      if (line === "") return;
      this.#receiver?.error(
        new PubSubError(
          "MALFORMED",
          `The other side printed a line that is no frame: ${excerpt(line)}. Give onStray to take such lines.`,
        ),
      );
      return;
    }
    try {
      this.#onStray(line);
    } catch (error) {
      this.#receiver?.error(error);
    }
  }
}
