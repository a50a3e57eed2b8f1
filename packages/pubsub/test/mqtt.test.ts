// What is peculiar to MQTT and to its client; the rest is in the suite.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPubSub } from "@alkdev/pubsub";
import type { Gap, PubSub, Subscription } from "@alkdev/pubsub";
import { createMqttEventTarget } from "@alkdev/pubsub/event-target-mqtt";
import type { CreateMqttEventTargetArgs, MqttClient as OurMqttClient } from "@alkdev/pubsub/event-target-mqtt";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import * as fc from "fast-check";
import type { IClientOptions, MqttClient } from "mqtt";
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { topicFilterOf, topicOf } from "../src/event-targets/mqtt-topics.ts";
import { matchesFilter } from "../src/topic.ts";
import { Opened } from "./fixtures/conformance.ts";
import { connectMqtt, isConnected, mqttSubscriptions, openMqtt, startMqtt } from "./fixtures/mqtt.ts";
import { startProxy } from "./fixtures/proxy.ts";
import type { Proxy } from "./fixtures/proxy.ts";
import { reached } from "./fixtures/reached.ts";
import { refusalWithout } from "./fixtures/secrets.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startMqtt()));
afterAll(() => server.end());

type Args = Omit<CreateMqttEventTargetArgs, "client">;

const ignore = (): void => undefined;
const VERSIONS = [5, 4] as const;
const outcome = (publishing: Promise<void>): Promise<string> =>
  publishing.then(
    () => "done",
    (error: { code: string }) => error.code,
  );

/** A client of the test's own, connected. */
async function connected(port: number = server.port, options?: IClientOptions): Promise<MqttClient> {
  const client = connectMqtt(port, options);
  opened.add(() => void client.end(true));
  await isConnected(client);
  return client;
}

function openTarget(args: Args = {}, options: IClientOptions = {}, port: number = server.port): AlkEventTarget {
  return openMqtt(opened, port, { onError: ignore, ...args }, { protocolVersion: 5, ...options }).target;
}

const open = (args?: Args, options?: IClientOptions, port?: number): PubSub =>
  createPubSub({ eventTarget: openTarget(args, options, port) });

async function startOwn(...lines: string[]): Promise<Server> {
  const own = await startMqtt(lines);
  opened.add(() => own.end());
  return own;
}

