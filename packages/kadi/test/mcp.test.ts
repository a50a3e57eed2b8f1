// MCP clients at a broker, by the official client: streamable HTTP at /mcp.
import { request as httpRequest } from "node:http";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { describe, expect, onTestFinished, test } from "vitest";
import type { KadiBrokerOptions } from "@alkdev/kadi";
import { createHubEventTarget, createHubServer } from "@alkdev/hub";
import { createKadiBroker } from "@alkdev/kadi";
import { openAbility, openAgent, openBroker, until } from "./fixtures/open.ts";
import type { OpenBroker } from "./fixtures/open.ts";
import { newKey } from "./fixtures/raw-client.ts";

const TOKEN = "a-token-for-tests";

function mcpBroker(options: KadiBrokerOptions = {}): Promise<OpenBroker> {
  return openBroker({ mcp: { token: TOKEN }, authorize: ({ networks }) => networks, ...options });
}

const mcpUrl = (broker: { url: string }): string => `${broker.url.replace("ws:", "http:")}/mcp`;

interface Connected {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  /** How often it was told that the tools have changed. */
  readonly changes: () => number;
}

/** The official client, connected; with a stream on which it hears of changes. */
async function connect(broker: { url: string }, token = TOKEN, name = "assistant"): Promise<Connected> {
  let listening = false;
  const transport = new StreamableHTTPClientTransport(new URL(mcpUrl(broker)), {
    requestInit: { headers: { authorization: `Bearer ${token}` } },
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      if (init?.method === "GET" && response.ok) listening = true;
      return response;
    },
  });
  const client = new Client({ name, version: "1" });
  let changes = 0;
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void changes++);
  onTestFinished(() => client.close());
  await client.connect(transport);
  await until(() => listening);
  return { client, transport, changes: () => changes };
}

async function names({ client }: Connected): Promise<string[]> {
  return (await client.listTools()).tools.map(({ name }) => name);
}

/** What a request without the official client is answered with. */
async function post(
  broker: { url: string },
  body: string | object,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(mcpUrl(broker), {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: {
      authorization: `Bearer ${TOKEN}`,
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
      ...headers,
    },
  });
}

const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
};

