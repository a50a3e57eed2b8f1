// Several brokers that are one: in processes of their own, joined by a hub, or by a server that hubs may share.
import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createHubEventTarget, createHubServer } from "@alkdev/hub";
import type { HubServer } from "@alkdev/hub";
import { createKadiBroker } from "@alkdev/kadi";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { describe, expect, onTestFinished, test } from "vitest";
import { startProxy } from "../../pubsub/test/fixtures/proxy.ts";
import type { Proxy, ProxyOptions } from "../../pubsub/test/fixtures/proxy.ts";
import { openBroker as connectTo } from "../src/broker-connection.ts";
import { BACKPLANES, openBackplane } from "./fixtures/backplanes.ts";
import type { Backplane } from "./fixtures/backplanes.ts";
import { call, openAbility, openAgent, openBroker, until } from "./fixtures/open.ts";
import type { OpenBroker } from "./fixtures/open.ts";
import type { RawClient } from "./fixtures/raw-client.ts";

const GONE = { code: -32_007 };
const UNKNOWN = { code: -32_003 };

interface Hub extends Omit<Backplane, "restart"> {
  readonly server: HubServer;
}

async function openHub(limits: { resumeWindow?: number; frame?: number } = {}): Promise<Hub> {
  const server = await createHubServer({ port: 0, limits });
  onTestFinished(() => server.close());
  return { server, port: server.port, url: (port) => `ws://127.0.0.1:${port}` };
}

interface BrokerProcess {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly url: string;
}

