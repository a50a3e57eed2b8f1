/** What the server holds for the subscriptions of one target, on one connection, with which all of it ends. */
import { describe, formatTopic, PubSubError } from "../errors.ts";
import type { Filter } from "../transport.ts";
import { ignore, isRefusal, saidBy } from "./amqp-client.ts";
import type { AmqpChannel, AmqpConnection, AmqpMessage } from "./amqp-client.ts";
import { bindingKeysOf, groupQueueOf } from "./amqp-keys.ts";
import { Lanes } from "./amqp-lanes.ts";

/** What is told of queues. */
export interface QueuesOwner {
  /** @param filter whose group's queue it came from */
  message(message: AmqpMessage, filter?: Filter): void;
  /** The server has taken a subscription away. */
  revoked(filter: Filter, error: PubSubError): void;
  /** The server has answered. */
  heard(): void;
  /** The connection holds what it should no more. */
  unusable(cause: unknown): void;
}

export interface QueuesOptions {
  readonly exchange: string;
  readonly durable: boolean;
}

/** Milliseconds after which a group's queue goes that nobody came to consume. With its last consumer it goes at once. */
const EXPIRES = 10_000;

/** How often in a row a group's queue may go with its last member while another one is joining. */
const MAX_JOINS = 10;

export class Queues {
  readonly #connection: AmqpConnection;
  readonly #options: QueuesOptions;
  readonly #owner: QueuesOwner;
  readonly #lanes: Lanes;
  readonly #bindings = new Map<string, Binding>();
  readonly #groups = new Map<Filter, Promise<AmqpChannel>>();
  #channel: AmqpChannel | undefined;
  /** The name of the target's own queue, which is consumed. */
  #queue: Promise<string> | undefined;

  constructor(connection: AmqpConnection, options: QueuesOptions, owner: QueuesOwner) {
    this.#connection = connection;
    this.#options = options;
    this.#owner = owner;
    this.#lanes = new Lanes(connection, () => owner.heard());
  }