describe("the official client", () => {
  test("connects, lists and calls", async () => {
    const broker = await mcpBroker();
    await openAbility(broker.url, { add: ({ a, b }: { a: number; b: number }) => ({ sum: a + b }), hi: () => "hello" });
    const connected = await connect(broker);
    expect(connected.client.getServerVersion()).toMatchObject({ name: "kadi" });
    expect(connected.client.getServerCapabilities()).toEqual({ tools: { listChanged: true } });
    expect((await connected.client.listTools()).tools).toMatchObject([
      { name: "add", description: "add", inputSchema: { type: "object" } },
      { name: "hi" },
    ]);
    expect(await connected.client.callTool({ name: "add", arguments: { a: 1, b: 2 } })).toEqual({
      content: [{ type: "text", text: '{"sum":3}' }],
    });
    expect(await connected.client.callTool({ name: "hi" })).toEqual({ content: [{ type: "text", text: "hello" }] });
    expect(broker.status().sessions).toBe(2);
    expect(broker.errors).toEqual([]);
  });

  test("is who the provider is told that it is, with one id for its token", async () => {
    const broker = await mcpBroker();
    const ability = await openAbility(broker.url, {
      who: (_, __, { callerName, callerAgentId }) => [callerName, callerAgentId],
    });
    const who = async (name: string): Promise<[string, string]> => {
      const { client } = await connect(broker, TOKEN, name);
      const { content } = await client.callTool({ name: "who" });
      return JSON.parse((content as [{ text: string }])[0].text) as [string, string];
    };
    const [one, other] = [await who("one"), await who("other")];
    expect([one[0], other[0]]).toEqual(["one", "other"]);
    expect(one[1]).toBe(other[1]);
    expect(one[1]).toMatch(/^[0-9a-f]{64}$/);
    expect(one[1]).not.toBe(ability.agentId);
  });

  test("reads what a tool says that fails", async () => {
    const broker = await mcpBroker();
    await openAbility(broker.url, {
      fail: () => {
        throw new Error("out of paper");
      },
    });
    const { client } = await connect(broker);
    expect(await client.callTool({ name: "fail" })).toMatchObject({
      isError: true,
      content: [{ type: "text", text: "out of paper" }],
    });
  });

  test("has an error for a tool that is not there", async () => {
    const { client } = await connect(await mcpBroker());
    await expect(client.callTool({ name: "nothing" })).rejects.toMatchObject({
      code: -32_602,
      message: expect.stringContaining('Unknown tool: "nothing"') as string,
    });
  });

  test("cancels a call, and the provider is told; the session goes on", async () => {
    const broker = await mcpBroker();
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined), fast: () => 1 });
    const { client } = await connect(broker);
    const controller = new AbortController();
    const call = client.callTool({ name: "slow" }, undefined, { signal: controller.signal });
    const { requestId } = await provider.next("kadi.ability.request");
    controller.abort("enough");
    await expect(call).rejects.toThrow("enough");
    expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
    expect(broker.status().calls).toBe(0);
    expect(await client.callTool({ name: "fast" })).toMatchObject({ content: [{ text: "1" }] });
  });

  test("is told that a provider went away, at once", async () => {
    const broker = await mcpBroker();
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
    const { client } = await connect(broker);
    const call = client.callTool({ name: "slow" });
    await provider.next("kadi.ability.request");
    provider.socket.terminate();
    await expect(call).rejects.toMatchObject({
      code: -32_007,
      message: expect.stringContaining("The provider went away before it answered; the tool may have run.") as string,
    });
  });

  test("is told once of each turn in which agents come or go", async () => {
    const broker = await mcpBroker();
    const connected = await connect(broker);
    expect(await names(connected)).toEqual([]);
    const provider = await openAbility(broker.url, { one: () => 1 });
    await until(() => connected.changes() === 1);
    expect(await names(connected)).toEqual(["one"]);
    // Two messages of one segment are one turn's.
    const tools = (...all: string[]): object => ({ tools: all.map((name) => ({ name })), networks: ["global"] });
    await Promise.all([
      provider.request("kadi.agent.register", tools("two")),
      provider.request("kadi.agent.register", tools("two", "three")),
    ]);
    await until(() => connected.changes() === 2);
    expect(await names(connected)).toEqual(["two", "three"]);
    provider.socket.terminate();
    await until(() => connected.changes() === 3);
    expect(await names(connected)).toEqual([]);
  });

  test("hears of what has changed while it had no stream, once it has one", async () => {
    const broker = await mcpBroker();
    const session = (await post(broker, INITIALIZE)).headers.get("mcp-session-id") ?? "";
    await post(broker, { jsonrpc: "2.0", method: "notifications/initialized" }, { "mcp-session-id": session });
    await openAbility(broker.url, { one: () => 1 });
    const stream = await fetch(mcpUrl(broker), {
      headers: { authorization: `Bearer ${TOKEN}`, accept: "text/event-stream", "mcp-session-id": session },
    });
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader();
    const { value } = await reader.read();
    expect(new TextDecoder().decode(value)).toContain('"method":"notifications/tools/list_changed"');
    await reader.cancel();
  });
});

