// The command over brokers, as it is typed: with a hub between, with several that share one, and with none.
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { createHubEventTarget } from "@alkdev/hub";
import { pbkdf2Sync, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { freePort } from "../../pubsub/test/fixtures/ports.ts";
import { startServer } from "../../pubsub/test/fixtures/servers.ts";
import type { Server, ServerName, ServerOptions } from "../../pubsub/test/fixtures/servers.ts";
import { pubsub } from "./cli-support.ts";
import type { Run, RunOptions } from "./cli-support.ts";

interface Broker {
  readonly server: ServerName;
  readonly scheme: string;
  /** Behind the port. */
  readonly path?: string;
  /** Who is let in, and who is not; and what makes it ask, where it does not anyway. */
  readonly right: string;
  readonly wrong: string;
  readonly guarded?: ServerOptions;
  /** Whether it takes seconds to start, so that one has to do for all tests. */
  readonly slow?: boolean;
}

/** Who may come to a mosquitto: `me`, with `s3cret`. */
const passwords = join(mkdtempSync(join(tmpdir(), "passwords-")), "file");
const salt = randomBytes(12);
const hash = pbkdf2Sync("s3cret", salt, 101, 64, "sha512");
writeFileSync(passwords, `me:$7$101$${salt.toString("base64")}$${hash.toString("base64")}\n`);
afterAll(() => rmSync(dirname(passwords), { recursive: true }));

const BROKERS: Readonly<Record<string, Broker>> = {
  Redis: {
    server: "redis",
    scheme: "redis",
    right: ":s3cret@",
    wrong: ":s3cr_t@",
    guarded: { args: ["--requirepass", "s3cret"] },
  },
  NATS: {
    server: "nats",
    scheme: "nats",
    right: "me:s3cret@",
    wrong: "me:s3cr_t@",
    guarded: { args: ["--user", "me", "--pass", "s3cret"] },
  },
  Postgres: {
    server: "postgres",
    scheme: "postgresql",
    path: "/postgres",
    right: "postgres:s3cret@",
    wrong: "nobody:s3cr_t@",
  },
  MQTT: {
    server: "mosquitto",
    scheme: "mqtt",
    right: "me:s3cret@",
    wrong: "me:s3cr_t@",
    guarded: { lines: [`password_file ${passwords}`, "set_tcp_nodelay true"] },
  },
  RabbitMQ: { server: "rabbitmq", scheme: "amqp", right: "guest:guest@", wrong: "guest:s3cr_t@", slow: true },
};

async function start(name: ServerName, options?: ServerOptions): Promise<Server> {
  const server = await startServer(name, options);
  onTestFinished(() => server.end());
  return server;
}

async function startHub(port: number, backplane: string, options?: RunOptions): Promise<{ run: Run; url: string }> {
  const run = pubsub(["hub", "--port", String(port), "--backplane", backplane], options);
  const [, url = ""] = await run.said("stdout", /^hub: (ws:\S+),.*\n/);
  return { run, url };
}

/** The numbers that a spoke gets, and what it is told is missing, in order. */
async function numbersAt(
  url: string,
): Promise<{ seen: (number | string)[]; target: ReturnType<typeof createHubEventTarget> }> {
  const target = createHubEventTarget(url, { backoff: { min: 5, max: 50 }, onError: () => undefined });
  const events = createPubSub({ eventTarget: target });
  onTestFinished(async () => {
    await events.close();
    await target.close();
  });
  const seen: (number | string)[] = [];
  const onGap = ({ reason }: Gap): void => void seen.push(reason);
  await events.on("number", ({ payload }: EventEnvelope) => void seen.push(payload as number), { onGap });
  return { seen, target };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const count = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe.each(Object.entries(BROKERS))("over %s", (_, broker) => {
  const { server: name, scheme, path = "", right, wrong, guarded, slow = false } = broker;
  const urlOf = (port: number, user = ""): string => `${scheme}://${user}127.0.0.1:${port}${path}`;
  let shared: Server | undefined;
  beforeAll(async () => void (slow && (shared = await startServer(name))));
  afterAll(() => shared?.end());
  const startOne = async (): Promise<Server> => shared ?? start(name, guarded);

  test("two hubs are one topic space; of one that is killed and started again its spokes miss a gap, and nothing else", async () => {
    const server = await startOne();
    const backplane = urlOf(server.port, right);
    const port = await freePort();
    const [one, other] = [await startHub(port, backplane), await startHub(0, backplane)];
    expect(one.run.stdout).toContain(`/status, joined with others by ${urlOf(server.port)}\n`);
    const [here, there] = [await numbersAt(one.url), await numbersAt(other.url)];
    const [near, far] = [createPubSub({ eventTarget: here.target }), createPubSub({ eventTarget: there.target })];
    let last = 0;
    const publish = async (times: number, by = far): Promise<void> => {
      for (let i = 0; i < times; i++) await by.publish("number", "1", ++last);
    };
    await publish(50);
    await publish(50, near);
    // What is accepted may still be on its way back to who published it.
    await until(() => here.seen.at(-1) === last);
    const interrupted = new Promise<void>((resolve) =>
      here.target.onStatus((status) => status === "interrupted" && resolve()),
    );
    one.run.child.kill("SIGKILL");
    await interrupted;
    await publish(50);
    const ready = new Promise<void>((resolve) => here.target.onStatus((status) => status === "ready" && resolve()));
    const again = await startHub(port, backplane);
    await ready;
    await publish(50);
    await publish(50, near);
    await until(() => here.seen.at(-1) === last && there.seen.at(-1) === last);
    expect(there.seen).toEqual(count(1, 250));
    const gap = here.seen.findIndex((each) => typeof each === "string");
    const after = here.seen[gap + 1] as number;
    expect(here.seen).toEqual([...count(1, 100), "resume-expired", ...count(after, 250)]);
    expect(after).toBeGreaterThan(100);
    expect(after).toBeLessThanOrEqual(151);
    // What both share is an address like any other.
    const tail = pubsub(["tail", "number", "--count", "1", "--url", backplane]);
    await tail.said("stderr", /^live/);
    await publish(1);
    expect(await tail.ended).toBe(0);
    expect(tail.stdout).toMatch(/ {2}number:1 {2}251\n$/);
    if (!slow) {
      await server.kill();
      await again.run.said("stderr", /^backplane interrupted: .*; connecting again\n/);
      await server.start();
      await again.run.said("stderr", /\nbackplane ready\n/);
    }
    for (const { run } of [again, other]) {
      run.child.kill("SIGINT");
      expect(await run.ended).toBe(0);
    }
  });

  test("whoever cannot be reached or lets nobody in is said in one line, without the password", async () => {
    const nobody = urlOf(await freePort());
    const server = await startOne();
    const refused = urlOf(server.port, wrong);
    const cases: [Run, RegExp][] = [
      [pubsub(["tail", "a", "--url", nobody]), new RegExp(`^pubsub: ${nobody} cannot be reached: .*ECONNREFUSED.*\n$`)],
      [pubsub(["publish", "a", "b", "1", "--url", refused]), /^pubsub: .* does not let this client in: .*\n$/],
      [pubsub(["hub", "--port", "0", "--backplane", refused]), /^pubsub: .* does not let this client in: .*\n$/],
    ];
    for (const [run, said] of cases) {
      expect(await run.ended).toBe(1);
      expect(run.stderr).toMatch(said);
      expect(run.stderr).not.toContain("s3cr");
      expect(run.stdout).toBe("");
    }
    const run = pubsub(["hub", "--port", "0"], { env: { PUBSUB_BACKPLANE: urlOf(server.port, right) } });
    await run.said("stdout", new RegExp(`, joined with others by ${urlOf(server.port)}\n$`));
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe("");
  });
});

test.each(Object.entries(BROKERS).filter(([, { slow }]) => slow !== true))(
  "tail and publish meet at %s, and go on after its restart, with a gap in its place",
  async (_, { server: name, scheme, path = "", right, guarded }) => {
    const server = await start(name, guarded);
    const at = `127.0.0.1:${server.port}${path}`;
    const url = `${scheme}://${right}${at}`;
    const tail = pubsub(["tail", "a.*", "--json", "--url", url]);
    await tail.said("stderr", new RegExp(`^live: a\\.\\* on ${scheme}://${at}\n`));
    const feed = pubsub(["publish", "a.b", "x", "-", "--url", url]);
    feed.child.stdin.write("1\n");
    await tail.said("stdout", /"payload":1/);
    // One that is delivered and not acknowledged yet would have failed.
    await feed.said("stderr", /^1 published so far$/m);
    await server.kill();
    await feed.said("stderr", /^interrupted: .*; connecting again; the input waits$/m);
    await server.start();
    await tail.said("stderr", /\nready: /);
    await feed.said("stderr", /\nready: /);
    feed.child.stdin.end("2\n");
    await feed.ended;
    expect(feed.stderr).toMatch(/\npublished 2 events to a\.b:x\n$/);
    expect(await feed.ended).toBe(0);
    await tail.said("stdout", /"payload":2/);
    tail.child.kill("SIGINT");
    expect(await tail.ended).toBe(0);
    expect(tail.lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { type: "a.b", id: "x", payload: 1 },
      { gap: { reason: "reconnect" } },
      { type: "a.b", id: "x", payload: 2 },
    ]);
  },
);

test("hubs may share a hub", async () => {
  const shared = pubsub(["hub", "--port", "0"]);
  const [, backplane = ""] = await shared.said("stdout", /^hub: (ws:\S+),/);
  const hubs = await Promise.all([startHub(0, backplane), startHub(0, backplane)]);
  const [here, there] = [await numbersAt(hubs[0].url), await numbersAt(hubs[1].url)];
  await createPubSub({ eventTarget: here.target }).publish("number", "1", 1);
  await until(() => here.seen.length + there.seen.length === 2);
  expect([here.seen, there.seen]).toEqual([[1], [1]]);
  const none = pubsub(["hub", "--port", "0", "--backplane", `ws://127.0.0.1:${await freePort()}`]);
  expect(await none.ended).toBe(1);
  expect(none.stderr).toMatch(
    /^pubsub: no hub at ws:.* \(connection refused\); start one with: pubsub hub --port \d+\n$/,
  );
});
