/** The part of `pg` that is used, and what its errors mean. */
import { describe, PubSubError } from "../errors.ts";

// What an event brings differs from event to event.
// oxlint-disable-next-line typescript/no-explicit-any
type Listener = (...args: any[]) => void;

/** Whatever takes a statement: a client, a pool, a client within a transaction. */
export interface PostgresQueryable {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
}

/** A client of `pg` 8: the part of it that is used. */
export interface PostgresClient extends PostgresQueryable {
  connect(): Promise<unknown>;
  end(): Promise<void>;
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
}

/** A client that a pool has lent. */
export interface PostgresPoolClient extends PostgresQueryable {
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
  release(destroy?: boolean): void;
}

/** A pool of `pg` 8: the part of it that is used. */
export interface PostgresPool {
  connect(): Promise<PostgresPoolClient>;
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
}

/** What a pool makes its clients of, which its types do not say. */
interface Maker {
  readonly Client?: new (options: object) => PostgresClient;
  readonly options?: object;
}

/** Makes clients like those of a pool, beside it. @throws PubSubError `INVALID_OPTION` */
export function likeThoseOf(pool: PostgresPool): () => PostgresClient {
  const { Client, options } = pool as Maker;
  if (Client === undefined || options === undefined)
    throw new PubSubError(
      "INVALID_OPTION",
      "pool does not say what its clients are made of; give listenClient, such as () => new pg.Client(config).",
    );
  return () => new Client(options);
}

/** Frees a connection at once, also one whose far end does not answer. */
export function destroy(client: object): void {
  // Ending alone would wait for the far end.
  const { connection } = client as { connection?: { stream?: { destroy?(): void } } };
  connection?.stream?.destroy?.();
}

/** The code of an error that Postgres itself has sent. */
export function sqlState(error: unknown): string | undefined {
  const { code, severity } = (error ?? {}) as { code?: unknown; severity?: unknown };
  return typeof code === "string" && severity !== undefined ? code : undefined;
}

/** Why Postgres lets nobody in: what no further attempt would change. */
export function refusalOf(error: unknown): PubSubError | undefined {
  if (error instanceof PubSubError && error.code !== "DISCONNECTED") return error;
  const state = sqlState(error);
  // Who it is, the database, the right to connect.
  if (state === undefined || !(state.startsWith("28") || state === "3D000" || state === "42501")) return undefined;
  return new PubSubError("REFUSED", `Postgres refuses this client: ${describe(error)}.`, { cause: error });
}

/** What is wrong with a connection, with what to do about it where Postgres's words do not say it. */
export function explain(error: unknown): string {
  const said = describe(error);
  return sqlState(error) === "53300" ? `${said} (raise its max_connections, or have smaller pools)` : said;
}

/** What Postgres said of a statement; undefined where it is the connection that failed. */
export function answerOf(error: unknown): PubSubError | undefined {
  const state = sqlState(error);
  // Shut down, terminated, or not reached: whether it was done nobody says.
  if (state === undefined || state.startsWith("57P") || state.startsWith("08")) return undefined;
  const because = { cause: error };
  if (state === "54000")
    return new PubSubError(
      "OVERFLOW",
      `Nothing was published, since Postgres's queue of notifications is full: ${describe(error)}. A session that listens has not read it for long, such as one that left a transaction open; end that one.`,
      because,
    );
  if (state === "25006") return new PubSubError("REFUSED", `${STANDBY}: ${describe(error)}.`, because);
  return new PubSubError("REFUSED", `Postgres did not take it: ${describe(error)}.`, because);
}

export const STANDBY =
  "This Postgres only reads, as a hot standby does, and passes no notifications on; connect to the primary";
