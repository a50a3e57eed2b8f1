// The client that reconnects: when it tries again, when it gives up, and what it leaves behind.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createHubEventTarget } from "@alkdev/hub";
import type { Backoff } from "@alkdev/hub";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { freePort } from "../../pubsub/test/fixtures/ports.ts";
import { openClient, openHub, openProxy, over, take, until } from "./fixtures/open.ts";
import { createHubEventTarget as createForAnyPlatform } from "../src/client.ts";
import { envelope, listen } from "./fixtures/peer.ts";

const outcome = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(() => "done").catch((error: unknown) => error);

/** A port that accepts and never says a word. */
async function silentPort(): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    onTestFinished(() => void socket.destroy());
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

type Listener = (event: never) => void;

/** A WebSocket that opens or fails as the test says, in the time of the test. */
function fakeSockets(opens: (attempt: number) => boolean): {
  at: number[];
  open: Set<{ drop: () => void }>;
  Class: never;
} {
  const at: number[] = [];
  const open = new Set<{ drop: () => void }>();
  class FakeSocket {
    readyState = 0;
    bufferedAmount = 0;
    binaryType = "";
    readonly #listeners = new Map<string, Listener[]>();
    constructor() {
      at.push(Date.now());
      const well = opens(at.length);
      queueMicrotask(() => {
        if (!well) return this.drop();
        this.readyState = 1;
        open.add(this);
        this.#emit("open", {});
      });
    }
    addEventListener(type: string, listener: Listener): void {
      this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
    }
    send(text: string): void {
      const { type, payload } = JSON.parse(text) as { type: string; payload: { nonce: string } };
      if (type !== "$hello") return;
      const welcome = envelope("$welcome", { nonce: payload.nonce, version: 1, echo: true });
      queueMicrotask(() => this.#emit("message", { data: JSON.stringify(welcome) }));
    }
    close(): void {
      this.drop();
    }
    drop(): void {
      if (this.readyState === 3) return;
      this.readyState = 3;
      open.delete(this);
      queueMicrotask(() => this.#emit("close", { code: 1006, reason: "" }));
    }
    #emit(type: string, event: object): void {
      for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
    }
  }
  return { at, open, Class: FakeSocket as never };
}

function withFakeTime(): void {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
}

function fakeClient(backoff: Backoff, sockets: ReturnType<typeof fakeSockets>) {
  const target = createHubEventTarget("ws://hub.example", {
    WebSocket: sockets.Class,
    backoff,
    heartbeat: 0,
    onError: () => undefined,
  });
  onTestFinished(() => target.close());
  return target;
}

const steps = (at: readonly number[]): number[] => at.slice(1).map((time, index) => time - (at[index] ?? 0));

describe("backoff", () => {
  test("doubles from min to max", async () => {
    withFakeTime();
    const sockets = fakeSockets(() => false);
    fakeClient({ min: 100, max: 3000, jitter: 0 }, sockets);
    await vi.advanceTimersByTimeAsync(15_300);
    expect(steps(sockets.at)).toEqual([100, 200, 400, 800, 1600, 3000, 3000, 3000, 3000]);
  });

  test("is bounded however long the hub stays away", async () => {
    withFakeTime();
    const sockets = fakeSockets(() => false);
    fakeClient({ min: 1, max: 1000, jitter: 0 }, sockets);
    await vi.advanceTimersByTimeAsync(2_000_000);
    expect(sockets.at.length).toBeGreaterThan(2000);
    expect(Math.max(...steps(sockets.at))).toBe(1000);
  });

  test("leaves the part that jitter says to chance, so that clients do not return in step", async () => {
    withFakeTime();
    const sockets = fakeSockets(() => false);
    fakeClient({ min: 1000, max: 1000, jitter: 0.5 }, sockets);
    await vi.advanceTimersByTimeAsync(200_000);
    const waits = steps(sockets.at);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(500);
    expect(Math.max(...waits)).toBeLessThanOrEqual(1000);
    expect(new Set(waits).size).toBeGreaterThan(100);
    expect(Math.max(...waits) - Math.min(...waits)).toBeGreaterThan(300);
  });

  test("begins anew after a success", async () => {
    withFakeTime();
    const sockets = fakeSockets((attempt) => attempt === 5);
    const target = fakeClient({ min: 100, max: 10_000, jitter: 0 }, sockets);
    await vi.advanceTimersByTimeAsync(1500);
    expect(target.status).toBe("ready");
    const [socket] = sockets.open;
    socket?.drop();
    const dropped = Date.now();
    await vi.advanceTimersByTimeAsync(700);
    const waits = steps(sockets.at);
    expect(waits.slice(0, 4)).toEqual([100, 200, 400, 800]);
    // The one between them is how long the connection held.
    expect(waits.slice(5)).toEqual([200, 400]);
    expect((sockets.at[5] ?? 0) - dropped).toBe(100);
    expect(target.status).toBe("interrupted");
  });

  test("is over with close(): no attempt follows", async () => {
    withFakeTime();
    const sockets = fakeSockets(() => false);
    const target = fakeClient({ min: 100, jitter: 0 }, sockets);
    await vi.advanceTimersByTimeAsync(150);
    await target.close();
    const { length } = sockets.at;
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(sockets.at).toHaveLength(length);
  });
});

describe("giving up", () => {
  test("firstAttempts ends the target with DISCONNECTED, which names the address without its password", async () => {
    const port = await freePort();
    const client = openClient(`ws://user:secret@127.0.0.1:${port}/path?key=1`, { firstAttempts: 3 });
    const started = await Promise.all([
      outcome(client.subscribe("a")),
      outcome(client.publish("a", "", 1)),
      client.target.closed,
    ]);
    for (const error of started.slice(0, 2)) {
      expect(error).toMatchObject({ code: "DISCONNECTED" });
      const text = `${String(error)} ${String((error as Error).cause)}`;
      expect(text).toContain(`ws://127.0.0.1:${port}`);
      expect(text).toContain("ECONNREFUSED");
      expect(text).not.toContain("secret");
    }
    expect(client.status).toBe("closed");
    expect(await outcome(client.publish("a", "", 1))).toMatchObject({ code: "DISCONNECTED" });
  });

  test("firstAttempts counts only until the first success", async () => {
    const { port } = await openHub();
    const proxy = await openProxy(port);
    const client = openClient(proxy.url, { firstAttempts: 1 });
    await client.reached("ready");
    proxy.refusing = true;
    proxy.cut();
    await until(() => proxy.refused >= 3);
    expect(client.status).toBe("interrupted");
    proxy.refusing = false;
    await client.reached("ready");
  });

  test("without it, what waits rejects with NOT_READY within connectTimeout, naming the reason, and the next use tries again", async () => {
    const port = await freePort();
    const url = `ws://user:secret@127.0.0.1:${port}`;
    const client = openClient(url, { connectTimeout: 150 });
    const errors = await Promise.all([outcome(client.subscribe("a")), outcome(client.publish("a", "", 1))]);
    for (const error of errors) {
      expect(error).toMatchObject({
        code: "NOT_READY",
        message: expect.stringMatching(/within 150 ms.*ECONNREFUSED/s) as string,
      });
      expect(String(error)).not.toContain("secret");
    }
    expect(client.status).toBe("idle");
    await openHub({ port });
    // Each attempt has as little time as the first.
    while ((await outcome(client.publish("a", "", 1))) !== "done");
  });

  test("a server that accepts and says nothing is given up after attemptTimeout, and said so without the password", async () => {
    const port = await silentPort();
    const client = openClient(`ws://user:secret@127.0.0.1:${port}`, { connectTimeout: 500, attemptTimeout: 50 });
    const error = await outcome(client.subscribe("a"));
    expect(error).toMatchObject({
      code: "NOT_READY",
      message: expect.stringContaining("no answer within 50 ms") as string,
    });
    expect(String(error)).toContain(`ws://127.0.0.1:${port}`);
    expect(String(error)).not.toContain("secret");
  });

  test("a hub that accepts the socket and never welcomes is left after attemptTimeout, and tried again", async () => {
    const server = await listen();
    const client = openClient(server.url, { attemptTimeout: 1000 });
    const first = await server.next();
    await first.next("$hello");
    await first.closed;
    const second = await server.next();
    await second.shakeHands();
    await client.reached("ready");
  });

  test("a server that is no hub, or refuses, is named as the reason", async () => {
    const { port } = await openHub({ limits: { links: 1 } });
    const first = openClient(`ws://127.0.0.1:${port}`);
    await first.reached("ready");
    const full = openClient(`ws://127.0.0.1:${port}`, { connectTimeout: 400 });
    expect(await outcome(full.subscribe("a"))).toMatchObject({
      code: "NOT_READY",
      message: expect.stringContaining("LIMIT") as string,
    });
    await first.target.close();
    while ((await outcome(full.subscribe("a"))) !== "done");
  });

  test("an address that is none is refused at once, without showing its password", () => {
    for (const url of [
      "http://user:secret@127.0.0.1:1",
      "http://user:p@secret@h/",
      "127.0.0.1:8080",
      "",
      "ws:",
      "user:secret@host",
    ]) {
      let error: unknown;
      try {
        createHubEventTarget(url);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toMatchObject({ code: "INVALID_OPTION" });
      expect(String(error)).not.toContain("secret");
    }
  });
});

test("a platform without a WebSocket is UNSUPPORTED, at once, unless a class is given", () => {
  vi.stubGlobal("WebSocket", undefined);
  onTestFinished(() => void vi.unstubAllGlobals());
  expect(() => createForAnyPlatform("ws://127.0.0.1:1")).toThrow(
    expect.objectContaining({ code: "UNSUPPORTED" }) as Error,
  );
  const target = createForAnyPlatform("ws://127.0.0.1:1", { WebSocket: fakeSockets(() => false).Class });
  return target.close();
});

describe("close()", () => {
  const script = fileURLToPath(new URL("./fixtures/closing-client.mjs", import.meta.url));

  async function closingClient(url: string, when: "live" | "trying") {
    const child = spawn(process.execPath, [script, url, when], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe(when);
    return {
      close: async () => {
        const exited = once(child, "exit");
        child.stdin.write("close\n");
        expect((await lines.next()).value).toBe("closed");
        const started = Date.now();
        expect(await exited).toEqual([0, null]);
        return Date.now() - started;
      },
    };
  }

  test("of a live client leaves nothing that keeps the process alive", async () => {
    const { url, hub } = await openHub();
    const child = await closingClient(url, "live");
    expect(await child.close()).toBeLessThan(4000);
    await until(() => hub.status().links.length === 0);
  });

  test("while connecting leaves nothing that keeps the process alive", async () => {
    const child = await closingClient(`ws://127.0.0.1:${await silentPort()}`, "trying");
    expect(await child.close()).toBeLessThan(4000);
  });

  test("between two attempts leaves nothing that keeps the process alive", async () => {
    const child = await closingClient(`ws://127.0.0.1:${await freePort()}`, "trying");
    expect(await child.close()).toBeLessThan(4000);
  });

  test("of a connection into a black hole keeps the process no longer than a goodbye may take", async () => {
    const { port } = await openHub();
    const proxy = await openProxy(port);
    const child = await closingClient(proxy.url, "live");
    proxy.freeze();
    expect(await child.close()).toBeLessThan(4000);
  });

  test("is idempotent, rejects what waits, and ends what is iterated", async () => {
    const { url } = await openHub();
    const target = createHubEventTarget(url);
    const client = over(target);
    const events = await client.subscribe("a");
    await client.publish("a", "", 1);
    await take(events, 1);
    const next = events.next();
    await Promise.all([target.close(), target.close()]);
    expect(await next).toEqual({ value: undefined, done: true });
    expect(await outcome(client.publish("a", "", 2))).toMatchObject({ code: "CLOSED" });
    expect(await outcome(client.subscribe("a"))).toMatchObject({ code: "CLOSED" });
  });

  test("waits for the acknowledgements of what was published, all of which arrives", async () => {
    const { url } = await openHub();
    const [client, reader] = [openClient(url), openClient(url)];
    const events = await reader.subscribe("a");
    await client.reached("ready");
    const published = Array.from({ length: 2000 }, (_, n) => outcome(client.publish("a", "", n)));
    await client.target.close();
    expect(new Set(await Promise.all(published))).toEqual(new Set(["done"]));
    expect((await take(events, 2000)).map(({ payload }) => payload)).toEqual([...Array(2000).keys()]);
  });

  test("while connecting rejects what waits with CLOSED", async () => {
    const client = openClient(`ws://127.0.0.1:${await silentPort()}`);
    const waiting = [outcome(client.subscribe("a")), outcome(client.publish("a", "", 1))];
    await client.target.close();
    for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: "CLOSED" });
  });
});
