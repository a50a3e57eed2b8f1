/** Calls back once after so many milliseconds, unless the returned function is called before. Keeps the process alive. */
export function deadline(milliseconds: number, late: () => void): () => void {
  // Past 2^31 ms a timer fires at once; whoever asks for that means never.
  if (milliseconds > 0x7fff_ffff) return () => undefined;
  const timer = setTimeout(late, milliseconds);
  return () => clearTimeout(timer);
}

/** Calls back again and again until stopped; does not keep the process alive. */
export function every(milliseconds: number, tick: () => void): () => void {
  const timer = setInterval(tick, milliseconds);
  unref(timer);
  return () => clearInterval(timer);
}

/** A deadline that does not keep the process alive. */
export function quietDeadline(milliseconds: number, late: () => void): () => void {
  if (milliseconds > 0x7fff_ffff) return () => undefined;
  const timer = setTimeout(late, milliseconds);
  unref(timer);
  return () => clearTimeout(timer);
}

function unref(timer: unknown): void {
  // Node's timers are objects that can be unref'd, browsers' are numbers.
  (timer as { unref?: () => void }).unref?.();
}

const host = globalThis as { setImmediate?: (task: () => void) => unknown };

/**
 * Runs a task once what has already arrived is handled: after the current turn of the event loop where the platform
 * can say so, else after the current task.
 */
export const afterArrivals: (task: () => void) => void =
  typeof host.setImmediate === "function" ? (task) => void host.setImmediate?.(task) : (task) => queueMicrotask(task);

/** 128 random bits as 32 hexadecimal digits; works in pages that are no secure context, where randomUUID is missing. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
