import { excerpt, PubSubError } from "./errors.ts";

/** @throws PubSubError `INVALID_OPTION` */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && (typeof signal?.aborted !== "boolean" || typeof signal.addEventListener !== "function"))
    throw new PubSubError(
      "INVALID_OPTION",
      `signal must be an AbortSignal, not ${excerpt(signal)}; pass the signal of an AbortController, not the controller.`,
    );
}

/** Calls back when the signal is aborted, once; never again after the returned function was called. */
export function onAbort(signal: AbortSignal, abort: () => void): () => void {
  allowListeners(signal);
  signal.addEventListener("abort", abort, { once: true });
  return () => signal.removeEventListener("abort", abort);
}

/**
 * Node warns of a leak at the eleventh listener of one type. One target, or one signal, may serve any number of
 * subscriptions here, and each lets go of it when it ends.
 */
export function allowListeners(target: EventTarget): void {
  events ??= nodeEvents();
  // What merely behaves like an EventTarget has no such limit, and Node refuses to set it.
  if (target instanceof EventTarget) events?.setMaxListeners(0, target);
}

interface NodeEvents {
  setMaxListeners(limit: number, target: EventTarget): void;
}

let events: NodeEvents | undefined;

function nodeEvents(): NodeEvents | undefined {
  const host = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  return host.process?.getBuiltinModule?.("node:events") as NodeEvents | undefined;
}
