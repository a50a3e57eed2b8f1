// Inputs and outputs, checked where they are handled.
import { type as ark } from "arktype";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { OperationError } from "@alkdev/operations";
import { failure, open, openPubSub } from "./fixtures/open.ts";

const DRAFT_7 = "http://json-schema.org/draft-07/schema#";
const DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema";
const json = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] };

describe.each([
  ["zod", z.object({ n: z.number() })],
  ["valibot", v.object({ n: v.number() })],
  ["arktype", ark({ n: "number" })],
  ["JSON Schema", json],
  ["JSON Schema, draft 7", { ...json, $schema: DRAFT_7 }],
  ["JSON Schema, 2020-12", { ...json, $schema: DRAFT_2020 }],
  ["an asynchronous schema", z.object({ n: z.number() }).refine(async () => true)],
])("by %s", (_, schema) => {
  test("an input that does not fit is INVALID_INPUT with its path, and one that does is handled", async () => {
    const operations = open(openPubSub());
    let ran = 0;
    await operations.handle("x", (input) => [++ran, input], { input: schema });
    const error = (await failure(operations.call("x", { n: "one" }))) as OperationError;
    expect(error.code).toBe("INVALID_INPUT");
    expect(error.details).toMatchObject({ issues: [{ path: ["n"] }] });
    expect(error.message).toMatch(/n: /);
    expect((await failure(operations.call("x", undefined))) as OperationError).toMatchObject({ code: "INVALID_INPUT" });
    expect(await operations.call("x", { n: 1 })).toEqual([1, { n: 1 }]);
  });

  test("an output that does not fit is HANDLER_ERROR, each item of a stream too", async () => {
    const operations = open(openPubSub());
    await operations.handle("x", (output) => output, { output: schema });
    await operations.handle(
      "xs",
      async function* () {
        yield { n: 1 };
        yield { n: "two" };
      },
      { output: schema },
    );
    expect(await operations.call("x", { n: 1 })).toEqual({ n: 1 });
    expect(await failure(operations.call("x", { n: "one" }))).toMatchObject({ code: "HANDLER_ERROR" });
    const items = operations.stream("xs", null);
    expect((await items.next()).value).toEqual({ n: 1 });
    expect(await failure(items.next())).toMatchObject({ code: "HANDLER_ERROR" });
  });
});

test("the handler gets what the schema makes of the input", async () => {
  const operations = open(openPubSub());
  const input = z.object({ n: z.string().transform(Number), times: z.number().default(2) });
  await operations.handle("x", ({ n, times }) => n * times, { input });
  expect(await operations.call("x", { n: "21" })).toBe(42);
});

test("JSON Schema of drafts that differ is read as its own draft", async () => {
  const operations = open(openPubSub());
  const positional = [{ type: "number" }, { type: "string" }];
  await operations.handle("old", () => 1, { input: { $schema: DRAFT_7, items: positional } });
  await operations.handle("new", () => 1, { input: { prefixItems: positional } });
  for (const name of ["old", "new"]) {
    expect(await operations.call(name, [1, "a"])).toBe(1);
    const error = (await failure(operations.call(name, [1, 2]))) as OperationError;
    expect(error.details).toMatchObject({ issues: [{ path: [1] }] });
  }
  await operations.handle("never", () => 1, { input: false });
  expect(await failure(operations.call("never", 1))).toMatchObject({ code: "INVALID_INPUT" });
});

test("what is no schema is refused when it is given, and handles nothing", async () => {
  const operations = open(openPubSub());
  for (const input of [7, null, "string", { $schema: "http://example.com/other" }])
    expect(await failure(operations.handle("x", () => 1, { input: input as never }))).toMatchObject({
      code: "INVALID_OPTION",
    });
  expect(await failure(operations.call("x", 1))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
  await operations.handle("x", () => 1);
  expect(await operations.call("x", 1)).toBe(1);
});
