import { describe, expectTypeOf, test } from "vitest";
import { createPubSub } from "@alkdev/pubsub";
import type {
  EnvelopeFor,
  EventEnvelope,
  EventTypes,
  Gap,
  InvalidTopicError,
  Listener,
  MatchingTypes,
  PayloadError,
  PendingSubscription,
  PubSub,
  PubSubError,
  PubSubErrorCode,
  PubSubEventMap,
  Status,
  Subscription,
} from "@alkdev/pubsub";

type SessionMap = {
  "session.status": { status: "idle" | "busy" };
  "session.closed": null;
  "session.file.saved": { path: string };
  "job.status": number;
  started: undefined | boolean;
};

interface AsInterface {
  "session.status": { status: "idle" | "busy" };
  "job.status": number;
}

declare const pubsub: PubSub<SessionMap>;

describe("the event types of a pattern", () => {
  test("an exact type matches itself alone", () => {
    expectTypeOf<MatchingTypes<SessionMap, "session.status">>().toEqualTypeOf<"session.status">();
    expectTypeOf<MatchingTypes<SessionMap, "started">>().toEqualTypeOf<"started">();
  });

  test("a star is exactly one token", () => {
    expectTypeOf<MatchingTypes<SessionMap, "session.*">>().toEqualTypeOf<"session.status" | "session.closed">();
    expectTypeOf<MatchingTypes<SessionMap, "*.status">>().toEqualTypeOf<"session.status" | "job.status">();
    expectTypeOf<MatchingTypes<SessionMap, "*">>().toEqualTypeOf<"started">();
    expectTypeOf<MatchingTypes<SessionMap, "*.*.*">>().toEqualTypeOf<"session.file.saved">();
    expectTypeOf<MatchingTypes<SessionMap, "session.*.saved">>().toEqualTypeOf<"session.file.saved">();
  });

  test("a last double star is any number of tokens, none included", () => {
    expectTypeOf<MatchingTypes<SessionMap, "**">>().toEqualTypeOf<keyof SessionMap>();
    expectTypeOf<MatchingTypes<SessionMap, "started.**">>().toEqualTypeOf<"started">();
    expectTypeOf<MatchingTypes<SessionMap, "session.**">>().toEqualTypeOf<
      "session.status" | "session.closed" | "session.file.saved"
    >();
    expectTypeOf<MatchingTypes<SessionMap, "session.*.**">>().toEqualTypeOf<
      "session.status" | "session.closed" | "session.file.saved"
    >();
    expectTypeOf<MatchingTypes<SessionMap, "session.status.**">>().toEqualTypeOf<"session.status">();
  });

  test("what cannot match is never", () => {
    expectTypeOf<MatchingTypes<SessionMap, "session">>().toBeNever();
    expectTypeOf<MatchingTypes<SessionMap, "Session.status">>().toBeNever();
    expectTypeOf<MatchingTypes<SessionMap, "session.*.*.*">>().toBeNever();
    expectTypeOf<EnvelopeFor<SessionMap, "session">>().toBeNever();
  });

  test("a union of patterns matches what either matches", () => {
    expectTypeOf<MatchingTypes<SessionMap, "session.status" | "job.status">>().toEqualTypeOf<
      "session.status" | "job.status"
    >();
    expectTypeOf<MatchingTypes<SessionMap, "session.*" | "started">>().toEqualTypeOf<
      "session.status" | "session.closed" | "started"
    >();
  });

  test("a pattern that is not known to the letter may match every type", () => {
    expectTypeOf<MatchingTypes<SessionMap, string>>().toEqualTypeOf<keyof SessionMap>();
    expectTypeOf<MatchingTypes<SessionMap, `session.${string}`>>().toEqualTypeOf<keyof SessionMap>();
  });

  test("a map with an open key gives string", () => {
    expectTypeOf<MatchingTypes<PubSubEventMap, "a.b">>().toEqualTypeOf<string>();
    expectTypeOf<EventTypes<PubSubEventMap>>().toEqualTypeOf<string>();
  });

  test("sixteen tokens, the limit of a type, are no problem for the compiler", () => {
    type Long = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p";
    expectTypeOf<MatchingTypes<{ [K in Long]: 1 }, "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.*">>().toEqualTypeOf<Long>();
    expectTypeOf<MatchingTypes<{ [K in Long]: 1 }, "a.**">>().toEqualTypeOf<Long>();
  });
});

