// Payloads checked by schema: what is published is the input, what subscribers get is the output.
import { type } from "arktype";
import * as v from "valibot";
import { MessageChannel } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import * as z from "zod";
import { createPubSub, PayloadError } from "@alkdev/pubsub";
import type { PubSub, Schemas, StandardSchema } from "@alkdev/pubsub";
import { createMessagePortEventTarget } from "@alkdev/pubsub/event-target-message-port";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { defineEventTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { Opened } from "./fixtures/conformance.ts";
import { settled, uncaughtDuring } from "./pubsub-support.ts";

const opened = new Opened();
afterEach(() => opened.end());

/** The same two schemas in each library: an object with a nested list, and text that becomes a number. */
const LIBRARIES: Readonly<Record<string, Readonly<Record<"job" | "count" | "async", StandardSchema>>>> = {
  zod: {
    job: z.object({ name: z.string(), steps: z.array(z.object({ done: z.boolean() })) }),
    count: z.string().transform((text) => text.length),
    async: z.string().refine((text) => Promise.resolve(text !== "")),
  },
  valibot: {
    job: v.object({ name: v.string(), steps: v.array(v.object({ done: v.boolean() })) }),
    count: v.pipe(
      v.string(),
      v.transform((text) => text.length),
    ),
    async: v.pipeAsync(
      v.string(),
      v.checkAsync((text) => Promise.resolve(text !== "")),
    ),
  },
  arktype: {
    job: type({ name: "string", steps: type({ done: "boolean" }).array() }),
    count: type("string").pipe((text) => text.length),
    // arktype has no asynchronous types; a schema by hand stands in for them.
    async: byHand((value) => Promise.resolve({ value })),
  },
};

function byHand(validate: StandardSchema["~standard"]["validate"]): StandardSchema {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

/** A schema that lets everything pass and counts how often it was asked. */
function counting(): { readonly schema: StandardSchema; calls: number } {
  const counter = {
    calls: 0,
    schema: byHand((value) => {
      counter.calls++;
      return { value };
    }),
  };
  return counter;
}

/** Two ends of a wire of structured clones. */
function pair(): [AlkEventTarget, AlkEventTarget] {
  const { port1, port2 } = new MessageChannel();
  const targets: [AlkEventTarget, AlkEventTarget] = [
    createMessagePortEventTarget(port1),
    createMessagePortEventTarget(port2),
  ];
  opened.add(async () => {
    await Promise.all(targets.map((target) => target.close()));
    port1.close();
  });
  return targets;
}

async function nextPayloads(pubsub: PubSub, type: string, act: () => Promise<unknown>, count: number = 1) {
  const events = await pubsub.subscribe(type);
  await act();
  const payloads: unknown[] = [];
  while (payloads.length < count) payloads.push((await events.next()).value?.payload);
  await events.return();
  return payloads;
}

describe.each(Object.entries(LIBRARIES))("%s", (_, { job, count, async }) => {
  const schemas: Schemas = { job, count, async };
  const good = { name: "build", steps: [{ done: true }] };

  test("a payload that fits is published as it is", async () => {
    const pubsub = createPubSub({ schemas }) as PubSub;
    expect(await nextPayloads(pubsub, "job", () => pubsub.publish("job", "1", good))).toEqual([good]);
  });

  test("subscribers in process get the output", async () => {
    const pubsub = createPubSub({ schemas }) as PubSub;
    expect(await nextPayloads(pubsub, "count", () => pubsub.publish("count", "", "four"))).toEqual([4]);
  });

  test("the input is sent, and the other side makes its output of it", async () => {
    const [left, right] = pair();
    const [near, bare] = [
      createPubSub({ eventTarget: right, schemas }) as PubSub,
      createPubSub({ eventTarget: right }),
    ];
    const events = await near.subscribe("count");
    const raw = await bare.subscribe("count");
    const far = createPubSub({ eventTarget: left, schemas }) as PubSub;
    await far.publish("count", "", "four");
    expect((await events.next()).value?.payload).toBe(4);
    expect((await raw.next()).value?.payload).toBe("four");
  });

  test.each([
    ["in the middle", { name: "build", steps: [{ done: true }, { done: "yes" }] }, ["steps", 1, "done"]],
    ["missing", { steps: [] }, ["name"]],
    ["as a whole", null, []],
  ])("a payload that is wrong %s is refused with its path, and nothing is sent", async (_, bad, path) => {
    const [left, right] = pair();
    const far = createPubSub({ eventTarget: left, schemas }) as PubSub;
    const events = await createPubSub({ eventTarget: right }).subscribe("job");
    const own = await far.subscribe("job");
    const error = await far.publish("job", "7", bad).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(PayloadError);
    expect(error).toMatchObject({ code: "PAYLOAD", type: "job", id: "7", path });
    expect((error as PayloadError).message).toContain(["payload", ...path].join("."));
    expect((error as PayloadError).message).toContain("job:7");
    await far.publish("job", "7", good);
    expect((await events.next()).value?.payload).toEqual(good);
    expect([events.received, own.received]).toEqual([1, 1]);
  });

  test("a payload from a peer that does not fit is reported once, and reaches no subscriber", async () => {
    const [left, right] = pair();
    const errors: unknown[] = [];
    const near = createPubSub({ eventTarget: right, schemas, onError: (error) => errors.push(error) }) as PubSub;
    const subscriptions = [await near.subscribe("job"), await near.subscribe("**"), await near.subscribe("job", "7")];
    const seen: unknown[] = [];
    await near.on("*", ({ payload }) => seen.push(payload));
    const plain = createPubSub({ eventTarget: left });
    await plain.publish("job", "7", { name: 1, steps: [] });
    await plain.publish("job", "7", good);
    for (const events of subscriptions) expect((await events.next()).value?.payload).toEqual(good);
    expect(subscriptions.map(({ received }) => received)).toEqual([1, 1, 1]);
    expect(seen).toEqual([good]);
    expect(errors).toMatchObject([{ code: "PAYLOAD", type: "job", id: "7", path: ["name"] }]);
    expect(errors[0]).toBeInstanceOf(PayloadError);
  });

  test("an asynchronous schema is refused, on both sides, and its rejection is nobody's", async () => {
    const [left, right] = pair();
    const errors: unknown[] = [];
    const near = createPubSub({ eventTarget: right, schemas, onError: (error) => errors.push(error) }) as PubSub;
    const events = await near.subscribe("**");
    const plain = createPubSub({ eventTarget: left });
    const uncaught = await uncaughtDuring(async () => {
      const refusal = { code: "PAYLOAD", message: expect.stringContaining("asynchronous") as string };
      await expect(near.publish("async", "", "text")).rejects.toMatchObject(refusal);
      await plain.publish("async", "", "text");
      await plain.publish("job", "", good);
      await events.next();
      expect(errors).toMatchObject([refusal]);
    });
    expect(uncaught).toEqual([]);
    expect(events.received).toBe(1);
  });
});

describe("how often a payload is checked", () => {
  test("in process once, however many subscribe", async () => {
    const counter = counting();
    const pubsub = createPubSub({ schemas: { a: counter.schema } });
    const seen: unknown[] = [];
    for (const pattern of ["a", "*", "**"] as const) await pubsub.on(pattern, ({ payload }) => seen.push(payload));
    await pubsub.publish("a", "", 1);
    expect(seen).toEqual([1, 1, 1]);
    expect(counter.calls).toBe(1);
  });

  test("once by the publisher and once by each receiver, over a transport", async () => {
    const [sender, receiver] = [counting(), counting()];
    const [left, right] = pair();
    const near = createPubSub({ eventTarget: right, schemas: { a: receiver.schema } });
    const [one, two] = [await near.subscribe("a"), await near.subscribe("*")];
    const far = createPubSub({ eventTarget: left, schemas: { a: sender.schema } });
    const own = await far.subscribe("a");
    await far.publish("a", "", 1);
    await Promise.all([one.next(), two.next(), own.next()]);
    expect([sender.calls, receiver.calls]).toEqual([1, 1]);
  });

  test("again where the broker echoes: what comes back may have been changed on its way", async () => {
    const counter = counting();
    const target = defineEventTarget(createMemoryTransport(createMemoryBroker(), { supports: { echo: true } }));
    opened.add(() => target.close());
    const pubsub = createPubSub({ eventTarget: target, schemas: { a: counter.schema } });
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", 1);
    await events.next();
    expect(counter.calls).toBe(2);
  });

  test("not at all where nobody subscribed and nothing is published", async () => {
    const counter = counting();
    const [left, right] = pair();
    const near = createPubSub({ eventTarget: right, schemas: { a: counter.schema } });
    await near.subscribe("b" as never);
    await createPubSub({ eventTarget: left }).publish("a", "", 1);
    expect(counter.calls).toBe(0);
  });
});

describe("beside the schemas", () => {
  test("types that have none are untouched, in both directions", async () => {
    const payload = { any: new Date(0) };
    const pubsub = createPubSub<{ a: string; free: unknown }>({ schemas: { a: z.string() } });
    const events = await pubsub.subscribe("**");
    await pubsub.publish("free", "", payload);
    const { value } = await events.next();
    expect(value?.payload).toBe(payload);
    const [left, right] = pair();
    const near = createPubSub<{ a: string; free: unknown }>({ eventTarget: right, schemas: { a: z.string() } });
    expect(
      await nextPayloads(near as unknown as PubSub, "free", () =>
        createPubSub({ eventTarget: left }).publish("free", "", payload),
      ),
    ).toEqual([payload]);
  });

  test("an explicit map gives the types, the schemas check all the same", async () => {
    const pubsub = createPubSub<{ a: { n: number } }>({ schemas: { a: z.object({ n: z.number().int() }) } });
    const events = await pubsub.subscribe("a");
    await expect(pubsub.publish("a", "", { n: 1.5 })).rejects.toMatchObject({ code: "PAYLOAD", path: ["n"] });
    await pubsub.publish("a", "", { n: 1 });
    expect((await events.next()).value?.payload.n).toBe(1);
  });

  test.each(["__proto__", "constructor", "toString", "hasOwnProperty", "__defineGetter__"])(
    "the type %s has a schema only if it was given one",
    async (name) => {
      const without = createPubSub({ schemas: {} }) as PubSub;
      expect(await nextPayloads(without, name, () => without.publish(name, name, 1))).toEqual([1]);
      const given = createPubSub({ schemas: { [name]: z.string() } }) as PubSub;
      await expect(given.publish(name, name, 1)).rejects.toMatchObject({ code: "PAYLOAD", type: name });
      expect(await nextPayloads(given, name, () => given.publish(name, name, "text"))).toEqual(["text"]);
    },
  );

  test("two PubSubs on one target each check with their own", async () => {
    const [left, right] = pair();
    const text = createPubSub({ eventTarget: right, schemas: { a: z.string() }, onError: () => undefined });
    const length = createPubSub({ eventTarget: right, schemas: { a: z.string().transform((text) => text.length) } });
    const [texts, lengths] = [await text.subscribe("a"), await length.subscribe("a")];
    await createPubSub({ eventTarget: left }).publish("a", "", "four");
    expect((await texts.next()).value?.payload).toBe("four");
    expect((await lengths.next()).value?.payload).toBe(4);
    await length.publish("a", "", "three");
    expect((await texts.next()).value?.payload).toBe("three");
    expect((await lengths.next()).value?.payload).toBe(5);
  });

  test("the envelope keeps its other members", async () => {
    const [left, right] = pair();
    const near = createPubSub({ eventTarget: right, schemas: { a: z.string().transform((text) => text.length) } });
    const events = await near.subscribe("a");
    const detail = { type: "a", id: "1", payload: "four", meta: { trace: "t" }, extra: true };
    await createPubSub({ eventTarget: left }).subscribe("ready");
    left.dispatchEvent(new CustomEvent("a:1", { detail }));
    expect((await events.next()).value).toEqual({ ...detail, payload: 4 });
  });

  test("sequence goes on: what the publisher's schema refuses has no number, what the receiver's refuses is no gap", async () => {
    const [left, right] = pair();
    const errors: unknown[] = [];
    const near = createPubSub({
      eventTarget: right,
      sequence: true,
      schemas: { a: z.number().max(10) },
      onError: (error) => errors.push(error),
    });
    const seen: unknown[] = [];
    await near.on("a", ({ payload }) => seen.push(payload), { onGap: (gap) => seen.push(gap) });
    const far = createPubSub({ eventTarget: left, sequence: true, schemas: { a: z.number() } });
    await far.publish("a", "", 1);
    await expect(far.publish("a", "", "2" as never)).rejects.toMatchObject({ code: "PAYLOAD" });
    for (const n of [3, 11, 5]) await far.publish("a", "", n);
    await settled();
    expect(seen).toEqual([1, 3, 5]);
    expect(errors).toHaveLength(1);
  });
});

describe("a schema that is broken", () => {
  const boom = new Error("boom");

  test("because it throws makes a PayloadError with that cause, on both sides", async () => {
    const [left, right] = pair();
    const errors: unknown[] = [];
    const broken = byHand(() => {
      throw boom;
    });
    const schemas: Schemas = { a: broken };
    const near = createPubSub({ eventTarget: right, schemas, onError: (error) => errors.push(error) }) as PubSub;
    const expected = { code: "PAYLOAD", type: "a", id: "1", cause: boom };
    await expect(near.publish("a", "1", null)).rejects.toMatchObject(expected);
    const events = await near.subscribe("**");
    const plain = createPubSub({ eventTarget: left });
    await plain.publish("a", "1", null);
    await plain.publish("b", "", 1);
    expect((await events.next()).value?.type).toBe("b");
    expect(errors).toMatchObject([expected]);
  });

  test.each([undefined, null, 7])("because it answers with %s makes a PayloadError", async (answer) => {
    const pubsub = createPubSub({ schemas: { a: byHand(() => answer as never) } });
    await expect(pubsub.publish("a", "", null)).rejects.toMatchObject({ code: "PAYLOAD", type: "a" });
  });

  test("because its promise rejects is refused like any asynchronous one", async () => {
    const pubsub = createPubSub({ schemas: { a: byHand(() => Promise.reject(boom)) } });
    const uncaught = await uncaughtDuring(() =>
      expect(pubsub.publish("a", "", null)).rejects.toMatchObject({ code: "PAYLOAD" }),
    );
    expect(uncaught).toEqual([]);
  });

  test("says so without issues: the payload is wrong all the same", async () => {
    const pubsub = createPubSub({ schemas: { a: byHand(() => ({ issues: [] })) } });
    await expect(pubsub.publish("a", "", null)).rejects.toMatchObject({ code: "PAYLOAD", path: [] });
  });

  test.each([undefined, null, {}, "string", () => true])("because it is none (%s) is refused at once", (schema) => {
    expect(() => createPubSub({ schemas: { a: schema as never } })).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION", message: expect.stringContaining('"a"') as string }) as Error,
    );
  });

  test("on receipt without onError is an uncaught error, and stops nothing", async () => {
    const [left, right] = pair();
    const near = createPubSub({ eventTarget: right, schemas: { a: z.string() } });
    const events = await near.subscribe("a");
    const plain = createPubSub({ eventTarget: left });
    const uncaught = await uncaughtDuring(async () => {
      await plain.publish("a", "", 1);
      await plain.publish("a", "", "text");
      await events.next();
    });
    expect(uncaught).toMatchObject([{ code: "PAYLOAD", type: "a" }]);
  });
});

test("paths have keys whether a library gives them bare or as objects, symbols too", async () => {
  const key = Symbol("key");
  const schema = byHand(() => ({ issues: [{ message: "bad", path: ["a", { key: 0 }, { key }, 1] }] }));
  const error: unknown = await createPubSub({ schemas: { x: schema } })
    .publish("x", "", null)
    .catch((error: unknown) => error);
  expect(error).toMatchObject({ path: ["a", 0, key, 1] });
  expect((error as Error).message).toContain("payload.a.0.Symbol(key).1: bad");
});
