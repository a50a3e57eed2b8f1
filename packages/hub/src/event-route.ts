// The hub's events over HTTP, for consumers that only listen: `GET /events?type=session.*&id=proj_1`.
import type { IncomingMessage, ServerResponse } from "node:http";
import { PubSubError } from "@alkdev/pubsub";
import type { Filter } from "@alkdev/pubsub";
import { sendEventStream } from "@alkdev/pubsub/event-stream";
import { isPattern } from "@alkdev/pubsub/transport";
import { createEventStreams, MAX_FILTERS } from "./event-streams.ts";
import type { EventStreams, EventStreamsOptions } from "./event-streams.ts";
import { covers } from "./grants.ts";
import type { LinkHub } from "./hub.ts";
import { notGranted } from "./hub-link.ts";

/** Options of the hub server's events. */
export interface EventRouteOptions extends EventStreamsOptions {
  /** Default `/events`. */
  readonly path?: string;
  /** Milliseconds of silence after which a comment is sent. 0: never. Default 15,000. */
  readonly heartbeat?: number;
  /** Milliseconds that an `EventSource` is told to wait before it connects again. Default: its own, about 3,000. */
  readonly retry?: number;
}

/** What is said instead of a stream. */
export interface Refusal {
  readonly status: number;
  readonly body: { readonly error: string; readonly code?: string };
}

/** How long `close` waits for the last words to be taken; a consumer that does not read must not keep a hub from ending. */
const CLOSE_TIMEOUT = 1000;

/** `token` is for `authenticate`, from consumers that cannot set headers. */
const PARAMETERS: ReadonlySet<string> = new Set(["type", "id", "lastEventId", "token"]);

/** One route of a server: answers with streams of what the hub carries, as far as `authorize` grants it. */
export class EventRoute {
  readonly path: string;
  readonly streams: EventStreams;
  readonly #hub: LinkHub;
  readonly #options: EventRouteOptions;
  readonly #sending = new Set<Promise<void>>();

  constructor(hub: LinkHub, options: EventRouteOptions) {
    const { path = "/events" } = options;
    if (!/^\/[^?#]*$/.test(path) || path === "/" || path === "/status")
      throw new PubSubError(
        "INVALID_OPTION",
        `events.path must be a path of its own, such as /events, not ${JSON.stringify(path)}.`,
      );
    this.path = path;
    const { withhold } = options;
    // A backplane shows what is diverted to the hub's own place, which is trusted; whoever asks over HTTP is not.
    this.streams = createEventStreams(hub.eventTarget, {
      ...options,
      withhold: (type) => hub.diverts(type) || withhold?.(type) === true,
    });
    this.#hub = hub;
    this.#options = options;
  }

  /**
   * Answers a request that may come from here. Resolves once all is sent, or with what to say instead of a stream.
   *
   * @param identify who asks; what it rejects with is rejected with
   */
  async answer(
    request: IncomingMessage,
    response: ServerResponse,
    identify: () => Promise<string | undefined>,
  ): Promise<Refusal | undefined> {
    response.setHeader("vary", "Origin");
    if (request.headers.origin !== undefined) response.setHeader("access-control-allow-origin", request.headers.origin);
    if (request.method === "OPTIONS") {
      // An EventSource asks for no leave; a page that fetches, and names what it had last, does.
      response.writeHead(204, {
        "access-control-allow-methods": "GET",
        "access-control-allow-headers": "Authorization, Last-Event-ID, Cache-Control",
        "access-control-max-age": "86400",
      });
      response.end();
      return undefined;
    }
    if (request.method !== "GET") {
      response.setHeader("allow", "GET, OPTIONS");
      return { status: 405, body: { error: `Use GET: ${this.#usage()}` } };
    }
    const identity = await identify();
    try {
      const { filters, lastEventId } = this.#asked(request, identity);
      await this.#send(filters, lastEventId, response);
      return undefined;
    } catch (error) {
      return refusal(error);
    }
  }

  async #send(filters: readonly Filter[], lastEventId: string | undefined, response: ServerResponse): Promise<void> {
    const { heartbeat, retry } = this.#options;
    const stream = this.streams.open(filters as readonly { type: string; id?: string }[], { lastEventId });
    const sending = sendEventStream(stream, response, {
      ...(heartbeat !== undefined && { heartbeat }),
      ...(retry !== undefined && { retry }),
    });
    this.#sending.add(sending);
    try {
      await sending;
    } finally {
      this.#sending.delete(sending);
    }
  }

  /** @throws PubSubError, Refused */
  #asked(
    request: IncomingMessage,
    identity: string | undefined,
  ): { filters: readonly Filter[]; lastEventId: string | undefined } {
    const query = new URLSearchParams(request.url?.split("?").slice(1).join("?") ?? "");
    for (const name of query.keys())
      if (!PARAMETERS.has(name))
        throw new Refused(400, `There is no parameter ${JSON.stringify(name)}. ${this.#usage()}`);
    const types = query.getAll("type");
    if (types.length === 0) throw new Refused(400, `Say which events: ${this.#usage()}`);
    const ids = query.getAll("id");
    const most = this.#options.limits?.filters ?? MAX_FILTERS;
    if (types.length * Math.max(ids.length, 1) > most)
      throw new Refused(400, `A stream may have ${most} filters (types by ids). Use patterns.`);
    const filters = types.flatMap((type): Filter[] =>
      ids.length === 0 ? [{ type }] : ids.map((id) => ({ type, id })),
    );
    const { subscribe } = this.#hub.authorize(identity);
    const { tokens } = this.#hub.limits;
    for (const filter of filters) {
      if (!covers(subscribe, filter)) throw notGranted("subscribe to", filter);
      if (isPattern(filter.type) && filter.type.split(".").length > tokens)
        throw new Refused(400, `A pattern may have ${tokens} tokens; use ** at the end.`);
    }
    // An EventSource names in the header what it had since it was made, which is newer than what its address says.
    const header = request.headers["last-event-id"];
    const named = typeof header === "string" && header !== "" ? header : query.get("lastEventId");
    return { filters, lastEventId: named ?? undefined };
  }

  #usage(): string {
    return `GET ${this.path}?type=session.* (a type or pattern; &id=… for one id; both again for more).`;
  }

  /** Ends every stream with a word, and waits for those that take it. */
  async close(): Promise<void> {
    await this.streams.close();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSE_TIMEOUT)));
    await Promise.race([Promise.allSettled(this.#sending), late]);
    clearTimeout(timer);
  }
}

class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What an error is over HTTP; any other than ours is thrown again. */
function refusal(error: unknown): Refusal {
  if (error instanceof Refused) return { status: error.status, body: { error: error.message } };
  if (!(error instanceof PubSubError)) throw error;
  const { code, message } = error;
  return { status: STATUS[code] ?? 503, body: { error: message, code } };
}

const STATUS: Readonly<Partial<Record<PubSubError["code"], number>>> = {
  INVALID_TOPIC: 400,
  REFUSED: 403,
  UNSUPPORTED: 400,
};
