import process from "node:process";
import { addAbortSignal } from "node:stream";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { UsageError } from "./arguments.ts";
import type { Arguments, OptionTypes } from "./arguments.ts";
import { addressOf, connect, readyAgain, sayStatus } from "./connection.ts";
import { linesOf } from "./lines.ts";
import type { Line } from "./lines.ts";
import { complain, printable, say, Stopper } from "./terminal.ts";

export const publishOptions: OptionTypes = { url: { type: "string", short: "u" } };

/** What a shell makes of a process that ^C ended. */
const INTERRUPTED = 130;

/** Publishes one event, or one for each line of stdin. */
export async function publish(args: Arguments): Promise<number> {
  const [type, id, text, ...more] = args.positionals;
  if (type === undefined || id === undefined)
    throw new UsageError("publish", "publish needs a type and an id, such as: demo.note me; '' is the empty id");
  if (more.length > 0)
    throw new UsageError(
      "publish",
      `publish takes a type, an id and one payload, and there is also ${JSON.stringify(more[0])}; quote a payload as one word: '{"note":"hi"}'`,
    );
  const payload = text === undefined || text === "-" ? null : parsePayload(text);
  const url = addressOf("publish", args.text("url"));
  // The library itself says whether these can be published to, before anything is sent or read.
  await createPubSub().publish(type, id, null);

  const stop = new Stopper();
  try {
    const connected = await connect(url, stop.signal);
    if (connected === undefined) return INTERRUPTED;
    await using target = connected;
    await using pubsub = createPubSub({ eventTarget: target });
    const topic = printable(id === "" ? type : `${type}:${id}`);
    if (text === "-") {
      sayStatus(target, url, "; the input waits");
      const failed = await new Feed(pubsub, target, type, id, stop).run(topic);
      return stop.stopped ? INTERRUPTED : failed ? 1 : 0;
    }
    await pubsub.publish(type, id, payload);
    say(
      `published 1 event to ${topic}${text === undefined ? " (null, as no payload was given; - reads payloads from stdin)" : ""}`,
    );
    return 0;
  } finally {
    stop.release();
  }
}

