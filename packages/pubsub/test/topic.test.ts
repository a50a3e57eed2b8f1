// What can be a topic: every rule, at its edge and over it, and what a broken one says to do.
import { describe, expect, test } from "vitest";
import { createPubSub, InvalidTopicError, PubSubError } from "@alkdev/pubsub";
import { filterKey, matchesFilter, matchesType, parseTopic, utf8Length } from "../src/topic.ts";

const pubsub = createPubSub();
const publish = (type: string, id = "") => pubsub.publish(type, id, null);
const subscribe = (type: string, id?: string) => pubsub.subscribe(type, id);
const tokens = (count: number) => Array.from({ length: count }, () => "t").join(".");

async function problemOf(attempt: Promise<unknown>): Promise<InvalidTopicError> {
  const error: unknown = await attempt.then(
    () => expect.unreachable("nothing was thrown"),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(InvalidTopicError);
  return error as InvalidTopicError;
}

describe("a type", () => {
  test.each([
    "a",
    "session.status",
    "A.b-c_d.42",
    "a/b.c@d#e",
    "ü.日本語.🙂",
    "__proto__.constructor.toString",
    "a.$b",
    tokens(16),
    "x".repeat(255),
    "é".repeat(127),
    "日".repeat(85),
    "🙂".repeat(63),
  ])("can be %s", async (type) => {
    const events = await subscribe(type);
    await publish(type);
    expect((await events.next()).value?.type).toBe(type);
    await events.return();
  });

  test.each([
    ["", "it is empty; use dot-separated tokens"],
    [".", "empty token"],
    [".a", "empty token"],
    ["a.", "empty token"],
    ["a..b", "empty token"],
    ["a:b", "pass the id as the second argument"],
    ["a b", "white space"],
    [" a", "white space"],
    ["a\n", "white space"],
    ["a\u00a0b", "white space"],
    ["a\u2028b", "white space"],
    ["a\ufeffb", "white space"],
    ["a\0b", "control character"],
    ["a\u007fb", "control character"],
    ["a\u0085b", "control character"],
    ["$hello", "reserved for the link protocol; choose another name"],
    ["$", "reserved"],
    [tokens(17), "it has 17 tokens, the limit is 16"],
    ["x".repeat(256), "255 bytes; put the variable part into the id"],
    ["é".repeat(128), "255 bytes"],
    ["日".repeat(86), "255 bytes"],
    ["🙂".repeat(64), "255 bytes"],
  ])("cannot be %j, to publish or to subscribe", async (type, hint) => {
    for (const attempt of [publish(type), subscribe(type), pubsub.on(type, () => {})]) {
      const error = await problemOf(attempt);
      expect(error.message).toContain(hint);
      expect(error.topic).toBe(type);
      expect(error.code).toBe("INVALID_TOPIC");
    }
  });

  test.each(["*", "**", "a.*", "*.a", "a.**", "a*", "a.b*c"])("cannot be %s where one publishes", async (type) => {
    expect((await problemOf(publish(type))).message).toContain("publish to one type");
  });

  test("is a rejection before anything is sent, never a throw", async () => {
    const events = await subscribe("**");
    const attempt = publish("a b");
    await publish("later");
    await problemOf(attempt);
    expect((await events.next()).value?.type).toBe("later");
    await events.return();
  });

  test("is case-sensitive", async () => {
    const events = await subscribe("case.Upper");
    await publish("case.upper");
    await publish("Case.Upper");
    await publish("case.Upper", "this one");
    expect((await events.next()).value?.id).toBe("this one");
    await events.return();
  });
});

describe("a pattern", () => {
  test.each(["a.**.b", "**.a", "**.**", "**.*"])("cannot be %s: ** stands only at the end", async (pattern) => {
    expect((await problemOf(subscribe(pattern))).message).toContain(
      "only at the end; use * for one token in the middle",
    );
  });

  test.each(["a*", "a.b*", "*a.b", "a.b*c", "***", "a.***"])(
    "cannot be %s: a star is a whole token",
    async (pattern) => {
      expect((await problemOf(subscribe(pattern))).message).toContain("a star stands for a whole token");
    },
  );

  test("may have sixteen tokens, stars included", async () => {
    const stars = Array.from({ length: 16 }, () => "*").join(".");
    await (await subscribe(stars)).return();
    expect((await problemOf(subscribe(`${stars}.**`))).message).toContain("17 tokens");
  });

  test.each([
    ["*", "a", true],
    ["*", "a.b", false],
    ["**", "a", true],
    ["**", "a.b.c", true],
    ["a.*", "a.b", true],
    ["a.*", "a", false],
    ["a.*", "a.b.c", false],
    ["a.**", "a", true],
    ["a.**", "a.b", true],
    ["a.**", "a.b.c.d", true],
    ["a.**", "ab", false],
    ["a.*.**", "a", false],
    ["a.*.**", "a.b", true],
    ["a.*.**", "a.b.c", true],
    ["*.b", "a.b", true],
    ["*.b", "b", false],
    ["*.b.*", "a.b.c", true],
    ["a.b", "a.b", true],
    ["a.b", "a.b.c", false],
    ["a.b", "A.b", false],
    ["A.*", "a.b", false],
  ])("%s and the type %s: %j", async (pattern, type, expected) => {
    expect(matchesType(pattern, type)).toBe(expected);
    const seen: string[] = [];
    const stop = await pubsub.on(pattern, ({ type }) => seen.push(type));
    await publish(type);
    stop();
    expect(seen).toEqual(expected ? [type] : []);
  });

  test("goes with an id, and both must match", async () => {
    const events = await subscribe("both.**", "7");
    await publish("both.a", "8");
    await publish("other", "7");
    await publish("both", "7");
    await publish("both.a.b", "7");
    expect((await events.next()).value).toMatchObject({ type: "both", id: "7" });
    expect((await events.next()).value).toMatchObject({ type: "both.a.b", id: "7" });
    await events.return();
  });
});

describe("an id", () => {
  test.each([
    "",
    " ",
    "a:b:c",
    "*",
    "**",
    "\0\n",
    "__proto__",
    "🙂",
    "\ud800",
    "x".repeat(1024),
    "é".repeat(512),
    "🙂".repeat(256),
  ])("can be %j", async (id) => {
    const events = await subscribe("id.any", id);
    await publish("id.any", `${id.slice(1)}?`);
    await publish("id.any", id);
    expect((await events.next()).value?.id).toBe(id);
    await events.return();
  });

  test.each(["x".repeat(1025), "é".repeat(513), `${"🙂".repeat(256)}x`, "\ud800".repeat(342), "x".repeat(1e6)])(
    "of more than 1 KiB of UTF-8 is too long, and the message is not",
    async (id) => {
      for (const attempt of [publish("a", id), subscribe("a", id), pubsub.on("a", id, () => {})]) {
        const error = await problemOf(attempt);
        expect(error.message).toMatch(/1024 bytes, this one has \d+ .*; put long values into the payload/);
        expect(error.message.length).toBeLessThan(400);
        expect(error.topic).toBe(id);
      }
    },
  );

  test("that is omitted or undefined means every id; the empty one means the empty one", async () => {
    const any = await subscribe("id.omitted");
    const undef = await subscribe("id.omitted", undefined);
    const empty = await subscribe("id.omitted", "");
    for (const id of ["1", "", "2"]) await publish("id.omitted", id);
    await publish("id.omitted", "end");
    const ids = async (events: typeof any) => {
      const seen: (string | undefined)[] = [];
      while (seen.at(-1) !== "end") seen.push((await events.next()).value?.id);
      return seen;
    };
    expect(await ids(any)).toEqual(["1", "", "2", "end"]);
    expect(await ids(undef)).toEqual(["1", "", "2", "end"]);
    expect((await empty.next()).value?.id).toBe("");
    expect(empty.received).toBe(1);
    for (const events of [any, undef, empty]) await events.return();
  });

  test("must be given to publish", async () => {
    const error = await problemOf(pubsub.publish("a", undefined as never, 1));
    expect(error.message).toContain(`use "" where the type alone is the topic`);
  });
});

describe("hostile values", () => {
  const values: unknown[] = [
    null,
    5,
    1n,
    Symbol("s"),
    {},
    [],
    () => {},
    Object.create(null),
    { toString: null },
    new Date(NaN),
  ];

  test.each(values.map((value) => [value]))("as a type are InvalidTopicErrors", async (value) => {
    for (const attempt of [publish(value as never), subscribe(value as never), pubsub.on(value as never, () => {})]) {
      const error = await problemOf(attempt);
      expect(error.message).toContain("it is not a string");
      expect(error.topic).toBeTypeOf("string");
    }
  });

  test.each(values.map((value) => [value]))("as an id are InvalidTopicErrors where one publishes", async (value) => {
    expect((await problemOf(publish("a", value as never))).message).toContain("An id must be a string");
  });

  test("an id of null does not become every id, and options after it are not lost", async () => {
    expect((await problemOf(pubsub.subscribe("a", null as never, { own: false }))).message).toContain("not null");
    expect((await problemOf(pubsub.on("a", null as never, () => {}))).message).toContain("not null");
  });

  test("a type of a megabyte does not make a message of a megabyte", async () => {
    const error = await problemOf(publish("x".repeat(1e6)));
    expect(error.message.length).toBeLessThan(400);
    expect((await problemOf(subscribe(".".repeat(1e6)))).message.length).toBeLessThan(400);
  });

  test("every one of them is a PubSubError", async () => {
    expect(await problemOf(publish(""))).toBeInstanceOf(PubSubError);
  });
});

describe("topics as text", () => {
  test("a facade topic parts at its first colon", () => {
    const refused = expect.objectContaining({ name: "InvalidTopicError", code: "INVALID_TOPIC" });
    expect(parseTopic("a.b:c:d")).toEqual({ type: "a.b", id: "c:d" });
    expect(parseTopic("a.b")).toEqual({ type: "a.b", id: "" });
    expect(parseTopic("a.b:")).toEqual({ type: "a.b", id: "" });
    expect(() => parseTopic(":c")).toThrow(refused);
    expect(() => parseTopic("a.*:c")).toThrow(refused);
    expect(() => parseTopic(`a:${"x".repeat(1025)}`)).toThrow(refused);
  });

  test("filters that differ have keys that differ", () => {
    const filters = [
      { type: "a" },
      { type: "a", id: "" },
      { type: "a", id: "b" },
      { type: "a", id: "b:c" },
      { type: "a:b", id: "c" },
      { type: "a", group: "g" },
      { type: "a", group: "g:" },
      { type: "a", id: "", group: "g" },
      { type: "a", id: "1:g:a" },
      { type: "a", id: "g", group: "" },
    ];
    const valid = filters.filter(({ type }) => !type.includes(":"));
    expect(new Set(valid.map(filterKey)).size).toBe(valid.length);
    expect(filterKey({ type: "a", id: undefined })).toBe(filterKey({ type: "a" }));
  });

  test("a filter matches by type and id", () => {
    const envelope = { type: "a.b", id: "1", payload: null };
    expect(matchesFilter({ type: "a.*" }, envelope)).toBe(true);
    expect(matchesFilter({ type: "a.*", id: "1" }, envelope)).toBe(true);
    expect(matchesFilter({ type: "a.*", id: "" }, envelope)).toBe(false);
    expect(matchesFilter({ type: "*", id: "1" }, envelope)).toBe(false);
  });

  test.each([
    "",
    "abc",
    "é",
    "日本",
    "🙂",
    "a\ud800",
    "\ud800a",
    "\ud800é",
    "\ud800\ud800",
    "\udc00\ud800",
    "\ud800日",
  ])("the length of %j in UTF-8 is what an encoder says", (text) =>
    expect(utf8Length(text)).toBe(new TextEncoder().encode(text).length),
  );
});
