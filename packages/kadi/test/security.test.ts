// What whoever can reach the port can try, and that nobody else notices.
import { generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { upgrade } from "../../hub/test/fixtures/upgrade.ts";
import { call, dial, openAbility, openAgent, openBroker, until } from "./fixtures/open.ts";
import { newKey, RawClient, signed } from "./fixtures/raw-client.ts";

const CODES = { parse: -32_700, invalid: -32_600, method: -32_601, params: -32_602 };
const UNAUTHENTICATED = { code: -32_001 };
const UNAUTHORISED = { code: -32_002 };
const TAKEN = { code: -32_004 };
const LIMIT = { code: -32_005 };

/** Two agents that a test's villain must not disturb; call what it returns to see that they are not. */
async function bystanders(url: string): Promise<() => Promise<void>> {
  const provider = await openAbility(url, { bystander: (input) => input });
  const caller = await openAgent(url);
  await caller.request("kadi.event.subscribe", { channels: ["bystander.#"] });
  let n = 0;
  return async () => {
    n++;
    expect(await call(caller, "bystander", { n })).toEqual({ n });
    await provider.request("kadi.event.publish", { channel: "bystander.event", data: n });
    expect((await caller.next("kadi.event.delivery"))["data"]).toBe(n);
  };
}

describe("who may connect", () => {
  test("it listens on 127.0.0.1, and neither foreign pages nor foreign names get in", async () => {
    const { url, port } = await openBroker({ allowedHosts: ["agents.example"] });
    expect(url).toBe(`ws://127.0.0.1:${port}`);
    expect(await upgrade(port, {})).toBe(101);
    expect(await upgrade(port, { Origin: `http://localhost:${port}` })).toBe(101);
    expect(await upgrade(port, { Origin: "https://agents.example" })).toBe(101);
    expect(await upgrade(port, { Origin: "https://evil.example" })).toBe(403);
    expect(await upgrade(port, { Origin: "null" })).toBe(403);
    expect(await upgrade(port, { Host: `evil.example:${port}` })).toBe(403);
    expect(await upgrade(port, {}, "/kadi")).toBe(101);
    expect(await upgrade(port, {}, "/other")).toBe(404);
  });

  test("the figures are for those who may connect, too", async () => {
    const { url } = await openBroker();
    const status = `${url.replace("ws:", "http:")}/status`;
    expect(await (await fetch(status)).json()).toMatchObject({ sessions: 0, agents: 0, calls: 0, brokers: 0 });
    expect((await fetch(status, { headers: { origin: "https://evil.example" } })).status).toBe(403);
  });
});

/** Each is tried again and again, while others work; it throws unless it is refused as it should be. */
const ATTACKS: Readonly<Record<string, (url: string, victim: RawClient) => Promise<void>>> = {
  "a replayed nonce": async (url) => {
    const key = newKey();
    const [one, other] = [await dial(url), await dial(url)];
    const nonce = await one.hello();
    await other.hello();
    await one.authenticate(key, nonce);
    await expect(other.authenticate(key, nonce)).rejects.toMatchObject(UNAUTHENTICATED);
    await expect(other.authenticate(key, nonce)).rejects.toMatchObject(UNAUTHENTICATED);
  },
  "a wrong key": async (url) => {
    const client = await dial(url);
    const nonce = await client.hello();
    const forged = { publicKey: newKey().publicKey, signature: signed(newKey(), nonce), nonce };
    await expect(client.request("kadi.session.authenticate", forged)).rejects.toMatchObject(UNAUTHENTICATED);
  },
  "a forged agent id": async (url, { agentId }) => {
    const client = await dial(url);
    const forged = client.authenticate(newKey(), await client.hello(), { agentId });
    await expect(forged).rejects.toMatchObject(UNAUTHORISED);
  },
  "a foreign network": async (url) => {
    const client = await openAgent(url);
    const networkId = "foreign";
    await expect(openAgent(url, { networks: [networkId] })).rejects.toMatchObject(UNAUTHORISED);
    for (const [method, params] of [
      ["kadi.event.subscribe", { channels: ["#"], networkId }],
      ["kadi.event.publish", { channel: "a", data: 1, networkId }],
      ["kadi.agent.register", { tools: [], networks: [networkId] }],
    ] as const)
      await expect(client.request(method, params), method).rejects.toMatchObject(UNAUTHORISED);
  },
  "a foreign page, and a foreign name": async (url) => {
    const port = Number(new URL(url).port);
    expect(await upgrade(port, { Origin: "https://evil.example" })).toBe(403);
    expect(await upgrade(port, { Host: `evil.example:${port}` })).toBe(403);
  },
  "the name of another key's tool": async (url) => {
    const client = await openAgent(url);
    const tools = [{ name: "bystander" }];
    await expect(client.request("kadi.agent.register", { tools })).rejects.toMatchObject(TAKEN);
  },
  "anything before authentication": async (url) => {
    const client = await dial(url);
    for (const method of ["kadi.agent.register", "kadi.ability.request", "kadi.event.publish", "kadi.event.subscribe"])
      await expect(
        client.request(method, { toolName: "bystander", channel: "bystander.event", channels: ["#"], tools: [] }),
      ).rejects.toMatchObject(UNAUTHENTICATED);
  },
};

test.each(Object.entries(ATTACKS))("%s is refused, and bystanders do not notice", async (_name, attack) => {
  const broker = await openBroker();
  const others = await bystanders(broker.url);
  const victim = await openAgent(broker.url);
  const work = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await others();
  };
  const attacks = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) await attack(broker.url, victim);
  };
  await Promise.all([work(), attacks()]);
  await others();
  expect(victim.messages.every(({ error }) => error === undefined)).toBe(true);
  expect(broker.status()).toMatchObject({ agents: 1, calls: 0 });
  expect(broker.errors).toEqual([]);
});

