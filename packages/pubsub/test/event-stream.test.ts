// A subscription as server-sent events: over Node's http, and as a web Response.
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { connect as connect2, createServer as createServer2 } from "node:http2";
import type { AddressInfo } from "node:net";
import { createPubSub, filter, map, pipe, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub } from "@alkdev/pubsub";
import { sendEventStream, toEventStream } from "@alkdev/pubsub/event-stream";
import type { EventStreamOptions, EventStreamSource } from "@alkdev/pubsub/event-stream";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import { coreOf, defineEventTarget } from "@alkdev/pubsub/transport";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { connect, Connection, Parser } from "./fixtures/event-source.ts";

type Source = EventStreamSource | PromiseLike<EventStreamSource>;

/** A target in memory whose link can be cut, and a PubSub over it. */
function overMemory(): { pubsub: PubSub; live: () => number; cut: () => void } {
  const transport = createMemoryTransport(createMemoryBroker());
  const target = defineEventTarget(transport);
  onTestFinished(() => target.close());
  return {
    pubsub: createPubSub({ eventTarget: target }),
    live: () => [...target[coreOf].sinks()].length,
    cut() {
      transport.cut();
      transport.reconnect();
    },
  };
}

interface Served {
  readonly url: string;
  readonly server: Server;
  /** What each call of `sendEventStream` came to, in order. */
  readonly results: Promise<unknown>[];
}

async function serve(
  handler: (request: IncomingMessage, response: ServerResponse) => Promise<unknown>,
): Promise<Served> {
  const results: Promise<unknown>[] = [];
  const server = createServer((request, response) => {
    results.push(handler(request, response).catch((error: unknown) => error));
  });
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server, results };
}

/** How a stream reaches its consumer. */
interface Way {
  readonly name: "over Node's http" | "as a web Response";
  readonly open: (source: () => Source, options?: EventStreamOptions) => Promise<Connection>;
}

const WAYS: readonly Way[] = [
  {
    name: "over Node's http",
    open: async (source, options) => {
      const { url } = await serve((_, response) => sendEventStream(source(), response, options));
      return connect(url);
    },
  },
  {
    name: "as a web Response",
    open: async (source, options) =>
      new Connection(await toEventStream(source() as Promise<EventStreamSource>, options)),
  },
];

