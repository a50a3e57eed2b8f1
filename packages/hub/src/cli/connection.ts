import process from "node:process";
import { PubSubError } from "@alkdev/pubsub";
import type { Status } from "@alkdev/pubsub";
import { openEventTarget } from "@alkdev/pubsub/open";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { WebSocket } from "ws";
import { createHubEventTarget } from "../client-node.ts";
import type { HubEventTargetOptions } from "../client-node.ts";
import { CliError, UsageError } from "./arguments.ts";
import { complain, reasonOf, rootOf, say } from "./terminal.ts";

const DEFAULT_URL = "ws://localhost:8080";

/** How long a hub or a broker has to answer, in milliseconds. */
const ANSWER_WITHIN = 5000;

/** Where events go: the option, else the environment, else the usual hub. @throws UsageError */
export function addressOf(command: string, option: string | undefined): URL {
  if (option !== undefined) return parseAddress(command, "--url", option);
  return parseAddress(command, "PUBSUB_URL", process.env["PUBSUB_URL"] || DEFAULT_URL);
}

/**
 * Reads an address as far as a hub's has to be; what opens the others knows theirs.
 *
 * @param name what the address was given as
 * @throws UsageError where it surely is none
 */
export function parseAddress(command: string, name: string, text: string): URL {
  // One that cannot be read may have its password anywhere before the last @.
  const shown = text.trim().replace(/^([a-z][a-z\d+.-]*:\/\/)?.*@/is, "$1");
  const problem = (hint = "ws://host:port, redis://host:port or nats://host:port"): UsageError =>
    new UsageError(
      command,
      `${name} is ${JSON.stringify(shown)}, which is not the address of a hub or a broker; use ${hint}`,
    );
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw problem();
  }
  if (url.protocol === "http:" || url.protocol === "https:")
    throw problem(shown.replace(/^http/i, "ws").replace(/\/$/, ""));
  // That is a URL too, of the scheme localhost.
  if (/^[^:/]+:\d+($|\/)/.test(shown)) throw problem(`ws://${shown}`);
  // What is published there nobody else would hear.
  if (url.protocol === "memory:") throw problem();
  // No server sees a fragment, so that WebSockets refuse one.
  if (isHub(url)) url.hash = "";
  return url;
}

function isHub({ protocol }: URL): boolean {
  return protocol === "ws:" || protocol === "wss:";
}

/** The address as it is shown: what a URL may hold of a password stays out. */
export function nameOf({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
}

/**
 * A connection to a hub or a broker, ready; undefined if the signal was aborted before.
 *
 * @param onError told of what concerns no one call
 * @throws CliError if there is no hub, after one attempt; what `openEventTarget` throws
 */
export async function connect(
  url: URL,
  signal: AbortSignal,
  onError: (error: unknown) => void = complain,
): Promise<AlkEventTarget | undefined> {
  if (isHub(url)) return connectToHub(url, signal, onError);
  try {
    return await openEventTarget(url, { signal, onError, connectTimeout: ANSWER_WITHIN });
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

/** With more to say of what is wrong, and of how to start one, than any library could. */
async function connectToHub(
  url: URL,
  signal: AbortSignal,
  onError: (error: unknown) => void,
): Promise<AlkEventTarget | undefined> {
  let problem: Error | undefined;
  let opened = false;
  /** Keeps the error itself: of a host with several addresses, its message is empty and its code says all. */
  class Socket extends WebSocket {
    constructor(address: string) {
      super(address);
      this.on("error", (error) => (problem = error));
      this.on("open", () => (opened = true));
    }
  }
  const target = createHubEventTarget(url.href, {
    firstAttempts: 1,
    attemptTimeout: ANSWER_WITHIN,
    onError,
    WebSocket: Socket as unknown as NonNullable<HubEventTargetOptions["WebSocket"]>,
  });
  const cause = await settled(target, signal);
  if (target.status === "ready") return target;
  await target.close();
  if (signal.aborted) return undefined;
  throw new CliError(unreachable(url, problem, opened, cause));
}

/** Waits until the target is ready or never will be; returns what it said last. */
function settled(target: AlkEventTarget, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (target.status === "ready" || target.status === "closed" || signal.aborted) return resolve(undefined);
    const done = (cause: unknown): void => {
      stop();
      signal.removeEventListener("abort", done);
      resolve(cause);
    };
    const stop = target.onStatus((status, cause) => {
      if (status !== "connecting" && status !== "interrupted") done(cause);
    });
    signal.addEventListener("abort", done);
  });
}

/** Waits for a connection that was interrupted. */
export async function readyAgain(target: AlkEventTarget, signal: AbortSignal): Promise<boolean> {
  await settled(target, signal);
  return target.status === "ready" && !signal.aborted;
}

/** Says when the connection goes and comes. */
export function sayStatus(target: AlkEventTarget, url: URL, meanwhile = ""): void {
  target.onStatus((status: Status, cause: unknown) => {
    if (status === "interrupted")
      say(`interrupted: ${reasonOf(cause).replace(/\.$/, "")}; connecting again${meanwhile}`);
    if (status === "ready") say(`ready: ${nameOf(url)}`);
  });
}

function unreachable(url: URL, problem: Error | undefined, opened: boolean, cause: unknown): string {
  const name = nameOf(url);
  const root = rootOf(cause);
  if (root instanceof PubSubError && root.code === "VERSION") return root.message;
  const { code, message = "" } = (problem ?? {}) as { code?: unknown; message?: string };
  switch (code) {
    case "ECONNREFUSED":
      return `no hub at ${name} (connection refused); start one with: pubsub hub${startOptions(url)}`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `no hub at ${name} (no host of that name was found)`;
    default:
  }
  const status = /^Unexpected server response: (\d+)/.exec(message)?.[1];
  if (status === "403")
    return `the hub at ${name} refused the connection (403); start it with --allow-host ${url.hostname}`;
  if (status === "401")
    return `the hub at ${name} refused the connection (401); put its token into the address: ?token=…`;
  if (status !== undefined) return `no hub at ${name} (a web server is there, and answered ${status})`;
  if (opened) return `no hub at ${name} (a WebSocket server is there, but it does not answer as a hub)`;
  if (message.includes("before the connection was established"))
    return `no hub at ${name} (no answer within ${ANSWER_WITHIN / 1000} s)`;
  return `no hub at ${name} (${message === "" ? reasonOf(cause) : message})`;
}

/** What `pubsub hub` needs to be found at this address; nothing where it could not be. */
function startOptions({ protocol, hostname, port }: URL): string {
  if (protocol !== "ws:") return "";
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
  return `${port === "8080" ? "" : ` --port ${port === "" ? 80 : port}`}${here ? "" : ` (on ${hostname})`}`;
}
