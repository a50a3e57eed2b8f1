import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap, PubSub, PubSubError } from "@alkdev/pubsub";
import {
  ChildExitError,
  createParentProcessEventTarget,
  createStdioEventTarget,
} from "@alkdev/pubsub/event-target-stdio";
import type { StdioEventTargetOptions } from "@alkdev/pubsub/event-target-stdio";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { Inbox } from "./fixtures/inbox.ts";
import { Opened } from "./fixtures/opened.ts";
import { endChild, startChild } from "./fixtures/stdio.ts";

const opened = new Opened();
afterEach(() => opened.end());

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

/** Runs a program of Node as a child, with pipes. */
function run(program: string, ...more: string[]): ChildProcess {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program, ...more], {
    stdio: ["pipe", "pipe", "ignore"],
    cwd: fileURLToPath(new URL("..", import.meta.url)),
  });
  opened.add(() => endChild(child));
  return child;
}

/** A child that takes orders over a way of its own. */
function start(options: StdioEventTargetOptions = {}): ReturnType<typeof startChild> & { readonly near: PubSub } {
  const ends = startChild(0, { onError: () => undefined, ...options });
  opened.add(() => ends.end());
  return { ...ends, near: createPubSub({ eventTarget: ends.target, onError: () => undefined }) };
}

/** A target over two streams in the hands of the test, which says what a child would. */
class Pipes {
  readonly input: PassThrough = new PassThrough();
  readonly output: PassThrough = new PassThrough();
  readonly errors: unknown[] = [];
  readonly strays: string[] = [];
  readonly inbox: Inbox = new Inbox();
  readonly target: AlkEventTarget;
  readonly near: PubSub;

  constructor(options: StdioEventTargetOptions = {}) {
    let text = "";
    this.output.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (text + chunk).split("\n");
      text = lines.pop() as string;
      for (const line of lines) this.inbox.push(JSON.parse(line) as EventEnvelope);
    });
    const onError = (error: unknown): void => void this.errors.push(error);
    this.target = createParentProcessEventTarget({
      onStray: (line) => void this.strays.push(line),
      ...options,
      onError,
      stdin: this.input,
      stdout: this.output,
    });
    this.near = createPubSub({ eventTarget: this.target, onError });
    opened.add(() => this.target.close());
  }

  /** Answers the handshake. */
  async greet(nonce: string = "there"): Promise<void> {
    const hello = await this.inbox.receive("$hello");
    this.say(
      welcome((hello.payload as { nonce: string }).nonce),
      frame("$hello", { nonce, versions: [1], limits: { frame: 1024 * 1024 }, batch: true }),
    );
    await this.inbox.receive("$welcome");
  }

  /** Subscribes, and lets the far end agree. */
  async subscribed(
    type: string,
  ): Promise<AsyncIterable<EventEnvelope> & { next(): Promise<IteratorResult<EventEnvelope>> }> {
    const pending = this.near.subscribe(type, undefined, { onGap: (gap) => void this.gaps.push(gap) });
    const asked = await this.inbox.receive("$subscribe");
    this.say(frame("$subscribed", { ref: (asked.payload as { ref: number }).ref }));
    return pending;
  }

  readonly gaps: Gap[] = [];

  say(...frames: readonly unknown[]): void {
    for (const each of frames) this.input.write(`${typeof each === "string" ? each : JSON.stringify(each)}\n`);
  }
}

const frame = (type: string, payload: unknown): EventEnvelope => ({ type, id: "", payload });
const welcome = (nonce: string): EventEnvelope =>
  frame("$welcome", { nonce, version: 1, session: "s", resumed: false, limits: { frame: 1024 * 1024 } });
const event = (payload: unknown): EventEnvelope => frame("test.event", payload);

async function payloads(events: { next(): Promise<IteratorResult<EventEnvelope>> }, count: number): Promise<unknown[]> {
  const all: unknown[] = [];
  while (all.length < count) all.push(((await events.next()).value as EventEnvelope).payload);
  return all;
}

