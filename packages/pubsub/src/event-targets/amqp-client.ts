/** What is used of `amqplib` 2, so that all else compiles without it; how it is loaded; what its errors mean. */
import { describe, excerpt, PubSubError, withoutPassword } from "../errors.ts";
import { within } from "../within.ts";

// What an event brings differs from event to event.
// oxlint-disable-next-line typescript/no-explicit-any
type Listener = (...args: any[]) => void;

/** A connection, as `connect()` of `amqplib` 2 resolves to: the part of it that is used. */
export interface AmqpConnection {
  createChannel(): Promise<AmqpChannel>;
  createConfirmChannel(): Promise<AmqpConfirmChannel>;
  close(): Promise<void>;
  on(event: string, listener: Listener): unknown;
}

/** A channel of its. */
export interface AmqpChannel {
  assertExchange(exchange: string, type: string, options: { durable: boolean }): Promise<unknown>;
  checkExchange(exchange: string): Promise<unknown>;
  assertQueue(
    queue: string,
    options: { exclusive?: boolean; durable: boolean; autoDelete: boolean; expires?: number },
  ): Promise<{ readonly queue: string }>;
  bindQueue(queue: string, exchange: string, key: string): Promise<unknown>;
  unbindQueue(queue: string, exchange: string, key: string): Promise<unknown>;
  consume(
    queue: string,
    listener: (message: AmqpMessage | null) => void,
    options: { noAck: boolean },
  ): Promise<unknown>;
  deleteQueue(queue: string, options: { ifUnused: boolean }): Promise<unknown>;
  prefetch(count: number): Promise<unknown>;
  close(): Promise<void>;
  on(event: string, listener: Listener): unknown;
}

/** A channel on which the server confirms what is published. */
export interface AmqpConfirmChannel extends AmqpChannel {
  publish(
    exchange: string,
    key: string,
    content: Uint8Array,
    options: { contentType?: string },
    confirmed: (error: unknown) => void,
  ): boolean;
}

/** A message of its. */
export interface AmqpMessage {
  /** A `Buffer`, whose `toString()` is its text. */
  readonly content: { toString(): string };
  readonly fields: { readonly routingKey: string };
}

/** Seconds without a sign of life that the server is asked to bear: after twice as many it forgets who is dead, queues and all. */
const AMQP_HEARTBEAT = 10;

/** Connects to a server by its address. @throws PubSubError `INVALID_OPTION` */
export function connectTo(url: string, timeout: number): (signal: AbortSignal) => Promise<AmqpConnection> {
  const address = parse(url);
  if (!address.searchParams.has("heartbeat")) address.searchParams.set("heartbeat", String(AMQP_HEARTBEAT));
  return async (signal) => {
    const amqplib = await load();
    // The socket ends with the signal; where TLS is over it that is not known, but after so long a silence it does too.
    return amqplib.connect(address.href, { noDelay: true, timeout, signal });
  };
}

/** An address as messages show it. @throws PubSubError `INVALID_OPTION` */
export function addressOf(url: string): string {
  const { protocol, host, pathname } = parse(url);
  return `${protocol}//${host}${pathname}`;
}

function parse(url: unknown): URL {
  try {
    const address = new URL(url as string);
    if (address.protocol === "amqp:" || address.protocol === "amqps:") return address;
  } catch {
    // Said below.
  }
  throw new PubSubError(
    "INVALID_OPTION",
    `url has to be an address like amqp://user:password@host:5672/vhost, or with amqps:, not ${excerpt(typeof url === "string" ? withoutPassword(url) : url)}.`,
  );
}

interface AmqpModule {
  connect(url: string, options: object): Promise<AmqpConnection>;
}

/** @throws PubSubError `UNSUPPORTED` */
async function load(): Promise<AmqpModule> {
  try {
    // Its types would need those of Node.
    // oxlint-disable-next-line typescript/no-unnecessary-type-assertion
    const { default: amqplib } = (await import("amqplib" as string)) as { readonly default: AmqpModule };
    return amqplib;
  } catch (cause) {
    throw new PubSubError(
      "UNSUPPORTED",
      `The package amqplib cannot be loaded: ${describe(cause)}. Install it beside @alkdev/pubsub: npm install amqplib@2.`,
      { cause },
    );
  }
}

/** What the client says it has of a connection or channel that the server has closed. */
export function codeOf(error: unknown): number | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

/** Whether the server does not want this client, whatever else it does. */
export function isRefusal(error: unknown): boolean {
  return [403, 405, 406, 530].includes(codeOf(error) ?? 0) || isRefusedLogin(describe(error));
}

/** What the server said, without what the client puts before it. */
export function saidBy(error: unknown): string {
  const said = describe(error);
  // All that the client says of a virtual host that is not there, or not for this user.
  if (UNWELCOME.test(said)) return "the virtual host does not exist, or is not for this user";
  return /with message "([^]*)"/.exec(said)?.[1] ?? said;
}

function isRefusedLogin(said: string): boolean {
  return /Handshake terminated by server: 403/.test(said) || UNWELCOME.test(said);
}

const UNWELCOME = /Expected ConnectionOpenOk; got <ConnectionClose/;

/** Ends a connection for good: in order if the server answers in time, and its socket in any case. */
export async function end(connection: AmqpConnection, timeout: number): Promise<void> {
  // One that is closed already rejects.
  await within(connection.close(), timeout, { late: () => undefined }).catch(ignore);
  // A server that takes no events reads nothing of it, and would keep the socket, and the process, for as long.
  destroy(connection);
}

/** Ends the socket at once, whoever may hear of it. */
export function destroy(connection: AmqpConnection): void {
  // Not in the client's types; without, the system is left to find out.
  const { stream } = (connection as { connection?: { stream?: { destroy?(error: Error): void } } }).connection ?? {};
  stream?.destroy?.(new Error("given up"));
}

export function ignore(): void {}
