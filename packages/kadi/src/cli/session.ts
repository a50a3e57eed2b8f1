// What the commands that connect to a broker share.
import process from "node:process";
import { CliError, UsageError } from "@alkdev/hub/parts";
import type { Arguments, OptionTypes } from "@alkdev/hub/parts";
import { connectToBroker } from "../broker-client.ts";
import type { BrokerClient, BrokerClientOptions } from "../broker-client.ts";

export const sessionOptions: OptionTypes = {
  url: { type: "string", short: "u" },
  network: { type: "string", short: "n", multiple: true },
  json: { type: "boolean" },
};

/** A session at the broker that was named, in the networks that were. @throws UsageError, CliError */
export async function connect(
  command: string,
  args: Arguments,
  options: Pick<BrokerClientOptions, "signal" | "onNotification">,
): Promise<BrokerClient> {
  const url = args.text("url") ?? process.env["KADI_URL"] ?? "ws://localhost:8080";
  if (!URL.canParse(url) || !/^wss?:$/.test(new URL(url).protocol))
    throw new UsageError(command, `the broker's address must be like ws://localhost:8080, not ${JSON.stringify(url)}`);
  const networks = args.texts("network");
  return connectToBroker(url, { ...options, name: `kadi ${command}`, ...(networks.length > 0 && { networks }) });
}

/** Why a session is over that was not to end. */
export async function ended(client: BrokerClient): Promise<CliError> {
  const { code, reason } = await client.closed;
  return new CliError(
    `the session is over: ${code}${reason === "" ? "" : `, ${reason}`}; what is published now is missed`,
  );
}
