import { once } from "node:events";
import process from "node:process";
import { setTimeout as wait } from "node:timers/promises";
import { PubSubError } from "@alkdev/pubsub";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { RequestId } from "@modelcontextprotocol/sdk/types.js";
import { CliError, complainAs, say, Stopper, UsageError } from "@alkdev/hub/parts";
import type { Arguments, OptionTypes } from "@alkdev/hub/parts";
import { openBroker } from "../broker-connection.ts";
import type { BrokerConnection } from "../broker-connection.ts";
import { CODES, RpcError } from "../json-rpc.ts";
import { withoutSdk } from "../mcp-sdk.ts";
import { introduction, sessionOptions, urlOf } from "./session.ts";

const { url, network } = sessionOptions;
export const mcpOptions: OptionTypes = { ...(url && { url }), ...(network && { network }) };

/** Milliseconds for which a call waits for a broker that is away, and at most between two attempts to reach one. */
const PATIENCE = 5000;
const MAX_PAUSE = 5000;

/** Serves the tools of a broker to whoever started this process. Stdout carries MCP and nothing else. */
export async function mcp(args: Arguments): Promise<number> {
  const [extra] = args.positionals;
  if (extra !== undefined)
    throw new UsageError("mcp", `mcp takes options only, and there is also ${JSON.stringify(extra)}`);
  const url = urlOf("mcp", args);
  const { serveTools } = await import("../mcp.ts").catch(withoutSdk);
  const { StdioServerTransport } = await import("@modelcontextprotocol/sdk/server/stdio.js");
  const stop = new Stopper();
  const ended = new AbortController();
  const over = AbortSignal.any([stop.signal, ended.signal]);
  stop.watchStdout();
  const onError = (error: unknown): void => complainAs("kadi", error);
  let opened: BrokerConnection | undefined;
  // As late as that, to be there under the client's name.
  const broker = (): BrokerConnection => {
    if (opened !== undefined) return opened;
    opened = openBroker(url, {
      ...introduction("mcp", args),
      name: tools.server.getClientVersion()?.name.slice(0, 256) || "kadi mcp",
      role: "mcp",
      connectTimeout: PATIENCE,
      backoff: { max: MAX_PAUSE },
      onToolsChanged: () => tools.changed(),
      onError,
    });
    void stayConnected(opened, over);
    return opened;
  };
  const tools = serveTools(
    {
      tools: () => broker().tools().catch(away),
      call: (tool, input, signal) => broker().call(tool.name, input, { targetAgent: tool.agentId, signal }).catch(away),
    },
    onError,
  );
  tools.server.oninitialized = () => void broker();
  // oxlint-disable-next-line prefer-add-event-listener -- It is no EventTarget.
  tools.server.onclose = () => ended.abort();
  const transport = new StdioServerTransport();
  const answered = followAnswers(transport);
  // Whoever has asked and then closed the pipe still reads.
  const stdinEnded = (): void => void answered().then(() => ended.abort());
  process.stdin.once("end", stdinEnded).once("close", stdinEnded);
  try {
    await tools.server.connect(transport);
    if (!over.aborted) await once(over, "abort");
  } finally {
    stop.release();
    // oxlint-disable-next-line prefer-add-event-listener -- It is no EventTarget.
    tools.server.onclose = () => undefined;
    await tools.server.close();
    await opened?.close();
    process.stdin.destroy();
  }
  if (stop.writeError !== undefined) throw new CliError(`cannot write to stdout: ${stop.writeError.message}`);
  return 0;
}

/** Follows what is asked over a transport that is not connected yet. What it returns resolves once all of it was answered. */
function followAnswers(transport: Transport): () => Promise<void> {
  const asked = new Set<RequestId | undefined>();
  let done: () => void = () => undefined;
  const settled = (id: RequestId | undefined): void => {
    asked.delete(id);
    if (asked.size === 0) done();
  };
  // oxlint-disable-next-line prefer-add-event-listener -- It is no EventTarget.
  transport.onmessage = (message) => {
    if (!("method" in message)) return;
    if ("id" in message) asked.add(message.id);
    // What is cancelled has no answer.
    else if (message.method === "notifications/cancelled") settled(message.params?.["requestId"] as RequestId);
  };
  const send = transport.send.bind(transport);
  transport.send = async (message, options) => {
    await send(message, options);
    if (!("method" in message)) settled(message.id);
  };
  return () => (asked.size === 0 ? Promise.resolve() : new Promise((resolve) => (done = resolve)));
}

/** Says where the connection stands; the first time that there is no broker, it tries again too. */
async function stayConnected(broker: BrokerConnection, signal: AbortSignal): Promise<void> {
  broker.eventTarget.onStatus((status, cause) => {
    if (status === "ready") say("ready");
    if (status === "interrupted") complainAs("kadi", cause);
  });
  let said = "";
  for (let pause = 100; !signal.aborted; pause = Math.min(pause * 2, MAX_PAUSE))
    try {
      await broker.ready(signal);
      return;
    } catch (error) {
      if (signal.aborted || (error instanceof PubSubError && error.code === "CLOSED")) return;
      const message = error instanceof Error ? error.message : String(error);
      if (message !== said) complainAs("kadi", error);
      said = message;
      await wait(pause, undefined, { signal }).catch(() => undefined);
    }
}

/** What a client is told while there is no broker. */
function away(error: unknown): never {
  if (!(error instanceof PubSubError)) throw error;
  const run = error.code === "DISCONNECTED" ? " The tool may have run." : "";
  throw new RpcError(error.code === "PAYLOAD" ? CODES.LIMIT : CODES.GONE, `${error.message}${run}`);
}
