/** Topics as those of MQTT: `prefix/id/type`, the tokens of the type as levels. */
import { excerpt, PubSubError } from "../errors.ts";
import { utf8Length } from "../topic.ts";
import type { Filter } from "../transport.ts";
import { wordOf, wordsOf } from "../words.ts";

/** Bytes that a prefix may have: with the longest topic and group it is still one that MQTT takes (65,535). */
const MAX_PREFIX = 1024;

/** Bytes of a packet beside an event, behind the prefix: where the id has nothing to be encoded. */
export const MAX_TOPIC: number = 10 + 2 + 255 + 1024;

/** What events of a topic are published to. */
export function topicOf(prefix: string, type: string, id: string): string {
  return `${prefix}/${wordOf(id)}/${levelsOf(type)}`;
}

/** What is subscribed to for a filter, and nothing wider: a last `#` may be nothing, as our `**`. */
export function topicFilterOf(prefix: string, { type, id, group }: Filter): string {
  const levels = levelsOf(type.replace(/\.?\*\*$/, "")).replaceAll("*", "+");
  const rest = type.endsWith("**") ? (levels === "" ? "#" : `${levels}/#`) : levels;
  const filter = `${prefix}/${id === undefined ? "+" : wordOf(id)}/${rest}`;
  return group === undefined ? filter : `$share/${wordOf(group)}/${filter}`;
}

function levelsOf(type: string): string {
  return type === "" ? "" : wordsOf(type).replaceAll(".", "/");
}

/** @throws PubSubError `INVALID_OPTION` */
export function checkPrefix(prefix: string): void {
  if (
    typeof prefix !== "string" ||
    !/^[^$/+#\0][^/+#\0]*(\/[^/+#\0]+)*$/.test(prefix) ||
    utf8Length(prefix) > MAX_PREFIX
  )
    throw new PubSubError(
      "INVALID_OPTION",
      `prefix has to be one or more levels of an MQTT topic without wildcards, such as alk/events, of ${MAX_PREFIX} bytes at most, and not begin with $; not ${excerpt(prefix)}.`,
    );
}
