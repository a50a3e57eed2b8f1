// What is given to the library by mistake or malice: options, values, envelopes. And what its errors are.
import { describe, expect, test } from "vitest";
import { createPubSub, InvalidTopicError, isEnvelope, parseEnvelope, PayloadError, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, PubSubOptions, SubscribeOptions } from "@alkdev/pubsub";
import { excerpt } from "../src/errors.ts";
import { uncaughtDuring } from "./pubsub-support.ts";

const circular: { self?: unknown } = {};
circular.self = circular;

function thrownBy(act: () => unknown): PubSubError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(PubSubError);
    return error as PubSubError;
  }
  return expect.unreachable("nothing was thrown");
}

const limits = [0, -1, 1.5, NaN, Infinity, 2 ** 24 + 1, "5", null, {}, 1n];
const policies = ["drop", "", null, 5, "DROP-OLDEST", Symbol("drop")];
const gapHandlers = ["ignored", "", null, 5, {}, true, Symbol("ignore")];
const signals = [null, {}, "abort", 5, new AbortController(), new EventTarget()];

describe("options of createPubSub", () => {
  const bad: [string, unknown[], (value: never) => PubSubOptions][] = [
    ["buffer.limit", limits, (limit) => ({ buffer: { limit } })],
    ["buffer.overflow", policies, (overflow) => ({ buffer: { overflow } })],
    ["onGap", gapHandlers, (onGap) => ({ onGap })],
    ["signal", signals, (signal) => ({ signal })],
    ["closeTimeout", [-1, NaN, "5", null, {}, 1n], (closeTimeout) => ({ closeTimeout })],
    ["onError", [null, "log", {}], (onError) => ({ onError })],
    ["eventTarget", [null, 5, {}, "redis://localhost", { addEventListener() {} }], (eventTarget) => ({ eventTarget })],
  ];

  test.each(bad)("a bad %s is INVALID_OPTION, by its name", (name, values, options) => {
    for (const value of values) {
      const error = thrownBy(() => createPubSub(options(value as never)));
      expect(error).toMatchObject({ code: "INVALID_OPTION" });
      expect(error.message).toContain(name);
      expect(error.message.length).toBeLessThan(250);
    }
  });

  test("at their limits are taken", () => {
    createPubSub({ buffer: { limit: 1 } });
    createPubSub({ buffer: { limit: 2 ** 24 } });
    createPubSub({ closeTimeout: 0 });
    createPubSub({ closeTimeout: Infinity });
    createPubSub({});
  });
});

describe("options of subscribe and on", () => {
  const pubsub = createPubSub();
  const bad: [string, unknown[], (value: never) => SubscribeOptions][] = [
    ["onGap", gapHandlers, (onGap) => ({ onGap })],
    ["signal", signals, (signal) => ({ signal })],
    ["group", [null, "", 5, {}], (group) => ({ group })],
    ["own", [null, "no", 0, {}], (own) => ({ own })],
  ];
  const badBuffers: typeof bad = [
    ["buffer.limit", limits, (limit) => ({ buffer: { limit } })],
    ["buffer.overflow", policies, (overflow) => ({ buffer: { overflow } })],
  ];

  test.each([...bad, ...badBuffers])(
    "a bad %s makes subscribe reject with INVALID_OPTION",
    async (name, values, of) => {
      for (const value of values) {
        const options = of(value as never);
        const expected = { code: "INVALID_OPTION", message: expect.stringContaining(name) as string };
        await expect(pubsub.subscribe("a", options)).rejects.toMatchObject(expected);
        await expect(pubsub.subscribe("a", "1", options)).rejects.toMatchObject(expected);
        await expect(pubsub.subscribe("a", options)[Symbol.asyncIterator]().next()).rejects.toMatchObject(expected);
      }
    },
  );

  test.each(bad)("a bad %s makes on reject with INVALID_OPTION", async (name, values, of) => {
    for (const value of values)
      await expect(pubsub.on("a", () => {}, of(value as never))).rejects.toMatchObject({
        code: "INVALID_OPTION",
        message: expect.stringContaining(name) as string,
      });
  });

  test.each([undefined, null, 5, {}, "listener"])("a listener that is %j makes on reject", async (listener) => {
    const expected = { code: "INVALID_OPTION", message: expect.stringContaining("function") as string };
    await expect(pubsub.on("a", "1", listener as never)).rejects.toMatchObject(expected);
  });

  test("leave nothing behind when they are refused", async () => {
    const pubsub = createPubSub();
    await pubsub.subscribe("a", { buffer: { limit: 0 } }).catch(() => undefined);
    await pubsub.on("a", 5 as never).catch(() => undefined);
    expect(await uncaughtDuring(() => pubsub.publish("a", "", null))).toEqual([]);
  });

  test("that are null are no options", async () => {
    const events = await pubsub.subscribe("a", "1", null as never);
    await events.return();
    (await pubsub.on("a", () => {}, null as never))();
  });
});

