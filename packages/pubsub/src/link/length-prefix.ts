// Frames of text in a stream of bytes: a length (32 bits, big-endian), then so many bytes of UTF-8. One of length 0 is
// nothing, and is skipped.
import { PubSubError } from "../errors.ts";

/** Bytes in front of each frame. */
const HEADER = 4;
/** Bytes that are set aside for a frame at first; what the far end claims to send costs nothing until it comes. */
const FIRST = 4096;

const encoder = new TextEncoder();
// A text that is not what was sent must not pass for it.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A frame as it goes over the stream. */
export function encodeFrame(text: string): Uint8Array {
  const body = encoder.encode(text);
  const bytes = new Uint8Array(HEADER + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes.set(body, HEADER);
  return bytes;
}

/**
 * Cuts bytes into frames, however they arrive. A frame of more than `maxFrame` bytes is skipped without being kept: an
 * error takes its place, as it takes that of one that is no UTF-8.
 */
export class FrameReader {
  readonly #maxFrame: number;
  readonly #frame: (frame: string | PubSubError) => void;
  /** How much of the header has come, and what it says so far. */
  #header = 0;
  #length = 0;
  /** What has come of a frame that did not come at once. */
  #body = new Uint8Array(0);
  #received = 0;

  /** @param frame told of each frame, in order, before `push` returns */
  constructor(maxFrame: number, frame: (frame: string | PubSubError) => void) {
    this.#maxFrame = maxFrame;
    this.#frame = frame;
  }

  /** Whether the bytes so far end between two frames. */
  get whole(): boolean {
    return this.#header === 0;
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      if (this.#header < HEADER) {
        this.#length = this.#length * 256 + (bytes[at++] as number);
        if (++this.#header < HEADER) continue;
        if (this.#length > this.#maxFrame)
          this.#frame(malformed(`A frame of ${this.#length} bytes; the limit is ${this.#maxFrame}.`));
        else if (this.#length === 0) this.#next();
        continue;
      }
      const part = bytes.subarray(at, at + this.#length - this.#received);
      at += part.length;
      this.#take(part);
    }
  }

  #take(part: Uint8Array): void {
    const before = this.#received;
    const length = this.#length;
    this.#received += part.length;
    const complete = this.#received === length;
    if (length > this.#maxFrame) {
      if (complete) this.#next();
      return;
    }
    if (before > 0 || !complete) this.#keep(part, before);
    if (!complete) return;
    const frame = before > 0 ? this.#body.subarray(0, length) : part;
    this.#next();
    this.#frame(decode(frame));
  }

  #keep(part: Uint8Array, at: number): void {
    if (this.#body.length < this.#received) {
      const larger = new Uint8Array(Math.min(this.#length, Math.max(FIRST, this.#received * 2)));
      larger.set(this.#body.subarray(0, at));
      this.#body = larger;
    }
    this.#body.set(part, at);
  }

  #next(): void {
    this.#header = 0;
    this.#length = 0;
    this.#received = 0;
    this.#body = new Uint8Array(0);
  }
}

function decode(bytes: Uint8Array): string | PubSubError {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    return malformed("A frame that is no UTF-8.", cause);
  }
}

function malformed(message: string, cause?: unknown): PubSubError {
  return new PubSubError("MALFORMED", message, { cause });
}
