import process from "node:process";
import { createPubSub, merge } from "@alkdev/pubsub";
import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { CliError, complainAs, print, printable, say, Stopper, UsageError, wholeNumber } from "@alkdev/hub/parts";
import type { Arguments, OptionTypes } from "@alkdev/hub/parts";
import { openBroker } from "../broker-connection.ts";
import { channelOfType, typeOfPattern } from "../channels.ts";
import { introduction, sessionOptions, urlOf } from "./session.ts";

export const eventsOptions: OptionTypes = { ...sessionOptions, count: { type: "string", short: "c" } };

/** Events that may wait for a slow reader of stdout; beyond, the oldest are dropped and a gap says how many. */
const BUFFER = 65_536;

/** Prints events as they arrive. */
export async function events(args: Arguments): Promise<number> {
  const channels = args.positionals;
  if (channels.length === 0) throw new UsageError("events", "events needs a channel or a pattern, such as 'echo.*'");
  const count = args.text("count");
  let left = count === undefined ? Infinity : wholeNumber("events", "count", count, 1, Number.MAX_SAFE_INTEGER);
  const types = channels.map(typeOfPattern);
  const format = args.flag("json") ? json : human;
  const stop = new Stopper();
  stop.watchStdout();
  const broker = openBroker(urlOf("events", args), {
    ...introduction("events", args),
    onError: (error) => complainAs("kadi", error),
  });
  try {
    await broker.ready(stop.signal);
    broker.eventTarget.onStatus((status, cause) => {
      if (status === "interrupted")
        say(`interrupted: ${cause instanceof Error ? cause.message : String(cause)} Connecting again.`);
      if (status === "ready") say("ready");
    });
    await using pubsub = createPubSub({ eventTarget: broker.eventTarget });
    // One loss, or one event, concerns all patterns that match it.
    const once = new WeakSet<object>();
    const first = (thing: object): boolean => !once.has(thing) && once.add(thing) !== undefined;
    const subscriptions = types.map((type) =>
      pubsub.subscribe(type, {
        signal: stop.signal,
        buffer: { limit: BUFFER, overflow: "drop-oldest" },
        onGap: (gap) => void (first(gap) && process.stdout.write(`${format.gap(gap)}\n`)),
      }),
    );
    await Promise.all(subscriptions);
    say(`live: ${channels.join(" ")}`);
    for await (const event of merge(...subscriptions)) {
      if (!first(event)) continue;
      await print(`${format.event(event)}\n`, stop.signal);
      if (--left === 0) break;
    }
  } catch (error) {
    if (!stop.stopped) throw error;
  } finally {
    stop.release();
    await broker.close();
  }
  if (stop.writeError !== undefined) throw new CliError(`cannot write to stdout: ${stop.writeError.message}`);
  return 0;
}

/** How events and losses are printed. */
interface Format {
  event(event: EventEnvelope): string;
  gap(gap: Gap): string;
}

const json: Format = {
  event: ({ type, id, payload, meta }) =>
    JSON.stringify({ channel: channelOfType(type), data: payload, networkId: id, agentId: meta?.["agentId"] }),
  gap: (gap) => JSON.stringify({ gap }),
};

const human: Format = {
  event({ type, id, payload }) {
    const time = new Date().toISOString().slice(11, 23);
    const network = id === "global" ? "" : ` (${id})`;
    return printable(`${time}  ${channelOfType(type)}${network}  ${JSON.stringify(payload)}`);
  },
  gap: (gap) => `gap: ${printable(JSON.stringify(gap))}`,
};
