// Between KADI's tools and MCP's, whatever carries MCP's messages: names, schemas, results, errors.
import { createHash } from "node:crypto";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import type { CallToolResult, Tool as McpTool } from "@modelcontextprotocol/sdk/types.js";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import type { JsonSchemaType } from "@modelcontextprotocol/sdk/validation";
import { excerpt } from "@alkdev/pubsub/transport";
import type { VisibleTool } from "./directory.ts";
import { CODES, isObject, RpcError } from "./json-rpc.ts";
import type { Params } from "./json-rpc.ts";
import { version } from "./version.ts";

/** Where the tools are that an MCP server shows. */
export interface ToolSource {
  /**
   * Those that can be seen now, of the oldest agent first.
   *
   * @throws RpcError where nobody can say, as a rejection
   */
  tools(): readonly VisibleTool[] | Promise<readonly VisibleTool[]>;
  /**
   * Calls a tool of an agent.
   *
   * @throws RpcError as a rejection
   */
  call(tool: VisibleTool, input: unknown, signal: AbortSignal): Promise<unknown>;
}

/** An MCP server, which is to be connected to a transport. */
export interface ToolServer {
  readonly server: Server;
  /** The tools may be others now: the client is told, if it can be. */
  changed(): void;
}

/** Shows the tools of a source to one MCP client. */
export function serveTools(source: ToolSource, onError: (error: unknown) => void): ToolServer {
  // oxlint-disable-next-line no-deprecated -- McpServer wants its tools as zod schemas, each registered; these are others'.
  const server = new Server(
    { name: "kadi", title: "KADI", version: version() },
    { capabilities: { tools: { listChanged: true } }, jsonSchemaValidator: new AjvJsonSchemaValidator() },
  );
  let catalogue: ReadonlyMap<string, Entry> | undefined;
  const look = async (): Promise<ReadonlyMap<string, Entry>> => (catalogue = catalogueOf(await source.tools()));
  server.setRequestHandler(ListToolsRequestSchema, async () => {
    try {
      return { tools: Array.from((await look()).values(), ({ shown }) => shown) };
    } catch (error) {
      // Who gets an error may never ask again. Nothing can be called now, and the client is told when that changes.
      onError(error);
      return { tools: [] };
    }
  });
  server.setRequestHandler(CallToolRequestSchema, async ({ params: { name, arguments: given = {} } }, { signal }) => {
    // It may have come since.
    const entry = catalogue?.get(name) ?? (await look()).get(name);
    if (entry === undefined) throw unknownTool(name);
    try {
      return succeeded(entry, await source.call(entry.tool, entry.wrapped ? given[WRAPPED] : given, signal));
    } catch (error) {
      if (error instanceof RpcError && error.code === CODES.UNKNOWN_TOOL) throw unknownTool(name);
      return failed(error);
    }
  });
  // oxlint-disable-next-line prefer-add-event-listener -- It is no EventTarget.
  server.onerror = onError;
  return {
    server,
    changed: () => {
      catalogue = undefined;
      server.sendToolListChanged().catch(onError);
    },
  };
}

function unknownTool(name: string): RpcError {
  return new RpcError(CODES.INVALID_PARAMS, `Unknown tool: ${excerpt(name)}; tools/list shows those there are.`);
}

// -------------------------------------------------------------------------------------------------------------- names

/** A tool, and how it is shown. */
interface Entry {
  readonly tool: VisibleTool;
  readonly shown: McpTool;
  /** Its input is no object, and is the member `input` of one. */
  readonly wrapped: boolean;
}

/** What MCP, and the models behind it, take for a tool's name. */
const NAME = /^[\w.-]{1,128}$/;
const MAX_NAME = 128;
const NOT_OF_NAMES = /[^\w.-]+/g;

/**
 * Tools by the names that MCP clients call them by. A tool keeps its name where that is one of MCP's, and where no agent that
 * was there before has it; else `_` and the first digits of a hash of its agent's id and its name follow what is left of it.
 * So whoever comes later renames nothing, and one tool has the same name whenever it has to have another.
 */
function catalogueOf(tools: readonly VisibleTool[]): ReadonlyMap<string, Entry> {
  const catalogue = new Map<string, Entry>();
  for (const tool of tools) {
    const name = nameOf(tool, catalogue);
    const [inputSchema, wrapped] = inputSchemaOf(tool.inputSchema);
    const outputSchema = outputSchemaOf(tool.outputSchema);
    catalogue.set(name, {
      tool,
      wrapped,
      shown: {
        name,
        ...(name !== tool.name && { title: tool.name }),
        ...(tool.description !== undefined && { description: tool.description }),
        inputSchema,
        ...(outputSchema !== undefined && { outputSchema }),
        _meta: {
          "kadi/tool": tool.name,
          "kadi/agentId": tool.agentId,
          ...(tool.agentName !== undefined && { "kadi/agentName": tool.agentName }),
        },
      },
    });
  }
  return catalogue;
}

