import { PubSubError } from "../errors.ts";
import { afterArrivals, every } from "../timers.ts";
import { STOPPED } from "./redis-client.ts";
import type { Connection, Watcher } from "./redis-client.ts";

/** What is watched of a connection. */
export type Watched = Pick<Connection, "ready" | "hasStopped" | "start" | "stop" | "ping" | "renew">;

/** A connection, and whether it shows signs of life. */
export class Side<C extends Watched = Connection> {
  readonly connection: C;
  readonly #heartbeat: number;
  /** Counts connections. */
  epoch = 0;
  ready = false;
  #handshaking = false;
  #heard = 0;
  #asked = false;
  #stopBeat: (() => void) | undefined;

  constructor(connection: C, heartbeat: number) {
    this.connection = connection;
    this.#heartbeat = heartbeat;
  }

  start(watcher: Omit<Watcher, "connected">): void {
    const lost = (cause: unknown): void => {
      this.ready = this.#handshaking = false;
      this.epoch++;
      watcher.lost(cause);
    };
    const ready = (): void => {
      // It may be gone again: the word of it comes later.
      if (!this.connection.ready) return;
      this.ready = true;
      this.#handshaking = false;
      this.heard();
      watcher.ready();
    };
    this.connection.start({
      ...watcher,
      ready,
      lost,
      connected: () => {
        this.#handshaking = true;
        this.heard();
      },
      message: (name, isGlob, text) => {
        this.heard();
        watcher.message(name, isGlob, text);
      },
    });
    const half = this.#heartbeat / 2;
    if (this.#heartbeat > 0)
      this.#stopBeat = every(half, () => {
        if (this.connection.hasStopped === true) return watcher.ended(new Error(STOPPED));
        this.#beat(() => {
          lost(new PubSubError("DISCONNECTED", `Redis was silent for ${this.#heartbeat * 2} ms and did not answer.`));
          this.connection.renew();
        });
      });
    ready();
  }

  stop(): void {
    this.#stopBeat?.();
    this.ready = this.#handshaking = false;
    this.connection.stop();
  }

  heard(): void {
    this.#heard = performance.now();
    this.#asked = false;
  }

  #beat(giveUp: () => void): void {
    if (!this.ready && !this.#handshaking) return;
    const silence = performance.now() - this.#heard;
    if (silence >= this.#heartbeat * 2 && (this.#asked || this.#handshaking))
      // A process that did nothing else for so long has not looked at what came.
      return afterArrivals(() => performance.now() - this.#heard >= this.#heartbeat * 2 && giveUp());
    if (silence < this.#heartbeat || this.#handshaking || this.#asked) return;
    this.#asked = true;
    this.connection.ping().then(
      () => this.heard(),
      () => undefined,
    );
  }
}
