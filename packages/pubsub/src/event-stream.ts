/**
 * @module Server-sent events: a subscription as a web `Response`, or over Node's http, for consumers that only listen.
 *
 * What a consumer (`EventSource`, `curl -N`) gets, each with an `id:` line:
 *
 * - an event: no `event:` line, so that `onmessage` hears it; `data:` is the whole envelope as one line of JSON;
 * - a loss: `event: gap`, `data:` the `Gap` as JSON, in the place where the events are missing;
 * - the end: `event: end`, `data:` `{}` where the source was done, else `{ "code", "message" }`. Without it the connection
 *   was cut. An `EventSource` connects again after either, until its `close()` is called.
 *
 * The stream begins with an id of its own, so that a consumer which is cut off before the first event names it too. No
 * `Node` import, and no transport: this is an end of the road, not a way on.
 */
import type { EventEnvelope } from "./envelope.ts";
import { Body, checkOptions, HEADERS } from "./event-stream-body.ts";
import type { EventStreamOptions, EventStreamSource } from "./event-stream-text.ts";

export { sendEventStream } from "./event-stream-node.ts";
export type { NodeResponse } from "./event-stream-node.ts";
export { endText, eventText, givenId, idText, MAX_TEXT } from "./event-stream-text.ts";
export type { EventStream, EventStreamOptions, EventStreamSource } from "./event-stream-text.ts";

/**
 * A subscription as a `Response` of server-sent events, for a fetch handler (Hono, Bun, Deno, Workers, Next).
 *
 * Given the promise of a subscription it resolves once that is live, so that an open connection means a live subscription; a
 * refusal rejects, and you answer. Nothing is asked of the source but what the consumer takes, so that a slow one fills the
 * subscription's buffer, whose policy then speaks. Where the consumer goes away the source is closed at once. Gaps of a
 * Subscription are in the stream, whatever its `onGap`, unless that is `'ignore'`.
 *
 * @throws PubSubError `INVALID_OPTION`; as a rejection what the promise rejects with
 * @example
 * const handler = (request: Request) =>
 *   toEventStream(pubsub.subscribe("session.*"), {
 *     lastEventId: request.headers.get("last-event-id"),
 *     signal: request.signal,
 *   });
 */
export function toEventStream<T extends EventEnvelope>(
  source: PromiseLike<EventStreamSource<T>>,
  options?: EventStreamOptions<T>,
): Promise<Response>;
export function toEventStream<T extends EventEnvelope>(
  source: EventStreamSource<T>,
  options?: EventStreamOptions<T>,
): Response;
export function toEventStream<T extends EventEnvelope>(
  source: EventStreamSource<T> | PromiseLike<EventStreamSource<T>>,
  options: EventStreamOptions<T> = {},
): Response | Promise<Response> {
  checkOptions(options);
  if (isPromise(source)) return Promise.resolve(source).then((live) => responseOf(live, options));
  return responseOf(source, options);
}

function isPromise<T>(source: T | PromiseLike<T>): source is PromiseLike<T> {
  return typeof (source as PromiseLike<T> | null)?.then === "function";
}

function responseOf<T extends EventEnvelope>(source: EventStreamSource<T>, options: EventStreamOptions<T>): Response {
  const body = new Body(source, options);
  const encoder = new TextEncoder();
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const text = await body.read();
        if (body.cancelled) return;
        if (text === undefined) controller.close();
        else controller.enqueue(encoder.encode(text));
      },
      cancel: () => body.cancel(),
    },
    // Nothing is asked before the consumer asks: an answer that nobody reads holds nothing.
    { highWaterMark: 0 },
  );
  return new Response(stream, { headers: HEADERS });
}
