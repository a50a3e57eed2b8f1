// The Python example against peers that speak by hand: what the conformance suite does not do to a far end.
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { createStdioEventTarget } from "@alkdev/pubsub/event-target-stdio";
import type { StdioEventTargetOptions } from "@alkdev/pubsub/event-target-stdio";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { describe, expect, onTestFinished, test } from "vitest";
import { Inbox } from "./fixtures/inbox.ts";
import { startPython } from "./fixtures/python.ts";

const control = (type: string, payload: unknown): EventEnvelope => ({ type, id: "", payload });
const event = (payload: unknown, more: object = {}): object => ({ type: "test.a", id: "", payload, ...more });

/** A Python child whose parent is the test. */
function byHand(options: object = {}) {
  const { child, far, end } = startPython("stdio", options);
  onTestFinished(end);
  const inbox = new Inbox();
  const lines: string[] = [];
  createInterface({ input: child.stdout! }).on("line", (line) => {
    lines.push(line);
    inbox.push(JSON.parse(line) as EventEnvelope | EventEnvelope[]);
  });
  const write = (text: string): void => void child.stdin?.write(text);
  const peer = {
    child,
    far,
    lines,
    write,
    send: (...frames: readonly unknown[]) => write(frames.map((frame) => `${JSON.stringify(frame)}\n`).join("")),
    receive: (type: string) => inbox.receive(type),
    /** Welcomes the next hello. @returns its nonce */
    async welcome(): Promise<string> {
      const { nonce } = (await peer.receive("$hello")).payload as { nonce: string };
      peer.send(control("$welcome", { nonce, version: 1, session: "s", resumed: false }));
      return nonce;
    },
    async greet(nonce = "n1", hello: object = {}): Promise<void> {
      peer.send(control("$hello", { nonce, versions: [1], limits: { frame: 2000 }, batch: true, ...hello }));
      await peer.welcome();
      await far.call("ready");
    },
    async admit(): Promise<number> {
      const { ref } = (await peer.receive("$subscribe")).payload as { ref: number };
      peer.send(control("$subscribed", { ref }));
      return ref;
    },
    /** A live subscription of the child's. */
    async subscribed() {
      const subscribing = far.subscribe("test.a", "");
      const ref = await peer.admit();
      return { ref, events: await subscribing };
    },
    /** Subscribes at the child. */
    async subscribe(ref: number, filter: object): Promise<void> {
      peer.send(control("$subscribe", { ref, ...filter }));
      await peer.receive("$subscribed");
    },
  };
  return peer;
}

type Events = Awaited<ReturnType<ReturnType<typeof byHand>["subscribed"]>>["events"];

async function payloads(events: Events, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  while (taken.length < count) taken.push((await events.next()).value?.payload);
  return taken;
}

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "done",
    (error: { code?: string }) => error.code,
  );

