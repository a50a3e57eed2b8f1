import type { ChildProcess } from "node:child_process";
import process from "node:process";
import { OperationError } from "@alkdev/operations";
import { PubSubError } from "@alkdev/pubsub";
import { onAbort } from "@alkdev/pubsub/transport";
import { ChildExitError, createStdioEventTarget } from "@alkdev/pubsub/event-target-stdio";
import { commandOf, findAbility } from "../agent-json.ts";
import type { LoadedAbility, LoadStdioOptions, ToolCallOptions } from "../client-api.ts";
import type { Source } from "../sources.ts";
import { Subscriptions } from "../subscriptions.ts";
import { createAbility } from "./ability.ts";
import type { AbilityHost } from "./ability.ts";
import { ToolCalls } from "./calls.ts";
import { endChild, GRACE, startChild } from "./child.ts";

/** Milliseconds in which an ability must serve; whoever compiles as it starts takes its time. */
const START = 30_000;

/**
 * Starts an ability as a child process and loads it over its standard input and output.
 *
 * @param signal aborted where nobody waits for it any more; it is ended then
 * @throws PubSubError `INVALID_OPTION` where there is none; OperationError where it does not start to serve; as rejections, in
 * time: ending a program takes longer, and is the host's to wait for
 */
export async function loadStdio(
  name: string,
  options: LoadStdioOptions,
  host: AbilityHost,
  signal: AbortSignal,
): Promise<LoadedAbility> {
  const { events } = host;
  const report = (error: unknown): void => host.report(error);
  const { command, args, cwd } = howToStart(name, options);
  const child = startChild(command, args, { cwd, env: options.env });
  const { timeout = START, onOutput = (line: string) => void process.stderr.write(`${name}: ${line}\n`) } = options;
  const eventTarget = createStdioEventTarget(child, {
    onStray: (line) => {
      if (line !== "") onOutput(line);
    },
    onError: report,
    // The time that it has to serve is what counts, and is told.
    connectTimeout: timeout + GRACE,
    subscribeTimeout: timeout + GRACE,
    closeTimeout: GRACE,
  });
  const source: Source = { name, transport: "stdio", eventTarget };
  const calls = new ToolCalls(eventTarget, report);
  const subscriptions = new Subscriptions(false, report);
  let ending: Promise<void> | undefined;
  const end = (): Promise<void> => {
    events.detach(source);
    subscriptions.detach(source);
    return (ending ??= close());
  };
  const close = async (): Promise<void> => {
    // One that never listened is asked for nothing more.
    if (eventTarget.status === "ready") await calls.close();
    await eventTarget.close();
    await Promise.all([calls.close(), endChild(child)]);
  };
  // What a call fails with depends on who hears first of the end; why it ended does not.
  let gone: { readonly cause: unknown } | undefined;
  eventTarget.onStatus((status, cause) => {
    if (status === "closed" && ending === undefined) gone = { cause };
  });
  const started = [command, ...args].join(" ");
  const stopSignal = onAbort(signal, () => host.ending(end()));
  try {
    const tools = await calls.list(started, timeout).catch((error: unknown) => {
      if (error instanceof OperationError && error.code === "TIMEOUT")
        throw new OperationError("TIMEOUT", `The ability ${name} did not serve within ${timeout} ms (${started}).`);
      throw explained(name, `it did not start to serve (${started})`, error);
    });
    await Promise.all([events.attach(source), subscriptions.attach(source)]);
    const call = (tool: string, input: unknown, callOptions?: ToolCallOptions): Promise<unknown> =>
      calls.call(tool, input, callOptions).catch((error: unknown) => {
        const isCut = error instanceof PubSubError ? error.code === "CLOSED" : isAborted(error, callOptions?.signal);
        if (isCut && gone !== undefined) throw unavailable(name, "it is gone", endIn(gone.cause) ?? endOf(child));
        throw explained(name, "it is gone", error);
      });
    const ability = createAbility({ name, transport: "stdio", tools, subscriptions, call, end }, host);
    // When it has crashed, those who wait and those who are subscribed have been told by now.
    void eventTarget.closed.then(() => {
      if (gone === undefined) return;
      host.died(ability);
      host.ending(end());
    });
    return ability;
  } catch (error) {
    // Whoever waits is told in time; ending a program that does not listen takes longer.
    host.ending(end());
    throw error;
  } finally {
    stopSignal();
  }
}

function howToStart(
  name: string,
  { command, args = [], cwd, path }: LoadStdioOptions,
): { readonly command: string; readonly args: readonly string[]; readonly cwd: string | undefined } {
  if (command !== undefined) return { command, args, cwd: cwd ?? path };
  const place = findAbility(name, path);
  const [first, ...words] = commandOf(place);
  return { command: first, args: [...words, ...args], cwd: cwd ?? place.folder };
}

/** Whether it was aborted, and not by the caller. */
function isAborted(error: unknown, signal: AbortSignal | undefined): boolean {
  return error instanceof OperationError && error.code === "ABORTED" && signal?.aborted !== true;
}

/** What ended the process, where that is why a call failed: those who wait want to know it first. */
function explained(name: string, what: string, error: unknown): unknown {
  const end = endIn(error);
  return end === undefined ? error : unavailable(name, what, end);
}

function endIn(error: unknown): Error | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof ChildExitError || "syscall" in cause) return cause;
  return undefined;
}

function unavailable(name: string, what: string, cause: Error): OperationError {
  const { exitCode = null, signal = null, message } = cause as Partial<ChildExitError> & Error;
  return new OperationError("UNAVAILABLE", `The ability ${name} did not answer, ${what}: ${message}.`, {
    cause,
    details: { exitCode, signal },
    retryable: true,
  });
}

/** How a child ended that has said goodbye, and may still be at it. */
function endOf({ exitCode, signalCode }: ChildProcess): Error {
  return exitCode === null && signalCode === null
    ? new Error("it has disconnected")
    : new ChildExitError(exitCode, signalCode);
}
