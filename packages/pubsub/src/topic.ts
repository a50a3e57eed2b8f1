import { excerpt, InvalidTopicError } from "./errors.ts";
import type { EventEnvelope } from "./envelope.ts";
import type { Filter } from "./transport.ts";

/** Tokens that a type may have. */
const MAX_TOKENS = 16;
/** Bytes of UTF-8 that a type may have. */
const MAX_TYPE_BYTES = 255;
/** Bytes of UTF-8 that an id may have. */
const MAX_ID_BYTES = 1024;

// White space and control characters, those of Unicode too; C1 controls (U+0080 to U+009F) are not in \s.
// eslint-disable-next-line no-control-regex
const FORBIDDEN = /[\s:\u0000-\u001f\u007f-\u009f]/;

/** Bytes of a string as UTF-8; stops counting once the limit is passed. */
export function utf8Length(text: string, limit: number = Infinity): number {
  let bytes = 0;
  for (let i = 0; i < text.length && bytes <= limit; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x80) bytes += 1;
    else if (code < 0x800) bytes += 2;
    else if (code >= 0xd800 && code < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      bytes += 4;
      i++;
    } else bytes += 3;
  }
  return bytes;
}

const DOT = 46;

/** Whether it is a type without anything unusual, as nearly all are: tokens of printable ASCII without `*`, `:` or `$`. */
function isPlain(type: string): boolean {
  if (type.length > MAX_TYPE_BYTES) return false;
  let tokens = 1;
  let before = DOT;
  for (let i = 0; i < type.length; i++) {
    const code = type.charCodeAt(i);
    if (code <= 42 || code >= 127 || code === 58) return false;
    if (code === DOT && (before === DOT || ++tokens > MAX_TOKENS)) return false;
    before = code;
  }
  return before !== DOT;
}

function tokensProblem(type: string, pattern: boolean): string | undefined {
  // Publishing looks at every type, and a regular expression and a split would cost more than all the rest.
  if (isPlain(type)) return undefined;
  if (type === "") return "it is empty; use dot-separated tokens such as session.status";
  const bad = FORBIDDEN.exec(type);
  if (bad !== null)
    return bad[0] === ":"
      ? "it contains a colon, which separates type and id; pass the id as the second argument"
      : "it contains white space or a control character; use dot-separated tokens such as session.status";
  if (type.startsWith("$")) return "types that start with $ are reserved for the link protocol; choose another name";
  if (type.length > MAX_TYPE_BYTES || (type.length * 3 > MAX_TYPE_BYTES && utf8Length(type) > MAX_TYPE_BYTES))
    return `it is longer than ${MAX_TYPE_BYTES} bytes; put the variable part into the id`;
  const tokens = type.split(".");
  if (tokens.length > MAX_TOKENS) return `it has ${tokens.length} tokens, the limit is ${MAX_TOKENS}`;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] as string;
    if (token === "") return "it has an empty token; dots stand between tokens, not at an end or side by side";
    if (!token.includes("*")) continue;
    if (!pattern) return "it contains a wildcard; * and ** are for subscribing, publish to one type";
    if (token === "**" && i < tokens.length - 1)
      return "** may stand only at the end; use * for one token in the middle";
    if (token !== "*" && token !== "**") return "a star stands for a whole token; write a.* rather than a.b*";
  }
  return undefined;
}

/** What was given as a string, so that an error can say it whatever it was. */
function asText(given: unknown): string {
  return typeof given === "string" ? given : excerpt(given);
}

/** Why a string cannot be an event type, or undefined if it can. */
export function typeProblem(type: string): string | undefined {
  return tokensProblem(type, false);
}

/** @throws InvalidTopicError unless the string can be published to. */
export function checkType(type: string): void {
  const problem = typeof type === "string" ? tokensProblem(type, false) : "it is not a string";
  if (problem !== undefined)
    throw new InvalidTopicError(asText(type), `${excerpt(type)} cannot be an event type: ${problem}.`);
}

/** @throws InvalidTopicError unless the string can be subscribed to. */
function checkPattern(type: string): void {
  const problem = typeof type === "string" ? tokensProblem(type, true) : "it is not a string";
  if (problem !== undefined)
    throw new InvalidTopicError(asText(type), `${excerpt(type)} cannot be subscribed to: ${problem}.`);
}

/** @throws InvalidTopicError unless the value is a string of at most 1 KiB. */
export function checkId(id: string): void {
  if (typeof id !== "string")
    throw new InvalidTopicError(
      asText(id),
      `An id must be a string, not ${id === null ? "null" : typeof id}; use "" where the type alone is the topic.`,
    );
  const problem = idProblem(id);
  if (problem !== undefined) throw new InvalidTopicError(id, problem);
}

/** Why a string cannot be an id, or undefined if it can. */
export function idProblem(id: string): string | undefined {
  if (id.length * 3 <= MAX_ID_BYTES || utf8Length(id) <= MAX_ID_BYTES) return undefined;
  return `An id may have ${MAX_ID_BYTES} bytes, this one has ${utf8Length(id)} (it starts with ${JSON.stringify(id.slice(0, 32))}); put long values into the payload.`;
}

/** @throws InvalidTopicError unless the filter can be subscribed to. */
export function checkFilter(filter: Filter): void {
  checkPattern(filter.type);
  if (filter.id !== undefined) checkId(filter.id);
}

/** Whether the type of a filter is a pattern rather than one type. */
export function isPattern(type: string): boolean {
  return type.includes("*");
}

/** Whether a pattern matches a type; `*` is one token, a last `**` any number of them, none included. */
export function matchesType(pattern: string, type: string): boolean {
  if (!isPattern(pattern)) return pattern === type;
  const wanted = pattern.split(".");
  const tokens = type.split(".");
  for (let i = 0; i < wanted.length; i++) {
    const token = wanted[i];
    if (token === "**") return true;
    if (i >= tokens.length || (token !== "*" && token !== tokens[i])) return false;
  }
  return wanted.length === tokens.length;
}

/** Whether a filter lets an envelope pass. */
export function matchesFilter(filter: Filter, envelope: EventEnvelope): boolean {
  return (filter.id === undefined || filter.id === envelope.id) && matchesType(filter.type, envelope.type);
}

/** A string that is equal for equal filters. No type contains a colon, so the parts cannot run together. */
export function filterKey(filter: Filter): string {
  const topic = filter.id === undefined ? filter.type : `${filter.type}:${filter.id}`;
  return filter.group === undefined ? topic : `${filter.group.length}:${filter.group}:${topic}`;
}

/** The exact filter that a facade topic (`type:id`, or the bare type) stands for. @throws InvalidTopicError */
export function parseTopic(topic: string): { type: string; id: string } {
  const colon = topic.indexOf(":");
  const type = colon < 0 ? topic : topic.slice(0, colon);
  const id = colon < 0 ? "" : topic.slice(colon + 1);
  checkType(type);
  checkId(id);
  return { type, id };
}
