// What happens to a cluster of Redis while events flow, each subscription judged as brokers' are.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { slotOf } from "../../pubsub/src/event-targets/redis-slots.ts";
import { Opened } from "../../pubsub/test/fixtures/opened.ts";
import {
  channelsAt,
  CLUSTER_CLIENTS,
  clusterSubscriptions,
  failOver,
  isMaster,
  moveSlot,
  openCluster,
  ownerOf,
  portsOf,
  startReplica,
  untilReplica,
} from "../../pubsub/test/fixtures/redis-cluster.ts";
import { times } from "../../pubsub/test/fixtures/proofs.ts";
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

const CLIENTS = Object.keys(CLUSTER_CLIENTS);
/** A heartbeat that is to be outlasted, and one that is not, in milliseconds. */
const SHORT = 300;
const LONG = 60_000;
const TIMES = times(3, 1);
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
  readonly #nodes: readonly Server[];
  #stopped = false;
  #pumping: Promise<void> | undefined;

  constructor(
    client: string,
    { sharded, heartbeat = LONG, publisherHeartbeat = LONG, sequence = false }: BedOptions,
    at: readonly Server[] = nodes,
  ) {
    this.#nodes = at;
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

  /** Both sides are well, and events flow. */
  async isBack(): Promise<void> {
    await this.near.reached("ready");
    await this.far.reached("ready");
    await this.flows();
  }

  gapsOf(id: string): number {
    return this.logs.get(id)?.gaps.length ?? 0;
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
      results[id] = judge({ outcomes, published: this.#outcomes(id).length }, withoutRepeats(log), allowed);
    }
    await until(async () => (await clusterSubscriptions(this.#nodes, this.prefix)) === 0);
    return results;
  }
}

/** What may be, says the manifest: behind an interruption, something comes again. */
function withoutRepeats({ met, received }: Log): Pick<Log, "met" | "received"> {
  let last = -1;
  let gaps = 0;
  const kept = met.filter((each) => {
    if ("gap" in each) return ++gaps > 0;
    if (gaps > 0 && each.n <= last) return false;
    last = each.n;
    return true;
  });
  return { met: kept, received: received - (met.length - kept.length) };
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
async function subscribedAt(
  channel: string,
  command: "NUMSUB" | "SHARDNUMSUB",
  at: readonly Server[] = nodes,
): Promise<Server> {
  for (const node of at) if (/:[1-9]/.test(await askRedis(node, `PUBSUB ${command} ${channel}`))) return node;
  throw new Error(`Nobody subscribes to ${channel}.`);
}

/** The node that is published to. */
async function publishedAt(): Promise<Server> {
  for (const node of nodes) if (/ cmd=s?publish /.test(await askRedis(node, "CLIENT LIST"))) return node;
  throw new Error("Nobody publishes.");
}

/** Every node has a link to each other. */
async function whole(at: readonly Server[] = nodes): Promise<void> {
  for (const node of at)
    await until(async () => !/disconnected|fail|handshake/.test(await askRedis(node, "CLUSTER NODES")));
}

// Before any node was away: whoever comes back takes nothing for 2 s.
describe.each(CLIENTS)("a cluster, with %s", (client) => {
  test("sharded: a slot goes from master to master: a gap in its topics each time, none in others of the same masters", async () => {
    await whole();
    const bed = new Bed(client, { sharded: true });
    const [mine, others] = await topicsOf(bed);
    const owner = await ownerOf(nodes, bed.channel(mine));
    const [, beside = ""] = await channelsAt(owner, bed.channel(""), 2);
    await bed.listen(mine, beside, ...others);
    await bed.start();
    const tour = [...nodes.filter((node) => node !== owner), owner];
    for (const node of [...tour, ...tour]) {
      const before = bed.gapsOf(mine);
      await moveSlot(nodes, slotOf(bed.channel(mine)), node);
      await until(() => bed.gapsOf(mine) > before);
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

describe.each(CLIENTS)("a cluster, with %s", (client) => {
  test("plain: the node that is subscribed at is killed, and another one subscribed at before it is back: a gap", async () => {
    await whole();
    const bed = new Bed(client, { sharded: false, sequence: true });
    await bed.listen("p");
    await bed.start();
    for (let i = 0; i < TIMES; i++) {
      const node = await subscribedAt(bed.channel("p"), "NUMSUB");
      // It may be back before the node is gone.
      const interrupted = bed.near.reached("interrupted");
      await node.kill();
      await interrupted;
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
});

// They take seconds, of which most is Redis's own: all clients meet them at once.
describe("a cluster, with every client", () => {
  test("sharded: the master is killed and started again: a gap in its topics, none in others", async () => {
    await whole();
    const [node] = nodes as [Server];
    const beds = await shardedBeds({ sharded: true });
    for (let i = 0; i < TIMES; i++) {
      await node.kill();
      await Promise.all(beds.map(({ bed }) => bed.near.reached("interrupted")));
      await node.start();
      await Promise.all(beds.map(({ bed }) => bed.isBack()));
      await whole();
    }
    for (const { bed, mine } of beds) await expectGaps(bed, mine, (gaps) => expect(gaps).toBe(TIMES));
  });

  test("sharded: the master is stopped past the heartbeat, and continued: a gap in its topics, none in others", async () => {
    await whole();
    const [node] = nodes as [Server];
    const beds = await shardedBeds({ sharded: true, heartbeat: 2000, publisherHeartbeat: SHORT });
    node.freeze();
    for (const { bed } of beds) await Promise.all([bed.near.reached("interrupted"), bed.far.reached("interrupted")]);
    node.thaw();
    await Promise.all(beds.map(({ bed }) => bed.isBack()));
    for (const { bed, mine } of beds) await expectGaps(bed, mine, (gaps) => expect(gaps).toBe(1));
  });
});

describe("a cluster whose masters have replicas", () => {
  // Nobody waits for long until a node is taken for dead.
  const options = { args: ["--cluster-node-timeout", "1000"] };
  let cluster: Awaited<ReturnType<typeof startRedisCluster>>;
  let all: readonly Server[];
  type Pair = readonly [Server, Server];
  /** One of each is the other's replica. */
  let pairs: readonly [Pair, Pair];
  beforeAll(async () => {
    cluster = await startRedisCluster(options);
    const withReplica = async (master: Server): Promise<Pair> => [
      master,
      await startReplica(cluster.nodes, master, options),
    ];
    const [one, other] = cluster.nodes as [Server, Server];
    pairs = await Promise.all([withReplica(one), withReplica(other)]);
    all = [...new Set([...pairs.flat(), ...cluster.nodes])];
  });
  afterAll(async () => {
    await Promise.all(all.map((node) => node.end()));
    await cluster[Symbol.asyncDispose]();
  });

  /** A master with a replica, and all other masters. */
  async function roles(pair: Pair): Promise<{ master: Server; replica: Server; others: readonly Server[] }> {
    await whole(all);
    const masters: Server[] = [];
    for (const node of all) if (await isMaster(node)) masters.push(node);
    const [one, other] = pair;
    const [master, replica] = masters.includes(one) ? [one, other] : [other, one];
    await untilReplica(all, replica);
    return { master, replica, others: masters.filter((node) => node !== master) };
  }

  test("the replica takes over that was told to, and gives back: a gap in its topics each time, none in others, nor in plain ones, with every client", async () => {
    const { master, replica, others } = await roles(pairs[0]);
    const beds = await shardedBeds({ sharded: true }, all, [master, ...others]);
    const plain = await Promise.all(CLIENTS.map((client) => plainAt(client, master, all)));
    await Promise.all(plain.map((bed) => bed.start()));
    for (const [from, to] of [
      [master, replica],
      [replica, master],
    ] as const) {
      const before = beds.map(({ bed, mine }) => bed.gapsOf(mine));
      await failOver(all, to, from);
      for (const [i, { bed, mine }] of beds.entries()) {
        await until(() => bed.gapsOf(mine) > (before[i] ?? 0));
        await bed.isBack();
      }
    }
    for (const bed of plain) {
      await bed.flows();
      const { p } = await bed.finish();
      expect(p).toMatchObject({ problems: [], gaps: 0, interrupted: 0 });
    }
    // A failover that fails is one more.
    for (const { bed, mine } of beds) await expectGaps(bed, mine, (gaps) => expect(gaps).toBeGreaterThanOrEqual(2));
  });

  test("the replica takes over from a master that is killed: a gap in its topics, and in plain ones that were subscribed to there, none in others, with every client", async () => {
    const { master, replica, others } = await roles(pairs[1]);
    const sharded = await shardedBeds({ sharded: true }, all, [master, ...others]);
    const plain = await Promise.all(CLIENTS.map((client) => plainAt(client, master, all)));
    const beds = [...sharded.map(({ bed }) => bed), ...plain];
    await Promise.all(plain.map((bed) => bed.start()));
    // Some may be back before it is gone.
    const interrupted = Promise.all(beds.map((bed) => bed.near.reached("interrupted")));
    await master.kill();
    await interrupted;
    await until(() => isMaster(replica));
    await Promise.all(beds.map((bed) => bed.isBack()));
    await master.start();
    await untilReplica(all, master);
    await Promise.all(beds.map((bed) => bed.flows()));
    for (const { bed, mine } of sharded) await expectGaps(bed, mine, (gaps) => expect(gaps).toBe(1));
    for (const bed of plain) {
      const { p } = await bed.finish();
      expect(p).toMatchObject({ problems: [] });
      expect(p?.gaps).toBeGreaterThan(0);
    }
  });
});

interface ShardedBed {
  readonly bed: Bed;
  /** A topic of the first node. */
  readonly mine: string;
}

/** One of each client, under way, with a topic of each of the masters. */
function shardedBeds(
  options: BedOptions,
  at: readonly Server[] = nodes,
  masters: readonly Server[] = at,
): Promise<ShardedBed[]> {
  return Promise.all(
    CLIENTS.map(async (client) => {
      const bed = new Bed(client, options, at);
      const [mine, others] = await topicsOf(bed, masters);
      await bed.listen(mine, ...others);
      await bed.start();
      return { bed, mine };
    }),
  );
}

async function expectGaps(bed: Bed, mine: string, check: (gaps: number) => void): Promise<void> {
  const results = await bed.finish(["done", "INTERRUPTED", "REFUSED"]);
  for (const [id, result] of Object.entries(results)) {
    expect(result).toMatchObject({ problems: [] });
    if (id === mine) check(result.gaps);
    else expect(result.gaps).toBe(0);
  }
}

/** One that subscribes to a plain topic at this node. */
async function plainAt(client: string, node: Server, at: readonly Server[]): Promise<Bed> {
  for (;;) {
    const bed = new Bed(client, { sharded: false, sequence: true }, at);
    await bed.listen("p");
    if ((await subscribedAt(bed.channel("p"), "NUMSUB", at)) === node) return bed;
    await bed.finish();
  }
}

/** Ids of topics: one of the first node, and one of each other. */
async function topicsOf(bed: Bed, at: readonly Server[] = nodes): Promise<[string, string[]]> {
  const [mine = "", ...others] = (await Promise.all(at.map((node) => channelsAt(node, bed.channel(""), 1)))).flat();
  return [mine, others];
}
