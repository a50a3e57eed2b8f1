import { utf8Length } from "../topic.ts";

/**
 * Told of one line, without its end. `problem`: why it is not as it was sent: it is too long and was cut, or is no UTF-8.
 */
export type OnLine = (line: string, problem: "length" | "encoding" | undefined) => void;

const NEWLINE = 10;
// Fatal: a character that is none would otherwise be replaced, and nobody would know.
const strict = new TextDecoder("utf-8", { fatal: true });
const lenient = new TextDecoder("utf-8");
const encoder = new TextEncoder();

/** The lines of a stream of UTF-8. A chunk may end anywhere, in the middle of a character too. */
export class LineReader {
  readonly #maxLine: number;
  readonly #onLine: OnLine;
  /** The beginning of a line whose end has not come, and how long it is, more than is kept included. */
  #rest: Uint8Array[] = [];
  #length = 0;

  /** @param maxLine bytes of a line; of a longer one no more than that is kept */
  constructor(maxLine: number, onLine: OnLine) {
    this.#maxLine = maxLine;
    this.#onLine = onLine;
  }

  /** @param chunk bytes, or text where the stream was told to decode */
  push(chunk: Uint8Array | string): void {
    const bytes = typeof chunk === "string" ? encoder.encode(chunk) : chunk;
    // No other character has this byte in it, so what lies between two of them can be decoded at once.
    const last = bytes.lastIndexOf(NEWLINE);
    if (last < 0) return this.#keep(bytes);
    let from = 0;
    if (this.#length > 0) {
      from = bytes.indexOf(NEWLINE) + 1;
      this.#keep(bytes.subarray(0, from - 1));
      this.end();
    }
    if (from <= last) this.#lines(bytes.subarray(from, last));
    this.#keep(bytes.subarray(last + 1));
  }

  /** The stream is over: a last line without its end counts. */
  end(): void {
    if (this.#length === 0) return;
    const whole = this.#length <= this.#maxLine;
    const [first] = this.#rest;
    const line = this.#rest.length === 1 && first !== undefined ? first : joined(this.#rest);
    this.#rest = [];
    this.#length = 0;
    if (whole) this.#lines(line);
    else this.#onLine(lenient.decode(line), "length");
  }

  #keep(bytes: Uint8Array): void {
    const room = this.#maxLine - this.#length;
    this.#length += bytes.length;
    // The stream may use its memory again.
    if (room > 0 && bytes.length > 0) this.#rest.push(bytes.slice(0, room));
  }

  #lines(bytes: Uint8Array): void {
    let text: string;
    try {
      text = strict.decode(bytes);
    } catch {
      return this.#broken(bytes);
    }
    for (let from = 0; from <= text.length;) {
      const newline = text.indexOf("\n", from);
      const to = newline < 0 ? text.length : newline;
      this.#tell(text.slice(from, to));
      from = to + 1;
    }
  }

  /** At least one of the lines is no UTF-8. */
  #broken(bytes: Uint8Array): void {
    for (let from = 0; from <= bytes.length;) {
      const newline = bytes.indexOf(NEWLINE, from);
      const to = newline < 0 ? bytes.length : newline;
      const line = bytes.subarray(from, to);
      let text: string | undefined;
      try {
        text = strict.decode(line);
      } catch {
        this.#onLine(lenient.decode(line), "encoding");
      }
      if (text !== undefined) this.#tell(text);
      from = to + 1;
    }
  }

  #tell(line: string): void {
    const max = this.#maxLine;
    const long = line.length > max || (line.length * 3 > max && utf8Length(line, max) > max);
    this.#onLine(line.endsWith("\r") ? line.slice(0, -1) : line, long ? "length" : undefined);
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
