// What happens to a cluster of Redis while events flow, each subscription judged as brokers' are.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { slotOf } from "../../pubsub/src/event-targets/redis-slots.ts";
import { Opened } from "../../pubsub/test/fixtures/opened.ts";
import {
  channelsAt,
  clusterSubscriptions,
  failOver,
  moveSlot,
  openCluster,
  ownerOf,
  portsOf,
  startReplica,
} from "../../pubsub/test/fixtures/redis-cluster.ts";
import { askRedis, startRedisCluster } from "../../pubsub/test/fixtures/servers.ts";
import type { Server } from "../../pubsub/test/fixtures/servers.ts";
import { Flow, judge, Log } from "./fixtures/flow.ts";
import type { Figures } from "./fixtures/flow.ts";
import { over } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";

const opened = new Opened();
afterEach(() => opened.end());
let nodes: readonly Server[];
let end: () => Promise<void>;
beforeAll(async () => {
  const cluster = await startRedisCluster();
  nodes = cluster.nodes;
  end = async () => cluster[Symbol.asyncDispose]();
});
afterAll(() => end());

/** A heartbeat that is to be outlasted, and one that is not, in milliseconds. */
const SHORT = 300;
const LONG = 60_000;
const TIMES = 3;
let prefixes = 0;

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5);
}

/** A subscriber and a publisher, each with clients of its own, and what flows between them. */
class Bed {
  readonly prefix = `faults${prefixes++}:`;
  readonly flow = new Flow();
  readonly near: Client;
  readonly far: Client;
  readonly logs = new Map<string, Log>();
  #stopped = false;
  #pumping: Promise<void> | undefined;

  constructor(
    client: string,
    { sharded, heartbeat = LONG, publisherHeartbeat = LONG, sequence = false }: BedOptions,
    at: readonly Server[] = nodes,
  ) {
    const open = (beat: number): Client => {
      const target = openCluster(opened, client, portsOf(at), {
        sharded,
        prefix: this.prefix,
        heartbeat: beat,
        onError: () => undefined,
      });
      return over(target, [], { sequence, buffer: { limit: 2 ** 20 } });
    };
    this.near = open(heartbeat);
    this.far = open(publisherHeartbeat);
  }

  channel(id: string): string {
    return `${this.prefix}flow:${id}`;
  }

