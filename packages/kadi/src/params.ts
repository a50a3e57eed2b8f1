import { excerpt } from "@alkdev/pubsub/transport";
import type { Tool } from "./directory.ts";
import { CODES, isObject, RpcError } from "./json-rpc.ts";
import type { Params } from "./json-rpc.ts";

/** Characters of a name, of whatever kind. */
const MAX_NAME = 256;

/** A member that must be a string. @throws RpcError `INVALID_PARAMS` */
export function text(params: Params, name: string): string {
  const value = params[name];
  if (typeof value === "string") return value;
  throw invalid(name, "must be a string", value);
}

/** A string that names something, if it is there. @throws RpcError `INVALID_PARAMS` */
export function optionalName(params: Params, name: string): string | undefined {
  const value = params[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string" && value.length > 0 && value.length <= MAX_NAME) return value;
  throw invalid(name, `must be a string of 1 to ${MAX_NAME} characters`, value);
}

/** Names in an array, if it is there. @throws RpcError `INVALID_PARAMS` */
export function names(params: Params, name: string): readonly string[] | undefined {
  const value = params[name];
  if (value === undefined || value === null) return undefined;
  const isName = (each: unknown): each is string =>
    typeof each === "string" && each.length > 0 && each.length <= MAX_NAME;
  if (Array.isArray(value) && value.length > 0 && value.every(isName)) return value;
  throw invalid(name, `must be an array of strings of 1 to ${MAX_NAME} characters, one at least`, value);
}

/** @throws RpcError `INVALID_PARAMS` */
export function tools(params: Params): Tool[] {
  const value = params["tools"] ?? [];
  if (!Array.isArray(value)) throw invalid("tools", "must be an array", value);
  const seen = new Set<string>();
  const out: Tool[] = [];
  for (const each of value as unknown[]) {
    if (!isObject(each)) throw invalid("tools", "must hold objects", each);
    const { description, inputSchema, outputSchema } = each;
    const name = optionalName(each, "name");
    if (name === undefined) throw invalid("tools", "must hold tools with names", each);
    if (seen.has(name)) throw invalid("tools", "names a tool twice", name);
    seen.add(name);
    out.push({
      name,
      ...(typeof description === "string" && { description }),
      ...(inputSchema !== undefined && { inputSchema }),
      ...(outputSchema !== undefined && { outputSchema }),
    });
  }
  return out;
}

export function invalid(name: string, must: string, value: unknown): RpcError {
  return new RpcError(CODES.INVALID_PARAMS, `The member ${name} ${must}; it is ${excerpt(value)}.`);
}
