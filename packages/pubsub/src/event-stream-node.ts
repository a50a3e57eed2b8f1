/** A subscription as server-sent events over Node's http. No import of Node: what is used of a response is a type here. */
import type { EventEnvelope } from "./envelope.ts";
import { Body, checkOptions, HEADERS } from "./event-stream-body.ts";
import type { EventStreamOptions, EventStreamSource } from "./event-stream-text.ts";

/** The part of Node's `http.ServerResponse` and `http2.Http2ServerResponse` that is used. */
export interface NodeResponse {
  readonly destroyed: boolean;
  writeHead(status: number, headers: Record<string, string>): unknown;
  write(text: string): boolean;
  end(): unknown;
  on(event: "close" | "drain" | "error" | "finish", listener: () => void): unknown;
  off(event: "close" | "drain" | "error" | "finish", listener: () => void): unknown;
}

/**
 * Sends a subscription as server-sent events over Node's http. Resolves when the stream is over: the consumer went away, or
 * the source ended and all was written. As `toEventStream` in all else; a promise that rejects does so before anything was
 * written, and you answer. Set headers of your own (CORS) before, with `response.setHeader`.
 *
 * @throws PubSubError `INVALID_OPTION`, and what the promise rejects with; both as rejections
 * @example
 * createServer((request, response) => {
 *   const lastEventId = request.headers["last-event-id"];
 *   sendEventStream(pubsub.subscribe("session.*"), response, { lastEventId }).catch(() => response.destroy());
 * });
 */
export async function sendEventStream<T extends EventEnvelope>(
  source: EventStreamSource<T> | PromiseLike<EventStreamSource<T>>,
  response: NodeResponse,
  options: EventStreamOptions<T> = {},
): Promise<void> {
  checkOptions(options);
  let body: Body<T> | undefined;
  let gone = response.destroyed;
  let wake: (() => void) | undefined;
  const onClose = (): void => {
    gone = true;
    body?.cancel();
    wake?.();
  };
  const onDrain = (): void => wake?.();
  response.on("close", onClose);
  response.on("drain", onDrain);
  response.on("error", ignore);
  const told = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  try {
    body = new Body(await source, options);
    if (gone) return;
    response.writeHead(200, HEADERS);
    for (let text = await body.read(); text !== undefined && !gone; text = await body.read())
      if (!response.write(text) && !gone) await told();
    if (gone) return;
    response.on("finish", onDrain);
    const finished = told();
    response.end();
    await finished;
    response.off("finish", onDrain);
  } finally {
    body?.cancel();
    response.off("close", onClose);
    response.off("drain", onDrain);
    // What was written last may still fail; an error without a listener would end the process. `ignore` stays.
  }
}

function ignore(): void {}
