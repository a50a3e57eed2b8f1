// A client and the abilities in its own process: tools, events, and what becomes of mistakes.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KadiClient, z } from "@alkdev/kadi";
import { InvalidTopicError, PubSubError } from "@alkdev/pubsub";
import { expect, onTestFinished, test } from "vitest";
import { abilityAt, collector, openClient } from "./fixtures/client.ts";
import { until } from "./fixtures/open.ts";

const path = abilityAt("echo-js");

test("both forms of registerTool offer tools, whose input and output are checked", async () => {
  const client = openClient({ name: "me" });
  client.registerTool(
    { name: "add", description: "Adds", input: z.object({ a: z.number(), b: z.number().default(1) }) },
    ({ a, b }) => ({ sum: a + b }),
  );
  client.registerTool("wrong", () => ({ sum: "three" }), {
    inputSchema: { type: "object", properties: { a: { type: "number" } }, required: ["a"] },
    outputSchema: { type: "object", properties: { sum: { type: "number" } } },
  });
  expect(await client.callTool("me", "add", { a: 2 })).toEqual({ sum: 3 });
  await expect(client.callTool("me", "add", { a: "2" })).rejects.toMatchObject({
    code: "INVALID_INPUT",
    details: { issues: [{ path: ["a"] }] },
  });
  await expect(client.callTool("me", "wrong", {})).rejects.toMatchObject({ code: "INVALID_INPUT" });
  await expect(client.callTool("me", "wrong", { a: 1 })).rejects.toMatchObject({ code: "HANDLER_ERROR" });
});

test("a tool is described in JSON Schema, whichever way its schema was written", async () => {
  const ability = await openClient().loadNative("echo", { path });
  const [echo] = ability.getTools();
  expect(echo).toMatchObject({
    name: "echo",
    description: "Says what it was told",
    inputSchema: { type: "object", properties: { message: { type: "string" } }, required: ["message"] },
    outputSchema: { required: ["echo", "timestamp", "length"] },
  });
});

test("what cannot be a tool is refused at once", () => {
  const client = openClient();
  expect(() => client.registerTool("none", "text" as never)).toThrow("needs a function");
  expect(() => client.registerTool({ name: "" }, () => null)).toThrow("needs a name");
  expect(() => client.registerTool("bad", () => null, { inputSchema: 3 as never })).toThrow("JSON Schema");
});

test("a native ability's events come before its answer, even those that it does not wait for", async () => {
  const client = openClient();
  await client.loadNative("echo", { path });
  const seen: unknown[] = [];
  await client.subscribeToEvent("echo.*", (data, { channel, transport, source }) =>
    seen.push([channel, data, transport, source]),
  );
  seen.push(await client.callTool("echo", "hasty"));
  expect(seen).toEqual([["echo.hasty", null, "native", "echo-js"], "done"]);
});

test("its tools are methods, but for those that would make it a promise or hide its own", async () => {
  const ability = await openClient().loadNative("echo", { path });
  expect(await ability["echo"]({ message: "hi" })).toMatchObject({ echo: "hi", length: 2 });
  expect(ability["then"]).toBeUndefined();
});

test("two loads of one module hear each event once, and one goes on without the other", async () => {
  const client = openClient();
  const [first, second] = await Promise.all([client.loadNative("one", { path }), client.loadNative("two", { path })]);
  const { events, callback } = collector();
  await client.subscribeToEvent("echo.#", callback);
  await first.invoke("hasty");
  expect(events.length).toBe(1);
  await first.disconnect();
  await second.invoke("hasty");
  expect(events.length).toBe(2);
  await second.disconnect();
  // Asked for at the default broker's address, where something may listen that is none.
  await expect(client.callTool("one", "hasty")).rejects.toBeInstanceOf(PubSubError);
  expect(events.length).toBe(2);
  const again = await client.loadNative("one", { path });
  await again.invoke("hasty");
  expect(events.length).toBe(3);
});

test("an ability's own subscriptions hear that ability alone, and end with it", async () => {
  const client = openClient();
  const ability = await client.loadNative("echo", { path });
  const { events, callback } = collector();
  await ability.subscribeToEvent("echo.*", callback);
  await client.publishEvent("echo.mine", 1);
  await ability.invoke("hasty");
  expect(events.map(({ channel }) => channel)).toEqual(["echo.hasty"]);
  await ability.disconnect();
  const other = await client.loadNative("echo", { path });
  await other.invoke("hasty");
  expect(events.length).toBe(1);
  await other.subscribeToEvent("echo.*", callback);
  await other.invoke("hasty");
  other.unsubscribeFromEvent("echo.*", callback);
  await other.invoke("hasty");
  expect(events.length).toBe(2);
});