describe.each(WAYS)("a subscription $name", ({ name, open }) => {
  test("has the headers that keep proxies from holding it back", async () => {
    const { connection } = await opened();
    const { response } = connection;
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(response.headers.get("cache-control")).toBe("no-cache, no-transform");
    expect(response.headers.get("x-accel-buffering")).toBe("no");
    connection.close();
  });

  async function opened(): Promise<{ connection: Connection; pubsub: PubSub }> {
    const pubsub = createPubSub();
    return { pubsub, connection: await open(() => pubsub.subscribe("a.*")) };
  }

  test("sends each event as the envelope, under an id of its own", async () => {
    const { pubsub } = overMemory();
    const connection = await open(() => pubsub.subscribe("a.*"));
    await pubsub.publish("a.b", "x", { text: "one\ntwo\r\nthree\u2028" });
    await pubsub.publish("a.c", "", null);
    const messages = await connection.count(2);
    expect(connection.events).toEqual([
      { type: "a.b", id: "x", payload: { text: "one\ntwo\r\nthree\u2028" } },
      { type: "a.c", id: "", payload: null },
    ]);
    expect(messages.map(({ event }) => event)).toEqual(["message", "message"]);
    const [stream] = messages[0]?.lastEventId.split(".") ?? [];
    expect(messages.map(({ lastEventId }) => lastEventId)).toEqual([`${stream}.1`, `${stream}.2`]);
    connection.close();
  });

  test(
    "nothing is lost that is published in the instant after it is open, a thousand times",
    { timeout: 60_000 },
    async () => {
      const { pubsub } = overMemory();
      const { url } = await serve((_, response) => sendEventStream(pubsub.subscribe("a.b"), response));
      const connectTo = async (): Promise<Connection> =>
        name === "over Node's http" ? connect(url) : new Connection(await toEventStream(pubsub.subscribe("a.b")));
      for (let i = 0; i < 1000; i++) {
        const connection = await connectTo();
        await pubsub.publish("a.b", "", i);
        expect((await connection.count(1)).length).toBe(1);
        expect(connection.payloads).toEqual([i]);
        connection.close();
      }
    },
  );

  test("names an id before the first event, so that a consumer which is cut off by then is known when it is back", async () => {
    const { connection } = await opened();
    await connection.until(() => connection.parser.lastEventId !== "");
    expect(connection.parser.lastEventId).toMatch(/^[0-9a-f]{16}\.0$/);
    expect(connection.messages).toEqual([]);
    connection.close();
  });

  test("a consumer that was here before is told first that something may be missing", async () => {
    const pubsub = createPubSub();
    for (const lastEventId of ["0123456789abcdef.7", ["x"]]) {
      const connection = await open(() => pubsub.subscribe("a.b"), { lastEventId });
      await connection.count(1);
      await pubsub.publish("a.b", "", 1);
      await connection.count(2);
      expect(connection.story).toEqual(["gap resume-expired unknown", 1]);
      expect(connection.messages[0]?.lastEventId).toMatch(/\.0$/);
      connection.close();
    }
  });

  test("one that was not, by an empty id or none, is told nothing", async () => {
    const pubsub = createPubSub();
    for (const lastEventId of ["", null, undefined, []]) {
      const connection = await open(() => pubsub.subscribe("a.b"), { lastEventId });
      await pubsub.publish("a.b", "", 1);
      await connection.count(1);
      expect(connection.story).toEqual([1]);
      connection.close();
    }
  });

  test("a gap stands where the events are missing, also where nobody passed onGap", async () => {
    const { pubsub, cut } = overMemory();
    const connection = await open(() => pubsub.subscribe("a.b"));
    await pubsub.publish("a.b", "", 1);
    await connection.count(1);
    cut();
    await connection.count(2);
    await pubsub.publish("a.b", "", 2);
    await connection.count(3);
    expect(connection.story).toEqual([1, "gap reconnect unknown", 2]);
    connection.close();
  });

  test("onGap of the subscription is called as well, and 'ignore' keeps gaps out", async () => {
    const { pubsub, cut } = overMemory();
    const onGap = vi.fn<() => void>();
    const told = await open(() => pubsub.subscribe("a.b", { onGap }));
    const untold = await open(() => pubsub.subscribe("a.b", { onGap: "ignore" }));
    cut();
    await told.count(1);
    await pubsub.publish("a.b", "", 1);
    await told.count(2);
    await untold.count(1);
    expect(onGap).toHaveBeenCalledTimes(1);
    expect(told.story).toEqual(["gap reconnect unknown", 1]);
    expect(untold.story).toEqual([1]);
    told.close();
    untold.close();
  });

  test("the end of the source is said, and then the stream ends", async () => {
    const { connection, pubsub } = await opened();
    await pubsub.publish("a.b", "", 1);
    await pubsub.close();
    expect(await connection.ended).toBe("done");
    expect(connection.story).toEqual([1, "end"]);
    expect(connection.end).toEqual({});
  });

  test("a full buffer of policy 'error' drains, then the reason is said", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a.b", { buffer: { limit: 3 } });
    for (let i = 0; i < 5; i++) await pubsub.publish("a.b", "", i);
    const connection = await open(() => events);
    expect(await connection.ended).toBe("done");
    expect(connection.story).toEqual([0, 1, 2, "end"]);
    expect(connection.end).toMatchObject({ code: "OVERFLOW", message: expect.stringContaining("3 events") as string });
  });

  test("what else a source throws is reported here, and its words stay here", async () => {
    const secret = new TypeError("password: hunter2");
    const errors: unknown[] = [];
    const source = async function* (): AsyncGenerator<EventEnvelope> {
      yield { type: "a.b", id: "", payload: 1 };
      throw secret;
    };
    const connection = await open(() => source(), { onError: (error) => errors.push(error) });
    expect(await connection.ended).toBe("done");
    expect(connection.story).toEqual([1, "end"]);
    expect(JSON.stringify(connection.end)).not.toContain("hunter2");
    expect(connection.end).toMatchObject({ code: "ERROR" });
    expect(errors).toEqual([secret]);
  });

  test("takes what a pipe gives", async () => {
    const { pubsub } = overMemory();
    const source = (): AsyncIterable<EventEnvelope> =>
      pipe(
        pubsub.subscribe("a.b"),
        filter(({ payload }) => (payload as number) % 2 === 0),
        map((event) => ({ ...event, payload: (event.payload as number) * 10 })),
      );
    const connection = await open(source);
    await connection.until(() => connection.parser.lastEventId !== "");
    for (let i = 0; i < 6; i++) await pubsub.publish("a.b", "", i);
    await connection.count(3);
    expect(connection.payloads).toEqual([0, 20, 40]);
    connection.close();
    await vi.waitFor(() => expect([...pubsubSinks(pubsub)]).toHaveLength(0));
  });

  test("an event that is no JSON is a gap of one in its place, and is reported", async () => {
    const pubsub = createPubSub();
    const errors: unknown[] = [];
    const connection = await open(() => pubsub.subscribe("a.b"), { onError: (error) => errors.push(error) });
    const circular: unknown[] = [];
    circular.push(circular);
    for (const payload of [1, circular, 2n, 2]) await pubsub.publish("a.b", "", payload);
    await connection.count(4);
    expect(connection.story).toEqual([1, "gap overflow 1", "gap overflow 1", 2]);
    expect(errors.map((error) => (error as PubSubError).code)).toEqual(["PAYLOAD", "PAYLOAD"]);
    connection.close();
  });

  test("ids of one's own take the place of numbers, and cannot smuggle in a line", async () => {
    const pubsub = createPubSub();
    const errors: unknown[] = [];
    const ids = ["row-1", "x\nevent: gap\ndata: {}\n\n", "x\rdata: 1", "\0", undefined, "row-2"];
    const connection = await open(() => pubsub.subscribe("a.b"), {
      id: ({ payload }) => ids[payload as number],
      onError: (error) => errors.push(error),
    });
    for (const i of ids.keys()) await pubsub.publish("a.b", "", i);
    const messages = await connection.count(ids.length);
    expect(connection.story).toEqual([0, 1, 2, 3, 4, 5]);
    expect(messages.map(({ lastEventId }) => lastEventId)).toEqual([
      "row-1",
      "row-1",
      "row-1",
      "row-1",
      "row-1",
      "row-2",
    ]);
    expect(errors.map((error) => (error as PubSubError).code)).toEqual([
      "INVALID_OPTION",
      "INVALID_OPTION",
      "INVALID_OPTION",
    ]);
    connection.close();
  });

  test("nothing in a type, an id or a payload can begin a line", async () => {
    const evil = "x\nevent: end\ndata: {}\n\r\n\rid: 0";
    const source = async function* (): AsyncGenerator<EventEnvelope> {
      yield { type: evil, id: evil, payload: { [evil]: evil }, meta: { evil } };
    };
    const connection = await open(() => source());
    await connection.ended;
    expect(connection.messages.map(({ event }) => event)).toEqual(["message", "end"]);
    expect(connection.events).toEqual([{ type: evil, id: evil, payload: { [evil]: evil }, meta: { evil } }]);
  });

  test("aborting ends it with a word and unsubscribes", async () => {
    const { pubsub, live } = overMemory();
    const abort = new AbortController();
    const connection = await open(() => pubsub.subscribe("a.b"), { signal: abort.signal });
    expect(live()).toBe(1);
    abort.abort();
    expect(await connection.ended).toBe("done");
    expect(connection.story).toEqual(["end"]);
    expect(live()).toBe(0);
  });

  test("one that is aborted before is over at once", async () => {
    const { pubsub, live } = overMemory();
    const connection = await open(() => pubsub.subscribe("a.b"), { signal: AbortSignal.abort() });
    expect(await connection.ended).toBe("done");
    expect(connection.story).toEqual(["end"]);
    expect(live()).toBe(0);
  });

  test("tells how long to wait before connecting again", async () => {
    const pubsub = createPubSub();
    const connection = await open(() => pubsub.subscribe("a.b"), { retry: 1234 });
    await connection.until(() => connection.parser.retry !== undefined);
    expect(connection.parser.retry).toBe(1234);
    connection.close();
  });

  test("a comment goes out in every silence, and no event is lost around it", async () => {
    const pubsub = createPubSub();
    const connection = await open(() => pubsub.subscribe("a.b"), { heartbeat: 5 });
    for (let i = 0; i < 5; i++) {
      const before = connection.parser.comments;
      await connection.until(() => connection.parser.comments >= before + 2);
      await pubsub.publish("a.b", "", i);
      await connection.count(i + 1);
    }
    expect(connection.payloads).toEqual([0, 1, 2, 3, 4]);
    connection.close();
  });

  test("a consumer that goes away frees the subscription, parked or not", async () => {
    const { pubsub, live } = overMemory();
    for (let i = 0; i < 20; i++) {
      const connection = await open(() => pubsub.subscribe("a.b"));
      expect(live()).toBe(1);
      if (i % 2 === 0) {
        await pubsub.publish("a.b", "", i);
        await connection.count(1);
      }
      connection.close();
      await vi.waitFor(() => expect(live()).toBe(0));
    }
  });

  test("a subscription that is refused rejects before anything was sent, so that one can answer", async () => {
    const pubsub = createPubSub();
    await pubsub.close();
    if (name === "as a web Response")
      await expect(toEventStream(pubsub.subscribe("a.b"))).rejects.toMatchObject({ code: "CLOSED" });
    else {
      const { url } = await serve(async (_, response) => {
        try {
          await sendEventStream(pubsub.subscribe("a.b"), response);
        } catch (error) {
          response.writeHead(503).end((error as PubSubError).code);
        }
      });
      const response = await fetch(url);
      expect([response.status, await response.text()]).toEqual([503, "CLOSED"]);
    }
  });
});