describe("subscribe", () => {
  test("gives the envelope of an exact type", () => {
    expectTypeOf(pubsub.subscribe("session.status", "proj_123")).toEqualTypeOf<
      PendingSubscription<EventEnvelope<"session.status", { status: "idle" | "busy" }>>
    >();
  });

  test("resolves with a Subscription of the same envelopes", async () => {
    const events = await pubsub.subscribe("session.closed");
    expectTypeOf(events).toEqualTypeOf<Subscription<EventEnvelope<"session.closed", null>>>();
    expectTypeOf(await events.next()).toEqualTypeOf<IteratorResult<EventEnvelope<"session.closed", null>, undefined>>();
    expectTypeOf(events.received).toEqualTypeOf<number>();
    expectTypeOf(events.dropped).toEqualTypeOf<number>();
    expectTypeOf(events.gaps).toEqualTypeOf<number>();
  });

  test("gives for a pattern a union that the type discriminates", async () => {
    for await (const event of pubsub.subscribe("session.*")) {
      expectTypeOf(event.type).toEqualTypeOf<"session.status" | "session.closed">();
      if (event.type === "session.closed") expectTypeOf(event.payload).toEqualTypeOf<null>();
      else expectTypeOf(event.payload.status).toEqualTypeOf<"idle" | "busy">();
    }
  });

  test("discriminates after destructuring too", async () => {
    for await (const { type, payload } of pubsub.subscribe("session.**"))
      if (type === "session.file.saved") expectTypeOf(payload).toEqualTypeOf<{ path: string }>();
  });

  test("can be iterated with and without await, as events or batches", async () => {
    for await (const { id, payload } of pubsub.subscribe("job.status")) {
      expectTypeOf(id).toEqualTypeOf<string>();
      expectTypeOf(payload).toEqualTypeOf<number>();
    }
    const events = await pubsub.subscribe("job.status");
    for await (const { payload } of events) expectTypeOf(payload).toEqualTypeOf<number>();
    for await (const batch of events.batches())
      expectTypeOf(batch).toEqualTypeOf<EventEnvelope<"job.status", number>[]>();
  });

  test("is disposable, and its iterator is itself", async () => {
    const events = await pubsub.subscribe("job.status");
    expectTypeOf(events).toExtend<AsyncDisposable>();
    expectTypeOf(events[Symbol.asyncIterator]()).toEqualTypeOf<typeof events>();
  });

  test("takes an id, no id, options, or all of them", () => {
    const { signal } = new AbortController();
    void pubsub.subscribe("job.status");
    void pubsub.subscribe("job.status", { signal });
    void pubsub.subscribe("job.status", undefined, { signal, own: false });
    void pubsub.subscribe("job.status", "", {
      buffer: { limit: 1, overflow: "drop-oldest" },
      group: "workers",
      onGap: (gap) => expectTypeOf(gap).toEqualTypeOf<Gap>(),
    });
    void pubsub.subscribe("job.status", "1", { onGap: "ignore" });
  });

  test("says in words that a pattern matches no type", () => {
    // @ts-expect-error -- No event type of this PubSub matches session.stauts
    void pubsub.subscribe("session.stauts");
    // @ts-expect-error -- No event type of this PubSub matches session.*.*.*
    void pubsub.subscribe("session.*.*.*", "1");
    type Problem = Parameters<typeof pubsub.subscribe<"nothing.here">>[0];
    expectTypeOf<Problem>().toEqualTypeOf<"No event type of this PubSub matches nothing.here">();
  });

  test("rejects options that do not exist", () => {
    // @ts-expect-error -- misspelt
    void pubsub.subscribe("job.status", { bufer: { limit: 1 } });
    // @ts-expect-error -- no such policy
    void pubsub.subscribe("job.status", { buffer: { overflow: "drop" } });
    // @ts-expect-error -- the word is 'ignore'
    void pubsub.subscribe("job.status", { onGap: "skip" });
    // @ts-expect-error -- null is no id
    void pubsub.subscribe("job.status", null);
  });

  test("takes a pattern of type string, which may match every type", async () => {
    const pattern = "session.*" as string;
    const events = await pubsub.subscribe(pattern);
    expectTypeOf(events).toEqualTypeOf<Subscription<EnvelopeFor<SessionMap, "**">>>();
  });

  test("takes a union of types, and a template with holes", async () => {
    const type = "session.status" as "session.status" | "job.status";
    const events = await pubsub.subscribe(type);
    const { value } = await events.next();
    expectTypeOf(value!.type).toEqualTypeOf<"session.status" | "job.status">();
    const area = "session" as string;
    void pubsub.subscribe(`${area}.*`);
    void pubsub.subscribe(`session.${area}` as const);
  });
});

