// What is opened by a URL: what URLs are taken, by which client, what an error says, and that nothing is left behind.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub, TypedEvent } from "@alkdev/pubsub";
import { openEventTarget } from "@alkdev/pubsub/open";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { opens } from "./fixtures/opens.ts";
import type { Opens } from "./fixtures/opens.ts";
import { freePort } from "./fixtures/ports.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { redisSubscriptions, startServer } from "./fixtures/servers.ts";
import type { Server, ServerName, ServerOptions } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());

async function start(name: ServerName, options?: ServerOptions): Promise<Server> {
  const server = await startServer(name, options);
  opened.add(() => server.end());
  return server;
}

async function open(url: string, options: Parameters<typeof openEventTarget>[1] = {}): Promise<AlkEventTarget> {
  const target = await openEventTarget(url, { onError: () => undefined, ...options });
  opened.add(() => target.close());
  return target;
}

const over = async (url: string): Promise<PubSub> => createPubSub({ eventTarget: await open(url), onGap: "ignore" });

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

/** Whether somebody listens there. */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => resolve(false));
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** Accepts connections, and says nothing. */
async function silentPort(): Promise<number> {
  const proxy = await startProxy(await freePort());
  opened.add(() => proxy.close());
  proxy.freeze();
  return proxy.port;
}

const next = async (lines: Opens, count: number): Promise<object[]> => {
  const found: object[] = [];
  while (found.length < count) found.push(await lines.next());
  return found;
};

interface Kind {
  readonly server: ServerName;
  readonly scheme: string;
  /** Before the host, and behind the port. */
  readonly user?: string;
  readonly path?: string;
  readonly without?: readonly string[];
  /** Makes it ask for a password, where it does not anyway. */
  readonly guarded?: ServerOptions;
  /** Whether it takes seconds to start, so that one has to do for several tests. */
  readonly slow?: boolean;
}

const KINDS: Readonly<Record<string, Kind>> = {
  "Redis, with ioredis": { server: "redis", scheme: "redis", guarded: { args: ["--requirepass", "right"] } },
  "Redis, with node-redis where there is no ioredis": {
    server: "redis",
    scheme: "redis",
    without: ["ioredis"],
    guarded: { args: ["--requirepass", "right"] },
  },
  NATS: { server: "nats", scheme: "nats", guarded: { args: ["--user", "me", "--pass", "right"] } },
  RabbitMQ: { server: "rabbitmq", scheme: "amqp", slow: true },
  MQTT: { server: "mosquitto", scheme: "mqtt", guarded: { lines: ["allow_anonymous false"] } },
  Postgres: { server: "postgres", scheme: "postgres", user: "postgres@", path: "/postgres", slow: true },
};

