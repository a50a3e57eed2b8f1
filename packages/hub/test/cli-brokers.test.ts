// The command over brokers, as it is typed: with a hub between, with several that share one, and with none.
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { createHubEventTarget } from "@alkdev/hub";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { startServer } from "../../pubsub/test/fixtures/servers.ts";
import type { Server, ServerName, ServerOptions } from "../../pubsub/test/fixtures/servers.ts";
import { pubsub } from "./cli-support.ts";
import type { Run, RunOptions } from "./cli-support.ts";

interface Broker {
  readonly server: ServerName;
  readonly url: (port: number) => string;
  /** Makes it ask for a password. */
  readonly guarded?: ServerOptions & { readonly credentials: string };
}

const BROKERS: Readonly<Record<string, Broker>> = {
  Redis: {
    server: "redis",
    url: (port) => `redis://127.0.0.1:${port}`,
    guarded: { args: ["--requirepass", "s3cret"], credentials: ":s3cret" },
  },
  NATS: {
    server: "nats",
    url: (port) => `nats://127.0.0.1:${port}`,
    guarded: { args: ["--user", "me", "--pass", "s3cret"], credentials: "me:s3cret" },
  },
};

async function start(name: ServerName, options?: ServerOptions): Promise<Server> {
  const server = await startServer(name, options);
  onTestFinished(() => server.end());
  return server;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
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

describe.each(Object.entries(BROKERS))("over %s", (_, { server: name, url: urlOf, guarded }) => {
  test("tail and publish meet there, and go on after a restart, with a gap in its place", async () => {
    const server = await start(name);
    const url = urlOf(server.port);
    const tail = pubsub(["tail", "a.*", "--json", "--url", url]);
    await tail.said("stderr", new RegExp(`^live: a\\.\\* on ${url}\n`));
    const feed = pubsub(["publish", "a.b", "x", "-", "--url", url]);
    feed.child.stdin.write("1\n");
    await tail.said("stdout", /"payload":1/);
    await server.kill();
    await feed.said("stderr", /^interrupted: .*; connecting again; the input waits\n/);
    await server.start();
    await tail.said("stderr", /\nready: /);
    await feed.said("stderr", /\nready: /);
    feed.child.stdin.end("2\n");
    expect(await feed.ended).toBe(0);
    expect(feed.stderr).toMatch(/\npublished 2 events to a\.b:x\n$/);
    await tail.said("stdout", /"payload":2/);
    tail.child.kill("SIGINT");
    expect(await tail.ended).toBe(0);
    expect(tail.lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { type: "a.b", id: "x", payload: 1 },
      { gap: { reason: "reconnect" } },
      { type: "a.b", id: "x", payload: 2 },
    ]);
  });

  test("two hubs are one topic space; of one that is killed and started again its spokes miss a gap, and nothing else", async () => {
    const server = await start(name);
    const backplane = urlOf(server.port);
    const port = await freePort();
    const [one, other] = [await startHub(port, backplane), await startHub(0, backplane)];
    expect(one.run.stdout).toContain(`/status, joined with others by ${backplane}\n`);
    const [here, there] = [await numbersAt(one.url), await numbersAt(other.url)];
    const [near, far] = [createPubSub({ eventTarget: here.target }), createPubSub({ eventTarget: there.target })];
    let last = 0;
    const publish = async (times: number, by = far): Promise<void> => {
      for (let i = 0; i < times; i++) await by.publish("number", "1", ++last);
    };
    await publish(50);
    await publish(50, near);
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
    await server.kill();
    await again.run.said("stderr", /^backplane interrupted: .*; connecting again\n/);
    await server.start();
    await again.run.said("stderr", /\nbackplane ready\n/);
    for (const { run } of [again, other]) {
      run.child.kill("SIGINT");
      expect(await run.ended).toBe(0);
    }
  });

  test("whoever cannot be reached or lets nobody in is said in one line, without the password", async () => {
    const nobody = urlOf(await freePort());
    const { args = [], credentials = "" } = guarded ?? {};
    const server = await start(name, { args });
    const secret = urlOf(server.port).replace("//", `//${credentials}@`);
    const wrong = secret.replace("s3cret", "s3cr_t");
    const cases: [Run, RegExp][] = [
      [pubsub(["tail", "a", "--url", nobody]), new RegExp(`^pubsub: ${nobody} cannot be reached: .*ECONNREFUSED.*\n$`)],
      [pubsub(["publish", "a", "b", "1", "--url", wrong]), /^pubsub: .* does not let this client in: .*\n$/],
      [pubsub(["hub", "--port", "0", "--backplane", wrong]), /^pubsub: .* does not let this client in: .*\n$/],
    ];
    for (const [run, said] of cases) {
      expect(await run.ended).toBe(1);
      expect(run.stderr).toMatch(said);
      expect(run.stderr).not.toContain("s3cr");
      expect(run.stdout).toBe("");
    }
    const run = pubsub(["hub", "--port", "0"], { env: { PUBSUB_BACKPLANE: secret } });
    await run.said("stdout", new RegExp(`, joined with others by ${urlOf(server.port)}\n$`));
    run.child.kill("SIGTERM");
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe("");
  });
});

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
