import type { Gap } from "./transport.ts";

/** What went wrong, as a word that programs can compare. Each is a heading in `docs/errors.md`. */
export type PubSubErrorCode =
  | "CLOSED"
  | "DISCONNECTED"
  | "GAP"
  | "INTERRUPTED"
  | "INVALID_OPTION"
  | "INVALID_TOPIC"
  | "LIMIT"
  | "MALFORMED"
  | "NOT_READY"
  | "OVERFLOW"
  | "PAYLOAD"
  | "REFUSED"
  | "TIMEOUT"
  | "UNSUPPORTED"
  | "VERSION";

/**
 * The one error class of the library: a literal `code`, the `cause` where there is one, and a message that says what
 * to do next.
 *
 * @example
 * try {
 *   await pubsub.publish("session.status", "proj_123", { status: "busy" });
 * } catch (error) {
 *   if (error instanceof PubSubError && error.code === "INTERRUPTED") await retryLater();
 * }
 */
export class PubSubError extends Error {
  readonly code: PubSubErrorCode;
  /** The loss that a `GAP` error reports; undefined for every other code. */
  readonly gap: Gap | undefined;

  constructor(code: PubSubErrorCode, message: string, options: { cause?: unknown; gap?: Gap } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.gap = options.gap;
  }

  // Minifiers rename classes; the name in a stack trace should not depend on that.
  static {
    Object.defineProperty(this, "name", { value: "PubSubError" });
  }
}

/** A type, id or pattern that cannot be a topic (`code: 'INVALID_TOPIC'`); nothing was sent. */
export class InvalidTopicError extends PubSubError {
  /** The type, pattern or id as it was given. */
  readonly topic: string;

  constructor(topic: string, message: string) {
    super("INVALID_TOPIC", message);
    this.topic = topic;
  }

  static {
    Object.defineProperty(this, "name", { value: "InvalidTopicError" });
  }
}

/** A payload that cannot be carried (`code: 'PAYLOAD'`): only this one publish failed. */
export class PayloadError extends PubSubError {
  readonly type: string;
  readonly id: string;
  /** Where in the payload the problem is; empty where it is the payload as a whole. */
  readonly path: readonly PropertyKey[];

  constructor(
    type: string,
    id: string,
    message: string,
    options: { cause?: unknown; path?: readonly PropertyKey[] } = {},
  ) {
    super("PAYLOAD", `${message} (topic ${formatTopic(type, id)})`, options);
    this.type = type;
    this.id = id;
    this.path = options.path ?? [];
  }

  static {
    Object.defineProperty(this, "name", { value: "PayloadError" });
  }
}

/** Why `undefined` is no payload. */
export function undefinedPayload(type: string, id: string): PayloadError {
  return new PayloadError(type, id, "undefined cannot be published, because JSON cannot carry it; use null");
}

/** The beginning of anything, for messages; never throws and never grows with its input. */
export function excerpt(value: unknown): string {
  if (value === undefined) return "undefined";
  let text: string | undefined;
  try {
    text = typeof value === "string" ? JSON.stringify(value.slice(0, 100)) : JSON.stringify(value)?.slice(0, 100);
  } catch {
    // Circular, a bigint or otherwise unprintable: its kind must do.
  }
  return text ?? Object.prototype.toString.call(value);
}

/** A topic as text: `type:id`, or the bare type where the id is empty. */
export function formatTopic(type: string, id: string | undefined): string {
  return id === undefined || id === "" ? type : `${type}:${id}`;
}

/**
 * Hands an error that nobody asked for to the host, the way `EventTarget` does for a listener that throws: as an
 * uncaught error, after the current task, so that it stops no other listener.
 */
function reportUncaught(error: unknown): void {
  const host = globalThis as { reportError?: (error: unknown) => void };
  if (typeof host.reportError === "function") host.reportError(error);
  else
    queueMicrotask(() => {
      throw error;
    });
}

/** Calls `onError` if there is one, else reports; an `onError` that throws is reported as well. */
export function report(error: unknown, onError: ((error: unknown) => void) | undefined): void {
  if (onError === undefined) return reportUncaught(error);
  try {
    onError(error);
  } catch (thrown) {
    reportUncaught(thrown);
  }
}

/** An error of a client library as one of ours; one that is already stays as it is. */
export function ours(code: "NOT_READY" | "REFUSED", what: string, error: unknown): PubSubError {
  return error instanceof PubSubError ? error : new PubSubError(code, `${what}: ${describe(error)}.`, { cause: error });
}

/** What went wrong, in the words of whoever said so. */
export function describe(cause: unknown): string {
  // Several addresses of one name make an error without words, of those that have some.
  if (cause instanceof AggregateError && cause.message === "") return describe(cause.errors[0]);
  // It becomes part of a sentence that has a full stop of its own.
  return (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, "");
}

/** An address as messages show it. */
export function withoutPassword(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^/]*@/i, "$1");
}
