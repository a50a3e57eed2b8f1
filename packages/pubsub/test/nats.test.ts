// What is peculiar to NATS and to its client; the rest is in the suite.
import { createPubSub } from "@alkdev/pubsub";
import type { Gap, PubSub } from "@alkdev/pubsub";
import { createNatsEventTarget } from "@alkdev/pubsub/event-target-nats";
import type { NatsConnection } from "@alkdev/pubsub/event-target-nats";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { subjectOf, subjectsOf } from "../src/event-targets/nats-subject.ts";
import { matchesFilter } from "../src/topic.ts";
import { Opened } from "./fixtures/conformance.ts";
import { configureNats, connectNats, natsSubscriptions, openNats, startNats } from "./fixtures/nats.ts";
import type { ConfiguredServer, NatsClient } from "./fixtures/nats.ts";
import { startProxy } from "./fixtures/proxy.ts";
import { reached } from "./fixtures/reached.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startNats()));
afterAll(() => server.end());

const ignore = (): void => undefined;
/** Of the client's own, to see what it holds on to. */
type Inner = {
  readonly protocol: { readonly listeners: readonly unknown[]; readonly transport: { close(): unknown } };
};

async function client(port: number = server.port, options: object = {}): Promise<NatsClient> {
  const connection = await connectNats(port, options);
  opened.add(() => connection.close());
  return connection;
}

async function over(connection: NatsConnection, args: object = {}): Promise<[PubSub, AlkEventTarget]> {
  const target = createNatsEventTarget({ connection, ...args });
  opened.add(() => target.close());
  return [createPubSub({ eventTarget: target, onError: ignore }), target];
}