describe("before authentication", () => {
  test.each([
    "kadi.session.ping",
    "kadi.session.goodbye",
    "kadi.agent.register",
    "kadi.ability.list",
    "kadi.ability.request",
    "kadi.ability.result",
    "kadi.ability.cancel",
    "kadi.event.publish",
    "kadi.event.subscribe",
    "kadi.no.such.method",
  ])("%s is refused, before and after hello", async (method) => {
    const broker = await openBroker();
    const client = await dial(broker.url);
    await expect(client.request(method)).rejects.toMatchObject(UNAUTHENTICATED);
    await client.hello();
    await expect(client.request(method)).rejects.toMatchObject(UNAUTHENTICATED);
  });

  test("whoever does not authenticate in time is closed", async () => {
    const broker = await openBroker({ limits: { handshake: 100 } });
    const client = await dial(broker.url);
    expect(await client.closed).toMatchObject({ code: 1008 });
    await until(() => broker.status().sessions === 0);
  });

  test("of too many strangers the oldest goes, and those who are known stay", async () => {
    const broker = await openBroker({ limits: { strangers: 2 } });
    const others = await bystanders(broker.url);
    const first = await dial(broker.url);
    const rest = [await dial(broker.url), await dial(broker.url)];
    expect(await first.closed).toMatchObject({ code: 1013 });
    for (const client of rest) await client.hello();
    await others();
  });

  test("a message of a stranger may be small only", async () => {
    const broker = await openBroker({ limits: { strangerFrame: 1000 } });
    const client = await dial(broker.url);
    client.notify("kadi.session.hello", { name: "x".repeat(1000) });
    expect(await client.closed).toMatchObject({ code: 1009 });
  });
});

