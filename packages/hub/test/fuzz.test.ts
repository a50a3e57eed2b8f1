// A million frames that are nearly right, against the parser, against sessions in memory and against a live hub. They
// follow from a seed that every failure prints: FUZZ_SEED repeats it, FUZZ_TIMES=10 sends ten times as many. A million is for
// `npm run proofs`; every run of the tests sends a fifth.
import { createHub } from "@alkdev/hub";
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import type { EventEnvelope, PubSub } from "@alkdev/pubsub";
import { connectLink, defineEventTarget, parseEnvelope } from "@alkdev/pubsub/transport";
import type { AlkEventTarget, Channel, ChannelReceiver } from "@alkdev/pubsub/transport";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { checkControl, isControl, takeAddress } from "../../pubsub/src/link/frames.ts";
import { PubSubError as SourceError } from "../../pubsub/src/errors.ts";
import { times } from "../../pubsub/test/fixtures/proofs.ts";
import { Frames } from "./fixtures/frames.ts";
import { openClient, openHub, until } from "./fixtures/open.ts";
import type { Client } from "./fixtures/open.ts";

const SEED = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const TIMES = Number(process.env["FUZZ_TIMES"] ?? times(1, 0.2));

/** How many frames go where: a million in all, in full. */
const PARSED = 480_000 * TIMES;
const HUB_SIDE = 300_000 * TIMES;
const CLIENT_SIDE = 200_000 * TIMES;
const LIVE = 20_000 * TIMES;

const LONG = { timeout: 60_000 + 60_000 * TIMES };

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Megabytes that are in use after a collection. */
async function heap(): Promise<number> {
  // What a turn has looked at is kept until it is over.
  for (let i = 0; i < 3; i++) {
    await turn();
    gc();
  }
  return process.memoryUsage().heapUsed / 2 ** 20;
}

/** What happened, with all that it takes to see it again. */
function told(frames: Frames, frame: unknown, error: unknown): Error {
  let shown: string;
  try {
    shown = JSON.stringify(frame).slice(0, 2000);
  } catch {
    shown = String(frame);
  }
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new Error(`FUZZ_SEED=${SEED}, frame ${frames.count}: ${shown}\n${what}`);
}

/** One end of a pipe in memory, in the hands of a test. */
class Pipe implements Channel {
  readonly heartbeat = 0;
  readonly buffered = 0;
  readonly encoding: "json" | "clone";
  closed = false;
  receiver: ChannelReceiver | undefined;
  readonly #sent: (frame: unknown) => void;

  constructor(encoding: "json" | "clone", sent: (frame: unknown) => void = () => undefined) {
    this.encoding = encoding;
    this.#sent = sent;
  }

  open(receiver: ChannelReceiver): void {
    this.receiver = receiver;
  }

  send(frame: unknown): void {
    if (!this.closed) this.#sent(frame);
  }

  close(): void {
    this.closed = true;
  }
}

/** Two ends whose frames arrive in microtasks. */
function pipe(): [Pipe, Pipe] {
  const ends: Pipe[] = [];
  const to = (index: number) => (frame: unknown) =>
    queueMicrotask(() => {
      const end = ends.at(index);
      if (end?.closed === false) end.receiver?.frame(frame);
    });
  ends.push(new Pipe("json", to(1)), new Pipe("json", to(0)));
  return [ends.at(0) as Pipe, ends.at(1) as Pipe];
}

function overPipe(channel: Channel, onError: (error: unknown) => void): { target: AlkEventTarget; pubsub: PubSub } {
  const link = connectLink();
  link.attach(channel);
  const target = defineEventTarget(link, { eager: true, onError });
  return { target, pubsub: createPubSub({ eventTarget: target, onError }) };
}

