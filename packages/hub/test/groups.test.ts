// The members of a group share the events of a filter: each goes to one of them.
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub } from "@alkdev/pubsub";
import { createMainThreadEventTarget, workerChannel } from "@alkdev/pubsub/event-target-worker";
import type { HubServer } from "@alkdev/hub";
import { MessageChannel } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { openClient, openHub, openProxy, over, take, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";

interface Joined {
  readonly got: unknown[];
  readonly leave: () => void;
}

/** A member of a group, and what it got. */
async function join(client: PubSub, type: string, group: string, id?: string): Promise<Joined> {
  const got: unknown[] = [];
  const listener = ({ payload }: EventEnvelope): void => void got.push(payload);
  const leave = await (id === undefined
    ? client.on(type, listener, { group })
    : client.on(type, id, listener, { group }));
  return { got, leave };
}

/** A client of the hub over a port, whose frames are cloned rather than written as JSON. */
async function overPort({ hub }: HubServer): Promise<Client> {
  const { port1, port2 } = new MessageChannel();
  hub.connect(workerChannel(port1));
  onTestFinished(() => port2.close());
  const client = over(createMainThreadEventTarget({ port: port2 }));
  // Whether the other end serves groups is known once it has welcomed this one.
  await client.reached("ready");
  return client;
}

function inProcess({ hub }: HubServer): PubSub {
  const here = createPubSub({ eventTarget: hub.eventTarget });
  onTestFinished(() => here.close());
  return here;
}

function numbers(from: number, to: number, step = 1): number[] {
  return Array.from({ length: Math.ceil((to - from) / step) }, (_, n) => from + n * step);
}

describe("a group", () => {
  test("is served in turn, whoever publishes and however its members are connected", async () => {
    const server = await openHub();
    const members = [openClient(server.url), await overPort(server), inProcess(server), openClient(server.url)];
    const joined: Joined[] = [];
    for (const member of members) joined.push(await join(member, "job", "workers"));
    const publishers = [openClient(server.url), ...members];
    for (const n of numbers(0, 40)) await publishers[n % publishers.length]?.publish("job", "", n);
    await until(() => joined.flatMap(({ got }) => got).length === 40);
    expect(joined.map(({ got }) => got)).toEqual([0, 1, 2, 3].map((first) => numbers(first, 40, 4)));
  });

  test("gets its payloads as they are over every encoding: what is no JSON reaches the members that clone", async () => {
    const server = await openHub();
    const json = await join(openClient(server.url), "job", "workers");
    const clone = await join(await overPort(server), "job", "workers");
    const here = inProcess(server);
    await here.publish("job", "", 1);
    await here.publish("job", "", 2n);
    await here.publish("job", "", { deep: ["ü", null] });
    await until(() => json.got.length + clone.got.length === 3);
    expect([json.got, clone.got]).toEqual([[1, { deep: ["ü", null] }], [2n]]);
  });

  test("and an ordinary subscription on one link do not disturb each other: no event twice, none missing", async () => {
    const server = await openHub();
    const [one, two] = [openClient(server.url), openClient(server.url)];
    const all = await one.subscribe("job");
    const wide = await one.subscribe("*");
    const members = [await join(one, "job", "workers"), await join(two, "job", "workers")];
    for (const n of numbers(0, 20)) await two.publish("job", "", n);
    for (const events of [all, wide])
      expect((await take(events, 20)).map(({ payload }) => payload)).toEqual(numbers(0, 20));
    await until(() => members.flatMap(({ got }) => got).length === 20);
    expect(members.map(({ got }) => got)).toEqual([numbers(0, 20, 2), numbers(1, 20, 2)]);
    expect([all.received, wide.received]).toEqual([20, 20]);
  });

  test("counts two subscriptions in one process as one member, whose share they have in turn", async () => {
    const server = await openHub();
    const [one, two] = [openClient(server.url), openClient(server.url)];
    const members = [await join(one, "job", "w"), await join(one, "job", "w"), await join(two, "job", "w")];
    expect(server.hub.status().subscriptions).toBe(2);
    for (const n of numbers(0, 40)) await two.publish("job", "", n);
    await until(() => members.flatMap(({ got }) => got).length === 40);
    expect(members.map(({ got }) => got)).toEqual([numbers(0, 40, 4), numbers(2, 40, 4), numbers(1, 40, 2)]);
  });

  test("is one of several that each get every event, also by the same name on different filters", async () => {
    const server = await openHub();
    const [one, two] = [openClient(server.url), openClient(server.url)];
    const groups = [
      ["job", "workers", undefined],
      ["job", "auditors", undefined],
      ["*", "workers", undefined],
      ["job", "workers", "x"],
    ] as const;
    const joined: Joined[][] = [];
    for (const [type, name, id] of groups)
      joined.push([await join(one, type, name, id), await join(two, type, name, id)]);
    for (const n of numbers(0, 10)) await two.publish("job", "x", n);
    await until(() => joined.flat().flatMap(({ got }) => got).length === 40);
    for (const members of joined) expect(members.map(({ got }) => got)).toEqual([numbers(0, 10, 2), numbers(1, 10, 2)]);
    expect(server.hub.status()).toMatchObject({ subscriptions: 8, filters: 4 });
  });

  test("loses nothing when a member leaves between two events, and is gone with its last one", async () => {
    const server = await openHub();
    const members: Joined[] = [];
    for (let n = 0; n < 3; n++) members.push(await join(openClient(server.url), "job", "workers"));
    const publisher = openClient(server.url);
    for (const n of numbers(0, 3)) await publisher.publish("job", "", n);
    await until(() => members.every(({ got }) => got.length === 1));
    members[1]?.leave();
    await until(() => server.hub.status().subscriptions === 2);
    for (const n of numbers(3, 9)) await publisher.publish("job", "", n);
    await until(() => members.flatMap(({ got }) => got).length === 9);
    expect(members.map(({ got }) => got.length)).toEqual([4, 1, 4]);
    for (const { leave } of members) leave();
    await until(() => server.hub.status().filters === 0);
    await publisher.publish("job", "", 9);
    expect(server.hub.status()).toMatchObject({ subscriptions: 0, sent: 9 });
  });

  test("loses nothing when the channel of a member that is served is closed: others are served", async () => {
    const server = await openHub();
    const proxy = await openProxy(server.port);
    const gone = await join(openClient(proxy.url), "job", "workers");
    const stays = await join(openClient(server.url), "job", "workers");
    proxy.refusing = true;
    proxy.cut();
    await until(() => server.hub.status().subscriptions === 1);
    const publisher = openClient(server.url);
    for (const n of numbers(0, 10)) await publisher.publish("job", "", n);
    await until(() => stays.got.length === 10);
    expect(gone.got).toEqual([]);
  });

  test("passes over a member that lost its channel while others are there; one that returns is served again", async () => {
    const server = await openHub({ limits: { resumeWindow: 30_000 } });
    const proxy = await openProxy(server.port);
    const client = openClient(proxy.url);
    const away = await join(client, "job", "workers");
    const here = await join(openClient(server.url), "job", "workers");
    const publisher = openClient(server.url);
    proxy.refusing = true;
    proxy.cut();
    await until(() => server.hub.status().links.some(({ attached }) => !attached));
    for (const n of numbers(0, 10)) await publisher.publish("job", "", n);
    await until(() => here.got.length === 10);
    proxy.refusing = false;
    await client.reached("ready");
    for (const n of numbers(10, 20)) await publisher.publish("job", "", n);
    await until(() => here.got.length + away.got.length === 20);
    expect(away.got).toHaveLength(5);
  });

  test("of members that have all lost their channel keeps its events until one is back", async () => {
    const server = await openHub({ limits: { resumeWindow: 30_000 } });
    const proxy = await openProxy(server.port);
    const members: Joined[] = [];
    for (let n = 0; n < 2; n++) members.push(await join(openClient(proxy.url), "job", "workers"));
    const publisher = openClient(server.url);
    proxy.refusing = true;
    proxy.cut();
    await until(() => server.hub.status().links.filter(({ attached }) => !attached).length === 2);
    for (const n of numbers(0, 10)) await publisher.publish("job", "", n);
    proxy.refusing = false;
    await until(() => members.flatMap(({ got }) => got).length === 10);
    expect(members.map(({ got }) => got.length)).toEqual([5, 5]);
  });

  test("survives cuts of its members: each event exactly once, where every member returns", async () => {
    const server = await openHub({ limits: { resumeWindow: 30_000 } });
    const proxies = [await openProxy(server.port), await openProxy(server.port)];
    const clients = proxies.map(({ url }) => openClient(url));
    const members: Joined[] = [];
    for (const client of clients) members.push(await join(client, "job", "workers"));
    const publisher = openClient(server.url);
    for (const n of numbers(0, 3000)) {
      const published = publisher.publish("job", "", n);
      if (n % 50 === 0) await published;
      if (n % 200 === 100) proxies[(n / 100) % 4 === 1 ? 0 : 1]?.cut();
    }
    await until(() => members.flatMap(({ got }) => got).length >= 3000);
    expect(members.flatMap(({ got }) => got).toSorted((a, b) => Number(a) - Number(b))).toEqual(numbers(0, 3000));
  });

  test("is not for those who do not want their own events: one that falls to them would be lost to all", async () => {
    const server = await openHub();
    const client = openClient(server.url);
    const refused = client.on("job", () => undefined, { group: "workers", own: false });
    await expect(refused).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("does not reach the filters of its members at other event targets: a listener of its own hears nothing of it", async () => {
    const server = await openHub();
    const [one, two] = [openClient(server.url), openClient(server.url)];
    await join(one, "job", "workers");
    const member = await join(two, "job", "workers");
    const facade: unknown[] = [];
    one.target.addEventListener("other", () => facade.push(1));
    for (const n of numbers(0, 4)) await two.publish("job", "", n);
    await until(() => member.got.length === 2);
    expect(facade).toEqual([]);
  });
});
