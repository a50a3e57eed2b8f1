import type { EventEnvelope } from "../envelope.ts";
import { describe, PayloadError, PubSubError } from "../errors.ts";
import { stringifyWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import { utf8Length } from "../topic.ts";
import type { Posted } from "../transport.ts";
import { within } from "../within.ts";
import { answerOf, destroy, explain, refusalOf, sqlState } from "./postgres-client.ts";
import type { PostgresPool, PostgresPoolClient, PostgresQueryable } from "./postgres-client.ts";

/** Bytes that the payload of a notification may have. */
export const MAX_PAYLOAD = 7999;

/** Events that one statement may publish. */
const MAX_EVENTS = 1000;
/** Characters of the events of one statement, about. */
const MAX_CHARACTERS = 1024 * 1024;
/** Bytes of events that may wait for their turn. */
const MAX_WAITING = 64 * 1024 * 1024;

/**
 * In the order of the array. What reaches Postgres after it was given up is void, so that it does not come out of order,
 * or long after its publisher was told.
 */
const PUBLISH =
  "SELECT count(pg_notify($1, event))::int AS count FROM unnest($2::text[]) AS event WHERE extract(epoch FROM clock_timestamp()) < $3::float8";

interface Waiting extends Posted {
  readonly envelope: EventEnvelope;
  text: string;
  readonly bytes: number;
}

/** What is on its way to Postgres: one statement after the other, each with all that was published meanwhile. */
export class Publications {
  readonly #pool: PostgresPool;
  readonly #channel: string;
  readonly #serializer: Serializer;
  readonly #patience: number;
  readonly #serverTime: (milliseconds: number) => number;
  #waiting: Waiting[] = [];
  #bytes = 0;
  #running = false;
  #drops = 0;
  /** Lent by the pool while there is something to publish. */
  #client: PostgresPoolClient | undefined;
  #coming: Promise<PostgresPoolClient> | undefined;

  /**
   * @param patience milliseconds after which a statement is given up
   * @param serverTime Postgres's clock in seconds when ours shows so many milliseconds
   */
  constructor(
    pool: PostgresPool,
    channel: string,
    serializer: Serializer,
    patience: number,
    serverTime: (milliseconds: number) => number,
  ) {
    this.#pool = pool;
    this.#channel = channel;
    this.#serializer = serializer;
    this.#patience = patience;
    this.#serverTime = serverTime;
  }

  /** @throws PayloadError, PubSubError `OVERFLOW` */
  post(envelope: EventEnvelope): Posted {
    const { text, bytes } = encode(this.#serializer, envelope);
    if (this.#bytes + bytes > MAX_WAITING)
      throw new PubSubError(
        "OVERFLOW",
        `${this.#waiting.length} events with ${this.#bytes} bytes wait for Postgres already. Await publish now and then.`,
      );
    this.#bytes += bytes;
    const waiting: Waiting = { envelope, text, bytes, waiter: undefined };
    this.#waiting.push(waiting);
    if (!this.#running) {
      this.#running = true;
      // With what else this turn publishes.
      queueMicrotask(() => void this.#run());
    }
    return waiting;
  }

  /** Publishes within a transaction of somebody else's. */
  async postIn(client: PostgresQueryable, envelope: EventEnvelope): Promise<void> {
    const { text, bytes } = encode(this.#serializer, envelope);
    const mark = this.#serializer === JSON ? markOf(marks++) : "";
    const marked = bytes + mark.length > MAX_PAYLOAD ? text : text + mark;
    try {
      await client.query("SELECT pg_notify($1, $2)", [this.#channel, marked]);
    } catch (error) {
      throw refusal(envelope, error);
    }
  }

  /** Publishes no more of what was posted, which has been answered otherwise. */
  drop(): void {
    this.#take(this.#waiting.length);
    this.#drops++;
  }

  /** Frees the connection. */
  stop(): void {
    this.drop();
    this.#release(this.#running);
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) await this.#send(this.#next());
    this.#running = false;
    this.#release(false);
  }

  /** As many as go into one statement. Postgres folds equal ones of one transaction into one, so they are made to differ. */
  #next(): Waiting[] {
    const texts = new Set<string>();
    let characters = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      const mark = this.#serializer === JSON ? markOf(count) : "";
      characters += waiting.text.length;
      if (count > 0 && (count === MAX_EVENTS || characters > MAX_CHARACTERS)) break;
      if (waiting.bytes + mark.length > MAX_PAYLOAD) break;
      if (mark !== "") waiting.text += mark;
      else if (texts.has(waiting.text)) break;
      else if (this.#serializer !== JSON) texts.add(waiting.text);
      count++;
    }
    return this.#take(count);
  }

  #take(count: number): Waiting[] {
    const taken = this.#waiting.splice(0, count);
    for (const { bytes } of taken) this.#bytes -= bytes;
    return taken;
  }

  async #send(batch: readonly Waiting[]): Promise<void> {
    const until = performance.now() + this.#patience;
    const drops = this.#drops;
    let client: PostgresPoolClient;
    try {
      client = this.#client ?? (await this.#lent());
    } catch (error) {
      // None of what waits fares better.
      for (const { waiter } of [...batch, ...this.#take(this.#waiting.length)]) waiter?.refused(error);
      return;
    }
    if (drops !== this.#drops) return;
    try {
      const published = await this.#publish(client, batch, until);
      for (const [i, { waiter }] of batch.entries())
        if (i < published) waiter?.accepted();
        else
          waiter?.refused(
            new PubSubError("INTERRUPTED", "The event reached Postgres too late, and was not published."),
          );
    } catch (error) {
      const answer = answerOf(error);
      if (answer === undefined) this.#release(true);
      // One of them is not what the database can hold; none was published.
      else if (batch.length > 1 && isOfData(error)) {
        for (const waiting of batch) await this.#send([waiting]);
        return;
      }
      for (const { waiter, envelope } of batch) waiter?.refused(refusal(envelope, error));
    }
  }

  /** @returns how many, from the first on, were published */
  async #publish(client: PostgresPoolClient, batch: readonly Waiting[], until: number): Promise<number> {
    const texts = batch.map(({ text }) => text);
    const answer = client.query(PUBLISH, [this.#channel, texts, this.#serverTime(until)]);
    const late = (): Error => new Error(`no answer within ${this.#patience} ms`);
    const { rows } = await within(answer, this.#patience, { late, patient: true });
    return Number((rows[0] as { count: unknown }).count);
  }

  /** A connection of the pool. The same is waited for again where it does not come in time. */
  async #lent(): Promise<PostgresPoolClient> {
    const coming = (this.#coming ??= this.#pool.connect().then(
      (client) => {
        this.#coming = undefined;
        client.on("error", nothing);
        this.#client = client;
        if (!this.#running) this.#release(false);
        return client;
      },
      (error: unknown) => {
        this.#coming = undefined;
        throw error;
      },
    ));
    try {
      const late = (): Error => new Error(`it lent none within ${this.#patience} ms`);
      return await within(coming, this.#patience, { late, patient: true });
    } catch (error) {
      throw (
        refusalOf(error) ??
        new PubSubError(
          "INTERRUPTED",
          `Nothing was published, since the pool has no connection to Postgres: ${explain(error)}.`,
          { cause: error },
        )
      );
    }
  }

  #release(broken: boolean): void {
    const client = this.#client;
    if (client === undefined) return;
    this.#client = undefined;
    client.release(broken);
    if (broken) destroy(client);
    // Of a broken one errors may come yet.
    else client.off("error", nothing);
  }
}

/** How many events were marked. */
let marks = 1;

/** White space that JSON may end with, another one for each number; none for 0. */
function markOf(number: number): string {
  let mark = "";
  for (let rest = number; rest > 0; rest = Math.floor(rest / 4)) mark += " \t\n\r"[rest % 4];
  return mark;
}

/** @throws PayloadError */
function encode(serializer: Serializer, envelope: EventEnvelope): { readonly text: string; readonly bytes: number } {
  const text = stringifyWith(serializer, envelope);
  const { type, id } = envelope;
  const bytes = utf8Length(text);
  if (bytes > MAX_PAYLOAD)
    throw new PayloadError(
      type,
      id,
      `The event has ${bytes} bytes, a notification of Postgres ${MAX_PAYLOAD} at most; keep it in a table and publish its key`,
    );
  if (text.includes("\0"))
    throw new PayloadError(type, id, "The serializer gave a NUL, which Postgres has in no text; have it escaped");
  return { text, bytes };
}

/** Whether an event is not what the database can hold, such as characters that its encoding does not have. */
function isOfData(error: unknown): boolean {
  return sqlState(error)?.startsWith("22") === true;
}

/** What became of an event whose statement failed. */
function refusal({ type, id }: EventEnvelope, cause: unknown): PubSubError {
  if (isOfData(cause)) return new PayloadError(type, id, `Postgres cannot hold it: ${describe(cause)}`, { cause });
  return (
    answerOf(cause) ??
    new PubSubError(
      "INTERRUPTED",
      `The connection ended before Postgres answered (${describe(cause)}); the event may be delivered.`,
      { cause },
    )
  );
}

function nothing(): void {}
