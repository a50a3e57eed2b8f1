// What is peculiar to AMQP, RabbitMQ and amqplib; the rest is in the suite.
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import amqplib from "amqplib";
import type { Channel, ChannelModel, ConfirmChannel } from "amqplib";
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap, PubSub, PubSubError } from "@alkdev/pubsub";
import { createAmqpEventTarget } from "@alkdev/pubsub/event-target-amqp";
import type { AmqpConnection, CreateAmqpEventTargetArgs } from "@alkdev/pubsub/event-target-amqp";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, onTestFinished, test } from "vitest";
import { bindingKeysOf, groupQueueOf, keyOf } from "../src/event-targets/amqp-keys.ts";
import { matchesFilter } from "../src/topic.ts";
import { bindingsOf, heldBy, newExchange, openAmqp } from "./fixtures/amqp.ts";
import { Opened } from "./fixtures/conformance.ts";
import { startProxy } from "./fixtures/proxy.ts";
import type { Proxy } from "./fixtures/proxy.ts";
import { reached } from "./fixtures/reached.ts";
import { refusalWithout } from "./fixtures/secrets.ts";
import { askRabbit, startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startServer("rabbitmq")));
afterAll(() => server.end());

const ignore = (): void => undefined;

type Args = Omit<CreateAmqpEventTargetArgs, "url" | "connect">;

function open(args: Args, port: number = server.port): [PubSub, AlkEventTarget] {
  const target = openAmqp(opened, port, args);
  return [createPubSub({ eventTarget: target, onError: ignore }), target];
}

/** A target over connections that a test makes. */
function over(connect: () => Promise<AmqpConnection>, args: Args = {}): [PubSub, AlkEventTarget] {
  const target = createAmqpEventTarget({ connect, exchange: newExchange(), backoff: { min: 5, max: 50 }, ...args });
  opened.add(() => target.close());
  return [createPubSub({ eventTarget: target, onError: ignore }), target];
}

async function connect(user = "guest:guest"): Promise<ChannelModel> {
  const connection = await amqplib.connect(`amqp://${user}@127.0.0.1:${server.port}`);
  connection.on("error", ignore);
  opened.add(() => connection.close().catch(ignore));
  return connection;
}

/** What connects to this port, and the sockets of its connections. */
function watched(
  port: number,
  made: (connection: ChannelModel) => void = () => undefined,
): [() => Promise<AmqpConnection>, { readonly destroyed: boolean }[]] {
  const sockets: { readonly destroyed: boolean }[] = [];
  const connect = async (): Promise<AmqpConnection> => {
    const connection = await amqplib.connect(`amqp://127.0.0.1:${port}`);
    made(connection);
    sockets.push((connection.connection as unknown as { readonly stream: { readonly destroyed: boolean } }).stream);
    return connection;
  };
  return [connect, sockets];
}

async function rawChannel(): Promise<Channel> {
  return (await connect()).createChannel();
}