async function openProxy(port: number = server.port): Promise<Proxy> {
  const proxy = await startProxy(port);
  opened.add(() => proxy.close());
  return proxy;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function take(events: Subscription, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  while (taken.length < count) taken.push((await events.next()).value?.payload);
  return taken;
}

/** The listeners of a client, by event. */
function listenersOf(client: MqttClient): Record<string, number> {
  const emitter = client as unknown as { eventNames(): string[]; listenerCount(name: string): number };
  return Object.fromEntries(emitter.eventNames().map((name) => [name, emitter.listenerCount(name)]));
}

/** Whether a topic filter of MQTT matches a topic, by its rules. */
function mqttMatches(filter: string, topic: string): boolean {
  const [wanted, levels] = [filter.split("/"), topic.split("/")];
  for (const [i, level] of wanted.entries()) {
    if (level === "#") return levels.length >= i;
    if (i >= levels.length || (level !== "+" && level !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}

test("a client of mqtt's is one of ours by its type", () => {
  expectTypeOf<MqttClient>().toExtend<OurMqttClient>();
});

describe("topics", () => {
  const token = fc.oneof(
    fc.constantFrom("a", "b", "é", "+", "#", "/", "%", "%41", "A", "_", "-"),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 }).map((text) => text.replace(/[.:*\s$]/g, "x")),
  );
  const type = fc.array(token, { minLength: 1, maxLength: 3 }).map((tokens) => tokens.join("."));
  const id = fc.oneof(
    fc.constantFrom("", "%", "*", "+", "#", "/", "a/b", "$SYS", " ", "\0", "\ud800", "a"),
    fc.string({ unit: "binary", maxLength: 4 }),
  );
  const pattern = fc
    .array(fc.oneof(token, fc.constant("*")), { maxLength: 3 })
    .chain((tokens) =>
      fc.boolean().map((wide) => (wide || tokens.length === 0 ? [...tokens, "**"] : tokens).join(".")),
    );

  test("of any type and id are levels that MQTT takes, and no two share one", () => {
    fc.assert(
      fc.property(type, id, type, id, (one, oneId, other, otherId) => {
        const topic = topicOf("p/q", one, oneId);
        expect(topic).toMatch(/^p\/q(\/[\w%-]+)+$/);
        if (one !== other || oneId !== otherId) expect(topicOf("p/q", other, otherId)).not.toBe(topic);
      }),
      { numRuns: 2000 },
    );
  });

  test("of a filter match what the filter does, and nothing else", () => {
    fc.assert(
      fc.property(
        fc.oneof(pattern, type),
        fc.option(id, { nil: undefined }),
        type,
        id,
        (wanted, wantedId, one, oneId) => {
          const filter = { type: wanted, id: wantedId };
          expect(mqttMatches(topicFilterOf("p/q", filter), topicOf("p/q", one, oneId))).toBe(
            matchesFilter(filter, { type: one, id: oneId, payload: null }),
          );
        },
      ),
      { numRuns: 5000 },
    );
  });

  test("have each event as its envelope, as JSON, and can be written by hand: prefix, id, type", async () => {
    const raw = await connected();
    const seen: unknown[] = [];
    raw.on("message", (topic, payload) => seen.push([topic, JSON.parse(payload.toString())]));
    await raw.subscribeAsync("alk/events/#", { qos: 1 });
    const pubsub = open();
    const events = await pubsub.subscribe("session.status");
    await pubsub.publish("session.status", "a/b", 1);
    await raw.publishAsync("alk/events/%/session/status", '{"type":"session.status","id":"","payload":2,"more":true}');
    expect((await events.next()).value).toMatchObject({ id: "a/b", payload: 1 });
    expect((await events.next()).value).toEqual({ type: "session.status", id: "", payload: 2, more: true });
    await until(() => seen.length === 2);
    const meta = { origin: expect.stringMatching(/^[0-9a-f]{32}$/) as string };
    expect(seen[0]).toEqual([
      "alk/events/a%2Fb/session/status",
      { type: "session.status", id: "a/b", payload: 1, meta },
    ]);
  });

  test.each(VERSIONS)(
    "with another prefix are another bus over the same client, also by its side (version %i)",
    async (protocolVersion) => {
      const client = await connected(server.port, { protocolVersion });
      const over = (prefix: string): PubSub => {
        const target = createMqttEventTarget({ client, prefix });
        opened.add(() => target.close());
        return createPubSub({ eventTarget: target });
      };
      const [one, other] = [over("one"), over("other/bus")];
      const events = [await one.subscribe("**"), await other.subscribe("**")] as const;
      // What its owner subscribes to is none of ours.
      await client.subscribeAsync("#", { qos: 1 });
      await one.publish("a", "", 1);
      await other.publish("a", "", 2);
      await one.publish("a", "", 3);
      expect(await take(events[0], 2)).toEqual([1, 3]);
      expect(await take(events[1], 1)).toEqual([2]);
      expect(events.map(({ received }) => received)).toEqual([2, 1]);
    },
  );

  test.each(["", "/", "a/", "/a", "a//b", "a/+", "#", "$SYS", "a\0", "x".repeat(1025), 7])(
    "cannot begin with %j",
    async (prefix) => {
      const client = await connected();
      expect(() => createMqttEventTarget({ client, prefix: prefix as string })).toThrow(
        expect.objectContaining({ code: "INVALID_OPTION" }) as Error,
      );
    },
  );

  test("may have garbage of others: it goes to onError, and the next event comes", async () => {
    const errors: { code: string }[] = [];
    const pubsub = open({ onError: (error) => errors.push(error as { code: string }) });
    const [events, raw] = [await pubsub.subscribe("garbage", "x"), await connected()];
    for (const text of ["", "{", "[]", '{"type":7}', Buffer.from([255, 254])])
      await raw.publishAsync("alk/events/x/garbage", text, { qos: 1 });
    await pubsub.publish("garbage", "x", 1);
    expect(await take(events, 1)).toEqual([1]);
    expect(errors.map(({ code }) => code)).toEqual(Array.from({ length: 5 }, () => "MALFORMED"));
  });
});

describe("filters that overlap", () => {
  test.each([
    [5, 3],
    [4, 1],
  ] as const)("in version %i the broker sends an event %i times for three (a control)", async (version, copies) => {
    const raw = await connected(server.port, { protocolVersion: version });
    const seen: string[] = [];
    raw.on("message", (_, payload) => seen.push(payload.toString()));
    for (const topic of ["over/lap/1", "over/+/1", "over/#"]) await raw.subscribeAsync(topic, { qos: 1 });
    await raw.publishAsync("over/lap/1", "event", { qos: 1 });
    await raw.publishAsync("over", "last", { qos: 1 });
    await until(() => seen.includes("last"));
    expect(seen).toEqual([...Array.from({ length: copies }, () => "event"), "last"]);
  });

  test("and groups beside them: each gets what it should, once", async () => {
    const pubsub = open();
    const all = await Promise.all([
      pubsub.subscribe("a.b", "1"),
      pubsub.subscribe("a.**"),
      pubsub.subscribe("a.*", "1", { group: "g" }),
      pubsub.subscribe("a.*", "1", { group: "other" }),
      open().subscribe("a.*", "1", { group: "g" }),
    ]);
    for (let i = 0; i < 20; i++) await pubsub.publish("a.b", "1", i);
    const [exact, wide, member, alone, far] = all;
    for (const events of [exact, wide, alone]) expect(await take(events, 20)).toEqual([...Array(20).keys()]);
    await until(() => member.received + far.received === 20);
    expect(far.received).toBe(10);
  });
});

describe("retained messages", () => {
  const OLD = '{"type":"kept","id":"x","payload":"old"}';

  test.each(VERSIONS)("are not delivered; where they come, one is reported (version %i)", async (protocolVersion) => {
    const own = await startOwn();
    const raw = await connected(own.port);
    for (const level of ["kept", "kept/more"])
      await raw.publishAsync(`alk/events/x/${level}`, OLD, { qos: 1, retain: true });
    const errors: Error[] = [];
    const onError = (error: unknown): unknown => errors.push(error as Error);
    const pubsub = open({ onError }, { protocolVersion }, own.port);
    const events = await pubsub.subscribe("kept.**");
    await pubsub.publish("kept", "x", "new");
    expect(await take(events, 1)).toEqual(["new"]);
    const told = errors.map(({ message }) => message);
    expect(told).toEqual(protocolVersion === 5 ? [] : [expect.stringMatching(/alk\/events\/x\/kept.*old state/)]);
  });

  test.each(VERSIONS)("are marked where they are wanted (version %i)", async (protocolVersion) => {
    const own = await startOwn();
    await (await connected(own.port)).publishAsync("alk/events/x/kept", OLD, { qos: 1, retain: true });
    const pubsub = open({ retained: "mark" }, { protocolVersion }, own.port);
    const events = await pubsub.subscribe("kept", "x");
    expect((await events.next()).value).toMatchObject({ payload: "old", meta: { retained: true } });
    await pubsub.publish("kept", "x", "new");
    expect((await events.next()).value?.meta).toEqual({ origin: expect.any(String) as string });
  });
});

describe("what is published", () => {
  test.each([0, 1, 2] as const)("with QoS %i comes in order, many at once", async (qos) => {
    const pubsub = open({ qos });
    const events = await pubsub.subscribe("order");
    await Promise.all(Array.from({ length: 3000 }, (_, i) => pubsub.publish("order", `${i % 7}`, i)));
    expect(await take(events, 3000)).toEqual(Array.from({ length: 3000 }, (_, i) => i));
  });

  test("with QoS 0 waits where the system takes no more", async () => {
    const way = await openProxy();
    const pubsub = open({ qos: 0, heartbeat: 0 }, {}, way.port);
    await pubsub.publish("other", "", 0);
    way.freeze("toServer");
    const events = await open({ qos: 0 }).subscribe("much");
    const text = "x".repeat(500_000);
    const done: number[] = [];
    const all = Array.from({ length: 60 }, async (_, i) => {
      await pubsub.publish("much", "", `${i}${text}`);
      done.push(i);
    });
    way.thaw();
    await Promise.all(all);
    expect(done).toHaveLength(60);
    for (let i = 0; i < 60; i++) expect(await take(events, 1)).toEqual([`${i}${text}`]);
  });

  test("has no more under way than the broker bears, and comes all the same", async () => {
    const own = await startOwn("max_inflight_messages 3", "max_queued_messages 0");
    const { target, client } = openMqtt(opened, own.port, {}, { protocolVersion: 5 });
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a");
    let [under, most] = [0, 0];
    client.on("packetsend", ({ cmd }) => cmd === "publish" && (most = Math.max(most, ++under)));
    client.on("packetreceive", ({ cmd }) => cmd === "puback" && under--);
    await Promise.all(Array.from({ length: 100 }, (_, i) => pubsub.publish("a", "", i)));
    expect(await take(events, 100)).toEqual([...Array(100).keys()]);
    expect(most).toBe(3);
  });

  test("and has no answer when the connection is cut comes once, and its publish rejects with INTERRUPTED", async () => {
    const way = await openProxy();
    const raw = await connected();
    const seen: unknown[] = [];
    raw.on("message", (_, payload) => seen.push((JSON.parse(payload.toString()) as { payload: unknown }).payload));
    await raw.subscribeAsync("alk/events/+/cut", { qos: 1 });
    const target = openTarget({}, {}, way.port);
    const pubsub = createPubSub({ eventTarget: target });
    await pubsub.publish("cut", "", "first");
    way.freeze("toClient");
    const published = outcome(pubsub.publish("cut", "", "second"));
    await until(() => seen.length === 2);
    way.cut();
    expect(await published).toBe("INTERRUPTED");
    way.thaw();
    way.cut();
    await reached(target, "ready");
    await pubsub.publish("cut", "", "third");
    await until(() => seen.includes("third"));
    expect(seen).toEqual(["first", "second", "third"]);
  });

  test("by a bare client is sent again after a cut, so that it comes twice (the client's way, a control)", async () => {
    const way = await openProxy();
    const raw = await connected();
    const seen: string[] = [];
    raw.on("message", (_, payload) => seen.push(payload.toString()));
    await raw.subscribeAsync("bare", { qos: 1 });
    const bare = await connected(way.port);
    way.freeze("toClient");
    const published = bare.publishAsync("bare", "event", { qos: 1 });
    await until(() => seen.length === 1);
    way.cut();
    way.thaw();
    way.cut();
    await published;
    await until(() => seen.length === 2);
    expect(seen).toEqual(["event", "event"]);
  });

  test("over what the broker takes is a PAYLOAD error with both sizes, and takes no other with it", async () => {
    const own = await startOwn("max_packet_size 3000");
    const target = openTarget({}, {}, own.port);
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a");
    const { maxPayload = 0 } = target.supports;
    const around = JSON.stringify({ type: "a", id: "", payload: "", meta: { origin: "0".repeat(32) } }).length;
    const texts = ["x".repeat(maxPayload - around), "ü".repeat(1500), "small"];
    const outcomes = await Promise.all(texts.map((text) => outcome(pubsub.publish("a", "", text))));
    expect(outcomes).toEqual(["done", "PAYLOAD", "done"]);
    expect(await take(events, 2)).toEqual([texts[0], "small"]);
    await expect(pubsub.publish("a", "", texts[1])).rejects.toThrow(/has 3\d\d\d bytes.* 3000/);
  });

  test("with more QoS than the broker has is REFUSED", async () => {
    const own = await startOwn("max_qos 0");
    await expect(open({ qos: 1 }, {}, own.port).publish("a", "", 1)).rejects.toMatchObject({ code: "REFUSED" });
    const pubsub = open({ qos: 0 }, {}, own.port);
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", 1);
    expect(await take(events, 1)).toEqual([1]);
  });
});

describe("a subscriber that is slow", () => {
  const COUNT = 3000;

  /** Publishes while the subscriber does not read; gives what it gets, and how many were published up to the last of these. */
  async function slowed(
    sequence: boolean,
  ): Promise<{ readonly payloads: unknown[]; readonly published: number; readonly gaps: Gap[] }> {
    const own = await startOwn("max_queued_messages 50");
    const way = await openProxy(own.port);
    const gaps: Gap[] = [];
    const near = createPubSub({
      eventTarget: openTarget({ heartbeat: 0 }, {}, way.port),
      sequence,
      onGap: (gap) => gaps.push(gap),
    });
    const far = createPubSub({ eventTarget: openTarget({}, {}, own.port), sequence });
    const events = await near.subscribe("much");
    await far.publish("much", "", "first");
    way.freeze("toServer");
    await Promise.all(Array.from({ length: COUNT }, (_, i) => far.publish("much", "", i)));
    way.thaw();
    const payloads = await take(events, 1);
    let published = 1 + COUNT;
    // Of those that come after all others some may be missing, too.
    while (!String(payloads.at(-1)).startsWith("last")) {
      // What is queued is delivered first.
      if (events.received === payloads.length) await far.publish("much", "", `last ${++published}`);
      payloads.push(...(await take(events, 1)));
    }
    return { payloads, published: Number(String(payloads.at(-1)).slice(5)), gaps };
  }

  test("loses events, and nobody says so (the broker's way, a control)", async () => {
    const { payloads, gaps } = await slowed(false);
    expect(payloads.length).toBeLessThan(COUNT);
    expect(gaps).toEqual([]);
  });

  test("with sequence: true finds each that is missing", async () => {
    const { payloads, published, gaps } = await slowed(true);
    expect(payloads.length).toBeLessThan(COUNT);
    expect(gaps.reduce((sum, { lost }) => sum + Number(lost), 0)).toBe(published - payloads.length);
  });
});

describe("what is not allowed", () => {
  /** A broker that denies both for one type. */
  async function guarded(): Promise<Server> {
    const folder = mkdtempSync(join(tmpdir(), "mqtt-"));
    opened.add(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "security.json");
    const acls = ["publishClientSend", "subscribePattern"].map((acltype) => ({
      acltype,
      topic: "alk/events/+/secret",
      priority: 1,
      allow: false,
    }));
    writeFileSync(
      file,
      JSON.stringify({
        defaultACLAccess: { publishClientSend: true, publishClientReceive: true, subscribe: true, unsubscribe: true },
        roles: [{ rolename: "guest", acls }],
        groups: [{ groupname: "guests", roles: [{ rolename: "guest" }] }],
        anonymousGroup: "guests",
      }),
      { mode: 0o666 },
    );
    return startOwn("plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so", `plugin_opt_config_file ${file}`);
  }

  test.each(VERSIONS)("to subscribe is REFUSED, that alone (version %i)", async (protocolVersion) => {
    const own = await guarded();
    const pubsub = open({}, { protocolVersion }, own.port);
    const all = await Promise.allSettled(["secret", "open", "secret"].map((type) => pubsub.subscribe(type)));
    expect(all.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    expect(all[0]).toMatchObject({ reason: { code: "REFUSED" } });
    await expect(pubsub.subscribe("secret")).rejects.toMatchObject({ code: "REFUSED" });
    await until(() => mqttSubscriptions(own) === 1);
  });

  test("to publish is REFUSED in version 5; in 3.1.1 the broker says yes, and delivers nothing (a control)", async () => {
    const own = await guarded();
    const [five, four] = [open({}, {}, own.port), open({}, { protocolVersion: 4 }, own.port)];
    const events = await five.subscribe("**");
    const outcomes = await Promise.all(["secret", "open"].map((type) => outcome(five.publish(type, "", 5))));
    expect(outcomes).toEqual(["REFUSED", "done"]);
    expect(await outcome(four.publish("secret", "", 4))).toBe("done");
    await four.publish("open", "", 4);
    expect(await take(events, 2)).toEqual([5, 4]);
  });

  test.each(VERSIONS)("to connect is REFUSED at once, without the password (version %i)", async (protocolVersion) => {
    const own = await startOwn("allow_anonymous false");
    for (const reconnectOnConnackError of [true, false]) {
      const pubsub = open(
        {},
        { protocolVersion, reconnectOnConnackError, username: "me", password: "hunter2" },
        own.port,
      );
      const refused = { code: "REFUSED", message: expect.stringMatching(/Not authorized/) as string };
      expect(await refusalWithout("hunter2", pubsub.subscribe("a"))).toMatchObject(refused);
    }
  });
});

describe("the client", () => {
  test.each(VERSIONS)(
    "is its owner's: closing the target leaves nothing, and it works on (version %i)",
    async (protocolVersion) => {
      const own = await startOwn();
      const client = await connected(own.port, { protocolVersion });
      const before = listenersOf(client);
      const target = createMqttEventTarget({ client });
      const pubsub = createPubSub({ eventTarget: target });
      for (let i = 0; i < 50; i++) await pubsub.subscribe("a.**", String(i));
      await until(() => mqttSubscriptions(own) === 50);
      await target.close();
      await until(() => mqttSubscriptions(own) === 0);
      expect(listenersOf(client)).toEqual(before);
      expect(Object.keys(client.outgoing)).toEqual([]);
      const again = createMqttEventTarget({ client });
      opened.add(() => again.close());
      const events = await createPubSub({ eventTarget: again }).subscribe("a");
      await createPubSub({ eventTarget: again }).publish("a", "", 1);
      expect(await take(events, 1)).toEqual([1]);
    },
  );

  test.each([true, false])(
    "that is away when the target closes leaves nothing (resubscribe: %j)",
    async (resubscribe) => {
      const own = await startOwn();
      const way = await openProxy(own.port);
      const client = await connected(way.port, { resubscribe });
      const target = createMqttEventTarget({ client });
      const pubsub = createPubSub({ eventTarget: target, onGap: "ignore" });
      await Promise.all([pubsub.subscribe("a.*"), pubsub.subscribe("b", "1")]);
      way.refusing = true;
      way.cut();
      await reached(target, "interrupted");
      await target.close();
      way.refusing = false;
      await isConnected(client);
      await client.subscribeAsync("own", { qos: 1 });
      await until(() => mqttSubscriptions(own) === 1);
    },
  );

  test("that another target has, with the same prefix, is refused until that one is closed", async () => {
    const client = await connected();
    const first = createMqttEventTarget({ client });
    await createPubSub({ eventTarget: first }).subscribe("a");
    const second = createPubSub({ eventTarget: createMqttEventTarget({ client }) });
    await expect(second.subscribe("a")).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await first.close();
    await (await second.subscribe("a")).return();
  });

  test("that was closed is NOT_READY at first, and DISCONNECTED later", async () => {
    const client = await connected();
    const pubsub = createPubSub({ eventTarget: createMqttEventTarget({ client }), onGap: "ignore" });
    const events = await pubsub.subscribe("a");
    await client.endAsync(true);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    const late = createPubSub({ eventTarget: createMqttEventTarget({ client }) });
    await expect(late.subscribe("a")).rejects.toMatchObject({ code: "NOT_READY" });
  });

  test.each([
    ["never connects again", { reconnectPeriod: 0 }],
    ["stops where it is refused", { reconnectOnConnackError: false }],
  ])("that %s ends its target with DISCONNECTED, which says how to go on", async (_, options) => {
    const own = await startOwn();
    const target = openTarget({}, options, own.port);
    const events = await createPubSub({ eventTarget: target, onGap: "ignore" }).subscribe("a");
    await own.kill();
    writeFileSync(join(own.folder, "conf"), `listener ${own.port} 127.0.0.1\nuser root\nallow_anonymous false\n`);
    await own.start();
    await expect(events.next()).rejects.toMatchObject({
      code: "DISCONNECTED",
      message: expect.stringContaining("reconnectOnConnackError") as string,
    });
  });

  test("that nobody has connected is connected", async () => {
    const pubsub = open({}, { manualConnect: true });
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", 1);
    expect(await take(events, 1)).toEqual([1]);
  });

  test("that is not there yet is waited for, and a restart is a gap", async () => {
    const own = await startOwn();
    await own.kill();
    const target = openTarget({}, {}, own.port);
    const gaps: Gap[] = [];
    const pubsub = createPubSub({ eventTarget: target, onGap: (gap) => gaps.push(gap) });
    const subscribing = pubsub.subscribe("a");
    await own.start();
    const events = await subscribing;
    await own.kill();
    await reached(target, "interrupted");
    expect(await outcome(pubsub.publish("a", "", "lost"))).toBe("INTERRUPTED");
    await own.start();
    await reached(target, "ready");
    await pubsub.publish("a", "", "after");
    expect(await take(events, 1)).toEqual(["after"]);
    expect(gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
  });

  test("of a broker that stands still is given up for another connection, and comes back", async () => {
    const own = await startOwn();
    const target = openTarget({ heartbeat: 1000 }, {}, own.port);
    const pubsub = createPubSub({ eventTarget: target, onGap: "ignore" });
    const events = await pubsub.subscribe("a");
    own.freeze();
    const published = outcome(pubsub.publish("b", "", 1));
    await reached(target, "interrupted");
    expect(await published).toBe("INTERRUPTED");
    own.thaw();
    await reached(target, "ready");
    await pubsub.publish("a", "", 1);
    expect(await take(events, 1)).toEqual([1]);
  });

  test("whose greeting nobody answers tries again soon", async () => {
    const way = await openProxy();
    way.freeze();
    const subscribing = open({ heartbeat: 100, connectTimeout: 60_000 }, {}, way.port).subscribe("a");
    await until(() => way.accepted >= 2);
    way.thaw();
    await subscribing;
  });

  test("whose path carries events and no answers is given up", async () => {
    const way = await openProxy();
    const target = openTarget({ heartbeat: 500 }, {}, way.port);
    const far = open();
    let came = 0;
    await createPubSub({ eventTarget: target, onGap: "ignore" }).on("a", () => void came++);
    // Connected before the time begins to run.
    await far.publish("b", "", 0);
    way.freeze("toServer");
    while (target.status !== "interrupted") await far.publish("a", "", 1);
    expect(came).toBeGreaterThan(0);
    way.thaw();
    await reached(target, "ready");
  });

  test("that the broker throws out says why, where the broker does", async () => {
    const own = await startOwn("max_packet_size 1000");
    const { target, client } = openMqtt(
      opened,
      own.port,
      { subscribeTimeout: 2000 },
      { protocolVersion: 5, reconnectPeriod: 60_000 },
    );
    const pubsub = createPubSub({ eventTarget: target, onGap: "ignore" });
    await pubsub.subscribe("a");
    // The beginning of a message that is too large. With all of it, what the broker has not read would cut off its last words.
    client.stream.write(Buffer.from([0x30, 0xff, 0x7f]));
    await reached(target, "interrupted");
    await expect(pubsub.subscribe("b")).rejects.toThrow(/the broker ended the connection \(MQTT's reason 149\)/);
  });
});

test("a serializer of one's own is used both ways, and its failure is a PAYLOAD error", async () => {
  const serializer = {
    stringify: (envelope: unknown): string => `!${JSON.stringify(envelope)}`,
    parse: (text: string): unknown => JSON.parse(text.slice(1)),
  };
  const pubsub = open({ serializer });
  const events = await pubsub.subscribe("own");
  await expect(pubsub.publish("own", "", 1n)).rejects.toMatchObject({ code: "PAYLOAD" });
  await pubsub.publish("own", "", 1);
  expect(await take(events, 1)).toEqual([1]);
});

test.each<[string, object, object]>([
  ["no client", { client: undefined }, {}],
  ["a URL for a client", { client: "mqtt://localhost" }, {}],
  ["a client with a session that lasts", {}, { clean: false, clientId: "lasting" }],
  ["a QoS that there is not", { qos: 3 }, {}],
  ["what is unknown to do with retained messages", { retained: "keep" }, {}],
  ["a heartbeat that is no time", { heartbeat: -1 }, {}],
])("%s is an INVALID_OPTION", (_, args, options) => {
  const client = connectMqtt(server.port, { manualConnect: true, ...options });
  expect(() => createMqttEventTarget({ client, ...args })).toThrow(
    expect.objectContaining({ code: "INVALID_OPTION" }) as Error,
  );
});