/** Numbered events both ways between two that behave, and what they met. */
class Bystanders {
  readonly #ends: readonly PubSub[];
  readonly errors: unknown[] = [];
  readonly #seen: [number, number] = [0, 0];
  readonly #published: [number, number] = [0, 0];
  readonly problems: string[] = [];
  readonly latencies: number[] = [];
  #wake: () => void = () => undefined;

  constructor(...ends: readonly PubSub[]) {
    this.#ends = ends;
  }

  async listen(): Promise<void> {
    for (const [i, end] of this.#ends.entries())
      await end.on("safe.tick", `${1 - i}`, (event) => this.#look(i, event), {
        onGap: (gap) => void this.problems.push(`a gap: ${JSON.stringify(gap)}`),
      });
  }

  #look(i: number, { payload }: EventEnvelope): void {
    const { n, at } = payload as { n: number; at: number };
    const expected = this.#seen.at(i) as number;
    if (n !== expected) this.problems.push(`${n} came where ${expected} should have`);
    this.#seen[i as 0 | 1] = n + 1;
    this.latencies.push(performance.now() - at);
    this.#wake();
  }

  get seen(): number {
    return this.#seen[0] + this.#seen[1];
  }

  /** Publishes one from each to the other; resolves when both were acknowledged. */
  async tick(): Promise<void> {
    await Promise.all(
      this.#ends.map((end, i) =>
        end.publish("safe.tick", `${i}`, { n: this.#published[i as 0 | 1]++, at: performance.now() }),
      ),
    );
  }

  /** Resolves when all that was published has come. */
  async done(): Promise<void> {
    while (this.seen < this.#published[0] + this.#published[1])
      await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** @returns the longest that one event took, in milliseconds */
  check(): number {
    expect({ seed: SEED, problems: this.problems.slice(0, 10) }).toEqual({ seed: SEED, problems: [] });
    expect(this.seen).toBe(this.#published[0] + this.#published[1]);
    expect(this.seen).toBeGreaterThan(0);
    return this.latencies.reduce((most, each) => Math.max(most, each), 0);
  }
}

describe("frames that are nearly right", () => {
  test("are read, or are refused as malformed, and nothing else", LONG, async () => {
    const frames = new Frames(SEED);
    const before = await heap();
    const outcomes = { events: 0, control: 0, malformed: 0 };
    const attempt = (frame: unknown, read: () => unknown): boolean => {
      try {
        read();
        return true;
      } catch (error) {
        if (!(error instanceof PubSubError || error instanceof SourceError) || error.code !== "MALFORMED")
          throw told(frames, frame, error);
        outcomes.malformed++;
        return false;
      }
    };
    while (frames.count < PARSED) {
      const frame = frames.count % 4 === 0 ? frames.value() : frames.text();
      let value: unknown = frame;
      if (typeof frame === "string")
        try {
          value = JSON.parse(frame);
        } catch {
          attempt(frame, () => parseEnvelope(frame));
          continue;
        }
      for (const each of Array.isArray(value) ? (value as unknown[]) : [value])
        if (isControl(each)) {
          if (attempt(each, () => checkControl(each))) outcomes.control++;
        } else if (
          attempt(each, () => {
            const { type, id, payload } = parseEnvelope(takeAddress(each).value);
            if (!/^[^$\s:][^\s:]*$/.test(type) || type.includes("*") || Buffer.byteLength(type) > 255)
              throw new Error(`a type that nobody may publish: ${type}`);
            if (typeof id !== "string" || Buffer.byteLength(id) > 1024) throw new Error("an id that nobody may have");
            if (payload === undefined) throw new Error("no payload");
          })
        )
          outcomes.events++;
    }
    // Each kind of outcome is common, so that each was tried.
    for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(PARSED / 50);
    expect(await heap()).toBeLessThan(before + 16);
  });

  test("do nothing to other sessions of a hub, and leave nothing behind", LONG, async () => {
    const frames = new Frames(SEED + 1);
    const hub = createHub({ limits: { resumeWindow: 20, detached: 50 } });
    const goods = [0, 1].map(() => {
      const [near, far] = pipe();
      hub.connect(far);
      return overPipe(near, (error) => bystanders.problems.push(String(error)));
    });
    const bystanders = new Bystanders(...goods.map(({ pubsub }) => pubsub));
    await bystanders.listen();
    const before = await heap();
    let sessions = 0;
    const open = (): Pipe => {
      const channel: Pipe = new Pipe(++sessions % 3 === 0 ? "clone" : "json", (frame) => {
        frames.learn(typeof frame === "string" ? JSON.parse(frame) : frame);
      });
      hub.connect(channel);
      return channel;
    };
    // Several at a time, so that they can take over each other's sessions and get each other's events.
    const channels = Array.from({ length: 4 }, open);
    while (frames.count < HUB_SIDE) {
      for (const [i, channel] of channels.entries()) {
        const frame = channel.encoding === "json" ? frames.text() : frames.value();
        try {
          channel.receiver?.frame(frame);
        } catch (error) {
          throw told(frames, frame, error);
        }
        // Closed by the hub, or by the far end, which may come back to its session.
        if (channel.closed) channels[i] = open();
        else if (frames.count % 997 === 0) {
          channel.receiver?.closed(new Error("cut"));
          channels[i] = open();
        }
      }
      if (frames.count % 100 === 0) await bystanders.tick();
    }
    expect(sessions).toBeGreaterThan(HUB_SIDE / 1000);
    expect(hub.status().malformed).toBeGreaterThan(HUB_SIDE / 20);
    for (const { receiver } of channels) receiver?.closed(new Error("the end"));
    await bystanders.done();
    bystanders.check();
    await until(() => hub.status().links.length === 2);
    expect(hub.status()).toMatchObject({ subscriptions: 2, filters: 2 });
    for (const { target } of goods) await target.close();
    await until(() => hub.status().links.length === 0);
    expect(hub.status()).toMatchObject({ subscriptions: 0, filters: 0 });
    bystanders.latencies.length = 0;
    expect(await heap()).toBeLessThan(before + 16);
    await hub.close();
  });

  test(
    "leave a client whole: what it waits for settles, its errors are its own, its subscriptions end",
    LONG,
    async () => {
      const frames = new Frames(SEED + 2);
      const before = await heap();
      let clients = 0;
      let delivered = 0;
      while (frames.count < CLIENT_SIDE) {
        const encoding = ++clients % 3 === 0 ? "clone" : "json";
        const channel: Pipe = new Pipe(encoding, (frame) => {
          frames.learn(typeof frame === "string" ? JSON.parse(frame) : frame);
        });
        const errors: unknown[] = [];
        const { target, pubsub } = overPipe(channel, (error) => errors.push(error));
        const settled: Promise<unknown>[] = [];
        const keep = (promise: Promise<unknown>): void =>
          void settled.push(promise.catch((error: unknown) => errors.push(error)));
        keep(pubsub.on("fuzz.**", () => void delivered++, { onGap: "ignore" }));
        keep(pubsub.on("fuzz.a", "x", () => void delivered++, { onGap: "ignore" }));
        keep(pubsub.publish("fuzz.a", "", 1));
        for (let i = 0; i < 400 && !channel.closed; i++) {
          const frame = encoding === "json" ? frames.text() : frames.value();
          try {
            channel.receiver?.frame(frame);
          } catch (error) {
            throw told(frames, frame, error);
          }
          if (i % 20 > 0) continue;
          keep(pubsub.publish("fuzz.c", "", i));
          await turn();
        }
        channel.receiver?.closed(new Error("the end"));
        await target.close();
        await Promise.all(settled);
        expect(target.status).toBe("closed");
        for (const error of errors) if (!(error instanceof PubSubError)) throw told(frames, undefined, error);
      }
      expect(clients).toBeGreaterThan(CLIENT_SIDE / 1000);
      expect(delivered).toBeGreaterThan(CLIENT_SIDE / 100);
      expect(await heap()).toBeLessThan(before + 16);
    },
  );

  test("disturb nobody who uses the same hub, however often they come back", LONG, async () => {
    const frames = new Frames(SEED + 3);
    const server = await openHub({ limits: { resumeWindow: 20 } });
    const goods: Client[] = [openClient(server.url), openClient(server.url)];
    const bystanders = new Bystanders(...goods);
    await bystanders.listen();
    await bystanders.tick();
    const before = await heap();
    let going = true;
    let answers = 0;
    const ticking = (async () => {
      for (let ticks = 1; going; ticks++) {
        await bystanders.tick();
        await turn();
        if (ticks % 10 > 0) continue;
        const response = await fetch(`http://127.0.0.1:${server.port}/status`);
        expect(response.status).toBe(200);
        const { links } = (await response.json()) as { links: unknown[] };
        expect(links.length).toBeGreaterThanOrEqual(2);
        answers++;
      }
    })();
    let connections = 0;
    const open = new Set<WebSocket>();
    onTestFinished(() => {
      for (const socket of open) socket.terminate();
    });
    /** One after the other, each until the hub has had enough of it. */
    const attack = async (): Promise<void> => {
      while (frames.count < LIVE) {
        connections++;
        const socket = new WebSocket(server.url, { maxPayload: 1 << 28 });
        open.add(socket);
        let pong: () => void = () => undefined;
        // Broken off by a hub that had enough.
        socket.on("error", () => undefined);
        const closed = new Promise<void>((resolve) => socket.once("close", () => (pong(), resolve())));
        socket.on("message", (data: Buffer) => {
          const text = data.toString();
          if (text.includes('"$pong"')) pong();
          if (text.includes('"$hello"') || text.includes('"$welcome"')) frames.learn(JSON.parse(text));
        });
        await new Promise<void>((resolve) => {
          socket.once("open", resolve);
          void closed.then(resolve);
        });
        while (socket.readyState === WebSocket.OPEN && frames.count < LIVE) {
          for (let i = 0; i < 10; i++) {
            const text = frames.text();
            if (frames.count % 5000 === 0)
              socket.send(`"${"x".repeat(frames.count % 10_000 === 0 ? 5 << 20 : 2 << 20)}"`);
            socket.send(frames.count % 7 === 0 ? Buffer.from(text, frames.count % 2 === 0 ? "latin1" : "utf8") : text);
          }
          const answered = new Promise<void>((resolve) => (pong = resolve));
          socket.send('{"type":"$ping","id":"","payload":null}');
          if (socket.readyState === WebSocket.OPEN) await answered;
          // Some go without a word.
          if (frames.count % 130 === 0) socket.terminate();
        }
        socket.close();
        await closed;
        open.delete(socket);
      }
    };
    try {
      await Promise.all(Array.from({ length: 6 }, attack));
    } finally {
      going = false;
      await ticking;
    }
    await bystanders.done();
    const longest = bystanders.check();
    expect(longest).toBeLessThan(5000);
    expect(answers).toBeGreaterThan(5);
    expect(connections).toBeGreaterThan(LIVE / 1000);
    expect(
      goods.flatMap(({ errors, statuses }) => [...errors, ...statuses.filter((status) => status !== "ready")]),
    ).toEqual([]);
    await until(() => server.hub.status().links.length === 2);
    expect(server.hub.status()).toMatchObject({ subscriptions: 2, filters: 2, slow: 0 });
    bystanders.latencies.length = 0;
    const after = await heap();
    expect(after).toBeLessThan(before + 16);
    for (const { target } of goods) await target.close();
    await until(() => server.hub.status().links.length === 0);
    expect(server.hub.status()).toMatchObject({ subscriptions: 0, filters: 0 });
    const { malformed } = server.hub.status();
    if (TIMES > 1) console.log({ connections, answers, events: bystanders.seen, longest, malformed, before, after });
  });
});
