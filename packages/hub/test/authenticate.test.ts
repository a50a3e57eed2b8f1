// Who a connection belongs to, as the server's `authenticate` says.
import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { createHubServer } from "@alkdev/hub";
import type { HubServerOptions } from "@alkdev/hub";
import { PubSubError } from "@alkdev/pubsub";
import { describe, expect, onTestFinished, test } from "vitest";
import { connect as listenAt } from "../../pubsub/test/fixtures/event-source.ts";
import { openClient, openHub, take, until } from "./fixtures/open.ts";
import { upgrade } from "./fixtures/upgrade.ts";

/** Who names one of these in the header or in the address is let in, as whom it says. */
const USERS: Readonly<Record<string, string>> = { "token-of-ann": "ann", "token-of-bob": "bob" };

function whoNames({ headers, url = "" }: IncomingMessage): string {
  const token = headers.authorization?.slice("Bearer ".length) ?? new URLSearchParams(url.split("?")[1]).get("token");
  const user = USERS[token ?? ""];
  if (user === undefined) throw new PubSubError("REFUSED", "No such token.");
  return user;
}

/** Ann may do what begins with `ann`, and so on. */
const ownOnly: HubServerOptions["authorize"] = (identity) => ({
  publish: [`${identity}.**`],
  subscribe: [`${identity}.**`],
});

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

/** The status and headers of an answer; a stream is not read. */
async function ask(port: number, path: string, headers = {}, method = "GET"): Promise<IncomingMessage> {
  const sent = request({ host: "127.0.0.1", port, path, headers, method, agent: false });
  sent.end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  onTestFinished(() => void response.destroy());
  return response;
}

describe.each([
  ["at once", whoNames],
  ["with a promise", async (asked: IncomingMessage) => whoNames(asked)],
])("authenticated %s", (_, authenticate) => {
  test("a link has the identity that its request has, and by it what it may", async () => {
    const { port, hub } = await openHub({ authenticate, authorize: ownOnly });
    const ann = openClient(`ws://127.0.0.1:${port}/?token=token-of-ann`);
    const events = await ann.subscribe("ann.note");
    await ann.publish("ann.note", "1", "mine");
    expect(await take(events, 1)).toMatchObject([{ payload: "mine" }]);
    expect(hub.status().links.map(({ identity }) => identity)).toEqual(["ann"]);
    await expect(ann.publish("bob.note", "1", null)).rejects.toMatchObject({ code: "REFUSED" });
    await expect(ann.subscribe("bob.note")).rejects.toMatchObject({ code: "REFUSED" });
  });

  test("who is not known gets 401, and no link", async () => {
    const { port, hub } = await openHub({ authenticate });
    expect(await upgrade(port, {})).toBe(401);
    expect(await upgrade(port, bearer("wrong"))).toBe(401);
    expect(await upgrade(port, bearer("token-of-ann"))).toBe(101);
    expect(await upgrade(port, {}, "/?token=token-of-bob")).toBe(101);
    expect(await upgrade(port, { ...bearer("token-of-ann"), origin: "https://evil.example" })).toBe(403);
    await until(() => hub.status().links.every(({ identity }) => identity !== undefined));
  });

  test("server-sent events and figures are for those who are known, and events for those who may", async () => {
    const { port } = await openHub({ authenticate, authorize: ownOnly, events: true });
    for (const path of ["/status", "/events?type=ann.note"]) {
      const refused = await ask(port, path);
      expect([path, refused.statusCode, refused.headers["www-authenticate"]]).toEqual([path, 401, "Bearer"]);
      expect((await ask(port, path, bearer("token-of-ann"))).statusCode).toBe(200);
    }
    expect((await ask(port, "/events?type=bob.note", bearer("token-of-ann"))).statusCode).toBe(403);
    const stream = await listenAt(`http://127.0.0.1:${port}/events?type=ann.note&token=token-of-ann`);
    const ann = openClient(`ws://127.0.0.1:${port}/?token=token-of-ann`);
    await ann.publish("ann.note", "1", "heard");
    await stream.count(1);
    expect(stream.events).toMatchObject([{ payload: "heard" }]);
    // A page asks for leave before it may say who it is.
    const preflight = await ask(port, "/events", { origin: `http://localhost:${port}` }, "OPTIONS");
    expect(preflight.statusCode).toBe(204);
    expect(preflight.headers["access-control-allow-headers"]).toContain("Authorization");
  });
});

test("undefined is let in as nobody known", async () => {
  const { url, hub } = await openHub({ authenticate: () => undefined });
  const client = openClient(url);
  await client.subscribe("a.b");
  expect(hub.status().links).toMatchObject([{ identity: undefined }]);
});

test("what authenticate throws beside its own refusals is reported, and what takes too long is refused", async () => {
  const errors: unknown[] = [];
  const onError = (error: unknown): void => void errors.push(error);
  const broken = new Error("the database is away");
  const throwing = await openHub({ onError, authenticate: () => Promise.reject(broken) });
  expect(await upgrade(throwing.port, {})).toBe(401);
  expect(errors).toEqual([broken]);
  const refusing = await openHub({ onError, authenticate: whoNames });
  expect(await upgrade(refusing.port, {})).toBe(401);
  expect(errors.length).toBe(1);
  const never = await openHub({
    onError,
    limits: { handshake: 20 },
    authenticate: () => new Promise<never>(() => undefined),
  });
  expect(await upgrade(never.port, {})).toBe(401);
  expect(errors).toMatchObject([broken, { message: expect.stringContaining("20 ms") }]);
});

test("a peer that goes away, and a server that closes, while it is found out who asks", async () => {
  let asked = 0;
  let answer: (identity: string) => void = () => undefined;
  const server = await openHub({
    authenticate: () => {
      asked++;
      return new Promise((resolve) => (answer = resolve));
    },
  });
  const half = `GET / HTTP/1.1\r\nHost: localhost:${server.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
  const first = connect(server.port, "127.0.0.1");
  first.write(half);
  await until(() => asked === 1);
  first.resetAndDestroy();
  answer("late");
  const second = connect(server.port, "127.0.0.1");
  onTestFinished(() => void second.destroy());
  second.on("error", () => undefined);
  second.write(half);
  await until(() => asked === 2);
  const gone = once(second, "close");
  await server.close();
  await gone;
  answer("later");
  expect(server.hub.status().links).toEqual([]);
});

test("authenticate must be a function", async () => {
  await expect(createHubServer({ port: 0, authenticate: "ann" as never })).rejects.toMatchObject({
    code: "INVALID_OPTION",
  });
});