describe("authentication", () => {
  test("a nonce is for one connection", async () => {
    const broker = await openBroker();
    const key = newKey();
    const [one, other] = [await dial(broker.url), await dial(broker.url)];
    const nonce = await one.hello();
    await other.hello();
    await expect(other.authenticate(key, nonce)).rejects.toMatchObject(UNAUTHENTICATED);
    await one.authenticate(key, nonce);
  });

  test("a nonce is for one use: what was sent once gets nobody in again", async () => {
    const broker = await openBroker();
    const others = await bystanders(broker.url);
    const key = newKey();
    const client = await dial(broker.url);
    const nonce = await client.hello();
    await client.authenticate(key, nonce);
    const replay = { publicKey: key.publicKey, signature: signed(key, nonce), nonce };
    await expect(client.request("kadi.session.authenticate", replay)).rejects.toMatchObject(UNAUTHENTICATED);
    const thief = await dial(broker.url);
    await expect(thief.request("kadi.session.authenticate", replay)).rejects.toMatchObject(UNAUTHENTICATED);
    await thief.hello();
    await expect(thief.request("kadi.session.authenticate", replay)).rejects.toMatchObject(UNAUTHENTICATED);
    await expect(thief.request("kadi.ability.list")).rejects.toMatchObject(UNAUTHENTICATED);
    await others();
  });

  test("a failed try uses the nonce up, and a new hello gives another", async () => {
    const broker = await openBroker();
    const [key, wrong] = [newKey(), newKey()];
    const client = await dial(broker.url);
    const nonce = await client.hello();
    const forged = { publicKey: key.publicKey, signature: signed(wrong, nonce), nonce };
    await expect(client.request("kadi.session.authenticate", forged)).rejects.toMatchObject(UNAUTHENTICATED);
    await expect(client.authenticate(key, nonce)).rejects.toMatchObject(UNAUTHENTICATED);
    const next = await client.hello();
    expect(next).not.toBe(nonce);
    await client.authenticate(key, next);
  });

  test("a nonce is no longer good once its time is over", async () => {
    const broker = await openBroker({ limits: { handshake: 50 } });
    const client = await dial(broker.url);
    const nonce = await client.hello();
    const { code } = await client.closed;
    expect(code).toBe(1008);
    const other = await dial(broker.url);
    await other.hello();
    await expect(other.authenticate(newKey(), nonce)).rejects.toMatchObject(UNAUTHENTICATED);
  });

  test("the signature may be over the nonce as text or over its bytes, and over nothing else", async () => {
    const broker = await openBroker();
    const key = newKey();
    const prove = async (message: (nonce: string) => string | Buffer): Promise<unknown> => {
      const client = await dial(broker.url);
      const nonce = await client.hello();
      const signature = signed(key, message(nonce));
      return client.request("kadi.session.authenticate", { publicKey: key.publicKey, signature, nonce });
    };
    await prove((nonce) => nonce);
    await prove((nonce) => Buffer.from(nonce, "base64"));
    await expect(prove((nonce) => `${nonce} `)).rejects.toMatchObject(UNAUTHENTICATED);
    await expect(prove(() => "")).rejects.toMatchObject(UNAUTHENTICATED);
  });

  test.each([
    ["nonsense", "nonsense"],
    ["nothing", ""],
    ["one that is too long", "A".repeat(5000)],
    [
      "one of another kind",
      generateKeyPairSync("x25519").publicKey.export({ format: "der", type: "spki" }).toString("base64"),
    ],
  ])("%s is no public key", async (_name, publicKey) => {
    const broker = await openBroker();
    const client = await dial(broker.url);
    const nonce = await client.hello();
    const proof = { publicKey, signature: "AAAA", nonce };
    await expect(client.request("kadi.session.authenticate", proof)).rejects.toMatchObject(UNAUTHENTICATED);
    expect(broker.errors).toEqual([]);
  });

  test("an agent id is what the key makes it: whoever claims another's is refused", async () => {
    const broker = await openBroker();
    const victim = await openAbility(broker.url, { secret: () => "of the victim" });
    const villain = await dial(broker.url);
    const claim = { agentId: victim.agentId };
    await expect(villain.authenticate(newKey(), await villain.hello(), claim)).rejects.toMatchObject(UNAUTHORISED);
    await villain.authenticate(newKey(), await villain.hello());
    const tools = [{ name: "other" }];
    await expect(villain.request("kadi.agent.register", { ...claim, tools })).rejects.toMatchObject(UNAUTHORISED);
    const caller = await openAgent(broker.url);
    expect(await call(caller, "secret", {}, { targetAgent: victim.agentId })).toBe("of the victim");
  });

  test("a connection that is authenticated cannot become somebody else", async () => {
    const broker = await openBroker();
    const client = await openAgent(broker.url);
    await expect(client.hello()).rejects.toMatchObject({ code: CODES.invalid });
  });
});