describe("networks", () => {
  test("a token sees, calls and hears of the tools of its networks alone", async () => {
    const broker = await mcpBroker({
      mcp: [
        { token: "token-of-a", networks: ["a"] },
        { token: "token-of-b", networks: ["b"] },
        { token: "token-of-both", networks: ["a", "b"] },
      ],
    });
    await openAbility(broker.url, { ofA: () => "a" }, { networks: ["a"] });
    const [a, b, both] = [
      await connect(broker, "token-of-a"),
      await connect(broker, "token-of-b"),
      await connect(broker, "token-of-both"),
    ];
    expect(await names(a)).toEqual(["ofA"]);
    expect(await names(b)).toEqual([]);
    await expect(b.client.callTool({ name: "ofA" })).rejects.toMatchObject({ code: -32_602 });
    await openAbility(broker.url, { ofB: () => "b" }, { networks: ["b"] });
    await until(() => b.changes() === 1 && both.changes() === 1);
    // What came on the stream of A before the next call's answer would have been counted.
    expect(await names(a)).toEqual(["ofA"]);
    expect(a.changes()).toBe(0);
    expect(await names(both)).toEqual(["ofA", "ofB"]);
  });

  test("another token's session does not exist", async () => {
    const broker = await mcpBroker({ mcp: [{ token: TOKEN }, { token: "other" }] });
    const session = (await post(broker, INITIALIZE)).headers.get("mcp-session-id") ?? "";
    const list = { jsonrpc: "2.0", id: 2, method: "tools/list" };
    const own = await post(broker, list, { "mcp-session-id": session });
    expect(own.status).toBe(200);
    await own.text();
    const foreign = await post(broker, list, { "mcp-session-id": session, authorization: "Bearer other" });
    expect(foreign.status).toBe(404);
  });

  test("where two agents have a tool of one name, the later one's has another, and each is the one that is called", async () => {
    const broker = await mcpBroker({ mcp: { token: TOKEN, networks: ["a", "b"] } });
    await openAbility(broker.url, { who: () => "the first" }, { networks: ["a"], name: "first" });
    const connected = await connect(broker);
    await openAbility(broker.url, { who: () => "the second" }, { networks: ["b"], name: "second" });
    const { tools } = await connected.client.listTools();
    expect(tools).toMatchObject([
      { name: "who", _meta: { "kadi/tool": "who", "kadi/agentName": "first" } },
      {
        name: expect.stringMatching(/^who_[0-9a-f]{8}$/) as string,
        title: "who",
        _meta: { "kadi/agentName": "second" },
      },
    ]);
    const said = await Promise.all(tools.map(({ name }) => connected.client.callTool({ name })));
    expect(said.map(({ content }) => (content as [{ text: string }])[0].text)).toEqual(["the first", "the second"]);
  });
});

test("tools of other brokers of the same backplane are seen and called", async () => {
  const hub = await createHubServer({ port: 0 });
  onTestFinished(() => hub.close());
  const backplanes = [createHubEventTarget(hub.url), createHubEventTarget(hub.url)];
  onTestFinished(async () => void (await Promise.all(backplanes.map((each) => each.close()))));
  const [here, there] = await Promise.all(backplanes.map((backplane) => mcpBroker({ backplane })));
  if (here === undefined || there === undefined) throw new Error("two brokers");
  const connected = await connect(here);
  const provider = await openAbility(there.url, { far: () => "away" });
  await until(() => connected.changes() === 1);
  expect(await connected.client.callTool({ name: "far" })).toMatchObject({ content: [{ text: "away" }] });
  provider.socket.terminate();
  await until(() => connected.changes() === 2);
  expect(await names(connected)).toEqual([]);
});