describe("lines", () => {
  test("may be cut into single bytes, in the middle of characters too", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    const texts = ["äöü", "日本語", "👩‍👩‍👧", "\u2028\u0000", "plain"];
    const bytes = Buffer.from(texts.map((text) => `${JSON.stringify(event(text))}\n`).join(""));
    for (const byte of bytes) pipes.input.write(Uint8Array.of(byte));
    expect(await payloads(events, texts.length)).toEqual(texts);
    expect(pipes.errors).toEqual([]);
  });

  test("may end in a carriage return and a newline", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    pipes.input.write(`${JSON.stringify(event(1))}\r\nstray\r\n${JSON.stringify(event(2))}\r\n`);
    expect(await payloads(events, 2)).toEqual([1, 2]);
    expect(pipes.strays).toEqual(["stray"]);
  });

  test("may have white space in them, and their members in any order", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    pipes.say(
      '  { "payload" : 1, "id": "", "type" : "test.event" }',
      '[ {"id": "", "payload": 2, "type": "test.event"} ]',
    );
    expect(await payloads(events, 2)).toEqual([1, 2]);
    expect(pipes.strays).toEqual([]);
  });

  test("count without a newline, where they are the last", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    pipes.input.end(JSON.stringify(event("last words")));
    expect(await payloads(events, 1)).toEqual(["last words"]);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  test("of a stream that decodes itself are read as well", async () => {
    const pipes = new Pipes();
    pipes.input.setEncoding("utf8");
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    for (const byte of Buffer.from(`${JSON.stringify(event("日本語"))}\n`)) pipes.input.write(Uint8Array.of(byte));
    expect(await payloads(events, 1)).toEqual(["日本語"]);
  });
});

