// Several servers of NATS, and a server that is about to go.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPubSub } from "@alkdev/pubsub";
import type { Gap, PubSub } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { afterEach, describe, expect, test } from "vitest";
import { openNats, startNats, startNatsCluster } from "./fixtures/nats.ts";
import { Opened } from "./fixtures/opened.ts";
import { reached } from "./fixtures/reached.ts";
import type { Server } from "./fixtures/servers.ts";

const opened = new Opened();
afterEach(() => opened.end());

const ignore = (): void => undefined;

interface Side {
  readonly pubsub: PubSub;
  readonly target: AlkEventTarget;
  readonly connection: Awaited<ReturnType<typeof openNats>>["connection"];
  readonly gaps: Gap[];
}

async function at({ port }: Pick<Server, "port">, args: { sequence?: boolean } = {}): Promise<Side> {
  const { target, connection } = await openNats(opened, port);
  const gaps: Gap[] = [];
  const pubsub = createPubSub({ eventTarget: target, onGap: (gap) => gaps.push(gap), onError: ignore, ...args });
  return { pubsub, target, connection, gaps };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

/** Publishes numbers until it is told to stop; then those that were accepted. */
function publishing({ pubsub }: Side): { stop(): Promise<number[]> } {
  let more = true;
  const accepted: number[] = [];
  const done = (async () => {
    for (let i = 0; more; i++) {
      await pubsub.publish("count", "", i).then(() => accepted.push(i), ignore);
      await turn();
    }
  })();
  return {
    async stop() {
      more = false;
      await done;
      return accepted;
    },
  };
}

/** Publishes to a topic until it comes there. */
async function publishUntilHeard(from: Side, events: { readonly received: number }, payload: unknown): Promise<void> {
  for (const before = events.received; events.received === before; await turn())
    await from.pubsub.publish("count", "", payload).catch(ignore);
}

async function turnUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

/** What has come up to this one. */
async function payloads(events: AsyncIterator<{ readonly payload: unknown }>, last: unknown): Promise<unknown[]> {
  const met: unknown[] = [];
  while (met.at(-1) !== last) met.push((await events.next()).value?.payload);
  return met;
}

/** Arguments of a server that lets its clients go soon after it is told to. */
async function lameDuck(): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), "nats-"));
  opened.add(() => rm(folder, { recursive: true }));
  const file = join(folder, "conf");
  await writeFile(file, 'lame_duck_duration: "30s", lame_duck_grace_period: "100ms"');
  return ["-c", file];
}