  async listen(...ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const log = new Log();
      this.logs.set(id, log);
      log.read(await this.near.subscribe("flow", id, { onGap: log.onGap }));
    }
  }

  /** Publishes to all of these again and again. */
  async start(): Promise<void> {
    this.#pumping = this.#pump();
    await this.flows();
  }

  async #pump(): Promise<void> {
    while (!this.#stopped) {
      const burst = [...this.logs.keys()].flatMap((id) => Array.from({ length: 20 }, () => this.#publish(id)));
      if ((await Promise.all(burst)).includes("INTERRUPTED")) await this.far.reached("ready");
      await sleep(5);
    }
  }

  #publish(id: string): Promise<string> {
    return this.flow.publish(this.far, id, "flow");
  }

  /** More events come to each subscription, of those that are published from now on. */
  async flows(count: number = 100): Promise<void> {
    const from = new Map([...this.logs.keys()].map((id) => [id, this.#outcomes(id).length]));
    await until(() => [...this.logs].every(([id, log]) => lastOf(log) >= (from.get(id) ?? 0) + count));
  }

  #outcomes(id: string): (string | undefined)[] {
    return this.flow.outcomes.get(`${id}/flow`) ?? [];
  }

  /** All that was accepted has come; nothing is left; @returns what each subscription met, judged. */
  async finish(allowed?: readonly string[]): Promise<Record<string, Figures>> {
    this.#stopped = true;
    await this.#pumping;
    const results: Record<string, Figures> = {};
    for (const [id, log] of this.logs) {
      while ((await this.#publish(id)) !== "done") await this.far.reached("ready");
      const last = this.#outcomes(id).length - 1;
      await until(() => lastOf(log) >= last);
    }
    await this.near.target.close();
    await this.far.target.close();
    for (const [id, log] of this.logs) {
      if ((await log.over) !== undefined) throw new Error("a subscription ended", { cause: await log.over });
      const outcomes = new Map([[`${id}/flow`, this.#outcomes(id) as string[]]]);
      results[id] = judge({ outcomes, published: this.#outcomes(id).length }, log, allowed);
    }
    await until(async () => (await clusterSubscriptions(nodes, this.prefix)) === 0);
    return results;
  }
}

interface BedOptions {
  readonly sharded: boolean;
  readonly heartbeat?: number;
  readonly publisherHeartbeat?: number;
  readonly sequence?: boolean;
}

function lastOf(log: Log): number {
  const last = log.met.findLast((met) => "n" in met);
  return last !== undefined && "n" in last ? last.n : -1;
}

/** The node that a channel is subscribed at. */
async function subscribedAt(channel: string, command: "NUMSUB" | "SHARDNUMSUB"): Promise<Server> {
  for (const node of nodes) if (/:[1-9]/.test(await askRedis(node, `PUBSUB ${command} ${channel}`))) return node;
  throw new Error(`Nobody subscribes to ${channel}.`);
}

/** The node that is published to. */
async function publishedAt(): Promise<Server> {
  for (const node of nodes) if (/ cmd=s?publish /.test(await askRedis(node, "CLIENT LIST"))) return node;
  throw new Error("Nobody publishes.");
}

/** Every node has a link to each other. */
async function whole(): Promise<void> {
  for (const node of nodes)
    await until(async () => !/disconnected|fail|handshake/.test(await askRedis(node, "CLUSTER NODES")));
}

describe.each(["ioredis 5", "ioredis 6", "node-redis 6"])("a cluster, with %s", (client) => {
  test("plain: the node that is subscribed at is killed, and another one subscribed at before it is back: a gap", async () => {
    await whole();
    const bed = new Bed(client, { sharded: false, sequence: true });
    await bed.listen("p");
    await bed.start();
    for (let i = 0; i < TIMES; i++) {
      const node = await subscribedAt(bed.channel("p"), "NUMSUB");
      await node.kill();
      await bed.near.reached("interrupted");
      await bed.near.reached("ready");
      await bed.flows();
      await node.start();
      await whole();
    }
    const { p } = await bed.finish();
    expect(p).toMatchObject({ problems: [] });
    expect(p?.gaps).toBeGreaterThanOrEqual(TIMES);
  });

  test("plain: the node that is published to is killed: what it had not answered rejects, and another one is published to", async () => {
    await whole();
    const bed = new Bed(client, { sharded: false, sequence: true });
    await bed.listen("p");
    await bed.start();
    for (let i = 0; i < TIMES; i++) {
      const node = await publishedAt();
      await node.kill();
      await until(() => bed.far.statuses.filter((status) => status === "interrupted").length > i);
      await bed.far.reached("ready");
      await bed.near.reached("ready");
      await bed.flows();
      await node.start();
      await whole();
    }
    const { p } = await bed.finish();
    expect(p).toMatchObject({ problems: [] });
  });

  test("plain: the node that is subscribed at is stopped past the heartbeat: a gap, and another node", async () => {
    await whole();
    const bed = new Bed(client, { sharded: false, heartbeat: SHORT, publisherHeartbeat: SHORT, sequence: true });
    await bed.listen("p");
    await bed.start();
    const node = await subscribedAt(bed.channel("p"), "NUMSUB");
    node.freeze();
    await bed.near.reached("interrupted");
    await bed.near.reached("ready");
    await bed.far.reached("ready");
    await bed.flows();
    node.thaw();
    await bed.flows();
    const { p } = await bed.finish();
    expect(p).toMatchObject({ problems: [] });
    expect(p?.gaps).toBeGreaterThan(0);
  });

  test("sharded: the master is killed and started again: a gap in its topics, none in others", async () => {
    await whole();
    const bed = new Bed(client, { sharded: true });
    const [mine, others] = await topicsOf(bed, 1);
    await bed.listen(...mine, ...others);
    await bed.start();
    for (let i = 0; i < TIMES; i++) {
      const node = await ownerOf(nodes, bed.channel(mine[0] ?? ""));
      await node.kill();
      await bed.near.reached("interrupted");
      await node.start();
      await bed.near.reached("ready");
      await bed.far.reached("ready");
      await bed.flows();
      await whole();
    }
    const results = await bed.finish(["done", "INTERRUPTED", "REFUSED"]);
    for (const [id, result] of Object.entries(results)) {
      expect(result).toMatchObject({ problems: [] });
      expect(result.gaps).toBe(mine.includes(id) ? TIMES : 0);
    }
  });

  test("sharded: the master is stopped past the heartbeat, and continued: a gap in its topics, none in others", async () => {
    await whole();
    const bed = new Bed(client, { sharded: true, heartbeat: SHORT, publisherHeartbeat: SHORT });
    const [mine, others] = await topicsOf(bed, 1);
    await bed.listen(...mine, ...others);
    await bed.start();
    const node = await ownerOf(nodes, bed.channel(mine[0] ?? ""));
    node.freeze();
    await bed.near.reached("interrupted");
    await bed.far.reached("interrupted");
    node.thaw();
    await bed.near.reached("ready");
    await bed.far.reached("ready");
    await bed.flows();
    const results = await bed.finish(["done", "INTERRUPTED", "REFUSED"]);
    for (const [id, result] of Object.entries(results)) {
      expect(result).toMatchObject({ problems: [] });
      expect(result.gaps).toBe(mine.includes(id) ? 1 : 0);
    }
  });

  test("sharded: a replica takes over that was told to: a gap in its topics, none in others", async () => {
    await whole();
    const bed = new Bed(client, { sharded: true });
    const [[mine = ""], others] = await topicsOf(bed, 1);
    const [master] = nodes as [Server];
    const replica = await startReplica(opened, nodes, master);
    await bed.listen(mine, ...others);
    await bed.start();
    for (const node of [replica, master]) {
      const { gaps } = bed.logs.get(mine) as Log;
      const before = gaps.length;
      await failOver(nodes, node);
      await until(() => gaps.length > before);
      await bed.near.reached("ready");
      await bed.flows();
    }
    const results = await bed.finish();
    for (const [id, result] of Object.entries(results)) {
      expect(result).toMatchObject({ problems: [] });
      expect(result.gaps).toBe(id === mine ? 2 : 0);
    }
  });

  test("sharded: a slot goes from master to master: a gap in its topics each time, none in others of the same masters", async () => {
    await whole();
    const bed = new Bed(client, { sharded: true });
    const [[mine = ""], others] = await topicsOf(bed, 1);
    const owner = await ownerOf(nodes, bed.channel(mine));
    const [, beside = ""] = await channelsAt(owner, bed.channel(""), 2);
    await bed.listen(mine, beside, ...others);
    await bed.start();
    const tour = [...nodes.filter((node) => node !== owner), owner];
    for (const node of [...tour, ...tour]) {
      const { gaps } = bed.logs.get(mine) as Log;
      const before = gaps.length;
      await moveSlot(nodes, slotOf(bed.channel(mine)), node);
      await until(() => gaps.length > before);
      await bed.flows();
    }
    const results = await bed.finish();
    for (const [id, result] of Object.entries(results)) {
      expect(result).toMatchObject({ problems: [], ...(id !== mine && { gaps: 0, inGaps: 0 }) });
      expect(result.interrupted).toBe(0);
    }
    expect(results[mine]?.gaps).toBe(tour.length * 2);
  });
});

test("sharded: a replica takes over from a master that is killed: a gap in its topics, none in others", async () => {
  await whole();
  const bed = new Bed("ioredis 6", { sharded: true });
  const [[mine = ""], others] = await topicsOf(bed, 1);
  const [master] = nodes as [Server];
  const replica = await startReplica(opened, nodes, master);
  await failOver(nodes, replica);
  await bed.listen(mine, ...others);
  await bed.start();
  await replica.kill();
  await bed.near.reached("interrupted");
  await bed.near.reached("ready");
  await bed.far.reached("ready");
  await bed.flows();
  const results = await bed.finish(["done", "INTERRUPTED", "REFUSED"]);
  for (const [id, result] of Object.entries(results)) {
    expect(result).toMatchObject({ problems: [] });
    expect(result.gaps).toBe(id === mine ? 1 : 0);
  }
});

/** Ids of topics of the first node, and one of each other. */
async function topicsOf(bed: Bed, count: number): Promise<[string[], string[]]> {
  const [first, ...rest] = nodes;
  if (first === undefined) throw new Error("There are no nodes.");
  const mine = await channelsAt(first, bed.channel(""), count);
  const others = await Promise.all(rest.map((node) => channelsAt(node, bed.channel(""), 1)));
  return [mine, others.flat()];
}
