import { describe, PubSubError } from "../errors.ts";
import { Liveness } from "../link/liveness.ts";
import { afterArrivals, every } from "../timers.ts";
import { drop, gather, hasStopped, hurry, refusalOf } from "./mqtt-client.ts";
import type { Listener, MqttClient, MqttMessage } from "./mqtt-client.ts";

/** Told of what becomes of a connection. */
export interface ConnectionOwner {
  /** There is one, on which nothing is subscribed to yet. */
  connected(): void;
  /** It is gone, and the client connects again. */
  lost(cause: unknown): void;
  /** An attempt failed: the broker does not let this client in. */
  refused(refusal: PubSubError): void;
  /** The client will not connect any more. May come without there having been one. */
  ended(cause: unknown): void;
  message(topic: string, payload: Uint8Array, message: MqttMessage): void;
}

/** Milliseconds that an attempt to connect has, at least. */
const MIN_ATTEMPT = 2000;

/** The connection of a client, which belongs to somebody else: what becomes of it, and whether the broker shows signs of life. */
export class Connection {
  /** What is wrong with it. */
  problem: string | undefined;
  readonly #client: MqttClient;
  readonly #heartbeat: number;
  readonly #owner: ConnectionOwner;
  readonly #liveness: Liveness;
  #listeners: Readonly<Record<string, Listener>> = {};
  #stopWatch: () => void = nothing;
  #up = false;
  #asked = false;
  #gathering = false;

  constructor(client: MqttClient, heartbeat: number, owner: ConnectionOwner) {
    this.#client = client;
    this.#heartbeat = heartbeat;
    this.#owner = owner;
    this.#liveness = new Liveness({ ask: () => this.#ask(), silent: (message) => this.#giveUp(message) });
  }

  /** Whether there is one, as far as its owner knows. */
  get up(): boolean {
    return this.#up;
  }

  /** Begins to watch, and to connect where nobody has. */
  start(): void {
    const client = this.#client;
    const stream: { readonly destroyed?: boolean } | undefined = client.stream;
    this.#listeners = {
      connect: () => this.#connected(),
      close: () => this.#closed(),
      end: () => this.#over(new Error("the client was closed")),
      error: (error: unknown) => this.#failed(error),
      disconnect: ({ reasonCode }: { reasonCode?: number }) =>
        (this.problem = `the broker ended the connection (MQTT's reason ${reasonCode})`),
      packetreceive: ({ cmd }: { cmd: string }) => this.#heard(cmd),
      message: (topic: string, payload: Uint8Array, message: MqttMessage) =>
        this.#owner.message(topic, payload, message),
    };
    for (const [event, listener] of Object.entries(this.#listeners)) client.on(event, listener);
    if (this.#heartbeat > 0) this.#watchAttempts();
    if (client.disconnecting || client.disconnected) this.#over(new Error("the client is closed"));
    else if (client.connected) this.#connected();
    else if (client.options.manualConnect === true && stream === undefined) client.connect();
    else if (hasStopped(client) && stream?.destroyed === true)
      this.#over(new Error("the client has stopped trying to connect"));
  }

  /** Watches no more. */
  stop(): void {
    this.#up = false;
    this.#liveness.stop();
    this.#stopWatch();
    for (const [event, listener] of Object.entries(this.#listeners)) this.#client.off(event, listener);
    this.#listeners = {};
  }

  /** Gives it up for another one, or for none. */
  end(cause: unknown): void {
    this.#over(cause);
  }

  /** The client waits for 30 s where nobody answers its greeting. */
  #watchAttempts(): void {
    const patience = Math.max(this.#heartbeat * 2, MIN_ATTEMPT);
    let attempt: object | undefined;
    let since = 0;
    this.#stopWatch = every(patience / 4, () => {
      const { connected, stream } = this.#client;
      if (connected || stream !== attempt) [attempt, since] = [stream, performance.now()];
      else if (performance.now() - since >= patience)
        afterArrivals(() => {
          if (this.#client.connected || this.#client.stream !== stream) return;
          this.problem ??= `no answer within ${patience} ms`;
          drop(this.#client);
        });
    });
  }

  #connected(): void {
    if (this.#up) return;
    this.#up = true;
    this.#asked = false;
    this.problem = undefined;
    hurry(this.#client);
    this.#liveness.watch(this.#heartbeat);
    this.#owner.connected();
  }

  #failed(error: unknown): void {
    this.problem = describe(error);
    const refusal = refusalOf(error);
    if (refusal !== undefined) this.#owner.refused(refusal);
  }

  #closed(): void {
    this.#lost(new Error("the connection was closed"));
    if (hasStopped(this.#client))
      this.#over(
        new Error(`${this.problem}, and the client does not connect again (reconnectOnConnackError has it go on)`),
      );
  }

  #lost(cause: unknown): void {
    this.problem ??= describe(cause);
    if (!this.#up) return;
    this.#up = false;
    this.#liveness.stop();
    this.#owner.lost(cause);
  }

  #over(cause: unknown): void {
    this.#lost(cause);
    this.#owner.ended(cause);
  }

  #ask(): void {
    this.#asked = true;
    this.#client.sendPing();
  }

  /** Events are no answer: they come on a path that is half dead too. */
  #heard(packet: string): void {
    this.#gather();
    if (packet === "publish" || packet === "pubrel") return this.#liveness.came();
    this.#asked = false;
    this.#liveness.heard();
  }

  /** What answers all that came at once goes out at once: one by one, the system's work for it would be more than all else. */
  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    const answers = gather(this.#client);
    afterArrivals(() => {
      this.#gathering = false;
      answers.send();
    });
  }

  #giveUp(message: string): void {
    // A process that did nothing else for so long has not looked at what came.
    afterArrivals(() => {
      if (!this.#up || !this.#asked) return;
      this.#lost(new PubSubError("DISCONNECTED", message));
      drop(this.#client);
    });
  }
}

function nothing(): void {}
