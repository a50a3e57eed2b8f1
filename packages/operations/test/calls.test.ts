// Calls and handlers, in process and at the two ends of a pipe.
import { PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub } from "@alkdev/pubsub";
import { OperationError } from "@alkdev/operations";
import { describe, expect, test } from "vitest";
import { aborted, deferred, failure, open, openPorts, openPubSub, until, watch } from "./fixtures/open.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

describe.each([
  ["in process", (): readonly [PubSub, PubSub] => Array(2).fill(openPubSub()) as never],
  ["over a pipe", openPorts],
])("a call %s", (_, ends) => {
  test("is answered with what the handler returns", async () => {
    const [near, far] = ends();
    const handlers = open(far);
    await handlers.handle("math.add", ({ a, b }) => a + b);
    await handlers.handle("nothing", () => undefined);
    const caller = open(near);
    expect(await caller.call("math.add", { a: 1, b: 2 })).toBe(3);
    expect(await caller.call("nothing", null)).toBeUndefined();
  });

  test("of an operation that there is not is OPERATION_NOT_FOUND, also where nothing is handled", async () => {
    const [near, far] = ends();
    const handlers = open(far);
    const caller = open(near);
    expect(await failure(caller.call("math.add", 1))).toMatchObject({ code: "OPERATION_NOT_FOUND", retryable: false });
    const stop = await handlers.handle("math.add", () => 3);
    expect(await failure(caller.call("math.sub", 1))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
    expect(await caller.call("math.add", 1)).toBe(3);
    stop();
    expect(await failure(caller.call("math.add", 1))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
  });

  test("fails with the message of what the handler throws, never with its stack; an OperationError is passed on", async () => {
    const [near, far] = ends();
    const handlers = open(far);
    await handlers.handle("throws", () => {
      throw new TypeError("no such thing");
    });
    await handlers.handle("refuses", async () => {
      throw new OperationError("OUT_OF_STOCK", "Only 2 are left.", { details: { left: 2 }, retryable: true });
    });
    const seen = await watch(far);
    const caller = open(near);
    const error = (await failure(caller.call("throws", 1))) as OperationError;
    expect(error).toBeInstanceOf(OperationError);
    expect(error).toMatchObject({ code: "HANDLER_ERROR", message: "no such thing", retryable: false });
    expect(await failure(caller.call("refuses", 1))).toMatchObject({
      code: "OUT_OF_STOCK",
      message: "Only 2 are left.",
      details: { left: 2 },
      retryable: true,
    });
    expect(JSON.stringify(seen)).not.toMatch(/calls\.test/);
    // Whoever runs the handler can see what went wrong.
    expect(handlers.errors).toEqual([expect.any(TypeError)]);
  });

  test("that takes too long is TIMEOUT, and its handler is aborted", async () => {
    const [near, far] = ends();
    const ended: string[] = [];
    await open(far).handle("slow", async (_, { signal, deadline }) => {
      expect(deadline).toBeTypeOf("number");
      await aborted(signal);
      ended.push((signal.reason as OperationError).code);
      return 1;
    });
    const caller = open(near);
    // On a slow machine the time may be up before the handler has it.
    for (; ended.length === 0;)
      expect(await failure(caller.call("slow", 1, { timeout: 50 }))).toMatchObject({ code: "TIMEOUT" });
    expect(ended[0]).toMatch(/TIMEOUT|ABORTED/);
  });

  test("that is aborted rejects at once, and its handler's signal is aborted", async () => {
    const [near, far] = ends();
    const begun = deferred();
    const ended = deferred();
    await open(far).handle("slow", async (_, { signal }) => {
      begun.resolve();
      await aborted(signal);
      ended.resolve();
    });
    const controller = new AbortController();
    const call = failure(open(near).call("slow", 1, { signal: controller.signal }));
    await begun.promise;
    controller.abort(new Error("enough"));
    expect(await call).toMatchObject({ code: "ABORTED", cause: { message: "enough" } });
    await ended.promise;
  });

  test("with a signal that is aborted already, or after close, sends nothing", async () => {
    const [near, far] = ends();
    const seen = await watch(far);
    const caller = open(near);
    expect(await failure(caller.call("x", 1, { signal: AbortSignal.abort() }))).toMatchObject({ code: "ABORTED" });
    await caller.close();
    expect(await failure(caller.call("x", 1))).toMatchObject({ code: "CLOSED" });
    expect(await failure(caller.handle("x", () => 1))).toMatchObject({ code: "CLOSED" });
    await near.publish("call.marker", "", null);
    await until(() => seen.length > 0);
    expect(seen).toEqual([["marker", null]]);
  });

  test("belongs to the call whose handler makes it: parent, deadline and abort are passed on", async () => {
    const [near, far] = ends();
    const inner = deferred<unknown>();
    const innerEnded = deferred();
    // Over a pipe the handler's own calls go to the other side.
    await open(near).handle("inner", async (input, { parentRequestId, deadline, signal }) => {
      inner.resolve({ input, parentRequestId, deadline });
      await aborted(signal);
      innerEnded.resolve();
    });
    const outer = deferred<unknown>();
    await open(far).handle("outer", (input, context) => {
      outer.resolve({ input, parentRequestId: context.requestId, deadline: context.deadline });
      return context.call("inner", input, { timeout: 60_000 });
    });
    const controller = new AbortController();
    const caller = open(near);
    const call = failure(caller.call("outer", 7, { signal: controller.signal, timeout: 20_000 }));
    expect(await inner.promise).toEqual(await outer.promise);
    controller.abort();
    await innerEnded.promise;
    expect(await call).toMatchObject({ code: "ABORTED" });
  });

  test("has the events and fields of the protocol", async () => {
    const [near, far] = ends();
    const seen = await watch(near);
    const seenFar = await watch(far);
    await open(far).handle("math.add", ({ a, b }) => a + b);
    const before = Date.now();
    await open(near).call("math.add", { a: 1, b: 2 }, { timeout: 5000 });
    // The request may have been said again, to an end that had only begun to listen.
    await until(() => [seen, seenFar].every((all) => new Set(all.map(([type]) => type)).size === 2));
    const passed = Object.fromEntries(seen) as Record<string, Record<string, unknown>>;
    expect(Object.keys(passed).sort()).toEqual(["requested", "responded"]);
    const { requested: request = {}, responded: answer } = passed;
    expect(request).toEqual({
      requestId: expect.stringMatching(UUID),
      operationId: "math.add",
      input: { a: 1, b: 2 },
      deadline: expect.any(Number),
      limit: 1,
    });
    expect(request["deadline"]).toBeGreaterThanOrEqual(before + 5000);
    expect(answer).toEqual({ requestId: request["requestId"], output: 3 });
  });

  test("is answered by a peer that knows nothing but the protocol", async () => {
    const [near, far] = ends();
    // In process nobody but such a peer may say what there is.
    const caller = open(near, { alone: false });
    await far.on("call.requested", ({ id, payload }: EventEnvelope) => {
      const { operationId, input } = payload as { operationId: string; input: number };
      if (operationId === "double") return far.publish("call.responded", id, { requestId: id, output: input * 2 });
      return far.publish("call.error", id, { requestId: id, code: "NOT_ME", message: "Ask another." });
    });
    expect(await caller.call("double", 21)).toBe(42);
    expect(await failure(caller.call("triple", 21))).toMatchObject({ code: "NOT_ME", message: "Ask another." });
  });

  test("of a peer that knows nothing but the protocol is answered", async () => {
    const [near, far] = ends();
    const handlers = open(far);
    await handlers.handle("double", (n) => n * 2);
    const answers = await near.subscribe("call.*", "5ca1ab1e");
    await near.publish("call.requested", "5ca1ab1e", { requestId: "5ca1ab1e", operationId: "double", input: 21 });
    for await (const { type, payload } of answers) {
      if (type === "call.requested") continue;
      expect([type, payload]).toEqual(["call.responded", { requestId: "5ca1ab1e", output: 42 }]);
      break;
    }
    // The same request again: a transport that repeats must not have it carried out twice.
    await near.publish("call.requested", "5ca1ab1e", { requestId: "5ca1ab1e", operationId: "double", input: 21 });
    expect(await open(near).call("double", 1)).toBe(2);
  });

  test("that is answered twice, late, or by nobody's leave settles once, and the rest is dropped in silence", async () => {
    const [near, far] = ends();
    const caller = open(near, { alone: false });
    const ids: string[] = [];
    await far.on("call.requested", async ({ id }: EventEnvelope) => {
      ids.push(id);
      for (const output of [1, 2]) await far.publish("call.responded", id, { requestId: id, output });
      await far.publish("call.error", id, { requestId: id, code: "LATE", message: "late" });
      await far.publish("call.aborted", "unknown", { requestId: "unknown" });
    });
    expect(await caller.call("x", 1)).toBe(1);
    expect(await caller.call("y", 1)).toBe(1);
    expect(new Set(ids).size).toBe(2);
    expect(caller.errors).toEqual([]);
  });

  test("is not disturbed by what is none of the protocol, which is reported", async () => {
    const [near, far] = ends();
    const handlers = open(far);
    await handlers.handle("double", (n) => n * 2);
    for (const [type, payload] of [
      ["call.requested", null],
      ["call.requested", { requestId: "other", operationId: "double" }],
      ["call.requested", { requestId: "x", operationId: "" }],
      ["call.requested", { requestId: "x", operationId: "double", deadline: "soon" }],
      ["call.requested", { requestId: "x", operationId: "double", window: 0 }],
      ["call.error", { requestId: "x" }],
      ["call.credited", { requestId: "x", count: -1 }],
    ] as const)
      await near.publish(type, "x", payload);
    await near.publish("call.unheard", "x", { of: true });
    expect(await open(near).call("double", 2)).toBe(4);
    expect(handlers.errors.map((error) => (error as PubSubError).code)).toEqual(Array(7).fill("MALFORMED"));
  });

  test("whose input cannot be carried rejects alone", async () => {
    const [near, far] = ends();
    await open(far).handle("double", (n) => n * 2);
    const caller = open(near);
    const [bad, good] = await Promise.allSettled([caller.call("double", () => 1), caller.call("double", 2)]);
    expect(good).toEqual({ status: "fulfilled", value: 4 });
    if (near !== far) expect(bad).toMatchObject({ status: "rejected", reason: { code: "PAYLOAD" } });
  });

  test("is one of as many as are allowed, here and there", async () => {
    const [near, far] = ends();
    const handlers = open(far, { limits: { running: 2, operations: 1 } });
    const gate = deferred();
    await handlers.handle("wait", () => gate.promise);
    expect(await failure(handlers.handle("more", () => 1))).toMatchObject({ code: "LIMIT" });
    const caller = open(near, { limits: { pending: 3 } });
    const waiting = [caller.call("wait", 1), caller.call("wait", 2)];
    const busy = failure(caller.call("wait", 3));
    expect(await failure(caller.call("wait", 4))).toMatchObject({ code: "LIMIT" });
    expect(await busy).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    gate.resolve();
    await Promise.all(waiting);
    expect(await caller.call("wait", 5)).toBeUndefined();
  });

  test("of closed operations is ABORTED here, and UNAVAILABLE for those who wait for its handlers", async () => {
    const [near, far] = ends();
    const handlers = open(far);
    const begun = deferred();
    const ended = deferred();
    await handlers.handle("wait", async (_, { signal }) => {
      begun.resolve();
      await aborted(signal);
      ended.resolve();
    });
    const caller = open(near);
    const one = failure(caller.call("wait", 1));
    await begun.promise;
    await handlers.close();
    expect(await one).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    await ended.promise;
    const other = open(near);
    const two = failure(other.call("wait", 2, { timeout: 60_000 }));
    await other.close();
    expect(await two).toMatchObject({ code: "ABORTED" });
  });
});

describe("a name", () => {
  test("has one handler on a PubSub, whichever operations it is handled with", async () => {
    const pubsub = openPubSub();
    const [one, two] = [open(pubsub), open(pubsub)];
    const stop = await one.handle("x", () => 1);
    expect(await failure(one.handle("x", () => 2))).toMatchObject({ code: "UNSUPPORTED" });
    expect(await failure(two.handle("x", () => 2))).toMatchObject({ code: "UNSUPPORTED" });
    expect(await two.call("x", null)).toBe(1);
    stop();
    stop();
    await two.handle("x", () => 2);
    expect(await one.call("x", null)).toBe(2);
  });

  test("is a string of 1 to 255 characters, and handled by a function", async () => {
    const operations = open(openPubSub());
    for (const name of ["", "x".repeat(256), 7 as never]) {
      expect(await failure(operations.handle(name, () => 1))).toMatchObject({ code: "INVALID_OPTION" });
      expect(await failure(operations.call(name, 1))).toMatchObject({ code: "INVALID_OPTION" });
    }
    expect(await failure(operations.handle("x", 1 as never))).toMatchObject({ code: "INVALID_OPTION" });
    expect(await failure(operations.handle("x", () => 1, { access: "a" as never }))).toMatchObject({
      code: "INVALID_OPTION",
    });
    expect(await failure(operations.call("x", 1, { timeout: -1 }))).toMatchObject({ code: "INVALID_OPTION" });
    expect(() => open(openPubSub(), { grace: -1 })).toThrow(PubSubError);
    expect(() => open(openPubSub(), { limits: { pending: 0 } })).toThrow(PubSubError);
  });
});

describe("who calls", () => {
  test("is whom the application says, never what the payload claims", async () => {
    const [near, far] = openPorts();
    const handlers = open(far, { identity: { id: "ann", scopes: ["read"] } });
    await handlers.handle("who", (_, { identity }) => identity);
    await handlers.handle("write", () => "written", { access: ["write"] });
    await handlers.handle("read", () => "text", { access: ["read"] });
    const answers = await near.subscribe("call.*", "f", { own: false });
    const request = (operationId: string): Promise<void> =>
      near.publish("call.requested", "f", {
        requestId: "f",
        operationId,
        identity: { id: "root", scopes: ["write"] },
      });
    await request("write");
    expect((await answers.next()).value?.payload).toMatchObject({ code: "ACCESS_DENIED" });
    const caller = open(near);
    expect(await caller.call("who", null)).toEqual({ id: "ann", scopes: ["read"] });
    expect(await caller.call("read", null)).toBe("text");
    expect(await failure(caller.call("write", null))).toMatchObject({ code: "ACCESS_DENIED" });
  });

  test("is nobody where nothing is said, and a function may decide by the checked input", async () => {
    const [near, far] = openPorts();
    const handlers = open(far);
    await handlers.handle("who", (_, { identity }) => identity === undefined);
    await handlers.handle("any", () => 1, { access: ["read"] });
    await handlers.handle("mine", () => 1, { access: (identity, input) => identity === undefined && input === "mine" });
    const caller = open(near);
    expect(await caller.call("who", null)).toBe(true);
    expect(await failure(caller.call("any", null))).toMatchObject({ code: "ACCESS_DENIED" });
    expect(await caller.call("mine", "mine")).toBe(1);
    expect(await failure(caller.call("mine", "yours"))).toMatchObject({ code: "ACCESS_DENIED" });
  });
});
