import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { deadline } from "@alkdev/pubsub/transport";

/** Milliseconds that a child has to take its leave, to end after its input has, and to end after SIGTERM. */
export const GRACE = 2000;

export interface ChildOptions {
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string>> | undefined;
}

/** Starts an ability with pipes to its standard input and output. What goes wrong with that is an `error` of the child. */
export function startChild(command: string, args: readonly string[], { cwd, env }: ChildOptions): ChildProcess {
  return spawn(command, [...args], {
    stdio: ["pipe", "pipe", "inherit"],
    ...(cwd !== undefined && { cwd }),
    // Programs that can serve in several ways learn from it which is wanted.
    env: { ...process.env, KADI_MODE: "stdio", ...env },
  });
}

/** Waits until a child whose input was closed has ended; one that does not is told to, and then made to. */
export async function endChild(child: ChildProcess): Promise<void> {
  // Without a pid it has never run.
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  const stopTerm = deadline(GRACE, () => child.kill("SIGTERM"));
  const stopKill = deadline(2 * GRACE, () => child.kill("SIGKILL"));
  await exited;
  stopTerm();
  stopKill();
}