async function proxied(): Promise<Proxy> {
  const proxy = await startProxy(server.port);
  opened.add(() => proxy.close());
  return proxy;
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A user who may do what these say of the names of exchanges and queues: configure, write, read. */
async function userMay(name: string, ...permissions: readonly [string, string, string]): Promise<string> {
  const binary = (text: string): string => `<<"${text}">>`;
  const args = [name, "/", ...permissions, "test"].map(binary).join(", ");
  await askRabbit(
    server,
    `catch rabbit_auth_backend_internal:add_user(${binary(name)}, <<"secret">>, <<"test">>), rabbit_auth_backend_internal:set_permissions(${args})`,
  );
  return `${name}:secret`;
}

const ALL = [".*", ".*", ".*"] as const;

/** What the user may write to, and read of, the topics of an exchange. */
async function topicsOf(name: string, exchange: string, write: string, read: string): Promise<void> {
  const args = [name, "/", exchange, write, read, "test"].map((text) => `<<"${text}">>`).join(", ");
  await askRabbit(server, `rabbit_auth_backend_internal:set_topic_permissions(${args})`);
}

/** Whether a binding key matches a routing key, by the rules of topic exchanges. */
function amqpMatches([wanted, ...more]: readonly string[], words: readonly string[]): boolean {
  if (wanted === undefined) return words.length === 0;
  if (wanted === "#")
    return amqpMatches(more, words) || (words.length > 0 && amqpMatches([wanted, ...more], words.slice(1)));
  return words.length > 0 && (wanted === "*" || wanted === words[0]) && amqpMatches(more, words.slice(1));
}

test("a connection of the client's is one of ours by its type", () => {
  expectTypeOf<ChannelModel>().toExtend<AmqpConnection>();
});

describe("routing keys", () => {
  const token = fc.oneof(
    fc.constantFrom("a", "b", "é", "#", "%", "%41", "A", "_", "-"),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 }).map((text) => text.replace(/[.:*\s$]/g, "x")),
    fc.constantFrom("a", "b").map((letter) => letter.repeat(120)),
  );
  const type = fc.array(token, { minLength: 1, maxLength: 3 }).map((tokens) => tokens.join("."));
  const id = fc.oneof(
    fc.constantFrom("", "%", "*", "#", ".", "a.b", " ", "\ud800", "a", "ü".repeat(100), "x".repeat(1024)),
    fc.string({ unit: "binary", maxLength: 4 }),
  );
  const pattern = fc
    .array(fc.oneof(token, fc.constant("*")), { maxLength: 3 })
    .chain((tokens) =>
      fc.boolean().map((open) => (open || tokens.length === 0 ? [...tokens, "**"] : tokens).join(".")),
    );
  const filter = fc.record({ type: fc.oneof(pattern, type), id: fc.option(id, { nil: undefined }) });

  test("of any topic are words that AMQP takes, 255 bytes at most, and no two topics share one", () => {
    fc.assert(
      fc.property(type, id, type, id, (one, oneId, other, otherId) => {
        const key = keyOf(one, oneId);
        expect(key).toMatch(/^[\w%-]+(\.[\w%-]+)+$/);
        expect(key.length).toBeLessThan(256);
        if (one !== other || oneId !== otherId) expect(keyOf(other, otherId)).not.toBe(key);
      }),
      { numRuns: 2000 },
    );
  });

  test("of a filter match all that it does, 255 bytes at most, and nothing else but by a hash or for a long type", () => {
    fc.assert(
      fc.property(filter, type, id, (wanted, one, oneId) => {
        const keys = bindingKeysOf(wanted);
        for (const key of keys) expect(key.length).toBeLessThan(256);
        const bound = keys.some((key) => amqpMatches(key.split("."), keyOf(one, oneId).split(".")));
        const matches = matchesFilter(wanted, { type: one, id: oneId, payload: null });
        if (matches || !keyOf(one, oneId).startsWith("%.")) expect(bound).toBe(matches);
      }),
      { numRuns: 10_000 },
    );
  });

  test("of groups name queues that are as long as may be, and no two the same", async () => {
    const named = await Promise.all(
      ["a", "a:b", "é", "x".repeat(1024), "x".repeat(1023)].flatMap((group) =>
        [
          { type: "t" },
          { type: "t", id: "" },
          { type: "t", id: "*" },
          { type: "t.**" },
          { type: "t", id: "i".repeat(1024) },
        ].map((wanted) => groupQueueOf("exchange", { ...wanted, group })),
      ),
    );
    expect(new Set(named).size).toBe(named.length);
    for (const name of named) expect(name.length).toBeLessThan(256);
    expect(named[0]).toBe("exchange:a:t:*");
  });

  test("that are too long stand as hashes, and every filter finds them at the server", async () => {
    const exchange = newExchange();
    const [pubsub] = open({ exchange });
    const long = `a.${"b".repeat(253)}`;
    const far = "z".repeat(1024);
    const topics = [
      ["a", "1"],
      ["a", far],
      [long, "1"],
      [long, far],
    ] as const;
    const filters: readonly (readonly [string, string?])[] = [
      ...topics,
      ["a"],
      [long],
      ["**"],
      ["*"],
      ["a.**"],
      ["a.*"],
      ["*.**"],
      ["**", far],
      ["a.*", "1"],
      [long.slice(0, 200)],
    ];
    const subscriptions = await Promise.all(
      filters.map(([type, id]) => (id === undefined ? pubsub.subscribe(type) : pubsub.subscribe(type, id))),
    );
    const groups = await Promise.all(
      filters.map(([type, id]) =>
        id === undefined ? pubsub.subscribe(type, { group: "g" }) : pubsub.subscribe(type, id, { group: "g" }),
      ),
    );
    for (const [type, id] of topics) await pubsub.publish(type, id, null);
    const wanted = filters.map(
      ([type, id]) =>
        topics.filter((topic) => matchesFilter({ type, id }, { type: topic[0], id: topic[1], payload: null })).length,
    );
    expect(wanted.slice(4)).toEqual([2, 2, 4, 2, 4, 2, 4, 2, 1, 0]);
    for (const all of [subscriptions, groups])
      await until(() => all.every(({ received }, i) => received >= (wanted[i] ?? 0)));
    for (const all of [subscriptions, groups]) expect(all.map(({ received }) => received)).toEqual(wanted);
  });

  test("can be written and bound by hand: the type's words, then the id", async () => {
    const exchange = newExchange();
    const [pubsub] = open({ exchange });
    const events = await pubsub.subscribe("session.status");
    const raw = await rawChannel();
    const { queue } = await raw.assertQueue("", { exclusive: true });
    await raw.bindQueue(queue, exchange, "session.#");
    raw.publish(exchange, "session.status.a%2Eb", Buffer.from('{"type":"session.status","id":"a.b","payload":1}'));
    raw.publish(exchange, "session.status.%", Buffer.from('{"type":"session.status","id":"","payload":2}'));
    expect((await events.next()).value).toMatchObject({ id: "a.b", payload: 1 });
    expect((await events.next()).value).toMatchObject({ id: "", payload: 2 });
    await pubsub.publish("session.closed", "a/b", { text: "é" });
    let message = await raw.get(queue);
    while (message !== false && !message.fields.routingKey.startsWith("session.closed")) message = await raw.get(queue);
    if (message === false) throw new Error("nothing came");
    expect(message.fields.routingKey).toBe("session.closed.a%2Fb");
    expect(message.properties.contentType).toBe("application/json");
    expect(JSON.parse(message.content.toString())).toMatchObject({
      type: "session.closed",
      id: "a/b",
      payload: { text: "é" },
    });
  });

  test("of what is no event are reported, and stop nothing", async () => {
    const exchange = newExchange();
    const errors: unknown[] = [];
    const [pubsub] = open({ exchange, onError: (error) => errors.push(error) });
    const events = await pubsub.subscribe("a");
    const raw = await rawChannel();
    for (const text of ["{", "1", '{"type":"$a","id":"","payload":1}']) raw.publish(exchange, "a.x", Buffer.from(text));
    raw.publish(exchange, "a.x", Buffer.from('{"type":"a","id":"x","payload":1}'));
    expect((await events.next()).value).toMatchObject({ payload: 1 });
    expect(errors).toEqual(errors.map(() => expect.objectContaining({ code: "MALFORMED" })));
    expect(errors).toHaveLength(3);
  });
});

