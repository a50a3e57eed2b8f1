import { OperationError } from "@alkdev/operations";
import type { JsonSchema, OperationSchema } from "@alkdev/operations";
import { checkOf, sayIssues } from "@alkdev/operations/schema";
import type { Check } from "@alkdev/operations/schema";
import { PubSubError } from "@alkdev/pubsub";
import { z } from "zod";
import type { ToolContext, ToolDefinition, ToolDescription, ToolHandler, ToolOptions } from "./client-api.ts";
import { toJson } from "./tool-json.ts";
import type { Carrier } from "./tool-json.ts";

interface Tool {
  readonly description: ToolDescription;
  readonly handler: ToolHandler;
  /** Loaded by the time that a call needs them. */
  readonly input: Promise<Check> | undefined;
  readonly output: Promise<Check> | undefined;
}

/** The tools of one client, and the one way on which all calls of them go, wherever they come from. */
export class Tools {
  readonly #tools = new Map<string, Tool>();

  get size(): number {
    return this.#tools.size;
  }

  has(name: string): boolean {
    return this.#tools.has(name);
  }

  /** A second of the same name takes the place of the first. @throws PubSubError `INVALID_OPTION` */
  add(tool: string | ToolDefinition, second: ToolHandler, options: ToolOptions = {}): void {
    const { name, description = "" } = typeof tool === "string" ? { ...options, name: tool } : tool;
    const inputSchema = typeof tool === "string" ? options.inputSchema : tool.input;
    const outputSchema = typeof tool === "string" ? options.outputSchema : tool.output;
    if (typeof name !== "string" || name === "")
      throw new PubSubError("INVALID_OPTION", "A tool needs a name: registerTool({ name, … }, handler).");
    if (typeof second !== "function")
      throw new PubSubError("INVALID_OPTION", `The tool ${name} needs a function that carries it out.`);
    this.#tools.set(name, {
      description: {
        name,
        description,
        inputSchema: inputSchema === undefined ? ANYTHING : describe(name, inputSchema, "input"),
        ...(outputSchema !== undefined && { outputSchema: describe(name, outputSchema, "output") }),
      },
      handler: second,
      input: checkLater(inputSchema),
      output: checkLater(outputSchema),
    });
  }

  list(): ToolDescription[] {
    return [...this.#tools.values()].map(({ description }) => description);
  }

  /**
   * @param carrier takes the answer to the caller; undefined where that is in this process
   * @throws OperationError whatever went wrong, as a rejection
   */
  async call(name: string, input: unknown, context: ToolContext, carrier?: Carrier): Promise<unknown> {
    const tool = this.#tools.get(name);
    if (tool === undefined) throw new OperationError("OPERATION_NOT_FOUND", `There is no tool ${name} here.`);
    const checked = await check(tool.input, input, "INVALID_INPUT", `The input of ${name}`);
    let output: unknown;
    try {
      output = await tool.handler(checked, context);
    } catch (error) {
      throw thrown(error, carrier);
    }
    const what = `The output of ${name}`;
    return toJson(await check(tool.output, output, "HANDLER_ERROR", what), "HANDLER_ERROR", what, carrier);
  }
}

/** What a handler has thrown, as it travels. Details that cannot are left out: the code and the message matter more. */
function thrown(error: unknown, carrier: Carrier | undefined): OperationError {
  if (!(error instanceof OperationError)) {
    const message = error instanceof Error ? error.message : String(error);
    return new OperationError("HANDLER_ERROR", message, { cause: error });
  }
  const { code, message, details, retryable } = error;
  if (details === undefined) return error;
  try {
    const json = toJson(details, "HANDLER_ERROR", "The details", carrier);
    return new OperationError(code, message, { cause: error, details: json, retryable });
  } catch {
    return new OperationError(code, message, { cause: error, retryable });
  }
}

/** What has no schema takes anything; callers of other languages expect an object. */
const ANYTHING: JsonSchema = { type: "object" };

function checkLater(schema: OperationSchema | undefined): Promise<Check> | undefined {
  const made = schema === undefined ? undefined : checkOf(schema);
  made?.catch(() => undefined);
  return made;
}

/** The value as the schema gives it. @throws OperationError as a rejection */
async function check(
  checking: Promise<Check> | undefined,
  value: unknown,
  code: "INVALID_INPUT" | "HANDLER_ERROR",
  what: string,
): Promise<unknown> {
  if (checking === undefined) return value;
  const { value: checked, issues } = { value: undefined, ...(await (await checking)(value)) };
  if (issues === undefined) return checked;
  throw new OperationError(code, `${what} does not fit: ${sayIssues(issues).replace(/\.$/, "")}.`, {
    details: { issues },
  });
}

/** A schema as others are told of it. @throws PubSubError `INVALID_OPTION` */
function describe(name: string, schema: OperationSchema, side: "input" | "output"): JsonSchema {
  if (typeof schema === "boolean") return schema;
  if (typeof schema !== "object" && typeof schema !== "function")
    throw new PubSubError("INVALID_OPTION", `The ${side} of ${name} must be a zod schema or JSON Schema.`);
  if ("_zod" in schema)
    return z.toJSONSchema(schema as unknown as z.ZodType, { io: side, unrepresentable: "any" }) as JsonSchema;
  // Of other libraries nothing is known beside the check that they do.
  return "~standard" in schema ? ANYTHING : schema;
}
