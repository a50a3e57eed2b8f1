/** The example as a user runs it: its processes, its table, its exit code. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { createHubEventTarget } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { describe, expect, onTestFinished, test } from "vitest";

const folder = new URL("../../../examples/live-table/", import.meta.url);

/** Starts the example. Its output can be waited for, and read as a table once it has ended. */
function start(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, [fileURLToPath(new URL("main.mjs", folder)), ...args], {
    env: { ...process.env, NO_COLOR: "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  const watchers = new Set<() => void>();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    for (const watcher of watchers) watcher();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, stdout, stderr }));
  let over = false;
  void ended.then(() => (over = true));
  /** Resolves with the match once the output has it. */
  async function says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(stdout);
      if (match !== null) return match;
      if (over) throw new Error(`ended without saying ${pattern}:\n${stdout}${stderr}`);
      await new Promise<void>((resolve) => {
        watchers.add(resolve);
        void ended.then(() => resolve());
      });
      watchers.clear();
    }
  }
  return { child, ended, says };
}

interface Row {
  readonly route: string;
  readonly published: number;
  readonly delivered: number;
  readonly lost: string;
  readonly status: string;
}

/** The rows of the final table. */
function tableOf(stdout: string): Row[] {
  return Array.from(
    stdout.matchAll(/^(.{40}) *([\d,]+) +([\d,]+) +([\d,]+|–) +[\d.–]+ +[\d.–]+ {2}(.+)$/gm),
    ([, route = "", published = "", delivered = "", lost = "", status = ""]) => ({
      route: route.trim().replaceAll(/ {2,}/g, " "),
      published: Number(published.replaceAll(",", "")),
      delivered: Number(delivered.replaceAll(",", "")),
      lost: lost.replaceAll(",", ""),
      status,
    }),
  );
}

const CONTROL = "control: not awaited (expected to lose)";
const AWAITED = "the same, awaited";
const places = ["main", "worker", "process"];
const patterns: Readonly<Record<string, string>> = { main: "host.*", worker: "process.*", process: "**" };
const routes = places.flatMap((from) =>
  places.flatMap((to) => [`${from} → ${to} process.sample:${from}`, `${from} → ${to} ${patterns[to]}`]),
);

test("a run delivers every event on every route, and only the subscriber that does not wait loses", async () => {
  const { code, stdout, stderr } = await start(["--seconds", "2", "--port", "0"]).ended;
  const rows = tableOf(stdout);
  expect(
    rows.map(({ route }) => route),
    stdout,
  ).toEqual([...routes, CONTROL, AWAITED]);
  for (const { route, published, delivered, lost, status } of rows) {
    expect(published, route).toBeGreaterThan(0);
    if (route === CONTROL) {
      expect(Number(lost)).toBeGreaterThan(0);
      expect(delivered).toBe(published - Number(lost));
    } else
      expect({ route, delivered, lost, status }).toEqual({
        route,
        delivered: published,
        lost: "0",
        status: "complete",
      });
  }
  // At least one burst on each exact route.
  for (const { route, published } of rows.filter((row) => row.route.includes("process.sample")))
    expect(published, route).toBeGreaterThanOrEqual(1000);
  expect(stdout).toContain("nothing was lost:");
  expect(stderr).toBe("");
  expect(code).toBe(0);
});

test("where the port is in use it takes another and says so; Ctrl-C ends it with the table", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void other.close());
  await once(other, "listening");
  const { port: taken } = other.address() as AddressInfo;

  const { child, ended, says } = start(["--port", String(taken)]);
  const [, port, used] = await says(/hub on http:\/\/localhost:(\d+) \(port (\d+) is in use\)/);
  expect(Number(used)).toBe(taken);
  expect(Number(port)).not.toBe(taken);
  await says(new RegExp(`npx pubsub tail 'host\\.\\*' --url ws://localhost:${port}\n`));
  const root = (await (await fetch(`http://localhost:${port}`)).json()) as { hub?: string };
  expect(root.hub).toBe("@alkdev/hub");

  // Every route is live, and each place has had its bursts.
  await says(/^\d+ s: ([3-9]\d|\d{3,}),\d{3} to deliver/m);
  child.kill("SIGINT");
  const { code, stdout, stderr } = await ended;
  expect(tableOf(stdout).map(({ status }) => status)).toEqual([
    ...routes.map(() => "complete"),
    "as expected",
    "complete",
  ]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
});