describe("what is given", () => {
  test.each([
    [{ url: "http://127.0.0.1" }, /amqp:/],
    [{ url: "127.0.0.1:5672" }, /amqp:/],
    [{}, /url.*connect/],
    [
      {
        url: "amqp://127.0.0.1",
        connect: (): never => {
          throw new Error("unused");
        },
      },
      /not both/,
    ],
    [{ url: "amqp://127.0.0.1", exchange: "" }, /exchange/],
    [{ url: "amqp://127.0.0.1", exchange: "a b" }, /exchange/],
    [{ url: "amqp://127.0.0.1", heartbeat: -1 }, /heartbeat/],
  ])("is refused with INVALID_OPTION at once where it cannot be: %j", (args, message) => {
    expect(() => createAmqpEventTarget(args as never)).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION", message: expect.stringMatching(message) }),
    );
  });

  test("does not show its password", () => {
    expect(() => createAmqpEventTarget({ url: "http://user:hidden@127.0.0.1" })).toThrow(/^(?!.*hidden).*127\.0\.0\.1/);
  });

  test("may have a server ask for what else it is asked for, and 10 s of AMQP's heartbeat where it says nothing", async () => {
    const exchange = newExchange();
    // All others are gone.
    await until(async () => (await heldBy(server))[0] === 0);
    for (const [query, heartbeat] of [
      ["", 10],
      ["?heartbeat=7", 7],
    ] as const) {
      const target = createAmqpEventTarget({ url: `amqp://127.0.0.1:${server.port}/%2F${query}`, exchange });
      opened.add(() => target.close());
      await createPubSub({ eventTarget: target }).subscribe("a");
      const timeouts = await askRabbit(
        server,
        "[V || P <- rabbit_networking:connections(), {timeout, V} <- rabbit_networking:connection_info(P, [timeout])]",
      );
      expect(JSON.parse(timeouts)).toEqual([heartbeat, heartbeat]);
      await target.close();
      await until(async () => (await heldBy(server))[0] === 0);
    }
  });

  test("as connect has to resolve to a connection that does not come back by itself", async () => {
    const [pubsub] = over(async () => ({}) as never);
    await expect(pubsub.subscribe("a")).rejects.toMatchObject({ code: "INVALID_OPTION" });
    const recovering = (): Promise<never> =>
      amqplib.connect(`amqp://127.0.0.1:${server.port}`, { recovery: true }) as Promise<never>;
    const [other] = over(recovering);
    await expect(other.subscribe("a")).rejects.toMatchObject({
      code: "INVALID_OPTION",
      message: expect.stringMatching(/recovery/),
    });
    await until(async () => (await heldBy(server))[0] === 0);
  });

  test("needs amqplib for url, and says so where it is not installed", async () => {
    // Where no folder above has it.
    const folder = await mkdtemp(join(tmpdir(), "amqp-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await cp(fileURLToPath(new URL("../dist", import.meta.url)), folder, { recursive: true });
    const script = `
      import { createPubSub } from "./index.js";
      import { createAmqpEventTarget } from "./event-targets/amqp.js";
      const pubsub = createPubSub({ eventTarget: createAmqpEventTarget({ url: "amqp://127.0.0.1" }) });
      await pubsub.subscribe("a").catch(({ code, message }) => console.log(JSON.stringify({ code, message })));`;
    const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { cwd: folder });
    expect(JSON.parse((await run).stdout)).toEqual({
      code: "UNSUPPORTED",
      message: expect.stringContaining("npm install amqplib"),
    });
  });
});

