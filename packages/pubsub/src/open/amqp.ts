/** `amqp:` and `amqps:`: RabbitMQ, with connections of `amqplib`, which the target makes anew. */
import { connectTo, end, isRefusal, saidBy } from "../event-targets/amqp-client.ts";
import type { AmqpConnection } from "../event-targets/amqp-client.ts";
import { createAmqpEventTarget } from "../event-targets/amqp.ts";
import { BACKOFF, load, patience } from "./opener.ts";
import type { Opener } from "./opener.ts";

/** Milliseconds that a server has to say goodbye on a connection that turned out not to be needed. */
const GOODBYE = 500;

export const open: Opener = async ({ scheme, url, query: { exchange } }, options, owned) => {
  await load(scheme, "amqplib");
  const address = new URL(url);
  address.searchParams.delete("exchange");
  const attemptTimeout = patience(options.connectTimeout);
  const connect = connectTo(address.href, attemptTimeout);
  // The target tries until it may no longer; so the first attempt, which counts, is made here, and the first connection handed over.
  const abort = new AbortController();
  owned.add(() => abort.abort());
  let first: AmqpConnection | undefined = await connect(abort.signal);
  owned.add(() => first && end(first, GOODBYE));
  return createAmqpEventTarget({
    ...options,
    attemptTimeout,
    backoff: BACKOFF,
    connect: async (signal) => {
      const made = first;
      first = undefined;
      return made ?? connect(signal);
    },
    ...(exchange !== undefined && { exchange }),
  });
};

export function refused(error: unknown): string | undefined {
  return isRefusal(error) ? saidBy(error) : undefined;
}
