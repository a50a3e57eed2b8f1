import process from "node:process";
import { createHubEventTarget } from "@alkdev/hub";
import { cannotListen, complainAs, isLoopback, say, Stopper, UsageError, wholeNumber } from "@alkdev/hub/parts";
import type { Arguments, OptionTypes } from "@alkdev/hub/parts";
import { createKadiBroker } from "../broker.ts";
import type { KadiBroker } from "../broker-api.ts";
import { GLOBAL } from "../participant.ts";

export const brokerOptions: OptionTypes = {
  port: { type: "string", short: "p" },
  host: { type: "string" },
  "allow-host": { type: "string", multiple: true },
  network: { type: "string", short: "n", multiple: true },
  hub: { type: "string" },
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
  const hub = args.text("hub");
  const onError = (error: unknown): void => complainAs("kadi", error);
  const stop = new Stopper();
  const backplane = hub === undefined ? undefined : createHubEventTarget(hub, { onError });
  let running: KadiBroker | undefined;
  try {
    try {
      running = await createKadiBroker({
        port,
        host,
        allowedHosts,
        authorize: ({ networks: wanted }) => wanted.filter((network) => networks.includes(network)),
        onError,
        ...(backplane !== undefined && { backplane }),
      });
    } catch (error) {
      throw await cannotListen(error, host, port, "kadi broker");
    }
    const joined = hub === undefined ? "" : `, joined with others by ${hub}`;
    process.stdout.write(
      `broker: ${running.url}, figures at GET ${running.url.replace(/^ws/, "http")}/status${joined}\n`,
    );
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