describe("who may come", () => {
  test("without a token nobody: /mcp is not there, and says how it would be", async () => {
    const broker = await openBroker();
    const response = await post(broker, INITIALIZE);
    expect(response.status).toBe(404);
    expect(await response.text()).toContain("--mcp-token");
  });

  test.each([
    ["no token", undefined, 'Bearer realm="kadi"'],
    ["a wrong token", "Bearer wrong", 'Bearer realm="kadi", error="invalid_token"'],
    ["a part of the token", `Bearer ${TOKEN.slice(0, -1)}`, 'Bearer realm="kadi", error="invalid_token"'],
    ["another scheme", `Basic ${TOKEN}`, 'Bearer realm="kadi"'],
  ])("%s is refused with 401", async (_, authorization, challenge) => {
    const broker = await mcpBroker();
    const headers = {
      ...(authorization !== undefined && { authorization }),
      accept: "application/json, text/event-stream",
    };
    for (const method of ["POST", "GET", "DELETE"]) {
      const response = await fetch(mcpUrl(broker), { method, headers });
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toBe(challenge);
      await response.text();
    }
    expect(broker.status().sessions).toBe(0);
  });

  test("the official client says that it may not", async () => {
    const broker = await mcpBroker();
    const client = new Client({ name: "stranger", version: "1" });
    const transport = new StreamableHTTPClientTransport(new URL(mcpUrl(broker)));
    await expect(client.connect(transport)).rejects.toMatchObject({ code: 401 });
  });

  test.each([
    ["a foreign page", { origin: "https://evil.example" }],
    ["a foreign name", { host: "evil.example" }],
  ])("%s is refused with 403, with the token too", async (_, headers) => {
    const broker = await mcpBroker();
    const status = await new Promise((resolve, reject) => {
      const request = httpRequest(mcpUrl(broker), {
        method: "POST",
        headers: { authorization: `Bearer ${TOKEN}`, ...headers },
      });
      request.once("response", (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.once("error", reject);
      request.end(JSON.stringify(INITIALIZE));
    });
    expect(status).toBe(403);
    expect(broker.status().sessions).toBe(0);
  });

  test.each(["", "two words", "schlüssel"])("the token %j is none, and is said to be so", async (token) => {
    await expect(createKadiBroker({ port: 0, mcp: { token } })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});

describe("sessions", () => {
  test("one that its client ends is gone, with its calls", async () => {
    const broker = await mcpBroker();
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
    const { client, transport } = await connect(broker);
    const call = client.callTool({ name: "slow" });
    const { requestId } = await provider.next("kadi.ability.request");
    const failed = expect(call).rejects.toMatchObject({
      message: expect.stringContaining("The client ended the session.") as string,
    });
    const session = transport.sessionId ?? "";
    await transport.terminateSession();
    await failed;
    expect(await provider.next("kadi.ability.cancel")).toMatchObject({ requestId });
    expect(broker.status().sessions).toBe(1);
    const late = await post(broker, { jsonrpc: "2.0", id: 2, method: "ping" }, { "mcp-session-id": session });
    expect(late.status).toBe(404);
  });

  test("the end of the broker ends them: calls fail and streams end", async () => {
    const broker = await mcpBroker();
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
    const { client } = await connect(broker);
    const call = client.callTool({ name: "slow" });
    await provider.next("kadi.ability.request");
    const failed = expect(call).rejects.toMatchObject({
      code: -32_006,
      message: expect.stringContaining("The broker was closed.") as string,
    });
    await broker.close();
    await failed;
    await expect(client.callTool({ name: "slow" })).rejects.toThrow();
    expect(broker.errors).toEqual([]);
  });

  test("one that is idle ends, one with a stream does not", async () => {
    const broker = await mcpBroker({ limits: { idle: 1500 } });
    const connected = await connect(broker);
    const idle = (await post(broker, INITIALIZE)).headers.get("mcp-session-id") ?? "";
    await until(() => broker.status().sessions === 1);
    const late = await post(broker, { jsonrpc: "2.0", id: 2, method: "ping" }, { "mcp-session-id": idle });
    expect(late.status).toBe(404);
    await connected.client.ping();
  });

  test("there are as many as limits.sessions says, of both wires together", async () => {
    const broker = await mcpBroker({ limits: { sessions: 2 } });
    await openAgent(broker.url);
    const { transport } = await connect(broker);
    const refused = await post(broker, INITIALIZE);
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ id: 1, error: { code: -32_005 } });
    await expect(openAgent(broker.url)).rejects.toThrow();
    await transport.terminateSession();
    const answered = await post(broker, INITIALIZE);
    expect(answered.status).toBe(200);
    await answered.text();
  });

  test("a client that hangs up has cancelled nothing; that its answer is lost is reported, and it goes on", async () => {
    const broker = await mcpBroker();
    let answer: (result: string) => void = () => undefined;
    const provider = await openAbility(broker.url, { slow: () => new Promise((resolve) => (answer = resolve)) });
    const session = (await post(broker, INITIALIZE)).headers.get("mcp-session-id") ?? "";
    const call = await post(
      broker,
      { jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: "slow" } },
      { "mcp-session-id": session },
    );
    await provider.next("kadi.ability.request");
    await call.body?.cancel();
    expect(broker.status().calls).toBe(1);
    await until(() => broker.errors.length > 0);
    expect(String(broker.errors)).toContain('The MCP client hung up before it had the answer to "tools/call".');
    answer("late");
    await until(() => broker.status().calls === 0);
    const list = { jsonrpc: "2.0", id: 3, method: "tools/list" };
    expect(await (await post(broker, list, { "mcp-session-id": session })).text()).toContain('"name":"slow"');
  });

  test("one that was refused to begin is none", async () => {
    const broker = await mcpBroker();
    const refused = await post(broker, INITIALIZE, { accept: "text/plain" });
    expect(refused.status).toBe(406);
    expect(broker.status().sessions).toBe(0);
  });

  test("a call too many is refused, and the others are not", async () => {
    const broker = await mcpBroker({ limits: { calls: 1 } });
    const provider = await openAbility(broker.url, { slow: () => new Promise(() => undefined) });
    const [one, other] = [await connect(broker), await connect(broker)];
    const call = one.client.callTool({ name: "slow" });
    call.catch(() => undefined);
    await provider.next("kadi.ability.request");
    await expect(one.client.callTool({ name: "slow" })).rejects.toMatchObject({ code: -32_005 });
    await expect(other.client.callTool({ name: "slow" })).rejects.toMatchObject({
      message: expect.stringContaining("The provider serves as many calls as it may") as string,
    });
  });
});

describe("what is wrong with a message is said, and harms nobody else", () => {
  test.each([
    ["no JSON", "{", 400, -32_700],
    ["a batch", [INITIALIZE], 400, -32_600],
    ["a request before initialize", { jsonrpc: "2.0", id: 7, method: "tools/list" }, 400, -32_600],
  ])("%s", async (_, body, status, code) => {
    const response = await post(await mcpBroker(), body);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ jsonrpc: "2.0", error: { code } });
  });

  test("another method", async () => {
    const broker = await mcpBroker();
    const response = await fetch(mcpUrl(broker), { method: "PUT", headers: { authorization: `Bearer ${TOKEN}` } });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("POST, GET, DELETE");
  });

  test("a body over the limit is refused while another session calls", async () => {
    const broker = await mcpBroker({ limits: { frame: 10_000 } });
    await openAbility(broker.url, { length: ({ text }: { text: string }) => text.length });
    const { client } = await connect(broker);
    const call = (length: number): Promise<unknown> =>
      client.callTool({ name: "length", arguments: { text: "x".repeat(length) } });
    const [large, small] = await Promise.allSettled([call(20_000), call(9000)]);
    expect(large).toMatchObject({ status: "rejected", reason: { code: 413 } });
    expect(small).toMatchObject({ status: "fulfilled", value: { content: [{ text: "9000" }] } });
    // Whoever sends without end is cut off.
    await new Promise<void>((resolve) => {
      const headers = { authorization: `Bearer ${TOKEN}`, connection: "close" };
      const request = httpRequest(mcpUrl(broker), { method: "POST", headers });
      const more = (): void => void request.write("x".repeat(10_000), (error) => !error && more());
      request.on("error", () => undefined).on("response", (response) => response.resume());
      request.once("close", resolve);
      more();
    });
    expect(await call(1)).toMatchObject({ content: [{ text: "1" }] });
    expect(broker.errors).toEqual([]);
  });

  test("more messages a second than limits.rate are refused", async () => {
    const broker = await mcpBroker({ limits: { rate: 3 } });
    const session = (await post(broker, INITIALIZE)).headers.get("mcp-session-id") ?? "";
    const pings = await Promise.all(
      Array.from({ length: 8 }, async (_, id) => {
        const response = await post(broker, { jsonrpc: "2.0", id, method: "ping" }, { "mcp-session-id": session });
        await response.text();
        return response.status;
      }),
    );
    expect(new Set(pings)).toEqual(new Set([200, 429]));
  });
});