describe.each(Object.entries(KINDS))("over %s", (_, kind) => {
  const { server: name, scheme, user = "", path = "", without = [], guarded, slow = false } = kind;
  let shared: Server | undefined;
  beforeAll(async () => void (slow && (shared = await startServer(name))));
  afterAll(() => shared?.end());
  const startOne = async (options?: ServerOptions): Promise<Server> => shared ?? start(name, options);

  test(
    "events pass, a restart of the server is a gap, and once it is closed nothing keeps the process",
    { timeout: 90_000 },
    async () => {
      const server = await startOne();
      const url = `${scheme}://${user}localhost:${server.port}${path}`;
      const child = opens(opened, [url], { without });
      expect(await next(child, 2)).toEqual(expect.arrayContaining([{ id: "own", payload: 0 }, { open: "ready" }]));
      const other = await over(url);
      await other.publish("a.b", "other", 1);
      expect(await child.next()).toEqual({ id: "other", payload: 1 });
      await server.kill();
      await server.start();
      expect(await child.next()).toMatchObject({ gap: "reconnect" });
      // Until it is subscribed again, events are within the gap.
      let came = false;
      const after = child.next().finally(() => (came = true));
      await until(async () => {
        await other.publish("a.b", "after", 2).catch(() => undefined);
        return came;
      });
      expect(await after).toEqual({ id: "after", payload: 2 });
      const [code, rest] = await child.end();
      expect([code, rest.filter(({ id }) => id !== "after")]).toEqual([0, []]);
    },
  );

  test("it ends alike while the server stands still", async () => {
    const server = await startOne();
    const url = `${scheme}://${user}127.0.0.1:${server.port}${path}`;
    const child = opens(opened, [url], { without, env: { CLOSE_TIMEOUT: "200" } });
    await next(child, 2);
    server.freeze();
    const ended = await child.end();
    server.thaw();
    expect(ended).toEqual([0, []]);
  });

  test("nobody, somebody silent, somebody else and a wrong password are told apart, and leave nothing behind", async () => {
    const server = await startOne(guarded);
    const [nobody, silent] = [await freePort(), await silentPort()];
    const at = (port: number): string => `${scheme}://me:s3cr%23t@127.0.0.1:${port}${path}`;
    const child = opens(opened, [at(nobody), at(silent), at(server.port)], {
      without,
      env: { CONNECT_TIMEOUTS: ",300," },
    });
    const [code, lines] = await child.end();
    expect(code).toBe(0);
    const named = (port: number): string => at(port).replace("me:s3cr%23t@", "");
    expect(lines.map(({ code, message }) => `${code}: ${message}`)).toEqual([
      `NOT_READY: ${named(nobody)} cannot be reached: connect ECONNREFUSED 127.0.0.1:${nobody}. Check the address, and that it runs.`,
      `NOT_READY: ${named(silent)} did not answer within 300 ms. Check the address, and that it runs.`,
      expect.stringMatching(
        new RegExp(
          `^REFUSED: ${named(server.port)} does not let this client in: .*\\. Check user and password, or token\\.$`,
        ),
      ),
    ]);
    // Whatever it is printed with.
    expect(lines.map(({ all }) => all).join()).not.toMatch(/s3cr/);
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe("clients", () => {
  test("that are missing are named, with how to install them", async () => {
    const without = ["ioredis", "redis", "@nats-io/transport-node", "@alkdev/hub/client", "amqplib", "mqtt", "pg"];
    const needs = {
      redis: "ioredis or redis",
      rediss: "ioredis or redis",
      nats: "@nats-io/transport-node",
      tls: "@nats-io/transport-node",
      amqp: "amqplib",
      amqps: "amqplib",
      mqtt: "mqtt",
      mqtts: "mqtt",
      postgres: "pg",
      postgresql: "pg",
      ws: "@alkdev/hub",
      wss: "@alkdev/hub",
    };
    const urls = Object.keys(needs).map((scheme) => `${scheme}://localhost`);
    const [code, lines] = await opens(opened, urls, { without }).end();
    expect(code).toBe(0);
    expect(lines.map(({ code, message }) => `${code} ${message}`)).toEqual(
      Object.entries(needs).map(
        ([scheme, packages]) =>
          `UNSUPPORTED ${scheme}: needs the package ${packages}, which is not installed. Install it beside @alkdev/pubsub: npm install ${packages.split(" ")[0]}.`,
      ),
    );
  });

  test("of NATS connect again however often they are refused", async () => {
    const server = await start("nats");
    const proxy = await startProxy(server.port);
    opened.add(() => proxy.close());
    const target = await open(`nats://127.0.0.1:${proxy.port}`);
    const events = await createPubSub({ eventTarget: target, onGap: "ignore" }).subscribe("a");
    proxy.refusing = true;
    proxy.cut();
    // By itself it would have given up after ten.
    await until(async () => proxy.refused > 11);
    const ready = new Promise<void>((resolve) => target.onStatus((status) => status === "ready" && resolve()));
    proxy.refusing = false;
    await ready;
    await (await over(`nats://127.0.0.1:${server.port}`)).publish("a", "1", "again");
    expect((await events.next()).value?.payload).toBe("again");
  });

  test("end with their target, by close() and by the end of the block that has it", async () => {
    const server = await start("redis");
    {
      await using target = await openEventTarget(`redis://127.0.0.1:${server.port}`);
      await createPubSub({ eventTarget: target }).subscribe("a");
      expect(await redisSubscriptions(server)).toBe(1);
    }
    const target = await openEventTarget(`redis://127.0.0.1:${server.port}`);
    const [first, second] = [target.close(), target.close()];
    await Promise.all([first, second]);
    expect(target.status).toBe("closed");
    expect(await redisSubscriptions(server)).toBe(0);
  });

  test("speak TLS where the URL says so", { timeout: 90_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "tls-"));
    opened.add(() => rmSync(folder, { recursive: true }));
    const [key, cert] = [join(folder, "key"), join(folder, "cert")];
    const args = `req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost`;
    spawnSync("openssl", [...args.split(" "), "-keyout", key, "-out", cert]);
    const [redis, rabbitmq, mosquitto] = [await freePort(), await freePort(), await freePort()];
    const files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert];
    const nats = await start("nats", { args: ["--tls", "--tlscert", cert, "--tlskey", key] });
    await start("redis", { args: ["--tls-port", String(redis), ...files, "--tls-auth-clients", "no"] });
    await start("rabbitmq", {
      lines: [
        `listeners.ssl.1 = 127.0.0.1:${rabbitmq}`,
        `ssl_options.certfile = ${cert}`,
        `ssl_options.keyfile = ${key}`,
      ],
    });
    await start("mosquitto", {
      lines: [`listener ${mosquitto} 127.0.0.1`, `certfile ${cert}`, `keyfile ${key}`],
    });
    // They say that they are there before they speak TLS.
    for (const port of [rabbitmq, mosquitto]) while (!(await accepts(port))) await turn();
    const urls = [
      `rediss://localhost:${redis}`,
      `tls://localhost:${nats.port}`,
      `amqps://localhost:${rabbitmq}`,
      `mqtts://localhost:${mosquitto}`,
    ];
    for (const without of [[], ["ioredis"]]) {
      const child = opens(opened, urls, { without, env: { NODE_EXTRA_CA_CERTS: cert } });
      for (const url of urls) {
        expect(await next(child, 2), url).toContainEqual({ open: "ready" });
        child.child.stdin.write("\n");
      }
      expect(await child.end()).toEqual([0, []]);
    }
    // Whoever does not know the certificate is not fooled, and a server without TLS is no server with it.
    const [, lines] = await opens(opened, [...urls, `tls://localhost:${(await start("nats")).port}`]).end();
    expect(lines).toMatchObject([
      ...urls.map(() => ({
        code: "NOT_READY",
        message: expect.stringMatching(/self-signed certificate/) as string,
      })),
      { code: "NOT_READY", message: expect.stringContaining("does not support 'tls'") as string },
    ]);
  });
});

describe("a prefix in the query", () => {
  test.each([
    ["redis", "mine:"],
    ["nats", "my.own"],
  ] as const)("keeps those apart that have none, over %s", async (name, prefix) => {
    const server = await start(name);
    const url = `${name}://127.0.0.1:${server.port}`;
    const [mine, also, none] = [
      await over(`${url}?prefix=${prefix}`),
      await over(`${url}/?prefix=${prefix}`),
      await over(url),
    ];
    const [inside, outside] = [await also.subscribe("a"), await none.subscribe("a")];
    await mine.publish("a", "1", "inside");
    await none.publish("a", "1", "outside");
    expect((await inside.next()).value?.payload).toBe("inside");
    expect((await outside.next()).value?.payload).toBe("outside");
  });
});

describe("a URL that names nothing to open is INVALID_OPTION, before anything is tried, and no password is shown", () => {
  test.each([
    [
      "",
      "There is no scheme in that URL. Known are memory: ws: wss: redis: rediss: nats: tls: amqp: amqps: mqtt: mqtts: postgres: postgresql:",
    ],
    ["//localhost", "There is no scheme"],
    ["localhost:6379", 'Nothing opens URLs that begin with "localhost:". Known are memory:'],
    ["http://user:s3cret@host", 'Nothing opens URLs that begin with "http:"'],
    ["constructor://host", 'Nothing opens URLs that begin with "constructor:"'],
    ["redis:localhost:6379", "redis: needs a host, as in redis://localhost:6379"],
    ["redis://", "redis: needs a host"],
    ["redis://user:s3cret/more@host", "That is no URL of redis:, which look like redis://localhost:6379."],
    ["redis://:s3cret#more@host", "percent-encode what is no letter or digit (# is %23"],
    ["redis://:s3cret%zz@host:1", "redis://host:1 has a % in it that begins no percent-encoding"],
    ["redis://:s3cret@host#more", "redis://host has a part behind #"],
    ["redis://:s3cret@host/path", "redis://host/path has a path, where only the number of a database may be."],
    [
      "redis://:s3cret@host?prefx=1",
      'redis://host has "prefx" in its query, which means nothing here; it takes prefix.',
    ],
    ["redis://host?prefix=a&prefix=b", "redis://host has prefix in its query more than once."],
    ["nats://host/path", "nats://host/path has a path, where none may be."],
    ["memory:?prefix=a", 'memory: has "prefix" in its query, which means nothing here; it takes none.'],
    [1 as unknown as string, "A URL is a text, not 1."],
  ])("%j", async (url, message) => {
    const error = await openEventTarget(url).catch((error: unknown) => error);
    expect(error).toMatchObject({ code: "INVALID_OPTION", message: expect.stringContaining(message) as string });
    expect(inspect(error, { depth: Infinity })).not.toContain("s3cret");
  });

  test("so is a prefix that the transport does not take, with the client let go", async () => {
    const server = await start("nats");
    const url = `nats://127.0.0.1:${server.port}?prefix=a..b`;
    await expect(openEventTarget(url)).rejects.toMatchObject({ code: "INVALID_OPTION", message: /^prefix has to be/ });
    expect((await opens(opened, [url]).end())[0]).toBe(0);
  });

  test("and so are options that are none", async () => {
    await expect(openEventTarget("memory:", { connectTimeout: -1 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(openEventTarget("memory:", { signal: {} as AbortSignal })).rejects.toMatchObject({
      code: "INVALID_OPTION",
    });
  });
});

describe("a signal", () => {
  test("that is aborted already, or is aborted before there is an answer, rejects with its reason", async () => {
    await expect(openEventTarget("memory:", { signal: AbortSignal.abort("early") })).rejects.toBe("early");
    const controller = new AbortController();
    const url = `redis://127.0.0.1:${await silentPort()}`;
    const opening = openEventTarget(url, { signal: controller.signal, connectTimeout: Infinity });
    controller.abort("late");
    await expect(opening).rejects.toBe("late");
  });

  test("leaves open what is open", async () => {
    const controller = new AbortController();
    const target = await open("memory:signal", { signal: controller.signal });
    controller.abort();
    expect(target.status).toBe("ready");
  });
});

describe("memory:", () => {
  test("is one space for all that open the same URL, each with an end of its own; a name is another", async () => {
    const first = await open("memory:");
    const [one, other, named] = [
      createPubSub({ eventTarget: first }),
      await over("memory:"),
      await over("memory:named"),
    ];
    const [own, there, elsewhere] = [
      await one.subscribe("a.*"),
      await other.subscribe("a.b", "1"),
      await named.subscribe("**"),
    ];
    await one.publish("a.b", "1", "first");
    await other.publish("a.b", "1", "second");
    await named.publish("a.b", "1", "elsewhere");
    for (const payload of ["first", "second"]) {
      expect((await own.next()).value?.payload).toBe(payload);
      expect((await there.next()).value?.payload).toBe(payload);
    }
    expect((await elsewhere.next()).value?.payload).toBe("elsewhere");
    await first.close();
    await other.publish("a.b", "1", "third");
    expect((await there.next()).value?.payload).toBe("third");
    expect(await own.next()).toEqual({ done: true, value: undefined });
  });

  test("shows all the same order, also of what a listener publishes", async () => {
    const [one, other] = [await over("memory:order"), await over("memory:order")];
    const seen: Record<"one" | "other", unknown[]> = { one: [], other: [] };
    await other.on("a", ({ payload }) => {
      seen.other.push(payload);
      if (payload === "question") void other.publish("a", "", "answer");
    });
    await one.on("a", ({ payload }) => void seen.one.push(payload));
    await one.publish("a", "", "question");
    await one.publish("a", "", "last");
    expect(seen.one).toEqual(["question", "answer", "last"]);
    expect(seen.other).toEqual(seen.one);
  });

  test("may be a URL object, and the events be typed", async () => {
    const target = await openEventTarget<TypedEvent<"a", number>>(new URL("memory://typed"));
    opened.add(() => target.close());
    expectTypeOf(target).toEqualTypeOf<AlkEventTarget<TypedEvent<"a", number>>>();
    const seen: number[] = [];
    target.addEventListener("a", ({ detail }) => seen.push(detail.payload));
    await (await over("memory:typed")).publish("a", "", 1);
    expect(seen).toEqual([1]);
  });
});
