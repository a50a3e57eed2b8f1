import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createHubServer } from "@alkdev/hub";
import type { HubServer } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import { afterEach } from "vitest";

export const BIN: string = fileURLToPath(new URL("../bin/pubsub.js", import.meta.url));

const ends: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A `pubsub` process and what it has written so far. */
export class Run {
  readonly child: ChildProcessWithoutNullStreams;
  stdout = "";
  stderr = "";
  /** The exit code, or the name of the signal that ended it. */
  readonly ended: Promise<number | string>;
  #isOver = false;
  readonly #looks = new Set<() => void>();

  constructor(child: ChildProcessWithoutNullStreams, readStdout: boolean) {
    this.child = child;
    if (readStdout) this.read();
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#look();
    });
    child.stdin.on("error", () => undefined);
    this.ended = once(child, readStdout ? "close" : "exit").then(([code, signal]) => {
      this.#isOver = true;
      this.#look();
      return (code ?? signal) as number | string;
    });
    ends.push(() => {
      child.kill("SIGKILL");
    });
  }

  read(): void {
    this.child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#look();
    });
  }

  get lines(): string[] {
    return this.stdout.split("\n").slice(0, -1);
  }

  /** Waits until it has written what matches; fails with all it has written if it ends before. */
  async said(where: "stdout" | "stderr", what: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = what.exec(this[where]);
      if (match !== null) return match;
      if (this.#isOver) throw new Error(`no ${String(what)} on ${where}:\n${this.stdout}\n${this.stderr}`);
      await new Promise<void>((resolve) => this.#looks.add(resolve));
    }
  }

  #look(): void {
    for (const look of this.#looks) look();
    this.#looks.clear();
  }
}

export interface RunOptions {
  readonly env?: Record<string, string>;
  /** Written to stdin, which then ends; without, stdin stays open. */
  readonly input?: string;
  /** Whether stdout is read from the beginning. Default true. */
  readonly readStdout?: boolean;
}

/** Starts `pubsub` with these arguments. */
export function pubsub(args: readonly string[], options: RunOptions = {}): Run {
  return start(process.execPath, [BIN, ...args], options);
}

/** Starts any command, in an environment that says nothing of hubs and colours. */
export function start(command: string, args: readonly string[], options: RunOptions = {}): Run {
  const env: NodeJS.ProcessEnv = { ...process.env };
  for (const name of ["PUBSUB_URL", "PUBSUB_BACKPLANE", "KADI_BACKPLANE", "NO_COLOR", "FORCE_COLOR", "CI"])
    delete env[name];
  const run = new Run(spawn(command, args, { env: { ...env, ...options.env } }), options.readStdout ?? true);
  if (options.input !== undefined) run.child.stdin.end(options.input);
  return run;
}

/** A hub in this process, and a PubSub at its own place. */
export async function hubHere(port = 0): Promise<{ server: HubServer; url: string; events: PubSub }> {
  const server = await createHubServer({ port });
  ends.push(() => server.close());
  return { server, url: server.url, events: createPubSub({ eventTarget: server.hub.eventTarget }) };
}