describe("on", () => {
  test("gives the listener the envelopes of the pattern", () => {
    void pubsub.on("session.*", (event) => {
      expectTypeOf(event).toEqualTypeOf<
        EventEnvelope<"session.status", { status: "idle" | "busy" }> | EventEnvelope<"session.closed", null>
      >();
    });
    void pubsub.on("job.status", "1", ({ payload }) => expectTypeOf(payload).toEqualTypeOf<number>(), { own: false });
    void pubsub.on("job.status", undefined, async ({ payload }) => expectTypeOf(payload).toEqualTypeOf<number>());
  });

  test("resolves with the function that stops it", () => {
    expectTypeOf(pubsub.on("job.status", () => {})).toEqualTypeOf<Promise<() => void>>();
  });

  test("rejects a listener of another payload, and a pattern that matches nothing", () => {
    const wrong: Listener<EventEnvelope<"job.status", string>> = () => {};
    // @ts-expect-error -- the payload is a number
    void pubsub.on("job.status", wrong);
    // @ts-expect-error -- No event type of this PubSub matches jobs.*
    void pubsub.on("jobs.*", () => {});
  });

  test("has no buffer, since listeners are called at once", () => {
    // @ts-expect-error -- buffers belong to subscribe
    void pubsub.on("job.status", () => {}, { buffer: { limit: 1 } });
  });
});

describe("publish", () => {
  test("takes the payload of the type", () => {
    expectTypeOf(pubsub.publish("session.status", "1", { status: "busy" })).toEqualTypeOf<Promise<void>>();
    void pubsub.publish("session.closed", "1", null);
  });

  test("rejects what is not the payload of the type", () => {
    // @ts-expect-error -- no such status
    void pubsub.publish("session.status", "1", { status: "bsy" });
    // @ts-expect-error -- a number
    void pubsub.publish("job.status", "1", "1");
    // @ts-expect-error -- the payload is missing
    void pubsub.publish("job.status", "1");
    // @ts-expect-error -- the id is missing
    void pubsub.publish("job.status", 1);
  });

  test("rejects patterns and types that the map does not have", () => {
    // @ts-expect-error -- one publishes to one type
    void pubsub.publish("session.*", "1", null);
    // @ts-expect-error -- no such type
    void pubsub.publish("session.opened", "1", null);
  });
});

describe("maps", () => {
  test("an interface is as good as a type", async () => {
    const over = createPubSub<AsInterface>();
    expectTypeOf(over.subscribe("*.status")).toEqualTypeOf<
      PendingSubscription<
        EventEnvelope<"session.status", { status: "idle" | "busy" }> | EventEnvelope<"job.status", number>
      >
    >();
    // @ts-expect-error -- No event type of this PubSub matches started
    void over.subscribe("started");
  });

  test("without a map every type goes and payloads are unknown", async () => {
    const open = createPubSub();
    expectTypeOf(open).toEqualTypeOf<PubSub>();
    void open.publish("what.ever", "1", Symbol.iterator);
    for await (const event of open.subscribe("what.*")) expectTypeOf(event).toEqualTypeOf<EventEnvelope>();
  });

  test("keys may be templates", async () => {
    const rooms = createPubSub<{ [room: `room.${string}`]: { text: string } }>();
    void rooms.publish("room.kitchen", "", { text: "tea" });
    // @ts-expect-error -- no room
    void rooms.publish("garden", "", { text: "tea" });
    for await (const { payload } of rooms.subscribe("room.*")) expectTypeOf(payload).toEqualTypeOf<{ text: string }>();
  });

  test("a generic function over a map compiles", () => {
    const forward = <TMap extends object, K extends EventTypes<TMap>>(to: PubSub<TMap>, type: K, payload: TMap[K]) =>
      to.publish(type, "", payload);
    expectTypeOf(forward(pubsub, "job.status", 1)).toEqualTypeOf<Promise<void>>();
  });
});

describe("the rest of what users hold", () => {
  test("is disposable and tells its status", () => {
    expectTypeOf(pubsub).toExtend<AsyncDisposable>();
    expectTypeOf(pubsub.status).toEqualTypeOf<Status>();
    expectTypeOf<Parameters<typeof pubsub.onStatus>>().toEqualTypeOf<
      [listener: (status: Status, cause: unknown) => void]
    >();
    expectTypeOf(pubsub.onStatus(() => {})).toEqualTypeOf<() => void>();
  });

  test("errors carry a literal code", () => {
    expectTypeOf<PubSubError["code"]>().toEqualTypeOf<PubSubErrorCode>();
    expectTypeOf<InvalidTopicError>().toExtend<PubSubError>();
    expectTypeOf<PayloadError>().toExtend<PubSubError>();
    expectTypeOf<PubSubError["gap"]>().toEqualTypeOf<Gap | undefined>();
  });
});
