import { once } from "node:events";
import process from "node:process";
import { printable, say, Stopper, UsageError, wholeNumber } from "@alkdev/hub/parts";
import type { Arguments, OptionTypes } from "@alkdev/hub/parts";
import type { BrokerClient } from "../broker-client.ts";
import type { Params } from "../json-rpc.ts";
import { connect, ended, sessionOptions } from "./session.ts";

export const eventsOptions: OptionTypes = { ...sessionOptions, count: { type: "string", short: "c" } };

/** Prints events as they arrive. */
export async function events(args: Arguments): Promise<number> {
  const channels = args.positionals;
  if (channels.length === 0) throw new UsageError("events", "events needs a channel or a pattern, such as 'echo.*'");
  const count = args.text("count");
  let left = count === undefined ? Infinity : wholeNumber("events", "count", count, 1, Number.MAX_SAFE_INTEGER);
  const format = args.flag("json") ? JSON.stringify : human;
  const stop = new Stopper();
  stop.watchStdout();
  const enough = new AbortController();
  let client: BrokerClient | undefined;
  const print = (text: string): void => {
    if (process.stdout.write(`${text}\n`)) return;
    // Whoever reads slowly is waited for; the broker says when it does so no longer.
    client?.pause();
    process.stdout.once("drain", () => client?.resume());
  };
  const onNotification = (method: string, params: Params): void => {
    if (method === "kadi.event.gap") {
      print(args.flag("json") ? JSON.stringify({ gap: params }) : `gap: ${printable(JSON.stringify(params))}`);
    } else if (method === "kadi.event.delivery" && left > 0) {
      print(format(params));
      if (--left === 0) enough.abort();
    }
  };
  try {
    client = await connect("events", args, { signal: stop.signal, onNotification });
    await client.request("kadi.event.subscribe", { channels });
    say(`live: ${channels.join(" ")}`);
    const done = Promise.race([stop.wait(), left === 0 ? undefined : once(enough.signal, "abort")]);
    const lost = await Promise.race([done.then(() => undefined), ended(client)]);
    if (lost !== undefined && !stop.stopped) throw lost;
  } catch (error) {
    if (!stop.stopped) throw error;
  } finally {
    stop.release();
    await client?.close();
  }
  return 0;
}

function human({ channel, networkId, data }: Params): string {
  const time = new Date().toISOString().slice(11, 23);
  const network = networkId === "global" ? "" : ` (${String(networkId)})`;
  return printable(`${time}  ${String(channel)}${network}  ${JSON.stringify(data)}`);
}
