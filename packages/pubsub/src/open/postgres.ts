/** `postgres:` and `postgresql:`: Postgres, with a pool of `pg`. */
import { describe } from "../errors.ts";
import { createPostgresEventTarget } from "../event-targets/postgres.ts";
import type { PostgresClient, PostgresPool } from "../event-targets/postgres.ts";
import { destroy, refusalOf } from "../event-targets/postgres-client.ts";
import { within } from "../within.ts";
import { BACKOFF, load, patience } from "./opener.ts";
import type { Opener } from "./opener.ts";

/** What is used of the package, beside what the target does. */
interface PgModule {
  readonly default: {
    readonly Client: new (config: object) => PostgresClient;
    readonly Pool: new (config: object) => PostgresPool & { end(): Promise<void> };
  };
}

/** Milliseconds that a server has to say goodbye. */
const GOODBYE = 500;
/** Connections that publish, of which the target uses one at a time. */
const CONNECTIONS = 2;

export const open: Opener = async ({ scheme, url, query: { channel } }, options, owned) => {
  const { module } = await load(scheme, "pg");
  const { Client, Pool } = (module as PgModule).default;
  const address = new URL(url);
  address.searchParams.delete("channel");
  const config = { connectionString: address.href, connectionTimeoutMillis: patience(options.connectTimeout) };
  // Both the target and the pool would try again and again.
  const first = new Client(config);
  first.on("error", ignore);
  owned.add(() => destroy(first));
  await first.connect();
  first.end().catch(ignore);
  const pool = new Pool({ ...config, max: CONNECTIONS });
  const clients = new Set<object>();
  pool.on("error", ignore);
  pool.on("connect", (client: object) => clients.add(client));
  pool.on("remove", (client: object) => clients.delete(client));
  owned.add(async () => {
    // A server that stands still never closes its side.
    await within(pool.end(), GOODBYE, { late: () => undefined }).catch(ignore);
    for (const client of clients) destroy(client);
  });
  return createPostgresEventTarget({ ...options, pool, backoff: BACKOFF, ...(channel !== undefined && { channel }) });
};

export function refused(error: unknown): string | undefined {
  return refusalOf(error) && describe(error);
}

function ignore(): void {}
