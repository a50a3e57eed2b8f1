// What users of a broker type: its options, limits and figures.
import type { Status } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";

/** What a broker allows one session, and all of them together. */
export interface KadiBrokerLimits {
  /** Sessions at the same time. Default 10,000. */
  readonly sessions?: number;
  /** Sessions that have not authenticated; beyond, the oldest of them is closed. Default 1,000. */
  readonly strangers?: number;
  /** Bytes of one message; a larger one closes its session (1009). Default 1 MiB. */
  readonly frame?: number;
  /** Bytes of one message before authentication. Default 16 KiB. */
  readonly strangerFrame?: number;
  /** Messages that a session may send in a second; more are refused, and twice as many close it (1008). Default 5,000. */
  readonly rate?: number;
  /** Tools of one session. Default 256. */
  readonly tools?: number;
  /** Networks that one session has joined. Default 64. */
  readonly networks?: number;
  /** Channels and patterns that one session is subscribed to. Default 1,024. */
  readonly subscriptions?: number;
  /** Calls that one session has made, and calls that it serves, which have no answer yet. Default 1,024 each. */
  readonly calls?: number;
  /** Bytes that may wait to be sent to one session; a slower one is closed (1013). Default 16 MiB. */
  readonly buffered?: number;
  /** Milliseconds in which a nonce must be used, and a session authenticate. Default 30,000. */
  readonly handshake?: number;
  /** Milliseconds between two pings, as a client is told. Default 30,000. */
  readonly heartbeat?: number;
  /** Milliseconds after which a silent session is closed. Default 90,000. */
  readonly silence?: number;
  /** Milliseconds without any request after which a session of an MCP client is ended; it need not ping. Default 1,800,000. */
  readonly idle?: number;
}

/** Who asks to join networks. */
export interface Applicant {
  /** Derived from the key that signed. */
  readonly agentId: string;
  readonly networks: readonly string[];
}

/** MCP clients that have a token. */
export interface KadiMcpOptions {
  /** What they send, as `Authorization: Bearer …`; it lets in whoever has it. Visible ASCII characters, no spaces. */
  readonly token: string;
  /** The networks whose tools they see and call; `authorize` is not asked. Default: `global` alone. */
  readonly networks?: readonly string[];
}

/** Options of `createKadiBroker`. All times are in milliseconds. */
export interface KadiBrokerOptions {
  /** 0 takes a free one. Default 8080. */
  readonly port?: number;
  /** The address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /**
   * Host names, beside those of loopback, under which the broker may be reached, and from whose pages (`Origin`) it accepts
   * sockets. Any page in a browser can reach a local port, so everything else is refused with 403.
   */
  readonly allowedHosts?: readonly string[];
  /** Returns the networks, of those asked for, that a key may join. A throw refuses all. Default: `global` alone. */
  readonly authorize?: (applicant: Applicant) => readonly string[] | Promise<readonly string[]>;
  /**
   * An event target that several brokers share: they are one broker then. Whoever can publish to it is trusted. It is not
   * closed with the broker. Default: none, everything is in this process.
   */
  readonly backplane?: AlkEventTarget;
  /** Milliseconds after which another broker that says nothing is taken for dead. Use the same everywhere. Default 15,000. */
  readonly lease?: number;
  /**
   * Lets MCP clients in, at `/mcp`, over streamable HTTP: they see the tools of their networks, and call them. One for each
   * token. Needs the package `@modelcontextprotocol/sdk`. Default: none, and `/mcp` is not there.
   */
  readonly mcp?: KadiMcpOptions | readonly KadiMcpOptions[];
  /**
   * Milliseconds that a call may take: a provider that has not answered then is told to cancel, and the caller that it was too
   * long (−32009). Default 3,600,000, an hour; Infinity for none.
   */
  readonly callTimeout?: number;
  readonly limits?: KadiBrokerLimits;
  /** Told of what concerns no one call: broken sockets, a backplane that failed. Default: nothing is reported. */
  readonly onError?: (error: unknown) => void;
}

/** A broker's figures. */
export interface KadiBrokerStatus {
  /** Sessions of this broker, strangers and MCP clients included. */
  readonly sessions: number;
  /** Those that have not authenticated. */
  readonly strangers: number;
  /** Agents that are registered, here and at the brokers that it is joined with. */
  readonly agents: number;
  /** Channels and patterns that sessions of this broker are subscribed to, each in one network. */
  readonly subscriptions: number;
  /** Calls that sessions of this broker have made and that have no answer yet. */
  readonly calls: number;
  /** Other brokers that it is joined with. */
  readonly brokers: number;
  /** Where the backplane stands; undefined where there is none. */
  readonly backplane: Status | undefined;
}

/** A broker that listens. */
export interface KadiBroker extends AsyncDisposable {
  /** Where clients connect: `ws://127.0.0.1:8080`. */
  readonly url: string;
  readonly port: number;
  status(): KadiBrokerStatus;
  /** Closes every session, withdraws its tools and stops listening. Idempotent. */
  close(): Promise<void>;
}

export type Limits = Required<KadiBrokerLimits>;

export const DEFAULT_LIMITS: Limits = {
  sessions: 10_000,
  strangers: 1000,
  frame: 1024 * 1024,
  strangerFrame: 16 * 1024,
  rate: 5000,
  tools: 256,
  networks: 64,
  subscriptions: 1024,
  calls: 1024,
  buffered: 16 * 1024 * 1024,
  handshake: 30_000,
  heartbeat: 30_000,
  silence: 90_000,
  idle: 1_800_000,
};