async function pubsubAt(port: number = server.port, options: object = {}): Promise<PubSub> {
  return createPubSub({ eventTarget: (await openNats(opened, port, {}, options)).target, onError: ignore });
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function configured(text: string): Promise<ConfiguredServer> {
  const own = await configureNats(text);
  opened.add(() => own.end());
  return own;
}

/** Whether a subject of NATS matches another one, by its rules. */
function natsMatches(wide: string, subject: string): boolean {
  const [wanted, tokens] = [wide.split("."), subject.split(".")];
  for (const [i, token] of wanted.entries()) {
    if (token === ">") return tokens.length > i;
    if (i >= tokens.length || (token !== "*" && token !== tokens[i])) return false;
  }
  return wanted.length === tokens.length;
}

test("a connection of the client's is one of ours by its type", () => {
  expectTypeOf<NatsClient>().toExtend<NatsConnection>();
});

describe("subjects", () => {
  const token = fc.oneof(
    fc.constantFrom("a", "b", "é", ">", "%", "%41", "A", "_", "-"),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 }).map((text) => text.replace(/[.:*\s$]/g, "x")),
  );
  const type = fc.array(token, { minLength: 1, maxLength: 3 }).map((tokens) => tokens.join("."));
  const id = fc.oneof(
    fc.constantFrom("", "%", "*", ">", ".", "a.b", " ", "\ud800", "a"),
    fc.string({ unit: "binary", maxLength: 4 }),
  );
  const pattern = fc
    .array(fc.oneof(token, fc.constant("*")), { maxLength: 3 })
    .chain((tokens) =>
      fc.boolean().map((open) => (open || tokens.length === 0 ? [...tokens, "**"] : tokens).join(".")),
    );

  test("of any topic are tokens that NATS takes, and no two topics share one", () => {
    fc.assert(
      fc.property(type, id, type, id, (one, oneId, other, otherId) => {
        const subject = subjectOf("p", one, oneId);
        expect(subject).toMatch(/^p(\.[\w%-]+)+$/);
        if (one !== other || oneId !== otherId) expect(subjectOf("p", other, otherId)).not.toBe(subject);
      }),
      { numRuns: 2000 },
    );
  });

  test("of a filter match what the filter does, by exactly one of them", () => {
    fc.assert(
      fc.property(
        fc.oneof(pattern, type),
        fc.option(id, { nil: undefined }),
        type,
        id,
        (wanted, wantedId, one, oneId) => {
          const matching = subjectsOf("p", { type: wanted, id: wantedId }).filter((wide) =>
            natsMatches(wide, subjectOf("p", one, oneId)),
          );
          const matches = matchesFilter({ type: wanted, id: wantedId }, { type: one, id: oneId, payload: null });
          expect(matching).toHaveLength(matches ? 1 : 0);
        },
      ),
      { numRuns: 5000 },
    );
  });

  test("can be written by hand: prefix, id, type", async () => {
    const pubsub = await pubsubAt();
    const events = await pubsub.subscribe("session.status");
    const raw = await client();
    raw.publish("alk.events.a%2Eb.session.status", '{"type":"session.status","id":"a.b","payload":1}');
    raw.publish("alk.events.%.session.status", '{"type":"session.status","id":"","payload":2}');
    expect((await events.next()).value).toMatchObject({ id: "a.b", payload: 1 });
    expect((await events.next()).value).toMatchObject({ id: "", payload: 2 });
  });

  test("whose line NATS would not take are a LIMIT, and the connection lasts", async () => {
    const prefix = "p".repeat(3050);
    const [pubsub] = await over(await client(), { prefix });
    const long = { code: "LIMIT" };
    await expect(pubsub.publish("a", "x".repeat(1024), null)).rejects.toMatchObject(long);
    await expect(pubsub.subscribe("a", "ü".repeat(512))).rejects.toMatchObject(long);
    const events = await pubsub.subscribe("a", "b");
    await pubsub.publish("a", "b", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
  });

  test("with another prefix are another bus over the same connection", async () => {
    const connection = await client();
    const [[one], [other]] = [
      await over(connection, { prefix: "one" }),
      await over(connection, { prefix: "other.bus" }),
    ];
    const events = [await one.subscribe("**"), await other.subscribe("**")];
    await one.publish("a", "", 1);
    await other.publish("a", "", 2);
    expect((await events[0]?.next())?.value).toMatchObject({ payload: 1 });
    expect((await events[1]?.next())?.value).toMatchObject({ payload: 2 });
  });

  test.each(["", "a.", ".a", "a b", "a.*", ">"])("cannot begin with %j", async (prefix) => {
    const connection = await client();
    expect(() => createNatsEventTarget({ connection, prefix })).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
  });
});

