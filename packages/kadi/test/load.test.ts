// Many agents at one broker, and two brokers of which one dies under load. What is counted is what must hold at any speed.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createHubServer } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { expect, onTestFinished, test } from "vitest";
import { openBroker as connectTo } from "../src/broker-connection.ts";
import type { BrokerConnection, BrokerConnectionOptions } from "../src/broker-connection.ts";
import { openBroker, until } from "./fixtures/open.ts";

function open(url: string, options: BrokerConnectionOptions = {}): BrokerConnection {
  const connection = connectTo(url, { backoff: { min: 5, max: 50 }, onError: () => undefined, ...options });
  onTestFinished(() => connection.close());
  return connection;
}

const numbers = (length: number): number[] => Array.from({ length }, (_, i) => i);

test("a hundred agents with a thousand tools answer ten thousand calls and exchange twenty thousand events: nothing is lost", async () => {
  const broker = await openBroker({ limits: { rate: 1_000_000 } });
  const ran = new Map<unknown, number>();
  const agents = await Promise.all(
    numbers(100).map(async (i) => {
      const agent = open(broker.url, {
        onRequest: async ({ toolName, toolInput }) => {
          ran.set(toolInput, (ran.get(toolInput) ?? 0) + 1);
          return [toolName, toolInput];
        },
      });
      await agent.register(numbers(10).map((j) => ({ name: `${i}.${j}` })));
      return agent;
    }),
  );
  expect(broker.status()).toMatchObject({ agents: 100, sessions: 100 });
  expect(await agents[0]?.tools()).toHaveLength(1000);
  await Promise.all(
    agents.map(async (agent, i) => {
      for (const n of numbers(100)) {
        const [tool, input] = [`${(i + n) % 100}.${n % 10}`, i * 100 + n];
        expect(await agent.call(tool, input)).toEqual([tool, input]);
      }
    }),
  );
  expect(ran.size).toBe(10_000);
  expect([...ran.values()].every((times) => times === 1)).toBe(true);
  const events = agents.map(({ eventTarget }) => createPubSub({ eventTarget }));
  const seen = numbers(100).map((): unknown[] => []);
  // Each to the next one's channel, and all of them to one that has a pattern, too.
  await Promise.all(
    events.map((each, i) => each.on(`kadi.event.of.${i}`, "global", ({ payload }) => void seen[i]?.push(payload))),
  );
  let everywhere = 0;
  await events[0]?.on("kadi.event.of.*", "global", () => void everywhere++);
  await Promise.all(
    events.map(async (each, i) => {
      for (let n = 0; n < 200; n += 20)
        await Promise.all(numbers(20).map((j) => each.publish(`kadi.event.of.${(i + 1) % 100}`, "global", n + j)));
    }),
  );
  await until(() => everywhere === 20_000 && seen.every(({ length }) => length === 200));
  for (const each of seen) expect(each).toEqual(numbers(200));
  expect(broker.status()).toMatchObject({ calls: 0, agents: 100 });
});

// ----------------------------------------------------------------------------------------------------- one of two dies

interface Started {
  readonly url: string;
  kill(): Promise<void>;
}

