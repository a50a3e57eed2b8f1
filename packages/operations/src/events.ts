// The events of the call protocol, as peers in any language speak it. Their names and the fields of their payloads are
// fixed; `window`, `limit`, `call.credited` and `call.listening` are additions that a peer may leave out and ignore.
import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";

/** Who calls, as the authentication of their link says. */
export interface Identity {
  readonly id: string;
  readonly scopes: readonly string[];
  readonly resources?: Readonly<Record<string, readonly string[]>>;
}

/** `call.requested`, from the caller to the handler. The envelope's id is `requestId`. */
export interface Requested {
  /** A UUID. */
  readonly requestId: string;
  /** The operation's name. */
  readonly operationId: string;
  readonly input?: unknown;
  /** The request whose handler makes this one. */
  readonly parentRequestId?: string;
  /** When the caller stops waiting, in milliseconds since 1970. */
  readonly deadline?: number;
  /** Set by a router, from what it knows of the link; whatever a caller says here is not believed. */
  readonly identity?: Identity;
  /** How many answers may be sent until `call.credited` grants more. Absent: any number. A stream has it. */
  readonly window?: number;
  /** How many answers are wanted; no `call.completed` is needed after that. A call has 1. Absent: all. */
  readonly limit?: number;
}

/** The events of the protocol, by name, with their payloads. */
export interface CallEvents {
  "call.requested": Requested;
  "call.responded": { readonly requestId: string; readonly output?: unknown };
  "call.completed": { readonly requestId: string };
  "call.aborted": { readonly requestId: string };
  "call.error": {
    readonly requestId: string;
    readonly code: string;
    readonly message: string;
    readonly details?: unknown;
    readonly retryable?: boolean;
  };
  /** A stream's caller has read so many answers, and takes as many more. */
  "call.credited": { readonly requestId: string; readonly count: number };
  /**
   * Somebody listens from now on; `requestId` is a UUID of their own. Whoever waits for an answer says their request again: it
   * may have come before anybody listened. It is carried out once, because its id is the same.
   */
  "call.listening": { readonly requestId: string };
}

export type CallEventType = keyof CallEvents;

/** One event of the protocol. */
export type CallEvent = {
  [K in CallEventType]: { readonly type: K; readonly id: string; readonly payload: CallEvents[K] };
}[CallEventType];

/** What all callers and handlers subscribe to. */
export const ALL_CALLS = "call.*";

/** The operation by which a spoke says to a router what it offers; routers answer it, nobody else. */
export const REGISTER = "hub.register";

/** What `hub.register` is called with: all that this spoke offers, in the place of what it said before. */
export interface Registration {
  /** Names the spoke, so that its new link takes the place of an old one whose end was not noticed yet. */
  readonly instance: string;
  readonly operations: readonly string[];
}

/** Characters that a name may have. */
export const MAX_NAME = 255;

/** An event for the caller or the handler of a request. */
export function callEvent<K extends CallEventType>(type: K, payload: CallEvents[K]): CallEvent {
  return { type, id: payload.requestId, payload } as CallEvent;
}

const TYPES: ReadonlySet<string> = new Set<CallEventType>([
  "call.requested",
  "call.responded",
  "call.completed",
  "call.aborted",
  "call.error",
  "call.credited",
  "call.listening",
]);

/**
 * Reads an envelope that came from elsewhere.
 *
 * @returns undefined for an event of another type
 * @throws PubSubError `MALFORMED` for a payload that is none of the protocol's
 */
export function readCallEvent({ type, id, payload }: EventEnvelope): CallEvent | undefined {
  if (!TYPES.has(type)) return undefined;
  const problem = problemOf(type as CallEventType, id, payload);
  if (problem !== undefined)
    throw new PubSubError("MALFORMED", `A ${type} event was dropped: ${problem}. See the call protocol.`);
  return { type, id, payload } as CallEvent;
}

function problemOf(type: CallEventType, id: string, payload: unknown): string | undefined {
  if (typeof payload !== "object" || payload === null) return "its payload is no object";
  const { requestId, operationId, deadline, window, limit, parentRequestId, code, message, count } = payload as Partial<
    Record<string, unknown>
  >;
  if (requestId !== id || id === "") return "its requestId is not the id of its envelope";
  switch (type) {
    case "call.requested":
      if (typeof operationId !== "string" || operationId === "" || operationId.length > MAX_NAME)
        return `its operationId is no string of 1 to ${MAX_NAME} characters`;
      if (deadline !== undefined && !Number.isFinite(deadline)) return "its deadline is no number";
      if (window !== undefined && !isCount(window)) return "its window is no positive whole number";
      if (limit !== undefined && !isCount(limit)) return "its limit is no positive whole number";
      if (parentRequestId !== undefined && typeof parentRequestId !== "string")
        return "its parentRequestId is no string";
      return undefined;
    case "call.error":
      return typeof code === "string" && typeof message === "string" ? undefined : "it has no code or no message";
    case "call.credited":
      return isCount(count) ? undefined : "its count is no positive whole number";
    case "call.responded":
    case "call.completed":
    case "call.aborted":
    case "call.listening":
      return undefined;
    default:
      return type satisfies never;
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

const HEX = Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));
/** The characters of the next UUID; the dashes stay where they are. */
const characters: number[] = Array.from("00000000-0000-0000-0000-000000000000", (char) => char.charCodeAt(0));
const random = new Uint8Array(16 * 128);
let taken = random.length;

/**
 * A UUID. That of `crypto.randomUUID` is put together of twenty pieces, which V8 keeps as such, 500 bytes, for as long as an id
 * is remembered; and pages that are no secure context have none.
 */
export function requestId(): string {
  if (taken === random.length) {
    crypto.getRandomValues(random);
    taken = 0;
  }
  let to = 0;
  for (let i = 0; i < 16; i++) {
    let byte = random[taken++] ?? 0;
    if (i === 6) byte = (byte & 0x0f) | 0x40;
    else if (i === 8) byte = (byte & 0x3f) | 0x80;
    if (i === 4 || i === 6 || i === 8 || i === 10) to++;
    characters[to++] = HEX[byte >> 4] ?? 0;
    characters[to++] = HEX[byte & 15] ?? 0;
  }
  return String.fromCharCode(...characters);
}
