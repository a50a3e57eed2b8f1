import { excerpt } from "@alkdev/pubsub/transport";
import type { PendingCall } from "./calls.ts";
import { CODES, RpcError } from "./json-rpc.ts";
import type { Params, RpcId } from "./json-rpc.ts";
import { invalid, optionalName, text } from "./params.ts";
import type { Participant } from "./participant.ts";

/** A call of the client's, by the id of its request. */
interface Made {
  call: PendingCall | undefined;
  cancelled: boolean;
}

/** The ids that clients give are numbers or strings, which must not be taken for one another. */
const keyOf = (id: RpcId): string => JSON.stringify(id);

const CANCELLED = "The call was cancelled.";

/** The calls that one client of KADI's wire has made and that have no answer yet, by the ids that it gave them. */
export class SessionCalls {
  readonly #made = new Map<string, Made>();

  /** @throws RpcError as a rejection */
  async call(participant: Participant, params: Params, id: RpcId | undefined): Promise<unknown> {
    if (id === undefined) throw new RpcError(CODES.INVALID_REQUEST, "A call needs an id, which its answer carries.");
    const key = keyOf(id);
    if (this.#made.has(key))
      throw new RpcError(CODES.INVALID_REQUEST, `A call with the id ${excerpt(id)} is under way; choose another.`);
    const tool = text(params, "toolName");
    const target = optionalName(params, "targetAgent") ?? optionalName(params, "agentId");
    // Null is an input.
    const { toolInput: input = {} } = params;
    const made: Made = { call: undefined, cancelled: false };
    this.#made.set(key, made);
    try {
      made.call = await participant.call(tool, input, target);
      if (made.cancelled) made.call.cancel(CANCELLED);
      return await made.call.outcome;
    } finally {
      this.#made.delete(key);
    }
  }

  /** @throws RpcError */
  cancel(participant: Participant, params: Params): object {
    const id = params["requestId"];
    if (typeof id !== "string" && typeof id !== "number") throw invalid("requestId", "must be the id of a request", id);
    const made = this.#made.get(keyOf(id));
    if (made !== undefined) {
      made.cancelled = true;
      made.call?.cancel(CANCELLED);
      return { status: "cancelled" };
    }
    const byProvider = { error: { code: CODES.CANCELLED, message: "The provider cancelled the call." } };
    // An answer may have been faster; whoever cancels then has it.
    return typeof id === "string" && participant.answer(id, byProvider)
      ? { status: "cancelled" }
      : { status: "unknown" };
  }
}
