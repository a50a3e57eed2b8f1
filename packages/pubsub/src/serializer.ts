import type { EnvelopeMeta, EventEnvelope } from "./envelope.ts";
import { isPlain, parseEnvelope } from "./envelope.ts";
import { describe, PayloadError, PubSubError } from "./errors.ts";

/** Turns envelopes into what is published, and back. `JSON` is one. */
export interface Serializer {
  stringify(envelope: EventEnvelope): string;
  parse(text: string): unknown;
}

/** What a broker is given of an event. @throws PayloadError */
export function stringifyWith(serializer: Serializer, envelope: EventEnvelope): string {
  if (serializer === JSON) return stringify(envelope);
  try {
    return serializer.stringify(envelope);
  } catch (cause) {
    const { type, id } = envelope;
    throw new PayloadError(type, id, `The serializer cannot stringify the payload: ${describe(cause)}`, { cause });
  }
}

/** What a broker has delivered. @param from where it was published to @throws PubSubError `MALFORMED` */
export function parseWith(serializer: Serializer, text: string, from: string): EventEnvelope {
  return parseEnvelope(parsed(serializer, text, () => from));
}

/** Who gets what a broker has delivered. */
export interface Reader {
  deliver(envelope: EventEnvelope): void;
  /** Told of what is none. */
  error(error: unknown): void;
}

/** The same of a broker that may have been given several events of one topic at once (`Gathering`). Throws nothing. */
export function parseAllWith(serializer: Serializer, text: string, from: () => string, reader: Reader): void {
  let message: unknown;
  try {
    message = parsed(serializer, text, from);
    if (!Array.isArray(message) || message.length === 0) return reader.deliver(parseEnvelope(message));
  } catch (error) {
    return reader.error(error);
  }
  let first: EventEnvelope | undefined;
  for (const event of message as readonly unknown[])
    try {
      const envelope = parseEnvelope(first === undefined ? event : completed(event, first));
      first ??= envelope;
      reader.deliver(envelope);
    } catch (error) {
      reader.error(error);
    }
}

function parsed(serializer: Serializer, text: string, from: () => string): unknown {
  try {
    return serializer === JSON ? parse(text) : serializer.parse(text);
  } catch (cause) {
    throw new PubSubError("MALFORMED", `What was published to ${from()} cannot be parsed: ${describe(cause)}.`, {
      cause,
    });
  }
}

/** An envelope as JSON. @throws PayloadError if the payload cannot be JSON */
export function stringify(envelope: EventEnvelope): string {
  const { type, id, payload, meta } = envelope;
  const json = isPlain(envelope) ? payloadJson(payload) : undefined;
  if (json !== undefined) return before(type, id) + json + after(meta);
  try {
    // A payload that is a function or a symbol would leave the envelope without one.
    if (typeof payload === "function" || typeof payload === "symbol")
      throw new TypeError(`a ${typeof payload} is no JSON`);
    // One whose toJSON gives nothing does too; the far end would not count it as an event.
    if (hasToJson(payload) && JSON.stringify(payload) === undefined) throw new TypeError("its toJSON returned nothing");
    return JSON.stringify(envelope);
  } catch (cause) {
    throw new PayloadError(type, id, `The payload cannot be serialised as JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/**
 * An envelope as JSON, behind another one of its topic in an array: just its payload, where they differ in nothing else.
 *
 * @throws PayloadError
 */
export function stringifyAfter(first: EventEnvelope, envelope: EventEnvelope): string {
  if (!isPlain(first) || !isPlain(envelope) || !isSame(first.meta, envelope.meta)) return stringify(envelope);
  const json = payloadJson(envelope.payload);
  return json === undefined ? stringify(envelope) : `{"payload":${json}}`;
}

/** What `stringifyAfter` left out is the first one's. */
function completed(event: unknown, { type, id, meta }: EventEnvelope): unknown {
  if (typeof event !== "object" || event === null || "type" in event) return event;
  const { payload } = event as EventEnvelope;
  return meta === undefined ? { type, id, payload } : { type, id, payload, meta };
}

/** Undefined where it is no JSON, or where its place in the envelope may make a difference. */
function payloadJson(payload: unknown): string | undefined {
  if (hasToJson(payload)) return undefined;
  try {
    return JSON.stringify(payload);
  } catch {
    return undefined;
  }
}

function hasToJson(payload: unknown): boolean {
  return typeof (payload as { toJSON?: unknown } | null | undefined)?.toJSON === "function";
}

function isSame(one: EnvelopeMeta | undefined, other: EnvelopeMeta | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return typeof one.origin === "string" && one.origin === other.origin && isAlone(one) && isAlone(other);
}

// What is around the payload is the same for most events of a publisher: putting it together anew would cost about as much
// as the payload.
let head = { type: "", id: "", json: '{"type":"","id":"","payload":' };
let tail = { origin: "", json: ',"meta":{"origin":""}}' };

function before(type: string, id: string): string {
  if (type !== head.type || id !== head.id) head = { type, id, json: headJson(type, id) };
  return head.json;
}

function headJson(type: string, id: string): string {
  return `{"type":${JSON.stringify(type)},"id":${JSON.stringify(id)},"payload":`;
}

function after(meta: EnvelopeMeta | undefined): string {
  if (meta === undefined) return "}";
  const { origin } = meta;
  if (typeof origin !== "string" || !isAlone(meta)) return metaJson(JSON.stringify(meta));
  if (origin !== tail.origin) tail = { origin, json: metaJson(JSON.stringify(meta)) };
  return tail.json;
}

function metaJson(json: string | undefined): string {
  return json === undefined ? "}" : `,"meta":${json}}`;
}

// The same holds for what is received: where a text begins and ends as the one before it did, and what lies between is JSON, that is
// its payload, and the rest is known.
let known = { type: "", id: "", origin: "", head: "", tail: "" };

/** What JSON an envelope, or something else, is. */
function parse(text: string): unknown {
  const { type, id, origin, head, tail } = known;
  if (head !== "" && text.startsWith(head) && text.endsWith(tail))
    try {
      return { type, id, payload: JSON.parse(text.slice(head.length, -tail.length)) as unknown, meta: { origin } };
    } catch {
      // Another member, perhaps.
    }
  const value: unknown = JSON.parse(text);
  learn(value);
  return value;
}

/** Worth it from the second one of a topic and a publisher in a row. */
function learn(value: unknown): void {
  const { type, id, meta } = (value ?? {}) as Partial<EventEnvelope>;
  const origin = meta?.origin;
  if (typeof type !== "string" || typeof id !== "string" || typeof origin !== "string") return;
  if (type !== known.type || id !== known.id || origin !== known.origin)
    known = { type, id, origin, head: "", tail: "" };
  else if (known.head === "")
    known = { type, id, origin, head: headJson(type, id), tail: metaJson(JSON.stringify({ origin })) };
}

/** Whether it has an origin and nothing else. */
function isAlone(meta: EnvelopeMeta): boolean {
  for (const member in meta) if (member !== "origin") return false;
  return true;
}
