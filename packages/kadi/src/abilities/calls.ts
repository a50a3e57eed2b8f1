// Calls of tools over an event target: in process, and through the pipe to a child. Operations carry them out; they have the
// names and members that they have at a broker.
import { createOperations, OperationError } from "@alkdev/operations";
import type { Operations } from "@alkdev/operations";
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import type { ToolCallOptions, ToolDescription } from "../client-api.ts";
import { isObject } from "../json-rpc.ts";
import { toJson } from "../tool-json.ts";
import type { Carrier } from "../tool-json.ts";
import type { Tools } from "../tools.ts";

const LIST = "kadi.ability.list";
const REQUEST = "kadi.ability.request";

/** What an ability says of itself. */
export interface AbilityDescription {
  readonly name: string;
  readonly version: string | undefined;
  readonly description: string | undefined;
}

/** Calls over one event target. */
export class ToolCalls {
  readonly #eventTarget: AlkEventTarget;
  readonly #operations: Operations;
  readonly #close: () => Promise<void>;

  constructor(eventTarget: AlkEventTarget, report: (error: unknown) => void) {
    this.#eventTarget = eventTarget;
    const pubsub = createPubSub({ eventTarget, onError: ignore });
    this.#operations = createOperations(pubsub, { onError: report });
    this.#close = async () => {
      await this.#operations.close();
      await pubsub.close();
    };
  }

  /** Undefined in process, where nothing is too large. */
  get #carrier(): Carrier | undefined {
    const limit = this.#eventTarget.supports.maxPayload;
    return limit === undefined ? undefined : { name: "the pipe to a child process", limit };
  }

  /** Answers calls of these tools. Resolves when they are sure to arrive. */
  async serve(about: AbilityDescription, tools: Tools): Promise<void> {
    await Promise.all([
      this.#operations.handle(LIST, () => ({ ...about, tools: tools.list() })),
      this.#operations.handle(REQUEST, (params: unknown, { signal, requestId }) => {
        const { toolName, toolInput = {} } = isObject(params) ? params : {};
        const context = { signal, requestId, callerAgentId: undefined };
        return tools.call(String(toolName), toolInput, context, this.#carrier);
      }),
    ]);
  }

  /**
   * The tools of the other side.
   *
   * @param what as messages call it
   * @throws PubSubError `INVALID_OPTION` where it is no ability; OperationError; as rejections
   */
  async list(what: string, timeout: number): Promise<ToolDescription[]> {
    const said = await this.#operations.call(LIST, {}, { timeout }).catch((error: unknown) => {
      // Also what a program that sends back all that it reads comes to.
      if (error instanceof OperationError && error.code === "OPERATION_NOT_FOUND") return undefined;
      throw error;
    });
    const tools = isObject(said) ? said["tools"] : undefined;
    if (Array.isArray(tools)) return tools as ToolDescription[];
    throw new PubSubError(
      "INVALID_OPTION",
      `${what} is no ability: it does not say which tools it has. An ability ends with: await client.serve("stdio").`,
    );
  }

  /** @throws OperationError as a rejection */
  async call(toolName: string, input: unknown, options?: ToolCallOptions): Promise<unknown> {
    const toolInput = toJson(input, "INVALID_INPUT", `The input of ${toolName}`, this.#carrier);
    return this.#operations.call(REQUEST, { toolName, toolInput }, options);
  }

  close(): Promise<void> {
    return this.#close();
  }
}

/** What ends a pipe is told to those who wait for an answer, and to subscribers. */
function ignore(): void {}
