// What is peculiar to Redis and to its clients; the rest is in the suite.
import { createPubSub as createYogaPubSub } from "@graphql-yoga/subscription";
import { createRedisEventTarget as createYogaTarget } from "@graphql-yoga/redis-event-target";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub, Subscription } from "@alkdev/pubsub";
import { createRedisEventTarget } from "@alkdev/pubsub/event-target-redis";
import type { CreateRedisEventTargetArgs, IoRedisClient, NodeRedisClient } from "@alkdev/pubsub/event-target-redis";
import { payloadTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { Redis } from "ioredis";
import { Redis as IoRedis6 } from "ioredis-6";
import { createClient } from "redis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { startProxy } from "./fixtures/proxy.ts";
import type { Proxy } from "./fixtures/proxy.ts";
import { reached } from "./fixtures/reached.ts";
import { CLIENTS, openRedis } from "./fixtures/redis.ts";
import type { TestClient } from "./fixtures/redis.ts";
import { refusalWithout } from "./fixtures/secrets.ts";
import { askRedis, redisSubscriptions, startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startServer("redis")));
afterAll(() => server.end());

type Args = Omit<CreateRedisEventTargetArgs, "publishClient" | "subscribeClient">;

function connect(client: string, port: number = server.port, more?: { password?: string }): TestClient {
  const made = CLIENTS[client]?.(port, more);
  if (made === undefined) throw new Error(`There is no client ${client}.`);
  opened.add(() => made.end());
  return made;
}

const raw = (port: number = server.port): Redis => connect("ioredis 5", port).client as unknown as Redis;

function openTarget(client: string, args?: Args, port: number = server.port): AlkEventTarget {
  return openRedis(opened, client, port, args);
}

const open = (client: string, args?: Args): PubSub => createPubSub({ eventTarget: openTarget(client, args) });

