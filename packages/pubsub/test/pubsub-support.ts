// What the tests of the PubSub share: a transport under the test's control, uncaught errors, and processes of their own.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { EventEnvelope, Filter, Supports } from "@alkdev/pubsub";
import type { Receiver, Transport } from "../src/transport.ts";

/** A promise and what settles it. */
export interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function deferred(): Deferred {
  let resolve!: () => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** Everything that microtasks, timers of 0 ms and immediates can do about what has happened has been done. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

/** A transport that answers when the test says so. Nothing that is set answers at once. */
export class HandTransport implements Transport {
  readonly supports: Supports;
  receiver!: Receiver;
  opening: Deferred | undefined;
  subscribing: Deferred | undefined;
  publishing: Deferred | undefined;
  readonly subscribed: Filter[] = [];
  readonly unsubscribed: Filter[] = [];
  readonly published: EventEnvelope[] = [];
  closed = 0;

  constructor(supports: Partial<Supports> = {}) {
    this.supports = {
      publishAck: "hop",
      delivery: "at-most-once",
      lossDetection: "full",
      subscribeAck: true,
      overlap: "once",
      patterns: "native",
      echo: false,
      groups: false,
      replay: false,
      maxPayload: undefined,
      ...supports,
    };
  }

  open(receiver: Receiver): Promise<void> | void {
    this.receiver = receiver;
    return this.opening?.promise;
  }

  subscribe(filter: Filter): Promise<void> | void {
    this.subscribed.push(filter);
    return this.subscribing?.promise;
  }

  unsubscribe(filter: Filter): void {
    this.unsubscribed.push(filter);
  }

  publish(envelope: EventEnvelope): Promise<void> | void {
    this.published.push(envelope);
    return this.publishing?.promise;
  }

  close(): void {
    this.closed++;
  }
}

type UncaughtListener = (error: unknown) => void;

const host: NodeJS.EventEmitter = process;

/** Runs something, and returns the errors that nobody caught meanwhile. */
export async function uncaughtDuring(act: () => unknown): Promise<unknown[]> {
  const seen: unknown[] = [];
  const collect: UncaughtListener = (error) => seen.push(error);
  const before = ["uncaughtException", "unhandledRejection"].map((event) => {
    const listeners = host.listeners(event) as UncaughtListener[];
    host.removeAllListeners(event);
    host.on(event, collect);
    return { event, listeners };
  });
  try {
    await act();
    await settled();
  } finally {
    for (const { event, listeners } of before) {
      host.removeAllListeners(event);
      for (const listener of listeners) host.on(event, listener);
    }
  }
  return seen;
}

/** Runs a script in a process of its own, where the package goes by its name; gives what it printed, as JSON. */
export function inOwnProcess(script: string, heapMegabytes: number): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      ["--expose-gc", `--max-old-space-size=${heapMegabytes}`, "--input-type=module", "--eval", script],
      { cwd: fileURLToPath(new URL("..", import.meta.url)), timeout: 25_000 },
      (error, stdout, stderr) => {
        if (error !== null) reject(new Error(`The process failed: ${stderr || error.message}`));
        else resolve({ ...(JSON.parse(stdout) as Record<string, unknown>), stderr });
      },
    );
  });
}
