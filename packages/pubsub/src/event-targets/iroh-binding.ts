/** What is used of `@number0/iroh`, so that all else compiles without it, and what its errors need. */
import { describe } from "../errors.ts";

/** A connection: a `Connection` of `@number0/iroh` is one. */
export interface IrohConnection {
  /** `Client` on the side that connected. */
  side(): string;
  /** Who is on the other side; its `toString()` is 64 hexadecimal digits. */
  remoteId(): { toString(): string };
  openBi(): Promise<IrohStream>;
  acceptBi(): Promise<IrohStream>;
  /** Resolves with the reason once the connection is over. */
  closed(): Promise<string>;
  closeReason(): string | null;
  close(code: bigint, reason: number[]): void;
}

/** A bidirectional stream. */
export interface IrohStream {
  readonly send: { writeAll(bytes: number[]): Promise<void>; finish(): Promise<void> };
  /** `read` gives no bytes at the end of the stream. */
  readonly recv: { read(limit: number): Promise<number[]> };
}

/** An endpoint. */
export interface IrohEndpoint {
  id(): { toString(): string };
  addr(): { directAddresses(): string[] };
  connect(address: object, alpn: number[]): Promise<IrohConnection>;
  acceptNext(): Promise<IrohIncoming | null>;
  close(): Promise<void>;
}

/** A connection that somebody asks for. */
export interface IrohIncoming {
  accept(): Promise<{ connect(): Promise<IrohConnection> }>;
  refuse(): Promise<void>;
}

/** What makes an endpoint. */
export interface IrohEndpointBuilder {
  applyMinimal(): void;
  relayMode(mode: object): void;
  secretKey(bytes: number[]): void;
  alpns(alpns: number[][]): void;
  bindAddr(address: string): void;
  bind(): Promise<IrohEndpoint>;
}

export interface IrohModule {
  readonly Endpoint: { builder(): IrohEndpointBuilder };
  readonly EndpointAddr: new (id: object, relay: string | null, addresses: readonly string[]) => object;
  readonly EndpointId: { fromString(id: string): object };
  readonly RelayMode: { disabled(): object };
}

/** How long the far end has to read what was sent before a close, in milliseconds. */
export const CLOSE_TIMEOUT: number = 2000;
export const CONNECT_TIMEOUT: number = 10_000;

/** Connections whose channel is closing: their listener lets them end by themselves. */
export const closing: WeakSet<IrohConnection> = new WeakSet();

const ends = new WeakMap<IrohConnection, Promise<string>>();

/** Why a connection is over, once it is: in the words that were first, since an endpoint that closes puts its own in their place. */
export function endOf(connection: IrohConnection): Promise<string> {
  let end = ends.get(connection);
  if (end === undefined) ends.set(connection, (end = connection.closed().catch(brief)));
  return end;
}

export function closeNow(connection: IrohConnection, code: number, reason: string): void {
  connection.close(BigInt(code), bytesOf(reason));
}

export function bytesOf(text: string): number[] {
  return Array.from(new TextEncoder().encode(text));
}

/** An error of the binding in one line: behind it come the places in its source and, where the host is told to, a backtrace. */
export function brief(error: unknown): string {
  const [chain = ""] = describe(error).split(/\n\s*Stack backtrace:/);
  return chain
    .replace(/ \([^()\n]*:\d+:\d+\)/g, "")
    .replace(/\s*Caused by:/g, ":")
    .replace(/\s*\n\s*/g, " ")
    .trim();
}

export function nothing(): void {}
