/**
 * @module Event targets by their URLs, for what learns at run time where events go: a command line, a configuration.
 *
 * The URL's scheme picks the transport. Its client library is loaded when it is needed, and never before; nothing is
 * compiled against it. What a URL cannot say has its default: whoever needs more hands clients to the transport's own
 * `create…EventTarget`.
 */
import { checkSignal } from "./abort.ts";
import { coreOf } from "./core.ts";
import type { TypedEvent } from "./envelope.ts";
import { describe, PubSubError } from "./errors.ts";
import type { AlkEventTarget, EventTargetOptions } from "./event-target.ts";
import { readAddress } from "./open/address.ts";
import type { Address, Form } from "./open/address.ts";
import { Owned } from "./open/opener.ts";
import type { OpenerModule } from "./open/opener.ts";
import { checkTimeout } from "./options.ts";
import { within } from "./within.ts";

/** Options of `openEventTarget`: those of every event target, and what ends the wait. */
export interface OpenEventTargetOptions extends Omit<EventTargetOptions, "eager"> {
  /** Gives up opening: the promise rejects with its reason. What is open by then stays open. */
  readonly signal?: AbortSignal;
}

/** How URLs of a scheme look, and what opens them. */
interface Scheme extends Form {
  readonly load: () => Promise<OpenerModule>;
}

const HUB: Scheme = { example: "ws://localhost:8080", query: "any", load: () => import("./open/hub.ts") };
const REDIS: Scheme = { example: "redis://localhost:6379", query: ["prefix"], load: () => import("./open/redis.ts") };
const NATS: Scheme = { example: "nats://localhost:4222", query: ["prefix"], load: () => import("./open/nats.ts") };
const AMQP: Scheme = {
  example: "amqp://localhost:5672",
  query: ["exchange", "heartbeat"],
  load: () => import("./open/amqp.ts"),
};
const MQTT: Scheme = { example: "mqtt://localhost:1883", query: ["prefix"], load: () => import("./open/mqtt.ts") };
const POSTGRES: Scheme = {
  example: "postgres://localhost:5432/database",
  query: ["channel", "application_name", "sslmode", "sslrootcert", "sslcert", "sslkey"],
  load: () => import("./open/postgres.ts"),
};

const SCHEMES: Readonly<Record<string, Scheme>> = {
  "memory:": { example: "memory:name", load: () => import("./open/memory.ts") },
  "ws:": HUB,
  "wss:": HUB,
  "redis:": REDIS,
  "rediss:": REDIS,
  "nats:": NATS,
  "tls:": NATS,
  "amqp:": AMQP,
  "amqps:": AMQP,
  "mqtt:": MQTT,
  "mqtts:": MQTT,
  "postgres:": POSTGRES,
  "postgresql:": POSTGRES,
};

/**
 * Opens the event target that a URL names; resolves once it is ready.
 *
 * | URL | what it opens | needs |
 * |---|---|---|
 * | `memory:`, `memory:name` | what all that open the same URL in this process share | |
 * | `ws://host:port/path`, `wss:` | a hub; a query is the hub's (`?token=`) | `@alkdev/hub` |
 * | `redis://user:password@host:6379`, `rediss:` | Redis Pub/Sub; `?prefix=alk:events:` | `ioredis` or `redis` |
 * | `nats://user:password@host:4222`, `nats://token@host`, `tls:` | NATS; `?prefix=alk.events` | `@nats-io/transport-node` |
 * | `amqp://user:password@host:5672/vhost`, `amqps:` | RabbitMQ; `?exchange=alk.events`, AMQP's `&heartbeat=10` | `amqplib` |
 * | `mqtt://user:password@host:1883`, `mqtts:` | an MQTT broker, by version 5; `?prefix=alk/events` | `mqtt` |
 * | `postgres://user:password@host:5432/database`, `postgresql:` | Postgres; `?channel=alk.events`, `&sslmode=` and the like of `pg` | `pg` |
 *
 * A server that cannot be reached is an error at once where it says so, else after `connectTimeout`. Once open, the target
 * connects again by itself until it is closed. It owns the clients that it opened: `close()` ends them.
 *
 * @param url percent-encode what is no letter or digit in a user, password or prefix; messages leave user, password and query out
 * @throws PubSubError as a rejection: `INVALID_OPTION` for a URL that names nothing to open; `UNSUPPORTED` where the client
 * library is not installed; `NOT_READY` where nobody answers; `REFUSED` where the server does not let this client in
 * @example
 * await using target = await openEventTarget(process.env.EVENTS_URL ?? "memory:");
 * const pubsub = createPubSub({ eventTarget: target });
 */
export async function openEventTarget<TEvent extends TypedEvent = TypedEvent>(
  url: string | URL,
  { signal, ...options }: OpenEventTargetOptions = {},
): Promise<AlkEventTarget<TEvent>> {
  const { connectTimeout = 10_000 } = options;
  checkSignal(signal);
  checkTimeout("connectTimeout", connectTimeout);
  const address = readAddress(url, SCHEMES);
  signal?.throwIfAborted();
  const owned = new Owned();
  let opener: OpenerModule | undefined;
  let tooLate: PubSubError | undefined;
  const opening = async (): Promise<AlkEventTarget> => {
    opener = await (SCHEMES[address.scheme] as Scheme).load();
    const target = await opener.open(address, { ...options, connectTimeout }, owned);
    owned.add(target.close.bind(target));
    await target[coreOf].open();
    return target;
  };
  try {
    const target = await within(opening(), connectTimeout, {
      late: () => (tooLate = late(address, connectTimeout)),
      signal,
    });
    return owning(target, owned);
  } catch (error) {
    // Nobody waits for what does not answer.
    void owned.end();
    if (signal?.aborted === true) throw signal.reason;
    throw tooLate ?? failure(address, error, opener?.refused);
  }
}

/** Has the target end what it owns, when it is closed and when it ends from outside. */
function owning(target: AlkEventTarget, owned: Owned): AlkEventTarget {
  Object.defineProperty(target, "close", { value: () => owned.end() });
  void target.closed.then(() => owned.end());
  return target;
}

function late({ name }: Address, connectTimeout: number): PubSubError {
  return new PubSubError(
    "NOT_READY",
    `${name} did not answer within ${connectTimeout} ms. Check the address, and that it runs.`,
  );
}

/** What became of an attempt to open, by the address. What clients throw may hold the password (ioredis's has the command). */
function failure({ name }: Address, error: unknown, refused: OpenerModule["refused"]): unknown {
  const said = error instanceof PubSubError ? error.code : undefined;
  if (said !== undefined && SAID.has(said)) return error;
  let root = error;
  while (root instanceof Error && root.cause instanceof Error) root = root.cause;
  const { code } = (root ?? {}) as { code?: unknown };
  const cause = Object.assign(
    new Error(describe(root)),
    (typeof code === "string" || typeof code === "number") && { code },
  );
  // The target has more to say of what it is not allowed.
  if (said === "REFUSED") return new PubSubError("REFUSED", `${name}: ${(error as PubSubError).message}`, { cause });
  const refusal = refused?.(root);
  return refusal === undefined
    ? new PubSubError(
        "NOT_READY",
        `${name} cannot be reached: ${describe(root)}. Check the address, and that it runs.`,
        { cause },
      )
    : new PubSubError(
        "REFUSED",
        `${name} does not let this client in: ${refusal.replace(/\.$/, "")}. Check user and password, or token.`,
        { cause },
      );
}

/** Codes of errors that say all by themselves. */
const SAID: ReadonlySet<string> = new Set(["INVALID_OPTION", "UNSUPPORTED", "VERSION"]);
