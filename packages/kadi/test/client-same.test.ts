// What a tool takes, returns and fails with is the same natively, of a child and at a broker.
import type { LoadedAbility } from "@alkdev/kadi";
import { describe, expect, test } from "vitest";
import { abilityAt, openClient, startEcho } from "./fixtures/client.ts";
import { openBroker } from "./fixtures/open.ts";

const path = abilityAt("echo-js");

async function atBroker(): Promise<LoadedAbility> {
  const { url } = await openBroker();
  await startEcho(url);
  return openClient({ broker: url }).loadBroker("echo-js");
}

describe.each<[string, () => Promise<LoadedAbility>]>([
  ["native", () => openClient().loadNative("echo-js", { path })],
  ["stdio", () => openClient().loadStdio("echo-js", { path })],
  ["broker", atBroker],
])("%s", (name, load) => {
  test("what a tool returns is what JSON makes of it", async () => {
    const ability = await load();
    const value = (kind: string): Promise<unknown> => ability.invoke("value", { kind });
    expect(await value("date")).toEqual({ at: "1970-01-01T00:00:00.000Z" });
    expect(await value("map")).toEqual({});
    expect(await value("number")).toBe(null);
    expect(await value("nothing")).toBe(null);
    expect(Object.entries((await value("members")) as object)).toEqual([["kept", 1]]);
  });

  test("what is not JSON is HANDLER_ERROR as a result, and INVALID_INPUT as an input", async () => {
    const ability = await load();
    for (const kind of ["bigint", "circular", "method"])
      await expect(ability.invoke("value", { kind }), kind).rejects.toMatchObject({
        code: "HANDLER_ERROR",
        message: expect.stringMatching(/^The output of value is not JSON: .*\w\.$/) as string,
      });
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    for (const input of [{ count: 1n }, circular, () => 1, Symbol("s")])
      await expect(ability.invoke("same", input)).rejects.toMatchObject({
        code: "INVALID_INPUT",
        message: expect.stringMatching(/^The input of same is not JSON: .*\w\.$/) as string,
      });
  });

  test("an input arrives as JSON, null as null, and nothing as an empty object", async () => {
    const ability = await load();
    const input = { at: new Date(0) };
    const output = await ability.invoke<object>("same", input);
    expect(output).toEqual({ at: "1970-01-01T00:00:00.000Z" });
    expect(output).not.toBe(input);
    for (const each of [null, 0, "", false, [], [null]]) expect(await ability.invoke("same", each)).toEqual(each);
    expect(await ability.invoke("same")).toEqual({});
  });

  test("details that are not JSON are left out of an error, which is told all the same", async () => {
    const ability = await load();
    await expect(ability.invoke("detailed")).rejects.toMatchObject({
      code: "OUT_OF_STOCK",
      message: "Two are left.",
      details: undefined,
      retryable: true,
    });
  });

  test("what is too large fails with the same code, and says its size, the limit and what to do", async () => {
    const ability = await load();
    const size = 2_000_000;
    if (name === "native") return expect(await ability.invoke("large", { size })).toHaveLength(size);
    const message = (what: string): unknown =>
      expect.stringMatching(
        new RegExp(`^The ${what} has 20000\\d\\d bytes as JSON; the .* takes 104\\d+, .*Send less at once`),
      );
    const large = ability.invoke("large", { size });
    await expect(large).rejects.toMatchObject({
      code: "HANDLER_ERROR",
      message: message("output of large"),
      retryable: false,
    });
    const input = ability.invoke("same", { text: "x".repeat(size) });
    await expect(input).rejects.toMatchObject({ code: "INVALID_INPUT", message: message("input of same") });
    expect(await ability.invoke("large", { size: 1_000_000 })).toHaveLength(1_000_000);
    // Whatever it is by a few bytes, it is no other error.
    const { frame } = { frame: 1024 * 1024 };
    for (let less = 0; less < 2000; less += 100)
      await ability.invoke("large", { size: frame - less }).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "HANDLER_ERROR" });
      });
    expect(await ability.invoke("same", 1)).toBe(1);
  });
});
