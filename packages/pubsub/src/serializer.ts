import type { EventEnvelope } from "./envelope.ts";
import { describe, PayloadError } from "./errors.ts";
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
