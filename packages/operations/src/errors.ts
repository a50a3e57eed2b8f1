import { PayloadError, PubSubError } from "@alkdev/pubsub";

/** What became of a call, as a word that programs can compare. `docs/architecture/operations.md` says more of each. */
export type OperationErrorCode =
  | "ABORTED"
  | "ACCESS_DENIED"
  | "HANDLER_ERROR"
  | "INVALID_INPUT"
  | "OPERATION_NOT_FOUND"
  | "TIMEOUT"
  | "UNAVAILABLE";

/**
 * Why a call failed. It travels: what a handler throws of this class reaches the caller with its code, message, details
 * and `retryable`; any other error reaches it as `HANDLER_ERROR` with the message alone.
 *
 * @example
 * await operations.handle("stock.take", ({ count }) => {
 *   if (count > left) throw new OperationError("OUT_OF_STOCK", `Only ${left} are left.`, { details: { left } });
 * });
 */
export class OperationError extends Error {
  /** One of the library's own codes, or a handler's. */
  readonly code: OperationErrorCode | (string & {});
  /** What the handler adds, in terms of its own; undefined where it adds nothing. */
  readonly details: unknown;
  /** Whether the same call may succeed if it is made again. Says nothing of whether this one was carried out. */
  readonly retryable: boolean;

  constructor(
    code: OperationErrorCode | (string & {}),
    message: string,
    options: { readonly cause?: unknown; readonly details?: unknown; readonly retryable?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "OperationError";
    this.code = code;
    this.details = options.details;
    this.retryable = options.retryable ?? false;
  }
}

/** The other side is gone, or an answer may be. */
export function unavailable(message: string, cause?: unknown): OperationError {
  return new OperationError("UNAVAILABLE", message, { cause, retryable: true });
}

/** What a request that could not be sent is to its caller. */
export function unsent(name: string, error: unknown): unknown {
  // A payload is the caller's own mistake, and no other call's.
  if (error instanceof PayloadError || error instanceof OperationError) return error;
  if (error instanceof PubSubError && error.code === "REFUSED")
    return new OperationError("ACCESS_DENIED", `The request for ${name} was refused: ${error.message}`, {
      cause: error,
    });
  return unavailable(`The request for ${name} could not be sent: ${messageOf(error)}`, error);
}

/** What an error says; never its stack, which is nobody else's business. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message;
  return typeof error === "string" ? error : "The handler threw what is no Error.";
}
