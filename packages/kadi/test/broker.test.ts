// The broker, as clients that speak only JSON-RPC see it.
import { createHash, createPublicKey } from "node:crypto";
import { createKadiBroker } from "@alkdev/kadi";
import { describe, expect, test } from "vitest";
import { call, dial, openAbility, openAgent, openBroker, until } from "./fixtures/open.ts";
import { newKey } from "./fixtures/raw-client.ts";
import type { RawClient } from "./fixtures/raw-client.ts";

describe("a raw WebSocket client", () => {
  test.each(["", "/kadi"])(
    "says hello, authenticates, registers, subscribes, publishes, calls, answers, pings and says goodbye at %j",
    async (path) => {
      const broker = await openBroker();
      const key = newKey();
      const client = await dial(broker.url + path);
      const hello = (await client.request("kadi.session.hello", { role: "agent", name: "raw" })) as {
        nonce: string;
        heartbeatInterval: number;
      };
      expect(Buffer.from(hello.nonce, "base64")).toHaveLength(32);
      expect(hello.heartbeatInterval).toBe(30_000);
      await client.authenticate(key, hello.nonce);
      const schema = { type: "object", properties: { a: { type: "number" } } };
      const tools = [{ name: "double", description: "Doubles.", inputSchema: schema, outputSchema: schema }];
      expect(await client.request("kadi.agent.register", { tools, networks: ["global"] })).toMatchObject({
        status: "registered",
      });
      await client.request("kadi.event.subscribe", { channels: ["demo.#"], networkId: "global" });
      await client.request("kadi.event.publish", { channel: "demo.note", data: { n: 1 }, networkId: "global" });
      expect(await client.next("kadi.event.delivery")).toMatchObject({
        channel: "demo.note",
        data: { n: 1 },
        networkId: "global",
        agentId: client.agentId,
      });
      const { tools: listed } = (await client.request("kadi.ability.list")) as { tools: unknown[] };
      expect(listed).toEqual([{ ...tools[0], agentId: client.agentId, agentName: "raw", networks: ["global"] }]);

      const answer = client.request("kadi.ability.request", { toolName: "double", toolInput: { a: 21 } }, "mine");
      const request = await client.next("kadi.ability.request");
      expect(request).toMatchObject({ toolName: "double", toolInput: { a: 21 }, requestId: request.id });
      client.send({ jsonrpc: "2.0", id: request.id, result: { a: 42 } });
      expect(await answer).toEqual({ a: 42 });
      expect(await client.request("kadi.session.ping")).toBe("pong");
      await client.request("kadi.session.goodbye");
      expect(await client.closed).toMatchObject({ code: 1000 });
      expect(broker.status()).toMatchObject({ sessions: 0, agents: 0, calls: 0 });
    },
  );

  test("may answer a call with kadi.ability.result or kadi.ability.error", async () => {
    const broker = await openBroker();
    const provider = await openAbility(broker.url, { tool: () => undefined });
    provider.onRequest = undefined;
    const caller = await openAgent(broker.url);
    const first = call(caller, "tool");
    const { requestId } = await provider.next("kadi.ability.request");
    await provider.request("kadi.ability.result", { requestId, result: 7 });
    expect(await first).toBe(7);
    await expect(provider.request("kadi.ability.result", { requestId, result: 8 })).rejects.toMatchObject({
      code: -32_602,
    });
    const second = call(caller, "tool");
    const { requestId: next } = await provider.next("kadi.ability.request");
    await provider.request("kadi.ability.error", { requestId: next, error: "out of paper" });
    await expect(second).rejects.toMatchObject({ code: -32_000, message: "out of paper" });
  });
});

