import process from "node:process";
import { bridge } from "@alkdev/pubsub";
import type { Bridge } from "@alkdev/pubsub";
import { createParentProcessEventTarget } from "@alkdev/pubsub/event-target-stdio";
import { quietDeadline } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { ToolCalls } from "./abilities/calls.ts";
import type { AbilityDescription } from "./abilities/calls.ts";
import { ALL_EVENTS } from "./channels.ts";
import type { Follower, Source, Sources } from "./sources.ts";
import type { Tools } from "./tools.ts";

/** Milliseconds that a program has to end by itself, once it was told to stop serving. */
const GRACE = 5000;

/** An end of the pipe to the process that started this one. */
export interface Served {
  /** Resolves when that process is gone, or has closed the pipe. */
  readonly gone: Promise<void>;
  close(): Promise<void>;
}

/** Answers calls of the process that started this one, and passes it the events of all sources. */
export async function serveParent(
  about: AbilityDescription,
  tools: Tools,
  sources: Sources,
  report: (error: unknown) => void,
): Promise<Served> {
  const eventTarget = createParentProcessEventTarget({ onError: report });
  const relay = new Relay(eventTarget, report);
  // Whoever knows the tools of this ability may rely on its events.
  const unfollow = await sources.follow(relay);
  const calls = new ToolCalls(eventTarget, report);
  await calls.serve(about, tools);
  return {
    gone: eventTarget.closed,
    close: async () => {
      unfollow();
      await calls.close();
      await eventTarget.close();
    },
  };
}

/** Passes on the events of all sources. */
class Relay implements Follower {
  readonly #to: AlkEventTarget;
  readonly #report: (error: unknown) => void;
  readonly #bridges = new Map<AlkEventTarget, Promise<Bridge>>();

  constructor(to: AlkEventTarget, report: (error: unknown) => void) {
    this.#to = to;
    this.#report = report;
  }

  async attach({ eventTarget }: Source): Promise<void> {
    const joined = bridge(eventTarget, this.#to, {
      types: [ALL_EVENTS],
      direction: "forward",
      onError: this.#report,
    });
    this.#bridges.set(eventTarget, joined);
    await joined;
  }

  detach({ eventTarget }: Source): void {
    const joined = this.#bridges.get(eventTarget);
    this.#bridges.delete(eventTarget);
    joined?.then((each) => each.close()).catch(this.#report);
  }
}

/**
 * Calls back once on SIGINT or SIGTERM. A program that has not ended some seconds later is ended as if nobody had listened.
 *
 * @returns what stops it
 */
export function onStopSignal(stop: () => void): () => void {
  const signals = ["SIGINT", "SIGTERM"] as const;
  const told = (signal: "SIGINT" | "SIGTERM"): void => {
    ignore();
    stop();
    endLater(signal);
  };
  const ignore = (): void => {
    for (const signal of signals) process.off(signal, told);
  };
  for (const signal of signals) process.on(signal, told);
  return ignore;
}

/** Whoever was started to serve has no business without those that it serves: what still holds the process is given up. */
export function endLater(signal: "SIGINT" | "SIGTERM" = "SIGTERM"): void {
  quietDeadline(GRACE, () => process.kill(process.pid, signal));
}
