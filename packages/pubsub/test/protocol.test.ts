// docs/protocol.md is what others implement: each example in it is held to the real parser, and its conversation to a real link.
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { Gap } from "@alkdev/pubsub";
import { connectLink, defineEventTarget } from "@alkdev/pubsub/transport";
import type { ChannelReceiver } from "@alkdev/pubsub/transport";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { EventEnvelope } from "../src/envelope.ts";
import { parseEnvelope } from "../src/envelope.ts";
import { checkControl, isControl, parseFrame, takeAddress } from "../src/link/frames.ts";
import { checkFilter, matchesType, typeProblem } from "../src/topic.ts";

const document = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");

/** The fenced blocks of one kind, without the indentation that they have in a list. */
function blocks(kind: string): string[] {
  return [...document.matchAll(new RegExp(`^( *)\`\`\`${kind}\\n(.*?)^ *\`\`\`$`, "gms"))].map(
    ([, indentation = "", text = ""]) => text.replaceAll(new RegExp(`^${indentation}`, "gm"), ""),
  );
}

/** The values of a block: one, on several lines, or one a line. */
function values(text: string): unknown[] {
  try {
    return [JSON.parse(text)];
  } catch {
    return text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown);
  }
}

/** Does with one frame what a session does. @throws PubSubError `MALFORMED` */
function check(frame: unknown): void {
  for (const each of Array.isArray(frame) ? frame : [frame])
    if (isControl(each)) checkControl(each);
    else parseEnvelope(takeAddress(each).value);
}

