import process from "node:process";
import { createHubServer } from "../server.ts";
import type { HubServer } from "../server.ts";
import { UsageError, wholeNumber } from "./arguments.ts";
import type { Arguments, OptionTypes } from "./arguments.ts";
import { cannotListen, isLoopback } from "./listening.ts";
import { complain, say, Stopper } from "./terminal.ts";

export const hubOptions: OptionTypes = {
  port: { type: "string", short: "p" },
  host: { type: "string" },
  "allow-host": { type: "string", multiple: true },
  events: { type: "boolean" },
};

/** Runs a hub until a signal ends it. */
export async function hub(args: Arguments): Promise<number> {
  const [extra] = args.positionals;
  if (extra !== undefined)
    throw new UsageError("hub", `hub takes options only, and there is also ${JSON.stringify(extra)}`);
  const port = wholeNumber("hub", "port", args.text("port") ?? "8080", 0, 65_535);
  const host = args.text("host") ?? "127.0.0.1";
  const allowedHosts = args.texts("allow-host");
  const events = args.flag("events");
  const stop = new Stopper();
  try {
    let server: HubServer;
    try {
      server = await createHubServer({ port, host, allowedHosts, events, onError: complain });
    } catch (error) {
      throw await cannotListen(error, host, port, "pubsub hub");
    }
    const http = server.url.replace(/^ws/, "http");
    const stream = events ? `, events at GET ${http}/events?type=**` : "";
    process.stdout.write(`hub: ${server.url}, figures at GET ${http}/status${stream}\n`);
    if (!isLoopback(host))
      say(
        `Whoever can reach ${host} can publish and subscribe. Names other than localhost need --allow-host${allowedHosts.length > 0 ? `; allowed: ${allowedHosts.join(", ")}` : ""}.`,
      );
    await stop.wait();
    await server.close();
    return 0;
  } finally {
    stop.release();
  }
}