/** @throws UsageError that shows how a string is quoted */
function parsePayload(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (/^\s*[{["]/.test(text))
      throw new UsageError(
        "publish",
        `the payload is not JSON: ${(error as Error).message}; names and strings need double quotes, and the whole needs single ones: '{"note":"hi"}'`,
      );
    throw new UsageError(
      "publish",
      `the payload is not JSON: ${text}; a string needs quotes inside the shell's: ${quote(JSON.stringify(text))}`,
    );
  }
}

/** As a word of a shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Events that may wait for their acknowledgement, and characters of their payloads. */
const WINDOW_EVENTS = 1000;
const WINDOW_CHARACTERS = 16 * 1024 * 1024;

/** How often progress is told, in milliseconds: on a terminal it is one line that changes. */
const PROGRESS_TERMINAL = 1000;
const PROGRESS_LOG = 5000;

/** Publishes the lines of stdin, many at a time, and counts what becomes of them. */
class Feed {
  readonly #pubsub: PubSub;
  readonly #target: AlkEventTarget;
  readonly #type: string;
  readonly #id: string;
  readonly #stop: Stopper;
  readonly #failures = new Failures();
  #published = 0;
  #failed = 0;
  #events = 0;
  #characters = 0;
  #drainTo = 0;
  #markDrained: (() => void) | undefined;

  constructor(pubsub: PubSub, target: AlkEventTarget, type: string, id: string, stop: Stopper) {
    this.#pubsub = pubsub;
    this.#target = target;
    this.#type = type;
    this.#id = id;
    this.#stop = stop;
  }

  /** @returns whether any line failed */
  async run(topic: string): Promise<boolean> {
    const { signal } = this.#stop;
    const { stdin, stderr } = process;
    const progress = setInterval(
      () => {
        const count = this.#published.toLocaleString("en");
        stderr.write(stderr.isTTY ? `\r\u001b[K${count} published so far` : `${count} published so far\n`);
      },
      stderr.isTTY ? PROGRESS_TERMINAL : PROGRESS_LOG,
    );
    try {
      stdin.setEncoding("utf8");
      addAbortSignal(signal, stdin);
      reading: for await (const lines of linesOf(stdin))
        for (const line of lines) {
          // Waits only where it must: what is published without a pause goes out in one frame.
          if (this.#mustWait && !(await this.#mayGoOn(line.number))) break reading;
          this.#send(line);
        }
    } catch (error) {
      if (!this.#stop.stopped) throw error;
    } finally {
      // Else a terminal or an open pipe would keep the process waiting for what nobody will read.
      stdin.destroy();
      await this.#drained(0);
      clearInterval(progress);
      if (stderr.isTTY) stderr.write("\r\u001b[K");
      this.#failures.flush();
    }
    const count = `${this.#published.toLocaleString("en")} event${this.#published === 1 ? "" : "s"}`;
    const failed = this.#failed === 0 ? "" : `; ${this.#failed.toLocaleString("en")} failed, see above`;
    say(`published ${count} to ${topic}${failed}`);
    return this.#failed > 0;
  }

  get #mustWait(): boolean {
    return this.#isFull || this.#target.status !== "ready" || this.#stop.stopped;
  }

  get #isFull(): boolean {
    return this.#events >= WINDOW_EVENTS || this.#characters >= WINDOW_CHARACTERS;
  }

  /** Waits for room and for the connection; false if there is no going on. */
  async #mayGoOn(number: number): Promise<boolean> {
    // Half a window at a time: acknowledgements come in bulk, and one event for each of them would be a frame each.
    if (this.#isFull) await this.#drained(0.5);
    // Not while interrupted: it would be refused. What a cut left without an answer has failed, the rest waits.
    if (await readyAgain(this.#target, this.#stop.signal)) return true;
    if (!this.#stop.stopped) this.#bad(number, "and all after it were not published: the connection is over");
    return false;
  }

  /** Publishes a line, unless there is nothing to publish. */
  #send({ number, text }: Line): void {
    if (text === undefined) return this.#bad(number, "is too long to be an event");
    // A byte order mark is no JSON, but some editors put one at the beginning of a file.
    const json = number === 1 && text.startsWith("\uFEFF") ? text.slice(1) : text;
    if (json.trim() === "") return;
    let payload: unknown;
    try {
      payload = JSON.parse(json);
    } catch (error) {
      const hint = /^[{[]\s*$/.test(json) ? "; a payload stands on one line (jq -c puts it there)" : "";
      return this.#bad(number, `is not JSON: ${(error as Error).message}${hint}`);
    }
    this.#events++;
    this.#characters += json.length;
    this.#pubsub.publish(this.#type, this.#id, payload).then(
      () => {
        this.#published++;
        this.#done(json.length);
      },
      (error: unknown) => {
        this.#failed++;
        this.#failures.add(number, error);
        this.#done(json.length);
      },
    );
  }

  #bad(number: number, problem: string): void {
    this.#failed++;
    complain(`line ${number} ${problem}`);
  }

  #done(characters: number): void {
    this.#events--;
    this.#characters -= characters;
    if (!this.#isDrainedTo(this.#drainTo)) return;
    this.#markDrained?.();
    this.#markDrained = undefined;
  }

  /** Resolves once no more than this part of the window waits for an acknowledgement. */
  #drained(part: number): Promise<void> {
    if (this.#isDrainedTo(part)) return Promise.resolve();
    this.#drainTo = part;
    return new Promise((resolve) => (this.#markDrained = resolve));
  }

  #isDrainedTo(part: number): boolean {
    return this.#events <= WINDOW_EVENTS * part && this.#characters <= WINDOW_CHARACTERS * part;
  }
}

/** Lines that failed. A cut fails a whole window at once, for one reason, which is said once. */
class Failures {
  #lines: number[] = [];
  #message = "";
  #scheduled = false;

  add(number: number, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    if (message !== this.#message) this.flush();
    this.#message = message;
    this.#lines.push(number);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  flush(): void {
    if (this.#lines.length === 0) return;
    complain(`line${this.#lines.length === 1 ? "" : "s"} ${ranges(this.#lines)}: ${this.#message}`);
    this.#lines = [];
  }
}

/** `3, 5-9`. */
function ranges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length; i++) {
    const first = numbers[i];
    while (i + 1 < numbers.length && numbers[i + 1] === (numbers[i] ?? 0) + 1) i++;
    parts.push(first === numbers[i] ? `${first}` : `${first}-${numbers[i]}`);
  }
  return parts.join(", ");
}
