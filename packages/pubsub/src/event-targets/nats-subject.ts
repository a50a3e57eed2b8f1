/** Topics as NATS subjects: `prefix.id.type`, any string as one token, reversibly. */
import { excerpt, PubSubError } from "../errors.ts";
import type { Filter } from "../transport.ts";

/** The token of the empty id: a lone percent sign stands for nothing else. */
const EMPTY = "%";

/** The subject that events of a topic are published to. */
export function subjectOf(prefix: string, type: string, id: string): string {
  return `${prefix}.${tokenOf(id)}.${typeOf(type)}`;
}

/** The subjects that together are a filter, and of which no two match the same. */
export function subjectsOf(prefix: string, { type, id }: Filter): string[] {
  const head = `${prefix}.${id === undefined ? "*" : tokenOf(id)}.`;
  if (type === "**") return [`${head}>`];
  if (!type.endsWith(".**")) return [head + typeOf(type)];
  // `>` is one token at least, `**` may be none.
  const before = head + typeOf(type.slice(0, -3));
  return [before, `${before}.>`];
}

/** A group as the name of a queue. */
export function queueOf(group: string): string {
  return tokenOf(group);
}

/** @throws PubSubError `INVALID_OPTION` */
export function checkPrefix(prefix: string): void {
  if (typeof prefix !== "string" || !/^[^\s.*>]+(\.[^\s.*>]+)*$/.test(prefix))
    throw new PubSubError(
      "INVALID_OPTION",
      `prefix has to be one or more tokens of a NATS subject, with dots between them and no wildcards, such as alk.events; not ${excerpt(prefix)}.`,
    );
}

function typeOf(type: string): string {
  return PLAIN_TYPE.test(type)
    ? type
    : type
        .split(".")
        .map((token) => (token === "*" ? token : tokenOf(token)))
        .join(".");
}

const PLAIN_TYPE = /^[\w.-]+$/;
const PLAIN = /^[\w-]+$/;

/** Any string as one token: letters, digits, `_` and `-` as they are, all else as the bytes of its UTF-8, percent-encoded. */
function tokenOf(text: string): string {
  if (PLAIN.test(text)) return text;
  return text === "" ? EMPTY : text.replace(/[^\w-]/gu, escaped);
}

function escaped(character: string): string {
  const code = character.codePointAt(0) as number;
  const bytes =
    code < 0x80
      ? [code]
      : code < 0x800
        ? [0xc0 | (code >> 6), 0x80 | (code & 63)]
        : code < 0x1_0000
          ? // Half of a surrogate pair too, which is no text and has no UTF-8.
            [0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)]
          : [0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)];
  return bytes.map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
}
