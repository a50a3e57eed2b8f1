// What is peculiar to Postgres and to its client; the rest is in the suite.
import { once } from "node:events";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createPubSub } from "@alkdev/pubsub";
import type { Gap, PubSub, Subscription } from "@alkdev/pubsub";
import { createPostgresEventTarget } from "@alkdev/pubsub/event-target-postgres";
import type {
  CreatePostgresEventTargetArgs,
  PostgresClient,
  PostgresEventTarget,
  PostgresPool,
  PostgresPoolClient,
  PostgresQueryable,
} from "@alkdev/pubsub/event-target-postgres";
import { Client, Pool } from "pg";
import type { PoolClient, PoolConfig } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { Opened } from "./fixtures/conformance.ts";
import { askPostgres, at, openPostgres, poolAt, postgresSessions } from "./fixtures/postgres.ts";
import { startProxy } from "./fixtures/proxy.ts";
import type { Proxy } from "./fixtures/proxy.ts";
import { reached } from "./fixtures/reached.ts";
import { refusalWithout } from "./fixtures/secrets.ts";
import { startServer } from "./fixtures/servers.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());
let server: Server;
beforeAll(async () => void (server = await startServer("postgres")));
afterAll(() => server.end());

type Args = Omit<CreatePostgresEventTargetArgs, "pool">;

const ignore = (): void => undefined;
const ask = (text: string): Promise<Record<string, unknown>[]> => askPostgres(server, text);
const outcome = (publishing: Promise<void>): Promise<string> =>
  publishing.then(
    () => "done",
    (error: { code: string }) => error.code,
  );

function openTarget(args: Args = {}, port: number = server.port): PostgresEventTarget {
  return openPostgres(opened, port, { onError: ignore, ...args });
}

const open = (args?: Args, port?: number): PubSub => createPubSub({ eventTarget: openTarget(args, port) });

async function openProxy(port: number = server.port): Promise<Proxy> {
  const proxy = await startProxy(port);
  opened.add(() => proxy.close());
  return proxy;
}

/** A server of the test's own. */
async function startOwn(...args: string[]): Promise<Server> {
  const own = await startServer("postgres", { args });
  opened.add(() => own.end());
  return own;
}

async function connect(port: number = server.port): Promise<Client> {
  const client = new Client(at(port));
  client.on("error", ignore);
  await client.connect();
  opened.add(() => client.end());
  return client;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function take(events: Subscription, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  while (taken.length < count) taken.push((await events.next()).value?.payload);
  return taken;
}

test("pools and clients of pg are ours by their types", () => {
  expectTypeOf<Pool>().toExtend<PostgresPool>();
  expectTypeOf<PoolClient>().toExtend<PostgresPoolClient>();
  expectTypeOf<PoolClient>().toExtend<PostgresQueryable>();
  expectTypeOf<Client>().toExtend<PostgresClient>();
});

describe("the channel", () => {
  test("has each event as its envelope, as JSON; another channel is another bus", async () => {
    const reader = await connect();
    const seen: unknown[] = [];
    reader.on("notification", ({ channel, payload = "" }) => seen.push([channel, JSON.parse(payload)]));
    await reader.query(`LISTEN "alk.events"; LISTEN mine`);
    const mine = open({ channel: "mine" });
    const events = await mine.subscribe("**");
    await open().publish("session.status", "proj_123", { status: "busy" });
    await mine.publish("session.closed", "", null);
    expect(await take(events, 1)).toEqual([null]);
    await until(() => seen.length === 2);
    const origin = expect.stringMatching(/^[0-9a-f]{32}$/) as string;
    expect(seen).toEqual([
      ["alk.events", { type: "session.status", id: "proj_123", payload: { status: "busy" }, meta: { origin } }],
      ["mine", { type: "session.closed", id: "", payload: null, meta: { origin } }],
    ]);
  });

  test("may be written to by a trigger, whose events come when its transaction commits", async () => {
    const events = await open().subscribe("session.*");
    const client = await connect();
    await client.query(`
      CREATE TABLE sessions (id text, status text);
      CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_notify('alk.events', json_build_object(
          'type', 'session.status', 'id', NEW.id, 'payload', json_build_object('status', NEW.status))::text);
        RETURN NULL;
      END $$;
      CREATE TRIGGER tell AFTER INSERT OR UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION tell();`);
    await client.query("BEGIN; INSERT INTO sessions VALUES ('gone', 'busy'); ROLLBACK");
    await client.query("INSERT INTO sessions VALUES ('proj_123', 'busy')");
    await client.query("UPDATE sessions SET status = 'idle'");
    const meta = undefined;
    expect((await events.next()).value).toEqual({
      type: "session.status",
      id: "proj_123",
      payload: { status: "busy" },
      meta,
    });
    expect((await events.next()).value?.payload).toEqual({ status: "idle" });
  });

  test.each([`"; NOTIFY x; --`, "Ünï cödé", "a'b\\", "SELECT", "x".repeat(63)])("may be called %j", async (channel) => {
    const pubsub = open({ channel });
    const events = await pubsub.subscribe("a", "1");
    await pubsub.publish("a", "1", 1);
    expect(await take(events, 1)).toEqual([1]);
    await events.return();
  });

  test.each(["", "x".repeat(64), "ü".repeat(32), "a\0b", 7])("cannot be called %j", (channel) => {
    expect(() => openTarget({ channel: channel as string })).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }) as Error,
    );
  });

  test("may have garbage of others: it goes to onError, and the next event comes", async () => {
    const errors: { code: string }[] = [];
    const pubsub = open({ onError: (error) => errors.push(error as { code: string }) });
    const events = await pubsub.subscribe("a", "1");
    for (const text of ["", "{", "[]", "null", '{"type":"a"}', '{"type":"$hello","id":"","payload":1}'])
      await ask(`SELECT pg_notify('alk.events', '${text}')`);
    await pubsub.publish("a", "1", 1);
    expect(await take(events, 1)).toEqual([1]);
    expect(errors.map(({ code }) => code)).toEqual(Array.from({ length: 6 }, () => "MALFORMED"));
  });
});

