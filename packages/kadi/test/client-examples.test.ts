// The examples with KADI, each run as a user runs it; all that it prints is compared.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { freePort } from "../../pubsub/test/fixtures/ports.ts";
import { outcomeOf, startEcho, startProgram } from "./fixtures/client.ts";
import { openBroker, until } from "./fixtures/open.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** What an example prints, with the address as users see it. */
async function run(name: string, url: string): Promise<string[]> {
  const child = spawn(process.execPath, ["scripts/example.mjs", name], {
    cwd: root,
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, KADI_BROKER_URL: url },
  });
  onTestFinished(() => void child.kill());
  const { printed, code } = await outcomeOf(child);
  expect(code).toBe(0);
  return printed
    .replaceAll(url, "ws://localhost:8080")
    .replaceAll(/timestamp: '[^']+'/g, "timestamp: '…'")
    .trimEnd()
    .split("\n");
}

const TOOLS = [
  "[tools] add: Adds two numbers; divide: Divides one number by another",
  "[result] calculator.add -> { result: 5 }",
  "[result] calculator.divide -> { result: 3.5 }",
  "[error] calculator.add -> INVALID_INPUT: The input of add does not fit: a: Invalid input: expected number, received string.",
  "[error] calculator.divide -> HANDLER_ERROR: Nothing can be divided by zero.",
];

const EVENTS = [
  "[event] echo.* -> { from: 'message echo' }",
  "[event] echo.test-event -> { from: 'message echo' }",
  "[event] echo.* -> { from: 'message echo 2' }",
  "[event] echo.test-event -> { from: 'message echo 2' }",
];

const GOLDEN = [
  "Connected to broker at ws://localhost:8080",
  ...EVENTS,
  "[result] echo-js.echo -> { echo: 'Hello from the other process.', timestamp: '…', length: 29 }",
];

const NO_ROOT = "[error] calculator.root -> OPERATION_NOT_FOUND: ";

test.each([
  ["05-tools-native", ["Loaded calculator (native)", ...TOOLS, `${NO_ROOT}There is no tool root here.`]],
  ["06-tools-stdio", ["Loaded calculator (stdio)", ...TOOLS, `${NO_ROOT}There is no tool root here.`]],
  [
    "07-tools-broker",
    [
      "Connected to broker at ws://localhost:8080",
      ...TOOLS,
      `${NO_ROOT}No agent "calculator" with the tool "root" is in your networks; kadi.ability.list shows those there are.`,
    ],
  ],
  [
    "08-events-native",
    [
      "Loaded echo-js (native)",
      ...EVENTS,
      "[result] echo-js.echo -> { echo: 'Hello from the same process.', timestamp: '…', length: 28 }",
    ],
  ],
  [
    "09-events-stdio",
    [
      "Loaded relay (stdio)",
      "[event] relay.begun -> { message: 'Hello from the parent.' }",
      "[event] echo.test-event -> { from: 'message echo' }",
      "[event] echo.test-event -> { from: 'message echo 2' }",
      "[event] relay.done -> { length: 22 }",
      "[result] relay.relay -> { length: 22 }",
    ],
  ],
  ["10-events-broker", GOLDEN],
])("%s prints what it should, and ends", async (name, lines) => {
  expect(await run(name, `ws://localhost:${await freePort()}`)).toEqual(lines);
});

test("10-events-broker prints the same at a broker, and with an ability, that are there already", async () => {
  const { port, url } = await openBroker();
  await startEcho(url);
  for (let i = 0; i < 3; i++) expect(await run("10-events-broker", `ws://localhost:${port}`)).toEqual(GOLDEN);
});

test("an example whose broker somebody else starts in the same moment uses theirs", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const ran = run("10-events-broker", `ws://localhost:${port}`);
  // The first attempt fails; at the second its own broker has failed too, for the port is taken.
  for (let i = 0; i < 2; i++) {
    const [socket] = (await once(other, "connection")) as [Socket];
    socket.destroy();
  }
  other.close();
  await once(other, "close");
  await openBroker({ port });
  expect(await ran).toEqual(GOLDEN);
});

test("an example that finds something else at the address says what is missing", async () => {
  const other = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  onTestFinished(() => void other.close());
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const url = `ws://localhost:${port}`;
  const child = spawn(process.execPath, ["scripts/example.mjs", "07-tools-broker"], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, KADI_BROKER_URL: url },
  });
  onTestFinished(() => void child.kill());
  let stderr = "";
  child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  expect(await outcomeOf(child)).toEqual({ printed: "", code: 1 });
  expect(stderr).toContain(`A broker at ${url} is not there and could not be started: `);
  expect(stderr).not.toContain("    at ");
});

test("the README's ability and client do what it says", async () => {
  const broker = await openBroker();
  // Beside the packages, so that their names resolve.
  const folder = mkdtempSync(join(root, "node_modules", ".kadi-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const text = readFileSync(join(root, "packages/kadi/README.md"), "utf8");
  for (const [, code = "", name = ""] of text.matchAll(/^```ts\n(\/\/ (\w+\.mjs)\n.*?)^```$/gms))
    writeFileSync(join(folder, name), code.replace("ws://localhost:8080", broker.url));
  startProgram([join(folder, "echo.mjs")]);
  await until(() => broker.status().agents === 1);
  const { printed, code } = await outcomeOf(startProgram([join(folder, "client.mjs")]));
  expect(printed).toBe("echo.said { message: 'hi' }\n{ length: 2 }\n");
  expect(text).toContain(printed.replaceAll(/^(?=.)/gm, "    "));
  expect(code).toBe(0);
});