describe("identity", () => {
  test("the agent id is that of the key, and the same after a reconnect", async () => {
    const broker = await openBroker();
    const key = newKey();
    const first = await openAgent(broker.url, { key });
    first.socket.terminate();
    const second = await openAgent(broker.url, { key });
    expect(second.agentId).toBe(first.agentId);
    const der = createPublicKey({ key: Buffer.from(key.publicKey, "base64"), format: "der", type: "spki" });
    expect(first.agentId).toBe(
      createHash("sha256")
        .update(der.export({ format: "der", type: "spki" }))
        .digest("hex"),
    );
    expect((await openAgent(broker.url)).agentId).not.toBe(first.agentId);
  });

  test("wantNewId gives an id for this session alone", async () => {
    const broker = await openBroker();
    const key = newKey();
    const ids = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const client = await dial(broker.url);
      await client.authenticate(key, await client.hello(), { wantNewId: true });
      ids.add(client.agentId);
    }
    expect(ids.size).toBe(3);
  });
});

test("whoever lists tools and watches is told of changes in its networks, until it watches no more", async () => {
  const broker = await openBroker({ authorize: ({ networks }) => networks });
  const watcher = await openAgent(broker.url);
  const list = async (watch: boolean): Promise<string[]> => {
    const { tools } = (await watcher.request("kadi.ability.list", { watch })) as { tools: { name: string }[] };
    return tools.map(({ name }) => name);
  };
  expect(await list(true)).toEqual([]);
  await openAbility(broker.url, { elsewhere: () => 1 }, { networks: ["other"] });
  const ability = await openAbility(broker.url, { here: () => 1 });
  await watcher.next("kadi.ability.changed");
  expect(await list(true)).toEqual(["here"]);
  ability.socket.terminate();
  await watcher.next("kadi.ability.changed");
  expect(await list(false)).toEqual([]);
  await openAbility(broker.url, { again: () => 1 });
  expect(await list(true)).toEqual(["again"]);
  expect(watcher.got("kadi.ability.changed")).toHaveLength(2);
});

