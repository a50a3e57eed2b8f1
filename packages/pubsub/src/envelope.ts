import { excerpt, PubSubError } from "./errors.ts";
import { idProblem, typeProblem } from "./topic.ts";

/**
 * What travels with an event beside its payload. Unknown members are preserved by every transport.
 */
export interface EnvelopeMeta {
  /** Which core published the event; set where the transport echoes, and by bridges. */
  readonly origin?: string;
  /** The bridges that the event has passed; stops loops. */
  readonly hops?: readonly string[];
  /** The name that the first bridge gave the event, so that it passes once where several ways lead to one target. */
  readonly passage?: string;
  readonly [member: string]: unknown;
}

/**
 * An event as every transport carries it: the serialisation contract between processes and languages.
 *
 * @example
 * const envelope: EventEnvelope<"session.status", { status: string }> = {
 *   type: "session.status",
 *   id: "proj_123",
 *   payload: { status: "busy" },
 * };
 */
export interface EventEnvelope<TType extends string = string, TPayload = unknown> {
  readonly type: TType;
  /** Scopes the topic; the empty string where the type alone is the topic. */
  readonly id: string;
  readonly payload: TPayload;
  readonly meta?: EnvelopeMeta;
}

/** Types and payloads of a pub/sub: the keys are event types, the values their payloads. */
export type PubSubEventMap = Record<string, unknown>;

/** A `CustomEvent` whose `type` is the topic and whose `detail` is the whole envelope. */
export type TypedEvent<TType extends string = string, TPayload = unknown> = CustomEvent<EventEnvelope<TType, TPayload>>;

/** The part of an event target that the seed's adapters share: topics in, `CustomEvent`s with envelopes out. */
export interface TypedEventTarget<TEvent extends TypedEvent = TypedEvent> {
  addEventListener(
    topic: string,
    listener: ((event: TEvent) => void) | { handleEvent(event: TEvent): void } | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener(
    topic: string,
    listener: ((event: TEvent) => void) | { handleEvent(event: TEvent): void } | null,
    options?: boolean | EventListenerOptions,
  ): void;
  dispatchEvent(event: TEvent): boolean;
}

export { excerpt };

/** Whether the value has the members of an envelope. Says nothing of whether its type may be published. */
export function isEnvelope(value: unknown): value is EventEnvelope {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as EventEnvelope).type === "string" &&
    typeof (value as EventEnvelope).id === "string" &&
    "payload" in value
  );
}

const MEMBERS = ["type", "id", "payload", "meta"];

/** Whether it has the members of an envelope in this order and no others, as nearly all do that are published. */
export function isPlain(envelope: EventEnvelope): boolean {
  let i = 0;
  for (const member in envelope) if (member !== MEMBERS[i++]) return false;
  return true;
}

/**
 * Reads one envelope from JSON text or from an object that some transport received.
 *
 * @returns the envelope, its unknown members kept.
 * @throws PubSubError `MALFORMED` for broken JSON, for anything that is no envelope, and for a type (reserved `$` types
 * included) or an id that nobody may publish.
 * @example
 * parseEnvelope('{"type":"a.b","id":"","payload":1}').payload; // 1
 */
export function parseEnvelope(data: unknown): EventEnvelope {
  const value = typeof data === "string" ? parseJson(data) : data;
  // A pipe of clones can carry undefined. JSON cannot: passed on, it would be no envelope to whoever receives it.
  if (!isEnvelope(value) || value.payload === undefined)
    throw new PubSubError("MALFORMED", `Not an envelope: ${excerpt(value)}. Send { type, id, payload }.`);
  const problem = typeProblem(value.type);
  if (problem !== undefined)
    throw new PubSubError("MALFORMED", `An envelope with the type ${excerpt(value.type)}: ${problem}.`);
  const tooLong = idProblem(value.id);
  if (tooLong !== undefined) throw new PubSubError("MALFORMED", `An envelope of ${value.type}: ${tooLong}`);
  return value;
}

/** `JSON.parse` whose failure is a `MALFORMED` error that quotes the beginning of the text. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new PubSubError("MALFORMED", `Not JSON: ${excerpt(text)}.`, { cause });
  }
}
