// Two levels of child processes, and more events than fit anywhere on the way.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { Opened } from "./fixtures/opened.ts";
import { endChild } from "./fixtures/stdio.ts";

const opened = new Opened();
afterEach(() => opened.end());

/** What the three processes say of themselves. */
interface Word {
  readonly level: "top" | "middle" | "leaf";
  /** How often each code. */
  readonly refused?: Readonly<Record<string, number>>;
  readonly received?: number;
  readonly wrong?: number;
  readonly total?: number;
  /** Bytes that it took at most since it was ready. */
  readonly taken?: number;
  readonly errors?: Readonly<Record<string, number>>;
  readonly gap?: unknown;
  readonly done?: boolean;
}

/** Three processes in a row, and how far each is. */
class Chain {
  readonly top: ChildProcess;
  readonly words: Word[] = [];
  readonly over: Promise<void>;
  #wake: () => void = () => undefined;

  constructor(...options: readonly number[]) {
    const script = fileURLToPath(new URL("fixtures/stdio-chain.mjs", import.meta.url));
    this.top = spawn(process.execPath, [script, "top", ...options.map(String)], {
      stdio: ["pipe", "ignore", "pipe"],
    });
    opened.add(() => endChild(this.top));
    const lines = createInterface({ input: this.top.stderr! });
    lines.on("line", (line) => {
      this.words.push(JSON.parse(line) as Word);
      this.#wake();
    });
    // Once all three are gone, nobody has the pipe any more.
    this.over = new Promise((resolve) => lines.on("close", resolve));
  }

  async said(holds: (word: Word) => boolean): Promise<Word> {
    for (let at = 0; ; at++) {
      while (at >= this.words.length) await new Promise<void>((resolve) => (this.#wake = resolve));
      const word = this.words[at];
      if (word !== undefined && holds(word)) return word;
    }
  }

  /** Both that publish have done so, and the first has all that can still come; @returns what it says of it */
  async finish(): Promise<Word> {
    for (const level of ["middle", "leaf"]) await this.said((word) => word.level === level && word.done === true);
    this.top.stdin?.write("finish\n");
    const last = await this.said((word) => word.total !== undefined);
    // What the ends of the others say of each other is no loss.
    this.#losses = this.words.slice(0, this.words.indexOf(last));
    await this.over;
    return last;
  }

  #losses: readonly Word[] = [];

  /** How often each code came of publishes of a process that were refused, or of what it could not pass on of another one. */
  lost(level: Word["level"], what: "refused" | "errors"): Record<string, number> {
    const sum: Record<string, number> = {};
    for (const word of this.#losses)
      if (word.level === level)
        for (const [code, count] of Object.entries(word[what] ?? {})) sum[code] = (sum[code] ?? 0) + count;
    return sum;
  }

  get gaps(): unknown[] {
    return this.words.flatMap(({ gap }) => gap ?? []);
  }

  taken(level: Word["level"]): number {
    return this.words.find((word) => word.level === level && word.taken !== undefined)?.taken ?? Infinity;
  }
}

/** Bytes that a process of Node takes for itself meanwhile: young objects, compiled code. */
const NODE = 96 * 1024 * 1024;
/** Bytes that an event takes that waits for its acknowledgement, its text in the stream included. */
const EVENT = 1024;
const WINDOW = 500;
/** A busy machine takes its time for so many, in milliseconds. */
const timeout = 120_000;

test(
  "100,000 events through a middle process that is busy, and as many of its own: all, in order, once, in bounded memory",
  { timeout },
  async () => {
    // All of one publisher would be allowed to wait.
    const limit = 110_000;
    const chain = new Chain(100_000, WINDOW, 5, limit);
    expect(await chain.finish()).toMatchObject({ wrong: 0, total: 200_000 });
    for (const level of ["top", "middle", "leaf"] as const) {
      expect([chain.lost(level, "refused"), chain.lost(level, "errors")]).toEqual([{}, {}]);
      expect(chain.taken(level)).toBeLessThan(NODE + limit * EVENT);
    }
    expect(chain.gaps).toEqual([]);
  },
);

test(
  "where the top does not read, what is over the limit is refused to its publisher, or reported where it was to be passed on",
  { timeout },
  async () => {
    const count = 20_000;
    const limit = 2000;
    const chain = new Chain(count, WINDOW, 0, limit);
    await chain.said(({ received = 0 }) => received >= 4000);
    chain.top.kill("SIGSTOP");
    // All of the third process, which the second takes from it and cannot pass on.
    await chain.said((word) => word.level === "leaf" && word.done === true);
    chain.top.kill("SIGCONT");
    const { wrong, total = 0 } = await chain.finish();
    const { OVERFLOW: refused = 0, ...others } = chain.lost("middle", "refused");
    const { OVERFLOW: reported = 0, ...more } = chain.lost("middle", "errors");
    expect({ wrong, total }).toEqual({ wrong: 0, total: 2 * count - refused - reported });
    expect(reported).toBeGreaterThan(5000);
    expect([others, more, chain.lost("leaf", "refused"), chain.lost("leaf", "errors"), ...chain.gaps]).toEqual([
      {},
      {},
      {},
      {},
    ]);
    for (const level of ["middle", "leaf"] as const) expect(chain.taken(level)).toBeLessThan(NODE + limit * EVENT);
  },
);
