// In Chromium: the packages as they are, behind an import map, and what Vite and esbuild make of them.
import { createHubServer } from "@alkdev/hub";
import * as esbuild from "esbuild";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Page } from "playwright-core";
import * as vite from "vite";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { importMap, launchBrowser, serveFiles } from "../../../scripts/browser.mjs";

const root = new URL("../../../", import.meta.url);
const app = new URL("fixtures/browser-app/", import.meta.url);

let browser: Awaited<ReturnType<typeof launchBrowser>>;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser.close());

/** A page that reports what goes wrong in it. */
async function openPage(): Promise<{ page: Page; problems: string[]; requested: string[] }> {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  const problems: string[] = [];
  const requested: string[] = [];
  page.on("pageerror", (error) => problems.push(String(error.stack)));
  page.on("console", (message) => problems.push(message.text()));
  page.on("request", (request) => requested.push(request.url()));
  page.on("response", (response) => {
    if (response.status() >= 400) problems.push(`${response.status()} ${response.url()}`);
  });
  return { page, problems, requested };
}

/** Runs the application; resolves with what its page asked for. */
async function run(url: string): Promise<string[]> {
  const server = await createHubServer({ port: 0 });
  onTestFinished(() => server.close());
  const { page, problems, requested } = await openPage();
  await page.goto(`${url}?hub=${server.url}`);
  const result = await page.evaluate(() => (globalThis as { result?: Promise<unknown> }).result);
  expect(problems).toEqual([]);
  expect(result).toEqual({ hub: [1, 2, 3], bus: [1, 2, 3], worker: "1970-01-01T00:00:00.000Z" });
  return requested;
}

/** Names that only Node has. Each stands for a use that is no property: `globalThis.process?.x` is none. */
const NODE = ["process", "Buffer", "global", "require", "module", "exports", "setImmediate", "__dirname", "__filename"];

/** What of Node is in a script: free names, and imports that are no path. */
async function traces(code: string): Promise<string[]> {
  const define = Object.fromEntries(NODE.map((name) => [name, `TRACE_OF_NODE_${name}`]));
  const { outputFiles, metafile } = await esbuild.build({
    stdin: { contents: code, loader: "js" },
    define,
    bundle: true,
    external: ["*"],
    format: "esm",
    write: false,
    metafile: true,
    logLevel: "silent",
  });
  const free = outputFiles[0]?.text.match(/TRACE_OF_NODE_\w+/g) ?? [];
  const imports = Object.values(metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path));
  return [...free, ...imports.filter((path) => !/^(\.{1,2}\/|@alkdev\/)/.test(path))];
}

async function tracesIn(folder: string): Promise<string[]> {
  const scripts = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".js"));
  expect(scripts.length).toBeGreaterThan(1);
  return (await Promise.all(scripts.map((file) => traces(readFileSync(join(folder, file), "utf8"))))).flat();
}

function outputFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "alkdev-app-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function serve(folder: string, pages: Record<string, string> = {}): Promise<string> {
  const server = await serveFiles({ root: pathToFileURL(`${folder}/`), pages });
  onTestFinished(() => server.close());
  return server.url;
}

test("unbundled, behind an import map, the packages run as they were built", async () => {
  const map = JSON.stringify(await importMap());
  const at = "/packages/hub/test/fixtures/browser-app";
  const worker = `globalThis.startWorker = () => new Worker("${at}/worker-by-url.js", { type: "module" });`;
  const page = `<!doctype html><link rel="icon" href="data:,"><script type="importmap">${map}</script><script>${worker}</script><script type="module" src="${at}/app.js"></script>`;
  const url = await serve(fileURLToPath(root).replace(/\/$/, ""), { "/": page });
  const requested = await run(`${url}/`);
  const built = [...new Set(requested.map((each) => new URL(each).pathname))].filter((path) => path.includes("/dist/"));
  expect(built.length).toBeGreaterThan(20);
  const found = await Promise.all(built.map((path) => traces(readFileSync(new URL(`.${path}`, root), "utf8"))));
  expect(found.flat()).toEqual([]);
});

test("the README's page shows what it publishes", async () => {
  const readme = readFileSync(new URL("README.md", root), "utf8");
  const html = /^```html\n(.*?)^```$/ms.exec(readme)?.[1] ?? "";
  expect(html).toContain("ws://localhost:8080");
  const hub = await createHubServer({ port: 0 });
  onTestFinished(() => hub.close());
  const url = await serve(fileURLToPath(root).replace(/\/$/, ""), {
    "/": html.replace("ws://localhost:8080", hub.url).replace("<script", `<link rel="icon" href="data:," /><script`),
  });
  const { page, problems } = await openPage();
  await page.goto(url);
  await page.getByText("room-1: hello").waitFor();
  expect(problems).toEqual([]);
});

/** @returns what Vite had to say against it */
async function buildWithVite(outDir: string, plugins: vite.Plugin[] = []): Promise<string[]> {
  const said: string[] = [];
  const say = (text: string): void => void said.push(text);
  // Under a test runner's it keeps some warnings to itself.
  vi.stubEnv("NODE_ENV", "production");
  onTestFinished(() => void vi.unstubAllEnvs());
  await vite.build({
    root: fileURLToPath(app),
    configFile: false,
    logLevel: "warn",
    customLogger: { ...vite.createLogger("silent"), warn: say, warnOnce: say, error: say },
    base: "./",
    worker: { format: "es" },
    build: { outDir, emptyOutDir: true },
    plugins,
  });
  return said;
}

test("Vite builds an application of them without a warning, and nothing of Node gets in", async () => {
  const outDir = outputFolder();
  expect(await buildWithVite(outDir)).toEqual([]);
  expect(await tracesIn(outDir)).toEqual([]);
  await run(`${await serve(outDir)}/index.html`);
});

test("esbuild builds an application of them without a warning, and nothing of Node gets in", async () => {
  const outdir = outputFolder();
  const { warnings, metafile } = await esbuild.build({
    entryPoints: ["app.js", "worker.js"].map((file) => fileURLToPath(new URL(file, app))),
    outdir,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    metafile: true,
    logLevel: "silent",
  });
  expect(warnings).toEqual([]);
  expect(Object.keys(metafile.inputs).filter((file) => !/^packages\/(hub|pubsub)\//.test(file))).toEqual([]);
  expect(await tracesIn(outdir)).toEqual([]);
  await run(`${await serve(outdir, { "/": readFileSync(new URL("index.html", app), "utf8") })}/`);
});

describe("what looks for traces of Node", () => {
  test("finds them", async () => {
    const code = `import "node:fs"; import ws from "ws"; const { x } = await import("net"); process.exit(Buffer.from(x, ws)); globalThis.process?.exit();`;
    expect((await traces(code)).sort()).toEqual([
      "TRACE_OF_NODE_Buffer",
      "TRACE_OF_NODE_process",
      "net",
      "node:fs",
      "ws",
    ]);
  });

  test("hears of them from Vite", async () => {
    const transform = (code: string, id: string): string | undefined =>
      id.endsWith("/app.js") ? `import { readFileSync } from "node:fs"; console.log(readFileSync); ${code}` : undefined;
    const said = await buildWithVite(outputFolder(), [{ name: "node", transform }]);
    expect(said.join()).toContain("node:fs");
  });
});