async function openProxy(): Promise<Proxy> {
  const proxy = await startProxy(server.port);
  opened.add(() => proxy.close());
  return proxy;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** The listeners of a client, by event. */
function listenersOf({ client }: TestClient): Record<string, number> {
  const emitter = client as unknown as { eventNames(): string[]; listenerCount(name: string): number };
  return Object.fromEntries(emitter.eventNames().map((name) => [name, emitter.listenerCount(name)]));
}

describe.each(Object.keys(CLIENTS))("with %s", (client) => {
  test("what is on the wire is the envelope as JSON, on a channel that is the prefix and the topic", async () => {
    const reader = raw();
    const seen: unknown[] = [];
    reader.on("pmessage", (_, channel, text) => seen.push([channel, JSON.parse(text)]));
    await reader.psubscribe("*");
    await open(client).publish("session.status", "proj_123", { status: "busy" });
    await open(client, { prefix: "mine/" }).publish("session.closed", "", null);
    await until(() => seen.length === 2);
    const origin = expect.stringMatching(/^[0-9a-f]{32}$/) as string;
    expect(seen).toEqual([
      [
        "alk:events:session.status:proj_123",
        { type: "session.status", id: "proj_123", payload: { status: "busy" }, meta: { origin } },
      ],
      ["mine/session.closed", { type: "session.closed", id: "", payload: null, meta: { origin } }],
    ]);
  });

  test("anybody may publish an envelope; what is none goes to onError, and stops nothing", async () => {
    const errors: unknown[] = [];
    const events = await open(client, { onError: (error) => errors.push(error) }).subscribe("a", "1");
    const publisher = raw();
    for (const text of ["no JSON", '{"type":"a"}', '[{"type":"a","id":"1","payload":1},2]', "null"])
      await publisher.publish("alk:events:a:1", text);
    await publisher.publish("alk:events:a:1", '{"type":"other","id":"1","payload":0}');
    await publisher.publish("alk:events:a:1", '{"type":"a","id":"1","payload":2,"more":true}');
    expect((await events.next()).value?.payload).toBe(1);
    expect((await events.next()).value).toEqual({ type: "a", id: "1", payload: 2, more: true });
    expect(errors).toHaveLength(4);
    for (const error of errors) expect(error).toMatchObject({ code: "MALFORMED" });
  });

  test("types, ids and prefixes that look like globs mean themselves", async () => {
    const odd = ["a?b", "[ab]", "a\\b", "^a-z"];
    const pubsub = open(client, { prefix: "p[x]*?:" });
    const all = await Promise.all(
      odd.flatMap((text) => [pubsub.subscribe(text), pubsub.subscribe("**", text), pubsub.subscribe(text, text)]),
    );
    for (const text of odd) await pubsub.publish(text, text, text);
    const last = await pubsub.subscribe("**");
    await pubsub.publish("last", "", null);
    await last.next();
    for (const [i, events] of all.entries()) {
      expect(events.received).toBe(1);
      expect((await events.next()).value?.payload).toBe(odd[Math.floor(i / 3)]);
    }
  });

  test("listeners get events again after the subscribing connection was killed, and are told of the gap", async () => {
    const errors: { code?: string }[] = [];
    const target = openTarget(client, { onError: (error) => errors.push(error as { code?: string }) });
    const seen: unknown[] = [];
    target.addEventListener("a:1", ({ detail }) => seen.push(detail.payload));
    const far = open(client);
    await until(async () => (await redisSubscriptions(server)) === 1);
    await far.publish("a", "1", "before");
    await until(() => seen.length === 1);
    const interrupted = reached(target, "interrupted");
    await askRedis(server, "CLIENT KILL TYPE pubsub");
    await interrupted;
    await reached(target, "ready");
    await far.publish("a", "1", "after");
    await until(() => seen.length === 2);
    expect(seen).toEqual(["before", "after"]);
    expect(errors.map(({ code }) => code)).toEqual(["GAP"]);
  });

  test("subscriptions end with DISCONNECTED when their client is closed for good, and never stay silent", async () => {
    const [publisher, subscriber] = [connect(client), connect(client)];
    const target = createRedisEventTarget({ publishClient: publisher.client, subscribeClient: subscriber.client });
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a", "1");
    await pubsub.publish("a", "1", 1);
    await until(() => events.received === 1);
    await subscriber.end();
    expect((await events.next()).value?.payload).toBe(1);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    await expect(pubsub.publish("a", "1", 2)).rejects.toMatchObject({ code: "DISCONNECTED" });
    expect(listenersOf(publisher)).toEqual(listenersOf(connect(client)));
  });

  test("an event whose answer a cut took away comes once, and its publish rejects with INTERRUPTED", async () => {
    const reader = raw();
    const seen: string[] = [];
    reader.on("message", (_, text) => seen.push((JSON.parse(text) as { payload: string }).payload));
    await reader.subscribe("alk:events:a");
    const proxy = await openProxy();
    const target = openTarget(client, {}, proxy.port);
    const pubsub = createPubSub({ eventTarget: target });
    await pubsub.publish("a", "", "first");
    proxy.freeze("toClient");
    const published = pubsub.publish("a", "", "second").catch((error: unknown) => error);
    await until(() => seen.length === 2);
    proxy.cut();
    expect(await published).toMatchObject({ code: "INTERRUPTED" });
    proxy.thaw();
    // Those that were accepted meanwhile were left alone.
    proxy.cut();
    await reached(target, "ready");
    await pubsub.publish("a", "", "third");
    await until(() => seen.includes("third"));
    expect(seen).toEqual(["first", "second", "third"]);
  });

  test("closing leaves no listener on the clients, which stay open, and nothing at the server", async () => {
    const [publisher, subscriber] = [connect(client), connect(client)];
    // Once they are connected: until then they have listeners of their own.
    await Promise.all([publisher.client.ping(), subscriber.client.ping()]);
    const before = [listenersOf(publisher), listenersOf(subscriber)];
    const target = createRedisEventTarget({ publishClient: publisher.client, subscribeClient: subscriber.client });
    const pubsub = createPubSub({ eventTarget: target });
    await Promise.all(Array.from({ length: 50 }, (_, i) => pubsub.subscribe("a", String(i))));
    await pubsub.subscribe("**");
    expect(await redisSubscriptions(server)).toBe(51);
    await target.close();
    expect(await redisSubscriptions(server)).toBe(0);
    expect([listenersOf(publisher), listenersOf(subscriber)]).toEqual(before);
    await publisher.client.ping();
    await subscriber.client.ping();
  });

  test("closing while interrupted leaves nothing at the server once the clients are back", async () => {
    const proxy = await openProxy();
    const [publisher, subscriber] = [connect(client, proxy.port), connect(client, proxy.port)];
    const target = createRedisEventTarget({ publishClient: publisher.client, subscribeClient: subscriber.client });
    await createPubSub({ eventTarget: target }).subscribe("a.*");
    proxy.refusing = true;
    proxy.cut();
    await reached(target, "interrupted");
    await target.close();
    proxy.refusing = false;
    await subscriber.client.ping();
    await until(async () => (await redisSubscriptions(server)) === 0);
  });

  test("a wrong password is REFUSED at once, with Redis's own words and without the password, and does not close the clients", async () => {
    const guarded = await startServer("redis", { args: ["--requirepass", "secret"] });
    opened.add(() => guarded.end());
    for (const more of [{ password: "hunter2" }, {}]) {
      const [publisher, subscriber] = [connect(client, guarded.port, more), connect(client, guarded.port, more)];
      const target = createRedisEventTarget({ publishClient: publisher.client, subscribeClient: subscriber.client });
      opened.add(() => target.close());
      const pubsub = createPubSub({ eventTarget: target });
      const refusal = await refusalWithout("hunter2", pubsub.subscribe("a"));
      expect(refusal).toMatchObject({
        code: "REFUSED",
        message: expect.stringMatching(/WRONGPASS|NOAUTH/) as string,
      });
    }
  });

  test("who is not let in any more is told what Redis says, without the password", async () => {
    const guarded = await startServer("redis", { args: ["--requirepass", "hunter2"] });
    opened.add(() => guarded.end());
    const [publisher, subscriber] = [0, 1].map(() => connect(client, guarded.port, { password: "hunter2" })) as [
      TestClient,
      TestClient,
    ];
    const target = createRedisEventTarget({
      publishClient: publisher.client,
      subscribeClient: subscriber.client,
      subscribeTimeout: 2000,
    });
    opened.add(() => target.close());
    const pubsub = createPubSub({ eventTarget: target });
    await pubsub.subscribe("a");
    await askRedis(guarded, "AUTH hunter2", "CONFIG SET requirepass other");
    const interrupted = reached(target, "interrupted");
    await askRedis(guarded, "AUTH other", "CLIENT KILL TYPE pubsub", "CLIENT KILL TYPE normal");
    await interrupted;
    const refusal = await refusalWithout("hunter2", pubsub.subscribe("b"));
    expect(refusal).toMatchObject({ code: "TIMEOUT", message: expect.stringMatching(/WRONGPASS|NOAUTH/) as string });
  });

  test("what an account may not do is REFUSED to whoever asked, and to nobody else", async () => {
    const guarded = await startServer("redis");
    opened.add(() => guarded.end());
    await askRedis(guarded, "ACL SETUSER default resetchannels &alk:events:ok*");
    const pubsub = createPubSub({ eventTarget: openTarget(client, {}, guarded.port) });
    const events = await pubsub.subscribe("ok", "1");
    await expect(pubsub.subscribe("secret", "1")).rejects.toMatchObject({ code: "REFUSED" });
    await expect(pubsub.subscribe("secret.*")).rejects.toMatchObject({ code: "REFUSED" });
    await expect(pubsub.publish("secret", "1", 0)).rejects.toMatchObject({
      code: "REFUSED",
      message: expect.stringContaining("NOPERM") as string,
    });
    await pubsub.publish("ok", "1", 1);
    expect((await events.next()).value?.payload).toBe(1);
  });

  test("a server that is stopped is noticed by its silence, and what was in flight rejects", async () => {
    const own = await startServer("redis");
    opened.add(() => own.end());
    const target = openTarget(client, { heartbeat: 1000 }, own.port);
    const pubsub = createPubSub({ eventTarget: target });
    await pubsub.publish("a", "", 0);
    own.freeze();
    const published = pubsub.publish("a", "", 1).catch((error: unknown) => error);
    await reached(target, "interrupted");
    expect(await published).toMatchObject({ code: "INTERRUPTED" });
    own.thaw();
    await reached(target, "ready");
    await pubsub.publish("a", "", 2);
  });

  test("a connection whose handshake is never answered is given up for another one", async () => {
    const proxy = await openProxy();
    proxy.freeze();
    const target = openTarget(client, { heartbeat: 100, connectTimeout: 60_000 }, proxy.port);
    const subscribing = createPubSub({ eventTarget: target }).subscribe("a");
    await until(() => proxy.accepted >= 4);
    proxy.thaw();
    await subscribing;
  });

  test("events of one tick are one message with batch, and are understood without", async () => {
    const reader = raw();
    const seen: unknown[] = [];
    reader.on("message", (_, text) => seen.push(JSON.parse(text)));
    await reader.subscribe("alk:events:a:1");
    const events = await open(client).subscribe("a", "1");
    const pubsub = open(client, { batch: true });
    await pubsub.publish("a", "1", "alone");
    const outcomes = await Promise.allSettled([0, 1, () => 2, 3].map((payload) => pubsub.publish("a", "1", payload)));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    for (const payload of ["alone", 0, 1, 3]) expect((await events.next()).value?.payload).toBe(payload);
    await until(() => seen.length >= 2);
    expect(seen).toMatchObject([{ payload: "alone" }, [{ payload: 0 }, { payload: 1 }, { payload: 3 }]]);
  });

  test("a serializer of one's own is used both ways; what it throws is the publish's", async () => {
    const serializer = {
      stringify(envelope: { payload: unknown }): string {
        if (envelope.payload === "no") throw new Error("not that one");
        return `!${JSON.stringify(envelope)}`;
      },
      parse: (text: string): unknown => JSON.parse(text.slice(1)),
    };
    const pubsub = open(client, { serializer });
    const events = await pubsub.subscribe("a", "1");
    await expect(pubsub.publish("a", "1", "no")).rejects.toMatchObject({ code: "PAYLOAD" });
    await pubsub.publish("a", "1", "yes");
    expect((await events.next()).value?.payload).toBe("yes");
  });

  test("a client that another target subscribes with is refused, until that one is closed", async () => {
    const [publisher, subscriber] = [connect(client), connect(client)];
    const make = (): PubSub =>
      createPubSub({
        eventTarget: createRedisEventTarget({ publishClient: publisher.client, subscribeClient: subscriber.client }),
      });
    const first = createRedisEventTarget({ publishClient: publisher.client, subscribeClient: subscriber.client });
    await createPubSub({ eventTarget: first }).subscribe("a");
    await expect(make().subscribe("a")).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await first.close();
    await make().subscribe("a");
  });

  test("GraphQL Yoga's subscriptions work over it, with payloadTarget, between two connections", async () => {
    const yoga = (): ReturnType<typeof createYogaPubSub<{ message: [string, { text: string }] }>> =>
      createYogaPubSub({ eventTarget: payloadTarget(openTarget(client)) });
    const messages = yoga().subscribe("message", "1");
    const first = messages.next();
    await until(async () => (await redisSubscriptions(server)) === 1);
    yoga().publish("message", "1", { text: "hello" });
    expect((await first).value).toEqual({ text: "hello" });
    await messages.return();
    await until(async () => (await redisSubscriptions(server)) === 0);
  });
});

test("the seed's defect: ioredis that does not subscribe again stays silent; here its subscriptions go on", async () => {
  const options = { port: server.port, host: "127.0.0.1", autoResubscribe: false, retryStrategy: () => 5 };
  const [publishClient, subscribeClient, bare] = [1, 2, 3].map(() => new Redis(options)) as [Redis, Redis, Redis];
  for (const client of [publishClient, subscribeClient, bare]) opened.add(() => client.disconnect());
  const target = createRedisEventTarget({ publishClient, subscribeClient });
  opened.add(() => target.close());
  const pubsub = createPubSub({ eventTarget: target });
  let silent = true;
  bare.on("message", () => (silent = false));
  await bare.subscribe("alk:events:a:1");
  const events = await pubsub.subscribe("a", "1", { onGap: "ignore" });
  const interrupted = reached(target, "interrupted");
  const back = new Promise((resolve) => bare.once("ready", resolve));
  await askRedis(server, "CLIENT KILL TYPE pubsub");
  await interrupted;
  await back;
  await reached(target, "ready");
  await pubsub.publish("a", "1", "after");
  expect((await events.next()).value?.payload).toBe("after");
  await bare.ping();
  expect(silent).toBe(true);
});

test("ioredis by itself sends an unanswered PUBLISH again, so that it comes twice (the control)", async () => {
  const reader = raw();
  const seen: string[] = [];
  reader.on("message", (_, text) => seen.push(text));
  await reader.subscribe("bare");
  const proxy = await openProxy();
  const publisher = raw(proxy.port);
  await publisher.publish("bare", "first");
  proxy.freeze("toClient");
  const published = publisher.publish("bare", "second");
  await until(() => seen.length === 2);
  proxy.cut();
  proxy.thaw();
  proxy.cut();
  await published;
  await until(() => seen.length === 3);
  expect(seen).toEqual(["first", "second", "second"]);
});

test("clients that nobody has connected are connected", async () => {
  const lazy = { port: server.port, host: "127.0.0.1", lazyConnect: true };
  const node = createClient({ socket: { port: server.port, host: "127.0.0.1" } });
  const ioredis = new Redis(lazy);
  const target = createRedisEventTarget({ publishClient: ioredis, subscribeClient: node });
  const pubsub = createPubSub({ eventTarget: target });
  const events = await pubsub.subscribe("a", "1");
  await pubsub.publish("a", "1", "of two kinds");
  expect((await events.next()).value?.payload).toBe("of two kinds");
  await target.close();
  ioredis.disconnect();
  node.destroy();
});

test.each<[string, (port: number) => IoRedisClient | NodeRedisClient]>([
  ["ioredis", (port) => new Redis({ port, host: "127.0.0.1", lazyConnect: true, retryStrategy: () => 5 })],
  ["node-redis", (port) => createClient({ socket: { port, host: "127.0.0.1", reconnectStrategy: 5 } })],
])("a connection of %s that did not come about in time is tried anew by the next use", async (_, make) => {
  const connections = async (): Promise<number> =>
    Number((await askRedis(server, "CLIENT LIST")).match(/ psub=/g)?.length);
  const before = await connections();
  const proxy = await openProxy();
  proxy.refusing = true;
  const [publishClient, subscribeClient] = [make(proxy.port), make(proxy.port)];
  const target = createRedisEventTarget({ publishClient, subscribeClient, connectTimeout: 100 });
  const pubsub = createPubSub({ eventTarget: target });
  await expect(pubsub.subscribe("a", "1")).rejects.toMatchObject({ code: "NOT_READY" });
  proxy.refusing = false;
  const events = await untilSubscribed(pubsub);
  await pubsub.publish("a", "1", "at last");
  expect((await events.next()).value?.payload).toBe("at last");
  await target.close();
  for (const client of [publishClient, subscribeClient])
    if ("isReady" in client) client.destroy();
    else client.disconnect();
  // Each had one connection, and no other.
  await until(async () => (await connections()) <= before);
});

async function untilSubscribed(pubsub: PubSub): Promise<Subscription> {
  for (;;)
    try {
      return await pubsub.subscribe("a", "1");
    } catch (error) {
      expect(error).toMatchObject({ code: "NOT_READY" });
    }
}

test.each([Redis, IoRedis6 as unknown as typeof Redis])(
  "an ioredis client that is closed while it waits to connect again, which it tells nobody, ends the target (%#)",
  async (IoRedis) => {
    const own = await startServer("redis");
    opened.add(() => own.end());
    const client = (): Redis => {
      const made = new IoRedis({ port: own.port, host: "127.0.0.1", retryStrategy: () => 60_000 });
      made.on("error", () => undefined);
      opened.add(() => made.disconnect());
      return made;
    };
    const [publishClient, subscribeClient] = [client(), client()];
    const target = createRedisEventTarget({ publishClient, subscribeClient, heartbeat: 1000 });
    opened.add(() => target.close());
    const events = await createPubSub({ eventTarget: target, onGap: "ignore" }).subscribe("a");
    await own.kill();
    await reached(target, "interrupted");
    await until(() => subscribeClient.status === "reconnecting");
    subscribeClient.disconnect();
    await reached(target, "closed");
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
  },
);

test("a closed ioredis client is told of at the first use", async () => {
  const closed = raw();
  await closed.ping();
  closed.disconnect();
  await until(() => closed.status === "end");
  const target = createRedisEventTarget({ publishClient: closed, subscribeClient: raw() });
  await expect(createPubSub({ eventTarget: target }).subscribe("a")).rejects.toMatchObject({ code: "NOT_READY" });
});

test.each([undefined, null, {}, "redis://localhost", { status: 1 }])("%j is no client", (subscribeClient) => {
  expect(() => createRedisEventTarget({ publishClient: raw(), subscribeClient: subscribeClient as never })).toThrow(
    expect.objectContaining({ code: "INVALID_OPTION" }) as Error,
  );
});

test("sharded channels need clients of a cluster", () => {
  expect(() => createRedisEventTarget({ publishClient: raw(), subscribeClient: raw(), sharded: true })).toThrow(
    expect.objectContaining({ code: "INVALID_OPTION" }) as Error,
  );
});

test("batch with a serializer of one's own is an INVALID_OPTION, and so is a heartbeat that is no time", () => {
  const args = { publishClient: raw(), subscribeClient: raw() };
  const serializer = { stringify: String, parse: String };
  for (const more of [{ batch: true, serializer }, { heartbeat: -1 }, { heartbeat: "1" as never }])
    expect(() => createRedisEventTarget({ ...args, ...more })).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }) as Error,
    );
});

test("our createPubSub works over Yoga's own Redis target", async () => {
  const eventTarget = createYogaTarget({ publishClient: raw(), subscribeClient: raw() });
  const far = createPubSub({ eventTarget: createYogaTarget({ publishClient: raw(), subscribeClient: raw() }) });
  const events = await createPubSub({ eventTarget }).subscribe("message", "1");
  // Its subscribe is not acknowledged.
  await until(async () => (await redisSubscriptions(server)) === 1);
  await far.publish("message", "1", { text: "hello" });
  expect((await events.next()).value).toMatchObject({ type: "message", id: "1", payload: { text: "hello" } });
  await events.return();
});