describe("what is not allowed", () => {
  test("to log in, or into a virtual host, is REFUSED at once, without the password", async () => {
    for (const [address, said] of [
      [`amqp://guest:hunter2@127.0.0.1:${server.port}`, /Login was refused/],
      [`amqp://127.0.0.1:${server.port}/nowhere`, /virtual host/],
    ] as const) {
      const target = createAmqpEventTarget({ url: address });
      opened.add(() => target.close());
      const pubsub = createPubSub({ eventTarget: target });
      const refused = { code: "REFUSED", message: expect.stringMatching(said) };
      expect(await refusalWithout("hunter2", pubsub.subscribe("a"))).toMatchObject(refused);
      expect(await refusalWithout("hunter2", pubsub.publish("a", "", 1))).toMatchObject(refused);
    }
  });

  test("to declare the exchange is REFUSED, and says what is needed", async () => {
    const user = await userMay("narrow", "^$", ".*", ".*");
    const [pubsub] = over(() => connect(user));
    await expect(pubsub.subscribe("a")).rejects.toMatchObject({
      code: "REFUSED",
      message: expect.stringMatching(/configure/),
    });
  });

  test("to use an exchange of another kind is REFUSED, and says so", async () => {
    const [exchange, transient] = [newExchange(), newExchange()];
    const raw = await rawChannel();
    await raw.assertExchange(exchange, "fanout");
    await raw.assertExchange(transient, "topic", { durable: false });
    const refused = { code: "REFUSED", message: expect.stringMatching(/another kind.*durable: false/) };
    await expect(open({ exchange })[0].subscribe("a")).rejects.toMatchObject(refused);
    await expect(open({ exchange: transient })[0].subscribe("a")).rejects.toMatchObject(refused);
    const [pubsub] = open({ exchange: transient, durable: false });
    await pubsub.subscribe("a");
    const [shared] = open({ exchange: "amq.topic" });
    await shared.subscribe("a");
  });

  test("to subscribe is REFUSED, that alone", async () => {
    const exchange = newExchange();
    const user = await userMay("reader", ...ALL);
    await topicsOf("reader", exchange, ".*", "^(open|%)\\\\.");
    const [pubsub] = over(() => connect(user), { exchange });
    const all = await Promise.allSettled([
      ...Array.from({ length: 40 }, (_, i) => pubsub.subscribe(i % 2 === 0 ? "secret" : "open", String(i))),
      pubsub.subscribe("open.**"),
      pubsub.subscribe("secret.**"),
      pubsub.subscribe("secret", { group: "g" }),
      pubsub.subscribe("open", { group: "g" }),
    ]);
    expect(all.map(({ status }) => status === "fulfilled")).toEqual(
      all.map((_, i) => (i < 40 ? i % 2 === 1 : i === 40 || i === 43)),
    );
    expect(all[0]).toMatchObject({ reason: { code: "REFUSED", message: expect.stringMatching(/secret:0/) } });
    expect(all[42]).toMatchObject({ reason: { code: "REFUSED" } });
    // What was refused has left nothing: not the half of it that was not, either.
    await until(async () => (await bindingsOf(server, exchange)) === 20 + 2 + 1);
  });

  test("to publish is REFUSED; what was under way with it is INTERRUPTED, and may have come; what follows is published", async () => {
    const exchange = newExchange();
    const user = await userMay("writer", ...ALL);
    await topicsOf("writer", exchange, "^open\\\\.", ".*");
    const [pubsub, target] = over(() => connect(user), { exchange });
    const events = await pubsub.subscribe("open");
    await expect(pubsub.publish("secret", "x", 1)).rejects.toMatchObject({
      code: "REFUSED",
      message: expect.stringMatching(/secret:x/),
    });
    for (let burst = 0; burst < 20; burst++) {
      const codes = await Promise.all(
        Array.from({ length: 10 }, (_, i) =>
          pubsub.publish(i === 5 ? "secret" : "open", "x", burst * 10 + i).then(
            () => "done",
            (error: { code: string }) => error.code,
          ),
        ),
      );
      expect(codes[5]).toBe("REFUSED");
      for (const code of codes.toSpliced(5, 1)) expect(["done", "INTERRUPTED"]).toContain(code);
      await pubsub.publish("open", "last", burst);
    }
    expect(target.status).toBe("ready");
    const seen = new Map<number, number>();
    for (let last = -1; last < 19;) {
      const { id, payload } = (await events.next()).value as EventEnvelope<string, number>;
      if (id === "last") last = payload;
      else seen.set(payload, (seen.get(payload) ?? 0) + 1);
    }
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
  });

  test("by a queue that is full is REFUSED (nack), that alone", async () => {
    const exchange = newExchange();
    const [pubsub] = open({ exchange });
    const events = await pubsub.subscribe("a");
    const raw = await rawChannel();
    await raw.assertQueue("full", { exclusive: true, maxLength: 1, overflow: "reject-publish" });
    await raw.bindQueue("full", exchange, "a.full");
    const codes = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        pubsub.publish("a", i % 2 === 0 ? "full" : "free", i).then(
          () => "done",
          (error: { code: string }) => error.code,
        ),
      ),
    );
    expect(codes.filter((_, i) => i % 2 === 1)).toEqual(Array(10).fill("done"));
    expect(codes.filter((code) => code === "REFUSED").length).toBeGreaterThan(7);
    await until(() => events.received === 20);
  });

  test("by the server's own limit is a PAYLOAD with both sizes, which is known from then on", async () => {
    await askRabbit(server, "application:set_env(rabbit, max_message_size, 100000)");
    onTestFinished(
      async () => void (await askRabbit(server, "application:set_env(rabbit, max_message_size, 134217728)")),
    );
    const [pubsub, target] = open({ exchange: newExchange() });
    const events = await pubsub.subscribe("a");
    const tooLarge = {
      code: "PAYLOAD",
      message: expect.stringMatching(/100\d\d\d bytes, the RabbitMQ server takes 100000/),
    };
    await expect(pubsub.publish("a", "", "x".repeat(100_000))).rejects.toMatchObject(tooLarge);
    expect(target.supports.maxPayload).toBe(100_000);
    await expect(pubsub.publish("a", "", "x".repeat(100_000))).rejects.toMatchObject(tooLarge);
    await pubsub.publish("a", "", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
  });
});