async function spawnBroker(url: string, lease = 15_000): Promise<BrokerProcess> {
  const file = fileURLToPath(new URL("fixtures/broker-process.mjs", import.meta.url));
  const child = spawn(process.execPath, [file, url, String(lease)], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [own] = (await once(createInterface(child.stdout), "line")) as [string];
  return { child, url: own };
}

/** A broker in this process, whose way to what it shares a test can hold up or cut. */
async function brokerVia(
  shared: Pick<Backplane, "port" | "url">,
  { lease, ...options }: ProxyOptions & { lease?: number } = {},
): Promise<{ broker: OpenBroker; proxy: Proxy; backplane: AlkEventTarget }> {
  const proxy = await startProxy(shared.port, options);
  onTestFinished(() => proxy.close());
  // Registered first, so that it is closed last.
  const backplane = await openBackplane(shared.url(proxy.port));
  const broker = await openBroker({
    backplane,
    authorize: ({ networks }) => networks,
    ...(lease !== undefined && { lease }),
  });
  return { broker, proxy, backplane };
}

/** A PubSub that shares it too. */
async function tapOf(shared: Pick<Backplane, "port" | "url">): Promise<PubSub> {
  const tap = createPubSub({ eventTarget: await openBackplane(shared.url(shared.port)) });
  onTestFinished(() => tap.close());
  return tap;
}

describe.each(Object.entries(BACKPLANES))("two brokers joined by %s", (_, { open, ordered, apart }) => {
  async function openTwo(): Promise<readonly [{ readonly url: string }, { readonly url: string }]> {
    const shared = await open();
    const openOne = async (): Promise<{ readonly url: string }> =>
      apart ? spawnBroker(shared.url(shared.port)) : (await brokerVia(shared)).broker;
    return Promise.all([openOne(), openOne()]);
  }

  test("what one registers, the other lists and calls at once; answers, errors and inputs pass", async () => {
    const [a, b] = await openTwo();
    let runs = 0;
    const caller = await openAgent(b.url, { name: "caller" });
    const provider = await openAbility(
      a.url,
      {
        add: ({ x, y }: { x: number; y: number }) => (runs++, x + y),
        who: (_input, _client, params) => params,
        fail: () => {
          throw new Error("out of paper");
        },
      },
      { name: "provider" },
    );
    expect(await call(caller, "add", { x: 1, y: 2 })).toBe(3);
    const answers = Array.from({ length: 100 }, (_, i) =>
      call(caller, "add", { x: i, y: i }, { targetAgent: "provider" }),
    );
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 100 }, (_, i) => 2 * i));
    expect(runs).toBe(101);
    expect(await call(caller, "who")).toMatchObject({ callerAgentId: caller.agentId, callerName: "caller" });
    await expect(call(caller, "fail")).rejects.toMatchObject({ code: -32_000, message: "out of paper" });
    await expect(call(caller, "nothing")).rejects.toMatchObject(UNKNOWN);
    const { tools } = (await caller.request("kadi.ability.list")) as { tools: { name: string; agentId: string }[] };
    expect(tools.map(({ name, agentId }) => [name, agentId])).toEqual(
      ["add", "who", "fail"].map((name) => [name, provider.agentId]),
    );
    // Callers and tools of one broker meet there as well.
    expect(await call(await openAgent(a.url), "add", { x: 2, y: 2 })).toBe(4);
  });

  test("events pass, in their network alone, and those that a tool published arrive before its answer, every time", async () => {
    const [a, b] = await openTwo();
    await openAbility(a.url, {
      echo: (input: { run: number }, self: RawClient) => {
        self.notify("kadi.event.publish", { channel: "echo.test-event", data: [input.run, 1] });
        self.notify("kadi.event.publish", { channel: "echo.other", data: [input.run, 2] });
        return input.run;
      },
    });
    const elsewhere = await openAgent(b.url, { networks: ["elsewhere"] });
    await elsewhere.request("kadi.event.subscribe", { channels: ["#"] });
    const callers = [await openAgent(b.url), await openAgent(a.url)];
    for (const caller of callers) {
      await caller.request("kadi.event.subscribe", { channels: ["echo.*", "echo.test-event"] });
      for (let run = 0; run < 100; run++) {
        const before = caller.got("kadi.event.delivery").length;
        expect(await call(caller, "echo", { run })).toBe(run);
        expect(
          caller
            .got("kadi.event.delivery")
            .slice(before)
            .map(({ data }) => data),
        ).toEqual([
          [run, 1],
          [run, 2],
        ]);
      }
    }
    await elsewhere.request("kadi.event.publish", { channel: "own", data: 1 });
    expect(await elsewhere.next("kadi.event.delivery")).toMatchObject({ channel: "own" });
    expect(elsewhere.got("kadi.event.delivery")).toHaveLength(1);
  });

  test("a tool that another key holds at one is refused at the other", async () => {
    const [a, b] = await openTwo();
    await openAbility(a.url, { tool: () => 1 });
    const rival = await openAgent(b.url, { networks: ["global", "elsewhere"] });
    const tools = [{ name: "tool" }];
    await expect(rival.request("kadi.agent.register", { tools, networks: ["global"] })).rejects.toMatchObject({
      code: -32_004,
    });
    await rival.request("kadi.agent.register", { tools, networks: ["elsewhere"] });
  });

  test("a call that comes for a tool which is not offered any more, and whose caller's broker has not heard of it, does not run it", async () => {
    const shared = await open();
    const tap = await tapOf(shared);
    const [{ broker: a }, { broker: b, proxy }] = [await brokerVia(shared), await brokerVia(shared)];
    const provider = await openAbility(a.url, { kept: () => "kept", withdrawn: () => "withdrawn" });
    const caller = await openAgent(b.url);
    expect(await call(caller, "withdrawn")).toBe("withdrawn");
    const kinds: string[] = [];
    await tap.on("kadi.broker", ({ payload }) => void kinds.push((payload as { kind: string }).kind));
    proxy.freeze("toClient");
    await provider.request("kadi.agent.register", { tools: [{ name: "kept" }] });
    const called = expect(call(caller, "withdrawn")).rejects.toMatchObject(UNKNOWN);
    await until(() => kinds.includes("request"));
    proxy.thaw();
    await called;
    expect(provider.got("kadi.ability.request")).toHaveLength(1);
    expect(await call(caller, "kept")).toBe("kept");
  });

  test("of two keys that register one name at both in the same instant one is refused, again and again", async () => {
    const urls = (await openTwo()).map(({ url }) => url);
    const agents = await Promise.all(urls.map((url) => openAgent(url)));
    for (const agent of agents) {
      await agent.request("kadi.agent.register", { tools: [{ name: `of ${agent.agentId}` }] });
      agent.onRequest = () => agent.agentId;
    }
    const callers = await Promise.all(urls.map((url) => openAgent(url)));
    for (let round = 0; round < (apart ? 100 : 20); round++) {
      const name = `tool ${round}`;
      const results = await Promise.allSettled(
        agents.map((agent) =>
          agent.request("kadi.agent.register", { tools: [{ name }, { name: `of ${agent.agentId}` }] }),
        ),
      );
      const winners = agents.filter((_, i) => results[i]?.status === "fulfilled");
      // Where each may have heard the other first, both may be refused.
      expect(winners.length).toBeLessThan(2);
      if (ordered) expect(winners).toHaveLength(1);
      const refused = results.find((result) => result.status === "rejected");
      expect(refused?.reason).toMatchObject({ code: -32_004 });
      // Each caller reaches the one who has it, and what the other offered before is still there.
      for (const caller of callers) {
        if (winners[0] === undefined) await expect(call(caller, name)).rejects.toMatchObject(UNKNOWN);
        else expect(await call(caller, name)).toBe(winners[0].agentId);
        for (const { agentId } of agents) expect(await call(caller, `of ${agentId}`)).toBe(agentId);
      }
    }
    for (const agent of agents) expect(agent.got("kadi.agent.withdrawn")).toEqual([]);
  });

  test("a cancel passes, and so does the end of a caller or of a provider", async () => {
    const [a, b] = await openTwo();
    const provider = await openAbility(a.url, { slow: () => new Promise(() => undefined) });
    const [caller, leaver] = [await openAgent(b.url), await openAgent(b.url)];
    const cancelled = caller.request("kadi.ability.request", { toolName: "slow" }, "c");
    const first = await provider.next("kadi.ability.request");
    await caller.request("kadi.ability.cancel", { requestId: "c" });
    await expect(cancelled).rejects.toMatchObject({ code: -32_006 });
    expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId: first["requestId"] });
    void call(leaver, "slow");
    const second = await provider.next("kadi.ability.request");
    leaver.socket.terminate();
    expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId: second["requestId"] });
    const pending = call(caller, "slow");
    await provider.next("kadi.ability.request");
    provider.socket.terminate();
    await expect(pending).rejects.toMatchObject(GONE);
    await expect(call(caller, "slow")).rejects.toMatchObject(UNKNOWN);
  });

  test.each(apart ? ["killed", "closed"] : ["closed"])(
    "a broker that is %s fails its calls and withdraws its tools; the other goes on",
    async (how) => {
      const shared = await open();
      const url = shared.url(shared.port);
      // Where it says goodbye nobody waits for the lease.
      const lease = how === "killed" ? 3000 : 600_000;
      const [a, b] = await Promise.all([spawnBroker(url, lease), spawnBroker(url, lease)]);
      const provider = await openAbility(a.url, { slow: () => new Promise(() => undefined) });
      await openAbility(b.url, { quick: () => "still here" });
      const caller = await openAgent(b.url);
      const pending = call(caller, "slow");
      await provider.next("kadi.ability.request");
      if (how === "killed") a.child.kill("SIGKILL");
      else a.child.stdin.end();
      await expect(pending).rejects.toMatchObject(GONE);
      await expect(call(caller, "slow")).rejects.toMatchObject(UNKNOWN);
      expect(await call(caller, "quick")).toBe("still here");
      // The name is free again.
      const heir = await openAbility(b.url, { slow: () => "heir" });
      expect(await call(caller, "slow")).toBe("heir");
      expect(heir.agentId).not.toBe(provider.agentId);
    },
  );

  test("a broker that comes later learns what there is", async () => {
    const shared = await open();
    const { broker: a } = await brokerVia(shared);
    await openAbility(a.url, { early: () => "early" });
    const { broker } = await brokerVia(shared);
    await until(() => broker.status().agents === 1);
    expect(await call(await openAgent(broker.url), "early")).toBe("early");
    expect(broker.status()).toMatchObject({ brokers: 1, backplane: "ready" });
  });

  /** Subscribes at a broker on a slower way, and publishes at another: how many of 20 arrive. */
  async function late(isAwaited: boolean): Promise<number> {
    const shared = await open();
    const [{ broker: far, proxy }, { broker: near }] = [
      await brokerVia(shared, { toServer: isAwaited ? 50 : 0 }),
      await brokerVia(shared),
    ];
    const [reader, publisher] = [await openAgent(far.url), await openAgent(near.url)];
    if (!isAwaited) proxy.freeze("toServer");
    const live = reader.request("kadi.event.subscribe", { channels: ["a.*"] });
    if (isAwaited) await live;
    for (let i = 0; i < 20; i++) await publisher.request("kadi.event.publish", { channel: "a.b", data: i });
    proxy.thaw();
    await live;
    await publisher.request("kadi.event.publish", { channel: "a.last", data: "last" });
    const got = (): unknown[] => reader.got("kadi.event.delivery").map(({ data }) => data);
    await until(() => got().includes("last"));
    return got().length - 1;
  }

  test("a subscription is acknowledged when the backplane has it, and nothing that is published then is lost", async () => {
    expect(await late(true)).toBe(20);
  });

  test("the control: whoever does not wait for the acknowledgement loses events", async () => {
    expect(await late(false)).toBe(0);
  });

  test("whatever else is published under the brokers' names ends nothing", async () => {
    const shared = await open();
    const tap = await tapOf(shared);
    const { broker } = await brokerVia(shared);
    await openAbility(broker.url, { tool: () => 1 });
    const caller = await openAgent(broker.url);
    await caller.request("kadi.event.subscribe", { channels: ["#"] });
    for (const payload of [null, 1, "x", [], {}, { kind: "agent", broker: "x" }, { kind: "nothing", broker: "y" }]) {
      await tap.publish("kadi.broker", "", payload);
      await tap.publish("kadi.event.a.b", "global", payload);
    }
    expect(await call(caller, "tool")).toBe(1);
    await caller.request("kadi.event.publish", { channel: "last", data: 1 });
    await until(() => caller.got("kadi.event.delivery").some(({ channel }) => channel === "last"));
  });

  test("a broker that was silent for a lease is forgotten, and known again once it is back", async () => {
    const shared = await open();
    const [{ broker: a, proxy }, { broker: b }] = [
      await brokerVia(shared, { lease: 1500 }),
      await brokerVia(shared, { lease: 1500 }),
    ];
    const provider = await openAbility(a.url, { slow: () => new Promise(() => undefined), quick: () => "quick" });
    const caller = await openAgent(b.url);
    const pending = call(caller, "slow");
    await provider.next("kadi.ability.request");
    proxy.freeze();
    await expect(pending).rejects.toMatchObject(GONE);
    await until(() => b.status().agents === 0);
    expect(b.status().brokers).toBe(0);
    proxy.thaw();
    await until(() => b.status().agents === 1);
    expect(await call(caller, "quick")).toBe("quick");
  });

  test("of two that were accepted while their brokers could not hear each other the older keeps the name, and the other is told", async () => {
    const shared = await open();
    const [{ broker: a, proxy }, { broker: b }] = [
      await brokerVia(shared, { lease: 1500 }),
      await brokerVia(shared, { lease: 1500 }),
    ];
    await openAbility(a.url, { tool: () => "older", second: () => "older" });
    const caller = await openAgent(b.url);
    expect(await call(caller, "tool")).toBe("older");
    proxy.freeze();
    await until(() => b.status().agents === 0);
    const younger = await openAbility(b.url, { tool: () => "younger", other: () => "other" });
    expect(await call(caller, "tool")).toBe("younger");
    const told = new Promise<unknown>((onError) => {
      const connection = connectTo(b.url, { onError });
      onTestFinished(() => connection.close());
      void connection.register([{ name: "second" }]).then(() => proxy.thaw());
    });
    expect(await younger.next("kadi.agent.withdrawn")).toMatchObject({ tools: ["tool"] });
    expect(await told).toMatchObject({ code: "REFUSED", message: /took tools away .*"second"/ });
    for (const broker of [a, b]) {
      const there = await openAgent(broker.url);
      for (const tool of ["tool", "second"]) expect(await call(there, tool)).toBe("older");
      expect(await call(there, "other")).toBe("other");
    }
  });

  test.each(["the provider's", "the caller's"])(
    "a cut of %s broker that loses what was sent fails the calls under way, tells subscribers of the gap, and mends itself",
    async (whose) => {
      const shared = await open();
      const [{ broker: a, proxy: proxyA }, { broker: b, proxy: proxyB }] = [
        await brokerVia(shared),
        await brokerVia(shared),
      ];
      const provider = await openAbility(a.url, { slow: () => new Promise(() => undefined), quick: () => "quick" });
      const caller = await openAgent(b.url);
      const [cutBroker, proxy] = whose === "the caller's" ? [b, proxyB] : [a, proxyA];
      const reader = await openAgent(cutBroker.url);
      await reader.request("kadi.event.subscribe", { channels: ["a.*", "a.b", "#"], networkId: "global" });
      const pending = call(caller, "slow");
      await provider.next("kadi.ability.request");
      if (whose === "the provider's") {
        // The request is lost on its way: nobody serves it, and nobody would ever answer.
        proxy.freeze();
        const lost = call(caller, "quick");
        await until(() => b.status().calls === 2);
        proxy.cut();
        proxy.thaw();
        await expect(lost).rejects.toMatchObject(GONE);
      } else {
        proxy.cut();
        await expect(pending).rejects.toMatchObject({ code: -32_008 });
        expect(await provider.next("kadi.ability.cancel")).toBeDefined();
      }
      expect(await reader.next("kadi.event.gap")).toMatchObject({ reason: "reconnect", networkId: "global" });
      expect(await call(caller, "quick")).toBe("quick");
      // One loss, however many patterns there are.
      await reader.request("kadi.session.ping");
      expect(reader.got("kadi.event.gap")).toHaveLength(1);
    },
  );
});

