/** Characters that a line may have. A hub takes 1 MiB unless told otherwise; this only bounds what is kept. */
const MAX_LINE = 16 * 1024 * 1024;

/** A line of a stream and its number, counted from 1; without text if it is too long to be kept. */
export interface Line {
  readonly number: number;
  readonly text: string | undefined;
}

/**
 * The lines of a stream of text, as they come in. Only a line feed ends one: `node:readline` also splits at U+2028 and
 * U+2029, which may stand in a JSON string.
 */
export async function* linesOf(stream: AsyncIterable<string>, limit: number = MAX_LINE): AsyncGenerator<Line[]> {
  let number = 0;
  let rest = "";
  let tooLong = false;
  const take = (end: string): Line => {
    const text = rest + end;
    const line = { number: ++number, text: tooLong || text.length > limit ? undefined : text };
    rest = "";
    tooLong = false;
    return line;
  };
  for await (const chunk of stream) {
    const lines: Line[] = [];
    let from = 0;
    for (let at = chunk.indexOf("\n"); at >= 0; at = chunk.indexOf("\n", from)) {
      lines.push(take(chunk.slice(from, at)));
      from = at + 1;
    }
    rest += chunk.slice(from);
    if (rest.length > limit) {
      rest = "";
      tooLong = true;
    }
    if (lines.length > 0) yield lines;
  }
  if (rest !== "" || tooLong) yield [take("")];
}
