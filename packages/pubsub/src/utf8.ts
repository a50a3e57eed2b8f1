const encoder = new TextEncoder();

/** Bytes that are allocated at once. */
const ROOM = 64 * 1024;

let room = new Uint8Array(0);
let used = 0;

/** A text as UTF-8. Small ones share a buffer: one for each would cost more than the encoding. */
export function utf8(text: string): Uint8Array {
  const most = text.length * 3;
  if (most > ROOM / 4) return encoder.encode(text);
  if (used + most > room.length) {
    room = new Uint8Array(ROOM);
    used = 0;
  }
  const from = used;
  used += encoder.encodeInto(text, room.subarray(from)).written;
  return room.subarray(from, used);
}