describe("what is not allowed", () => {
  const USERS = (denied: string): string => `authorization: { users: [ { user: u, password: p, permissions: {
    publish: { deny: ["alk.events.*.secret"] }, subscribe: { deny: [${denied}] } } } ] }`;
  const user = { user: "u", pass: "p" };

  test("to publish is REFUSED, that alone, a thousand times in between", async () => {
    const { port } = await configured(USERS('"none"'));
    const pubsub = await pubsubAt(port, user);
    const events = await pubsub.subscribe("open");
    for (let burst = 0; burst < 100; burst++) {
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          pubsub.publish(i % 2 === 0 ? "secret" : "open", "x", i).then(
            () => "done",
            (error: { code: string }) => error.code,
          ),
        ),
      );
      expect(outcomes).toEqual(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? "REFUSED" : "done")));
    }
    await expect(pubsub.publish("secret", "x", 1)).rejects.toThrow(/alk\.events\.x\.secret/);
    await until(() => events.received === 1000);
  });

  test("to publish is REFUSED for all of one tick's message with batch, and for no other", async () => {
    const { port } = await configured(USERS('"none"'));
    const { target } = await openNats(opened, port, { batch: true }, user);
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("open");
    for (let burst = 0; burst < 20; burst++) {
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          pubsub.publish(i % 2 === 0 ? "secret" : "open", "x", i).then(
            () => "done",
            (error: { code: string }) => error.code,
          ),
        ),
      );
      expect(outcomes).toEqual(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? "REFUSED" : "done")));
    }
    await until(() => events.received === 200);
  });

  test("to subscribe is REFUSED, that alone", async () => {
    const { port } = await configured(USERS('"alk.events.*.secret", "alk.events.*.half"'));
    const pubsub = await pubsubAt(port, user);
    const all = await Promise.allSettled([
      pubsub.subscribe("secret"),
      pubsub.subscribe("open"),
      pubsub.subscribe("secret", "x"),
      pubsub.subscribe("half.**"),
    ]);
    expect(all.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected", "rejected"]);
    expect(all[0]).toMatchObject({ reason: { code: "REFUSED" } });
    await expect(pubsub.subscribe("secret")).rejects.toMatchObject({ code: "REFUSED" });
  });

  test("to subscribe any more ends that subscription with REFUSED, and no other", async () => {
    const own = await configured(USERS('"none"'));
    const pubsub = await pubsubAt(own.port, user);
    const [secret, open] = [await pubsub.subscribe("secret"), await pubsub.subscribe("open")];
    own.rewrite(USERS('"alk.events.*.secret"'));
    own.reload();
    await expect(secret.next()).rejects.toMatchObject({ code: "REFUSED" });
    await pubsub.publish("open", "", 1);
    expect((await open.next()).value).toMatchObject({ payload: 1 });
  });

  test("to connect again ends the target with DISCONNECTED, and why", async () => {
    const own = await configured(USERS('"none"'));
    const { target } = await openNats(opened, own.port, {}, user);
    const pubsub = createPubSub({ eventTarget: target, onGap: "ignore" });
    const events = await pubsub.subscribe("open");
    await own.kill();
    own.rewrite(USERS('"none"').replace("password: p", "password: other"));
    await own.start();
    await expect(events.next()).rejects.toMatchObject({
      code: "DISCONNECTED",
      message: expect.stringMatching(/authorization/i),
    });
  });
});

