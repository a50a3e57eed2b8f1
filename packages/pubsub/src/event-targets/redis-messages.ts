/** What plain and sharded channels have in common: what arrives, and what is promised. */
import { describe, PubSubError } from "../errors.ts";
import { parseAllWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import type { Filter, Receiver, Supports } from "../transport.ts";

export const SUPPORTS: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  overlap: "per-filter",
  // Globs cross dots and colons.
  patterns: "filtered",
  echo: true,
  groups: false,
  replay: false,
  maxPayload: undefined,
};

/** What a server says to whom it does not let in. */
const REFUSALS: RegExp = /\b(NOAUTH|WRONGPASS|NOPERM|ERR AUTH|invalid password)\b/;

/** @returns why Redis does not let this client in, where that is what happened */
export function refusalOf(cause: unknown): PubSubError | undefined {
  const said = describe(cause);
  if (!REFUSALS.test(said)) return undefined;
  // Without ioredis's own error, which has the command that failed: AUTH, with the password.
  return new PubSubError("REFUSED", `Redis refuses this client: ${said}.`, { cause: new Error(said) });
}

/** Delivers what was published to a channel. */
export function read(
  serializer: Serializer,
  name: string,
  text: string,
  filters: ReadonlySet<Filter>,
  receiver: Receiver,
): void {
  parseAllWith(serializer, text, () => name, {
    deliver: (envelope) => {
      for (const filter of filters) receiver.deliver(envelope, filter);
    },
    error: (error) => receiver.error(error),
  });
}
