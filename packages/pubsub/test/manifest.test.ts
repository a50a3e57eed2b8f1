import { existsSync, readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

interface Manifest {
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const packages = new URL("../../", import.meta.url);
const text = (url: URL): string => readFileSync(url, "utf8");

describe.each(["pubsub", "hub", "operations"])("the manifest of %s", (name) => {
  const folder = new URL(`${name}/`, packages);
  const manifest = JSON.parse(text(new URL("package.json", folder))) as Manifest;

  test("leads every sub-path and command to a file that exists", () => {
    const targets = [...Object.values(manifest.exports), manifest.bin ?? {}].flatMap((entry) =>
      typeof entry === "string" ? [entry] : Object.values(entry),
    );
    expect(targets.filter((target) => !existsSync(new URL(target, folder)))).toEqual([]);
  });

  test("brings the repository's licence along", () => {
    expect(text(new URL("LICENSE", folder))).toBe(text(new URL("../LICENSE", packages)));
  });
});

test("pubsub has no runtime dependency", () => {
  const manifest = JSON.parse(text(new URL("pubsub/package.json", packages))) as Manifest;
  expect(manifest.dependencies ?? {}).toEqual({});
});

test("every event target is exported under its name", () => {
  const manifest = JSON.parse(text(new URL("pubsub/package.json", packages))) as Manifest;
  const folder = new URL("pubsub/src/event-targets/", packages);
  // What one of them is made of may be in files beside it.
  const isTarget = (file: string): boolean =>
    /^export function create\w+EventTarget\b/m.test(text(new URL(file, folder)));
  const files = readdirSync(fileURLToPath(folder)).filter((file) => file.endsWith(".ts") && isTarget(file));
  expect(files).toContain("worker.ts");
  const missing = files.filter((file) => !(`./event-target-${file.slice(0, -3)}` in manifest.exports));
  expect(missing).toEqual([]);
});