function pubsubSinks(pubsub: PubSub): Iterable<unknown> {
  return (pubsub as unknown as { core: { sinks(): Iterable<unknown> } }).core.sinks();
}

describe("where the subscription's path is slower than the publisher's", () => {
  /** One that takes a few turns of the event loop to be subscribed, and one beside it that publishes at once. */
  function slow(): { near: PubSub; far: PubSub } {
    const broker = createMemoryBroker();
    const transport = createMemoryTransport(broker);
    const other = defineEventTarget(createMemoryTransport(broker));
    const turns = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    };
    const target = defineEventTarget({
      supports: transport.supports,
      open: (receiver, signal) => transport.open(receiver, signal),
      subscribe: async (filter) => {
        await turns();
        await transport.subscribe(filter);
      },
      unsubscribe: (filter) => transport.unsubscribe(filter),
      publish: (envelope) => transport.publish(envelope),
      close: () => transport.close(),
    });
    onTestFinished(() => target.close());
    onTestFinished(() => other.close());
    return { near: createPubSub({ eventTarget: target }), far: createPubSub({ eventTarget: other }) };
  }

  /** Opens a stream a round and publishes as soon as the headers are there. @returns how many rounds lost their event */
  async function race(source: (pubsub: PubSub, topic: string) => Source): Promise<number> {
    const { near, far } = slow();
    const { url } = await serve((request, response) =>
      sendEventStream(source(near, request.url?.slice(1) ?? ""), response),
    );
    let lost = 0;
    for (let i = 0; i < 50; i++) {
      const connection = await connect(`${url}round.r${i}`);
      await far.publish(`round.r${i}`, "", "early");
      await near.subscribe(`round.r${i}`);
      await far.publish(`round.r${i}`, "", "late");
      await connection.until(() => connection.payloads.includes("late"));
      if (connection.payloads.length === 1) lost++;
      connection.close();
    }
    return lost;
  }

  test("headers wait for the far end's word, and nothing is lost", async () => {
    expect(await race((pubsub, topic) => pubsub.subscribe(topic))).toBe(0);
  });

  test("headers that do not wait are a promise that is not kept (control)", async () => {
    const lost = await race((pubsub, topic) => ({
      [Symbol.asyncIterator]: () => pubsub.subscribe(topic)[Symbol.asyncIterator](),
    }));
    expect(lost).toBeGreaterThan(0);
  });
});

