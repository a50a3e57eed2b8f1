// `GET /events` of a hub's server, as pages, programs and strangers see it.
import { once } from "node:events";
import { request } from "node:http";
import { connect as connectSocket } from "node:net";
import { createHubServer } from "@alkdev/hub";
import type { Grant, Hub, HubServer, HubServerOptions } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { describe, expect, onTestFinished, test } from "vitest";
import { connect } from "../../pubsub/test/fixtures/event-source.ts";
import { openHub } from "./fixtures/open.ts";

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The body, up to where it stops to be read: a stream has no end. */
  readonly body: { readonly error?: string; readonly code?: string };
}

/** By Node's own client: `fetch` lets nobody choose Host and Origin. */
function ask(
  { port }: HubServer,
  path: string,
  headers: Record<string, string> = {},
  method: string = "GET",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, headers, method, agent: false }, (response) => {
      const { statusCode: status = 0, headers } = response;
      if (headers["content-type"] === "text/event-stream") {
        sent.destroy();
        return resolve({ status, headers, body: {} });
      }
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve({ status, headers, body: text === "" ? {} : (JSON.parse(text) as never) }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

const open = (options: HubServerOptions = {}): Promise<HubServer> => openHub({ events: true, ...options });

describe("what is asked", () => {
  test("needs a type, and says how to ask", async () => {
    const server = await open();
    for (const path of ["/events", "/events?", "/events?id=1"]) {
      const { status, body, headers } = await ask(server, path);
      expect([path, status]).toEqual([path, 400]);
      expect(body.error).toContain("GET /events?type=session.*");
      expect(headers["content-type"]).toContain("application/json");
    }
  });

  test.each([
    "/events?type=",
    "/events?type=a..b",
    "/events?type=a:b",
    "/events?type=$hello",
    "/events?type=a%0Ab",
    `/events?type=a&id=${"x".repeat(2000)}`,
  ])("%s cannot be a topic: 400, with why", async (path) => {
    const { status, body } = await ask(await open(), path);
    expect(status).toBe(400);
    expect(body.code).toBe("INVALID_TOPIC");
    expect(body.error?.length).toBeGreaterThan(20);
  });

  test("with a parameter that there is none of is 400: a slip must not widen what comes", async () => {
    const { status, body } = await ask(await open(), "/events?type=a.b&ids=1");
    expect(status).toBe(400);
    expect(body.error).toContain('"ids"');
  });

  test("has bounds: filters, and tokens of a pattern", async () => {
    const server = await open({ limits: { tokens: 3 } });
    const many = (count: number, name: string): string =>
      Array.from({ length: count }, (_, i) => `${name}=${i}`).join("&");
    expect((await ask(server, `/events?${many(64, "type")}`)).status).toBe(200);
    expect((await ask(server, `/events?${many(65, "type")}`)).status).toBe(400);
    expect((await ask(server, `/events?${many(9, "type")}&${many(8, "id")}`)).status).toBe(400);
    expect((await ask(server, `/events?${many(1000, "type")}&${many(1000, "id")}`)).status).toBe(400);
    expect((await ask(server, "/events?type=a.b.*.**")).status).toBe(400);
    expect((await ask(server, "/events?type=a.b.**")).status).toBe(200);
  });

  test("with broken escapes, and odd ids, is what the URL standard reads", async () => {
    const server = await open();
    const pubsub = createPubSub({ eventTarget: server.hub.eventTarget });
    const ids = ["a b", "a\nevent: gap", "%", "é", "x&y", "?"];
    for (const id of ids) {
      const connection = await connect(
        `http://127.0.0.1:${server.port}/events?${new URLSearchParams([
          ["type", "a.b"],
          ["id", id],
        ]).toString()}`,
      );
      await pubsub.publish("a.b", id, 1);
      await connection.count(1);
      expect(connection.events).toEqual([{ type: "a.b", id, payload: 1 }]);
      connection.close();
    }
    expect((await ask(server, "/events?type=a.b&id=%zz%")).status).toBe(200);
  });

  test("by another method than GET is 405", async () => {
    const server = await open();
    for (const method of ["POST", "PUT", "DELETE"]) {
      const { status, headers } = await ask(server, "/events?type=a.b", {}, method);
      expect([method, status, headers["allow"]]).toEqual([method, 405, "GET, OPTIONS"]);
    }
  });

  test("is 404 where events are off, with how to switch them on", async () => {
    const server = await openHub();
    const { status, body } = await ask(server, "/events?type=a.b");
    expect(status).toBe(404);
    expect(body.error).toContain("--events");
  });

  test("can have another path; a path that is none, or taken, is refused when the server is made", async () => {
    const server = await open({ events: { path: "/sse" } });
    expect((await ask(server, "/sse?type=a.b")).status).toBe(200);
    expect((await ask(server, "/events?type=a.b")).status).toBe(404);
    for (const path of ["", "events", "/", "/status", "/a?b", "/a#b"])
      await expect(createHubServer({ port: 0, events: { path } })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("of a hub that this package did not make is refused when the server is made", async () => {
    const hub = { close: async () => undefined } as unknown as Hub;
    await expect(createHubServer({ port: 0, hub, events: true })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("GET / says where the events are, and GET /status how many", async () => {
    const server = await open();
    expect((await ask(server, "/")).body).toMatchObject({ events: "/events" });
    expect((await ask(server, "/status")).body).toMatchObject({ events: { streams: 0, feeds: 0 } });
  });
});

describe("who may ask", () => {
  test("Host and Origin are held to the same rules as sockets", async () => {
    const server = await open({ allowedHosts: ["app.example"] });
    const path = "/events?type=a.b";
    for (const headers of [{ host: "evil.example" }, { origin: "http://evil.example" }, { origin: "null" }]) {
      const { status, headers: answered } = await ask(server, path, headers);
      expect([headers, status, answered["access-control-allow-origin"]]).toEqual([headers, 403, undefined]);
      expect((await ask(server, path, headers, "OPTIONS")).status).toBe(403);
    }
    for (const headers of [
      { host: "app.example" },
      { origin: "https://app.example:444" },
      { origin: "http://localhost:5173" },
    ])
      expect([headers, (await ask(server, path, headers)).status]).toEqual([headers, 200]);
  });

  test("a page that may, may read the answer, a refusal too; no other page may", async () => {
    const server = await open();
    const origin = "http://localhost:5173";
    for (const path of ["/events?type=a.b", "/events"]) {
      const { headers } = await ask(server, path, { origin });
      expect([path, headers["access-control-allow-origin"], headers["vary"]]).toEqual([path, origin, "Origin"]);
    }
    const { headers } = await ask(server, "/events?type=a.b");
    expect([headers["access-control-allow-origin"], headers["vary"]]).toEqual([undefined, "Origin"]);
  });

  test("a page that fetches may send Last-Event-ID", async () => {
    const server = await open();
    const { status, headers } = await ask(
      server,
      "/events?type=a.b",
      {
        origin: "http://localhost:5173",
        "access-control-request-method": "GET",
        "access-control-request-headers": "last-event-id",
      },
      "OPTIONS",
    );
    expect(status).toBe(204);
    expect(headers["access-control-allow-origin"]).toBe("http://localhost:5173");
    expect(headers["access-control-allow-headers"]).toMatch(/last-event-id/i);
  });

  test("authorize has the word: what it does not grant is 403, and each connection is asked anew", async () => {
    let grant: Grant = { subscribe: ["open.*", { type: "mine", id: "1" }] };
    const asked: unknown[] = [];
    const server = await open({ authorize: (identity) => (asked.push(identity), grant) });
    const status = async (query: string): Promise<number> => (await ask(server, `/events?${query}`)).status;
    expect(await status("type=open.x")).toBe(200);
    expect(await status("type=open.*&id=7")).toBe(200);
    expect(await status("type=mine&id=1")).toBe(200);
    expect(await status("type=mine")).toBe(403);
    expect(await status("type=mine&id=1&id=2")).toBe(403);
    expect(await status("type=open.x&type=other")).toBe(403);
    expect(await status("type=**")).toBe(403);
    const { body } = await ask(server, "/events?type=secret&id=5");
    expect(body).toEqual({ error: "This identity may not subscribe to secret:5.", code: "REFUSED" });
    grant = { subscribe: [] };
    expect(await status("type=open.x")).toBe(403);
    expect(new Set(asked)).toEqual(new Set([undefined]));
  });

  test("where authorize throws, nothing is sent, and the reason stays here", async () => {
    const errors: unknown[] = [];
    const problem = new TypeError("database: hunter2");
    const server = await open({
      authorize: () => {
        throw problem;
      },
      onError: (error) => errors.push(error),
    });
    const { status, body } = await ask(server, "/events?type=a.b");
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toContain("hunter2");
    expect(errors).toEqual([problem]);
  });
});

describe("what is sent", () => {
  test("has retry and comments as the server was told", async () => {
    const server = await open({ events: { heartbeat: 5, retry: 777 } });
    const connection = await connect(`http://127.0.0.1:${server.port}/events?type=a.b`);
    await connection.until(() => connection.parser.comments > 2);
    expect(connection.parser.retry).toBe(777);
    connection.close();
  });

  test("nothing that a publisher chooses begins a line of the stream", async () => {
    const server = await open();
    const pubsub = createPubSub({ eventTarget: server.hub.eventTarget });
    const evil = "\n\nevent: end\r\ndata: {}\r\rid: x\n\n";
    const connection = await connect(`http://127.0.0.1:${server.port}/events?type=a.b`);
    await pubsub.publish("a.b", evil, { [evil]: evil });
    await pubsub.publish("a.b", "", 2);
    await connection.count(2);
    expect(connection.messages.map(({ event }) => event)).toEqual(["message", "message"]);
    expect(connection.events[0]).toEqual({ type: "a.b", id: evil, payload: { [evil]: evil } });
    connection.close();
  });

  test("no header and no line comes from what a stranger sends", async () => {
    const server = await open();
    const socket = connectSocket({ port: server.port, host: "127.0.0.1" });
    onTestFinished(() => void socket.destroy());
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await once(socket, "connect");
    socket.write(
      "GET /events?type=a.b&lastEventId=x%0d%0aevil:%201%0a%0adata:%20evil%0a%0a HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
    );
    while (!text.includes("resume-expired")) await once(socket, "data");
    expect(text).not.toMatch(/evil/);
  });
});