describe("what else is printed", () => {
  const PRINTS = [
    "Loading model…",
    "",
    '{"level":"info","msg":"a line of a logger"}',
    '{"type":"log","msg":"no envelope"}',
    "[1,2,3]",
    "[]",
    "{",
    "null",
    '"type"',
    "[warn] { not: json }",
  ];

  test("is passed to onStray line by line, and costs no event", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    for (const [i, print] of PRINTS.entries()) pipes.say(print, event(i));
    expect(await payloads(events, PRINTS.length)).toEqual(PRINTS.map((_, i) => i));
    expect(pipes.strays).toEqual(PRINTS);
    expect(pipes.errors).toEqual([]);
  });

  test("is reported to onError where there is no onStray, however often, and ends nothing", async () => {
    const errors: PubSubError[] = [];
    const [stdin, stdout] = [new PassThrough(), new PassThrough()];
    const target = createParentProcessEventTarget({
      stdin,
      stdout,
      onError: (error) => void errors.push(error as PubSubError),
    });
    opened.add(() => target.close());
    for (let i = 0; i < 100; i++) stdin.write(`print ${i}\n`);
    stdin.write(`${JSON.stringify(frame("$hello", { nonce: "n", versions: [1] }))}\n`);
    while (errors.length < 100) await once(stdin, "data");
    expect(errors[41]?.code).toBe("MALFORMED");
    expect(errors[41]?.message).toContain('"print 41"');
    expect(target.status).not.toBe("closed");
  });

  test("without a newline in front of a frame is a stray of its own, and the frame is read", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    pipes.input.write(`progress: 10%... ${JSON.stringify(event(1))}\n`);
    pipes.input.write(`{"half": ${JSON.stringify([event(2), event(3)])}\n`);
    expect(await payloads(events, 3)).toEqual([1, 2, 3]);
    expect(pipes.strays).toEqual(["progress: 10%...", '{"half": ']);
    expect(pipes.gaps).toEqual([]);
  });

  test("an onStray that throws is reported, and costs no event", async () => {
    const failure = new Error("on purpose");
    const pipes = new Pipes({
      onStray() {
        throw failure;
      },
    });
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    pipes.say("stray", event(1));
    expect(await payloads(events, 1)).toEqual([1]);
    expect(pipes.errors).toEqual([failure]);
  });

  test("of any length is cut, keeps no memory, and costs no event", async () => {
    const pipes = new Pipes({ maxFrame: 4096 });
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    for (let i = 0; i < 1000; i++) pipes.input.write("x".repeat(65_536));
    pipes.input.write("\n");
    pipes.say(event(1));
    expect(await payloads(events, 1)).toEqual([1]);
    expect(pipes.strays).toEqual(["x".repeat(4096)]);
  });

  test("in the middle of a frame is a cut: a gap in its place, and the conversation begins anew", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    const events = await pipes.subscribed("test.event");
    const unanswered = pipes.near.publish("test.other", "", 1);
    pipes.say(frame("$subscribe", { ref: 1, type: "test.other" }));
    await pipes.inbox.receive("$subscribed");
    const lost = pipes.near.publish("test.other", "", 2);
    await pipes.inbox.receive("test.other");
    const refused = expect(lost).rejects.toMatchObject({ code: "INTERRUPTED" });
    await unanswered;
    pipes.say(event("before"));
    const [begin, rest] = [JSON.stringify(event("broken")).slice(0, 20), JSON.stringify(event("broken")).slice(20)];
    pipes.say(`${begin}somebody else prints`, rest);
    // What was on its way already, from before the far end heard of it, must not come before the gap.
    pipes.say(event("on its way"));
    await refused;
    const { payload: hello } = await pipes.inbox.receive("$hello");
    pipes.say(welcome((hello as { nonce: string }).nonce));
    const again = await pipes.inbox.receive("$subscribe");
    pipes.say(frame("$subscribed", { ref: (again.payload as { ref: number }).ref }), event("after"));
    expect(await payloads(events, 2)).toEqual(["before", "after"]);
    expect(pipes.gaps).toMatchObject([{ reason: "reconnect", lost: "unknown" }]);
    expect(pipes.strays).toEqual([rest]);
    expect(pipes.errors).toMatchObject([{ code: "MALFORMED" }]);
  });

  test("between real processes: a child whose frame is broken is subscribed to again, and events go on", async () => {
    const gaps: Gap[] = [];
    const { near, far } = start();
    const events = await near.subscribe("test.event", undefined, { onGap: (gap) => void gaps.push(gap) });
    await far.publish("test.event", "", 1);
    await far.call("print", '{"type":"test.event","id":"","payl oh no\n');
    // Its publish is refused while both sides begin anew.
    for (;;) {
      const error: unknown = await far.publish("test.event", "", 2).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) break;
      expect(error).toMatchObject({ code: "INTERRUPTED" });
    }
    // Live again on this side before the last one is published: none is missed from there on.
    await (await near.subscribe("test.event")).return();
    await far.publish("test.event", "", 3);
    const seen: unknown[] = [];
    while (seen.at(-1) !== 3) seen.push(((await events.next()).value as EventEnvelope).payload);
    expect(seen[0]).toBe(1);
    expect(gaps).toHaveLength(1);
  });

  test("bytes that are no UTF-8 in a frame are a cut, elsewhere a stray", async () => {
    const pipes = new Pipes();
    await pipes.greet();
    await pipes.subscribed("test.event");
    pipes.input.write(Buffer.concat([Buffer.from([0xff, 0xfe, 10]), Buffer.from("fine\n")]));
    pipes.input.write(
      Buffer.concat([
        Buffer.from('{"type":"test.event","id":"","payload":"'),
        Buffer.from([0xff]),
        Buffer.from('"}\n'),
      ]),
    );
    await pipes.greet();
    expect(pipes.strays).toEqual(["\ufffd\ufffd", "fine"]);
    expect(pipes.errors).toMatchObject([{ code: "MALFORMED", message: expect.stringContaining("no UTF-8") as string }]);
  });
});