test("over HTTP/2 many streams share one connection, and each is freed when it is closed", async () => {
  const { pubsub, live } = overMemory();
  const server = createServer2((request, response) => {
    void sendEventStream(pubsub.subscribe("a.b", request.url.slice(1)), response);
  });
  onTestFinished(() => void server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const session = connect2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  onTestFinished(() => session.destroy());
  const streams = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const stream = session.request({ ":path": `/${i}` });
      const parser = new Parser();
      const messages: unknown[] = [];
      stream.on("data", (chunk: Buffer) =>
        messages.push(...Array.from(parser.push(chunk), ({ data }) => JSON.parse(data))),
      );
      const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
      expect([headers[":status"], headers["content-type"]]).toEqual([200, "text/event-stream"]);
      return { stream, messages };
    }),
  );
  expect(live()).toBe(20);
  for (let i = 0; i < 20; i++) await pubsub.publish("a.b", `${i}`, i);
  for (const [i, { stream, messages }] of streams.entries()) {
    await vi.waitFor(() => expect(messages).toEqual([{ type: "a.b", id: `${i}`, payload: i }]));
    stream.close();
  }
  await vi.waitFor(() => expect(live()).toBe(0));
});

describe("a slow consumer", () => {
  const BIG = "x".repeat(10_000);

  test("over HTTP is bounded by the subscription's buffer, and told exactly how much it missed", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a.b", { buffer: { limit: 100, overflow: "drop-oldest" } });
    const { url } = await serve((_, response) => sendEventStream(events, response));
    const connection = await connect(url, {}, { paused: true });
    const total = 5000;
    for (let i = 0; i < total; i++) {
      await pubsub.publish("a.b", "", { i, BIG });
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    expect(events.dropped).toBeGreaterThan(0);
    connection.resume();
    const last = (): unknown => (connection.events.at(-1)?.payload as { i: number } | undefined)?.i;
    await connection.until(() => last() === total - 1);
    const lost = connection.gaps.reduce((sum, gap) => sum + (gap.lost as number), 0);
    expect(lost).toBe(events.dropped);
    expect(connection.events).toHaveLength(total - lost);
    let at = 0;
    for (const { event, data } of connection.messages)
      if (event === "gap") at += (JSON.parse(data) as { lost: number }).lost;
      else expect((JSON.parse(data) as { payload: { i: number } }).payload.i).toBe(at++);
    connection.close();
  });

  test("that asks a Response for nothing takes nothing from the subscription", async () => {
    const pubsub = createPubSub();
    const events = await pubsub.subscribe("a.b", { buffer: { limit: 10, overflow: "drop-newest" } });
    const response = toEventStream(events);
    for (let i = 0; i < 30; i++) await pubsub.publish("a.b", "", i);
    expect(events.dropped).toBe(20);
    const connection = new Connection(response);
    await connection.count(11);
    expect(connection.story).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "gap overflow 20"]);
    connection.close();
  });

  test("that was cut off by its network while the server waited for it frees the subscription", async () => {
    const { pubsub, live } = overMemory();
    const { url, results } = await serve((_, response) =>
      sendEventStream(pubsub.subscribe("a.b", { buffer: { overflow: "drop-oldest", limit: 10 } }), response),
    );
    const connection = await connect(url, {}, { paused: true });
    for (let i = 0; i < 3000; i++) {
      await pubsub.publish("a.b", "", BIG);
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    connection.close();
    await results[0];
    expect(live()).toBe(0);
  });
});