test.each(Object.entries(BACKPLANES).filter(([, { quick }]) => quick))(
  "a restart of what two share is a gap, and mended: %s",
  async (_, { open }) => {
    const shared = await open();
    const [a, b] = [await brokerVia(shared), await brokerVia(shared)];
    await openAbility(a.broker.url, { quick: () => "quick" });
    const reader = await openAgent(b.broker.url);
    await reader.request("kadi.event.subscribe", { channels: ["a.*"] });
    expect(await call(reader, "quick")).toBe("quick");
    const mended = [a, b].map(
      ({ backplane }) =>
        new Promise<void>((resolve) => backplane.onStatus((status) => status === "ready" && resolve())),
    );
    await shared.restart();
    await Promise.all(mended);
    expect(await reader.next("kadi.event.gap")).toMatchObject({ reason: "reconnect", networkId: "global" });
    // Until the other broker has said what it lost, a call may be among that.
    while ((await call(reader, "quick").catch(() => undefined)) !== "quick");
    await (await openAgent(a.broker.url)).request("kadi.event.publish", { channel: "a.b", data: "after" });
    expect(await reader.next("kadi.event.delivery")).toMatchObject({ channel: "a.b", data: "after" });
    expect(reader.got("kadi.event.gap")).toHaveLength(1);
  },
);

