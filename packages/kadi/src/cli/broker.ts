import process from "node:process";
import {
  backplaneOf,
  cannotListen,
  complainAs,
  isLoopback,
  joinedBy,
  openBackplane,
  say,
  Stopper,
  UsageError,
  wholeNumber,
} from "@alkdev/hub/parts";
import type { Arguments, OptionTypes } from "@alkdev/hub/parts";
import { createKadiBroker } from "../broker.ts";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import type { KadiBroker, KadiMcpOptions } from "../broker-api.ts";
import { GLOBAL } from "../participant-events.ts";

export const brokerOptions: OptionTypes = {
  port: { type: "string", short: "p" },
  host: { type: "string" },
  "allow-host": { type: "string", multiple: true },
  network: { type: "string", short: "n", multiple: true },
  backplane: { type: "string" },
  "mcp-token": { type: "string" },
  "mcp-network": { type: "string", multiple: true },
};

/** Runs a broker until a signal ends it. */
export async function broker(args: Arguments): Promise<number> {
  const [extra] = args.positionals;
  if (extra !== undefined)
    throw new UsageError("broker", `broker takes options only, and there is also ${JSON.stringify(extra)}`);
  const port = wholeNumber("broker", "port", args.text("port") ?? "8080", 0, 65_535);
  const host = args.text("host") ?? "127.0.0.1";
  const allowedHosts = args.texts("allow-host");
  const networks = [GLOBAL, ...args.texts("network")];
  const shared = backplaneOf("broker", args.text("backplane"), "KADI_BACKPLANE");
  const mcp = mcpOf(args);
  const onError = (error: unknown): void => complainAs("kadi", error);
  const stop = new Stopper();
  let backplane: AlkEventTarget | undefined;
  let running: KadiBroker | undefined;
  try {
    backplane = await openBackplane(shared, stop.signal, onError);
    if (stop.stopped) return 0;
    try {
      running = await createKadiBroker({
        port,
        host,
        allowedHosts,
        authorize: ({ networks: wanted }) => wanted.filter((network) => networks.includes(network)),
        onError,
        ...(backplane !== undefined && { backplane }),
        ...(mcp !== undefined && { mcp }),
      });
    } catch (error) {
      throw await cannotListen(error, host, port, "kadi broker");
    }
    const http = running.url.replace(/^ws/, "http");
    process.stdout.write(`broker: ${running.url}, figures at GET ${http}/status${joinedBy(shared)}\n`);
    if (mcp !== undefined)
      process.stdout.write(`mcp: ${http}/mcp, for whoever has the token: ${mcp.networks.join(", ")}\n`);
    if (!isLoopback(host))
      say(
        `Whoever can reach ${host} can join ${networks.join(", ")} with any key. Names other than localhost need --allow-host${allowedHosts.length > 0 ? `; allowed: ${allowedHosts.join(", ")}` : ""}.`,
      );
    await stop.wait();
    return 0;
  } finally {
    stop.release();
    await running?.close();
    await backplane?.close();
  }
}

/** The token is read from the environment too: a command line is seen by all who see the process. */
function mcpOf(args: Arguments): (KadiMcpOptions & { readonly networks: readonly string[] }) | undefined {
  const token = args.text("mcp-token") ?? process.env["KADI_MCP_TOKEN"] ?? "";
  const networks = args.texts("mcp-network");
  if (token === "" && (args.text("mcp-token") !== undefined || networks.length > 0))
    throw new UsageError("broker", "MCP clients need a token: give --mcp-token, or the environment's KADI_MCP_TOKEN");
  return token === "" ? undefined : { token, networks: networks.length > 0 ? networks : [GLOBAL] };
}
