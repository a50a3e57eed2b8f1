// The hub as whoever can reach its port sees it: HTTP, foreign pages, raw requests.
import { once } from "node:events";
import { get } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { createHub, createHubServer } from "@alkdev/hub";
import type { HubStatus } from "@alkdev/hub";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { openClient, openHub, take, until } from "./fixtures/open.ts";
import { dial, envelope } from "./fixtures/peer.ts";
import { upgrade } from "./fixtures/upgrade.ts";

interface Answer {
  readonly status: number;
  readonly body: Record<string, never>;
  readonly headers: IncomingMessage["headers"];
}

function ask(port: number, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = get({ host: "127.0.0.1", port, path, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as never, headers: response.headers }),
      );
    });
    sent.on("error", reject);
  });
}

/** A TCP connection, and all that it received as text. */
async function raw(port: number): Promise<{ socket: Socket; text: () => string }> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  onTestFinished(() => void socket.destroy());
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return { socket, text: () => text };
}

describe("HTTP", () => {
  test("GET /status answers with the hub's figures, and no cache keeps them", async () => {
    const { port, hub } = await openHub();
    const client = openClient(`ws://127.0.0.1:${port}`);
    const events = await client.subscribe("a.*");
    await client.publish("a.b", "1", null);
    await take(events, 1);
    const { status, body, headers } = await ask(port, "/status");
    expect(status).toBe(200);
    expect(headers["content-type"]).toContain("application/json");
    expect(headers["cache-control"]).toBe("no-store");
    const figures = body as unknown as HubStatus;
    expect(figures).toMatchObject({ subscriptions: 1, received: 1, sent: 1, slow: 0, malformed: 0 });
    expect(figures.links).toHaveLength(1);
    expect(figures.links[0]).toMatchObject({ id: 1, subscriptions: 1, received: 1, sent: 1, buffered: 0 });
    expect(figures).toEqual(JSON.parse(JSON.stringify(hub.status())));
  });

  test("GET / says where the WebSocket is, anything else is 404", async () => {
    const { port, url } = await openHub();
    expect(await ask(port, "/")).toMatchObject({ status: 200, body: { webSocket: url, status: "/status" } });
    expect((await ask(port, "/status?pretty")).status).toBe(200);
    for (const path of ["/nothing", "/status/", "/..%2fstatus", "/index.html"])
      expect((await ask(port, path)).status).toBe(404);
  });

  test("a path that is no URL is 404 and the hub lives on", async () => {
    const { port } = await openHub();
    for (const path of ["//", "//:", "///x", "http://", "*"]) {
      const { socket, text } = await raw(port);
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n\r\n`);
      await once(socket, "end");
      expect(text()).toMatch(/^HTTP\/1\.1 4\d\d /);
    }
    expect((await ask(port, "/status")).status).toBe(200);
  });

  test("garbage in place of a request is refused and the hub lives on", async () => {
    const { port } = await openHub();
    for (const garbage of ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", `GET / HTTP/1.1\r\nA: ${"x".repeat(100_000)}\r\n\r\n`]) {
      const { socket } = await raw(port);
      const closed = once(socket, "close");
      socket.on("end", () => socket.end());
      socket.write(garbage);
      await closed;
    }
    expect((await ask(port, "/status")).status).toBe(200);
  });
});

describe("Host and Origin", () => {
  const own = ["localhost", "LOCALHOST", "LocalHost", "127.0.0.1", "[::1]", "[0:0:0:0:0:0:0:1]"];

  test("loopback names are allowed in any case, with and without the port", async () => {
    const { port } = await openHub();
    for (const name of own)
      for (const host of [name, `${name}:${port}`, `${name}:1`]) {
        expect([host, (await ask(port, "/", { host })).status]).toEqual([host, 200]);
        expect([host, await upgrade(port, { host })]).toEqual([host, 101]);
      }
  });

  test("any other Host is refused with 403, whatever it resolves to (DNS rebinding)", async () => {
    const { port } = await openHub();
    const foreign = ["evil.example", `evil.example:${port}`, "localhost.evil.example", "127.0.0.1.evil.example"];
    for (const host of [
      ...foreign,
      "localhost.",
      "127.0.0.2",
      "0.0.0.0",
      "[::]",
      "a b",
      "[",
      "localhost@evil.example",
    ]) {
      expect([host, (await ask(port, "/status", { host })).status]).toEqual([host, 403]);
      expect([host, await upgrade(port, { host })]).toEqual([host, 403]);
    }
  });

  test("a page from elsewhere is refused with 403, for HTTP and for sockets", async () => {
    const { port, hub } = await openHub();
    const origins = ["https://evil.example", "http://localhost.evil.example", "null", "file://", "", "http://[::2]"];
    for (const origin of origins) {
      expect([origin, (await ask(port, "/status", { origin })).status]).toEqual([origin, 403]);
      expect([origin, await upgrade(port, { origin })]).toEqual([origin, 403]);
    }
    expect(hub.status().links).toHaveLength(0);
  });

  test("a page from loopback, whatever its port, may connect", async () => {
    const { port } = await openHub();
    for (const origin of ["http://localhost:3000", "https://LOCALHOST", "http://127.0.0.1", "http://[::1]:5173"])
      expect([origin, await upgrade(port, { origin })]).toEqual([origin, 101]);
  });

  test("allowedHosts adds names in any case, as Host and as Origin, and nothing below them", async () => {
    const { port } = await openHub({ allowedHosts: ["Hub.Example"] });
    expect(await upgrade(port, { host: "hub.example", origin: "https://HUB.example:8443" })).toBe(101);
    expect((await ask(port, "/", { host: `hub.EXAMPLE:${port}` })).status).toBe(200);
    expect(await upgrade(port, { host: "sub.hub.example" })).toBe(403);
    expect(await upgrade(port, { origin: "https://sub.hub.example" })).toBe(403);
  });

  test("a client that is no browser sends no Origin and is allowed at any path", async () => {
    const { port } = await openHub();
    for (const path of ["/", "/any/path?with=query"]) {
      const { socket, text } = await raw(port);
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
      );
      await until(() => text().includes("\r\n\r\n"));
      expect(text()).toMatch(/^HTTP\/1\.1 101 /);
    }
  });

  test("a hub on ::1 is reached under its own url", async () => {
    const server = await openHub({ host: "::1" });
    expect(server.url).toBe(`ws://[::1]:${server.port}`);
    const client = openClient(server.url);
    await client.publish("a", "1", null);
    expect(server.hub.status().received).toBe(1);
  });

  test("a hub on every IPv6 address is reached under the url that it names", async () => {
    const server = await openHub({ host: "::" });
    expect(await upgrade(server.port, { host: `[::]:${server.port}` })).toBe(101);
  });

  test("a refused peer that does not hang up, or resets, holds nothing and harms nothing", async () => {
    const server = await openHub();
    const text = `GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    for (let i = 0; i < 20; i++) {
      const { socket } = await raw(server.port);
      socket.write(text);
      await new Promise((resolve) => setImmediate(resolve));
      socket.resetAndDestroy();
    }
    const { socket } = await raw(server.port);
    socket.write(text);
    await once(socket, "end");
    expect((await ask(server.port, "/status")).status).toBe(200);
    // This side keeps its own direction open, and the hub does not wait for it.
    await server.close();
  });
});

describe("closing", () => {
  test("says goodbye to every link, which sees it as the reason, and refuses what comes later", async () => {
    const server = await openHub();
    const peer = dial(server.url);
    await peer.shakeHands();
    const client = openClient(server.url);
    const causes: unknown[] = [];
    client.target.onStatus((status, cause) => status === "interrupted" && causes.push(cause));
    await client.subscribe("a", { onGap: "ignore" });
    await Promise.all([server.close(), server.close()]);
    expect((await peer.next("$bye")).payload).toMatchObject({ code: "CLOSED" });
    await peer.closed;
    await client.reached("interrupted");
    expect(String(causes[0])).toContain("The hub was closed");
    await expect(once(new WebSocket(server.url), "open")).rejects.toThrow("ECONNREFUSED");
    expect(() => server.hub.connect({} as never)).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });

  test("does not wait for a peer that does not answer", { timeout: 8000 }, async () => {
    const server = await openHub();
    const peer = dial(server.url);
    await peer.shakeHands();
    peer.socket.pause();
    const idle = await raw(server.port);
    const started = Date.now();
    await server.close();
    expect(Date.now() - started).toBeLessThan(5000);
    idle.socket.destroy();
  });

  test("closes its own links and leaves a hub that was handed in open", { timeout: 8000 }, async () => {
    const hub = createHub();
    onTestFinished(() => hub.close());
    const server = await openHub({ hub });
    const other = await openHub({ hub });
    const [peer, stays] = [dial(server.url), dial(other.url)];
    await Promise.all([peer.shakeHands(), stays.shakeHands()]);
    await server.close();
    await peer.closed;
    await stays.ping();
    expect(hub.status().links).toHaveLength(1);
  });

  test("a port that is taken is the error of listen", async () => {
    const { port } = await openHub();
    await expect(createHubServer({ port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});

describe("status", () => {
  test("counts what came in, what went out and what was malformed, per link and together", async () => {
    const { url, hub } = await openHub();
    const [a, b] = [dial(url), dial(url)];
    await Promise.all([a.shakeHands(), b.shakeHands()]);
    for (const peer of [a, b]) {
      peer.send(envelope("$subscribe", { ref: 1, type: "x" }), envelope("$subscribe", { ref: 2, type: "**" }));
      await peer.next("$subscribed", ({ ref }) => ref === 2);
    }
    a.send([envelope("x", 1), envelope("y", 2), envelope("z", 3)]);
    a.send("no JSON", "[null]");
    await b.next("z");
    await a.ping();
    expect(hub.status()).toMatchObject({ subscriptions: 4, received: 3, sent: 6, malformed: 2, slow: 0 });
    expect(hub.status().links.map(({ received, sent }) => [received, sent])).toEqual([
      [3, 3],
      [0, 3],
    ]);
    b.send(
      envelope("$unsubscribe", { ref: 2 }),
      envelope("$unsubscribe", { ref: 2 }),
      envelope("$unsubscribe", { ref: 9 }),
    );
    await b.ping();
    expect(hub.status().subscriptions).toBe(3);
    a.socket.terminate();
    await until(() => hub.status().links.length === 1);
    expect(hub.status()).toMatchObject({ subscriptions: 1, received: 3 });
  });
});