describe("networks", () => {
  const authorize = ({ networks }: { networks: readonly string[] }): string[] =>
    networks.filter((network) => network !== "forbidden");

  test("a key may join global alone, unless authorize says otherwise", async () => {
    const broker = await openBroker();
    await expect(openAgent(broker.url, { networks: ["global", "team"] })).rejects.toMatchObject(UNAUTHORISED);
    const client = await openAgent(broker.url);
    await expect(client.request("kadi.agent.register", { tools: [], networks: ["team"] })).rejects.toMatchObject(
      UNAUTHORISED,
    );
  });

  test("authorize is asked with the agent id of the key and what it wants to join", async () => {
    const asked: unknown[] = [];
    const broker = await openBroker({
      authorize: async (applicant) => {
        asked.push(applicant);
        return authorize(applicant);
      },
    });
    const client = await openAgent(broker.url, { networks: ["team", "global"] });
    await client.request("kadi.agent.register", { tools: [], networks: ["team", "late"] });
    expect(asked).toEqual([
      { agentId: client.agentId, networks: ["team", "global"] },
      { agentId: client.agentId, networks: ["late"] },
    ]);
    await expect(openAgent(broker.url, { networks: ["forbidden"] })).rejects.toMatchObject(UNAUTHORISED);
  });

  test("an authorize that throws lets nobody in", async () => {
    const broker = await openBroker({
      authorize: () => {
        throw new Error("the database is down");
      },
    });
    await expect(openAgent(broker.url)).rejects.toMatchObject(UNAUTHORISED);
  });

  test("tools and events of a network are seen, called and heard in it alone", async () => {
    const broker = await openBroker({ authorize });
    const inside = await openAbility(broker.url, { hidden: () => 1 }, { networks: ["team"] });
    const member = await openAgent(broker.url, { networks: ["team"] });
    const outside = await openAgent(broker.url);
    await outside.request("kadi.event.subscribe", { channels: ["#"] });
    await member.request("kadi.event.subscribe", { channels: ["#"] });
    expect(await outside.request("kadi.ability.list")).toEqual({ tools: [] });
    // As if there were none: not even that it exists is told.
    const [missing, hidden] = await Promise.all(
      ["missing", "hidden"].map((tool) => call(outside, tool).catch((error: Error) => error.message)),
    );
    expect(hidden).toBe(String(missing).replace("missing", "hidden"));
    await expect(call(outside, "hidden", {}, { targetAgent: inside.agentId })).rejects.toMatchObject({ code: -32_003 });
    expect(await call(member, "hidden")).toBe(1);

    const foreign = { channel: "a.b", data: 1, networkId: "team" };
    await expect(outside.request("kadi.event.publish", foreign)).rejects.toMatchObject(UNAUTHORISED);
    await expect(
      outside.request("kadi.event.subscribe", { channels: ["a.b"], networkId: "team" }),
    ).rejects.toMatchObject(UNAUTHORISED);
    await inside.request("kadi.event.publish", foreign);
    expect(await member.next("kadi.event.delivery")).toMatchObject({ channel: "a.b", networkId: "team" });
    await outside.request("kadi.event.publish", { channel: "mine", data: 2 });
    expect(await outside.next("kadi.event.delivery")).toMatchObject({ channel: "mine", networkId: "global" });
  });

  test("a network whose name looks like a pattern, or like a topic, is a name", async () => {
    const broker = await openBroker({ authorize });
    const odd = ["#", "*", "**", "global.a", "a:b", "$x"];
    const members = await Promise.all(odd.map((network) => openAgent(broker.url, { networks: [network] })));
    for (const member of members) await member.request("kadi.event.subscribe", { channels: ["#"] });
    for (const [i, member] of members.entries())
      await member.request("kadi.event.publish", { channel: "a", data: odd[i] });
    for (const [i, member] of members.entries()) {
      expect(await member.next("kadi.event.delivery")).toMatchObject({ networkId: odd[i], data: odd[i] });
      expect(member.got("kadi.event.delivery")).toHaveLength(1);
    }
  });
});

