import { ignore } from "./amqp-client.ts";
import type { AmqpChannel, AmqpConnection } from "./amqp-client.ts";

/** Channels that ask at the same time: each waits for its answer before it asks again, and a thousand filters for each other. */
const MAX_LANES = 8;

interface Task {
  readonly ask: (channel: AmqpChannel) => Promise<unknown>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Asks a server for what it may refuse. A refusal costs the channel that it comes on, and nobody else's question. */
export class Lanes {
  readonly #connection: AmqpConnection;
  readonly #heard: () => void;
  readonly #tasks: Task[] = [];
  readonly #idle: AmqpChannel[] = [];
  #working = 0;

  /** @param heard told of every answer */
  constructor(connection: AmqpConnection, heard: () => void) {
    this.#connection = connection;
    this.#heard = heard;
  }

  ask(ask: Task["ask"]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#tasks.push({ ask, resolve, reject });
      if (this.#working < MAX_LANES) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#working++;
    let channel = this.#idle.pop();
    for (let task = this.#tasks.shift(); task !== undefined; task = this.#tasks.shift())
      try {
        channel ??= await this.#open();
        await task.ask(channel);
        this.#heard();
        task.resolve();
      } catch (error) {
        channel = undefined;
        task.reject(error);
      }
    this.#working--;
    if (channel !== undefined) this.#idle.push(channel);
  }

  async #open(): Promise<AmqpChannel> {
    const channel = await this.#connection.createChannel();
    // Whoever asked is told.
    channel.on("error", ignore);
    return channel;
  }
}
