/** Topics as words that any broker takes between its separators: any string as one word, reversibly. */

/** The word of the empty string: a lone percent sign stands for nothing else. */
const EMPTY = "%";

/** The tokens of a type or pattern, with dots between them; its stars stand for themselves. */
export function wordsOf(type: string): string {
  return PLAIN_TYPE.test(type)
    ? type
    : type
        .split(".")
        .map((token) => (token === "*" ? token : wordOf(token)))
        .join(".");
}

const PLAIN_TYPE = /^[\w.-]+$/;
const PLAIN = /^[\w-]+$/;

/** Any string as one word: letters, digits, `_` and `-` as they are, all else as the bytes of its UTF-8, percent-encoded. */
export function wordOf(text: string): string {
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
