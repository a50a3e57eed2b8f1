/** The example as a user runs it: its processes, its table, its exit code. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createHubEventTarget } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { describe, expect, onTestFinished, test } from "vitest";
import { until } from "./fixtures/open.ts";

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
const places = ["main", "worker", "process", "child"];
const patterns: Readonly<Record<string, string>> = {
  main: "host.*",
  worker: "process.*",
  process: "**",
  child: "*.figures",
  page: "host.**",
};
const routesOf = (places: readonly string[]): string[] =>
  places.flatMap((from) =>
    places.flatMap((to) => [`${from} → ${to} process.sample:${from}`, `${from} → ${to} ${patterns[to]}`]),
  );
const routes = routesOf(places);

/** Said once every row of the table has events. */
const ALL_ROWS = /^\d+ s: .+ in flight$/m;

/** Whether a process is over; one that nobody has asked for its exit code is. */
function isOver(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}

test(
  "a run delivers every event on every route, and only the subscriber that does not wait loses",
  { timeout: 60_000 },
  async () => {
    const { code, stdout, stderr } = await start(["--seconds", "2", "--port", "0"]).ended;
    const rows = tableOf(stdout);
    expect(
      rows.map(({ route }) => route),
      stdout,
    ).toEqual([...routesOf([...places, "page"]), CONTROL, AWAITED]);
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
      expect(published, route).toBeGreaterThanOrEqual(500);
    expect(stdout).toContain("nothing was lost:");
    // What it prints beside its events costs none of them.
    expect(stdout).toContain("child printed: a line that is no event\n");
    expect(stderr).toBe("");
    expect(code).toBe(0);
  },
);

test("where the port is in use it takes another and says so; Ctrl-C ends it with the table", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void other.close());
  await once(other, "listening");
  const { port: taken } = other.address() as AddressInfo;

  const { child, ended, says } = start(["--no-page", "--port", String(taken)]);
  const [, port, used] = await says(/hub on http:\/\/localhost:(\d+) \(port (\d+) is in use\)/);
  expect(Number(used)).toBe(taken);
  expect(Number(port)).not.toBe(taken);
  await says(new RegExp(`npx pubsub tail 'host\\.\\*' --url ws://localhost:${port}\n`));
  const root = (await (await fetch(`http://localhost:${port}`)).json()) as { hub?: string };
  expect(root.hub).toBe("@alkdev/hub");

  // Every route is live, and each place has had its bursts.
  await says(ALL_ROWS);
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

test(
  "where there is no Chromium, or it does not start, it says so in a line and runs without a page",
  { timeout: 60_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "live-table-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "chromium"), "#!/bin/sh\nexit 3\n");
    chmodSync(join(folder, "chromium"), 0o755);
    const broken = { PATH: `${folder}${delimiter}${process.env["PATH"]}` };
    for (const [env, said] of [
      [{ LIVE_TABLE_PROVOKE: "without chromium" }, /^the page is left out, .+: sudo apt-get install \S+ chromium$/m],
      [broken, /^page did not start \(exit code 1: .+\); it is left out$/m],
    ] as const) {
      const { code, stdout } = await start(["--seconds", "0.5", "--port", "0"], env).ended;
      expect(stdout).toMatch(said);
      expect(tableOf(stdout).map(({ route }) => route)).toEqual([...routes, CONTROL, AWAITED]);
      expect(stdout).toContain("nothing was lost:");
      expect(code).toBe(0);
    }
  },
);

test("a browser ends with the example, however that ends", { timeout: 60_000 }, async () => {
  const { child, ended, says } = start(["--port", "0"]);
  const [, pid] = await says(/the page is there, in a browser that is pid (\d+)/);
  expect(isOver(Number(pid))).toBe(false);
  child.kill("SIGKILL");
  await ended;
  await until(() => isOver(Number(pid)));
});

