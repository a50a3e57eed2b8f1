import process from "node:process";
import { OperationError } from "@alkdev/operations";
import { PubSubError } from "@alkdev/pubsub";
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
 * @throws PubSubError `INVALID_OPTION` where there is none; OperationError where it does not start to serve; as rejections
 */
export async function loadStdio(name: string, options: LoadStdioOptions, host: AbilityHost): Promise<LoadedAbility> {
  const { events } = host;
  const report = (error: unknown): void => host.report(error);
  const { command, args, cwd } = howToStart(name, options);
  const child = startChild(command, args, { cwd, env: options.env });
  const { onOutput = (line: string) => void process.stderr.write(`${name}: ${line}\n`) } = options;
  const eventTarget = createStdioEventTarget(child, {
    onStray: (line) => {
      if (line !== "") onOutput(line);
    },
    onError: report,
    closeTimeout: GRACE,
  });
  // What a call fails with depends on who hears first of the end; why it ended does not.
  let gone: unknown;
  eventTarget.onStatus((status, cause) => {
    if (status === "closed") gone = cause;
  });
  const source: Source = { name, transport: "stdio", eventTarget };
  const calls = new ToolCalls(eventTarget, report);
  const subscriptions = new Subscriptions(false, report);
  const end = async (): Promise<void> => {
    events.detach(source);
    subscriptions.detach(source);
    await calls.close();
    await eventTarget.close();
    await endChild(child);
  };
  try {
    const tools = await calls.list(options.timeout ?? START).catch((error: unknown) => {
      throw explained(name, `it did not start to serve (${[command, ...args].join(" ")})`, error);
    });
    await Promise.all([events.attach(source), subscriptions.attach(source)]);
    const call = (tool: string, input: unknown, callOptions?: ToolCallOptions): Promise<unknown> =>
      calls.call(tool, input, callOptions).catch((error: unknown) => {
        const isCut = error instanceof PubSubError ? error.code === "CLOSED" : isAborted(error, callOptions?.signal);
        throw explained(name, "it is gone", isCut ? (gone ?? error) : error);
      });
    const ability = createAbility({ name, transport: "stdio", tools, subscriptions, call, end }, host);
    // When it has crashed, those who wait and those who are subscribed have been told by now.
    void eventTarget.closed.then(() => ability.disconnect());
    return ability;
  } catch (error) {
    await end();
    throw error;
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
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof ChildExitError || "syscall" in cause) {
      const { exitCode = null, signal = null } = cause as Partial<ChildExitError>;
      return new OperationError("UNAVAILABLE", `The ability ${name} did not answer, ${what}: ${cause.message}.`, {
        cause,
        details: { exitCode, signal },
        retryable: true,
      });
    }
  return error;
}
