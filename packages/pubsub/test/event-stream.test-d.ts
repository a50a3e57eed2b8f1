import type { ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";
import { createPubSub, map, pipe } from "@alkdev/pubsub";
import type { EventEnvelope, Subscription } from "@alkdev/pubsub";
import { sendEventStream, toEventStream } from "@alkdev/pubsub/event-stream";
import type { EventStream } from "@alkdev/pubsub/event-stream";
import { expectTypeOf, test } from "vitest";

const pubsub = createPubSub<{ "order.paid": { amount: number } }>();
declare const subscription: Subscription<EventEnvelope<"order.paid", { amount: number }>>;
declare const stream: EventStream;
declare const response: ServerResponse;
declare const http2: Http2ServerResponse;

test("a live source is a Response, the promise of one is a promise", () => {
  expectTypeOf(toEventStream(subscription)).toEqualTypeOf<Response>();
  expectTypeOf(toEventStream(stream)).toEqualTypeOf<Response>();
  expectTypeOf(toEventStream(pubsub.subscribe("order.paid"))).toEqualTypeOf<Promise<Response>>();
  expectTypeOf(toEventStream(Promise.resolve(stream))).toEqualTypeOf<Promise<Response>>();
  expectTypeOf(
    toEventStream(
      pipe(
        subscription,
        map((event) => event),
      ),
    ),
  ).toEqualTypeOf<Response>();
});

test("ids are made of the source's own envelopes", () => {
  toEventStream(subscription, {
    id: (event) => {
      expectTypeOf(event.payload).toEqualTypeOf<{ amount: number }>();
      return String(event.payload.amount);
    },
  });
});

test("Node's responses will do, of http and of http2", () => {
  expectTypeOf(sendEventStream(subscription, response)).toEqualTypeOf<Promise<void>>();
  expectTypeOf(sendEventStream(pubsub.subscribe("order.paid"), http2)).toEqualTypeOf<Promise<void>>();
});

test("what has no envelopes is no source", () => {
  // @ts-expect-error numbers are no envelopes
  void toEventStream((async function* () {})() as AsyncIterable<number>);
  // @ts-expect-error a web request is no response
  void sendEventStream(subscription, new Request("http://localhost"));
});
