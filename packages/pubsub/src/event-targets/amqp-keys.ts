/** Topics as AMQP's routing keys: the tokens of the type, then the id as one word. Keys have 255 bytes at most. */
import type { Filter } from "../transport.ts";
import { wordOf, wordsOf } from "../words.ts";

/** Characters, which are ASCII: with the dot between, and a `.#` of a pattern, they come to 255. */
const MAX_TYPE = 125;
const MAX_ID = 127;

/** The first word of keys whose type is too long for one and stands there as a hash. No token is like it. */
const LONG = "%";

/** Bytes that the name of a queue may have. */
const MAX_QUEUE = 255;

/** The key that events of a topic are published with. */
export function keyOf(type: string, id: string): string {
  return `${headOf(wordsOf(type))}.${tailOf(id)}`;
}

/**
 * The keys that a queue is bound with for a filter. They match all that the filter does, and may match more: all that has one
 * hash, and, for a pattern, whatever type is long.
 */
export function bindingKeysOf({ type, id }: Filter): string[] {
  const tail = id === undefined ? "*" : tailOf(id);
  if (!type.includes("*")) return [`${headOf(wordsOf(type))}.${tail}`];
  // `#` is any number of words, none included.
  if (type === "**") return [`#.${tail}`];
  const words = type.endsWith(".**") ? wordsOf(type.slice(0, -3)) : wordsOf(type);
  const long = `${LONG}.*.${tail}`;
  // What is longer than that matches long types alone.
  if (words.length > MAX_TYPE) return [long];
  return [`${words}${type.endsWith(".**") ? ".#" : ""}.${tail}`, long];
}

/** The name of the queue that the members of a group share: one for each filter. */
export async function groupQueueOf(exchange: string, { type, id, group = "" }: Filter): Promise<string> {
  const name = `${exchange}:${wordOf(group)}:${wordsOf(type)}:${id === undefined ? "*" : wordOf(id)}`;
  if (name.length <= MAX_QUEUE) return name;
  // Unlike keys, of which more may come than was asked for, no two may be the same.
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(name));
  return `${exchange}:%${Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function headOf(words: string): string {
  return words.length <= MAX_TYPE ? words : `${LONG}.${hashOf(words)}`;
}

function tailOf(id: string): string {
  const word = wordOf(id);
  // No other word begins like that.
  return word.length <= MAX_ID ? word : `%%${hashOf(word)}`;
}

/** 64 bits that tell texts apart where nobody means them to be the same; if they are, events come and are dropped. */
function hashOf(text: string): string {
  let [one, other] = [0x811c9dc5, 0x9747b28c];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    one = Math.imul(one ^ code, 0x01000193);
    other = Math.imul(other ^ code, 0x5bd1e995);
    other ^= other >>> 15;
  }
  return [one, other].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}