describe("the end of a child", () => {
  test("that exits is told to every subscription, with the exit code, after what it said last", async () => {
    const { near, far, target } = start();
    const events = await near.subscribe("test.event");
    const others = await near.subscribe("test.*", "some");
    void far.call("publishAndExit", "test.event", "", "last words", 7);
    expect(await payloads(events, 1)).toEqual(["last words"]);
    for (const subscription of [events, others])
      await expect(subscription.next()).rejects.toMatchObject({
        code: "DISCONNECTED",
        message: expect.stringContaining("exited with code 7") as string,
      });
    expect(target.status).toBe("closed");
    await expect(near.publish("test.event", "", 1)).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  test("that crashed or was killed says so in its cause", async () => {
    for (const [end, exitCode, signal] of [
      [(ends: ReturnType<typeof start>) => void ends.far.call("crash"), 1, null],
      [(ends: ReturnType<typeof start>) => void ends.child.kill("SIGKILL"), null, "SIGKILL"],
    ] as const) {
      const ends = start();
      const events = await ends.near.subscribe("test.event");
      end(ends);
      const error = await events.next().then(
        () => undefined,
        (reason: unknown) => reason as PubSubError,
      );
      expect(error?.code).toBe("DISCONNECTED");
      expect(error?.cause).toBeInstanceOf(ChildExitError);
      expect(error?.cause).toMatchObject({ exitCode, signal });
    }
  });

  test("that could not be started is told too, with the system's word", async () => {
    const child = spawn("/no/such/program", { stdio: ["pipe", "pipe", "ignore"] });
    const near = createPubSub({ eventTarget: createStdioEventTarget(child) });
    await expect(near.subscribe("test.event")).rejects.toMatchObject({
      code: "DISCONNECTED",
      message: expect.stringContaining("ENOENT") as string,
    });
  });

  test("that happened before the target was made is told as well", async () => {
    const child = run("process.exit(3)");
    await once(child, "exit");
    const near = createPubSub({ eventTarget: createStdioEventTarget(child) });
    await expect(near.subscribe("test.event")).rejects.toMatchObject({
      code: "DISCONNECTED",
      message: expect.stringContaining("code 3") as string,
    });
  });

  test("comes within a second where a program that it left behind holds its output", async () => {
    const child = run(
      `import { spawn } from "node:child_process";
       import { createParentProcessEventTarget } from "@alkdev/pubsub/event-target-stdio";
       createParentProcessEventTarget();
       const left = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000); process.stdin.on('end', () => process.exit()).resume()"], { stdio: ["pipe", "inherit", "ignore"], detached: true });
       left.unref();
       console.log("left behind " + left.pid);
       process.stdin.on("data", (data) => { if (String(data).includes("test.exit")) process.exit(5); });`,
    );
    let pid = 0;
    const near = createPubSub({
      eventTarget: createStdioEventTarget(child, { onStray: (line) => (pid = Number(/\d+$/.exec(line)?.[0])) }),
    });
    opened.add(() => pid > 0 && process.kill(pid, "SIGKILL"));
    const events = await near.subscribe("test.event");
    while (pid === 0) await once(child.stdout!, "data");
    await near.subscribe("test.exit").catch(() => undefined);
    await expect(events.next()).rejects.toMatchObject({ message: expect.stringContaining("code 5") as string });
  });

  test("a child without pipes is refused with what to do", () => {
    const child = spawn(process.execPath, ["-e", "0"], { stdio: "ignore" });
    expect(() => createStdioEventTarget(child)).toThrow(/stdio: \["pipe", "pipe", "inherit"\]/);
  });
});

describe("closing", () => {
  test("the parent's target lets a child end that listens to nothing else", async () => {
    const { child, near, far, target } = start();
    const events = await near.subscribe("test.event");
    await far.publish("test.event", "", 1);
    await payloads(events, 1);
    child.disconnect();
    const exited = once(child, "exit");
    await target.close();
    expect(await exited).toEqual([0, null]);
  });

  test("the child's target leaves its standard output to the process", async () => {
    const child = run(
      `import { createPubSub } from "@alkdev/pubsub";
       import { createParentProcessEventTarget } from "@alkdev/pubsub/event-target-stdio";
       const eventTarget = createParentProcessEventTarget();
       await createPubSub({ eventTarget }).publish("test.event", "", 1);
       await eventTarget.close();
       console.log("still there");`,
    );
    const closed = once(child, "close");
    const text: string[] = [];
    child.stdout!.setEncoding("utf8").on("data", (chunk: string) => text.push(chunk));
    const near = createPubSub({ eventTarget: createStdioEventTarget(child, { onStray: () => undefined }) });
    await near.subscribe("test.event").catch(() => undefined);
    await closed;
    expect(text.join("")).toContain("still there\n");
    expect(child.exitCode).toBe(0);
  });

  test("a child that prints on after the target was closed is not held up", async () => {
    const child = run(
      `process.stdin.on("end", () => {
         for (let i = 0; i < 1000; i++) console.log("x".repeat(1000));
         process.exit(9);
       }).resume();`,
    );
    const target = createStdioEventTarget(child, { onError: () => undefined });
    const exited = once(child, "exit");
    await target.close();
    expect(await exited).toEqual([9, null]);
  });

  test("the child is told that its parent is gone", async () => {
    const child = run(
      `import { createPubSub } from "@alkdev/pubsub";
       import { createParentProcessEventTarget } from "@alkdev/pubsub/event-target-stdio";
       const pubsub = createPubSub({ eventTarget: createParentProcessEventTarget() });
       const events = await pubsub.subscribe("test.event");
       console.log("subscribed");
       const error = await events.next().catch((reason) => reason);
       process.exit(error.code === "DISCONNECTED" ? 42 : 1);`,
    );
    // Once its own subscription is live, and not only ours.
    await new Promise((onStray) => void createStdioEventTarget(child, { onStray }));
    const exited = once(child, "exit");
    child.stdin!.destroy();
    child.stdout!.destroy();
    expect(await exited).toEqual([42, null]);
  });
});

describe("a pipe", () => {
  test("that nobody reads holds what the limits allow, and then refuses with OVERFLOW", async () => {
    const { near, far, child } = start({ maxBuffered: 1024 * 1024 });
    await far.subscribe("test.event");
    child.kill("SIGSTOP");
    const results: Promise<unknown>[] = [];
    let refused: unknown;
    for (let i = 0; i < 10_000 && refused === undefined; i++) {
      const result = near.publish("test.event", "", "x".repeat(10_000)).catch((error: unknown) => (refused ??= error));
      results.push(result);
      // A burst of one task is gathered before it is counted.
      if (i % 10 === 0) await Promise.race([result, new Promise(setImmediate)]);
    }
    expect(refused).toMatchObject({ code: "OVERFLOW" });
    expect(child.stdin!.writableLength).toBeLessThan(4 * 1024 * 1024);
    child.kill("SIGCONT");
    await Promise.all(results);
  });

  test("in plain mode carries envelopes and nothing else", async () => {
    const child = run(
      `process.stdout.write('{"type":"test.event","id":"a","payload":1}\\n');
       process.stdin.once("data", (data) => process.stdout.write("got " + data));`,
    );
    const stray = new Promise<string>((onStray) => {
      const near = createPubSub({ eventTarget: createStdioEventTarget(child, { plain: true, onStray }) });
      void (async () => {
        const events = await near.subscribe("test.event");
        expect((await events.next()).value).toEqual({ type: "test.event", id: "a", payload: 1 });
        await near.publish("test.other", "b", 2);
      })();
    });
    // What the child answers has the frame in it, so that is read as one; the rest is not.
    expect(await stray).toBe("got");
  });
});

describe("two levels", () => {
  test("joined by a bridge: events of the child, and of what the child relays, each exactly once", async () => {
    const child = spawn(process.execPath, [fixture("stdio-middle.mjs")], { stdio: ["pipe", "pipe", "inherit"] });
    opened.add(() => endChild(child));
    let near = createPubSub();
    const up = new Promise<string>((onStray) => {
      near = createPubSub({ eventTarget: createStdioEventTarget(child, { onStray }) });
    });
    expect(await up).toBe("both levels are up");
    const events = await near.subscribe("level.*");
    const seen = new Map<string, number>();
    await near.publish("go", "", 100);
    while (seen.size < 200) {
      const { value } = await events.next();
      const { type, payload } = value as EventEnvelope;
      const key = `${type} ${payload as number}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
    // What came twice would be in front of these.
    const last = await near.subscribe("last.*");
    await near.publish("end", "", null);
    expect(new Set([(await last.next()).value?.type, (await last.next()).value?.type])).toEqual(
      new Set(["last.leaf", "last.middle"]),
    );
    expect(events.received).toBe(200);
    expect([...seen.values()].every((count) => count === 1)).toBe(true);
    expect([...seen.keys()].filter((key) => key.startsWith("level.leaf"))).toHaveLength(100);
    expect([...seen.keys()].filter((key) => key.startsWith("level.middle"))).toHaveLength(100);
  });
});
