import type { EventEnvelope, Gap } from "@alkdev/pubsub";
import { describe, expect, test } from "vitest";
import { BIN, hubHere, pubsub, start } from "./cli-support.ts";
import type { Run, RunOptions } from "./cli-support.ts";

async function tail(url: string, args: string[], options: RunOptions = {}): Promise<Run> {
  const run = pubsub(["tail", ...args, "--url", url], options);
  await run.said("stderr", /^live: .*\n/m);
  return run;
}

describe("pubsub tail", () => {
  test("says on stderr that it is live, and prints what is published from then on, to stdout alone", async () => {
    const { url, events } = await hubHere();
    const run = await tail(url, ["host.*", "--count", "2"]);
    expect(run.stderr).toBe(`live: host.* on ${url}\n`);
    await events.publish("other.type", "x", 0);
    await events.publish("host.cpu", "web-1", { load: 0.4, tags: ["a", "b"] });
    await events.publish("host.disk", "", null);
    expect(await run.ended).toBe(0);
    const time = String.raw`\d\d:\d\d:\d\d\.\d\d\d`;
    expect(run.stdout).toMatch(
      new RegExp(`^${time}  host\\.cpu:web-1  {"load":0\\.4,"tags":\\["a","b"\\]}\n${time}  host\\.disk  null\n$`),
    );
    expect(run.stderr).toBe(`live: host.* on ${url}\n`);
  });

  test("with an id, prints only events with that id; the empty id is one too", async () => {
    const { url, events } = await hubHere();
    const one = await tail(url, ["a.b", "one", "-n", "1"]);
    const none = await tail(url, ["a.b", "", "-n", "1"]);
    expect(one.stderr).toBe(`live: a.b:one on ${url}\n`);
    expect(none.stderr).toBe(`live: a.b '' on ${url}\n`);
    await events.publish("a.b", "two", 1);
    await events.publish("a.b", "", 2);
    await events.publish("a.b", "one", 3);
    expect([await one.ended, await none.ended]).toEqual([0, 0]);
    expect(one.stdout).toMatch(/^\S+ {2}a\.b:one {2}3\n$/);
    expect(none.stdout).toMatch(/^\S+ {2}a\.b {2}2\n$/);
  });

  test("--json prints one envelope a line", async () => {
    const { url, events } = await hubHere();
    const run = await tail(url, ["**", "--json", "--count", "2"]);
    await events.publish("a.b", "line\nbreak", { text: "ü\n\u2028" });
    await events.publish("c", "", [1]);
    expect(await run.ended).toBe(0);
    expect(run.lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { type: "a.b", id: "line\nbreak", payload: { text: "ü\n\u2028" } },
      { type: "c", id: "", payload: [1] },
    ]);
  });

  test("whatever an event holds, in the human form it is one line and moves no cursor", async () => {
    const { url, events } = await hubHere();
    const run = await tail(url, ["a", "--count", "1"]);
    await events.publish("a", "\u001b[2J\r\n\u009b31m", "\u001b[31m\u202e\u0085\u2028");
    expect(await run.ended).toBe(0);
    expect(run.lines).toHaveLength(1);
    expect(run.lines[0]).toMatch(/^[ -~]*$/);
    expect(run.lines[0]).toContain(String.raw`a:\u001b[2J\u000d\u000a\u009b31m`);
  });

  test("--count ends after that many events, though more came at once", async () => {
    const { url, events } = await hubHere();
    const run = await tail(url, ["a", "--count", "3"]);
    await Promise.all([1, 2, 3, 4, 5].map((payload) => events.publish("a", "x", payload)));
    expect(await run.ended).toBe(0);
    expect(run.lines.map((line) => line.at(-1))).toEqual(["1", "2", "3"]);
  });

  test.each(["SIGINT", "SIGTERM"] as const)("%s ends it with 0 after all that was printed", async (signal) => {
    const { server, url, events } = await hubHere();
    const run = await tail(url, ["a", "--json"]);
    await events.publish("a", "x", 1);
    await run.said("stdout", /\n/);
    run.child.kill(signal);
    expect(await run.ended).toBe(0);
    expect(run.lines).toHaveLength(1);
    expect(run.stderr).toBe(`live: a on ${url}\n`);
    expect(server.hub.status().links).toEqual([]);
  });

  test("ends quietly with 0 when nobody reads stdout any more", async () => {
    const { url, events } = await hubHere();
    const run = start("bash", [
      "-o",
      "pipefail",
      "-c",
      `"${process.execPath}" "${BIN}" tail a --json --url ${url} | head -n 1`,
    ]);
    await run.said("stderr", /^live/);
    let isOver = false;
    const ended = run.ended.finally(() => (isOver = true));
    // The write that fails is the first after `head` is gone, whenever that is.
    for (let payload = 0; !isOver; payload++) {
      await events.publish("a", "x", payload);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await ended).toBe(0);
    expect(run.lines.map((line) => (JSON.parse(line) as EventEnvelope).payload)).toEqual([0]);
    expect(run.stderr).toBe(`live: a on ${url}\n`);
  });

  test("an error of stdout is said, and the exit code is 1", async () => {
    const { url, events } = await hubHere();
    const run = start("bash", ["-c", `exec "${process.execPath}" "${BIN}" tail a --url ${url} > /dev/full`]);
    await run.said("stderr", /^live/);
    await events.publish("a", "x", 1);
    expect(await run.ended).toBe(1);
    expect(run.stderr).toMatch(/\npubsub: cannot write to stdout: ENOSPC.*\n$/);
  });

  test.each(["human", "json"])(
    "connects again when the hub comes back, and a gap stands where events may be missing (%s)",
    async (form) => {
      const first = await hubHere();
      const run = await tail(first.url, form === "json" ? ["a", "--json"] : ["a"]);
      await first.events.publish("a", "x", "before");
      await run.said("stdout", /before/);
      await first.server.close();
      await run.said("stderr", /^interrupted: .*The hub was closed; connecting again$/m);
      const second = await hubHere(first.server.port);
      await run.said("stderr", /^ready: ws:/m);
      await second.events.publish("a", "x", "after");
      await run.said("stdout", /after/);
      run.child.kill("SIGINT");
      expect(await run.ended).toBe(0);
      expect(run.lines).toHaveLength(3);
      const [before, gap = "", after] = run.lines;
      expect(before).toContain("before");
      expect(after).toContain("after");
      if (form === "json") {
        expect(JSON.parse(gap)).toEqual({
          gap: { reason: "reconnect", since: expect.any(Number), until: expect.any(Number), lost: "unknown" },
        });
        expect(run.stderr).toMatch(/^gap: an unknown number of events may be missing here \(reconnect, /m);
      } else {
        expect(gap).toMatch(
          /^\S+ {2}gap: an unknown number of events may be missing here \(reconnect, from \S+ to \S+\)$/,
        );
        expect(run.stderr).not.toContain("gap:");
      }
    },
  );

  test("a reader that is too slow loses the oldest events, and is told how many", async () => {
    const { server, url, events } = await hubHere();
    const run = await tail(url, ["a", "--json"], { readStdout: false });
    const total = 150_000;
    let published: Promise<void>[] = [];
    for (let payload = 1; payload <= total; payload++) {
      published.push(events.publish("a", "x", payload));
      if (payload % 1000 > 0) continue;
      await Promise.all(published);
      published = [];
      await new Promise((resolve) => setImmediate(resolve));
    }
    // It acknowledges what it has taken in; what waits at the hub no more has been dropped or buffered there.
    while (server.hub.status().links[0]?.buffered !== 0) await new Promise((resolve) => setImmediate(resolve));
    await run.said("stderr", /^live/);
    await events.publish("a", "x", "last");
    run.read();
    await run.said("stdout", /"last"/);
    const printed = run.lines.map((line) => JSON.parse(line) as Partial<EventEnvelope> & { gap?: Gap });
    const gaps = printed.flatMap(({ gap }) => gap ?? []);
    const payloads = printed.flatMap(({ payload }) => (typeof payload === "number" ? [payload] : []));
    expect(gaps.map(({ reason }) => reason)).toContain("overflow");
    expect(payloads.length + gaps.reduce((sum, { lost }) => sum + Number(lost), 0)).toBe(total);
    expect(payloads.at(-1)).toBe(total);
    expect(payloads).toEqual(payloads.toSorted((a, b) => a - b));
    run.child.kill("SIGINT");
  });

  test("a limit of the hub is said in one line, and the exit code is 1", async () => {
    const { url } = await hubHere();
    const run = pubsub(["tail", "a.b.c.d.e.f.g.h.*", "--url", url]);
    expect(await run.ended).toBe(1);
    expect(run.stderr).toMatch(/^pubsub: A pattern may have 8 tokens; .*\n$/);
  });

  test.each([
    ["on a terminal there are colours", {}, true],
    ["with NO_COLOR there are none, on a terminal too", { NO_COLOR: "1" }, false],
    ["a terminal that has none gets none", { TERM: "dumb" }, false],
  ])("%s", async (_, env, coloured) => {
    const { url, events } = await hubHere();
    const command = `"${process.execPath}" "${BIN}" tail a --count 1 --url ${url}`;
    const run = start("/usr/bin/script", ["-qec", command, "/dev/null"], {
      env: { TERM: "xterm", ...env },
    });
    await run.said("stdout", /live: /);
    await events.publish("a", "x", 1);
    expect(await run.ended).toBe(0);
    expect(run.stdout.includes("\u001b[")).toBe(coloured);
    expect(run.stdout).toContain("a:x");
  });
});
