// What a tool takes and returns, as JSON: the same on every transport, those included that would carry more.
import { OperationError } from "@alkdev/operations";

/** What carries inputs and results to another process. */
export interface Carrier {
  /** As messages call it. */
  readonly name: string;
  /** Bytes that a message may have. */
  readonly limit: number;
}

/** Bytes that a message has beside the input or the result in it: names, ids, a deadline. */
const AROUND = 1024;

/**
 * What `JSON.stringify` makes of an input or a result: a `Date` is text, a `Map` is `{}`, `undefined` is null. In process that is a
 * copy; elsewhere the value itself, for what carries it makes it JSON.
 *
 * @param code which of the two it is
 * @param what as messages call it
 * @throws OperationError of that code, where it is not JSON or larger than its carrier takes
 */
export function toJson(
  value: unknown,
  code: "INVALID_INPUT" | "HANDLER_ERROR",
  what: string,
  carrier: Carrier | undefined,
): unknown {
  if (value === undefined) return null;
  if (typeof value === "function" || typeof value === "symbol")
    throw new OperationError(code, `${what} is not JSON: it is a ${typeof value}.`);
  let text: string;
  try {
    text = JSON.stringify(value) ?? "null";
  } catch (cause) {
    const [reason = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
    throw new OperationError(code, `${what} is not JSON: ${reason.replace(/\.$/, "")}.`, { cause });
  }
  if (carrier === undefined) return JSON.parse(text);
  const bytes = Buffer.byteLength(text);
  if (bytes + AROUND > carrier.limit) throw new OperationError(code, tooLarge(what, bytes, carrier));
  return value;
}

/** Why an input or a result was not sent. */
export function tooLarge(what: string, bytes: number, { name, limit }: Carrier): string {
  return `${what} has ${bytes} bytes as JSON; ${name} takes ${limit}, names and ids included. Send less at once, in several calls say, or the name of a place where it is.`;
}
