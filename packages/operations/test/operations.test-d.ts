// What the compiler knows of operations; never run.
import { createPubSub } from "@alkdev/pubsub";
import { createOperations, createRouter } from "@alkdev/operations";
import type { CallEvents, Operations, OperationStream } from "@alkdev/operations";
import { createHub } from "@alkdev/hub";
import { type as ark } from "arktype";
import * as v from "valibot";
import { expectTypeOf, test } from "vitest";
import { z } from "zod";

type Contract = {
  "math.add": { input: { a: number; b: number }; output: number };
  "log.tail": { input: { file: string }; stream: string };
};
interface AsInterface {
  "math.add": { input: { a: number; b: number }; output: number };
}

test("a contract types names, inputs, outputs and items", () => {
  const operations = createOperations<Contract>(createPubSub());
  expectTypeOf(operations.call("math.add", { a: 1, b: 2 })).toEqualTypeOf<Promise<number>>();
  expectTypeOf(operations.stream("log.tail", { file: "x" })).toEqualTypeOf<OperationStream<string>>();
  // @ts-expect-error there is no such operation
  void operations.call("math.sub", { a: 1, b: 2 });
  // @ts-expect-error b is missing
  void operations.call("math.add", { a: 1 });
  // @ts-expect-error a stream is no call
  void operations.call("log.tail", { file: "x" });
  // @ts-expect-error a call is no stream
  void operations.stream("math.add", { a: 1, b: 2 });
});

test("a contract types handlers", () => {
  const operations = createOperations<Contract>(createPubSub());
  void operations.handle("math.add", ({ a, b }, { signal }) => {
    expectTypeOf(a).toEqualTypeOf<number>();
    expectTypeOf(signal).toEqualTypeOf<AbortSignal>();
    return a + b;
  });
  void operations.handle("log.tail", async function* ({ file }) {
    yield file;
  });
  // @ts-expect-error a string is no number
  void operations.handle("math.add", ({ a, b }) => `${a + b}`);
  // @ts-expect-error there is no such operation
  void operations.handle("math.sub", () => 1);
});

test("without a contract names are free, handlers say what they take, and answers are unknown", () => {
  const operations = createOperations(createPubSub());
  void operations.handle("x", (input: { n: number }) => input.n);
  expectTypeOf(operations.call("x", 1)).toEqualTypeOf<Promise<unknown>>();
  expectTypeOf(operations).toEqualTypeOf<Operations>();
});

test("a client has a contract of its own, also one that is an interface, and so has the context", () => {
  const operations = createOperations(createPubSub());
  expectTypeOf(operations.client<AsInterface>().call("math.add", { a: 1, b: 2 })).toEqualTypeOf<Promise<number>>();
  void operations.handle("x", (_, context) => {
    expectTypeOf(context.client<Contract>().call("math.add", { a: 1, b: 2 })).toEqualTypeOf<Promise<number>>();
  });
  // @ts-expect-error an operation has an input
  operations.client<{ x: { output: number } }>();
});

test("a schema types its handler's input, as the schema gives it", () => {
  const operations = createOperations(createPubSub());
  const schema = z.object({ n: z.string().transform(Number) });
  void operations.handle("zod", ({ n }) => expectTypeOf(n).toEqualTypeOf<number>(), { input: schema });
  void operations.handle("valibot", ({ n }) => expectTypeOf(n).toEqualTypeOf<number>(), {
    input: v.object({ n: v.number() }),
  });
  void operations.handle("arktype", ({ n }) => expectTypeOf(n).toEqualTypeOf<number>(), {
    input: ark({ n: "number" }),
  });
  void operations.handle("json", (input: { n: number }) => input.n, { input: { type: "object" } });
});

test("any PubSub carries calls, a typed one too, and any hub can be joined", () => {
  createOperations(createPubSub<{ "session.status": { status: "idle" | "busy" } }>());
  createOperations(createPubSub<CallEvents>());
  createRouter().join(createHub());
});
