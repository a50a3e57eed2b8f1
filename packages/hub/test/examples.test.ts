// The TypeScript in the documents: all of it is what the compiler takes, and what can be run does what it says.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createHubServer } from "@alkdev/hub";
import { transform } from "esbuild";
import { afterAll, expect, onTestFinished, test } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const DOCUMENTS = [
  "README.md",
  "packages/pubsub/README.md",
  "packages/hub/README.md",
  "packages/operations/README.md",
  "packages/kadi/README.md",
  "docs/errors.md",
  ...readdirSync(join(root, "docs/architecture")).map((name) => `docs/architecture/${name}`),
];

interface Example {
  readonly document: string;
  readonly line: number;
  readonly code: string;
}

function examplesOf(document: string): Example[] {
  const text = readFileSync(join(root, document), "utf8");
  return [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(({ 1: code = "", index }) => ({
    document,
    line: text.slice(0, index).split("\n").length + 1,
    code,
  }));
}

const examples = DOCUMENTS.flatMap(examplesOf);

/** What an example in the middle of a text may take for granted. */
const GIVEN = `
import type { PubSub, PubSubError as PubSubErrorClass, EventEnvelope } from "@alkdev/pubsub";
import type * as library from "@alkdev/pubsub";
declare global {
  const pubsub: PubSub<{ "session.status": { status: "idle" | "busy" } }>;
  const PubSubError: typeof PubSubErrorClass;
  const { pipe, merge, dedupe, filter, map, toArray }: typeof library;
  const orders: AsyncIterable<EventEnvelope<"order", { orderId: string; amount: number }>>;
  const alarms: AsyncIterable<EventEnvelope<"alarm", { text: string }>>;
  function again(): Promise<void>;
  function notify(event: EventEnvelope): void;
}
`;

// Beside the packages, so that their names resolve.
const folder = mkdtempSync(join(root, "node_modules", ".examples-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

test("there are examples", () => {
  expect(examples.length).toBeGreaterThan(4);
});

test("every example in the documents is what the compiler takes", { timeout: 120_000 }, () => {
  write("package.json", JSON.stringify({ type: "module" }));
  write("given.ts", GIVEN);
  const files = examples.map(({ document, line, code }) => {
    const name = `${document.replaceAll(/[^a-z]+/gi, "-")}-${line}.ts`;
    // On the same lines as in the document, for the sake of the compiler's messages.
    write(name, `${"\n".repeat(line - 1)}${code}\nexport {};\n`);
    return name;
  });
  write(
    "tsconfig.json",
    JSON.stringify({
      extends: "../../tsconfig.test.json",
      compilerOptions: { noUnusedLocals: false },
      include: [],
      files: ["given.ts", ...files],
    }),
  );
  let said = "";
  try {
    execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", folder], {
      cwd: folder,
      encoding: "utf8",
    });
  } catch (error) {
    said = (error as { stdout: string }).stdout;
  }
  expect(said).toBe("");
});

/** Runs an example as a program of its own; resolves with what it printed, once that is `enough` or it has ended. */
async function run({ document, code }: Example, enough: (printed: string) => boolean): Promise<string> {
  const name = `${document.replaceAll(/[^a-z]+/gi, "-")}.mjs`;
  write(name, (await transform(code, { loader: "ts", format: "esm" })).code);
  const child = spawn(process.execPath, [join(folder, name)], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill());
  const ended = once(child, "exit");
  let printed = "";
  child.stdout.setEncoding("utf8");
  for await (const text of child.stdout) {
    printed += text as string;
    if (enough(printed)) return printed;
  }
  expect(await ended).toEqual([0, null]);
  return printed;
}

const first = (document: string): Example => examples.find((example) => example.document === document) as Example;

test("the README's example does what it says", async () => {
  const server = await createHubServer({ port: 0 });
  onTestFinished(() => server.close());
  const { document, line, code } = first("README.md");
  expect(code).toContain("ws://localhost:8080");
  const here = { document, line, code: code.replace("ws://localhost:8080", server.url) };
  const printed = await run(here, (text) => text.includes("busy"));
  expect(printed.split("\n")).toEqual(expect.arrayContaining(["session.status proj_123", "busy"]));
});

test("the library's example does what it says, and ends", async () => {
  const printed = await run(first("packages/pubsub/README.md"), () => false);
  expect(printed).toBe("order.paid a1\norder.paid a2\norder.sent a2\n50\n");
});

test("the operations' examples do what they say, and end", async () => {
  expect(await run(first("packages/operations/README.md"), () => false)).toBe("3\n");
  const ofRouter = examples.find(({ code }) => code.includes("router.join"));
  expect(await run(ofRouter as Example, () => false)).toBe("");
});

test("the hub's example of server-sent events does what it says, and ends", async () => {
  const example = examples.find(
    ({ document, code }) => document === "packages/hub/README.md" && code.includes("events: true"),
  );
  const printed = await run(example as Example, () => false);
  expect(printed.replaceAll(/^id: \S+$/gm, "id: …")).toBe(
    [
      "id: …",
      "",
      "id: …",
      'data: {"type":"demo.note","id":"me","payload":{"note":"hi"}}',
      "",
      "event: end",
      'data: {"code":"CLOSED","message":"The hub was closed. Connect again once it is back."}',
      "\n\n",
    ].join("\n"),
  );
});

test("the KADI broker's example does what it says, and ends", async () => {
  const example = examples.find(
    ({ document, code }) => document === "packages/kadi/README.md" && code.includes("broker.status()"),
  );
  expect(await run(example as Example, () => false)).toMatch(/^\{\s+sessions: 0,[^}]+backplane: undefined\s+\}\n$/);
});

test("the hub's example does what it says, and ends", async () => {
  expect(await run(first("packages/hub/README.md"), () => false)).toBe("hi\n");
});
