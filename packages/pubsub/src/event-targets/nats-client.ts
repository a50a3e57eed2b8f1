import { describe, PubSubError } from "../errors.ts";

/** A message of the client's: the part of it that is used. */
export interface NatsMessage {
  readonly subject: string;
  readonly data: Uint8Array;
}

/** A subscription of the client's: the part of it that is used. */
export interface NatsSubscription {
  unsubscribe(): void;
  isClosed(): boolean;
}

/** A connection of `@nats-io/nats-core` 3: the part of it that is used. */
export interface NatsConnection {
  readonly info?: { readonly max_payload: number; readonly cluster?: string } | undefined;
  publish(subject: string, payload: Uint8Array): void;
  subscribe(
    subject: string,
    options: { callback(error: Error | null, message: NatsMessage): void; queue?: string },
  ): NatsSubscription;
  flush(): Promise<void>;
  reconnect(): Promise<void>;
  status(): AsyncIterable<{ readonly type: string }>;
  closed(): Promise<void | Error>;
  isClosed(): boolean;
}

export function interrupted(cause: unknown): PubSubError {
  return new PubSubError(
    "INTERRUPTED",
    `The connection ended before NATS answered (${describe(cause)}); the event may be delivered.`,
    { cause },
  );
}

export function refusal(what: string, subject: string | undefined, cause: unknown): PubSubError {
  return new PubSubError("REFUSED", `NATS does not let this client ${what} ${subject}: ${describe(cause)}.`, { cause });
}
