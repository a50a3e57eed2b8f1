// The race that gave the five steps their shape: whoever has awaited a subscription misses nothing of what a tool publishes
// while it is called, and has it before the answer. On each transport, a thousand times each; and the same without awaiting.
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { KadiClient, LoadedAbility } from "@alkdev/kadi";
import { expect, onTestFinished, test } from "vitest";
import { abilityAt, openClient, startEcho, startProgram } from "./fixtures/client.ts";
import { openBroker } from "./fixtures/open.ts";

const path = abilityAt("echo-js");
const ROUNDS = 1000;
const timeout = 120_000;

/** Subscribes to a channel that is new each time, and calls at once a tool that publishes there and then answers. */
async function race(client: KadiClient, ability: string): Promise<{ lost: number; late: number }> {
  let lost = 0;
  let late = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const order: string[] = [];
    // Patterns, and names to the letter.
    const pattern = ["race.*", `race.r${i}`, "race.#"][i % 3] ?? "";
    const stop = await client.subscribeToEvent(pattern, (data) => order.push(`event ${String(data)}`));
    order.push(await client.callTool<string>(ability, "hasty", { channel: `race.r${i}`, data: i }));
    if (!order.includes(`event ${i}`)) lost++;
    else if (order[0] !== `event ${i}` || order.length !== 2) late++;
    stop();
  }
  return { lost, late };
}

type Load = (client: KadiClient) => Promise<LoadedAbility>;

test.each<[string, Load]>([
  ["native", (client) => client.loadNative("echo-js", { path })],
  ["stdio", (client) => client.loadStdio("echo-js", { path })],
])("%s: nothing is lost, and all is before the answer", { timeout }, async (_name, load) => {
  const client = openClient();
  await load(client);
  expect(await race(client, "echo-js")).toEqual({ lost: 0, late: 0 });
});

test("broker: nothing is lost, and all is before the answer", { timeout }, async () => {
  const { url } = await openBroker();
  await startEcho(url);
  const client = openClient({ broker: url });
  await client.connect();
  expect(await race(client, "echo-js")).toEqual({ lost: 0, late: 0 });
});

/**
 * Subscribes to a channel that is new each time; another process, which is told as soon as that has resolved, publishes there at
 * once, on its own account.
 */
async function raceWithProcess(
  client: KadiClient,
  startPublisher: (port: string) => Promise<unknown>,
): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const connected = once(server, "connection");
  await startPublisher(String((server.address() as AddressInfo).port));
  const [socket] = (await connected) as [Socket];
  onTestFinished(() => void socket.destroy());
  socket.setNoDelay(true);
  let over: () => void = () => undefined;
  await client.subscribeToEvent("marker.over", () => over());
  let lost = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const received: unknown[] = [];
    const pattern = ["race.*", `race.r${i}`, "race.#"][i % 3] ?? "";
    const published = new Promise<void>((resolve) => (over = resolve));
    const stop = await client.subscribeToEvent(pattern, (data) => received.push(data));
    socket.write(`${i}\n`);
    await published;
    if (received.length !== 1 || received[0] !== i) lost++;
    stop();
  }
  return lost;
}

const publisher = fileURLToPath(new URL("fixtures/race-publisher.mjs", import.meta.url));

test(
  "stdio: what a child publishes in the instant in which a subscription resolves is not lost",
  { timeout },
  async () => {
    const client = openClient();
    const start = (port: string): Promise<unknown> =>
      client.loadStdio("publisher", { command: process.execPath, args: [publisher, port] });
    expect(await raceWithProcess(client, start)).toBe(0);
  },
);

test(
  "broker: what another process publishes in the instant in which a subscription resolves is not lost",
  { timeout },
  async () => {
    const { url } = await openBroker();
    const client = openClient({ broker: url });
    await client.connect();
    const start = (port: string): Promise<unknown> => Promise.resolve(startProgram([publisher, port, url]));
    expect(await raceWithProcess(client, start)).toBe(0);
  },
);

test(
  "broker: whoever does not await the subscription, as the old client did not, loses events",
  { timeout },
  async () => {
    const { url } = await openBroker();
    await startEcho(url);
    const caller = openClient({ broker: url });
    await caller.connect();
    let lost = 0;
    for (let i = 0; i < 20; i++) {
      // The old client returned at once, and made its transport ready and subscribed there behind its caller's back.
      const client = openClient({ broker: url });
      let received = 0;
      const subscribing = client.subscribeToEvent("race.*", () => received++);
      await caller.callTool("echo-js", "hasty", { channel: `race.r${i}` });
      await subscribing;
      await caller.callTool("echo-js", "hasty", { channel: "marker.over" });
      // What the broker sends to this client after all that it had for it.
      await client.callTool("echo-js", "hasty", { channel: "marker.over" });
      if (received === 0) lost++;
      await client.disconnect();
    }
    expect(lost).toBeGreaterThan(0);
  },
);