describe("an error", () => {
  const errors = [
    new PubSubError("CLOSED", "Closed."),
    new InvalidTopicError("a b", "White space."),
    new PayloadError("a", "1", "No payload"),
  ];

  test.each(errors.map((error) => [error.name, error] as const))(
    "%s is a PubSubError, an Error, and says so",
    (name, error) => {
      expect(error).toBeInstanceOf(PubSubError);
      expect(error).toBeInstanceOf(Error);
      expect(String(error)).toBe(`${name}: ${error.message}`);
      expect(error.stack).toContain(name);
      expect("cause" in error).toBe(false);
      expect(error.gap).toBeUndefined();
    },
  );

  test("carries a literal code, and what the code is about", () => {
    expect(errors.map(({ code }) => code)).toEqual(["CLOSED", "INVALID_TOPIC", "PAYLOAD"]);
    expect(errors[1]).toMatchObject({ topic: "a b" });
    expect(errors[2]).toMatchObject({ type: "a", id: "1", message: "No payload (topic a:1)" });
  });

  test("keeps its cause, whatever that is", () => {
    for (const cause of [new Error("why"), null, 0, "", false])
      expect(new PubSubError("REFUSED", "No.", { cause }).cause).toBe(cause);
    const cause = new Error("why");
    expect(new PayloadError("a", "1", "No payload", { cause }).cause).toBe(cause);
  });

  test("of a subclass that a user writes has that class's name", () => {
    class MyError extends PubSubError {}
    expect(new MyError("REFUSED", "No.").name).toBe("MyError");
  });
});

describe("an excerpt", () => {
  test.each([
    ["text", `"text"`],
    [{ a: 1 }, `{"a":1}`],
    [undefined, "undefined"],
    [null, "null"],
    [NaN, "null"],
    [1n, "[object BigInt]"],
    [Symbol("s"), "[object Symbol]"],
    [circular, "[object Object]"],
    [() => {}, "[object Function]"],
    [Object.create(null), "{}"],
    [{ toJSON: () => undefined }, "[object Object]"],
  ])("of anything is short text", (value, text) => expect(excerpt(value)).toBe(text));

  test("does not grow with its input", () => {
    expect(excerpt("x".repeat(1e6)).length).toBeLessThan(110);
    expect(excerpt({ x: "x".repeat(1e6) }).length).toBeLessThan(110);
    expect(excerpt("\0".repeat(1e6)).length).toBeLessThan(700);
  });
});

describe("parseEnvelope", () => {
  test("keeps unknown members, of the envelope and of its meta", () => {
    const envelope = {
      type: "a.b",
      id: "1",
      payload: { deep: [null] },
      meta: { origin: "o", hops: ["h"], trace: { id: 7 } },
      time: "2026-01-01",
      __proto__: null,
    };
    expect(parseEnvelope(JSON.stringify(envelope))).toEqual({ ...envelope });
    const given: object = { type: "a", id: "", payload: null, extra: circular };
    expect(parseEnvelope(given)).toBe(given);
  });

  test("takes an own member that is called __proto__ for a member", () => {
    const parsed = parseEnvelope('{"type":"a","id":"","payload":1,"__proto__":{"polluted":true}}');
    expect(Object.hasOwn(parsed, "__proto__")).toBe(true);
    expect((parsed as EventEnvelope & { polluted?: boolean }).polluted).toBeUndefined();
  });

  test.each([
    ["", "Not JSON"],
    ["{", "Not JSON"],
    ["undefined", "Not JSON"],
    ["null", "Not an envelope: null"],
    ["[]", "Not an envelope: []"],
    ["5", "Not an envelope: 5"],
    ['"a"', 'Not an envelope: "a"'],
    ["{}", "Send { type, id, payload }"],
    ['{"type":"a","id":""}', "Not an envelope"],
    ['{"type":"a","payload":1}', "Not an envelope"],
    ['{"id":"","payload":1}', "Not an envelope"],
    ['{"type":1,"id":"","payload":1}', "Not an envelope"],
    ['{"type":"a","id":1,"payload":1}', "Not an envelope"],
    ['{"type":"a","id":null,"payload":1}', "Not an envelope"],
    ['{"type":"","id":"","payload":1}', "it is empty"],
    ['{"type":"a b","id":"","payload":1}', "white space"],
    ['{"type":"a.*","id":"","payload":1}', "wildcard"],
    ['{"type":"$hello","id":"","payload":1}', "reserved"],
    ["x".repeat(1e6), "Not JSON"],
    [JSON.stringify({ type: "x".repeat(1e6), id: "", payload: 1 }), "255 bytes"],
    [JSON.stringify({ type: 1, id: "x".repeat(1e6), payload: 1 }), "Not an envelope"],
    [`${"[".repeat(1000)}${"]".repeat(1000)}`, "Not an envelope"],
  ])("rejects garbage as MALFORMED, in few words: %#", (text, hint) => {
    const error = thrownBy(() => parseEnvelope(text));
    expect(error.code).toBe("MALFORMED");
    expect(error.message).toContain(hint);
    expect(error.message.length).toBeLessThan(400);
  });

  test.each([[undefined], [null], [5], [1n], [Symbol("s")], [circular], [new Map()], [() => {}], [[1, 2]]])(
    "rejects values that are no envelopes as MALFORMED: %#",
    (value) => {
      expect(isEnvelope(value)).toBe(false);
      expect(thrownBy(() => parseEnvelope(value)).code).toBe("MALFORMED");
    },
  );

  test("keeps the JSON parser's error as the cause", () => {
    expect(thrownBy(() => parseEnvelope("{")).cause).toBeInstanceOf(SyntaxError);
  });

  test("rejects an id of more than 1 KiB, which nobody could have published", () => {
    const error = thrownBy(() => parseEnvelope({ type: "a", id: "x".repeat(1025), payload: 1 }));
    expect(error.code).toBe("MALFORMED");
    expect(error.message.length).toBeLessThan(400);
  });
});

describe("isEnvelope", () => {
  test("asks for the three members and nothing else", () => {
    expect(isEnvelope({ type: "a", id: "", payload: undefined })).toBe(true);
    expect(isEnvelope({ type: "$a b", id: "", payload: null, more: 1 })).toBe(true);
    expect(isEnvelope({ type: "a", id: "" })).toBe(false);
  });
});
