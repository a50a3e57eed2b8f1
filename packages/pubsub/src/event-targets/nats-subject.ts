/** Topics as NATS subjects: `prefix.id.type`. */
import { excerpt, formatTopic, PubSubError } from "../errors.ts";
import type { Filter } from "../transport.ts";
import { wordOf, wordsOf } from "../words.ts";

/** Bytes of a line of the protocol that a server takes. With more it closes the connection. */
const MAX_LINE = 4096;

/** What a line has beside subject and queue, at most. */
const AROUND = 32;

/** The subject that events of a topic are published to. */
export function subjectOf(prefix: string, type: string, id: string): string {
  return `${prefix}.${wordOf(id)}.${wordsOf(type)}`;
}

/** The subjects that together are a filter, and of which no two match the same. */
export function subjectsOf(prefix: string, { type, id }: Filter): string[] {
  const head = `${prefix}.${id === undefined ? "*" : wordOf(id)}.`;
  if (type === "**") return [`${head}>`];
  if (!type.endsWith(".**")) return [head + wordsOf(type)];
  // `>` is one token at least, `**` may be none.
  const before = head + wordsOf(type.slice(0, -3));
  return [before, `${before}.>`];
}

/** A group as the name of a queue. */
export function queueOf(group: string): string {
  return wordOf(group);
}

/** @throws PubSubError `INVALID_OPTION` */
export function checkPrefix(prefix: string): void {
  if (typeof prefix !== "string" || !/^[^\s.*>]+(\.[^\s.*>]+)*$/.test(prefix))
    throw new PubSubError(
      "INVALID_OPTION",
      `prefix has to be one or more tokens of a NATS subject, with dots between them and no wildcards, such as alk.events; not ${excerpt(prefix)}.`,
    );
}

/** @throws PubSubError `LIMIT` */
export function checkLine({ type, id }: Pick<Filter, "type" | "id">, length: number): void {
  if (length + AROUND <= MAX_LINE) return;
  throw new PubSubError(
    "LIMIT",
    `${excerpt(formatTopic(type, id))} is too long for NATS: subject and queue have ${length} bytes, and may have ${MAX_LINE - AROUND}. Use a shorter prefix, id or group.`,
  );
}
