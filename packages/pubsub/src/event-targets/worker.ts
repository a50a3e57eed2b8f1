/**
 * Event targets between a thread and its workers: Node's `worker_threads` and Web Workers.
 *
 * Frames are structured clones, so payloads may hold what the algorithm copies (maps, dates, typed arrays); functions
 * are a `PayloadError`. A worker that is terminated, or exits, ends the target: subscriptions drain, then throw
 * `DISCONNECTED`. (A Web Worker's end cannot be seen from outside, but in Bun; call `close()` beside `terminate()`.)
 */
import type { Channel } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import { PubSubError } from "../errors.ts";
import type { AlkEventTarget } from "../event-target.ts";
import { overChannel } from "../link/link.ts";
import type { ChannelEventTargetOptions } from "../link/link.ts";
import { portChannel } from "../link/port-channel.ts";
import type { NodePort, WebPort } from "../link/port-channel.ts";

export type { NodePort, WebPort } from "../link/port-channel.ts";

/** Options of the worker event targets. */
export interface WorkerEventTargetOptions extends ChannelEventTargetOptions {}

/**
 * The main thread's side: events to and from one worker.
 *
 * @param worker a `Worker` of `node:worker_threads` or of the web. One target a worker: two would answer each other's
 * handshake.
 * @example
 * const worker = new Worker(new URL("./worker.js", import.meta.url));
 * const pubsub = createPubSub({ eventTarget: createWorkerEventTarget(worker) });
 * await pubsub.subscribe("job.done");
 */
export function createWorkerEventTarget<TEvent extends TypedEvent = TypedEvent>(
  worker: NodePort | WebPort,
  options: WorkerEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  return overChannel(workerChannel(worker), options);
}

/**
 * The worker's side: events to and from the thread that started it.
 *
 * @param port by default the worker's own `parentPort` (Node) or global scope (web).
 * @throws PubSubError `UNSUPPORTED` outside a worker
 * @example
 * const pubsub = createPubSub({ eventTarget: createMainThreadEventTarget() });
 * await pubsub.on("job.requested", async ({ id, payload }) => pubsub.publish("job.done", id, await work(payload)));
 */
export function createMainThreadEventTarget<TEvent extends TypedEvent = TypedEvent>(
  options: WorkerEventTargetOptions & { readonly port?: NodePort | WebPort } = {},
): AlkEventTarget<TEvent> {
  const { port = parentPort(), ...rest } = options;
  return overChannel(workerChannel(port), rest);
}

/** The pipe to a worker, or from inside one to its parent: for a hub, or for `connectLink`. */
export function workerChannel(port: NodePort | WebPort): Channel {
  return portChannel(port);
}

interface WorkerThreads {
  readonly parentPort: NodePort | null;
}

function parentPort(): NodePort | WebPort {
  const host = globalThis as {
    process?: { getBuiltinModule?: (name: string) => unknown };
    WorkerGlobalScope?: new () => unknown;
  };
  const threads = host.process?.getBuiltinModule?.("node:worker_threads") as WorkerThreads | null | undefined;
  if (threads?.parentPort) return threads.parentPort;
  // The scope itself is asked: Deno's Web Workers have Node's modules too, and no parent there.
  if (typeof host.WorkerGlobalScope === "function" && globalThis instanceof host.WorkerGlobalScope) return globalThis;
  throw new PubSubError(
    "UNSUPPORTED",
    "createMainThreadEventTarget() works inside a worker. In the main thread, call createWorkerEventTarget(worker).",
  );
}
