import type { EventEnvelope } from "./envelope.ts";
import { parseEnvelope } from "./envelope.ts";
import { describe, PayloadError, PubSubError } from "./errors.ts";
import { Outgoing } from "./link/output.ts";

/** Turns envelopes into what is published, and back. `JSON` is one. */
export interface Serializer {
  stringify(envelope: EventEnvelope): string;
  parse(text: string): unknown;
}

/** What a broker is given of an event. @throws PayloadError */
export function stringifyWith(serializer: Serializer, envelope: EventEnvelope): string {
  if (serializer === JSON) return new Outgoing(envelope).json;
  try {
    return serializer.stringify(envelope);
  } catch (cause) {
    const { type, id } = envelope;
    throw new PayloadError(type, id, `The serializer cannot stringify the payload: ${describe(cause)}`, { cause });
  }
}

/** What a broker has delivered. @param from where it was published to @throws PubSubError `MALFORMED` */
export function parseWith(serializer: Serializer, text: string, from: string): EventEnvelope {
  let event: unknown;
  try {
    event = serializer.parse(text);
  } catch (cause) {
    throw new PubSubError("MALFORMED", `What was published to ${from} cannot be parsed: ${describe(cause)}.`, {
      cause,
    });
  }
  return parseEnvelope(event);
}
