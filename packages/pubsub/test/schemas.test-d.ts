// What createPubSub infers from schemas: publish takes inputs, subscriptions give outputs.
import { type } from "arktype";
import * as v from "valibot";
import { describe, expectTypeOf, test } from "vitest";
import * as z from "zod";
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub, SchemaInputs, SchemaOutputs, StandardSchema } from "@alkdev/pubsub";

/** What `publish` takes for a type. */
declare function inputOf<O extends object, I extends object, K extends keyof I>(pubsub: PubSub<O, I>, type: K): I[K];

type Job = { name: string; steps: { done: boolean }[] };

describe("zod", () => {
  const schemas = {
    "job.done": z.object({ name: z.string(), steps: z.array(z.object({ done: z.boolean() })) }),
    "job.count": z.string().transform((text) => text.length),
    "job.limit": z.object({ max: z.number().default(10) }),
  };
  const pubsub = createPubSub({ schemas });

  test("publish takes the inputs", () => {
    expectTypeOf(inputOf(pubsub, "job.done")).toEqualTypeOf<Job>();
    expectTypeOf(inputOf(pubsub, "job.count")).toEqualTypeOf<string>();
    expectTypeOf(inputOf(pubsub, "job.limit")).toEqualTypeOf<{ max?: number | undefined }>();
    // @ts-expect-error the output is no input
    void pubsub.publish("job.count", "", 4);
    // @ts-expect-error no such type
    void pubsub.publish("job.other", "", 4);
  });

  test("subscriptions give the outputs, by type and by pattern", async () => {
    const { value } = await (await pubsub.subscribe("job.count")).next();
    expectTypeOf(value).toEqualTypeOf<EventEnvelope<"job.count", number> | undefined>();
    await pubsub.on("job.limit", ({ payload }) => expectTypeOf(payload).toEqualTypeOf<{ max: number }>());
    await pubsub.on("job.*", (envelope) => {
      expectTypeOf(envelope.type).toEqualTypeOf<"job.done" | "job.count" | "job.limit">();
      if (envelope.type === "job.count") expectTypeOf(envelope.payload).toEqualTypeOf<number>();
    });
    // @ts-expect-error no type matches
    void pubsub.subscribe("task.*");
  });
});

describe("valibot", () => {
  const pubsub = createPubSub({
    schemas: {
      "job.done": v.object({ name: v.string(), steps: v.array(v.object({ done: v.boolean() })) }),
      "job.count": v.pipe(
        v.string(),
        v.transform((text) => text.length),
      ),
    },
  });

  test("publish takes the inputs, subscriptions give the outputs", async () => {
    expectTypeOf(inputOf(pubsub, "job.done")).toEqualTypeOf<Job>();
    expectTypeOf(inputOf(pubsub, "job.count")).toEqualTypeOf<string>();
    // @ts-expect-error the output is no input
    void pubsub.publish("job.count", "", 4);
    await pubsub.on("job.count", ({ payload }) => expectTypeOf(payload).toEqualTypeOf<number>());
    await pubsub.on("job.done", ({ payload }) => expectTypeOf(payload).toEqualTypeOf<Job>());
  });
});

describe("arktype", () => {
  const pubsub = createPubSub({
    schemas: {
      "job.done": type({ name: "string", steps: type({ done: "boolean" }).array() }),
      "job.count": type("string").pipe((text) => text.length),
    },
  });

  test("publish takes the inputs, subscriptions give the outputs", async () => {
    expectTypeOf(inputOf(pubsub, "job.done")).toEqualTypeOf<Job>();
    expectTypeOf(inputOf(pubsub, "job.count")).toEqualTypeOf<string>();
    // @ts-expect-error the output is no input
    void pubsub.publish("job.count", "", 4);
    await pubsub.on("job.count", ({ payload }) => expectTypeOf(payload).toEqualTypeOf<number>());
    await pubsub.on("job.done", ({ payload }) => expectTypeOf(payload).toEqualTypeOf<Job>());
  });
});

test("libraries mix", () => {
  const pubsub = createPubSub({ schemas: { a: z.string(), b: v.number(), c: type("boolean") }, sequence: true });
  expectTypeOf(inputOf(pubsub, "a")).toEqualTypeOf<string>();
  expectTypeOf(inputOf(pubsub, "b")).toEqualTypeOf<number>();
  expectTypeOf(inputOf(pubsub, "c")).toEqualTypeOf<boolean>();
});

test("an explicit map has the last word, and may have types without a schema", () => {
  const pubsub = createPubSub<{ a: { n: number }; free: Date }>({ schemas: { a: z.object({ n: z.number() }) } });
  expectTypeOf(pubsub).toEqualTypeOf<PubSub<{ a: { n: number }; free: Date }>>();
  expectTypeOf(inputOf(pubsub, "free")).toEqualTypeOf<Date>();
});

test("what has no validate is no schema", () => {
  // @ts-expect-error not a schema
  createPubSub({ schemas: { a: (value: unknown) => typeof value === "string" } });
});

test("the two maps can be named", () => {
  type S = { a: StandardSchema<string, number>; b: StandardSchema<boolean> };
  expectTypeOf<SchemaInputs<S>>().toEqualTypeOf<{ a: string; b: boolean }>();
  expectTypeOf<SchemaOutputs<S>>().toEqualTypeOf<{ a: number; b: boolean }>();
});