describe("tools", () => {
  test("a name that another key's live agent holds is refused, until that agent is gone; elsewhere it is free", async () => {
    const broker = await openBroker({ authorize: ({ networks }) => networks });
    const owner = await openAbility(broker.url, { tool: () => "owner" });
    const rival = await openAgent(broker.url, { networks: ["global", "elsewhere"] });
    const tools = [{ name: "new" }, { name: "tool" }];
    await expect(rival.request("kadi.agent.register", { tools, networks: ["global"] })).rejects.toMatchObject(TAKEN);
    const caller = await openAgent(broker.url);
    expect(await call(caller, "tool")).toBe("owner");
    await expect(call(caller, "new")).rejects.toMatchObject({ code: -32_003 });
    await rival.request("kadi.agent.register", { tools, networks: ["elsewhere"] });
    expect(await call(caller, "tool")).toBe("owner");
    await owner.request("kadi.session.goodbye");
    await rival.request("kadi.agent.register", { tools, networks: ["global"] });
    rival.onRequest = () => "rival";
    expect(await call(caller, "tool")).toBe("rival");
  });

  test("only the provider of a call can answer it or cancel it", async () => {
    const broker = await openBroker();
    const provider = await openAbility(broker.url, { slow: () => undefined });
    provider.onRequest = undefined;
    const caller = await openAgent(broker.url);
    const answer = call(caller, "slow");
    const { requestId } = await provider.next("kadi.ability.request");
    const villain = await openAgent(broker.url);
    await expect(villain.request("kadi.ability.result", { requestId, result: "forged" })).rejects.toMatchObject({
      code: CODES.params,
    });
    villain.send({ jsonrpc: "2.0", id: requestId, result: "forged" });
    expect(await villain.request("kadi.ability.cancel", { requestId })).toEqual({ status: "unknown" });
    provider.send({ jsonrpc: "2.0", id: requestId, result: "true" });
    expect(await answer).toBe("true");
  });
});

describe("malformed messages", () => {
  test.each([
    ["no JSON", "{", CODES.parse, null],
    ["a batch", [{ jsonrpc: "2.0", id: 1, method: "kadi.session.ping" }], CODES.invalid, null],
    ["a string", '"hello"', CODES.invalid, null],
    ["null", "null", CODES.invalid, null],
    ["another version", { jsonrpc: "1.0", id: 1, method: "kadi.session.ping" }, CODES.invalid, 1],
    ["no method", { jsonrpc: "2.0", id: 1 }, CODES.invalid, 1],
    ["an id that is none", { jsonrpc: "2.0", id: {}, method: "kadi.session.ping" }, CODES.invalid, null],
    ["params that are none", { jsonrpc: "2.0", id: 1, method: "kadi.session.ping", params: [1] }, CODES.params, 1],
    ["an unknown method", { jsonrpc: "2.0", id: 1, method: "kadi.nothing" }, CODES.method, 1],
    ["a method of every object", { jsonrpc: "2.0", id: 1, method: "constructor" }, CODES.method, 1],
    ["wrong params", { jsonrpc: "2.0", id: 1, method: "kadi.event.publish", params: { channel: 7 } }, CODES.params, 1],
    ["no channels", { jsonrpc: "2.0", id: 1, method: "kadi.event.subscribe", params: {} }, CODES.params, 1],
    ["a binary message", Buffer.from("{}"), CODES.invalid, null],
  ])("%s is answered with its code, and the session goes on", async (_name, message, code, id) => {
    const broker = await openBroker();
    const client = await openAgent(broker.url);
    client.send(message);
    await client.request("kadi.session.ping");
    const answer = client.messages.find(({ error }) => error !== undefined);
    expect(answer).toMatchObject({ jsonrpc: "2.0", id, error: { code } });
    expect(answer?.error?.message.length).toBeGreaterThan(10);
    expect(broker.errors).toEqual([]);
  });

  test("answers that nobody waits for are dropped", async () => {
    const broker = await openBroker();
    const client = await openAgent(broker.url);
    for (const id of [1, "x", "constructor"]) client.send({ jsonrpc: "2.0", id, result: 1 });
    expect(await client.request("kadi.session.ping")).toBe("pong");
  });
});

