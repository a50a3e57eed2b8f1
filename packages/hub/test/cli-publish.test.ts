import { describe, expect, test } from "vitest";
import { linesOf } from "../src/cli/lines.ts";
import { envelope, listen } from "./fixtures/peer.ts";
import { BIN, hubHere, pubsub, start } from "./cli-support.ts";

describe("pubsub publish, one event", () => {
  test.each([
    [['{"note":"hi"}'], { note: "hi" }],
    [['"only text"'], "only text"],
    [["null"], null],
    [[" 1e3 "], 1000],
  ])("%j is published as JSON", async (args, payload) => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("demo.note");
    const run = pubsub(["publish", "demo.note", "me", ...args, "--url", url]);
    expect(await run.ended).toBe(0);
    expect(run.stdout).toBe("");
    expect(run.stderr).toBe("published 1 event to demo.note:me\n");
    expect((await subscription.next()).value).toMatchObject({ type: "demo.note", id: "me", payload });
  });

  test("without a payload null is published, stdin is not read, and both are said", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("session.closed");
    const run = pubsub(["publish", "session.closed", "proj_123", "--url", url]);
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe(
      "published 1 event to session.closed:proj_123 (null, as no payload was given; - reads payloads from stdin)\n",
    );
    expect((await subscription.next()).value?.payload).toBe(null);
  });

  test("the id may be empty, and after -- begin with a dash, as may the payload", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("a");
    expect(await pubsub(["publish", "a", "", "1", "--url", url]).ended).toBe(0);
    expect(await pubsub(["publish", "--url", url, "--", "a", "-x", "-5"]).ended).toBe(0);
    expect((await subscription.next()).value).toMatchObject({ id: "", payload: 1 });
    expect((await subscription.next()).value).toMatchObject({ id: "-x", payload: -5 });
  });

  test("a payload that is too large is said in one line, and the exit code is 1", async () => {
    const { url } = await hubHere();
    const run = pubsub(["publish", "a", "b", "-", "--url", url], { input: JSON.stringify("x".repeat(1024 * 1024)) });
    expect(await run.ended).toBe(1);
    expect(run.stderr).toMatch(
      /^pubsub: line 1: The event has \d+ bytes, the far end takes 1048576;.*\npublished 0 events/,
    );
  });
});

