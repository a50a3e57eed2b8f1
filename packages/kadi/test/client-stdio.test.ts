// A client and abilities in child processes: calls, both ways of events, crashes and ends.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { EventLoss } from "@alkdev/kadi";
import { expect, onTestFinished, test } from "vitest";
import { abilityAt, collector, firstLine, isAlive, openClient, outcomeOf, startProgram } from "./fixtures/client.ts";
import { openBroker, until } from "./fixtures/open.ts";

const path = abilityAt("echo-js");

test("a child's tools are listed and called, and fail with the codes that they have everywhere", async () => {
  const client = openClient();
  const child = await client.loadStdio("echo", { path });
  expect(child.getTools().map(({ name }) => name)).toContain("echo");
  expect(await child.invoke("echo", { message: "hi" })).toMatchObject({ echo: "hi", length: 2 });
  await expect(child.invoke("echo", {})).rejects.toMatchObject({ code: "INVALID_INPUT" });
  await expect(child.invoke("wrong", { a: 1 })).rejects.toMatchObject({ code: "HANDLER_ERROR" });
  await expect(child.invoke("fail")).rejects.toMatchObject({ code: "HANDLER_ERROR", message: "it broke" });
  await expect(child.invoke("none")).rejects.toMatchObject({ code: "OPERATION_NOT_FOUND" });
});

test("an ability that is loaded later is subscribed to what there is before it can be called", async () => {
  const client = openClient();
  const { events, callback } = collector();
  await client.subscribeToEvent("echo.*", callback);
  const child = await client.load("echo", "stdio", { path });
  await child.invoke("hasty");
  expect(events).toMatchObject([{ channel: "echo.hasty", transport: "stdio", source: "echo" }]);
});

test("events of a child, of what it loaded natively and of its own children come once each, two levels deep, before the answer", async () => {
  const client = openClient();
  const { events, callback } = collector();
  await client.subscribeToEvent("#", callback);
  await client.subscribeToEvent("from.*", callback);
  const middle = await client.loadStdio("middle", { path: abilityAt("middle"), args: ["2"] });
  const channels = (): string[] => events.splice(0).map(({ channel, data }) => `${channel} ${JSON.stringify(data)}`);
  await middle["own"]();
  expect(channels()).toEqual(['from.middle "2"', 'from.middle "2"']);
  await middle["inner"]({ tool: "hasty", input: { data: "inner" } });
  expect(channels()).toEqual(['echo.hasty "inner"']);
  await middle["below"]({ tool: "own", input: {} });
  expect(channels()).toEqual(['from.middle "1"', 'from.middle "1"']);
  await middle["below"]({ tool: "inner", input: { tool: "hasty", input: { data: "inner of below" } } });
  expect(channels()).toEqual(['echo.hasty "inner of below"']);
  await middle["below"]({ tool: "below", input: { tool: "hasty", input: { data: "below of below" } } });
  expect(channels()).toEqual(['echo.hasty "below of below"']);
});

test("what handlers print goes to onOutput, and breaks no call and no event", async () => {
  const client = openClient();
  const lines: string[] = [];
  const child = await client.loadStdio("echo", { path, onOutput: (line) => lines.push(line) });
  const { events, callback } = collector();
  await client.subscribeToEvent("echo.#", callback);
  for (let i = 0; i < 3; i++) {
    await child.invoke("noisy");
    await child.invoke("hasty");
  }
  expect(events.length).toBe(3);
  expect(lines.filter((line) => line === "a line of its own").length).toBe(3);
  expect(lines.filter((line) => line.includes("half a line")).length).toBe(3);
  expect(client.errors).toEqual([]);
});

test("a crash rejects pending calls with the exit code and is told to subscribers, and the client lives on", async () => {
  const client = openClient();
  const other = await client.loadStdio("other", { path });
  const child = await client.loadStdio("echo", { path });
  const losses: EventLoss[] = [];
  const { events, callback } = collector();
  await client.subscribeToEvent("echo.*", callback, { onLoss: (loss) => losses.push(loss) });
  await client.subscribeToEvent("echo.#", callback);
  const pending = expect(child.invoke("stuck")).rejects.toMatchObject({
    code: "UNAVAILABLE",
    details: { exitCode: 3 },
  });
  await expect(child.invoke("crash", { code: 3 })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    details: { exitCode: 3, signal: null },
    cause: { name: "ChildExitError", exitCode: 3 },
  });
  await pending;
  expect(losses).toMatchObject([{ reason: "ended", transport: "stdio", source: "echo", cause: { exitCode: 3 } }]);
  // Whoever gave no onLoss is told by the client, once.
  expect(client.errors).toMatchObject([{ code: "DISCONNECTED", cause: { exitCode: 3 } }]);
  await other.invoke("hasty");
  const again = await client.loadStdio("echo", { path });
  await again.invoke("hasty");
  expect(events.length).toBe(4);
});

