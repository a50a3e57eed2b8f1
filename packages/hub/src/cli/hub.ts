import { createServer } from "node:net";
import process from "node:process";
import { createHubServer } from "../server.ts";
import type { HubServer } from "../server.ts";
import { CliError, UsageError, wholeNumber } from "./arguments.ts";
import type { Arguments, OptionTypes } from "./arguments.ts";
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
      throw await cannotListen(error, host, port);
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

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

async function cannotListen(error: unknown, host: string, port: number): Promise<unknown> {
  const code: unknown = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case "EADDRINUSE": {
      const free = await freePort(host, port);
      const hint = free === undefined ? "choose another with --port" : `try: pubsub hub --port ${free}`;
      return new CliError(`port ${port} of ${host} is in use, maybe by another hub; ${hint}`);
    }
    case "EACCES":
      return new CliError(`port ${port} needs privileges that this process does not have; try: pubsub hub --port 8080`);
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new CliError(`${host} is not an address of this computer; --host takes one that is, such as 127.0.0.1`);
    default:
      return error;
  }
}

/** One of the next ports that nobody has: not taken, only named. */
async function freePort(host: string, after: number): Promise<number | undefined> {
  for (let port = after + 1; port <= Math.min(after + 20, 65_535); port++) if (await isFree(host, port)) return port;
  return undefined;
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, host, () => probe.close(() => resolve(true)));
  });
}