test("what anyone publishes as demo.note is shown, without what could move the cursor", async () => {
  const { child, ended, says } = start(["--port", "0"]);
  const [, port] = await says(/hub on http:\/\/localhost:(\d+)/);
  const eventTarget = createHubEventTarget(`ws://localhost:${port}`);
  onTestFinished(() => eventTarget.close());
  await createPubSub({ eventTarget }).publish("demo.note", "me\u009B", { note: "hi\u001B[2J" });
  await says(/^demo\.note:me· \{"note":"hi\\u001b\[2J"\}$/m);
  child.kill("SIGTERM");
  expect((await ended).code).toBe(0);
});

describe("the exit code is 1, and the output says why,", () => {
  test("when a subscriber unsubscribes and subscribes again without waiting", async () => {
    const provoked = { LIVE_TABLE_PROVOKE: "resubscribe main process.sample:process" };
    const { code, stdout } = await start(["--seconds", "2", "--port", "0"], provoked).ended;
    const bad = tableOf(stdout).filter(({ status }) => status === "LOST");
    expect(bad.map(({ route }) => route)).toEqual(["process → main process.sample:process"]);
    const [{ published, delivered, lost } = { published: 0, delivered: 0, lost: "" }] = bad;
    expect(Number(lost)).toBeGreaterThan(0);
    expect(delivered).toBe(published - Number(lost));
    expect(stdout).toContain(
      `process → main process.sample:process: lost ${Number(lost).toLocaleString("en-US")} of ${published.toLocaleString("en-US")}\n`,
    );
    expect(code).toBe(1);
  });

  test("when the last events of a route do not arrive", async () => {
    const provoked = { LIVE_TABLE_PROVOKE: "stop process process.sample:main" };
    const { code, stdout } = await start(["--seconds", "2", "--port", "0"], provoked).ended;
    const bad = tableOf(stdout).filter(({ status }) => status === "LOST");
    expect(bad.map(({ route, delivered }) => ({ route, delivered }))).toEqual([
      { route: "main → process process.sample:main", delivered: 500 },
    ]);
    expect(code).toBe(1);
  });

  test("when the worker dies", async () => {
    const provoked = { LIVE_TABLE_PROVOKE: "die worker" };
    const { code, stdout } = await start(["--seconds", "3", "--port", "0"], provoked).ended;
    expect(stdout).toContain("worker died (exit code 1: provoked)");
    for (const { route, status } of tableOf(stdout)) {
      const expected = route === CONTROL ? "as expected" : route.includes("worker") ? "interrupted" : "complete";
      expect({ route, status }).toEqual({ route, status: expected });
    }
    expect(code).toBe(1);
  });

  test("when the process dies", async () => {
    const { child, ended, says } = start(["--port", "0"]);
    const [, pid] = await says(/is pid (\d+)/);
    await says(/^\d+ s: ([3-9]\d|\d{3,}),\d{3} to deliver/m);
    process.kill(Number(pid), "SIGKILL");
    await says(/process died \(SIGKILL\)/);
    child.kill("SIGINT");
    const { code, stdout } = await ended;
    for (const { route, status } of tableOf(stdout)) {
      const gone = / → process|^process →/.test(route) || route === CONTROL || route === AWAITED;
      expect({ route, status }).toEqual({ route, status: gone ? "interrupted" : "complete" });
    }
    expect(stdout).toContain("process died (SIGKILL): 12 routes were interrupted");
    expect(code).toBe(1);
  });
});

describe("options", () => {
  test.each([
    [["--port", "web"], /--port takes a whole number/],
    [["--port", "70000"], /--port takes a whole number/],
    [["--seconds", "0"], /--seconds takes a number/],
    [["--seconds", "soon"], /--seconds takes a number/],
    [["--seconds"], /--seconds/],
    [["--second", "5"], /'--second'/],
    [["5"], /'5'/],
  ])("%j is refused in one line", async (args, message) => {
    const { parseOptions } = (await import(new URL("options.mjs", folder).href)) as {
      parseOptions: (args: readonly string[]) => unknown;
    };
    expect(() => parseOptions(args)).toThrow(message);
    expect(() => parseOptions(args)).not.toThrow(/\n/);
  });

  test("a wrong one ends it with exit code 2", async () => {
    const { code, stdout, stderr } = await start(["--port", "web"]).ended;
    expect(stderr).toBe('live-table: --port takes a whole number from 0 to 65535, not "web"; --help says more\n');
    expect(stdout).toBe("");
    expect(code).toBe(2);
  });

  test("--help names them all", async () => {
    const { code, stdout } = await start(["--help"]).ended;
    for (const option of ["--seconds", "--port", "--help"]) expect(stdout).toContain(option);
    expect(code).toBe(0);
  });
});