describe("the connection", () => {
  test("is its owner's: closing the target leaves nothing there, and it works on", async () => {
    const own = await startNats();
    opened.add(() => own.end());
    const connection = await client(own.port);
    const [pubsub, target] = await over(connection);
    for (let i = 0; i < 100; i++) await pubsub.subscribe("a.**", String(i));
    expect(await natsSubscriptions(own)).toBe(200);
    await target.close();
    expect(await natsSubscriptions(own)).toBe(0);
    expect((connection as unknown as Inner).protocol.listeners).toHaveLength(0);
    await connection.flush();
    const [again] = await over(connection);
    const events = await again.subscribe("a");
    await again.publish("a", "", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
  });

  test("that was closed is NOT_READY at first, and DISCONNECTED later", async () => {
    const connection = await client();
    const [pubsub] = await over(connection);
    const events = await pubsub.subscribe("a");
    await connection.close();
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    const [late] = await over(connection);
    await expect(late.subscribe("a")).rejects.toMatchObject({ code: "NOT_READY" });
  });

  test("that is not there when the target opens is waited for", async () => {
    const own = await startNats();
    opened.add(() => own.end());
    const connection = await client(own.port);
    await own.kill();
    const [pubsub] = await over(connection);
    const subscribing = pubsub.subscribe("a");
    const publishing = subscribing.then(() => pubsub.publish("a", "", 1));
    await own.start();
    await publishing;
    expect((await (await subscribing).next()).value).toMatchObject({ payload: 1 });
  });

  test("without echo leaves that to the core: own events come once", async () => {
    const [pubsub, target] = await over(await client(server.port, { noEcho: true }));
    expect(target.supports.echo).toBe(false);
    const events = await pubsub.subscribe("quiet");
    await pubsub.publish("quiet", "", 1);
    await pubsub.publish("quiet", "", 2);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
    expect((await events.next()).value).toMatchObject({ payload: 2 });
  });

  test("to a server that stands still, with more unsent than the system takes, is given up, and comes back", async () => {
    const own = await startNats();
    opened.add(() => own.end());
    const { target } = await openNats(opened, own.port, { heartbeat: 1000 });
    const gaps: Gap[] = [];
    const pubsub = createPubSub({ eventTarget: target, onGap: (gap) => gaps.push(gap), onError: ignore });
    const events = await pubsub.subscribe("a");
    own.freeze();
    const sent = Array.from({ length: 40 }, () => pubsub.publish("b", "", "x".repeat(1_000_000)));
    const outcomes = await Promise.allSettled(sent);
    expect(outcomes).toEqual(
      outcomes.map(() => ({ status: "rejected", reason: expect.objectContaining({ code: "INTERRUPTED" }) })),
    );
    own.thaw();
    await reached(target, "ready");
    await pubsub.publish("a", "", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
    expect(gaps).toHaveLength(1);
  });

  test("answers each question alone: the word that somebody is subscribed is none for what was published later", async () => {
    const own = await startNats();
    opened.add(() => own.end());
    const way = await startProxy(own.port, { toClient: 300 });
    opened.add(() => way.close());
    const pubsub = await pubsubAt(way.port);
    await pubsub.subscribe("a");
    const subscribing = pubsub.subscribe("b");
    await until(async () => (await natsSubscriptions(own)) === 2);
    // The answer is on its way; another one does not come.
    way.freeze("toServer");
    // Looked at from here on: it may be refused before the server has ended.
    const refused = expect(pubsub.publish("c", "", 1)).rejects.toMatchObject({ code: "INTERRUPTED" });
    await subscribing;
    await own.kill();
    await refused;
  });

  test("of a bare client loses in silence what is published during a cut; here it is a gap (the client's way, a control)", async () => {
    const proxy = await startProxy(server.port);
    opened.add(() => proxy.close());
    const connection = await client(proxy.port);
    const bare: string[] = [];
    connection.subscribe("alk.events.*.cut", { callback: (_, message) => void bare.push(message.string()) });
    const [, target] = await over(connection);
    const gaps: Gap[] = [];
    const pubsub = createPubSub({ eventTarget: target, onGap: (gap) => gaps.push(gap) });
    const events = await pubsub.subscribe("cut");
    const far = await pubsubAt();
    proxy.refusing = true;
    proxy.cut();
    await reached(target, "interrupted");
    await far.publish("cut", "", "lost");
    proxy.refusing = false;
    await reached(target, "ready");
    await far.publish("cut", "", "after");
    expect((await events.next()).value).toMatchObject({ payload: "after" });
    expect(gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
    expect(bare).toHaveLength(1);
  });

  test("to a server that does not wait for who does not read is a gap once it is cut off", async () => {
    const own = await configured("max_pending: 1MB");
    const way = await startProxy(own.port);
    opened.add(() => way.close());
    const { target } = await openNats(opened, way.port, { heartbeat: 0 });
    const gaps: Gap[] = [];
    const pubsub = createPubSub({ eventTarget: target, onGap: (gap) => gaps.push(gap), onError: ignore });
    const events = await pubsub.subscribe("much");
    const far = await pubsubAt(own.port);
    way.stall();
    await Promise.allSettled(
      Array.from({ length: 64 }, (_, i) => far.publish("much", "", `${i}${"x".repeat(500_000)}`)),
    );
    await until(() => own.log.includes("Slow Consumer"));
    way.thaw();
    await reached(target, "interrupted");
    await reached(target, "ready");
    await until(() => far.status === "ready");
    await far.publish("much", "", "last");
    const met: unknown[] = [];
    for await (const { payload } of events) {
      met.push(payload);
      if (payload === "last") break;
    }
    expect(gaps.length).toBeGreaterThan(0);
    expect(met.length).toBeLessThan(65);
  });
});

describe("with batch", () => {
  test("events of one topic and tick are one message, which targets without understand too", async () => {
    const raw = await client();
    const seen: unknown[] = [];
    raw.subscribe("alk.events.1.a", { callback: (_, message) => void seen.push(message.json()) });
    await raw.flush();
    const events = await (await pubsubAt()).subscribe("a", "1");
    const [pubsub] = await over(await client(), { batch: true });
    await pubsub.publish("a", "1", "alone");
    const outcomes = await Promise.allSettled([0, 1, () => 2, 3].map((payload) => pubsub.publish("a", "1", payload)));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    for (const payload of ["alone", 0, 1, 3])
      expect((await events.next()).value).toMatchObject({
        type: "a",
        id: "1",
        payload,
        meta: { origin: expect.any(String) },
      });
    await raw.flush();
    expect(seen).toMatchObject([{ payload: "alone" }, [{ type: "a", payload: 0 }, { payload: 1 }, { payload: 3 }]]);
  });

  test("no message is larger than the server takes, and an event that is is a PAYLOAD error", async () => {
    const { port } = await configured("max_payload: 1000");
    const { target } = await openNats(opened, port, { batch: true });
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a");
    const texts = ["ü".repeat(400), ...Array.from({ length: 50 }, (_, i) => "ü".repeat(i * 5))];
    const sent = texts.map((text) => pubsub.publish("a", "", text));
    await expect(pubsub.publish("a", "", "ü".repeat(600))).rejects.toMatchObject({ code: "PAYLOAD" });
    await Promise.all(sent);
    for (const payload of texts) expect((await events.next()).value).toMatchObject({ payload });
  });

  test("a serializer of one's own is an INVALID_OPTION", async () => {
    const connection = await client();
    expect(() =>
      createNatsEventTarget({ connection, batch: true, serializer: { stringify: String, parse: String } }),
    ).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });
});

describe("what does not fit", () => {
  test("max_payload: the manifest knows it, and a larger event is a PAYLOAD error with both sizes", async () => {
    const { port } = await configured("max_payload: 1000");
    const { target } = await openNats(opened, port);
    const pubsub = createPubSub({ eventTarget: target });
    expect(target.supports.maxPayload).toBe(1000);
    const events = await pubsub.subscribe("a");
    const large = pubsub.publish("a", "", "ü".repeat(600));
    const small = pubsub.publish("a", "", "ü".repeat(300));
    await expect(large).rejects.toMatchObject({
      code: "PAYLOAD",
      message: expect.stringMatching(/1\d\d\d bytes.* 1000/),
    });
    await small;
    expect((await events.next()).value).toMatchObject({ payload: "ü".repeat(300) });
  });

  test("garbage of others goes to onError, and the next event comes", async () => {
    const errors: { code: string }[] = [];
    const { target } = await openNats(opened, server.port, {
      onError: (error) => errors.push(error as { code: string }),
    });
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("garbage");
    const raw = await client();
    for (const text of ["", "{", "[]", '{"type":7}', new Uint8Array([255, 254])])
      raw.publish("alk.events.x.garbage", text);
    await raw.flush();
    await pubsub.publish("garbage", "x", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
    expect(errors.map(({ code }) => code)).toEqual(Array.from({ length: 5 }, () => "MALFORMED"));
  });

  test("a serializer of one's own is used both ways, and its failure is a PAYLOAD error", async () => {
    const serializer = {
      stringify: (envelope: unknown) => `!${JSON.stringify(envelope)}`,
      parse: (text: string): unknown => JSON.parse(text.slice(1)),
    };
    const [pubsub] = await over(await client(), { serializer });
    const events = await pubsub.subscribe("own");
    await expect(pubsub.publish("own", "", 1n)).rejects.toMatchObject({ code: "PAYLOAD" });
    await pubsub.publish("own", "", 1);
    expect((await events.next()).value).toMatchObject({ payload: 1 });
  });
});
