/** `nats:` and `tls:`: NATS, with a connection of `@nats-io/transport-node`. */
import { PubSubError } from "../errors.ts";
import { createNatsEventTarget } from "../event-targets/nats.ts";
import type { NatsConnection } from "../event-targets/nats.ts";
import { checkPath } from "./address.ts";
import { backoff, load, patience, saying } from "./opener.ts";
import type { Opener, Owned } from "./opener.ts";

/** What is used of the package. */
interface NatsModule {
  connect(options: object): Promise<OwnConnection>;
}

interface OwnConnection extends NatsConnection {
  close(): Promise<void>;
  readonly protocol?: { readonly transport?: { discard?(): void } };
}

export const open: Opener = async (address, options, owned) => {
  checkPath(address, /^$/, "none may be");
  const { scheme, url, host, port = 4222, user, password, query } = address;
  const { module } = await load(scheme, "@nats-io/transport-node");
  await greeted(host, port, owned);
  const connection = await (module as NatsModule).connect({
    servers: `${url.hostname}:${port}`,
    timeout: patience(options.connectTimeout),
    maxReconnectAttempts: -1,
    // Else two refusals in a row would end it, although whoever changes a password may change it back.
    ignoreAuthErrorAbort: true,
    // It begins at once, and waits between attempts alone, of which it does not say how many there were.
    reconnectDelayHandler: () => backoff(3),
    ...(password === undefined ? user !== undefined && { token: user } : { user, pass: password }),
    // Without, TLS is used where the server has it.
    ...(scheme === "tls:" && { tls: {} }),
  });
  owned.add(async () => {
    await connection.close();
    // It leaves a socket open on which it waits for a greeting.
    connection.protocol?.transport?.discard?.();
  });
  const { prefix } = query;
  return createNatsEventTarget({ ...options, connection, ...(prefix !== undefined && { prefix }) });
};

/** What is used of `node:net`. */
interface Net {
  readonly connect: (options: { readonly host: string; readonly port: number }) => {
    on(event: string, listener: (argument: never) => void): unknown;
    destroy(): void;
  };
}

/**
 * Resolves once the server has said that it is a NATS. The client waits for that too, but leaves its socket open when it
 * gives up, which would keep the process alive: as with a Redis, which lets others speak first.
 */
async function greeted(host: string, port: number, owned: Owned): Promise<void> {
  const { connect } = (await load("nats:", "node:net")).module as Net;
  const socket = connect({ host, port });
  owned.add(() => socket.destroy());
  const greeting = await new Promise<Uint8Array>((resolve, reject) => {
    socket.on("data", resolve);
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("it closed the connection without a word")));
  });
  socket.destroy();
  if (!new TextDecoder().decode(greeting).startsWith("INFO"))
    throw new PubSubError("NOT_READY", "what answers there is no NATS");
}

export function refused(error: unknown): string | undefined {
  return saying(error, /\b(authorization|authentication) (violation|expired|timeout|revoked)\b/i);
}
