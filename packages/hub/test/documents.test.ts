import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = new URL("../../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");

test("the README's table of transports is what the manifests say", () => {
  execFileSync(process.execPath, [fileURLToPath(new URL("scripts/docs.mjs", root)), "--check"], {
    cwd: fileURLToPath(root),
  });
});

test("every error code is a heading of docs/errors.md, and no other", () => {
  const union = /export type PubSubErrorCode =([^;]*);/.exec(read("packages/pubsub/src/errors.ts"))?.[1] ?? "";
  const codes = [...union.matchAll(/"([A-Z_]+)"/g)].map((match) => match[1]);
  const headings = [...read("docs/errors.md").matchAll(/^## (\S+)$/gm)].map((match) => match[1]);
  expect(codes.length).toBeGreaterThan(10);
  expect(headings).toEqual(codes);
});

test("every link between the documents leads to a file", () => {
  const documents = [
    "README.md",
    "CONTRIBUTING.md",
    "AGENTS.md",
    "packages/pubsub/README.md",
    "packages/hub/README.md",
    "packages/operations/README.md",
    "packages/kadi/README.md",
    "docs/errors.md",
    "docs/protocol.md",
    "examples/python/README.md",
    "examples/bash/README.md",
    ...readdirSync(new URL("docs/architecture/", root)).map((name) => `docs/architecture/${name}`),
  ];
  for (const document of documents)
    for (const [, target = ""] of read(document).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g))
      expect(() => readdirOrRead(new URL(target, new URL(document, root))), `${document} → ${target}`).not.toThrow();
});

/** The sources of a package, by their paths below `src`. */
function sources(name: string): string[] {
  return readdirSync(new URL(`packages/${name}/src/`, root), { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".ts"));
}

test.each([
  ["pubsub", ["operators", "event-targets", "testing"]],
  ["hub", ["cli"]],
  ["operations", []],
  ["kadi", ["cli", "abilities"]],
])("every source file of %s is in the tables of docs/architecture, or its folder is described", (name, described) => {
  const tables = read("docs/architecture/README.md") + read("docs/architecture/kadi.md");
  const files = sources(name).filter((file) => !described.some((folder) => file.startsWith(`${folder}/`)));
  expect(files.filter((file) => file !== "index.ts" && !tables.includes(`\`${file}\``))).toEqual([]);
});

test.each([
  ["AGENTS.md", 20],
  ["docs/architecture/README.md", 20],
  ["docs/architecture/kadi.md", 10],
])("every source file that %s names is there", (document, least) => {
  const names = new Set(["pubsub", "hub", "operations", "kadi"].flatMap(sources).map((file) => file.split("/").at(-1)));
  const named = Array.from(read(document).matchAll(/`(?:link\/)?([a-z-]+\.ts)`/g), (match) => match[1]);
  expect(named.length).toBeGreaterThan(least);
  expect(named.filter((file) => !names.has(file))).toEqual([]);
});

function readdirOrRead(url: URL): void {
  try {
    readFileSync(url);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EISDIR") throw error;
  }
}