describe("tools of agents that know nothing of MCP", () => {
  const register = async (broker: OpenBroker, tools: object[]): Promise<void> => {
    const agent = await openAgent(broker.url, { key: newKey() });
    agent.onRequest = ({ params }) => (params as unknown as { toolInput: unknown }).toolInput;
    await agent.request("kadi.agent.register", { tools, networks: ["global"] });
  };
  const returns = (type: string): object => ({ outputSchema: { type } });

  test("a name that is none in MCP is changed, and never into another's", async () => {
    const broker = await mcpBroker();
    await register(broker, [
      { name: "read file" },
      { name: "read/file" },
      { name: "read_file" },
      { name: "é".repeat(200) },
    ]);
    const connected = await connect(broker);
    const { tools } = await connected.client.listTools();
    expect(new Set(tools.map(({ name }) => name)).size).toBe(4);
    for (const { name } of tools) expect(name).toMatch(/^[A-Za-z0-9_.-]{1,128}$/);
    expect(tools[0]).toMatchObject({
      name: expect.stringMatching(/^read_file_[0-9a-f]{8}$/) as string,
      title: "read file",
    });
    expect(tools[2]).toMatchObject({ name: "read_file" });
    for (const { name } of tools)
      expect(await connected.client.callTool({ name, arguments: { name } })).toMatchObject({
        content: [{ text: JSON.stringify({ name }) }],
      });
  });

  test("an input that is no object is the member input of one", async () => {
    const broker = await mcpBroker();
    await register(broker, [{ name: "echo", inputSchema: { type: "string", minLength: 1 } }]);
    const { client } = await connect(broker);
    expect((await client.listTools()).tools[0]?.inputSchema).toEqual({
      type: "object",
      properties: { input: { type: "string", minLength: 1 } },
      required: ["input"],
    });
    expect(await client.callTool({ name: "echo", arguments: { input: "hi" } })).toMatchObject({
      content: [{ text: "hi" }],
    });
  });

  test("an output that is an object is structured; what is none, though it should be, is an error", async () => {
    const broker = await mcpBroker();
    await register(broker, [
      { name: "object", ...returns("object") },
      { name: "text", inputSchema: { type: "string" }, ...returns("object") },
      { name: "other", ...returns("array") },
    ]);
    const { client } = await connect(broker);
    const { tools } = await client.listTools();
    expect(tools.map(({ outputSchema }) => outputSchema)).toEqual([{ type: "object" }, { type: "object" }, undefined]);
    expect(await client.callTool({ name: "object", arguments: { a: 1 } })).toEqual({
      content: [{ type: "text", text: '{"a":1}' }],
      structuredContent: { a: 1 },
    });
    expect(await client.callTool({ name: "text", arguments: { input: "hi" } })).toMatchObject({
      isError: true,
      content: [{}, { text: "hi" }],
    });
  });

  test.each([
    ["inputSchema", "no schema"],
    ["inputSchema", { type: "object", properties: { a: 1 } }],
    ["inputSchema", { type: "object", properties: { a: true } }],
    ["inputSchema", { type: "object", required: "a" }],
    ["inputSchema", { anyOf: [{ type: "object" }] }],
    ["inputSchema", { type: ["object", "null"] }],
    ["outputSchema", "no schema"],
    ["outputSchema", { type: "object", properties: { a: { $ref: "#/nowhere" } } }],
    ["outputSchema", { type: "object", properties: { a: { pattern: "(" } } }],
    ["outputSchema", { type: "object", properties: { a: { type: "strange" } } }],
    ["outputSchema", { type: "object", $comment: "x".repeat(20_000) }],
  ])("a strange %s hides no other tool (%#)", async (member, schema) => {
    const broker = await mcpBroker();
    await register(broker, [{ name: "strange", [member]: schema }, { name: "good" }]);
    const connected = await connect(broker);
    expect(await names(connected)).toEqual(["strange", "good"]);
    expect(await connected.client.callTool({ name: "strange", arguments: { a: 1 } })).toMatchObject({
      content: [{ text: '{"a":1}' }],
    });
  });
});