/** The rows of the table under a line of headings. */
function rows(headings: string): string[][] {
  const start = document.indexOf(headings);
  expect(start).toBeGreaterThan(0);
  return document
    .slice(start)
    .split("\n\n", 1)
    .join()
    .split("\n")
    .slice(2)
    .map((row) =>
      row
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const code = (cell: string | undefined): string => cell?.replaceAll("`", "") ?? "";

describe("docs/protocol.md", () => {
  test.each(
    blocks("json")
      .flatMap(values)
      .map((frame) => [JSON.stringify(frame), frame]),
  )("%s is a frame that a session takes", (text, frame) => {
    check(parseFrame(text, 1 << 20));
    // One with members that nobody reads would be of no help.
    const known = /^(type|id|payload|meta|\$to)$/;
    for (const each of Array.isArray(frame) ? frame : [frame])
      expect(Object.keys(each as object).filter((name) => !known.test(name))).toEqual([]);
  });

  test.each(
    blocks("malformed")
      .flatMap(values)
      .map((frame) => [JSON.stringify(frame), frame]),
  )("%s is malformed", (_, frame) => {
    expect(() => check(frame)).toThrow(expect.objectContaining({ code: "MALFORMED" }));
  });

  test("it shows every control frame, and its table names them all and no other", () => {
    const source = readFileSync(new URL("../src/link/frames.ts", import.meta.url), "utf8");
    const members = /export interface Control \{(.*?)^\}/ms.exec(source)?.[1] ?? "";
    const inSource = [...members.matchAll(/^ {2}(\$[a-z]+):/gm)].map(([, name = ""]) => name);
    expect(inSource.length).toBeGreaterThan(10);
    const shown = blocks("json").flatMap(values).flat() as EventEnvelope[];
    const types = new Set(shown.map(({ type }) => type));
    expect(inSource.filter((type) => !types.has(type))).toEqual([]);
    const named = rows("| type | payload | meaning |").flatMap(([type]) => code(type).split(", "));
    expect([...new Set(named)].sort()).toEqual(inSource.sort());
  });

  test("its table of patterns is what matches", () => {
    const table = rows("| pattern | type | matches |");
    expect(table.length).toBeGreaterThan(8);
    for (const [pattern, type, matches] of table) {
      checkFilter({ type: code(pattern) });
      expect(typeProblem(code(type))).toBeUndefined();
      expect([pattern, type, matchesType(code(pattern), code(type))]).toEqual([pattern, type, matches === "yes"]);
    }
  });

  test("every code in its table is in the sources, and every code that ends a link is in its table", () => {
    const codes = rows("| code | said by | means |").map(([name]) => code(name));
    const sources = [
      "pubsub/src/errors.ts",
      "pubsub/src/link/session.ts",
      "pubsub/src/link/link.ts",
      "hub/src/hub-link.ts",
      "hub/src/hub.ts",
      "hub/src/server.ts",
    ]
      .map((file) => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8"))
      .join("\n");
    expect(codes.filter((name) => !sources.includes(`"${name}"`))).toEqual([]);
    const goodbyes = [...sources.matchAll(/(?:close\(|#giveUp\(|\{ code: )"([A-Z]+)"/g)].map(([, name = ""]) => name);
    expect(goodbyes.length).toBeGreaterThan(6);
    expect(goodbyes.filter((name) => !codes.includes(name))).toEqual([]);
  });

  test("what it forbids in a type is what is forbidden", () => {
    const [, list = ""] = /control characters \((.*?)\); it does/s.exec(document) ?? [];
    const forbidden = new Set<number>();
    for (const [, from = "", to = from] of list.matchAll(/U\+([0-9A-F]{4})(?: to U\+([0-9A-F]{4}))?/g))
      for (let code = Number.parseInt(from, 16); code <= Number.parseInt(to, 16); code++) forbidden.add(code);
    expect(forbidden.size).toBeGreaterThan(20);
    for (let code = 0; code <= 0xffff; code++) {
      // Of ASCII the text has words: colon, star, white space, control characters; a dot would be an empty token.
      const word = code <= 0x20 || code === 0x7f || ":*.$".includes(String.fromCharCode(code));
      expect([code, typeProblem(String.fromCharCode(code)) !== undefined]).toEqual([code, word || forbidden.has(code)]);
    }
  });
});

/** A link whose other end is in the hands of the test, on this side everything that a program does. */
class Replay {
  readonly #sent: string[] = [];
  readonly #story: unknown[] = [];
  readonly #outcomes = new Map<string, Promise<unknown>>();
  readonly #subscribing = new Map<string, Promise<void>>();
  readonly #link = connectLink();
  readonly #target = defineEventTarget(this.#link, { eager: true, onError: (error) => this.#note("error", error) });
  readonly #pubsub = createPubSub({ eventTarget: this.#target });
  #receiver: ChannelReceiver | undefined;
  #wake: () => void = () => undefined;
  /** What stands in the document for what is random, and back. */
  readonly #actual = new Map<string, string>();

  constructor() {
    this.#link.attach({
      encoding: "json",
      heartbeat: 0,
      buffered: 0,
      open: (receiver) => void (this.#receiver = receiver),
      send: (frame) => {
        // Said again until it is answered, which is a matter of time.
        if (frame === this.#sent.at(-1) && String(frame).includes('"$hello"')) return;
        this.#sent.push(frame as string);
        this.#wake();
      },
      close: () => undefined,
    });
  }

  async line(line: string): Promise<void> {
    const text = line.slice(2);
    if (line.startsWith("→ ")) this.#receiver?.frame(this.#withActual(text));
    else if (line.startsWith("← ")) this.#compare(await this.#next(this.#sent), text);
    else await this.#program(text);
  }

  /** Nothing was said or seen that is not in the document. */
  end(): void {
    expect(this.#sent).toEqual([]);
    expect(this.#story).toEqual([]);
  }

  #note(...what: unknown[]): void {
    this.#story.push(what.map((each) => (each instanceof PubSubError ? each.code : each)));
    this.#wake();
  }

  async #next<T>(from: T[]): Promise<T> {
    while (from.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    return from.shift() as T;
  }

  #compare(said: string, expected: string): void {
    const one = JSON.parse(said) as unknown;
    const other = JSON.parse(expected, (key, value: unknown) => {
      if (key === "message" && value === "…") return expect.any(String) as unknown;
      if ((key === "nonce" || key === "session") && !String(value).startsWith("b"))
        return this.#learn(String(value), key, one);
      return value;
    }) as unknown;
    expect(one).toEqual(other);
  }

  /** The random value at the place of one in the document; always the same for the same. */
  #learn(documented: string, key: string, said: unknown): string {
    if (!this.#actual.has(documented))
      this.#actual.set(documented, (said as EventEnvelope<string, Record<string, string>>).payload[key] ?? "");
    return this.#actual.get(documented) as string;
  }

  #withActual(text: string): string {
    return text.replaceAll(/"(nonce|session)":"(\w+)"/g, (whole, key: string, name: string) =>
      this.#actual.has(name) ? `"${key}":"${this.#actual.get(name)}"` : whole,
    );
  }

  async #program(text: string): Promise<void> {
    const [, what = "", rest = ""] = /^(\w+) ?(.*)$/s.exec(text) ?? [];
    const args = JSON.parse(`[${rest.replaceAll(/(?<=["\d]) (?=["{\dn])/g, ",")}]`) as string[];
    const [type = "", id = "", payload] = args as [string?, string?, unknown?];
    switch (what) {
      case "subscribe":
        this.#subscribing.set(
          type,
          this.#pubsub
            .on(type, ({ type, id, payload }) => this.#note("event", type, id, payload), {
              onGap: ({ reason, lost }: Gap) => this.#note("gap", reason, lost),
            })
            .then(() => undefined),
        );
        return;
      case "subscribed":
        return this.#subscribing.get(type);
      case "publish": {
        const given = typeof payload === "string" ? "x".repeat(5000) : payload;
        this.#outcomes.set(
          `${type}:${id}`,
          this.#pubsub.publish(type, id, given).then(
            () => "published",
            (error: PubSubError) => error.code,
          ),
        );
        return;
      }
      case "published":
        return expect(await this.#outcomes.get(`${type}:${id}`)).toBe("published");
      case "rejected":
        return expect(await this.#outcomes.get(`${type}:${id}`)).toBe(payload);
      case "close":
        return void this.#target.close();
      default:
        expect(await this.#next(this.#story)).toEqual([what, ...args]);
    }
  }
}

test("the conversation in docs/protocol.md is what a link really says", async () => {
  const [transcript = ""] = blocks("transcript");
  const lines = transcript.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(lines.length).toBeGreaterThan(50);
  const replay = new Replay();
  for (const line of lines) {
    expect(line).toMatch(/^[→←@] /);
    await replay.line(line);
  }
  replay.end();
});

test("a conversation that a link does not have is noticed (the control)", async () => {
  const replay = new Replay();
  const hello =
    '{"type":"$hello","id":"","payload":{"nonce":"a1","versions":[1],"limits":{"frame":1048576},"batch":false}}';
  await expect(replay.line(`← ${hello}`)).rejects.toThrow();
});
