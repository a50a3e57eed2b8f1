import { array, assert, infiniteStream, nat, property, string } from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeFrame, FrameReader } from "../src/link/length-prefix.ts";

const MAX = 64;

/** What a reader makes of these pieces: each frame, or the code of what came in its place. */
function read(pieces: readonly Uint8Array[], maxFrame = MAX): { frames: string[]; whole: boolean } {
  const frames: string[] = [];
  const reader = new FrameReader(maxFrame, (frame) => frames.push(typeof frame === "string" ? frame : code(frame)));
  for (const piece of pieces) reader.push(piece);
  return { frames, whole: reader.whole };
}

const code = (error: unknown): string => (error as { code: string }).code;
const join = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const claim = (length: number): Uint8Array => {
  const header = new Uint8Array(4);
  new DataView(header.buffer).setUint32(0, length);
  return header;
};

describe("frames with their length in front", () => {
  test("are what they were, however the bytes are cut", () => {
    assert(
      property(array(string({ unit: "binary", maxLength: 20 })), infiniteStream(nat(7)), (texts, cuts) => {
        const bytes = join(...texts.map((text) => encodeFrame(text)));
        const pieces: Uint8Array[] = [];
        for (let at = 0; at < bytes.length;) {
          const size = cuts.next().value + 1;
          pieces.push(bytes.subarray(at, at + size));
          at += size;
        }
        const { frames, whole } = read(pieces, 1000);
        expect(frames).toEqual(texts.filter((text) => text !== ""));
        expect(whole).toBe(true);
      }),
    );
  });

  test("of the length that is the limit are read, and of one byte more are errors in their place", () => {
    const fits = "x".repeat(MAX);
    const bytes = join(encodeFrame("a"), encodeFrame(fits), encodeFrame(`${fits}y`), encodeFrame("b"));
    expect(read([bytes]).frames).toEqual(["a", fits, "MALFORMED", "b"]);
    expect(read(Array.from(bytes, (byte) => Uint8Array.of(byte))).frames).toEqual(["a", fits, "MALFORMED", "b"]);
  });

  test("that are too large are told of as soon as they say so, by how much", () => {
    const errors: unknown[] = [];
    new FrameReader(MAX, (frame) => errors.push(frame)).push(claim(0xffff_ffff));
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({
      code: "MALFORMED",
      message: "A frame of 4294967295 bytes; the limit is 64.",
    });
  });

  test("cost what has come of them, not what they claim", () => {
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 100 }, () => new FrameReader(2 ** 30, () => undefined));
    for (const reader of readers) reader.push(join(claim(2 ** 30), new Uint8Array(10)));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 22);
    expect(readers.every(({ whole }) => !whole)).toBe(true);
  });

  test("that come byte by byte cost no more than twice their size", () => {
    const text = "x".repeat(1_000_000);
    const bytes = encodeFrame(text);
    const frames: unknown[] = [];
    const reader = new FrameReader(bytes.length, (frame) => frames.push(frame));
    for (const byte of bytes.subarray(0, -1)) reader.push(Uint8Array.of(byte));
    expect(frames).toEqual([]);
    reader.push(bytes.subarray(-1));
    expect(frames).toEqual([text]);
  });

  test("that are no UTF-8 are errors, and pass for no other text", () => {
    expect(read([join(claim(2), Uint8Array.of(0xc3, 0x28)), encodeFrame("ü")]).frames).toEqual(["MALFORMED", "ü"]);
  });

  test("keep a byte order mark, which is a character like any other", () => {
    expect(read([encodeFrame("\uFEFFa")]).frames).toEqual(["\uFEFFa"]);
  });

  test("of length 0 are nothing", () => {
    expect(read([join(claim(0), encodeFrame("a"), claim(0), claim(0), encodeFrame("b"))]).frames).toEqual(["a", "b"]);
  });

  test("are not whole from their first byte to their last", () => {
    const bytes = encodeFrame("abc");
    for (let i = 0; i <= bytes.length; i++)
      expect(read([bytes.subarray(0, i)]).whole).toBe(i === 0 || i === bytes.length);
  });
});
