import process from "node:process";
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { checkFilter } from "@alkdev/pubsub/transport";
import { CliError, UsageError, wholeNumber } from "./arguments.ts";
import type { Arguments, OptionTypes } from "./arguments.ts";
import { addressOf, connect, nameOf, sayStatus } from "./connection.ts";
import { hasColours, print, printable, say, Stopper } from "./terminal.ts";

export const tailOptions: OptionTypes = {
  url: { type: "string", short: "u" },
  json: { type: "boolean" },
  count: { type: "string", short: "n" },
};

/** Events that may wait for a slow reader of stdout; beyond, the oldest are dropped and a gap says how many. */
const BUFFER = 65_536;

/** Prints events as they arrive. */
export async function tail(args: Arguments): Promise<number> {
  const [pattern, id, ...more] = args.positionals;
  if (pattern === undefined) throw new UsageError("tail", "tail needs a type or a pattern, such as 'host.*'");
  if (more.length > 0)
    throw new UsageError(
      "tail",
      `tail takes a type and an id, and there is also ${JSON.stringify(more[0])}; quote a pattern, so that the shell leaves it alone: 'host.*'`,
    );
  const count = args.text("count");
  let left = count === undefined ? Infinity : wholeNumber("tail", "count", count, 1, Number.MAX_SAFE_INTEGER);
  const url = addressOf("tail", args.text("url"));
  checkFilter({ type: pattern, id });
  const stop = new Stopper();
  stop.watchStdout();
  try {
    const connected = await connect(url, stop.signal);
    if (connected === undefined) return 0;
    await using target = connected;
    sayStatus(target, url);
    await using pubsub = createPubSub({ eventTarget: target });
    const format = args.flag("json") ? json : human(hasColours());
    const events = await pubsub.subscribe(pattern, id, {
      signal: stop.signal,
      buffer: { limit: BUFFER, overflow: "drop-oldest" },
      onGap: (gap) => {
        // In its place: whatever came before is written, whatever comes after is not yet.
        process.stdout.write(format.gap(gap));
        if (args.flag("json")) say(lossOf(gap));
      },
    });
    say(`live: ${filterName(pattern, id)} on ${nameOf(url)}`);
    for await (const batch of events.batches()) {
      const wanted = batch.length > left ? batch.slice(0, left) : batch;
      await print(format.events(wanted), stop.signal);
      left -= wanted.length;
      if (left <= 0) break;
    }
  } catch (error) {
    if (!stop.stopped) throw error;
  } finally {
    stop.release();
  }
  if (stop.writeError !== undefined) throw new CliError(`cannot write to stdout: ${stop.writeError.message}`);
  return 0;
}

/** Without an id, every id; the empty one is shown as it is typed. */
function filterName(pattern: string, id: string | undefined): string {
  if (id === undefined) return pattern;
  return id === "" ? `${pattern} ''` : `${pattern}:${id}`;
}

/** How events and losses are printed: whole lines. */
interface Format {
  events(batch: readonly EventEnvelope[]): string;
  gap(gap: Gap): string;
}

const json: Format = {
  events: (batch) => batch.map((event) => `${JSON.stringify(event)}\n`).join(""),
  gap: (gap) => `${JSON.stringify({ gap })}\n`,
};

function human(colours: boolean): Format {
  const paint = (code: number, text: string): string => (colours ? `\u001b[${code}m${text}\u001b[0m` : text);
  return {
    events(batch) {
      const time = paint(2, clock(Date.now()));
      let text = "";
      for (const { type, id, payload } of batch) {
        const topic = printable(id === "" ? type : `${type}:${id}`);
        text += `${time}  ${paint(36, topic)}  ${printable(JSON.stringify(payload))}\n`;
      }
      return text;
    },
    gap: (gap) => `${paint(2, clock(Date.now()))}  ${paint(33, lossOf(gap))}\n`,
  };
}

/** A loss in words. */
function lossOf({ reason, since, until, lost }: Gap): string {
  const count = lost === "unknown" ? "an unknown number of events" : `${lost} event${lost === 1 ? "" : "s"}`;
  const time = clock(since) === clock(until) ? `at ${clock(since)}` : `from ${clock(since)} to ${clock(until)}`;
  return `gap: ${count} may be missing here (${printable(reason)}, ${time})`;
}

/** The local time of day, to the millisecond. */
function clock(milliseconds: number): string {
  const date = new Date(milliseconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