describe("what is no source", () => {
  test.each([undefined, null, 1, "x", {}, [], () => undefined])("%j is refused by name", async (nonsense) => {
    expect(() => toEventStream(nonsense as never)).toThrow(PubSubError);
    const { url, results } = await serve((_, response) =>
      sendEventStream(nonsense as never, response).finally(() => response.end()),
    );
    await fetch(url);
    expect(await results[0]).toMatchObject({ code: "INVALID_OPTION" });
  });

  test.each([
    { heartbeat: -1 },
    { retry: Number.NaN },
    { heartbeat: "1" },
    { signal: {} },
    { id: "x" },
    { onError: 1 },
  ])("the options %j are refused", (options) => {
    const source = async function* (): AsyncGenerator<EventEnvelope> {};
    expect(() => toEventStream(source(), options as never)).toThrow(PubSubError);
  });
});

test("the parser of these tests reads what the standard's examples say", () => {
  const parse = (text: string): unknown[] => {
    const parser = new Parser();
    const bytes = new TextEncoder().encode(text);
    // Byte by byte: no event may depend on where the network cut it.
    const messages = Array.from(bytes).flatMap((byte) => Array.from(parser.push(Uint8Array.of(byte))));
    return messages.map(({ event, data, lastEventId }) => [event, data, lastEventId]);
  };
  expect(parse("data: YHOO\ndata: +2\ndata: 10\n\n")).toEqual([["message", "YHOO\n+2\n10", ""]]);
  expect(parse(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n")).toEqual(
    [
      ["message", "first event", "1"],
      ["message", "second event", ""],
      ["message", " third event", ""],
    ],
  );
  expect(parse("event: x\r\ndata: é\r\n\r\nid: 7\n\ndata: y\n\n")).toEqual([
    ["x", "é", ""],
    ["message", "y", "7"],
  ]);
});