describe("Python's end", () => {
  test("answers every hello with its nonce, and a repeated one changes nothing", async () => {
    const peer = byHand();
    await peer.greet();
    await peer.receive("$welcome");
    await peer.subscribe(1, { type: "test.b" });
    peer.send(control("$hello", { nonce: "n1", versions: [1, 7], batch: true }));
    expect((await peer.receive("$welcome")).payload).toMatchObject({ nonce: "n1", version: 1, resumed: false });
    // The subscription is still there.
    void peer.far.publish("test.b", "", 1);
    await peer.receive("test.b");
  });

  test("leaves a peer that speaks another version alone", async () => {
    const peer = byHand();
    peer.send(control("$hello", { nonce: "n", versions: [2] }));
    expect((await peer.receive("$bye")).payload).toMatchObject({ code: "VERSION" });
    expect(await code(peer.far.publish("test.a", "", 1))).toBe("VERSION");
  });

  test("takes another nonce for a restart: publishes are interrupted, subscriptions renewed with a gap, counts at zero", async () => {
    const peer = byHand();
    await peer.greet();
    const { events } = await peer.subscribed();
    await peer.subscribe(1, { type: "test.b" });
    peer.send(event(1), event(2));
    expect(await payloads(events, 2)).toEqual([1, 2]);
    const publishing = code(peer.far.publish("test.b", "", 1));
    await peer.receive("test.b");
    peer.send(control("$hello", { nonce: "n2", versions: [1] }));
    expect(await publishing).toBe("INTERRUPTED");
    await peer.welcome();
    await peer.admit();
    peer.send(event(3));
    expect(await payloads(events, 1)).toEqual([3]);
    expect(await peer.far.call("gaps", 0)).toEqual(["reconnect"]);
    // What came for the restarted peer is the first, and nothing is sent that it did not ask for.
    while (((await peer.receive("$ack")).payload as { received: number }).received !== 1);
    expect(await code(peer.far.publish("test.b", "", 2))).toBe("done");
    peer.send(control("$ping", null));
    await peer.receive("$pong");
    expect(peer.lines.filter((line) => line.includes('"test.b"'))).toHaveLength(1);
    // The restarted one did not say that it takes arrays.
    const restartedAt = peer.lines.findIndex((line) => line.includes('"n2"'));
    expect(peer.lines.slice(restartedAt).filter((line) => line.startsWith("["))).toEqual([]);
  });

  test("counts what nobody wants, and what is addressed, and gives that to its subscription alone", async () => {
    const peer = byHand();
    await peer.greet();
    const { events, ref } = await peer.subscribed();
    const other = peer.far.subscribe("test.*");
    await peer.admit();
    const others = await other;
    peer.send(
      { ...event("to"), $to: ref },
      event("nobody", { type: "x" }),
      { ...event("gone"), $to: 99 },
      event("all"),
    );
    expect(await payloads(events, 2)).toEqual(["to", "all"]);
    const { value } = await others.next();
    expect(value).toEqual(event("all"));
    while (((await peer.receive("$ack")).payload as { received: number }).received !== 4);
  });

  test("keeps members that nobody knows", async () => {
    const peer = byHand();
    await peer.greet();
    const { events } = await peer.subscribed();
    const odd = event({ "": [1.5, -0.1, 1e300, "\ud800", "\u2028"] }, { later: [1], meta: { traceparent: "00" } });
    peer.send(odd);
    expect((await events.next()).value).toEqual(odd);
  });

  test("refuses what cannot be subscribed to, groups, and a reference that is in use", async () => {
    const peer = byHand();
    await peer.greet();
    await peer.subscribe(1, { type: "test.b" });
    for (const [payload, wanted] of [
      [{ ref: 2, type: "a.b*" }, "INVALID_TOPIC"],
      [{ ref: 2, type: "$hello" }, "INVALID_TOPIC"],
      [{ ref: 2, type: "a", id: "x".repeat(1025) }, "INVALID_TOPIC"],
      [{ ref: 2, type: "a", group: "g" }, "UNSUPPORTED"],
      [{ ref: 1, type: "a" }, "REFUSED"],
    ] as const) {
      peer.send(control("$subscribe", payload));
      expect((await peer.receive("$refused")).payload).toMatchObject({ ref: payload.ref, code: wanted });
    }
  });

  test("passes the word of a refusal on: of a subscription, of a live one, of an event", async () => {
    const peer = byHand();
    await peer.greet();
    const refused = code(peer.far.subscribe("test.c"));
    const { ref } = (await peer.receive("$subscribe")).payload as { ref: number };
    peer.send(control("$refused", { ref, code: "LIMIT", message: "Too many." }));
    expect(await refused).toBe("LIMIT");
    const live = await peer.subscribed();
    peer.send([event(1), control("$refused", { ref: live.ref, code: "REFUSED" })]);
    expect(await payloads(live.events, 1)).toEqual([1]);
    expect(await code(live.events.next())).toBe("REFUSED");
    await peer.subscribe(1, { type: "test.b" });
    const outcomes = [1, 2, 3].map((payload) => code(peer.far.publish("test.b", "", payload)));
    while ((await peer.receive("test.b")).payload !== 3);
    peer.send([control("$refused", { at: 2, code: "REFUSED", message: "No." }), control("$ack", { received: 3 })]);
    expect(await Promise.all(outcomes)).toEqual(["done", "REFUSED", "done"]);
  });

  test("puts a gap in its place, for its subscription or for all", async () => {
    const peer = byHand();
    await peer.greet();
    const { events, ref } = await peer.subscribed();
    peer.send([
      event(1),
      control("$gap", { ref, reason: "overflow", lost: 3 }),
      event(2),
      control("$gap", { reason: "trimmed", lost: "unknown", since: 1, until: 2 }),
      event(3),
      control("$gap", { ref: 99, reason: "overflow", lost: 3 }),
    ]);
    expect(await payloads(events, 1)).toEqual([1]);
    expect(await peer.far.call("gaps", 0)).toEqual([]);
    expect(await payloads(events, 2)).toEqual([2, 3]);
    expect(await peer.far.call("gaps", 0)).toEqual(["overflow", "trimmed"]);
  });

  test("keeps to the limit of the other side, one frame at a time where that takes no arrays", async () => {
    const peer = byHand();
    await peer.greet("n1", { batch: false });
    await peer.subscribe(1, { type: "test.b" });
    const outcomes = ["x".repeat(1900), "ü".repeat(1000), "x".repeat(3000), "small"].map((payload) =>
      code(peer.far.publish("test.b", "", payload)),
    );
    expect((await peer.receive("test.b")).payload).toBe("x".repeat(1900));
    expect((await peer.receive("test.b")).payload).toBe("small");
    peer.send(control("$ack", { received: 2 }));
    expect(await Promise.all(outcomes)).toEqual(["done", "PAYLOAD", "PAYLOAD", "done"]);
    expect(peer.lines.every((line) => line.startsWith("{") && line.length <= 2000)).toBe(true);
  });

  test("gathers what it sends in one turn into arrays that fit", async () => {
    const peer = byHand();
    await peer.greet();
    await peer.subscribe(1, { type: "test.b" });
    const publishing = Array.from({ length: 100 }, (_, i) => peer.far.publish("test.b", "", i));
    for (let i = 0; i < 100; i++) expect((await peer.receive("test.b")).payload).toBe(i);
    peer.send(control("$ack", { received: 100 }));
    await Promise.all(publishing);
    expect(peer.lines.some((line) => line.startsWith("["))).toBe(true);
    expect(Math.max(...peer.lines.map((line) => line.length))).toBeLessThanOrEqual(2000);
  });

  test("survives garbage, counts none of it, and gives up where there is nothing else", async () => {
    const peer = byHand();
    await peer.greet();
    const { events } = await peer.subscribed();
    // Stray prints, an unknown control frame, and what is malformed.
    peer.write('hello\n\n7\n[]\nnull\n{"a":1}\r\n');
    peer.send(control("$later", { any: 1 }), control("$ack", { received: 9 }), control("$subscribe", { ref: "1" }));
    peer.send(event(1, { type: "a b" }), [event(2), { no: "envelope" }, event(3)]);
    expect(await payloads(events, 2)).toEqual([2, 3]);
    while (((await peer.receive("$ack")).payload as { received: number }).received !== 2);
    for (let i = 0; i < 17; i++) peer.send(control("$ack", {}));
    expect((await peer.receive("$bye")).payload).toMatchObject({ code: "MALFORMED" });
    expect(await code(events.next())).toBe("DISCONNECTED");
  });

  test("begins anew after a line that was broken: another nonce, deaf until it is welcomed, and a gap", async () => {
    const peer = byHand();
    peer.send(control("$hello", { nonce: "n1", versions: [1] }));
    const before = await peer.welcome();
    const { events } = await peer.subscribed();
    peer.send(event(1));
    expect(await payloads(events, 1)).toEqual([1]);
    peer.write('{"type":"test.a","id":"","payl{"type":"test.a","id":"","payload":2}\n');
    peer.send(event("not heard"), control("$ping", null));
    const after = await peer.welcome();
    expect(after).not.toBe(before);
    await peer.admit();
    peer.send(event(3));
    expect(await payloads(events, 1)).toEqual([3]);
    expect(await peer.far.call("gaps", 0)).toEqual(["reconnect"]);
    expect(peer.lines.filter((line) => line.includes("$pong"))).toEqual([]);
  });

  test("reads characters that fall apart between chunks, lines that end in \\r\\n, and a last one without an end", async () => {
    const peer = byHand();
    await peer.greet();
    const { events } = await peer.subscribed();
    const text = Buffer.from(
      `${JSON.stringify(event("ü😀"))}\r\nprinted without an end${JSON.stringify(event(2))}\n${JSON.stringify(event(3))}`,
    );
    for (const byte of text) {
      peer.child.stdin?.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    peer.child.stdin?.end();
    expect(await payloads(events, 3)).toEqual(["ü😀", 2, 3]);
    expect(await code(events.next())).toBe("DISCONNECTED");
  });

  test("asks in silence, and gives up when there is no answer", async () => {
    const peer = byHand({ heartbeat: 0.5 });
    await peer.greet();
    const { events } = await peer.subscribed();
    await peer.receive("$ping");
    peer.send(control("$pong", null));
    await peer.receive("$ping");
    expect((await peer.receive("$bye")).payload).toMatchObject({ code: "SILENT" });
    expect(await code(events.next())).toBe("DISCONNECTED");
  });

  test("fails a publish that is not acknowledged with TIMEOUT, and one over the bound with OVERFLOW", async () => {
    const peer = byHand({ ack_timeout: 1, max_unacknowledged: 2 });
    await peer.greet();
    await peer.subscribe(1, { type: "test.b" });
    const outcomes = [1, 2, 3].map((payload) => code(peer.far.publish("test.b", "", payload)));
    expect(await Promise.all(outcomes)).toEqual(["TIMEOUT", "TIMEOUT", "OVERFLOW"]);
    // They count all the same.
    peer.send(control("$ack", { received: 2 }), control("$ping", null));
    await peer.receive("$pong");
    const next = code(peer.far.publish("test.b", "", 4));
    while ((await peer.receive("test.b")).payload !== 4);
    peer.send(control("$ack", { received: 3 }));
    expect(await next).toBe("done");
  });

  test("ends a subscription that is not read with OVERFLOW, after what is buffered", async () => {
    const peer = byHand();
    await peer.greet();
    const subscribing = peer.far.call("subscribe", "test.a", "", 3);
    const ref = await peer.admit();
    const number = await subscribing;
    peer.send([1, 2, 3, 4, 5].map((payload) => event(payload)));
    expect((await peer.receive("$unsubscribe")).payload).toEqual({ ref });
    const next = (): Promise<unknown> => peer.far.call("next", number);
    for (const payload of [1, 2, 3]) expect(await next()).toMatchObject({ value: { payload } });
    expect(await code(next())).toBe("OVERFLOW");
    expect(await next()).toEqual({ done: true });
  });

  test("says goodbye when it closes", async () => {
    const peer = byHand();
    await peer.greet();
    const { events } = await peer.subscribed();
    const closing = peer.far.call("close");
    expect((await peer.receive("$bye")).payload).toMatchObject({ code: "CLOSED" });
    await closing;
    expect((await events.next()).done).toBe(true);
    expect(await code(peer.far.publish("test.a", "", 1))).toBe("CLOSED");
  });
});

describe("a Python child of a parent here", () => {
  function parentOf(options: StdioEventTargetOptions = {}) {
    const { child, far, end } = startPython("stdio");
    onTestFinished(end);
    const target = createStdioEventTarget(child, { onError: () => undefined, ...options });
    onTestFinished(() => target.close());
    return { child, far, target, near: createPubSub({ eventTarget: target }) };
  }

  test("may print: what it prints is a stray line, and no event is lost for it", async () => {
    const stray: string[] = [];
    const { near, far } = parentOf({ onStray: (line) => stray.push(line) });
    const events = await near.subscribe("test.a");
    for (let i = 0; i < 5; i++) {
      await far.call("say", 1, `print ${i}\n`);
      await far.publish("test.a", "", i);
    }
    for (let i = 0; i < 5; i++) expect((await events.next()).value?.payload).toBe(i);
    expect(stray).toEqual([0, 1, 2, 3, 4].map((i) => `print ${i}`));
  });

  test("that breaks its own line is a gap here, and everything works after it", async () => {
    const { near, far } = parentOf();
    const gaps: Gap[] = [];
    const events = await near.subscribe("test.a", { onGap: (gap) => gaps.push(gap) });
    const there = await far.subscribe("test.b");
    await far.call("say", 1, '{"type":"test.a","id":"","pay\n');
    const interrupted = new Promise<void>((resolve) => {
      const stop = near.onStatus((status) => {
        if (status !== "ready") return;
        stop();
        resolve();
      });
    });
    await interrupted;
    await far.call("ready");
    await far.publish("test.a", "", "after");
    expect((await events.next()).value?.payload).toBe("after");
    expect(gaps).toMatchObject([{ reason: "reconnect" }]);
    await near.publish("test.b", "", 1);
    expect((await there.next()).value?.payload).toBe(1);
    expect(await far.call("gaps", 0)).toEqual(["reconnect"]);
  });

  test("that crashes ends the target with its exit code", async () => {
    const { near, far, target } = parentOf();
    const events = await near.subscribe("test.a");
    await far.publish("test.a", "", 1);
    void far.call("crash");
    expect((await events.next()).value?.payload).toBe(1);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED", cause: { exitCode: 7 } });
    await target.closed;
  });

  test("ends by itself when the parent closes", async () => {
    const { near, far, target, child } = parentOf();
    const events = await far.subscribe("test.a");
    await near.publish("test.a", "", 1);
    const exited = once(child, "close");
    await target.close();
    expect((await events.next()).value?.payload).toBe(1);
    expect(await code(events.next())).toBe("DISCONNECTED");
    await far.call("exit");
    expect(await exited).toEqual([0, null]);
  });
});
