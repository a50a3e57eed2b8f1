/**
 * Event targets between a thread and its workers: Node's `worker_threads` and Web Workers.
 *
 * Frames are structured clones, so payloads may hold what the algorithm copies (maps, dates, typed arrays); functions
 * are a `PayloadError`. A worker that is terminated, or exits, ends the target: subscriptions drain, then throw
 * `DISCONNECTED`. (A Web Worker's end cannot be seen from outside; call `close()` beside `terminate()`.)
 */
import type { Channel, ChannelReceiver } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import { PubSubError } from "../errors.ts";
import { defineEventTarget } from "../event-target.ts";
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { connectLink } from "../link/link.ts";
import type { LinkOptions } from "../link/link.ts";

/** Options of the worker event targets. */
export interface WorkerEventTargetOptions extends EventTargetOptions, Omit<LinkOptions, "reattach" | "echo"> {}

/** A Web Worker, or the global scope of one: the part of it that is used. */
export interface WebPort {
  postMessage(message: unknown): void;
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  removeEventListener(type: string, listener: (event: MessageEvent) => void): void;
}

/** A `Worker`, `MessagePort` or `parentPort` of `node:worker_threads`: the part of it that is used. */
export interface NodePort {
  postMessage(message: unknown): void;
  on(event: string, listener: (value: unknown) => void): unknown;
  off(event: string, listener: (value: unknown) => void): unknown;
}

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

function overChannel<TEvent extends TypedEvent>(
  channel: Channel,
  options: WorkerEventTargetOptions,
): AlkEventTarget<TEvent> {
  const link = connectLink(options);
  link.attach(channel);
  return defineEventTarget<TEvent>(link, { ...options, eager: true });
}

/** The pipe to a worker, or from inside one to its parent: for a hub, or for `connectLink`. */
export function workerChannel(port: NodePort | WebPort): Channel {
  return "addEventListener" in port && !("on" in port) ? webChannel(port) : nodeChannel(port as NodePort);
}

function nodeChannel(port: NodePort): Channel {
  let receiver: ChannelReceiver | undefined;
  const message = (data: unknown): void => receiver?.frame(data);
  const broken = (cause: unknown): void =>
    receiver?.frame(new PubSubError("MALFORMED", "A message that cannot be deserialised.", { cause }));
  const over = (cause: unknown): void => {
    const told = receiver;
    close();
    told?.closed(typeof cause === "number" ? new Error(`the worker exited with code ${cause}`) : cause);
  };
  const close = (): void => {
    receiver = undefined;
    port.off("message", message);
    port.off("messageerror", broken);
    port.off("exit", over);
    port.off("close", over);
  };
  return {
    encoding: "clone",
    heartbeat: 0,
    buffered: 0,
    open(opened) {
      receiver = opened;
      port.on("message", message);
      port.on("messageerror", broken);
      // A Worker exits, a parentPort closes. No listener for a worker's "error": with one, a crash would look handled.
      port.on("exit", over);
      port.on("close", over);
    },
    send: (frame) => port.postMessage(frame),
    close,
  };
}

function webChannel(port: WebPort): Channel {
  let receiver: ChannelReceiver | undefined;
  const message = (event: MessageEvent): void => receiver?.frame(event.data);
  const broken = (): void => receiver?.frame(new PubSubError("MALFORMED", "A message that cannot be deserialised."));
  return {
    encoding: "clone",
    heartbeat: 0,
    buffered: 0,
    open(opened) {
      receiver = opened;
      port.addEventListener("message", message);
      port.addEventListener("messageerror", broken);
    },
    send: (frame) => port.postMessage(frame),
    close() {
      receiver = undefined;
      port.removeEventListener("message", message);
      port.removeEventListener("messageerror", broken);
    },
  };
}

interface WorkerThreads {
  readonly parentPort: NodePort | null;
}

function parentPort(): NodePort | WebPort {
  const host = globalThis as {
    process?: { getBuiltinModule?: (name: string) => unknown };
    WorkerGlobalScope?: unknown;
  };
  const threads = host.process?.getBuiltinModule?.("node:worker_threads") as WorkerThreads | undefined;
  if (threads !== undefined && threads.parentPort !== null) return threads.parentPort;
  if (threads === undefined && host.WorkerGlobalScope !== undefined) return globalThis;
  throw new PubSubError(
    "UNSUPPORTED",
    "createMainThreadEventTarget() works inside a worker. In the main thread, call createWorkerEventTarget(worker).",
  );
}
