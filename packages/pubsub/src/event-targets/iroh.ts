/**
 * An event target over one connection of iroh: peer to peer over QUIC, encrypted, each side known by its key.
 *
 * Frames of JSON, each with its length in front, go over one bidirectional stream, which the side that connected opens.
 * The target ends with its connection: subscriptions drain, then throw `DISCONNECTED`; whoever connects again makes the
 * next target. `@number0/iroh` is loaded by `connectIroh` and `listenIroh` alone; over a connection of one's own nothing
 * is loaded here.
 */
import { onAbort } from "../abort.ts";
import type { Channel, ChannelReceiver } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import { describe, excerpt, PubSubError, report } from "../errors.ts";
import type { AlkEventTarget } from "../event-target.ts";
import { encodeFrame, FrameReader } from "../link/length-prefix.ts";
import { overChannel } from "../link/link.ts";
import type { ChannelEventTargetOptions } from "../link/link.ts";
import { checkTimeout } from "../options.ts";
import { Ring } from "../ring.ts";
import { deadline, quietDeadline } from "../timers.ts";

// What is used of `@number0/iroh`, so that this compiles without it. ------------------------------------------------

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

interface IrohModule {
  readonly Endpoint: { builder(): IrohEndpointBuilder };
  readonly EndpointAddr: new (id: object, relay: string | null, addresses: readonly string[]) => object;
  readonly EndpointId: { fromString(id: string): object };
  readonly RelayMode: { disabled(): object };
}

// The event target and its channel. ---------------------------------------------------------------------------------

/** Options of an iroh channel. */
export interface IrohChannelOptions {
  /** Milliseconds that the side that connected has to open its stream. Default 10,000. */
  readonly streamTimeout?: number;
}

/** Options of the iroh event target. */
export interface IrohEventTargetOptions extends ChannelEventTargetOptions, IrohChannelOptions {}

/** Silence after which the far end is asked, in milliseconds; iroh itself notices a killed peer after 30 s. */
const HEARTBEAT = 2000;
/** How long the far end has to read what was sent before a close, in milliseconds. */
const CLOSE_TIMEOUT = 2000;
const CONNECT_TIMEOUT = 10_000;
/** Bytes of one write or read. The binding copies them one by one, 65 ns each, and nothing else runs meanwhile. */
const PIECE = 32 * 1024;
const ALPN = "alkdev-pubsub/1";
const LOOPBACK = ["127.0.0.1:0", "[::1]:0"];
/** Handshakes that a listener has under way; more are refused. */
const MAX_HANDSHAKES = 1024;

/** Connections whose channel is closing: their listener lets them end by themselves. */
const closing = new WeakSet<IrohConnection>();

/**
 * Events to and from the other end of an iroh connection. Closing the target closes the connection, once the far end has
 * read what was sent (2 s at most): await `connection.closed()` before the process exits.
 *
 * @param connection of either side; one target a connection
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const hub = createHub(); // of @alkdev/hub; what follows may be another process, or another machine
 * const listener = await listenIroh({ onConnection: (connection, id) => hub.connect(irohChannel(connection), id) });
 *
 * const connection = await connectIroh({ id: listener.id, addresses: listener.addresses });
 * const pubsub = createPubSub({ eventTarget: createIrohEventTarget(connection) });
 * const events = await pubsub.subscribe("chat.message", "room-1");
 * await pubsub.publish("chat.message", "room-1", "hello");
 * console.log((await events.next()).value?.payload); // hello
 */
export function createIrohEventTarget<TEvent extends TypedEvent = TypedEvent>(
  connection: IrohConnection,
  options: IrohEventTargetOptions = {},
): AlkEventTarget<TEvent> {
  return overChannel(irohChannel(connection, options), options);
}

/**
 * The pipe of an iroh connection: for a hub, or for `connectLink`.
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const link = connectLink({ reattach: true, hub: true }); // resumes over the next connection to the hub
 * link.attach(irohChannel(await connectIroh({ id, addresses, secretKey })));
 */