describe("what an operator does", () => {
  test("to the queue ends what it served with REFUSED, and the next subscribe has another one", async () => {
    const exchange = newExchange();
    const [pubsub] = open({ exchange });
    const all = [await pubsub.subscribe("a"), await pubsub.subscribe("b.**"), await pubsub.subscribe("a", "x")];
    const grouped = await pubsub.subscribe("a", { group: "g" });
    await askRabbit(
      server,
      `[rabbit_amqqueue:delete(Q, false, false, <<"test">>) || Q <- rabbit_amqqueue:list(), rabbit_amqqueue:is_exclusive(Q)]`,
    );
    for (const events of all)
      await expect(events.next()).rejects.toMatchObject({ code: "REFUSED", message: expect.stringMatching(/deleted/) });
    const again = await pubsub.subscribe("a");
    await pubsub.publish("a", "x", 1);
    expect((await again.next()).value).toMatchObject({ payload: 1 });
    expect((await grouped.next()).value).toMatchObject({ payload: 1 });
  });

  test("to the queue of a group ends that group's subscription alone", async () => {
    const exchange = newExchange();
    const [pubsub] = open({ exchange });
    const [events, grouped] = [await pubsub.subscribe("a"), await pubsub.subscribe("a", { group: "g" })];
    await (await rawChannel()).deleteQueue(`${exchange}:g:a:*`);
    await expect(grouped.next()).rejects.toMatchObject({ code: "REFUSED" });
    const again = await pubsub.subscribe("a", { group: "g" });
    await pubsub.publish("a", "x", 1);
    for (const each of [events, again]) expect((await each.next()).value).toMatchObject({ payload: 1 });
  });

  test.each([
    ["is noticed in the silence after it", false],
    ["is noticed by the first one who publishes, who is told REFUSED", true],
  ])("to the exchange, which takes its bindings along, %s: it is declared again, with a gap", async (_, publishes) => {
    const exchange = newExchange();
    const [pubsub, target] = open({ exchange, heartbeat: publishes ? 0 : 1000 });
    const gaps: Gap[] = [];
    const events = await pubsub.subscribe("a", { onGap: (gap) => void gaps.push(gap) });
    const interrupted = reached(target, "interrupted");
    await (await rawChannel()).deleteExchange(exchange);
    if (publishes) await expect(pubsub.publish("a", "", 0)).rejects.toMatchObject({ code: "REFUSED" });
    await interrupted;
    await reached(target, "ready");
    await pubsub.publish("a", "", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
    expect(gaps).toMatchObject([{ reason: "reconnect" }]);
  });

  test("to a connection is a gap, whatever was said of it", async () => {
    const [pubsub, target] = open({ exchange: newExchange() });
    const gaps: Gap[] = [];
    const events = await pubsub.subscribe("a", { onGap: (gap) => void gaps.push(gap) });
    const interrupted = reached(target, "interrupted");
    await askRabbit(
      server,
      `[rabbit_networking:close_connection(P, "maintenance") || P <- rabbit_networking:connections()]`,
    );
    await interrupted;
    await reached(target, "ready");
    await pubsub.publish("a", "", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
    expect(gaps).toHaveLength(1);
  });
});

describe("a server that runs out of memory", () => {
  const alarm = (on: boolean): Promise<string> =>
    askRabbit(
      server,
      on
        ? "rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []})"
        : "rabbit_alarm:clear_alarm({resource_limit, memory, node()})",
    );
  afterEach(() => alarm(false));

  test("takes no events until it has some: publishes wait, so many, and subscriptions do not", async () => {
    const [pubsub, target] = open({ exchange: newExchange(), maxWaiting: 100, heartbeat: 500 });
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", "before");
    await alarm(true);
    // It says so to whoever publishes.
    const outcomes: string[] = [];
    const pending: Promise<unknown>[] = [];
    const publish = (payload: number): void =>
      void pending.push(
        pubsub.publish("a", "", payload).then(
          () => outcomes.push("done"),
          (error: { code: string; message: string }) => outcomes.push(`${error.code} ${error.message}`),
        ),
      );
    let sent = 0;
    const refusals = (): string[] => outcomes.filter((each) => each !== "done");
    // It may take some before it knows.
    while (refusals().length === 0) {
      publish(sent++);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(refusals()[0]).toMatch(/NOT_READY.*low on memory.*100 already wait/);
    const late = await pubsub.subscribe("b");
    // Longer than any other silence would be borne.
    for (const begun = performance.now(); performance.now() - begun < 1500;)
      await (await pubsub.subscribe("meanwhile")).return();
    expect(target.status).toBe("ready");
    const refused = refusals().length;
    await alarm(false);
    await Promise.all(pending);
    expect(outcomes.filter((outcome) => outcome === "done")).toHaveLength(sent - refused);
    await pubsub.publish("b", "", 1);
    expect((await late.next()).value).toMatchObject({ payload: 1 });
    expect((await events.next()).value).toMatchObject({ payload: "before" });
    for (let i = 0; i < sent - refused; i++) expect((await events.next()).value).toMatchObject({ payload: i });
  });

  test("does not keep a target from closing, nor its sockets", async () => {
    let blocked = false;
    const [connect, sockets] = watched(server.port, (each) => each.on("blocked", () => (blocked = true)));
    const [pubsub, target] = over(connect, { closeTimeout: 50 });
    await pubsub.publish("a", "", 1);
    await alarm(true);
    // It may take some before it knows.
    const publishing: Promise<string>[] = [];
    while (!blocked) {
      const published = pubsub.publish("a", "", 2);
      publishing.push(
        published.then(
          () => "done",
          ({ code }: PubSubError) => code,
        ),
      );
      await new Promise((resolve) => setImmediate(resolve));
    }
    // One that was sent before it said so may still be taken.
    const last = expect(pubsub.publish("a", "", 3)).rejects.toMatchObject({ code: "CLOSED" });
    await target.close();
    await last;
    await Promise.all(publishing);
    expect(sockets).toHaveLength(2);
    // A goodbye may take a little longer than closing does.
    await until(() => sockets.every(({ destroyed }) => destroyed));
    // It reads of their end when it reads again.
    await alarm(false);
    await until(async () => (await heldBy(server))[0] === 0);
  });
});

describe("the connections", () => {
  test("that cannot be are NOT_READY, with the address and without its password", async () => {
    const target = createAmqpEventTarget({ url: "amqp://user:hidden@127.0.0.1:1/vhost", connectTimeout: 1000 });
    opened.add(() => target.close());
    await expect(createPubSub({ eventTarget: target }).subscribe("a")).rejects.toMatchObject({
      code: "NOT_READY",
      message: expect.stringMatching(/^(?!.*hidden).*amqp:\/\/127\.0\.0\.1:1\/vhost.*ECONNREFUSED/),
    });
  });

  test("that cannot be yet are waited for", async () => {
    const way = await proxied();
    way.refusing = true;
    const [pubsub] = open({ exchange: newExchange() }, way.port);
    const subscribing = pubsub.subscribe("a");
    const publishing = subscribing.then(() => pubsub.publish("a", "", 1));
    await until(() => way.refused > 4);
    way.refusing = false;
    await publishing;
    expect((await (await subscribing).next()).value).toMatchObject({ payload: 1 });
  });

  test("whose handshake is not answered are given up for others", async () => {
    const way = await proxied();
    way.freeze();
    const [pubsub] = open({ exchange: newExchange(), attemptTimeout: 100 }, way.port);
    const subscribing = pubsub.subscribe("a");
    await until(() => way.accepted > 4);
    way.thaw();
    await subscribing;
    await until(async () => (await heldBy(server))[0] === 2);
  });

  test("of which the publisher's alone is cut leave subscriptions without a gap", async () => {
    const way = await proxied();
    let connections = 0;
    const [pubsub, target] = over(() => {
      // The subscriber's comes first.
      const port = connections++ === 0 ? server.port : way.port;
      return amqplib.connect(`amqp://127.0.0.1:${port}`);
    });
    const events = await pubsub.subscribe("a");
    const sent = pubsub.publish("a", "", 1);
    await sent;
    way.freeze("toServer");
    const lost = expect(pubsub.publish("a", "", 2)).rejects.toMatchObject({ code: "INTERRUPTED" });
    way.cut();
    await lost;
    expect(target.status).toBe("interrupted");
    way.thaw();
    await reached(target, "ready");
    await pubsub.publish("a", "", 3);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
    expect((await events.next()).value).toMatchObject({ payload: 3 });
    expect(events.gaps).toBe(0);
  });

  test("of a bare client lose in silence what is published during a cut; here it is a gap (the client's way, a control)", async () => {
    const exchange = newExchange();
    const way = await proxied();
    const gaps: Gap[] = [];
    const [pubsub, target] = open({ exchange }, way.port);
    const events = await pubsub.subscribe("a", { onGap: (gap) => void gaps.push(gap) });
    const bare: string[] = [];
    const recovering = await amqplib.connect(`amqp://127.0.0.1:${way.port}`, {
      recovery: {
        initialDelay: 5,
        maxDelay: 50,
        async setup(model: ChannelModel) {
          const channel = await model.createChannel();
          const { queue } = await channel.assertQueue("", { exclusive: true });
          await channel.bindQueue(queue, exchange, "a.*");
          await channel.consume(queue, (message) => void bare.push(String(message?.content)), { noAck: true });
        },
      },
    });
    recovering.on("error", ignore);
    opened.add(() => recovering.close());
    const [far] = open({ exchange });
    await far.publish("a", "", "before");
    expect((await events.next()).value).toMatchObject({ payload: "before" });
    await until(() => bare.length === 1);
    way.refusing = true;
    const back = new Promise((resolve) => recovering.once("connect", resolve));
    const interrupted = reached(target, "interrupted");
    way.cut();
    await interrupted;
    await far.publish("a", "", "lost");
    way.refusing = false;
    await Promise.all([back, reached(target, "ready")]);
    await far.publish("a", "", "after");
    expect((await events.next()).value).toMatchObject({ payload: "after" });
    expect(gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
    await until(() => bare.length === 2);
    expect(bare.join()).not.toContain("lost");
  });

  test("are confirmed many at once, and each publish resolves", async () => {
    let together = 0;
    const [pubsub] = over(async () => {
      const connection = await connect();
      const create = connection.createConfirmChannel.bind(connection);
      connection.createConfirmChannel = async (): Promise<ConfirmChannel> => {
        const channel = await create();
        channel.on("ack", ({ multiple }) => void (multiple && together++));
        return channel;
      };
      return connection;
    });
    const events = await pubsub.subscribe("a");
    await Promise.all(Array.from({ length: 10_000 }, (_, i) => pubsub.publish("a", "", i)));
    expect(together).toBeGreaterThan(0);
    for (let i = 0; i < 10_000; i++) expect((await events.next()).value?.payload).toBe(i);
  });

  test("are closed with the target, and nothing is left of it: no queue, no channel, no connection", async () => {
    await until(async () => (await heldBy(server)).join() === "0,0,0");
    const exchange = newExchange();
    const [pubsub, target] = open({ exchange });
    await Promise.all(Array.from({ length: 100 }, (_, i) => pubsub.subscribe("a.**", String(i))));
    await pubsub.subscribe("a", { group: "g" });
    await pubsub.publish("a", "", 1);
    const [connections, , queues] = await heldBy(server);
    expect([connections, queues]).toEqual([2, 2]);
    await target.close();
    await until(async () => (await heldBy(server)).join() === "0,0,0");
    expect(await bindingsOf(server, exchange)).toBe(0);
  });

  test("that are still being made, or waited for, keep no process once the target is closed", async () => {
    const [silent, absent] = [await proxied(), await proxied()];
    silent.freeze();
    absent.refusing = true;
    const script = `
      import { createPubSub } from "@alkdev/pubsub";
      import { createAmqpEventTarget } from "@alkdev/pubsub/event-target-amqp";
      const never = { attemptTimeout: 1e6, connectTimeout: 1e6, backoff: { min: 1e6, max: 1e6 } };
      const targets = [${silent.port}, ${absent.port}].map((port) =>
        createAmqpEventTarget({ url: "amqp://127.0.0.1:" + port, ...never }),
      );
      for (const eventTarget of targets)
        createPubSub({ eventTarget }).subscribe("a").catch(({ code }) => console.log(code));
      process.stdin.on("end", () => targets.forEach((target) => target.close())).resume();`;
    const cwd = fileURLToPath(new URL("..", import.meta.url));
    const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { cwd });
    await until(() => silent.accepted === 2 && absent.refused === 2);
    run.child.stdin?.end();
    expect((await run).stdout).toBe("CLOSED\nCLOSED\n");
  });

  test("that nobody answers are closed too, with their sockets", async () => {
    const way = await proxied();
    const [connect, sockets] = watched(way.port);
    const [pubsub, target] = over(connect);
    await pubsub.subscribe("a");
    way.freeze();
    await target.close();
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, true]);
  });
});

describe("a group", () => {
  test("is one for all targets: each event goes to one of its members, whichever target they are of", async () => {
    const exchange = newExchange();
    const pubsubs = [open({ exchange })[0], open({ exchange })[0], open({ exchange })[0]];
    const members = await Promise.all(pubsubs.map((pubsub) => pubsub.subscribe("work.**", { group: "workers" })));
    const others = await pubsubs[0]?.subscribe("work.**", { group: "others" });
    await Promise.all(Array.from({ length: 300 }, (_, i) => pubsubs[i % 3]?.publish("work.new", String(i), i)));
    await until(() => members.reduce((sum, { received }) => sum + received, 0) === 300 && others?.received === 300);
    for (const { received } of members) expect(received).toBe(100);
    // With its last member it is gone.
    for (const member of members) await member.return();
    await others?.return();
    await until(async () => (await bindingsOf(server, exchange)) === 0);
  });

  test("is joined once where the publisher's connection is cut meanwhile", async () => {
    const exchange = newExchange();
    const slow = await startProxy(server.port, { toServer: 20, toClient: 20 });
    opened.add(() => slow.close());
    const way = await proxied();
    let connections = 0;
    const [pubsub, target] = over(
      () => amqplib.connect(`amqp://127.0.0.1:${connections++ === 0 ? slow.port : way.port}`),
      { exchange },
    );
    await pubsub.subscribe("other");
    for (let i = 0; i < 5; i++) {
      const joining = pubsub.subscribe("work", "", { group: "g" });
      const interrupted = reached(target, "interrupted");
      way.cut();
      await interrupted;
      const member = await joining;
      await reached(target, "ready");
      for (let n = 0; n < 4; n++) await pubsub.publish("work", "", n);
      for (let n = 0; n < 4; n++) expect((await member.next()).value).toMatchObject({ payload: n });
      await member.return();
      // Were it consumed still, by nobody, it would be there.
      await until(async () => (await bindingsOf(server, exchange)) === 1);
    }
  });

  test("whose last member leaves while another one joins serves that one, fifty times", async () => {
    const exchange = newExchange();
    const [[one], [other]] = [open({ exchange }), open({ exchange })];
    let member = await one.subscribe("work", "", { group: "g" });
    for (let i = 0; i < 50; i++) {
      const [next] = await Promise.all([
        (i % 2 === 0 ? other : one).subscribe("work", "", { group: "g" }),
        member.return(),
      ]);
      await one.publish("work", "", i);
      expect((await next.next()).value).toMatchObject({ payload: i });
      member = next;
    }
  });
});
