// The frames of the link protocol. Every control frame is an envelope whose type starts with `$`, so that a peer which
// knows only envelopes can skip what it does not know.
import type { EventEnvelope } from "../envelope.ts";
import { excerpt, isEnvelope, parseJson } from "../envelope.ts";
import { PubSubError } from "../errors.ts";
import type { PubSubErrorCode } from "../errors.ts";
import { utf8Length } from "../topic.ts";
import type { Filter, Gap } from "../transport.ts";

/** Versions of the protocol that this library speaks. */
export const VERSIONS: readonly number[] = [1];

/** What one side takes; the other side keeps to it. */
export interface Limits {
  /** Bytes of one frame. */
  readonly frame: number;
}

/** `$hello`: said until welcomed. A new nonce on the same channel means that this side has restarted. */
export interface Hello {
  readonly nonce: string;
  readonly versions: readonly number[];
  readonly limits: Limits;
  /** Whether arrays of envelopes are understood. */
  readonly batch: boolean;
  /** Whether `$rows` is understood; said on channels that clone. */
  readonly rows?: boolean;
  /** The session of the far end to go on with, and how many events of it were received. */
  readonly session?: string;
  readonly received?: number;
}

/** `$welcome`: the answer to every `$hello`, a repeated one too. */
export interface Welcome {
  /** The nonce of the hello that it answers. */
  readonly nonce: string;
  readonly version: number;
  readonly session: string;
  /** Milliseconds for which this side keeps a session that lost its channel; absent or 0 where it does not. */
  readonly resumeWindow?: number;
  /** Whether the session that the hello named goes on; then with how many events of it were received on this side. */
  readonly resumed: boolean;
  readonly received?: number;
  /** Whether this side sends a publisher its own events back; only a hub does. */
  readonly echo?: boolean;
  /** Whether subscriptions may name a group; only a hub serves groups. */
  readonly groups?: boolean;
  /** The `meta.origin` that is this link's alone; a hub lets no other link use it. */
  readonly origin?: string;
  readonly limits: Limits;
}

/** The payloads of the control frames, by type. */
export interface Control {
  $hello: Hello;
  $welcome: Welcome;
  /** Asks for events; answered by `$subscribed` or `$refused` with the same ref. */
  $subscribe: { readonly ref: number; readonly type: string; readonly id?: string; readonly group?: string };
  $subscribed: { readonly ref: number };
  /** A subscription (`ref`), or the n-th event of the session (`at`, counted from 1), was refused. */
  $refused: {
    readonly ref?: number;
    readonly at?: number;
    readonly code: PubSubErrorCode;
    readonly message?: string;
  };
  $unsubscribe: { readonly ref: number };
  /** After a resumption: the subscriptions that are still wanted; all others are dropped. */
  $keep: { readonly refs: readonly number[] };
  /** How many events of this session have been received and given to all that wanted them. */
  $ack: { readonly received: number };
  /** Events for this side were lost; without a ref, of any subscription. */
  $gap: Gap & { readonly ref?: number };
  $ping: null;
  $pong: null;
  /** The last frame of a side that ends the link on purpose. */
  $bye: { readonly code: string; readonly message?: string };
}

export type ControlType = keyof Control;

/** A control frame. */
export function control<K extends ControlType>(type: K, payload: Control[K]): EventEnvelope<K, Control[K]> {
  return { type, id: "", payload };
}

/** Checks what an envelope with a `$` type carries. @throws PubSubError `MALFORMED` */
export function checkControl(frame: EventEnvelope): void {
  const check = CHECKS[frame.type as ControlType];
  // Unknown control frames are for a later version to use.
  if (check === undefined) return;
  const payload = (typeof frame.payload === "object" && frame.payload !== null ? frame.payload : {}) as Record<
    string,
    unknown
  >;
  if (!check(payload)) throw new PubSubError("MALFORMED", `A ${frame.type} frame without what it needs.`);
}

const CHECKS: Partial<Record<ControlType, (payload: Record<string, unknown>) => boolean>> = {
  $hello: ({ nonce, versions, limits, session, received }) =>
    isText(nonce) &&
    Array.isArray(versions) &&
    versions.length <= 64 &&
    (limits === undefined || isLimits(limits)) &&
    (session === undefined || (isText(session) && isCount(received))),
  $welcome: ({ nonce, version, session, resumeWindow, limits, received, origin }) =>
    isText(nonce) &&
    (origin === undefined || isText(origin)) &&
    isCount(version) &&
    (session === undefined || isText(session)) &&
    isOptionalTime(resumeWindow) &&
    (limits === undefined || isLimits(limits)) &&
    (received === undefined || isCount(received)),
  $subscribe: ({ ref, type, id, group }) =>
    isCount(ref) && typeof type === "string" && isOptionalText(id) && (group === undefined || isText(group)),
  $subscribed: ({ ref }) => isCount(ref),
  $refused: ({ ref, at, code, message }) => isText(code) && isOptionalText(message) && (isCount(ref) || isCount(at)),
  $unsubscribe: ({ ref }) => isCount(ref),
  $ack: ({ received }) => isCount(received),
  $keep: ({ refs }) => Array.isArray(refs) && refs.every(isCount),
  $gap: ({ ref, reason, since, until, lost }) =>
    isText(reason) &&
    (lost === "unknown" || isCount(lost)) &&
    (ref === undefined || isCount(ref)) &&
    isOptionalTime(since) &&
    isOptionalTime(until),
  $bye: ({ code }) => isText(code),
};

function isText(value: unknown): boolean {
  return typeof value === "string" && value.length <= 1024;
}

function isOptionalText(value: unknown): boolean {
  return value === undefined || typeof value === "string";
}

function isOptionalTime(value: unknown): boolean {
  return value === undefined || Number.isFinite(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isLimits(value: unknown): boolean {
  const frame = (value as Partial<Limits> | null)?.frame;
  return frame === undefined || (isCount(frame) && frame > 0);
}

/** Whether something that arrived is a control frame. */
export function isControl(value: unknown): value is EventEnvelope {
  return isEnvelope(value) && value.type.startsWith("$");
}

/** The filter that a `$subscribe` asks for. */
export function filterOf(payload: Control["$subscribe"]): Filter {
  return { type: payload.type, id: payload.id, group: payload.group };
}

/** Takes out of an event for which of our subscriptions alone it is; undefined where it is for all that match. */
export function takeAddress(value: unknown): { readonly value: unknown; readonly to: number | undefined } {
  if (typeof value !== "object" || value === null || !("$to" in value)) return { value, to: undefined };
  const { $to, ...envelope } = value;
  return { value: envelope, to: typeof $to === "number" ? $to : undefined };
}

/** What a frame of text holds. @throws PubSubError `MALFORMED` */
export function parseFrame(data: unknown, maxFrame: number): unknown {
  if (typeof data !== "string") throw new PubSubError("MALFORMED", "A frame that is no text.");
  if (data.length > maxFrame || (data.length * 3 > maxFrame && utf8Length(data, maxFrame) > maxFrame))
    throw tooLong(data, maxFrame);
  return parseJson(data);
}

/** What is reported of a frame over the limit. @param beginning of the frame, or all of it */
export function tooLong(beginning: string, maxFrame: number): PubSubError {
  return new PubSubError(
    "MALFORMED",
    `A frame of more than ${maxFrame} bytes, which is the limit: ${excerpt(beginning.slice(0, 100))}.`,
  );
}