  /** Declares the exchange and the target's own queue, and consumes it. */
  async open(): Promise<void> {
    const channel = (this.#channel = await this.#connection.createChannel());
    let closing: unknown;
    channel.on("error", (error: unknown) => (closing = error));
    channel.on("close", () => closing !== undefined && this.#owner.unusable(closing));
    await channel.assertExchange(this.#options.exchange, "topic", { durable: this.#options.durable });
    this.#queue = this.#consume(channel);
    await this.#queue;
  }

  async #consume(channel: AmqpChannel): Promise<string> {
    const { queue } = await channel.assertQueue("", { exclusive: true, durable: false, autoDelete: true });
    // The server counts what it has sent as delivered: at most once, and nothing is sent again.
    await channel.consume(queue, (message) => this.#arrived(message), { noAck: true });
    return queue;
  }

  #arrived(message: AmqpMessage | null): void {
    if (message !== null) return this.#owner.message(message);
    // Its bindings went with it.
    this.#queue = undefined;
    const filters = new Set<Filter>();
    for (const binding of this.#bindings.values()) for (const filter of binding.filters) filters.add(filter);
    this.#bindings.clear();
    for (const filter of filters)
      this.#owner.revoked(filter, ended("queue of this target", "it was deleted, by an operator or a policy", filter));
  }

  /** Asks for a sign of life, and whether the exchange is still there. */
  async ask(): Promise<void> {
    await this.#lanes.ask((channel) => channel.checkExchange(this.#options.exchange)).catch(this.#noticed);
  }

  /** Everything that was bound to an exchange which is gone is bound no more, and nobody is told. */
  readonly #noticed = (cause: unknown): never => {
    if (/no exchange/.test(saidBy(cause)))
      this.#owner.unusable(new Error(`the exchange ${this.#options.exchange} was deleted at the server`, { cause }));
    throw cause;
  };

  // ----------------------------------------------------------------------------------------------------------- bindings

  async subscribe(filter: Filter): Promise<void> {
    if (filter.group !== undefined) return this.#join(filter);
    const keys = bindingKeysOf(filter);
    const outcomes = await Promise.allSettled(keys.map((key) => this.#bind(key, filter)));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed === undefined) return;
    await Promise.allSettled(keys.map((key) => this.#unbind(key, filter)));
    throw refused(filter, failed.reason);
  }

  async unsubscribe(filter: Filter): Promise<void> {
    if (filter.group !== undefined) return this.#leave(filter);
    await Promise.all(bindingKeysOf(filter).map((key) => this.#unbind(key, filter)));
  }

  #bind(key: string, filter: Filter): Promise<void> {
    let binding = this.#bindings.get(key);
    if (binding === undefined) this.#bindings.set(key, (binding = new Binding()));
    binding.filters.add(filter);
    return (binding.bound ??= this.#ask(binding, (channel, queue) =>
      channel.bindQueue(queue, this.#options.exchange, key),
    ));
  }

  async #unbind(key: string, filter: Filter): Promise<void> {
    const binding = this.#bindings.get(key);
    if (binding === undefined || !binding.filters.delete(filter) || binding.filters.size > 0) return;
    binding.bound = undefined;
    try {
      await this.#ask(binding, (channel, queue) => channel.unbindQueue(queue, this.#options.exchange, key));
    } finally {
      if (binding.filters.size === 0 && this.#bindings.get(key) === binding) this.#bindings.delete(key);
    }
  }

  /** Says one thing after the other of one binding, whichever channel it is said on. */
  #ask(binding: Binding, ask: (channel: AmqpChannel, queue: string) => Promise<unknown>): Promise<void> {
    const said = (async () => {
      await binding.last;
      // Made anew where it was deleted.
      const queue = await (this.#queue ??= this.#consumeAgain());
      await this.#lanes.ask((channel) => ask(channel, queue)).catch(this.#noticed);
    })();
    binding.last = said.catch(ignore);
    return said;
  }

  #consumeAgain(): Promise<string> {
    const queue = this.#consume(this.#channel as AmqpChannel);
    queue.catch(() => {
      if (this.#queue === queue) this.#queue = undefined;
    });
    return queue;
  }

  // ------------------------------------------------------------------------------------------------------------- groups

  /** Becomes a member of a group: consumes its queue on a channel of its own, with which that ends. */
  async #join(filter: Filter): Promise<void> {
    // Asked again where the other connection was cut meanwhile: one that consumed twice would be left with one too many.
    const joining = this.#groups.get(filter) ?? this.#consumeGroup(filter);
    this.#groups.set(filter, joining);
    try {
      await joining;
    } catch (error) {
      if (this.#groups.get(filter) === joining) this.#groups.delete(filter);
      throw refused(filter, error);
    }
  }

  async #leave(filter: Filter): Promise<void> {
    const joining = this.#groups.get(filter);
    this.#groups.delete(filter);
    // One that could not join, or was thrown out, is no member.
    const channel = await joining?.catch(() => undefined);
    await channel?.close().catch(ignore);
  }

  async #consumeGroup(filter: Filter): Promise<AmqpChannel> {
    const name = await groupQueueOf(this.#options.exchange, filter);
    for (let joins = 1; ; joins++) {
      const channel = await this.#connection.createChannel();
      let joined = false;
      channel.on("error", (error: unknown) => joined && this.#thrownOut(filter, saidBy(error)));
      try {
        await channel.assertQueue(name, { durable: true, autoDelete: true, expires: EXPIRES });
        for (const key of bindingKeysOf(filter)) await channel.bindQueue(name, this.#options.exchange, key);
        await channel.consume(name, (message) => this.#arrivedFor(filter, channel, message), { noAck: true });
      } catch (error) {
        // It may go, with its last member, between two of these.
        if (/no queue/.test(saidBy(error)) && joins < MAX_JOINS) continue;
        // Nobody may ever come to consume it.
        this.#lanes.ask((other) => other.deleteQueue(name, { ifUnused: true })).catch(ignore);
        return this.#noticed(error);
      }
      joined = true;
      this.#owner.heard();
      return channel;
    }
  }

  #arrivedFor(filter: Filter, channel: AmqpChannel, message: AmqpMessage | null): void {
    if (message === null) {
      channel.close().catch(ignore);
      this.#thrownOut(filter, "it was deleted, by an operator or a policy");
    } else if (this.#groups.has(filter)) this.#owner.message(message, filter);
  }

  #thrownOut(filter: Filter, why: string): void {
    if (this.#groups.delete(filter)) this.#owner.revoked(filter, ended("queue of this group", why, filter));
  }
}

/** What the target's queue is bound with, for as many filters as need it. */
class Binding {
  readonly filters = new Set<Filter>();
  /** The server's confirmation. */
  bound: Promise<void> | undefined;
  /** Settled once the server has answered all that was said so far. */
  last: Promise<void> | undefined;
}

function refused(filter: Filter, cause: unknown): unknown {
  const topic = formatTopic(filter.type, filter.id);
  return isRefusal(cause)
    ? new PubSubError("REFUSED", `RabbitMQ does not let this user subscribe to ${topic}: ${saidBy(cause)}.`, { cause })
    : new PubSubError("REFUSED", `${topic} was not subscribed to: ${describe(cause)}.`, { cause });
}

function ended(what: string, why: string, { type, id }: Filter): PubSubError {
  return new PubSubError(
    "REFUSED",
    `RabbitMQ does not serve the ${what} any more (${why}): no more events of ${formatTopic(type, id)} come. Subscribe again.`,
  );
}
