/** `redis:` and `rediss:`: Redis Pub/Sub, with two clients of ioredis or of node-redis, whichever is installed. */
import { createRedisEventTarget } from "../event-targets/redis.ts";
import type { IoRedisClient, NodeRedisClient, RedisClient } from "../event-targets/redis.ts";
import { checkPath } from "./address.ts";
import type { Address } from "./address.ts";
import { backoff, load, patience, saying } from "./opener.ts";
import type { Opener, Owned } from "./opener.ts";

export const open: Opener = async (address, options, owned) => {
  // A number there is a database, and events cross all of them.
  checkPath(address, /^\d*$/, "only the number of a database may be");
  const { name, module } = await load(address.scheme, "ioredis", "redis");
  const connect = (name === "ioredis" ? ioredis : nodeRedis)(module as never);
  const wait = patience(options.connectTimeout);
  const [publishClient, subscribeClient] = await Promise.all([
    connect(address, wait, owned),
    connect(address, wait, owned),
  ]);
  const { prefix } = address.query;
  return createRedisEventTarget({
    ...options,
    publishClient,
    subscribeClient,
    ...(prefix !== undefined && { prefix }),
  });
};

type Connect = (address: Address, connectTimeout: number, owned: Owned) => Promise<RedisClient>;

function ioredis({ Redis }: { readonly Redis: new (options: object) => IoRedisClient }): Connect {
  return ({ scheme, host, port = 6379, user, password }, connectTimeout, owned) => {
    const client = new Redis({
      host,
      port,
      connectTimeout,
      lazyConnect: true,
      retryStrategy: backoff,
      // Else it gives up the commands of its own handshake, and ours, after so many attempts to connect.
      maxRetriesPerRequest: null,
      // How long it waits for the far end to close, which a frozen one never does.
      disconnectTimeout: 0,
      ...(user !== undefined && { username: user }),
      ...(password !== undefined && { password }),
      ...(scheme === "rediss:" && { tls: {} }),
    });
    owned.add(() => client.disconnect());
    return connected(client);
  };
}

function nodeRedis({ createClient }: { readonly createClient: (options: object) => NodeRedisClient }): Connect {
  return ({ scheme, host, port = 6379, user, password }, connectTimeout, owned) => {
    const client = createClient({
      socket: { host, port, connectTimeout, reconnectStrategy: backoff, ...(scheme === "rediss:" && { tls: true }) },
      ...(user !== undefined && { username: user }),
      ...(password !== undefined && { password }),
    });
    owned.add(() => client.destroy());
    return connected(client);
  };
}

/** A client once it is ready. Its first error is the end of it; those that come later are the target's, which hears of them too. */
function connected<T extends RedisClient>(client: T): Promise<T> {
  return new Promise((resolve, reject) => {
    client.on("error", reject);
    client.on("ready", () => resolve(client));
    client.connect().catch(reject);
  });
}

export function refused(error: unknown): string | undefined {
  return saying(error, /\b(NOAUTH|WRONGPASS|NOPERM|ERR AUTH|invalid password)\b/);
}
