/**
 * The conformance suite, and calls over what it holds to its promise, without a test runner, for any runtime: `<runtime> run.js <part>…`, one line of JSON a test.
 *
 * `scripts/runtimes.mjs` compiles it, runs it and reads what it says. It is among the hub's tests because the hub may import
 * all else.
 */
import { conformanceOf } from "@alkdev/pubsub/testing";
import type { Harness } from "@alkdev/pubsub/testing";
import process from "node:process";
import { broadcastChannel } from "../../../pubsub/test/fixtures/harness-broadcast-channel.ts";
import { inProcess } from "../../../pubsub/test/fixtures/harness-in-process.ts";
import { messagePort } from "../../../pubsub/test/fixtures/harness-message-port.ts";
import { webSocket } from "../../../pubsub/test/fixtures/harness-websocket.ts";
import { Opened } from "../../../pubsub/test/fixtures/opened.ts";
import { webWorker, workerThread } from "../../../pubsub/test/fixtures/harness-worker.ts";
import { callsAndStreams } from "../../../operations/test/fixtures/runtime-tests.ts";
import { throughHub } from "../fixtures/harness-hub.ts";

/** Far more than any test takes, in milliseconds: one that is stuck is named before the whole run is ended. */
const LIMIT = 30_000;

const { Bun, Deno } = globalThis as {
  readonly Bun?: { readonly version: string };
  readonly Deno?: { readonly version: { readonly deno: string } };
};

/** What a test works on, and what ends it. */
interface Subject {
  end(): Promise<void> | void;
}

interface Part {
  readonly name: string;
  /** @returns what went wrong */
  run(this: void): Promise<string | undefined>;
}

const harnesses: Record<string, () => Harness> = {
  "in process": inProcess,
  worker: workerThread,
  // Bun's says when it is over; Deno's does not, nor do browsers'.
  "web worker": () => webWorker(...(Bun === undefined ? [] : ["disconnects" as const])),
  MessagePort: messagePort,
  BroadcastChannel: broadcastChannel,
  // The platform's own client where it has one, else that of `ws`.
  WebSocket: () => webSocket(globalThis.WebSocket),
  hub: throughHub,
};

function testsOf(part: string): readonly Part[] {
  const make = harnesses[part];
  if (make !== undefined)
    return conformanceOf(make()).map(({ name, run }) => ({ name, run: () => failure(make(), run) }));
  if (part !== "operations") throw new Error(`there is no part ${part}`);
  return callsAndStreams.map(({ name, run }) => ({ name, run: () => failure(new Opened(), run) }));
}

function say(line: object): Promise<void> {
  return new Promise((resolve) => process.stdout.write(`${JSON.stringify(line)}\n`, () => resolve()));
}

async function within(promise: Promise<unknown>, what: string): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${LIMIT / 1000} s`)), LIMIT);
  });
  try {
    await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a test; returns what went wrong. */
async function failure<S extends Subject>(subject: S, run: (subject: S) => Promise<void>): Promise<string | undefined> {
  const errors: unknown[] = [];
  await within(run(subject), "The test").catch((error: unknown) => errors.push(error));
  await within(Promise.resolve(subject.end()), "Closing what it had opened").catch((error: unknown) =>
    errors.push(error),
  );
  const texts = errors.map((error) => (error instanceof Error && error.stack) || String(error));
  return texts.length === 0 ? undefined : texts.join("\n");
}

if (Bun !== undefined) await say({ runtime: "Bun", version: Bun.version });
else if (Deno !== undefined) await say({ runtime: "Deno", version: Deno.version.deno });
else await say({ runtime: "Node", version: process.versions.node });

for (const part of process.argv.slice(2)) {
  const tests = testsOf(part);
  await say({ part, tests: tests.length });
  for (const { name, run } of tests) await say({ part, name, error: await run() });
}
await say({ done: true });
process.exit();