export function irohChannel(connection: IrohConnection, options: IrohChannelOptions = {}): Channel {
  return new IrohChannel(connection, options);
}

class IrohChannel implements Channel {
  readonly encoding = "json";
  readonly heartbeat = HEARTBEAT;
  readonly #connection: IrohConnection;
  readonly #streamTimeout: number;
  /** Undefined before `open`, and again once it must not be called any more. */
  #receiver: ChannelReceiver | undefined;
  #over = false;
  /** Why the connection is over, once it is. */
  #closed: Promise<string> | undefined;
  #send: IrohStream["send"] | undefined;
  #writing = false;
  readonly #frames = new Ring<Uint8Array>();
  /** Bytes of the first frame that were taken already. */
  #taken = 0;
  #buffered = 0;
  #stopClosing: () => void = nothing;

  constructor(connection: IrohConnection, { streamTimeout = CONNECT_TIMEOUT }: IrohChannelOptions) {
    checkTimeout("streamTimeout", streamTimeout);
    this.#connection = connection;
    this.#streamTimeout = streamTimeout;
  }

  get buffered(): number {
    return this.#buffered;
  }

  open(receiver: ChannelReceiver): void {
    this.#receiver = receiver;
    this.#closed = this.#connection.closed().catch(brief);
    void this.#run(receiver.maxFrame);
  }

  send(frame: unknown): void {
    if (!this.#over) this.#push(encodeFrame(frame as string));
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#receiver = undefined;
    closing.add(this.#connection);
    // The far end may be why this is closed: a write waits as long as it reads nothing.
    this.#stopClosing = quietDeadline(CLOSE_TIMEOUT, () => this.#end(undefined));
    this.#write();
  }

  async #run(maxFrame: number): Promise<void> {
    const frames = new FrameReader(maxFrame, (frame) => this.#receiver?.frame(frame));
    try {
      const { send, recv } = await this.#stream();
      this.#send = send;
      this.#write();
      // Once closed, until the far end has ended its side too: then it has read all, or wants no more.
      for (let bytes = await recv.read(PIECE); bytes.length > 0; bytes = await recv.read(PIECE))
        frames.push(Uint8Array.from(bytes));
      this.#end(new Error(`the far end ended the stream${frames.whole ? "" : " in the middle of a frame"}`));
    } catch (error) {
      this.#end(await this.#why(error));
    }
  }

  #stream(): Promise<IrohStream> {
    const opens = this.#connection.side() === "Client";
    // The far end learns of a stream by its first bytes, and a plain link may have nothing to say.
    if (opens) this.#push(encodeFrame(""));
    return within(opens ? this.#connection.openBi() : this.#connection.acceptBi(), this.#streamTimeout, {
      late: () => new Error(`no stream was opened within ${this.#streamTimeout} ms`),
    });
  }

