import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { isIPv6 } from "node:net";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

/** Who may come to a server that listens on a local port: any page in a browser can reach it. */
export class Gate {
  readonly #allowed: ReadonlySet<string>;
  readonly #what: string;

  /** @param what the server's name in refusals: `hub` */
  constructor(what: string, host: string, allowedHosts: readonly string[]) {
    this.#what = what;
    const names = ["localhost", "127.0.0.1", "[::1]", host, ...allowedHosts];
    this.#allowed = new Set(names.map((name) => (isIPv6(name) ? nameOf(`http://[${name}]`) : name.toLowerCase())));
  }

  /** Why a request is refused: its Host or Origin is none of ours. Clients that are no browsers send no Origin. */
  refusal(request: IncomingMessage): string | undefined {
    const { host = "", origin } = request.headers;
    if (!this.#allowed.has(nameOf(`http://${host}`)))
      return `The host ${JSON.stringify(host)} is not one of this ${this.#what}'s. Start it with --allow-host to add it.`;
    if (origin !== undefined && !this.#allowed.has(nameOf(origin)))
      return `Pages from ${JSON.stringify(origin)} may not use this ${this.#what}. Start it with --allow-host to add their host.`;
    return undefined;
  }
}

function nameOf(url: string): string {
  try {
    return new URL(url).hostname.toLowerCase();
  } catch {
    return "";
  }
}

/** Resolves once it listens. @throws the error of `listen` (`EADDRINUSE`, `EACCES`) as a rejection */
export function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Where clients of a listening server connect: `ws://127.0.0.1:8080`. */
export function addressOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `ws://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

export function answer(response: ServerResponse, status: number, body: unknown): void {
  // The standard wants a scheme named with each 401.
  if (status === 401) response.setHeader("www-authenticate", "Bearer");
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" });
  response.end(`${JSON.stringify(body, undefined, 2)}\n`);
}

/** Answers a request to upgrade with something else, and hangs up. */
export function refuse(socket: Duplex, status: number, phrase: string, message: string): void {
  // An upgraded socket has no other listener, and a peer that resets it would end the process; one that does not hang up
  // would hold it for ever.
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => socket.destroy());
  const body = `${JSON.stringify({ error: message })}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${phrase}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n${status === 401 ? "www-authenticate: Bearer\r\n" : ""}\r\n${body}`,
  );
}