test.each([
  [{ tools: "x" }],
  [{ tools: [1] }],
  [{ tools: [{}] }],
  [{ tools: [{ name: "" }] }],
  [{ tools: [{ name: "x".repeat(300) }] }],
  [{ tools: [{ name: "a" }, { name: "a" }] }],
  [{ tools: [], networks: [] }],
  [{ tools: [], networks: [7] }],
  [{ tools: [], displayName: 7 }],
])("what is registered is looked at: %j is refused, and nothing of it stays", async (params) => {
  const broker = await openBroker();
  const client = await openAgent(broker.url);
  await expect(client.request("kadi.agent.register", params)).rejects.toMatchObject({ code: CODES.params });
  expect(broker.status().agents).toBe(0);
});

describe("limits", () => {
  test("a frame of 100 MB ends its session alone, unread", async () => {
    const broker = await openBroker();
    const others = await bystanders(broker.url);
    const villain = await openAgent(broker.url);
    villain.send("x".repeat(100_000_000));
    expect(await villain.closed).toMatchObject({ code: expect.toBeOneOf([1006, 1009]) as number });
    await others();
    expect(broker.status().sessions).toBe(2);
  });

  test("a flood is refused, then cut off, and others are served meanwhile", async () => {
    const broker = await openBroker({ limits: { rate: 200 } });
    const others = await bystanders(broker.url);
    const villain = await openAgent(broker.url);
    const flood = async (): Promise<void> => {
      while (villain.socket.readyState === villain.socket.OPEN) {
        for (let i = 0; i < 500; i++) villain.notify("kadi.event.publish", { channel: "flood.x", data: i });
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all([flood(), others()]);
    expect(await villain.closed).toMatchObject({ code: 1008 });
    expect(villain.messages.some(({ error }) => error?.code === LIMIT.code)).toBe(true);
    await others();
    expect(broker.status().sessions).toBe(2);
  });

  test("sessions, tools, networks, subscriptions", async () => {
    const broker = await openBroker({
      authorize: ({ networks }) => networks,
      limits: { sessions: 1, tools: 2, networks: 2, subscriptions: 3 },
    });
    const client = await openAgent(broker.url);
    await expect(new RawClient(broker.url).open()).rejects.toThrow("503");
    const tools = (count: number): object[] => Array.from({ length: count }, (_, i) => ({ name: `tool${i}` }));
    const register = (params: object): Promise<never> => client.request("kadi.agent.register", params);
    await expect(register({ tools: tools(3) })).rejects.toMatchObject(LIMIT);
    await register({ tools: tools(2), networks: ["global", "b"] });
    await expect(register({ tools: tools(2), networks: ["c"] })).rejects.toMatchObject(LIMIT);
    await client.request("kadi.event.subscribe", { channels: ["a"] });
    await client.request("kadi.event.subscribe", { channels: ["a"] });
    await expect(client.request("kadi.event.subscribe", { channels: ["b", "c"] })).rejects.toMatchObject(LIMIT);
    await client.request("kadi.event.subscribe", { channels: ["b"], networkId: "b" });
  });

  test("calls without an answer, of a caller and at a provider", async () => {
    const broker = await openBroker({ limits: { calls: 2 } });
    const provider = await openAbility(broker.url, { slow: () => undefined });
    provider.onRequest = undefined;
    const caller = await openAgent(broker.url);
    const answers = [call(caller, "slow"), call(caller, "slow")];
    await expect(call(caller, "slow")).rejects.toMatchObject(LIMIT);
    await expect(call(await openAgent(broker.url), "slow")).rejects.toMatchObject(LIMIT);
    for (const [i, answer] of answers.entries()) {
      const { id } = await provider.next("kadi.ability.request");
      provider.send({ jsonrpc: "2.0", id, result: i });
      expect(await answer).toBe(i);
    }
  });

  test("whoever does not read is closed once too much waits, and its publisher is not held up", async () => {
    const broker = await openBroker({ limits: { buffered: 1024 * 1024, rate: Infinity } });
    const [publisher, slow] = [await openAgent(broker.url), await openAgent(broker.url)];
    await slow.request("kadi.event.subscribe", { channels: ["#"] });
    slow.socket.pause();
    const data = "x".repeat(100_000);
    while (broker.status().sessions > 1) await publisher.request("kadi.event.publish", { channel: "a", data });
    slow.socket.resume();
    await slow.closed;
    expect(await publisher.request("kadi.session.ping")).toBe("pong");
  });
});