test("a client hears its own events, by pattern, until it stops", async () => {
  const client = openClient();
  const [one, any, stopped] = [collector(), collector(), collector()];
  await client.subscribeToEvent("a.*", one.callback);
  await client.subscribeToEvent("a.#", any.callback);
  const stop = await client.subscribeToEvent("a.b", stopped.callback);
  await client.publishEvent("a.b", 1);
  stop();
  client.unsubscribeFromEvent("a.#", any.callback);
  await client.publishEvent("a.b", 2);
  await client.publishEvent("a.b.c", 3);
  const data = [one, any, stopped].map(({ events }) => events.map((event) => event.data as number));
  expect(data).toEqual([[1, 2], [1], [1]]);
});

test("a pattern or a channel that is none is refused, and nothing is kept of it", async () => {
  const client = openClient();
  for (const pattern of ["", "a..b", "a.#.b", "a.**", "a b"])
    await expect(client.subscribeToEvent(pattern, () => null)).rejects.toThrow(InvalidTopicError);
  await expect(client.subscribeToEvent("a", "text" as never)).rejects.toThrow("a function");
  await expect(client.publishEvent("a.*", 1)).rejects.toThrow(InvalidTopicError);
  await client.publishEvent("a", 1);
  expect(client.errors).toEqual([]);
});

test("a callback that throws, or rejects, is the client's error and stops nobody else", async () => {
  const client = openClient();
  const { events, callback } = collector();
  await client.subscribeToEvent("a", () => {
    throw new Error("thrown");
  });
  await client.subscribeToEvent("a", () => Promise.reject(new Error("rejected")));
  await client.subscribeToEvent("a", callback);
  await client.publishEvent("a", 1);
  await Promise.resolve();
  expect(events.length).toBe(1);
  expect(client.errors.map(({ message }) => message)).toEqual(["thrown", "rejected"]);
});

test("a call ends by time and by a signal, of which its handler is told", async () => {
  const client = openClient({ name: "me" });
  const words: string[] = [];
  client.registerTool("wait", (_input, { signal }) => {
    words.push("begun");
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => {
        words.push("told");
        reject(signal.reason as Error);
      }),
    );
  });
  const controller = new AbortController();
  const call = client.callTool("me", "wait", {}, { signal: controller.signal });
  await until(() => words.includes("begun"));
  controller.abort();
  await expect(call).rejects.toMatchObject({ code: "ABORTED" });
  await until(() => words.includes("told"));
  await expect(client.callTool("me", "wait", {}, { timeout: 1 })).rejects.toMatchObject({ code: "TIMEOUT" });
});

test("abilities of abilities are heard, also where two have loaded the same one", async () => {
  const folder = mkdtempSync(join(abilityAt(".."), "native-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ["left", "right"])
    writeFileSync(
      join(folder, `${name}.mjs`),
      `import { KadiClient } from "@alkdev/kadi";
       const client = new KadiClient({ name: "${name}" });
       const echo = await client.loadNative("echo", { path: ${JSON.stringify(path)} });
       client.registerTool("pass", () => echo.invoke("hasty"));
       export default client;`,
    );
  const client = openClient();
  const { events, callback } = collector();
  await client.subscribeToEvent("#", callback);
  const left = await client.loadNative("left", { path: join(folder, "left.mjs") });
  const right = await client.loadNative("right", { path: join(folder, "right.mjs") });
  await left.invoke("pass");
  await right.invoke("pass");
  expect(events.map(({ source }) => source)).toEqual(["echo-js", "echo-js"]);
});

test("a module that is no ability, and a place where there is none, are refused with what to do", async () => {
  const folder = mkdtempSync(join(tmpdir(), "ability-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "plain.mjs"), "export default { add: () => 1 };");
  const client = openClient();
  await expect(client.loadNative("plain", { path: join(folder, "plain.mjs") })).rejects.toThrow(
    "export default client",
  );
  await expect(client.loadNative("gone", { path: join(folder, "gone") })).rejects.toThrow("There is nothing at");
  await expect(client.loadNative("no-such-ability")).rejects.toThrow("Say where it is");
  await expect(client.loadNative("empty", { path: folder })).rejects.toThrow("entrypoint");
  await expect(client.load("echo", "pigeon" as never)).rejects.toThrow("'native', 'stdio' or 'broker'");
  writeFileSync(join(folder, "agent.json"), "{");
  await expect(client.loadNative("broken", { path: folder })).rejects.toThrow("no JSON");
});

test("a client without a name, or with a broker that has no address, is refused", () => {
  expect(() => new KadiClient({ name: "" })).toThrow("name of a client");
  expect(() => new KadiClient({ brokers: { a: {} as never } })).toThrow("needs an address");
  expect(() => new KadiClient({ brokers: { a: "ws://127.0.0.1:1" }, defaultBroker: "b" })).toThrow(
    "There is no broker",
  );
});