test("what anyone publishes as demo.note is shown, without what could move the cursor", async () => {
  const { child, ended, says } = start(["--no-page", "--port", "0"]);
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
    const { code, stdout } = await start(["--no-page", "--seconds", "2", "--port", "0"], provoked).ended;
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
    const { code, stdout } = await start(["--no-page", "--seconds", "2", "--port", "0"], provoked).ended;
    const bad = tableOf(stdout).filter(({ status }) => status === "LOST");
    expect(bad.map(({ route, delivered }) => ({ route, delivered }))).toEqual([
      { route: "main → process process.sample:main", delivered: 250 },
    ]);
    expect(code).toBe(1);
  });

  test("when the worker dies", async () => {
    const { child, ended, says } = start(["--no-page", "--port", "0"], { LIVE_TABLE_PROVOKE: "die worker" });
    const [, port] = await says(/hub on http:\/\/localhost:(\d+)/);
    await says(ALL_ROWS);
    const eventTarget = createHubEventTarget(`ws://localhost:${port}`);
    onTestFinished(() => eventTarget.close());
    await createPubSub({ eventTarget }).publish("provoke.death", "worker", null);
    await says(/worker died/);
    child.kill("SIGINT");
    const { code, stdout } = await ended;
    expect(stdout).toContain("worker died (exit code 1: provoked)");
    for (const { route, status } of tableOf(stdout)) {
      const expected = route === CONTROL ? "as expected" : route.includes("worker") ? "interrupted" : "complete";
      expect({ route, status }).toEqual({ route, status: expected });
    }
    expect(code).toBe(1);
  });

  test.each([
    ["process", /own is pid (\d+)/, 16],
    ["child", /child process (\d+)/, 14],
  ])("when the %s dies", async (place, pattern, interrupted) => {
    const { child, ended, says } = start(["--no-page", "--port", "0"]);
    const [, pid] = await says(pattern);
    await says(ALL_ROWS);
    process.kill(Number(pid), "SIGKILL");
    await says(new RegExp(`${place} died \\(SIGKILL\\); its routes are interrupted`));
    child.kill("SIGINT");
    const { code, stdout } = await ended;
    for (const { route, status } of tableOf(stdout)) {
      const fine = route === CONTROL ? "as expected" : "complete";
      const gone = new RegExp(` → ${place}|^${place} →`).test(route) || (place === "process" && !route.includes("→"));
      expect({ route, status }).toEqual({ route, status: gone ? "interrupted" : fine });
    }
    expect(stdout).toContain(`${place} died (SIGKILL): ${interrupted} routes were interrupted`);
    expect(code).toBe(1);
  });

  test("when the page's browser dies", { timeout: 60_000 }, async () => {
    const { child, ended, says } = start(["--port", "0"]);
    const [, pid] = await says(/the page is there, in a browser that is pid (\d+)/);
    await says(ALL_ROWS);
    process.kill(Number(pid), "SIGKILL");
    await says(/page died \(exit code 1: Chromium ended\)/);
    child.kill("SIGINT");
    const { code, stdout } = await ended;
    for (const { route, status } of tableOf(stdout)) {
      const expected = route === CONTROL ? "as expected" : route.includes("page") ? "interrupted" : "complete";
      expect({ route, status }).toEqual({ route, status: expected });
    }
    expect(stdout).toContain("page died (exit code 1: Chromium ended): 18 routes were interrupted");
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
    [["--page"], /'--page'/],
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
    for (const option of ["--seconds", "--port", "--no-page", "--help"]) expect(stdout).toContain(option);
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
  const all = [...places, "page"];
  const figures = { published: 123_456, delivered: 123_456, lost: 0, inGaps: 0, inFlight: 0, latency: [200, 5] };

  interface Part {
    readonly from?: string;
    readonly to?: string;
    readonly figures?: object;
    readonly state?: string;
    readonly status?: string;
  }

  /** The picture for a terminal of that size, with what `change` gives for some of its 50 routes. */
  async function picture(
    size: { readonly rows: number; readonly columns: number },
    change: (route: { readonly from: string; readonly to: string; readonly exact: boolean }) => Part = () => ({}),
  ): Promise<string[]> {
    const view = (await import(new URL("view.mjs", folder).href)) as { picture: (...args: unknown[]) => string[] };
    const table = (await import(new URL("table.mjs", folder).href)) as { palette: (coloured: boolean) => unknown };
    const row = (label: string, topic: string, part: Part): object => {
      return {
        label,
        topic,
        state: "ok",
        status: "live",
        ...part,
        figures: { ...figures, began: true, ...part.figures },
      };
    };
    const rows = all.flatMap((from) =>
      all.flatMap((to) =>
        [true, false].map((exact) =>
          row(`${from} → ${to}`, exact ? `process.sample:${from}` : (patterns[to] ?? ""), {
            from,
            to,
            ...change({ from, to, exact }),
          }),
        ),
      ),
    );
    rows.push(row(CONTROL, "", { state: "control", status: "as expected" }), row(AWAITED, "", {}));
    const state = { where: "hub on http://localhost:8080", hints: ["one", "two"], phase: "live", seconds: 3 };
    const rest = { readings: new Map(), pids: [], notes: [], said: [] };
    return view.picture({ ...state, ...rest, rows }, size, table.palette(false));
  }

  test.each([
    { columns: 100, rows: 70, show: 52, as: "every route" },
    { columns: 100, rows: 40, show: 27, as: "every two places" },
    { columns: 80, rows: 24, show: 7, as: "every publisher" },
  ])("fits a terminal of $columns by $rows with a row for $as", async ({ show, ...size }) => {
    const lines = await picture(size);
    expect(lines.length).toBeLessThanOrEqual(size.rows);
    expect(lines.filter((line) => line.includes("123,456") || line.includes("routes"))).toHaveLength(show);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(size.columns);
  });

  test("has the sums of the routes that share a row, and the latencies of all their events", async () => {
    const lines = await picture({ columns: 100, rows: 40 }, ({ from, to, exact }) =>
      from === "worker" && to === "page"
        ? {
            status: `${exact ? 3 : 1_000} in flight`,
            figures: {
              published: 1_500,
              delivered: 500,
              inFlight: exact ? 3 : 1_000,
              latency: exact ? [142, 98] : [331, 2],
            },
          }
        : {},
    );
    expect(lines.find((line) => line.startsWith("worker → page"))?.split(/ {2,}/)).toEqual([
      "worker → page",
      "2 routes",
      "3,000",
      "1,000",
      "0",
      "1.00",
      // The slowest two of a hundred were of the other route.
      "10071",
      "1,003 in flight",
    ]);
  });

  test("gives what was lost rows of its own, however small the terminal", async () => {
    const lossy = { state: "bad", status: "LOST", figures: { lost: 7 } };
    const change = ({ from, exact }: { from: string; exact: boolean }): Part => (from === "main" && exact ? lossy : {});
    for (const rows of [24, 40]) {
      const lines = await picture({ columns: 100, rows }, change);
      expect(lines.filter((line) => line.includes("LOST")).map((line) => line.split(/ {2,}/).slice(0, 2))).toEqual(
        all.map((to) => [`main → ${to}`, "process.sample:main"].map((text) => text)),
      );
    }
  });

  test("tells routes that are interrupted from those that are not", async () => {
    const lines = await picture({ columns: 100, rows: 24 }, ({ from, to }) =>
      from === "page" || to === "page" ? { state: "broken", status: "interrupted" } : {},
    );
    expect(lines.filter((line) => line.includes("routes")).map((line) => line.split(/ {2,}/))).toEqual([
      ...places.flatMap((from) => [
        [`${from} → …`, "8 routes", ...Array(2).fill("987,648"), "0", "16.9", "16.9", "live"],
        [`${from} → …`, "2 routes", ...Array(2).fill("246,912"), "–", "16.9", "16.9", "interrupted"],
      ]),
      ["page → …", "10 routes", ...Array(2).fill("1,234,560"), "–", "16.9", "16.9", "interrupted"],
    ]);
  });

  test("keeps the rows in trouble, and the control, where the terminal is too small for all", async () => {
    const lines = await picture({ columns: 100, rows: 10 }, ({ from, to, exact }) =>
      from === "child" && to === "child" && exact ? { state: "bad", status: "LOST", figures: { lost: 7 } } : {},
    );
    expect(lines).toHaveLength(10);
    expect(lines.filter((line) => line.includes("LOST"))).toHaveLength(1);
    expect(lines.filter((line) => line.includes("as expected"))).toHaveLength(1);
    expect(lines.at(-1)).toBe("… and 3 more: make the window taller");
  });
});

describe("the clock of a page", () => {
  interface Look {
    readonly before: number;
    readonly theirs: number;
    readonly after: number;
  }

  test.each([
    ["right for all that is known", [{ before: 0, theirs: 4, after: 10 }], 0],
    ["ahead beyond doubt", [{ before: 0, theirs: 12, after: 10 }], 2],
    ["behind beyond doubt", [{ before: 5, theirs: 2, after: 10 }], -3],
    [
      "what the best look at it says",
      [
        { before: 0, theirs: 12, after: 100 },
        { before: 200, theirs: 211, after: 202 },
      ],
      9,
    ],
  ])("is %s", async (_, looks, ahead) => {
    const { surelyAhead } = (await import(new URL("clock.mjs", folder).href)) as {
      surelyAhead: (looks: readonly Look[]) => number;
    };
    expect(surelyAhead(looks)).toBe(ahead);
  });
});
