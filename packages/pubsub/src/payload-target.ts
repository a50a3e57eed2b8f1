import { coreOf } from "./core.ts";
import type { EventEnvelope } from "./envelope.ts";
import type { AlkEventTarget } from "./event-target.ts";
import { Facade } from "./facade.ts";
import { parseTopic } from "./topic.ts";

/** An `EventTarget` whose events carry bare payloads as `detail`, and whose event types are topics. */
class PayloadFacade extends Facade {
  override envelopeOf({ type, detail }: CustomEvent<unknown>): EventEnvelope {
    return { ...parseTopic(type), payload: detail };
  }

  override detailOf(envelope: EventEnvelope): unknown {
    return envelope.payload;
  }
}

/**
 * The same event target for code that dispatches bare payloads to topics, as GraphQL Yoga's subscriptions do. Both
 * styles see each other's events: the topic `type:id` with a payload is the envelope `{ type, id, payload }`.
 *
 * @param target an event target of this library; closing it stays its owner's
 * @example
 * const pubSub = createYogaPubSub({ eventTarget: payloadTarget(createHubEventTarget("ws://localhost:8080")) });
 */
export function payloadTarget(target: AlkEventTarget, onError?: (error: unknown) => void): EventTarget {
  return new PayloadFacade(target[coreOf], onError);
}
