// Calls of tools at a broker, with the errors that they have on every other way.
import { OperationError } from "@alkdev/operations";
import type { OperationErrorCode } from "@alkdev/operations";
import { PubSubError } from "@alkdev/pubsub";
import type { BrokerConnection } from "./broker-connection.ts";
import type { ToolCallOptions } from "./client-api.ts";
import { CODES, isObject, RpcError } from "./json-rpc.ts";
import { toJson } from "./tool-json.ts";
import type { Carrier } from "./tool-json.ts";

/** Milliseconds that a call may take. */
const TIMEOUT = 30_000;

/** The way to a broker, which takes messages up to a size. */
export function carrierOf({ eventTarget: { supports } }: BrokerConnection): Carrier | undefined {
  return supports.maxPayload === undefined ? undefined : { name: "the broker", limit: supports.maxPayload };
}

/** Calls a tool at a broker. @throws OperationError, PubSubError, as rejections */
export async function callAt(
  connection: BrokerConnection,
  target: string | undefined,
  tool: string,
  input: unknown,
  { signal, timeout = TIMEOUT }: ToolCallOptions,
): Promise<unknown> {
  const toolInput = toJson(input, "INVALID_INPUT", `The input of ${tool}`, carrierOf(connection));
  try {
    return await connection.call(tool, toolInput, {
      ...(target !== undefined && { targetAgent: target }),
      ...(signal !== undefined && { signal }),
      ...(timeout !== Infinity && { timeout }),
    });
  } catch (error) {
    throw fromRpc(tool, error, signal);
  }
}

/** What a tool's failure is on the wire: its code and details go with it. */
export function toRpc(error: unknown): RpcError {
  const { code, message, details, retryable } =
    error instanceof OperationError ? error : new OperationError("HANDLER_ERROR", String(error));
  return new RpcError(CODES.TOOL_FAILED, message, { code, retryable, ...(details !== undefined && { details }) });
}

/** The same error as on every other way. */
function fromRpc(tool: string, error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true)
    return new OperationError("ABORTED", `The call of ${tool} was aborted.`, { cause: signal.reason });
  if (error instanceof PubSubError && error.code === "TIMEOUT")
    return new OperationError("TIMEOUT", `${tool} was not answered in time.`, { cause: error });
  if (error instanceof PubSubError && error.code === "DISCONNECTED")
    return new OperationError("UNAVAILABLE", `${tool} may not have been answered: ${error.message}`, {
      cause: error,
      retryable: true,
    });
  if (!(error instanceof RpcError)) return error;
  const { code, details, retryable } = isObject(error.data) ? error.data : {};
  // Also the broker's own word, where it knows what that is to a caller.
  if ((error.code === CODES.TOOL_FAILED || error.code === CODES.LIMIT) && typeof code === "string")
    return new OperationError(code, error.message, { cause: error, details, retryable: retryable === true });
  const known = MEANINGS.get(error.code);
  return new OperationError(known ?? "HANDLER_ERROR", error.message, {
    cause: error,
    details: error.data,
    retryable: known === "UNAVAILABLE",
  });
}

const MEANINGS: ReadonlyMap<number, OperationErrorCode> = new Map<number, OperationErrorCode>([
  [CODES.UNKNOWN_TOOL, "OPERATION_NOT_FOUND"],
  [CODES.CANCELLED, "ABORTED"],
  [CODES.TIMEOUT, "TIMEOUT"],
  [CODES.UNAUTHORISED, "ACCESS_DENIED"],
  [CODES.INVALID_PARAMS, "INVALID_INPUT"],
  [CODES.LIMIT, "UNAVAILABLE"],
  [CODES.GONE, "UNAVAILABLE"],
  [CODES.UNAVAILABLE, "UNAVAILABLE"],
]);