describe("pubsub publish -, one event a line", () => {
  test("all lines arrive in order before it ends: 100,000 of them", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("demo.note", "me", { buffer: { limit: 200_000 } });
    const count = 100_000;
    const input = Array.from({ length: count }, (_, i) => `{"n":${i}}\n`).join("");
    const run = pubsub(["publish", "demo.note", "me", "-", "--url", url], { input });
    expect(await run.ended).toBe(0);
    expect(run.stderr.endsWith("published 100,000 events to demo.note:me\n")).toBe(true);
    expect(subscription.received).toBe(count);
    const numbers: number[] = [];
    for await (const batch of subscription.batches()) {
      numbers.push(...batch.map(({ payload }) => (payload as { n: number }).n));
      if (numbers.length === count) break;
    }
    expect(numbers.findIndex((number, i) => number !== i)).toBe(-1);
  });

  test("100,000 events reach a tail in another process, in order", async () => {
    const { url } = await hubHere();
    const tail = pubsub(["tail", "demo.note", "--json", "--count", "100000", "--url", url]);
    await tail.said("stderr", /^live/);
    const input = Array.from({ length: 100_000 }, (_, i) => `${i}\n`).join("");
    const run = pubsub(["publish", "demo.note", "me", "-", "--url", url], { input });
    expect(await run.ended).toBe(0);
    expect(await tail.ended).toBe(0);
    const numbers = tail.lines.map((line) => (JSON.parse(line) as { payload: number }).payload);
    expect(numbers.findIndex((number, i) => number !== i)).toBe(-1);
    expect(numbers).toHaveLength(100_000);
  });

  test("an event is sent when its line is complete, not when stdin ends", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("a");
    const run = pubsub(["publish", "a", "x", "-", "--url", url]);
    run.child.stdin.write("1\n2");
    expect((await subscription.next()).value?.payload).toBe(1);
    run.child.stdin.write("3\n");
    expect((await subscription.next()).value?.payload).toBe(23);
    run.child.stdin.end();
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe("published 2 events to a:x\n");
  });

  test("empty lines are skipped, CRLF, a byte order mark and a last line without an end are taken", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("a");
    const run = pubsub(["publish", "a", "x", "-", "--url", url], { input: '\uFEFF1\r\n\r\n   \n"\u2028"\n\n{}' });
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe("published 3 events to a:x\n");
    expect(subscription.received).toBe(3);
    for (const payload of [1, "\u2028", {}]) expect((await subscription.next()).value?.payload).toEqual(payload);
  });

  test("no lines at all are no events, and no error", async () => {
    const { url } = await hubHere();
    const run = pubsub(["publish", "a", "x", "-", "--url", url], { input: "" });
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe("published 0 events to a:x\n");
  });

  test("bad lines are reported with their numbers, the others are published, and the exit code is 1", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("a");
    const run = pubsub(["publish", "a", "x", "-", "--url", url], { input: "1\n\nhi there\n2\n{\n3\n" });
    expect(await run.ended).toBe(1);
    const [first, second, third, ...more] = run.stderr.split("\n");
    expect(first).toMatch(/^pubsub: line 3 is not JSON: /);
    expect(second).toMatch(/^pubsub: line 5 is not JSON: .*; a payload stands on one line \(jq -c puts it there\)$/);
    expect(third).toBe("published 3 events to a:x; 2 failed, see above");
    expect(more).toEqual([""]);
    expect(run.stdout).toBe("");
    for (const payload of [1, 2, 3]) expect((await subscription.next()).value?.payload).toBe(payload);
  });

  test("an event that the hub does not take fails alone", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("a");
    const input = `1\n${JSON.stringify("x".repeat(1024 * 1024))}\n2\n`;
    const run = pubsub(["publish", "a", "x", "-", "--url", url], { input });
    expect(await run.ended).toBe(1);
    expect(run.stderr).toMatch(/^pubsub: line 2: The event has/);
    expect(run.stderr).toContain("published 2 events to a:x; 1 failed, see above\n");
    expect(subscription.received).toBe(2);
  });

  test("the input waits while the hub is away, and goes on when it is back", async () => {
    const first = await hubHere();
    const before = await first.events.subscribe("a");
    const run = pubsub(["publish", "a", "x", "-", "--url", first.url]);
    run.child.stdin.write("1\n");
    expect((await before.next()).value?.payload).toBe(1);
    await first.server.close();
    await run.said("stderr", /^interrupted: .*; connecting again; the input waits$/m);
    run.child.stdin.end("2\n3\n");
    const second = await hubHere(first.server.port);
    const after = await second.events.subscribe("a");
    expect((await after.next()).value?.payload).toBe(2);
    expect((await after.next()).value?.payload).toBe(3);
    expect(await run.ended).toBe(0);
    expect(run.stderr).toMatch(/\nready: ws:.*\npublished 3 events to a:x\n$/);
  });

  test("what a cut left without an acknowledgement counts as failed, and is said once for all of them", async () => {
    const server = await listen();
    const run = pubsub(["publish", "a", "x", "-", "--url", server.url]);
    const first = await server.next();
    await first.shakeHands();
    run.child.stdin.write("1\n\n2\n3\n");
    for (let i = 0; i < 3; i++) await first.next("a");
    first.socket.terminate();
    const second = await server.next();
    await second.shakeHands();
    run.child.stdin.end("4\n");
    expect((await second.next("a")).payload).toBe(4);
    second.send(envelope("$ack", { received: 1 }));
    expect(await run.ended).toBe(1);
    expect(run.stderr.match(/^pubsub: .*$/gm)).toEqual([
      expect.stringMatching(/^pubsub: lines 1, 3-4: .*the event may have been delivered/),
    ]);
    expect(run.stderr).toMatch(/\npublished 1 event to a:x; 3 failed, see above\n$/);
  });

  test("SIGINT stops reading, settles what is on its way, says how many, and the exit code is 130", async () => {
    const { url, events } = await hubHere();
    const subscription = await events.subscribe("a");
    const run = pubsub(["publish", "a", "x", "-", "--url", url]);
    run.child.stdin.write("1\n2\n");
    await subscription.next();
    await subscription.next();
    run.child.kill("SIGINT");
    expect(await run.ended).toBe(130);
    expect(run.stderr).toBe("published 2 events to a:x\n");
  });

  test.each([
    ["events", 5000, "1", 1000],
    ["bytes", 1024, JSON.stringify("x".repeat(65_534)), 256],
  ])(
    "no more than a window of %s waits for its acknowledgement; the rest stays in stdin",
    async (_, count, payload, window) => {
      const server = await listen();
      const run = pubsub(["publish", "a", "x", "-", "--url", server.url]);
      const peer = await server.next();
      await peer.shakeHands();
      run.child.stdin.end(`${payload}\n`.repeat(count));
      for (let i = 0; i < window; i++) await peer.next("a");
      await peer.ping();
      expect(peer.events).toHaveLength(window);
      for (let received = window; received < count; received++) {
        peer.send(envelope("$ack", { received }));
        await peer.next("a");
      }
      expect(run.child.exitCode).toBe(null);
      peer.send(envelope("$ack", { received: count }));
      expect(await run.ended).toBe(0);
      expect(run.stderr).toContain(`published ${count.toLocaleString("en")} events to a:x\n`);
    },
  );

  test("on a terminal progress is one line that changes", async () => {
    const { url } = await hubHere();
    const command = `(echo 1; cat) | "${process.execPath}" "${BIN}" publish a x - --url ${url}`;
    const run = start("/usr/bin/script", ["-qec", command, "/dev/null"]);
    await run.said("stdout", /1 published so far/);
    run.child.stdin.end("\u0004");
    expect(await run.ended).toBe(0);
    expect(run.stdout).toContain("\r\u001b[K1 published so far");
    expect(run.stdout.endsWith("\r\u001b[Kpublished 1 event to a:x\r\n")).toBe(true);
  });
});

describe("lines of a stream", () => {
  async function lines(chunks: string[], limit?: number): Promise<[number, string | undefined][]> {
    async function* stream(): AsyncGenerator<string> {
      yield* chunks;
    }
    const result: [number, string | undefined][] = [];
    for await (const batch of linesOf(stream(), limit))
      for (const { number, text } of batch) result.push([number, text]);
    return result;
  }

  test("are the same however the stream is cut into chunks", async () => {
    const text = "one\n\nthree\r\n\u2028four\nfive";
    const expected = text.split("\n").map((line, i) => [i + 1, line]);
    for (let size = 1; size <= text.length; size++) {
      const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        text.slice(i * size, (i + 1) * size),
      );
      expect(await lines(chunks)).toEqual(expected);
    }
  });

  test("that are too long are counted and not kept, whether or not they end", async () => {
    expect(await lines(["1234", "56", "7\nabc\n", "12345678\nx\n123456"], 5)).toEqual([
      [1, undefined],
      [2, "abc"],
      [3, undefined],
      [4, "x"],
      [5, undefined],
    ]);
  });

  test("of nothing are none, and an end of line at the very end begins no line", async () => {
    expect(await lines([])).toEqual([]);
    expect(await lines(["a\n"])).toEqual([[1, "a"]]);
  });
});