describe("what is published", () => {
  test("comes in order, many at once and from several turns, a statement for many of them", async () => {
    const pool = poolAt(opened, server.port);
    const target = createPostgresEventTarget({ pool });
    opened.add(() => target.close());
    const pubsub = createPubSub({ eventTarget: target });
    const events = await open().subscribe("order");
    await pubsub.publish("other", "", "connected");
    let lent = 0;
    pool.on("acquire", () => lent++);
    const publishing: Promise<void>[] = [];
    for (let i = 0; i < 5000; i++) {
      publishing.push(pubsub.publish("order", String(i % 7), i));
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(publishing);
    expect(await take(events, 5000)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
    expect(lent).toBeLessThan(60);
  });

  const serializer = {
    stringify: (envelope: unknown): string => `!${JSON.stringify(envelope)}`,
    parse: (text: string): unknown => JSON.parse(text.slice(1)),
  };

  test.each([
    ["as JSON", {}],
    ["with a serializer of one's own", { serializer }],
  ])("comes as often as it was published, however equal, %s", async (_, args) => {
    const pubsub = open(args);
    const events = await pubsub.subscribe("equal");
    await Promise.all(Array.from({ length: 300 }, () => pubsub.publish("equal", "", "same")));
    await pubsub.publish("equal", "", "last");
    const all = await take(events, 301);
    expect(all).toEqual([...Array.from({ length: 300 }, () => "same"), "last"]);
  });

  test("by a bare client, equal and in one transaction, comes once (the server's way, a control)", async () => {
    const reader = await connect();
    const seen: (string | undefined)[] = [];
    reader.on("notification", ({ payload }) => seen.push(payload));
    await reader.query("LISTEN fold");
    await ask("SELECT pg_notify('fold', text) FROM unnest(ARRAY['same', 'same', 'last']) AS text");
    await until(() => seen.includes("last"));
    expect(seen).toEqual(["same", "last"]);
  });

  test("may have 7,999 bytes; one more is a PAYLOAD error that says so, and takes no other with it", async () => {
    const target = openTarget();
    const pubsub = createPubSub({ eventTarget: target });
    const bytes = Buffer.byteLength(
      JSON.stringify({ type: "a", id: "", payload: "", meta: { origin: "0".repeat(32) } }),
    );
    const room = (target.supports.maxPayload ?? 0) - bytes;
    const events = await pubsub.subscribe("a", "");
    const texts = ["x".repeat(room), "x".repeat(room), "x".repeat(room + 1), "ü".repeat(room / 2 + 1), "small"];
    const outcomes = await Promise.all(texts.map((text) => outcome(pubsub.publish("a", "", text))));
    expect(outcomes).toEqual(["done", "done", "PAYLOAD", "PAYLOAD", "done"]);
    expect(await take(events, 3)).toEqual([texts[0], texts[1], "small"]);
    await expect(pubsub.publish("a", "", texts[2])).rejects.toThrow(/has 8000 bytes.* 7999 /);
  });

  test("that the database has no characters for is a PAYLOAD error, that alone", async () => {
    await ask("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    const pool = poolAt(opened, server.port, { database: "latin" });
    const target = createPostgresEventTarget({ pool });
    opened.add(() => target.close());
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a");
    const texts = ["one", "snow ☃", "twö", "☃"];
    expect(await Promise.all(texts.map((text) => outcome(pubsub.publish("a", "", text))))).toEqual([
      ...["done", "PAYLOAD", "done", "PAYLOAD"],
    ]);
    expect(await take(events, 2)).toEqual(["one", "twö"]);
  });

  test("with a NUL in it is a PAYLOAD error only where a serializer does not escape it", async () => {
    const pubsub = open();
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "\0", "\0");
    expect((await events.next()).value).toMatchObject({ id: "\0", payload: "\0" });
    const raw = open({ serializer: { stringify: () => "\0", parse: JSON.parse } });
    expect(await outcome(raw.publish("a", "", 1))).toBe("PAYLOAD");
  });

  test("without end, and without being awaited, is an OVERFLOW once 64 MiB wait", async () => {
    const pubsub = open();
    await pubsub.publish("much", "", 0);
    const text = "x".repeat(7800);
    const outcomes = await Promise.all(Array.from({ length: 8700 }, () => outcome(pubsub.publish("much", "", text))));
    const done = outcomes.indexOf("OVERFLOW");
    expect(done).toBeGreaterThan(8300);
    expect(outcomes).toEqual(outcomes.map((_, i) => (i < done ? "done" : "OVERFLOW")));
    await pubsub.publish("much", "", 0);
  });

  test("is refused with Postgres's words where it does not let us", async () => {
    await ask("CREATE ROLE mute LOGIN; REVOKE EXECUTE ON FUNCTION pg_notify FROM PUBLIC");
    opened.add(() => ask("GRANT EXECUTE ON FUNCTION pg_notify TO PUBLIC"));
    const pool = poolAt(opened, server.port, { user: "mute" });
    const target = createPostgresEventTarget({ pool });
    opened.add(() => target.close());
    const refused = createPubSub({ eventTarget: target }).publish("a", "", 1);
    await expect(refused).rejects.toMatchObject({
      code: "REFUSED",
      message: expect.stringContaining("permission denied"),
    });
  });
});

describe("publishIn", () => {
  test("publishes when the transaction commits, and not when it does not", async () => {
    const [target, client] = [openTarget(), await connect()];
    const pubsub = createPubSub({ eventTarget: target });
    const [events, others] = [await pubsub.subscribe("a"), await pubsub.subscribe("a", { own: false })];
    await client.query("BEGIN");
    await target.publishIn(client, "a", "", "undone");
    await client.query("ROLLBACK");
    await client.query("BEGIN");
    await target.publishIn(client, "a", "", "done");
    await pubsub.publish("a", "", "meanwhile");
    await target.publishIn(client, "a", "", "done");
    await client.query("COMMIT");
    await open().publish("a", "", "last");
    expect(await take(events, 4)).toEqual(["meanwhile", "done", "done", "last"]);
    expect(await take(others, 1)).toEqual(["last"]);
  });

  test("needs no connection of the target's own", async () => {
    const events = await open().subscribe("a");
    const [target, client] = [openTarget(), await connect()];
    await target.publishIn(client, "a", "", 1);
    expect(await take(events, 1)).toEqual([1]);
    expect(target.status).toBe("idle");
  });

  test("refuses what cannot be published before it spoils the transaction", async () => {
    const [target, client] = [openTarget(), await connect()];
    await client.query("BEGIN");
    await expect(target.publishIn(client, "a", "", "x".repeat(8000))).rejects.toMatchObject({ code: "PAYLOAD" });
    await expect(target.publishIn(client, "a", "", undefined)).rejects.toMatchObject({ code: "PAYLOAD" });
    await expect(target.publishIn(client, "a.*", "", 1)).rejects.toMatchObject({ code: "INVALID_TOPIC" });
    await expect(target.publishIn(client, "a", 7 as never, 1)).rejects.toMatchObject({ code: "INVALID_TOPIC" });
    await expect(target.publishIn({} as never, "a", "", 1)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await client.query("COMMIT");
    await client.query("BEGIN");
    await client.query("SELECT nothing").catch(ignore);
    await expect(target.publishIn(client, "a", "", 1)).rejects.toMatchObject({ code: "REFUSED" });
    await client.query("ROLLBACK");
  });
});

describe("the connections", () => {
  test("are one that listens, and while something is published one of the pool: closing leaves none", async () => {
    const own = await startOwn();
    // Whoever asked whether it was there is gone.
    await until(async () => (await postgresSessions(own)) === 0);
    const pool = poolAt(opened, own.port);
    const listeners = (): number[] => ["error", "connect", "acquire", "remove"].map((name) => pool.listenerCount(name));
    const before = listeners();
    const target = createPostgresEventTarget({ pool });
    const pubsub = createPubSub({ eventTarget: target });
    const all = await Promise.all(Array.from({ length: 100 }, (_, i) => pubsub.subscribe("a.**", String(i))));
    expect([await postgresSessions(own), pool.totalCount]).toEqual([1, 0]);
    await Promise.all(all.map((_, i) => pubsub.publish("a.b", String(i), i)));
    expect([await postgresSessions(own), pool.totalCount, pool.idleCount]).toEqual([2, 1, 1]);
    for (const [i, events] of all.entries()) expect(await take(events, 1)).toEqual([i]);
    await target.close();
    await until(async () => (await postgresSessions(own)) === 1);
    expect(listeners()).toEqual(before);
    const client = await pool.connect();
    expect(client.listenerCount("error")).toBe(0);
    client.release();
    await pool.end();
    await until(async () => (await postgresSessions(own)) === 0);
  });

  test("that listens stops listening where nobody wants anything", async () => {
    const pool = poolAt(opened, server.port);
    let client: Client | undefined;
    const target = createPostgresEventTarget({ pool, listenClient: () => (client = new Client(at(server.port))) });
    opened.add(() => target.close());
    const channels = async (): Promise<number | null | undefined> =>
      (await client?.query("SELECT pg_listening_channels()"))?.rowCount;
    const pubsub = createPubSub({ eventTarget: target });
    const [one, other] = [await pubsub.subscribe("a"), await pubsub.subscribe("**", "1")];
    expect(await channels()).toBe(1);
    await one.return();
    expect(await channels()).toBe(1);
    await other.return();
    await until(async () => (await channels()) === 0);
  });

  test("whose pool has no error listener survive a restart, with a gap", async () => {
    const own = await startOwn();
    const pool = new Pool(at(own.port));
    opened.add(() => pool.end());
    const target = createPostgresEventTarget({ pool, backoff: { min: 5, max: 50 }, onError: ignore });
    opened.add(() => target.close());
    const gaps: Gap[] = [];
    const pubsub = createPubSub({ eventTarget: target, onGap: (gap) => gaps.push(gap) });
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", "before");
    await own.kill();
    await reached(target, "interrupted");
    expect(await outcome(pubsub.publish("a", "", "lost"))).toBe("INTERRUPTED");
    await own.start();
    await reached(target, "ready");
    await pubsub.publish("a", "", "after");
    expect(await take(events, 2)).toEqual(["before", "after"]);
    expect(gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
  });

  test("that somebody terminates come back, and no event comes twice", async () => {
    const target = openTarget();
    const buffer = { limit: 2 ** 20 };
    const pubsub = createPubSub({ eventTarget: target, buffer });
    const [near, far] = [await pubsub.subscribe("a"), await open().subscribe("a", { buffer })];
    const terminate =
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_notify($1%' AND pid <> pg_backend_pid()";
    const outcomes: string[] = [];
    for (let hits = 0; hits < 5;) {
      const killing = ask(terminate);
      const from = outcomes.length;
      while (outcomes.length < from + 1000) {
        const burst = Array.from({ length: 200 }, (_, i) => outcome(pubsub.publish("a", "", outcomes.length + i)));
        outcomes.push(...(await Promise.all(burst)));
      }
      await killing;
      if (outcomes.includes("INTERRUPTED", from)) hits++;
    }
    expect(new Set(outcomes)).toEqual(new Set(["done", "INTERRUPTED"]));
    const done = [...outcomes.keys()].filter((i) => outcomes[i] === "done");
    // One that was interrupted may have come.
    const came: number[] = [];
    while (came.at(-1) !== done.at(-1)) came.push(...((await take(far, 1)) as number[]));
    expect(came).toEqual([...new Set(came)].sort((one, other) => one - other));
    expect(done.filter((i) => !came.includes(i))).toEqual([]);
    expect(await take(near, came.length)).toEqual(came);
  });

  test("to a server that stands still are given up; what was given up is not published afterwards, or out of order", async () => {
    const own = await startOwn();
    const witness = await open({ heartbeat: 0 }, own.port).subscribe("a");
    const pool = poolAt(opened, own.port);
    // So that one is there at once, whatever becomes of the other one.
    const lent = await Promise.all([pool.connect(), pool.connect()]);
    for (const client of lent) client.release();
    const target = createPostgresEventTarget({ pool, heartbeat: 1000, backoff: { min: 5, max: 50 } });
    opened.add(() => target.close());
    const pubsub = createPubSub({ eventTarget: target });
    await pubsub.publish("a", "", "before");
    const bare = await connect(own.port);
    const givenUp = once(pool, "remove");
    own.freeze();
    bare.query(`SELECT pg_notify('alk.events', '{"type":"a","id":"","payload":"bare"}')`).catch(ignore);
    expect(await outcome(pubsub.publish("a", "", "given up"))).toBe("INTERRUPTED");
    bare.connection.stream.destroy();
    await Promise.all([givenUp, reached(target, "interrupted")]);
    own.thaw();
    await reached(target, "ready");
    // The bare client's own, which it knows nothing of any more, comes late (a control).
    expect(await take(witness, 2)).toEqual(["before", "bare"]);
    await pubsub.publish("a", "", "after");
    expect(await take(witness, 1)).toEqual(["after"]);
  });

  test("of a path that carries events and no answers are given up", async () => {
    const way = await openProxy();
    const target = openTarget({ heartbeat: 500 }, way.port);
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

  test("that do not read for long lose nothing: Postgres waits", async () => {
    const way = await openProxy();
    const [target, far] = [openTarget({ heartbeat: 0 }, way.port), open()];
    const events = await createPubSub({ eventTarget: target }).subscribe("much");
    way.stall();
    const text = "x".repeat(7000);
    for (let i = 0; i < 4000; i += 500)
      await Promise.all(Array.from({ length: 500 }, (_, k) => far.publish("much", "", `${i + k} ${text}`)));
    way.thaw();
    for (let i = 0; i < 4000; i++) expect((await take(events, 1))[0]).toBe(`${i} ${text}`);
  });

  test("of the pool that are all lent to others make publishes wait, and reject, and no more than that", async () => {
    const pool = poolAt(opened, server.port, { max: 1 });
    const target = createPostgresEventTarget({ pool, heartbeat: 500 });
    opened.add(() => target.close());
    const pubsub = createPubSub({ eventTarget: target });
    const events = await pubsub.subscribe("a");
    const lent = await pool.connect();
    await expect(Promise.all([pubsub.publish("a", "", 0), pubsub.publish("a", "", 0)])).rejects.toMatchObject({
      code: "INTERRUPTED",
      message: expect.stringMatching(/Nothing was published.*lent none within 1000 ms/),
    });
    const waiting = pubsub.publish("a", "", 1);
    lent.release();
    await waiting;
    expect(await take(events, 1)).toEqual([1]);
    await until(() => pool.idleCount === 1);
    expect([pool.totalCount, pool.waitingCount]).toEqual([1, 0]);
    await pool.end();
    await expect(pubsub.publish("a", "", 2)).rejects.toMatchObject({
      code: "INTERRUPTED",
      message: expect.stringContaining("after calling end on the pool"),
    });
  });

  test("that never come about are given up, also when it is closed meanwhile", async () => {
    const way = await openProxy();
    way.freeze();
    const target = openTarget({ heartbeat: 100 }, way.port);
    const pubsub = createPubSub({ eventTarget: target });
    const pending = pubsub.subscribe("a").catch((error: unknown) => error);
    await until(() => way.accepted >= 2);
    await target.close();
    expect(await pending).toMatchObject({ code: "CLOSED" });
    way.thaw();
    await until(() => way.connections === 0);
  });

  test("that are gone when it is closed leave nothing behind", async () => {
    const way = await openProxy();
    const target = openTarget({}, way.port);
    await createPubSub({ eventTarget: target, onGap: "ignore" }).subscribe("a");
    way.refusing = true;
    way.cut();
    await reached(target, "interrupted");
    await target.close();
    way.refusing = false;
    const { accepted } = way;
    await createPubSub({ eventTarget: openTarget({}, way.port) }).subscribe("a");
    expect(way.accepted).toBe(accepted + 1);
  });
});

describe("through a pooler", () => {
  const through = async (database: string): Promise<{ host: string; port: number; user: string; database: string }> => {
    const pooler = await startServer("pgbouncer", { upstream: server.port });
    opened.add(() => pooler.end());
    return { host: "127.0.0.1", port: pooler.port, user: "postgres", database };
  };
  const over = (config: PoolConfig, listenClient?: () => Client): PubSub => {
    const pool = poolAt(opened, 0, config);
    const target = createPostgresEventTarget({
      pool,
      heartbeat: 1000,
      backoff: { min: 5, max: 50 },
      onError: ignore,
      ...(listenClient !== undefined && { listenClient }),
    });
    opened.add(() => target.close());
    return createPubSub({ eventTarget: target });
  };

  test("that lends connections by the transaction a client's LISTEN hears nothing (a control); here it is UNSUPPORTED", async () => {
    const config = await through("transaction");
    const [bare, another, direct] = [new Client(config), new Client(config), await connect()];
    for (const client of [bare, another]) {
      await client.connect();
      opened.add(() => client.end());
    }
    let came = 0;
    for (const client of [bare, direct]) client.on("notification", () => void came++);
    await bare.query("LISTEN pooled");
    await direct.query("LISTEN pooled; NOTIFY pooled");
    // The pooler lends it the connection that listens, and with that what has come there.
    await another.query("SELECT 1");
    await bare.query("SELECT 1");
    expect(came).toBe(1);
    const refused = { code: "UNSUPPORTED", message: expect.stringContaining("Give a listenClient") as string };
    await expect(over(config).subscribe("a")).rejects.toMatchObject(refused);
  });

  test("events are published, and listened to beside it", async () => {
    const pubsub = over(await through("transaction"), () => new Client(at(server.port)));
    const events = await pubsub.subscribe("a");
    await Promise.all(Array.from({ length: 2000 }, (_, i) => pubsub.publish("a", "", i)));
    expect(await take(events, 2000)).toEqual(Array.from({ length: 2000 }, (_, i) => i));
  });

  test("that lends connections by the session, events are listened to where one says so", async () => {
    const config = await through("session");
    const pubsub = over(config, () => new Client(config));
    const events = await pubsub.subscribe("a");
    await pubsub.publish("a", "", 1);
    expect(await take(events, 1)).toEqual([1]);
  });

  test("a connection that turns out to be lent by the transaction is an interruption, again and again", async () => {
    const config = await through("transaction");
    const pubsub = over(config, () => new Client(config));
    const events = await pubsub.subscribe("a", { onGap: "ignore" });
    const busy = poolAt(opened, 0, config);
    const interrupted = new Promise<unknown>((resolve) =>
      pubsub.onStatus(
        (status, cause) => (cause as { code?: string } | undefined)?.code === "UNSUPPORTED" && resolve(status),
      ),
    );
    let ended = false;
    const load = async (): Promise<void> => {
      while (!ended) await busy.query("SELECT pg_sleep(0.001)");
    };
    const loads = [load(), load(), load()];
    expect(await interrupted).toBe("interrupted");
    ended = true;
    await Promise.all(loads);
    await events.return();
  });
});

describe("who is not let in", () => {
  test("is REFUSED at once with a wrong password, which is not shown, in a database that is not there, or without a right to it", async () => {
    const file = join(server.folder, "data", "pg_hba.conf");
    const rules = readFileSync(file, "utf8");
    writeFileSync(file, `host all guarded 127.0.0.1/32 scram-sha-256\n${rules}`);
    await ask("SELECT pg_reload_conf()");
    opened.add(async () => {
      writeFileSync(file, rules);
      await ask("SELECT pg_reload_conf()");
    });
    await ask("CREATE ROLE guarded LOGIN PASSWORD 'secret'");
    await ask("CREATE DATABASE closed");
    await ask("REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
    for (const [more, words] of [
      [{ user: "guarded", password: "hunter2" }, "password authentication failed"],
      [{ database: "nowhere" }, "does not exist"],
      [{ user: "guarded", password: "secret", database: "closed" }, "permission denied"],
    ] as const) {
      const target = createPostgresEventTarget({ pool: poolAt(opened, server.port, more) });
      const pubsub = createPubSub({ eventTarget: target });
      const refused = { code: "REFUSED", message: expect.stringContaining(words) as string };
      expect(await refusalWithout("hunter2", pubsub.subscribe("a"))).toMatchObject(refused);
      expect(await refusalWithout("hunter2", pubsub.publish("a", "", 1))).toMatchObject(refused);
      await target.close();
    }
    const target = createPostgresEventTarget({
      pool: poolAt(opened, server.port, { user: "guarded", password: "secret" }),
    });
    opened.add(() => target.close());
    await createPubSub({ eventTarget: target }).subscribe("a");
  });

  test("waits where there are too many already, and is told so when it was too long", async () => {
    await ask("CREATE ROLE few LOGIN CONNECTION LIMIT 0");
    const make = (more: object): PubSub => {
      const pool = poolAt(opened, server.port, { user: "few" });
      const target = createPostgresEventTarget({ pool, backoff: { min: 5, max: 50 }, ...more });
      opened.add(() => target.close());
      return createPubSub({ eventTarget: target });
    };
    await expect(make({ connectTimeout: 2000 }).subscribe("a")).rejects.toMatchObject({
      code: "NOT_READY",
      message: expect.stringMatching(/too many connections.*max_connections/) as string,
    });
    const pending = make({}).subscribe("a");
    await ask("ALTER ROLE few CONNECTION LIMIT 10");
    await pending;
  });

  test("is REFUSED by a hot standby, and waits for it to be promoted where it was connected before", async () => {
    const own = await startOwn("-c", "restore_command=false");
    const target = openTarget({}, own.port);
    const events = await createPubSub({ eventTarget: target, onGap: "ignore" }).subscribe("a");
    await own.kill();
    appendFileSync(join(own.folder, "data", "standby.signal"), "");
    await own.start();
    await untilReading(own);
    const refused = { code: "REFUSED", message: expect.stringMatching(/hot standby.*primary/) as string };
    await expect(open({}, own.port).subscribe("a")).rejects.toMatchObject(refused);
    const client = await connect(own.port);
    await expect(target.publishIn(client, "a", "", 1)).rejects.toMatchObject(refused);
    expect(target.status).toBe("interrupted");
    await client.query("SELECT pg_promote()");
    await reached(target, "ready");
    await open({}, own.port).publish("a", "", 1);
    expect(await take(events, 1)).toEqual([1]);
  });
});

/** It accepts connections before it lets anybody read. */
async function untilReading(own: Server): Promise<void> {
  await until(() =>
    askPostgres(own, "SELECT 1").then(
      () => true,
      () => false,
    ),
  );
}

test.each<[string, object]>([
  ["no pool", { pool: undefined }],
  ["a client for a pool", { pool: new Client() }],
  ["a pool that does not say what its clients are", { pool: { connect: ignore, on: ignore, off: ignore } }],
  ["a client for what makes one", { listenClient: new Client() }],
  ["a heartbeat that is no time", { heartbeat: -1 }],
  ["a wait that is no time", { backoff: { min: Number.NaN } }],
  ["more than all of it left to chance", { backoff: { jitter: 2 } }],
])("%s is an INVALID_OPTION", (_, args) => {
  const make = (): unknown => createPostgresEventTarget({ pool: poolAt(opened, server.port), ...args });
  expect(make).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }) as Error);
});

test("what makes something else than clients is an INVALID_OPTION at the first use", async () => {
  const target = openTarget({ listenClient: () => ({}) as never });
  await expect(createPubSub({ eventTarget: target }).subscribe("a")).rejects.toMatchObject({ code: "INVALID_OPTION" });
});