describe("in a cluster", () => {
  test("what is published at the subscriber's server in the instant after its subscribe comes, a thousand times", async () => {
    const [server, , way] = await startNatsCluster(opened);
    const [near, far] = [await at(server), await at(server)];
    way.freeze();
    for (let i = 0; i < 1000; i++) {
      const events = await near.pubsub.subscribe("race", String(i));
      await far.pubsub.publish("race", String(i), i);
      expect((await events.next()).value?.payload).toBe(i);
      void events.return();
    }
  });

  test("what is published in that instant at another server is lost, which the manifest says (a control)", async () => {
    const [server, other, way] = await startNatsCluster(opened);
    const [near, far] = [await at(server), await at(other)];
    // However slow this machine is, the word of it is on its way for longer.
    way.freeze();
    const events = await near.pubsub.subscribe("count");
    await far.pubsub.publish("count", "", "lost");
    way.thaw();
    await publishUntilHeard(far, events, "later");
    expect((await events.next()).value?.payload).toBe("later");
    for (const { target } of [near, far])
      expect(target.supports).toMatchObject({ subscribeAck: false, lossDetection: "none", publishAck: "hop" });
  });

  test("what was lost between the servers is a gap by its numbers alone", async () => {
    const [server, other, way] = await startNatsCluster(opened);
    const [near, far] = [await at(server, { sequence: true }), await at(other, { sequence: true })];
    const events = await near.pubsub.subscribe("count");
    await publishUntilHeard(far, events, "before");
    // Of two routes between them servers may close one that they have begun to use.
    near.gaps.length = 0;
    way.refusing = true;
    way.cut();
    await turnUntil(() => other.log.includes("Router connection closed"));
    await far.pubsub.publish("count", "", "lost");
    way.refusing = false;
    await publishUntilHeard(far, events, "after");
    await payloads(events, "after");
    expect(near.target.status).toBe("ready");
    expect(new Set(near.gaps.map(({ reason }) => reason))).toEqual(new Set(["sequence"]));
  });

  test("the client goes to another server that it was told of, with a gap, when its own is killed", async () => {
    const [server, other] = await startNatsCluster(opened);
    const [near, far] = [await at(server), await at(other)];
    const events = await near.pubsub.subscribe("count");
    await publishUntilHeard(far, events, "before");
    // It may be back before the server is gone.
    const interrupted = reached(near.target, "interrupted");
    await server.kill();
    await interrupted;
    await reached(near.target, "ready");
    expect(near.connection.getServer()).toBe(`127.0.0.1:${other.port}`);
    // Both are at one server now.
    await far.pubsub.publish("count", "", "after");
    await payloads(events, "after");
    expect(near.gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
    expect(far.gaps).toEqual([]);
  });
});

describe("a server in lame duck mode", () => {
  test("sends its clients to another one, each with a gap: nothing comes twice, and nothing is missing outside of it", async () => {
    const [server, other] = await startNatsCluster(opened, await lameDuck());
    const [near, far] = [await at(server), await at(other)];
    const events = await near.pubsub.subscribe("count");
    await publishUntilHeard(far, events, -1);
    const under = publishing(far);
    await turnUntil(() => events.received > 20);
    server.signal("SIGUSR2");
    await reached(near.target, "interrupted");
    await reached(near.target, "ready");
    const before = events.received;
    await turnUntil(() => events.received > before + 20);
    const accepted = await under.stop();
    await publishUntilHeard(far, events, "last");
    const met = (await payloads(events, "last")).filter((payload) => payload !== -1 && payload !== "last");
    expect(near.gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
    expect(far.gaps).toEqual([]);
    // One piece is missing, which the gap is.
    const missing = accepted.filter((number) => !met.includes(number));
    expect(met).toEqual(accepted.filter((number) => !missing.includes(number)));
    expect(missing).toEqual(accepted.slice(accepted.indexOf(missing[0] ?? 0)).slice(0, missing.length));
  });

  test("is told of: its publishers' answers are true while they move", async () => {
    const [server, other] = await startNatsCluster(opened, await lameDuck());
    const [near, far] = [await at(other), await at(server)];
    const events = await near.pubsub.subscribe("count");
    await publishUntilHeard(far, events, -1);
    const under = publishing(far);
    await turnUntil(() => events.received > 20);
    server.signal("SIGUSR2");
    await reached(far.target, "interrupted");
    await reached(far.target, "ready");
    const before = events.received;
    await turnUntil(() => events.received > before + 20);
    const accepted = await under.stop();
    await publishUntilHeard(far, events, "last");
    const met = (await payloads(events, "last")).filter((payload) => payload !== -1 && payload !== "last");
    expect(new Set(met).size).toBe(met.length);
    expect(accepted.filter((number) => !met.includes(number))).toEqual([]);
    expect(near.gaps).toEqual([]);
  });

  test("that is the only one says why, and is an interruption until it is back", async () => {
    const server = await startNats({ args: await lameDuck() });
    opened.add(() => server.end());
    const side = await at(server);
    const events = await side.pubsub.subscribe("count");
    expect(side.target.supports).toMatchObject({ subscribeAck: true, lossDetection: "disconnect" });
    const problems: (string | undefined)[] = [];
    const statuses = (async () => {
      for await (const { type } of side.connection.status())
        if (type === "ldm" || type === "disconnect") problems.push(type);
    })();
    server.signal("SIGUSR2");
    await reached(side.target, "interrupted");
    await expect(side.pubsub.publish("count", "", "lost")).rejects.toMatchObject({ code: "INTERRUPTED" });
    await server.kill();
    await server.start();
    await reached(side.target, "ready");
    await side.pubsub.publish("count", "", "after");
    expect((await events.next()).value?.payload).toBe("after");
    expect(side.gaps).toMatchObject([{ reason: "reconnect" }]);
    expect(problems.slice(0, 2)).toEqual(["ldm", "disconnect"]);
    await side.connection.close();
    await statuses;
  });
});
