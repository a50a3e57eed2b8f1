import process from "node:process";
import { PubSubError } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { connect, nameOf, parseAddress } from "./connection.ts";
import { reasonOf, say } from "./terminal.ts";

/** The address that was given, if one was: in the environment nobody else sees its password. @throws UsageError */
export function backplaneOf(command: string, option: string | undefined, variable: string): URL | undefined {
  if (option !== undefined) return parseAddress(command, "--backplane", option);
  const text = process.env[variable] ?? "";
  return text === "" ? undefined : parseAddress(command, variable, text);
}

/** What several servers share, ready, if it was given; undefined too if the signal was aborted before. Whoever opens it closes it. */
export async function openBackplane(
  url: URL | undefined,
  signal: AbortSignal,
  onError: (error: unknown) => void,
): Promise<AlkEventTarget | undefined> {
  const target = url && (await connect(url, signal, onError));
  target?.onStatus((status, cause) => {
    const reason = reasonOf(cause).replace(/\.$/, "");
    if (status === "ready") say("backplane ready");
    if (status === "interrupted") say(`backplane interrupted: ${reason}; connecting again`);
    if (status === "closed" && cause instanceof PubSubError && cause.code === "DISCONNECTED")
      say(`backplane closed: ${reason}`);
  });
  return target;
}

/** For the line that says where a server listens. */
export function joinedBy(url: URL | undefined): string {
  return url === undefined ? "" : `, joined with others by ${nameOf(url)}`;
}