  #push(bytes: Uint8Array): void {
    this.#frames.push(bytes);
    this.#buffered += bytes.length;
    this.#write();
  }

  #write(): void {
    const send = this.#send;
    if (send === undefined || this.#writing) return;
    this.#writing = true;
    // What is sent in this tick is one write.
    queueMicrotask(() => void this.#drain(send));
  }

  async #drain(send: IrohStream["send"]): Promise<void> {
    try {
      while (this.#buffered > 0) {
        const bytes = this.#piece();
        await send.writeAll(bytes);
        this.#buffered -= bytes.length;
      }
      this.#writing = false;
      if (this.#over) await send.finish();
    } catch (error) {
      // `#writing` stays true: nothing can be written any more.
      this.#end(await this.#why(error));
    }
  }

  /** Takes the bytes of one write. The binding accepts nothing but an array of numbers. */
  #piece(): number[] {
    const piece = new Array<number>(Math.min(this.#buffered, PIECE));
    for (let at = 0; at < piece.length;) {
      const frame = this.#frames.at(0) as Uint8Array;
      const end = Math.min(frame.length, this.#taken + piece.length - at);
      while (this.#taken < end) piece[at++] = frame[this.#taken++] as number;
      if (end < frame.length) continue;
      this.#frames.shift();
      this.#taken = 0;
    }
    return piece;
  }

  /** The connection's own words where it is over, as they were first: an endpoint that closes then puts its own in their place. */
  async #why(error: unknown): Promise<Error> {
    const reason = this.#connection.closeReason() === null ? brief(error) : await this.#closed;
    return new Error(reason, { cause: error });
  }

  #end(cause: unknown): void {
    this.#stopClosing();
    closeNow(this.#connection, 0, "closed");
    this.#over = true;
    this.#frames.clear();
    this.#buffered = 0;
    const receiver = this.#receiver;
    this.#receiver = undefined;
    receiver?.closed(cause);
  }
}

// Connecting and listening. -----------------------------------------------------------------------------------------

/** Options that both sides have. */
export interface IrohEndpointOptions {
  /** The protocol that both sides name. Default `alkdev-pubsub/1`. */
  readonly alpn?: string;
  /** 32 bytes, from which the endpoint's id follows. Default: new ones, and so a new id, each time. */
  readonly secretKey?: Uint8Array | readonly number[];
  /**
   * Prepares the endpoint: `presetN0` of `@number0/iroh` finds peers by their id, through relays where it must. Default:
   * no relays, nothing is looked up.
   */
  preset?(builder: IrohEndpointBuilder): void;
  /** Milliseconds that a handshake may take. Default 10,000. */
  readonly connectTimeout?: number;
}

/** Options of `connectIroh`. */
export interface IrohConnectOptions extends IrohEndpointOptions {
  /** The peer's id: 64 hexadecimal digits. Nobody else can answer in its place. */
  readonly id: string;
  /** Where it is: `127.0.0.1:4433`, `[::1]:4433`. */
  readonly addresses?: readonly string[];
  /** The URL of its relay. */
  readonly relay?: string;
  /** Addresses to send from. Default: all. */
  readonly bind?: readonly string[];
  /** An endpoint of one's own, which is left open. Default: a new one, which is closed when its connection is over. */
  readonly endpoint?: IrohEndpoint;
  readonly signal?: AbortSignal;
}

/** Options of `listenIroh`. */
export interface IrohListenOptions extends IrohEndpointOptions {
  /** Addresses to listen on, of both families. Default `127.0.0.1:0` and `[::1]:0`: whoever reaches them can connect. */
  readonly bind?: readonly string[];
  /** Called for each peer with its connection and its id, which it has proved. A throw or a rejection refuses it. */
  readonly onConnection: (connection: IrohConnection, id: string) => unknown;
  /** Told of handshakes that failed and of what `onConnection` threw. Default: only what is no `PubSubError` is reported. */
  readonly onError?: (error: unknown) => void;
}

/** Listens for peers until it is closed, and keeps the process alive so long. */
export interface IrohListener extends AsyncDisposable {
  /** What peers connect to: 64 hexadecimal digits. */
  readonly id: string;
  /** Where: `127.0.0.1:4433`. */
  readonly addresses: readonly string[];
  /** The endpoint itself: to connect to others under the same id. */
  readonly endpoint: IrohEndpoint;
  /** Closes the endpoint and all its connections, after those whose channel is closing already. Idempotent. */
  close(): Promise<void>;
}

/**
 * Connects to a peer. Needs the package `@number0/iroh`.
 *
 * @returns the connection as the package has it; it keeps the process alive until it is closed
 * @throws PubSubError `UNSUPPORTED` (no package), `NOT_READY` (no connection in time), `INVALID_OPTION`; the signal's reason
 * @example
 * const connection = await connectIroh({ id, addresses: ["127.0.0.1:4433"] });
 * await using target = createIrohEventTarget(connection);
 */
export async function connectIroh(options: IrohConnectOptions): Promise<IrohConnection> {
  const { id, addresses = [], relay, signal, alpn = ALPN, connectTimeout = CONNECT_TIMEOUT } = options;
  checkTimeout("connectTimeout", connectTimeout);
  checkAddresses("addresses", addresses);
  if (addresses.length === 0 && relay === undefined && options.preset === undefined && options.endpoint === undefined)
    throw new PubSubError(
      "INVALID_OPTION",
      "addresses are needed where nothing looks the peer up: give those that its listener has, or a preset such as presetN0.",
    );
  signal?.throwIfAborted();
  const iroh = await load();
  let peer: object;
  try {
    peer = new iroh.EndpointAddr(iroh.EndpointId.fromString(id), relay ?? null, addresses);
  } catch (cause) {
    throw new PubSubError("INVALID_OPTION", `id must be a peer's id, not ${excerpt(id)}: ${brief(cause)}.`, { cause });
  }
  const endpoint = options.endpoint ?? (await bind(iroh, options, options.bind ?? []));
  const drop = (): void => {
    if (options.endpoint === undefined) endpoint.close().catch(nothing);
  };
  try {
    const connection = await within(endpoint.connect(peer, bytesOf(alpn)), connectTimeout, {
      late: () =>
        new PubSubError("NOT_READY", `The peer ${id} did not answer within ${connectTimeout} ms; is it there?`),
      signal,
      undo: (late) => closeNow(late, 0, "late"),
    });
    connection.closed().then(drop, drop);
    return connection;
  } catch (error) {
    drop();
    if (error instanceof PubSubError || signal?.aborted === true) throw error;
    throw new PubSubError("NOT_READY", `Could not connect to the peer ${id}: ${brief(error)}.`, { cause: error });
  }
}

/**
 * Listens for peers. Needs the package `@number0/iroh`.
 *
 * @throws PubSubError `UNSUPPORTED` (no package), `NOT_READY` (the addresses cannot be had), `INVALID_OPTION`
 * @example
 * const hub = createHub();
 * const listener = await listenIroh({ onConnection: (connection, id) => hub.connect(irohChannel(connection), id) });
 * console.log(`connectIroh({ id: "${listener.id}", addresses: ["${listener.addresses[0]}"] })`);
 */
export async function listenIroh(options: IrohListenOptions): Promise<IrohListener> {
  const { onConnection, onError, alpn = ALPN, connectTimeout = CONNECT_TIMEOUT } = options;
  checkTimeout("connectTimeout", connectTimeout);
  if (typeof onConnection !== "function")
    throw new PubSubError("INVALID_OPTION", `onConnection must be a function, not ${excerpt(onConnection)}.`);
  const endpoint = await bind(await load(), options, options.bind ?? LOOPBACK, [alpn]);
  const connections = new Set<IrohConnection>();
  let handshakes = 0;
  let closed: Promise<void> | undefined;

  async function shakeHands(incoming: IrohIncoming): Promise<void> {
    if (handshakes >= MAX_HANDSHAKES) return incoming.refuse();
    handshakes++;
    const accepting = incoming.accept().then((accepted) => accepted.connect());
    const connection = await within(accepting, connectTimeout, {
      late: () => new Error(`it took more than ${connectTimeout} ms`),
      undo: (late) => closeNow(late, 1, "late"),
    }).finally(() => handshakes--);
    const forget = (): void => void connections.delete(connection);
    connections.add(connection);
    connection.closed().then(forget, forget);
    try {
      await onConnection(connection, connection.remoteId().toString());
    } catch (error) {
      closeNow(connection, 1, error instanceof PubSubError ? error.code : "ERROR");
      if (onError !== undefined || !(error instanceof PubSubError)) report(error, onError);
    }
  }

  async function accept(): Promise<void> {
    for (let next = await endpoint.acceptNext(); next !== null; next = await endpoint.acceptNext())
      shakeHands(next).catch((cause: unknown) => {
        if (closed !== undefined || onError === undefined) return;
        report(new PubSubError("NOT_READY", `A peer's handshake failed: ${brief(cause)}.`, { cause }), onError);
      });
  }

  async function close(): Promise<void> {
    await Promise.all([...connections].filter((each) => closing.has(each)).map((each) => each.closed()));
    await within(endpoint.close(), CLOSE_TIMEOUT, { late: () => undefined }).catch(nothing);
  }

  accept().catch(nothing);
  const listener: IrohListener = {
    id: endpoint.id().toString(),
    get addresses() {
      return endpoint.addr().directAddresses();
    },
    endpoint,
    close: () => (closed ??= close()),
    [Symbol.asyncDispose]: () => listener.close(),
  };
  return listener;
}

/** @throws PubSubError `UNSUPPORTED` */
async function load(): Promise<IrohModule> {
  try {
    const { default: iroh } = (await import("@number0/iroh")) as unknown as { readonly default: IrohModule };
    return iroh;
  } catch (cause) {
    throw new PubSubError(
      "UNSUPPORTED",
      `The package @number0/iroh cannot be loaded: ${describe(cause)}. Install it beside @alkdev/pubsub: npm install @number0/iroh.`,
      { cause },
    );
  }
}

/** @throws PubSubError `INVALID_OPTION`, `NOT_READY` */
async function bind(
  { Endpoint, RelayMode }: IrohModule,
  options: IrohEndpointOptions,
  addresses: readonly string[],
  alpns: readonly string[] = [],
): Promise<IrohEndpoint> {
  const { secretKey } = options;
  checkAddresses("bind", addresses);
  const builder = Endpoint.builder();
  if (options.preset === undefined) {
    builder.applyMinimal();
    builder.relayMode(RelayMode.disabled());
  } else options.preset(builder);
  if (alpns.length > 0) builder.alpns(alpns.map(bytesOf));
  if (secretKey !== undefined) {
    if (secretKey.length !== 32)
      throw new PubSubError("INVALID_OPTION", `secretKey must have 32 bytes, not ${excerpt(secretKey.length)}.`);
    builder.secretKey([...secretKey]);
  }
  try {
    for (const address of addresses) builder.bindAddr(address);
    return await builder.bind();
  } catch (cause) {
    throw new PubSubError("NOT_READY", `Could not bind ${addresses.join(", ")}: ${brief(cause)}.`, { cause });
  }
}

// Host names look like addresses to many, and would fail only later, or never be reached.
function checkAddresses(name: string, addresses: readonly string[]): void {
  for (const address of addresses)
    if (!/^(\d+(\.\d+){3}|\[[\da-f:.]+\]):\d+$/i.test(address))
      throw new PubSubError(
        "INVALID_OPTION",
        `${name} must be IP addresses with ports, like 127.0.0.1:4433 or [::1]:4433, not ${excerpt(address)}.`,
      );
}

/** What a promise of the binding gives, unless it takes too long or the signal is aborted; what it gives then is undone. */
function within<T>(
  promise: Promise<T>,
  milliseconds: number,
  how: { late: () => unknown; signal?: AbortSignal | undefined; undo?: (value: T) => void },
): Promise<T> {
  const { late, signal, undo } = how;
  return new Promise((resolve, reject) => {
    let over = false;
    const settle = (outcome: () => void): void => {
      over = true;
      stopTimer();
      stopSignal();
      outcome();
    };
    const giveUp = (reason: unknown): void => settle(() => reject(reason));
    const stopTimer = deadline(milliseconds, () => giveUp(late()));
    const stopSignal = signal === undefined ? nothing : onAbort(signal, () => giveUp(signal.reason));
    // Aborted meanwhile, before anybody listened.
    if (signal?.aborted === true) giveUp(signal.reason);
    promise.then(
      (value) => (over ? undo?.(value) : settle(() => resolve(value))),
      (error: unknown) => over || giveUp(error),
    );
  });
}

function closeNow(connection: IrohConnection, code: number, reason: string): void {
  connection.close(BigInt(code), bytesOf(reason));
}

function bytesOf(text: string): number[] {
  return Array.from(new TextEncoder().encode(text));
}

/** An error of the binding in one line: behind it come the places in its source and, where the host is told to, a backtrace. */
function brief(error: unknown): string {
  const [chain = ""] = describe(error).split(/\n\s*Stack backtrace:/);
  return chain
    .replace(/ \([^()\n]*:\d+:\d+\)/g, "")
    .replace(/\s*Caused by:/g, ":")
    .replace(/\s*\n\s*/g, " ")
    .trim();
}

function nothing(): void {}
