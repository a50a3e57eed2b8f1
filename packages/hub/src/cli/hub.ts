import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { PubSubError } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { createHubServer } from "../server.ts";
import type { HubServer } from "../server.ts";
import { CliError, UsageError, wholeNumber } from "./arguments.ts";
import type { Arguments, OptionTypes } from "./arguments.ts";
import { backplaneOf, joinedBy, openBackplane } from "./backplane.ts";
import { cannotListen, isLoopback } from "./listening.ts";
import { complain, say, Stopper } from "./terminal.ts";

export const hubOptions: OptionTypes = {
  port: { type: "string", short: "p" },
  host: { type: "string" },
  "allow-host": { type: "string", multiple: true },
  events: { type: "boolean" },
  "token-file": { type: "string" },
  backplane: { type: "string" },
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
  const shared = backplaneOf("hub", args.text("backplane"), "PUBSUB_BACKPLANE");
  const token = await tokenOf(args.text("token-file"));
  const stop = new Stopper();
  let backplane: AlkEventTarget | undefined;
  try {
    backplane = await openBackplane(shared, stop.signal, complain);
    if (stop.stopped) return 0;
    let server: HubServer;
    try {
      server = await createHubServer({
        ...{ port, host, allowedHosts, events, onError: complain },
        ...(backplane !== undefined && { backplane }),
        ...(token !== undefined && { authenticate: whoHas(token) }),
      });
    } catch (error) {
      throw await cannotListen(error, host, port, "pubsub hub");
    }
    const http = server.url.replace(/^ws/, "http");
    const stream = events ? `, events at GET ${http}/events?type=**` : "";
    process.stdout.write(`hub: ${server.url}, figures at GET ${http}/status${stream}${joinedBy(shared)}\n`);
    if (!isLoopback(host))
      say(
        `Whoever ${token === undefined ? `can reach ${host}` : "has the token"} can publish and subscribe. Names other than localhost need --allow-host${allowedHosts.length > 0 ? `; allowed: ${allowedHosts.join(", ")}` : ""}.`,
      );
    await stop.wait();
    await server.close();
    return 0;
  } finally {
    stop.release();
    await backplane?.close();
  }
}

/** The token that a file holds. A file, since what is on a command line everybody on this machine can read. @throws CliError */
async function tokenOf(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  let token: string;
  try {
    token = (await readFile(file, "utf8")).trim();
  } catch (error) {
    throw new CliError(`the token cannot be read: ${(error as Error).message}`);
  }
  if (token === "" || /\s/.test(token)) throw new CliError(`${file} must hold one token, without spaces`);
  return token;
}

/** Lets in whoever names the token: as `Authorization: Bearer`, or, as pages must, as `?token=`. They are nobody known. */
function whoHas(token: string): (request: IncomingMessage) => undefined {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const expected = digest(token);
  return ({ headers, url = "" }) => {
    const [, given] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "") ?? [];
    const named = given ?? new URLSearchParams(url.split("?").slice(1).join("?")).get("token");
    // Of digests, whose lengths say nothing.
    if (named === null || !timingSafeEqual(digest(named), expected)) throw new PubSubError("REFUSED", "No such token.");
    return undefined;
  };
}
