// The examples in other languages, run as their READMEs say.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { python } from "../../pubsub/test/fixtures/python.ts";
import { pubsub as command } from "./cli-support.ts";
import { openHub } from "./fixtures/open.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const folder = mkdtempSync(join(root, "node_modules", ".languages-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const readme = (language: string): string => readFileSync(join(root, "examples", language, "README.md"), "utf8");

/** The fenced blocks of one kind in a README. */
function blocks(language: string, kind: string): string[] {
  return [...readme(language).matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\`$`, "gms"))].map(
    ([, text = ""]) => text,
  );
}

/** A process, what it has printed, and how it ended. */
function run(program: string, args: readonly string[], cwd: string) {
  const child = spawn(program, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const printed = { stdout: "", stderr: "" };
  let wake: () => void = () => undefined;
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => {
      printed[name] += text;
      wake();
    });
  const ended = once(child, "close").then(([code]) => {
    wake();
    return code as number | null;
  });
  return {
    child,
    printed,
    ended,
    async until(name: "stdout" | "stderr", text: string): Promise<void> {
      while (!printed[name].includes(text) && child.exitCode === null)
        await new Promise<void>((resolve) => (wake = resolve));
      expect(printed[name]).toContain(text);
    },
  };
}

test("Python's spoke tails and publishes as its README says", async () => {
  const [start = ""] = blocks("python", "sh");
  const [hub = "", tail = "", publish = ""] = start.trim().split("\n");
  // The same with a free port, and the command that npx finds.
  const words = hub.replace("8080", "0").split(" ");
  expect(words.splice(0, 2)).toEqual(["npx", "pubsub"]);
  const [, url = ""] = await command(words).said("stdout", /^hub: (ws:\S+),.*\n/);
  const inShell = (line: string): ReturnType<typeof run> =>
    run(
      "bash",
      ["-c", `exec ${line.replace("ws://localhost:8080", url).replace("python3", python())}`],
      join(root, "examples/python"),
    );
  const listening = inShell(tail);
  await listening.until("stderr", "listening");
  expect(await inShell(publish).ended).toBe(0);
  await listening.until("stdout", "\n");
  expect(JSON.parse(listening.printed.stdout)).toMatchObject({ type: "demo.note", id: "me", payload: { note: "hi" } });
  listening.child.kill("SIGINT");
  expect(await listening.ended).toBe(0);
});

test("the example in Python's README does what it says, and ends", async () => {
  const server = await openHub();
  const [code = ""] = blocks("python", "python");
  const file = join(folder, "example.py");
  writeFileSync(
    file,
    `import sys; sys.path.insert(0, ${JSON.stringify(join(root, "examples/python"))})\n${code.replace("ws://localhost:8080", server.url)}`,
  );
  const { ended, printed } = run(python(), [file], root);
  expect(await ended).toBe(0);
  expect(printed).toEqual({ stdout: "session.status proj_123 {'status': 'busy'}\n", stderr: "" });
});

test("Bash's publisher prints what its README says", async () => {
  const [said = ""] = blocks("bash", "text");
  const { ended, printed } = run("bash", ["publish.sh"], join(root, "examples/bash"));
  expect(await ended).toBe(0);
  expect(printed).toEqual({ stdout: said, stderr: "" });
});

test.each([
  ["python", {}],
  ["bash", { "{ bytes: … }": expect.stringMatching(/^\{ bytes: [1-9]\d+ \}$/) }],
])("the parent in the README of %s gets from its child what it says, and ends", async (language, wild) => {
  const [code = ""] = blocks(language, "js");
  const said = blocks(language, "text").at(-1)?.trim().split("\n") ?? [];
  expect(said.length).toBeGreaterThan(1);
  // Beside the packages, so that their names resolve; run from where the README says.
  const file = join(folder, `${language}-parent.mjs`);
  writeFileSync(file, code.replace('"python3"', JSON.stringify(python())));
  const { ended, printed } = run(process.execPath, [file], root);
  expect(await ended).toBe(0);
  const lines = printed.stdout.trim().split("\n");
  expect(lines.length).toBe(said.length);
  for (const [i, line] of lines.entries()) {
    const expected = said[i] ?? "";
    const open = Object.entries(wild).find(([text]) => expected.endsWith(text));
    if (open === undefined) expect(line).toBe(expected);
    else expect(line.slice(expected.length - open[0].length)).toEqual(open[1]);
  }
});
