// What the commands that connect to a broker share.
import process from "node:process";
import { UsageError } from "@alkdev/hub/parts";
import type { Arguments, OptionTypes } from "@alkdev/hub/parts";
import { connectToBroker } from "../broker-client.ts";
import type { BrokerClient, BrokerClientOptions } from "../broker-client.ts";

export const sessionOptions: OptionTypes = {
  url: { type: "string", short: "u" },
  network: { type: "string", short: "n", multiple: true },
  json: { type: "boolean" },
};

/** The broker that was named. @throws UsageError */
export function urlOf(command: string, args: Arguments): string {
  const url = args.text("url") ?? process.env["KADI_URL"] ?? "ws://localhost:8080";
  if (URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol)) return url;
  throw new UsageError(command, `the broker's address must be like ws://localhost:8080, not ${JSON.stringify(url)}`);
}

/** Who a command is at the broker, in the networks that were named. */
export function introduction(command: string, args: Arguments): Pick<BrokerClientOptions, "name" | "networks"> {
  const networks = args.texts("network");
  return { name: `kadi ${command}`, ...(networks.length > 0 && { networks }) };
}

/** A session at the broker that was named. @throws UsageError; else as `connectToBroker` */
export function connect(command: string, args: Arguments, signal: AbortSignal): Promise<BrokerClient> {
  return connectToBroker(urlOf(command, args), { ...introduction(command, args), signal });
}
