import { excerpt } from "@alkdev/pubsub/transport";

/** The codes of a broker's errors: those of JSON-RPC 2.0, and the broker's own. */
export const CODES = {
  /** The message is not JSON. */
  PARSE: -32_700,
  /** It is JSON, and no JSON-RPC 2.0 request. */
  INVALID_REQUEST: -32_600,
  UNKNOWN_METHOD: -32_601,
  INVALID_PARAMS: -32_602,
  INTERNAL: -32_603,
  /** The tool ran and failed; code, message and data are the provider's where it gave them. */
  TOOL_FAILED: -32_000,
  /** Nothing but hello and authenticate goes before authentication; or authentication failed. */
  UNAUTHENTICATED: -32_001,
  /** The key may not join that network, or has not joined it. */
  UNAUTHORISED: -32_002,
  /** No agent that the caller can see has such a tool. */
  UNKNOWN_TOOL: -32_003,
  /** Another key's live agent holds a tool of that name. */
  TAKEN: -32_004,
  /** A limit of the broker's. */
  LIMIT: -32_005,
  CANCELLED: -32_006,
  /** The provider went away; the tool may have run. */
  GONE: -32_007,
  /** The backplane failed; what was asked for may have been done. */
  UNAVAILABLE: -32_008,
  /** The provider did not answer in the time that the broker allows a call; the tool may have run. */
  TIMEOUT: -32_009,
} as const;

/** An error as JSON-RPC carries it. */
export interface RpcErrorObject {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
}

/** What a request is answered with when it fails. */
export class RpcError extends Error {
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }

  toObject(): RpcErrorObject {
    return { code: this.code, message: this.message, ...(this.data !== undefined && { data: this.data }) };
  }
}

export type RpcId = string | number;
export type Params = Readonly<Record<string, unknown>>;

/** What came: a request (a notification where it has no id), or the answer to one of ours. */
export type Incoming =
  | { readonly kind: "request"; readonly id: RpcId | undefined; readonly method: string; readonly params: Params }
  | { readonly kind: "answer"; readonly id: RpcId; readonly outcome: Outcome };

/** How a call ended. */
export type Outcome =
  | { readonly result: unknown; readonly error?: undefined }
  | { readonly error: RpcErrorObject; readonly result?: undefined };

/** A message that is none: the error to answer with, and the id if it had one. */
export class BadMessage extends RpcError {
  readonly id: RpcId | null;

  constructor(code: number, message: string, id: RpcId | null = null) {
    super(code, message);
    this.id = id;
  }
}

/** @throws BadMessage */
export function parseMessage(text: string): Incoming {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadMessage(CODES.PARSE, `Not JSON: ${excerpt(text)}.`);
  }
  if (Array.isArray(value))
    throw new BadMessage(CODES.INVALID_REQUEST, "Batches are not taken; send each request as a message of its own.");
  if (!isObject(value)) throw new BadMessage(CODES.INVALID_REQUEST, `Not a request: ${excerpt(text)}.`);
  const { jsonrpc, id, method, params = {} } = value;
  const known = isId(id) ? id : null;
  if (jsonrpc !== "2.0")
    throw new BadMessage(CODES.INVALID_REQUEST, `The member jsonrpc must be "2.0", not ${excerpt(jsonrpc)}.`, known);
  if (id !== undefined && known === null)
    throw new BadMessage(CODES.INVALID_REQUEST, `An id is a string or a number, not ${excerpt(id)}.`);
  if (method === undefined && known !== null && ("result" in value || "error" in value))
    return { kind: "answer", id: known, outcome: outcomeOf(value) };
  if (typeof method !== "string")
    throw new BadMessage(CODES.INVALID_REQUEST, `The member method must be a string, not ${excerpt(method)}.`, known);
  if (!isObject(params))
    throw new BadMessage(CODES.INVALID_PARAMS, `The member params must be an object, not ${excerpt(params)}.`, known);
  return { kind: "request", id: known ?? undefined, method, params };
}

/** How the answer to a call, or the params that stand for one, say that it ended. */
export function outcomeOf({ result, error }: Params): Outcome {
  if (error === undefined || error === null) return { result: result ?? null };
  if (!isObject(error)) return { error: { code: CODES.TOOL_FAILED, message: words(error) } };
  const { code, message, data } = error;
  return {
    error: {
      code: Number.isSafeInteger(code) ? (code as number) : CODES.TOOL_FAILED,
      message: words(message),
      ...(data !== undefined && { data }),
    },
  };
}

function words(message: unknown): string {
  return typeof message === "string" ? message : excerpt(message);
}

export function isObject(value: unknown): value is Params {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isId(value: unknown): value is RpcId {
  return typeof value === "string" || (typeof value === "number" && Number.isFinite(value));
}
