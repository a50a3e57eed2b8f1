/** Connecting to a peer of iroh and listening for peers: the ends that `iroh.ts` makes event targets of. */
import { describe, excerpt, PubSubError, report } from "../errors.ts";
import { checkTimeout } from "../options.ts";
import { within } from "../within.ts";
import { brief, bytesOf, CLOSE_TIMEOUT, closeNow, closing, CONNECT_TIMEOUT, endOf, nothing } from "./iroh-binding.ts";
import type { IrohConnection, IrohEndpoint, IrohEndpointBuilder, IrohIncoming, IrohModule } from "./iroh-binding.ts";

const ALPN = "alkdev-pubsub/1";
const LOOPBACK = ["127.0.0.1:0", "[::1]:0"];
/** Handshakes that a listener has under way; more are refused. */
const MAX_HANDSHAKES = 1024;

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
    void endOf(connection).then(drop);
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
    void endOf(connection).then(forget);
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
