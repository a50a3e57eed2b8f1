/** The terminal while the table is live: its second screen, redrawn in place, so that the first is kept as it was. */
const ENTER = "\u001B[?1049h\u001B[?25l\u001B[?7l";
const LEAVE = "\u001B[?7h\u001B[?25h\u001B[?1049l";
// Terminals that know it show all that is between the two at once; others ignore it.
const BEGIN = "\u001B[?2026h";
const END = "\u001B[?2026l";
const HOME = "\u001B[H";
const REST_OF_LINE = "\u001B[K";
const REST_OF_SCREEN = "\u001B[J";

/** @param {import("node:tty").WriteStream} terminal */
export function createScreen(terminal) {
  let left = false;
  terminal.write(ENTER);
  return {
    /** @param {readonly string[]} lines */
    draw(lines) {
      // A terminal that does not keep up (a slow line, a selection with the mouse) gets the next picture instead.
      if (left || terminal.writableNeedDrain) return;
      const text = lines.slice(0, terminal.rows).join(`${REST_OF_LINE}\r\n`);
      terminal.write(`${BEGIN}${HOME}${text}${REST_OF_LINE}${REST_OF_SCREEN}${END}`);
    },
    leave() {
      if (left) return;
      left = true;
      terminal.write(LEAVE);
    },
  };
}
