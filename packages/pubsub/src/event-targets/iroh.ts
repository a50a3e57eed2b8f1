/**
 * An event target over one connection of iroh: peer to peer over QUIC, encrypted, each side known by its key.
 *
 * Frames of JSON, each with its length in front, go over one bidirectional stream, which the side that connected opens.
 * The target ends with its connection: subscriptions drain, then throw `DISCONNECTED`; whoever connects again makes the
 * next target. `@number0/iroh` is loaded by `connectIroh` and `listenIroh` alone; over a connection of one's own nothing
 * is loaded here.
 */
import type { Channel, ChannelReceiver } from "../channel.ts";
import type { TypedEvent } from "../envelope.ts";
import type { AlkEventTarget } from "../event-target.ts";
import { encodeFrame, FrameReader } from "../link/length-prefix.ts";
import { overChannel } from "../link/link.ts";
import type { ChannelEventTargetOptions } from "../link/link.ts";
import { checkTimeout } from "../options.ts";
import { Ring } from "../ring.ts";
import { quietDeadline } from "../timers.ts";
import { within } from "../within.ts";
import { brief, CLOSE_TIMEOUT, closeNow, closing, CONNECT_TIMEOUT, endOf, nothing } from "./iroh-binding.ts";
import type { IrohConnection, IrohStream } from "./iroh-binding.ts";

export type { IrohConnection, IrohEndpoint, IrohEndpointBuilder, IrohIncoming, IrohStream } from "./iroh-binding.ts";
export { connectIroh, listenIroh } from "./iroh-endpoint.ts";
export type { IrohConnectOptions, IrohEndpointOptions, IrohListener, IrohListenOptions } from "./iroh-endpoint.ts";

/** Options of an iroh channel. */
export interface IrohChannelOptions {
  /** Milliseconds that the side that connected has to open its stream. Default 10,000. */
  readonly streamTimeout?: number;
}

/** Options of the iroh event target. */
export interface IrohEventTargetOptions extends ChannelEventTargetOptions, IrohChannelOptions {}

/** Silence after which the far end is asked, in milliseconds; iroh itself notices a killed peer after 30 s. */
const HEARTBEAT = 2000;
/** Bytes of one write or read. The binding copies them one by one, 65 ns each, and nothing else runs meanwhile. */
const PIECE = 32 * 1024;

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
    // Asked before anything can end it.
    void endOf(this.#connection);
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

  /** The connection's own words where it is over. */
  async #why(error: unknown): Promise<Error> {
    const reason = this.#connection.closeReason() === null ? brief(error) : await endOf(this.#connection);
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