async function startBroker(hub: string, port: number): Promise<Started> {
  const file = fileURLToPath(new URL("fixtures/broker-process.mjs", import.meta.url));
  const child = spawn(process.execPath, [file, hub, "2000", String(port)], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  onTestFinished(() => void child.kill("SIGKILL"));
  const [url] = (await once(createInterface(child.stdout), "line")) as [string];
  return {
    url,
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** What one subscriber was told, in order. */
type Story = ({ readonly from: string; readonly n: number; readonly last?: true } | "gap")[];

/** The accepted events of a publisher that a subscriber neither got nor has a gap for; and those that it got twice or late. */
function wrongs(story: Story, from: string, accepted: ReadonlySet<number>): string[] {
  const wrong: string[] = [];
  let last = -1;
  let gap = false;
  for (const entry of story) {
    if (entry === "gap") gap = true;
    else if (entry.from === from) {
      if (entry.n <= last) wrong.push(`${entry.n} after ${last}`);
      for (let n = last + 1; n < entry.n; n++)
        if (!gap && accepted.has(n)) wrong.push(`${n} is missing, without a gap`);
      last = entry.n;
      gap = false;
    }
  }
  return wrong;
}

test("one of two joined brokers is killed under load: every call settles, clients come back, and no event is lost in silence or comes twice", async () => {
  const hub = await createHubServer({ port: 0 });
  onTestFinished(() => hub.close());
  const [victim, survivor] = await Promise.all([startBroker(hub.url, 0), startBroker(hub.url, 0)]);
  const homes = [victim, survivor];
  const providers = await Promise.all(
    homes.map(async ({ url }, at) => {
      const provider = open(url, {
        onRequest: ({ toolName, toolInput }) =>
          toolName.startsWith("slow") ? new Promise(() => undefined) : Promise.resolve(toolInput),
      });
      await provider.register([{ name: `quick ${at}` }, { name: `slow ${at}` }]);
      return provider;
    }),
  );
  const clients = homes.flatMap(({ url }, at) =>
    numbers(2).map((i) => ({ name: `${at}-${i}`, at, connection: open(url) })),
  );
  const load = clients.map(({ name, at, connection }) => ({
    name,
    at,
    connection,
    events: createPubSub({ eventTarget: connection.eventTarget }),
    story: [] as Story,
    accepted: new Set<number>(),
    published: 0,
    outcomes: { results: 0, errors: [] as unknown[] },
  }));
  for (const { events, story } of load)
    await events.on("kadi.event.load.*", "global", ({ payload }) => void story.push(payload as Story[number]), {
      onGap: () => void story.push("gap"),
    });
  let over = false;
  const enough = new AbortController();
  const running = load.flatMap((each) => {
    const { name, connection, events, accepted, outcomes } = each;
    const settled = (call: Promise<unknown>, wanted: unknown): Promise<void> =>
      call.then(
        (result) => {
          if (result === wanted) outcomes.results++;
          else outcomes.errors.push(new Error(`got ${String(result)} instead of ${String(wanted)}`));
        },
        (error: unknown) => void outcomes.errors.push(error),
      );
    const caller = async (tool: string): Promise<void> => {
      for (let n = 0; !over; n++) {
        await settled(connection.call(tool, n), n);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const publisher = async (): Promise<void> => {
      while (!over) {
        const n = each.published++;
        await events.publish(`kadi.event.load.${name}`, "global", { from: name, n }).then(
          () => void accepted.add(n),
          // Publishing while interrupted is refused at once; there is no hurry.
          () => new Promise<void>((resolve) => setTimeout(resolve, 5)),
        );
      }
    };
    // These are pending when it happens.
    const pending = [0, 1].map((at) => settled(connection.call(`slow ${at}`, 0, { signal: enough.signal }), 0));
    return [caller("quick 0"), caller("quick 1"), publisher(), ...pending];
  });
  const progress = (): Promise<void> => {
    const marks = load.map(({ outcomes, accepted }) => [outcomes.results + 50, accepted.size + 100] as const);
    return until(() =>
      load.every(({ outcomes, accepted }, i) => {
        const [results, events] = marks[i] ?? [0, 0];
        return outcomes.results >= results && accepted.size >= events;
      }),
    );
  };
  await progress();
  await victim.kill();
  const ofVictim = [providers[0], ...load.filter(({ at }) => at === 0).map(({ connection }) => connection)];
  await until(() => ofVictim.every((connection) => connection?.eventTarget.status === "interrupted"));
  const port = Number(new URL(victim.url).port);
  await startBroker(hub.url, port);
  await until(() => ofVictim.every((connection) => connection?.eventTarget.status === "ready"));
  // Its tools are known everywhere again, and everybody goes on.
  await progress();
  over = true;
  enough.abort(new Error("enough"));
  await Promise.all(running);

  for (const { events, name, published } of load)
    await events.publish(`kadi.event.load.${name}`, "global", { from: name, n: published, last: true });
  await until(() => load.every(({ story }) => story.filter((entry) => entry !== "gap" && entry.last).length === 4));
  for (const subscriber of load) {
    const { story, at, outcomes } = subscriber;
    for (const { name, accepted } of load)
      expect(wrongs(story, name, accepted), `what ${subscriber.name} got of ${name}`).toEqual([]);
    // The control: without its gap the judge finds what a subscriber of the broker that died has missed of the others.
    const without = story.filter((entry) => entry !== "gap");
    const found = load.flatMap(({ name, accepted }) => wrongs(without, name, accepted));
    expect(found.length > 0, `whether ${subscriber.name} missed anything`).toBe(at === 0);
    expect(story.filter((entry) => entry === "gap").length > 0, `whether ${subscriber.name} had a gap`).toBe(at === 0);
    // Gone with the session, with the provider or its broker, not yet back, or no longer wanted.
    for (const error of outcomes.errors)
      expect([-32_007, -32_008, -32_003, "DISCONNECTED", "NOT_READY", undefined]).toContain(
        (error as { code?: unknown }).code,
      );
    const codes = outcomes.errors.map((error) => (error as { code?: unknown }).code);
    expect(codes).toContain(at === 0 ? "DISCONNECTED" : -32_007);
  }
}, 90_000);