describe("the account", () => {
  /** One topic with 10 events published, none before the route was live, and what came of them. */
  async function figures(received: object, gaps = 0, rejected: readonly [number, number][] = []) {
    const { figuresOf } = (await import(new URL("account.mjs", folder).href)) as {
      figuresOf: (...args: unknown[]) => Record<string, unknown>;
    };
    const refused = rejected.reduce((sum, [from, to]) => sum + to - from + 1, 0);
    const published = { type: "a", id: "", sent: 10, resolved: 10 - refused, rejected };
    const topic = { first: 1, last: 10, count: 10, afterGap: false, gapSince: false, holes: [], untracked: 0 };
    const topics = { a: { ...topic, inGaps: [], repeated: 0, disordered: 0, ...received } };
    const subscribed = { key: "k", live: true, gaps, from: { main: { topics } } };
    const route = { key: "k", from: "main", to: "main", filter: { type: "a" } };
    return figuresOf(route, { published: { a: published } }, { subscribed: [subscribed] }, {}, true);
  }

  test.each([
    ["all arrived", {}, { published: 10, delivered: 10, lost: 0, inGaps: 0 }],
    ["some in the middle are missing", { count: 7, holes: [[4, 6]] }, { delivered: 7, lost: 3, inGaps: 0 }],
    ["the last are missing", { last: 8, count: 8 }, { delivered: 8, lost: 2 }],
    ["the first are missing", { first: 3, count: 8 }, { delivered: 8, lost: 2 }],
    ["the missing are inside a gap", { count: 7, inGaps: [[4, 6]] }, { delivered: 7, lost: 0, inGaps: 3 }],
    ["the last are missing after a gap", { last: 8, count: 8, gapSince: true }, { lost: 0, inGaps: 2 }],
    ["the first are missing before a gap", { first: 3, count: 8, afterGap: true }, { lost: 0, inGaps: 2 }],
    ["one came twice", { repeated: 1 }, { lost: 0, trouble: "1 came twice" }],
    ["one came late", { disordered: 1 }, { lost: 0, trouble: "1 out of order" }],
    ["the counts do not agree", { count: 9 }, { lost: 0, trouble: "figures differ" }],
  ])("when %s", async (_, received, expected) => {
    expect(await figures(received)).toMatchObject(expected);
  });

  test("what was rejected is not missed, whether it arrived or not", async () => {
    expect(await figures({ count: 8, holes: [[4, 5]] }, 0, [[4, 5]])).toMatchObject({
      published: 8,
      delivered: 8,
      lost: 0,
    });
    expect(await figures({}, 0, [[4, 5]])).toMatchObject({ published: 8, delivered: 8, lost: 0, trouble: undefined });
  });
});

describe("the picture", () => {
  /** The picture with every row in one state, for a terminal of that size. */
  async function picture(size: { readonly rows: number; readonly columns: number }, lost = 0): Promise<string[]> {
    const view = (await import(new URL("view.mjs", folder).href)) as { picture: (...args: unknown[]) => string[] };
    const table = (await import(new URL("table.mjs", folder).href)) as { palette: (coloured: boolean) => unknown };
    const figures = { published: 1_234_567, delivered: 1_234_567, lost, inGaps: 0, inFlight: 0, p50: 0.5, p99: 123 };
    const rows = Array.from({ length: 20 }, (_, i) => ({
      label: "process → process",
      topic: "process.sample:process",
      figures: { ...figures, began: true },
      state: i === 3 && lost > 0 ? "bad" : "ok",
      status: i === 3 && lost > 0 ? "LOST" : i === 18 ? "as expected" : "complete",
    }));
    const state = { where: "hub on http://localhost:8080", hints: ["one", "two"], phase: "live", seconds: 3 };
    return view.picture({ ...state, readings: new Map(), rows, notes: [], fromUsers: [] }, size, table.palette(false));
  }

  test.each([
    { columns: 100, rows: 40 },
    { columns: 80, rows: 24 },
  ])("fits a terminal of $columns by $rows with all its rows", async (size) => {
    const lines = await picture(size);
    expect(lines.length).toBeLessThanOrEqual(size.rows);
    expect(lines.filter((line) => line.includes("complete"))).toHaveLength(19);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(size.columns);
  });

  test("keeps the rows in trouble, and the control, where the terminal is too small for all", async () => {
    const lines = await picture({ columns: 100, rows: 10 }, 7);
    expect(lines).toHaveLength(10);
    expect(lines.filter((line) => line.includes("LOST"))).toHaveLength(1);
    expect(lines.filter((line) => line.includes("as expected"))).toHaveLength(1);
    expect(lines.at(-1)).toBe("… and 15 more: make the window taller");
  });
});