describe("calls", () => {
  test("a call goes to the agent that is named, by its id, name or display name", async () => {
    const broker = await openBroker();
    const provider = await openAbility(broker.url, { one: () => 1 }, { name: "first" });
    await openAbility(broker.url, { two: () => 2 }, { name: "second" });
    const caller = await openAgent(broker.url);
    expect(await call(caller, "one")).toBe(1);
    expect(await call(caller, "one", {}, { targetAgent: "first" })).toBe(1);
    expect(await call(caller, "one", {}, { targetAgent: provider.agentId })).toBe(1);
    await provider.request("kadi.agent.register", {
      tools: [{ name: "one" }],
      networks: ["global"],
      displayName: "The First",
    });
    expect(await call(caller, "one", {}, { targetAgent: "The First" })).toBe(1);
    await expect(call(caller, "one", {}, { targetAgent: "second" })).rejects.toMatchObject({ code: -32_003 });
    await expect(call(caller, "three")).rejects.toMatchObject({ code: -32_003 });
  });

  test("the error of a tool reaches the caller, with its code and data", async () => {
    const broker = await openBroker();
    const provider = await openAbility(broker.url, { tool: () => undefined });
    provider.onRequest = undefined;
    const caller = await openAgent(broker.url);
    const answer = call(caller, "tool");
    const { id } = await provider.next("kadi.ability.request");
    provider.send({ jsonrpc: "2.0", id, error: { code: -32_050, message: "no", data: { why: 1 } } });
    await expect(answer).rejects.toMatchObject({ code: -32_050, message: "no" });
    expect(caller.messages.at(-1)?.error?.data).toEqual({ why: 1 });
  });

  test("the provider learns who calls, as the broker knows it, whatever the caller claims", async () => {
    const broker = await openBroker();
    await openAbility(broker.url, { who: (_input, _client, params) => params });
    const caller = await openAgent(broker.url, { name: "honest" });
    expect(await call(caller, "who", {}, { callerAgentId: "somebody else" })).toMatchObject({
      callerAgentId: caller.agentId,
      callerName: "honest",
    });
  });

  test("a cancelled call ends at once for its caller, and its provider is told", async () => {
    const broker = await openBroker();
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
    const caller = await openAgent(broker.url);
    const answer = caller.request("kadi.ability.request", { toolName: "slow" }, 7);
    const { requestId } = await provider.next("kadi.ability.request");
    // A string is not a number: another request's id.
    expect(await caller.request("kadi.ability.cancel", { requestId: "7" })).toEqual({ status: "unknown" });
    await caller.request("kadi.ability.cancel", { requestId: 7 });
    await expect(answer).rejects.toMatchObject({ code: -32_006 });
    expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
    // Its late answer is nobody's.
    provider.send({ jsonrpc: "2.0", id: requestId, result: 1 });
    expect(await provider.request("kadi.session.ping")).toBe("pong");
    expect(broker.status().calls).toBe(0);
  });

  test("a provider may cancel, too", async () => {
    const broker = await openBroker();
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
    const answer = call(await openAgent(broker.url), "slow");
    const { requestId } = await provider.next("kadi.ability.request");
    await provider.request("kadi.ability.cancel", { requestId });
    await expect(answer).rejects.toMatchObject({ code: -32_006 });
  });

  test.each(["goodbye", "a cut"])(
    "a provider that goes away by %s fails its pending calls at once, and its tools are withdrawn",
    async (how) => {
      const broker = await openBroker();
      const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
      const caller = await openAgent(broker.url);
      const answers = [call(caller, "slow"), call(caller, "slow")];
      await provider.next("kadi.ability.request");
      await provider.next("kadi.ability.request");
      if (how === "goodbye") await provider.request("kadi.session.goodbye");
      else provider.socket.terminate();
      for (const answer of answers) await expect(answer).rejects.toMatchObject({ code: -32_007 });
      await expect(call(caller, "slow")).rejects.toMatchObject({ code: -32_003 });
      expect(await caller.request("kadi.ability.list")).toEqual({ tools: [] });
    },
  );

  test("a caller that goes away has its calls cancelled at their providers", async () => {
    const broker = await openBroker();
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
    const caller = await openAgent(broker.url);
    void call(caller, "slow");
    const { requestId } = await provider.next("kadi.ability.request");
    caller.socket.terminate();
    expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
    await until(() => broker.status().calls === 0);
  });

  test("of an agent that is connected twice, the newest connection is called", async () => {
    const broker = await openBroker();
    const key = newKey();
    await openAbility(broker.url, { tool: () => "old" }, { key });
    const newer = await openAbility(broker.url, { tool: () => "new" }, { key });
    const caller = await openAgent(broker.url);
    expect(await call(caller, "tool")).toBe("new");
    expect(((await caller.request("kadi.ability.list")) as { tools: unknown[] }).tools).toHaveLength(1);
    newer.socket.terminate();
    await until(() => broker.status().sessions === 2);
    expect(await call(caller, "tool")).toBe("old");
  });
});

