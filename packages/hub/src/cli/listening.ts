import { createServer } from "node:net";
import { CliError } from "./arguments.ts";

/** Whether only this computer can reach the address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

/**
 * Why a server could not listen, in words; what is none of the usual reasons, as it is.
 *
 * @param command what was typed: `pubsub hub`
 */
export async function cannotListen(error: unknown, host: string, port: number, command: string): Promise<unknown> {
  const what = command.split(" ").at(-1);
  const code: unknown = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case "EADDRINUSE": {
      const free = await freePort(host, port);
      const hint = free === undefined ? "choose another with --port" : `try: ${command} --port ${free}`;
      return new CliError(`port ${port} of ${host} is in use, maybe by another ${what}; ${hint}`);
    }
    case "EACCES":
      return new CliError(`port ${port} needs privileges that this process does not have; try: ${command} --port 8080`);
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