function nameOf({ name, agentId }: VisibleTool, taken: ReadonlyMap<string, unknown>): string {
  if (NAME.test(name) && !taken.has(name)) return name;
  const hash = createHash("sha256")
    .update(JSON.stringify([agentId, name]))
    .digest("hex");
  for (let digits = 8; ; digits += 8) {
    const suffix = `_${hash.slice(0, digits)}`;
    const candidate = name.replace(NOT_OF_NAMES, "_").slice(0, MAX_NAME - suffix.length) + suffix;
    // Whoever finds a whole hash taken has found two of the same.
    if (!taken.has(candidate) || digits >= hash.length) return candidate;
  }
}

// ------------------------------------------------------------------------------------------------------------ schemas

type ObjectSchema = McpTool["inputSchema"];

/** The member that an input is in which is no object. */
const WRAPPED = "input";

/** A schema of objects, as MCP wants it; and whether the tool's own is of something else, and in there. */
function inputSchemaOf(schema: unknown): [ObjectSchema, wrapped: boolean] {
  if (!isObject(schema)) return [{ type: "object" }, false];
  const { type } = schema;
  const types: readonly unknown[] = Array.isArray(type) ? type : [type];
  if (type !== undefined && !types.includes("object"))
    return [{ type: "object", properties: { [WRAPPED]: schema }, required: [WRAPPED] }, true];
  return [objectSchema({ ...schema, type: "object" }) ?? { type: "object" }, false];
}

/** The schema of a tool that returns objects, if it is one that clients can compile: one that they cannot hides all tools from them. */
function outputSchemaOf(schema: unknown): ObjectSchema | undefined {
  if (!isObject(schema)) return undefined;
  let known = outputSchemas.get(schema);
  if (known === undefined) outputSchemas.set(schema, (known = { schema: compilable(objectSchema(schema)) }));
  return known.schema;
}

const outputSchemas = new WeakMap<Params, { readonly schema: ObjectSchema | undefined }>();

/** Characters of an output schema that is compiled: they are others', and it takes time. */
const MAX_OUTPUT_SCHEMA = 16_384;

function compilable(schema: ObjectSchema | undefined): ObjectSchema | undefined {
  if (schema === undefined || JSON.stringify(schema).length > MAX_OUTPUT_SCHEMA) return undefined;
  try {
    // A new one each time: it keeps all that it has compiled.
    new AjvJsonSchemaValidator().getValidator(schema as JsonSchemaType);
    return schema;
  } catch {
    return undefined;
  }
}

/** A schema whose members are what clients check that they are: one tool that fails that hides all others from them. */
function objectSchema(schema: Params): ObjectSchema | undefined {
  const { type, properties, required } = schema;
  if (type !== "object") return undefined;
  if (required !== undefined && !(Array.isArray(required) && required.every((each) => typeof each === "string")))
    return undefined;
  if (properties === undefined) return schema as ObjectSchema;
  if (!isObject(properties)) return undefined;
  const entries = Object.entries(properties).map(([name, each]) => [
    name,
    each === true ? {} : each === false ? { not: {} } : each,
  ]);
  if (!entries.every(([, each]) => isObject(each))) return undefined;
  return { ...schema, properties: Object.fromEntries(entries) } as ObjectSchema;
}

// ------------------------------------------------------------------------------------------------------------ results

function succeeded({ shown }: Entry, result: unknown): CallToolResult {
  const said = text(typeof result === "string" ? result : JSON.stringify(result));
  if (shown.outputSchema === undefined) return { content: [said] };
  if (isObject(result)) return { content: [said], structuredContent: result };
  // A client takes nothing else from a tool with such a schema.
  return {
    content: [text("The tool returned no object, as its outputSchema says it does, but this:"), said],
    isError: true,
  };
}

/** What the broker has to say of a call. All else is the tool's. */
const BROKERS: ReadonlySet<number> = new Set([CODES.LIMIT, CODES.CANCELLED, CODES.GONE, CODES.UNAVAILABLE]);

/** What the tool said is a result, which the model reads. @throws what the broker said */
function failed(error: unknown): CallToolResult {
  if (!(error instanceof RpcError) || BROKERS.has(error.code)) throw error;
  const said = [text(error.message)];
  if (error.data !== undefined) said.push(text(JSON.stringify(error.data)));
  return { content: said, isError: true };
}

function text(of: string): { type: "text"; text: string } {
  return { type: "text", text: of };
}