describe("events", () => {
  test("* is one word and # any number of trailing ones, and an event that several match arrives once", async () => {
    const broker = await openBroker();
    const [publisher, reader] = [await openAgent(broker.url), await openAgent(broker.url)];
    await reader.request("kadi.event.subscribe", { channels: ["echo.*", "echo.test-event", "log.#"] });
    const channels = ["echo", "echo.test-event", "echo.a.b", "log", "log.a", "log.a.b.c", "other", "echo.last"];
    for (const [data, channel] of channels.entries()) await publisher.request("kadi.event.publish", { channel, data });
    const expected = ["echo.test-event", "log", "log.a", "log.a.b.c", "echo.last"];
    for (const channel of expected) expect((await reader.next("kadi.event.delivery"))["channel"]).toBe(channel);
    expect(reader.got("kadi.event.delivery")).toHaveLength(expected.length);
    expect(publisher.got("kadi.event.delivery")).toEqual([]);
  });

  test.each(["", "a..b", "a b", "a:b", "a.#.b", "a#", "a.b*", "a.**", "#.a", `${"a.".repeat(20)}a`, "x".repeat(256)])(
    "the pattern %j is refused, and said to be so as it was written",
    async (pattern) => {
      const broker = await openBroker();
      const client = await openAgent(broker.url);
      const asked = client.request("kadi.event.subscribe", { channels: [pattern] });
      await expect(asked).rejects.toMatchObject({ code: -32_602 });
      await expect(asked).rejects.not.toThrow(/kadi\.event/);
    },
  );

  test.each(["a.*", "a.#", "", "a.", "*"])("nothing is published to %j", async (channel) => {
    const broker = await openBroker();
    const client = await openAgent(broker.url);
    await expect(client.request("kadi.event.publish", { channel, data: 1 })).rejects.toMatchObject({ code: -32_602 });
  });

  test("one bad channel among several subscribes to none", async () => {
    const broker = await openBroker();
    const client = await openAgent(broker.url);
    await expect(client.request("kadi.event.subscribe", { channels: ["good", "a..b"] })).rejects.toThrow();
    await client.request("kadi.event.subscribe", { channels: ["last"] });
    await client.request("kadi.event.publish", { channel: "good", data: 1 });
    await client.request("kadi.event.publish", { channel: "last", data: 2 });
    expect((await client.next("kadi.event.delivery"))["channel"]).toBe("last");
  });

  test("unsubscribing ends what was subscribed, and nothing else", async () => {
    const broker = await openBroker();
    const client = await openAgent(broker.url);
    await client.request("kadi.event.subscribe", { channels: ["a.*", "a.b", "c"] });
    await client.request("kadi.event.unsubscribe", { channels: ["a.*", "c", "never"] });
    for (const channel of ["c", "a.c", "a.b"]) await client.request("kadi.event.publish", { channel, data: null });
    expect(await client.next("kadi.event.delivery")).toMatchObject({ channel: "a.b", data: null });
  });

  test("what a tool published before it answered arrives before its answer, every time", async () => {
    const broker = await openBroker();
    await openAbility(broker.url, {
      echo: (input: { run: number }, self: RawClient) => {
        // Nothing is awaited: the answer follows in the same tick.
        self.notify("kadi.event.publish", { channel: "echo.test-event", data: [input.run, 1] });
        void self.request("kadi.event.publish", { channel: "echo.other", data: [input.run, 2] });
        return input.run;
      },
    });
    const caller = await openAgent(broker.url);
    await caller.request("kadi.event.subscribe", { channels: ["echo.*"] });
    for (let run = 0; run < 200; run++) {
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
  });
});

test("a broker that was closed says so to its sessions, and is done; closing it again changes nothing", async () => {
  const broker = await openBroker();
  const { url, port } = broker;
  const caller = await openAgent(url);
  await openAbility(url, { slow: () => new Promise(() => undefined) });
  const pending = call(caller, "slow");
  await broker.close();
  await expect(pending).rejects.toThrow("closed with 1001");
  await broker.close();
  expect(broker).toMatchObject({ url, port });
  expect(broker.status()).toMatchObject({ sessions: 0, agents: 0, calls: 0 });
});

test("a call that takes longer than the broker allows is an error for its caller, and cancelled at its provider", async () => {
  const { url } = await openBroker({ callTimeout: 1000 });
  const provider = await openAbility(url, { slow: () => new Promise(() => undefined), quick: () => "quick" });
  const caller = await openAgent(url);
  const slow = [call(caller, "slow"), call(caller, "slow")];
  const requests = [await provider.next("kadi.ability.request"), await provider.next("kadi.ability.request")];
  expect(await call(caller, "quick")).toBe("quick");
  for (const [i, { requestId }] of requests.entries()) {
    await expect(slow[i]).rejects.toMatchObject({ code: -32_009 });
    expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
    const late = provider.request("kadi.ability.result", { requestId, result: 1 });
    await expect(late).rejects.toMatchObject({ code: -32_602 });
  }
  await expect(createKadiBroker({ callTimeout: 0 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
});

test("a session that is silent for too long is dropped; one that pings is not", async () => {
  const broker = await openBroker({ limits: { silence: 300, rate: Infinity } });
  const [silent, lively] = [await openAgent(broker.url), await openAgent(broker.url)];
  let dropped = false;
  void silent.closed.then(() => (dropped = true));
  while (!dropped) expect(await lively.request("kadi.session.ping")).toBe("pong");
  expect(await silent.closed).toMatchObject({ code: 1001 });
  expect(await lively.request("kadi.session.ping")).toBe("pong");
});
