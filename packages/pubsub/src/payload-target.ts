import { coreOf } from "./core.ts";
import type { EventEnvelope } from "./envelope.ts";
import type { AlkEventTarget } from "./event-target.ts";
import { PubSubError } from "./errors.ts";
import { Facade } from "./facade.ts";
import { parseTopic } from "./topic.ts";

/** An `EventTarget` whose events carry bare payloads as `detail`, and whose event types are topics. */
class PayloadFacade extends Facade {
  override envelopeOf({ type, detail }: CustomEvent<unknown>): EventEnvelope {
    // Nothing is null, as `CustomEvent` has it: JSON cannot carry undefined.
    return { ...parseTopic(type), payload: detail ?? null };
  }

  override detailOf(envelope: EventEnvelope): unknown {
    return envelope.payload;
  }
}

/** Options of `payloadTarget`. */
export interface PayloadTargetOptions {
  /**
   * Told of what `dispatchEvent` and `addEventListener` cannot throw: failed publishes and subscriptions, losses. Without
   * it they are reported as uncaught.
   */
  readonly onError?: (error: unknown) => void;
}

/**
 * The same event target for code that dispatches bare payloads to topics, as GraphQL Yoga's subscriptions do. Both
 * styles see each other's events: the topic `type:id` with a payload is the envelope `{ type, id, payload }`.
 *
 * @param target an event target of this library; closing it stays its owner's
 * @throws PubSubError `INVALID_OPTION` for any other
 * @example
 * const pubSub = createYogaPubSub({ eventTarget: payloadTarget(createHubEventTarget("ws://localhost:8080")) });
 */
export function payloadTarget(target: AlkEventTarget, { onError }: PayloadTargetOptions = {}): EventTarget {
  const core = (target as Partial<AlkEventTarget> | null | undefined)?.[coreOf];
  if (core === undefined)
    throw new PubSubError(
      "INVALID_OPTION",
      "payloadTarget takes what one of the create…EventTarget functions returned; a plain EventTarget carries bare payloads as it is.",
    );
  return new PayloadFacade(core, onError);
}