describe("a hub between that repeats, is small or breaks", () => {
  test("requests and answers that arrive twice run a tool once and are answered once", async () => {
    const hub = await openHub();
    const tap = await tapOf(hub);
    const repeated = new Set<unknown>();
    await tap.on("kadi.broker", ({ id, payload }) => {
      const { kind, call } = payload as { kind: string; call?: string };
      const key = `${kind} ${call}`;
      if (call === undefined || repeated.has(key)) return;
      repeated.add(key);
      void tap.publish("kadi.broker", id, payload);
    });
    const [{ broker: a }, { broker: b }] = [await brokerVia(hub), await brokerVia(hub)];
    let runs = 0;
    await openAbility(a.url, { count: () => ++runs });
    const caller = await openAgent(b.url);
    for (let i = 1; i <= 20; i++) expect(await call(caller, "count")).toBe(i);
    expect(repeated.size).toBe(40);
    const answers = caller.messages.filter(({ result }) => typeof result === "number");
    expect(answers).toHaveLength(20);
  });

  test("an answer that is too large for the backplane is an error for its caller", async () => {
    const hub = await openHub({ frame: 10_000 });
    const [{ broker: a }, { broker: b }] = [await brokerVia(hub), await brokerVia(hub)];
    await openAbility(a.url, { large: ({ size }: { size: number }) => "x".repeat(size) });
    const caller = await openAgent(b.url);
    expect(await call(caller, "large", { size: 100 })).toHaveLength(100);
    await expect(call(caller, "large", { size: 20_000 })).rejects.toMatchObject({ code: -32_005 });
    await expect(call(caller, "large", { size: 1, more: "x".repeat(20_000) })).rejects.toMatchObject({ code: -32_005 });
    expect(await call(caller, "large", { size: 100 })).toHaveLength(100);
  });

  test("a cut that the hub's resumption covers is not noticed", async () => {
    const hub = await openHub();
    const [{ broker: a, proxy }, { broker: b }] = [await brokerVia(hub), await brokerVia(hub)];
    let answer: (value: unknown) => void = () => undefined;
    const provider = await openAbility(a.url, { slow: () => new Promise((resolve) => (answer = resolve)) });
    const caller = await openAgent(b.url);
    const pending = call(caller, "slow");
    await provider.next("kadi.ability.request");
    proxy.cut();
    answer("after the cut");
    expect(await pending).toBe("after the cut");
  });

  test("what cannot be sent meanwhile is refused, and the answer of a call is kept until it can", async () => {
    const hub = await openHub({ resumeWindow: 0 });
    const [{ broker: a, proxy }, { broker: b }] = [await brokerVia(hub), await brokerVia(hub)];
    let answer: (value: unknown) => void = () => undefined;
    const provider = await openAbility(a.url, { slow: () => new Promise((resolve) => (answer = resolve)) });
    const caller = await openAgent(b.url);
    const pending = call(caller, "slow");
    await provider.next("kadi.ability.request");
    proxy.refusing = true;
    proxy.cut();
    await until(() => a.status().backplane === "interrupted");
    answer("kept");
    const unavailable = { code: -32_008 };
    const local = await openAgent(a.url);
    await expect(local.request("kadi.event.publish", { channel: "a", data: 1 })).rejects.toMatchObject(unavailable);
    await expect(call(local, "slow")).rejects.toMatchObject(unavailable);
    await expect(local.request("kadi.agent.register", { tools: [{ name: "new" }] })).rejects.toMatchObject(unavailable);
    proxy.refusing = false;
    expect(await pending).toBe("kept");
    await expect(call(local, "new")).rejects.toMatchObject(UNKNOWN);
  });

  test("sessions whose subscriptions the backplane ends are closed with 1011; the others are told when they ask", async () => {
    const hub = await openHub();
    const { broker, backplane } = await brokerVia(hub);
    const [reader, other] = [await openAgent(broker.url), await openAgent(broker.url)];
    await reader.request("kadi.event.subscribe", { channels: ["#"] });
    await backplane.close();
    expect(await reader.closed).toMatchObject({ code: 1011 });
    await expect(other.request("kadi.event.subscribe", { channels: ["a"] })).rejects.toMatchObject({ code: -32_008 });
    expect(broker.status().backplane).toBe("closed");
  });

  test("a broker that cannot reach its backplane, or its port, does not start", async () => {
    const hub = await openHub();
    const taken = hub.port;
    await expect(createKadiBroker({ port: taken })).rejects.toMatchObject({ code: "EADDRINUSE" });
    await expect(createKadiBroker({ lease: 0 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await hub.server.close();
    const backplane = createHubEventTarget(hub.url(hub.port), { firstAttempts: 1 });
    onTestFinished(() => backplane.close());
    await expect(createKadiBroker({ port: 0, backplane })).rejects.toMatchObject({ name: "PubSubError" });
  });
});