test("a call of a child that is killed, and one after that, say what ended it", async () => {
  const client = openClient();
  const killed = { code: "UNAVAILABLE", details: { exitCode: null, signal: "SIGKILL" } };
  for (let round = 0; round < 5; round++) {
    const child = await client.loadStdio("echo", { path });
    const pid: unknown = await child.invoke("pid");
    const pending = expect(child.invoke("stuck")).rejects.toMatchObject(killed);
    process.kill(Number(pid), "SIGKILL");
    await pending;
    await expect(child.invoke("hasty")).rejects.toMatchObject(killed);
  }
});

test("without anybody who listens to errors a crash is a warning of the process", async () => {
  const client = openClient();
  client.removeAllListeners("error");
  const warnings: Error[] = [];
  const listen = (warning: Error): void => void warnings.push(warning);
  process.on("warning", listen);
  onTestFinished(() => void process.off("warning", listen));
  await client.subscribeToEvent("a", () => null);
  const child = await client.loadStdio("echo", { path });
  await expect(child.invoke("crash", { code: 1 })).rejects.toMatchObject({ details: { exitCode: 1 } });
  await until(() => warnings.some(({ message }) => message.includes("exited with code 1")));
});

test("an ability that does not start is an error that says why, and leaves nothing behind", async () => {
  const folder = mkdtempSync(join(tmpdir(), "ability-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const client = openClient();
  const exits = client.loadStdio("exits", { command: process.execPath, args: ["-e", "process.exit(7)"] });
  await expect(exits).rejects.toMatchObject({ code: "UNAVAILABLE", details: { exitCode: 7 } });
  await expect(client.loadStdio("none", { command: join(folder, "none") })).rejects.toThrow("ENOENT");
  writeFileSync(join(folder, "agent.json"), JSON.stringify({ scripts: { start: " " } }));
  await expect(client.loadStdio("empty", { path: folder })).rejects.toThrow("start script");
});

test("a program that is silent is given up in time, and ended by the time that the client has disconnected", async () => {
  const folder = mkdtempSync(join(tmpdir(), "ability-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const client = openClient();
  const program = `require("node:fs").writeFileSync("pid", String(process.pid));
    process.on("SIGTERM", () => {});
    setInterval(() => {}, 1000);`;
  const silent = client.loadStdio("silent", {
    command: process.execPath,
    args: ["-e", program],
    cwd: folder,
    timeout: 500,
  });
  await expect(silent).rejects.toMatchObject({
    code: "TIMEOUT",
    message: expect.stringContaining("The ability silent did not serve within 500 ms") as string,
  });
  // It takes seconds to make it end, which nobody has waited for.
  const file = join(folder, "pid");
  await until(() => existsSync(file) && readFileSync(file, "utf8") !== "");
  const pid = Number(readFileSync(file, "utf8"));
  expect(isAlive(pid)).toBe(true);
  await client.disconnect();
  expect(isAlive(pid)).toBe(false);
});

test("disconnecting while a program does not serve rejects its loading at once, and ends it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "ability-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const client = openClient();
  const program = `require("node:fs").writeFileSync("pid", String(process.pid)); process.stdin.resume()`;
  const silent = client.loadStdio("silent", { command: process.execPath, args: ["-e", program], cwd: folder });
  const rejected = expect(silent).rejects.toMatchObject({
    code: "CLOSED",
    message: "The client was disconnected while silent was loaded.",
  });
  const file = join(folder, "pid");
  await until(() => existsSync(file) && readFileSync(file, "utf8") !== "");
  await client.disconnect();
  await rejected;
  expect(isAlive(Number(readFileSync(file, "utf8")))).toBe(false);
  // It can load again.
  const child = await client.loadStdio("echo", { path });
  expect(await child.invoke("echo", { message: "hi" })).toMatchObject({ echo: "hi" });
});

test("a program that sends back what it reads, and one that serves something else, are said to be no ability", async () => {
  const client = openClient();
  const noAbility = {
    code: "INVALID_OPTION",
    message: expect.stringMatching(/ is no ability: .*serve\("stdio"\)/) as string,
  };
  const echoes = { command: process.execPath, args: ["-e", "process.stdin.pipe(process.stdout)"] };
  await expect(client.loadStdio("cat", echoes)).rejects.toMatchObject(noAbility);
  const plain = [
    'import { createOperations } from "@alkdev/operations"; import { createPubSub } from "@alkdev/pubsub";',
    'import { createParentProcessEventTarget } from "@alkdev/pubsub/event-target-stdio";',
    "const pubsub = createPubSub({ eventTarget: createParentProcessEventTarget() });",
    'await createOperations(pubsub).handle("math.add", () => 1);',
  ].join("");
  const serves = { command: process.execPath, args: ["--input-type=module", "-e", plain], cwd: abilityAt("..") };
  await expect(client.loadStdio("plain", serves)).rejects.toMatchObject(noAbility);
});

test("calls of a child that has ended say so, and reach nobody else of that name, until it is loaded again", async () => {
  const { url } = await openBroker();
  const other = openClient({ name: "echo", broker: url });
  other.registerTool("hasty", () => "another");
  other.registerTool("pid", () => "another");
  await other.connect();
  const client = openClient({ broker: url });
  await client.connect();
  for (const [tool, input, exitCode] of [
    ["crash", { code: 3 }, 3],
    ["crash", { code: 0 }, 0],
  ] as const) {
    const child = await client.loadStdio("echo", { path });
    await expect(client.callTool("echo", tool, input)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    for (const name of ["hasty", "pid"])
      await expect(client.callTool("echo", name)).rejects.toMatchObject({
        code: "UNAVAILABLE",
        message: `The ability echo did not answer, it is gone: the child process exited with code ${exitCode}.`,
        details: { exitCode, signal: null },
      });
    await expect(child.invoke("hasty")).rejects.toMatchObject({ code: "UNAVAILABLE", details: { exitCode } });
  }
  const again = await client.loadStdio("echo", { path });
  expect(await client.callTool("echo", "hasty")).toBe("done");
  await again.disconnect();
  // Whoever lets go of an ability calls whoever else has the name.
  expect(await client.callTool("echo", "hasty")).toBe("another");
});

test("a call of a child that has said goodbye is UNAVAILABLE too", async () => {
  const client = openClient();
  const child = await client.loadStdio("echo", { path });
  await client.subscribeToEvent("a", () => null);
  await child.invoke("leave");
  await until(() => client.errors.length > 0);
  await expect(client.callTool("echo", "hasty")).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/^The ability echo did not answer, it is gone: /) as string,
  });
});

test("the command of agent.json is words, quoted or not, and is run in its folder", async () => {
  const folder = mkdtempSync(join(abilityAt(".."), "with space "));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(
    join(folder, "the main.mjs"),
    `process.argv[1] = ${JSON.stringify(`${path}/index.mjs`)};\nawait import(process.argv[1]);`,
  );
  writeFileSync(join(folder, "agent.json"), JSON.stringify({ scripts: { start: 'node "the main.mjs" stdio' } }));
  const child = await openClient().loadStdio("echo", { path: folder });
  expect(await child.invoke("hasty")).toBe("done");
});

test("disconnect ends children and theirs, and one that does not listen too; calls that wait are told", async () => {
  const client = openClient();
  const middle = await client.loadStdio("middle", { path: abilityAt("middle") });
  const stubborn = await client.loadStdio("echo", { path });
  const pids = await middle.invoke<number[]>("pids");
  const stuck = expect(stubborn.invoke("stuck")).rejects.toMatchObject({ code: "ABORTED" });
  // Its handler listens to nothing by the time that this is answered.
  await stubborn.invoke("hasty");
  expect(pids.every(isAlive)).toBe(true);
  await client.disconnect();
  await stuck;
  expect(pids.some(isAlive)).toBe(false);
  await expect(client.callTool("echo", "hasty")).rejects.toMatchObject({ code: "NOT_READY" });
});

test("a program that has disconnected ends by itself", async () => {
  const program = startProgram([fileURLToPath(new URL("fixtures/ends-by-itself.mjs", import.meta.url))]);
  expect(await outcomeOf(program)).toEqual({ printed: "done\n", code: 0 });
});

test("children end when their parent is killed", async () => {
  const program = startProgram([fileURLToPath(new URL("fixtures/parent.mjs", import.meta.url))]);
  const pids = JSON.parse(await firstLine(program)) as number[];
  expect(pids.length).toBe(2);
  expect(pids.every(isAlive)).toBe(true);
  program.kill("SIGKILL");
  await until(() => !pids.some(isAlive));
});
