/**
 * A real browser, and a server of files for its pages: for the tests, and for examples that want a page. Chromium of the
 * system, headless, driven by playwright-core; nothing but loopback can be reached from it.
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { findProgram, PROGRAMS } from "./programs.mjs";

const root = new URL("../", import.meta.url);

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // All but loopback goes to a port where nobody listens.
  "--proxy-server=http://127.0.0.1:9",
];

/**
 * Starts Chromium; end it with `close()`.
 *
 * @param options of playwright's `launch`, beside what is decided here
 * @returns a `Browser` of playwright-core
 * @throws Error that names the package to install, if there is none
 */
export async function launchBrowser(options = {}) {
  const executablePath = findProgram("chromium");
  if (executablePath === undefined)
    throw new Error(
      `There is no Chromium here. Install it with: sudo apt-get install --no-install-recommends ${PROGRAMS.chromium.package}`,
    );
  // Loaded only where it is wanted: it takes a third of a second.
  const { chromium } = await import("playwright-core");
  return chromium.launch({ ...options, executablePath, args: ARGUMENTS });
}

/** An import map for pages that use the packages as they are, unbundled, from a server of the repository. */
export async function importMap() {
  const imports = {};
  for (const name of ["pubsub", "hub"]) {
    const manifest = JSON.parse(await readFile(new URL(`packages/${name}/package.json`, root), "utf8"));
    for (const [path, { default: file }] of Object.entries(manifest.exports))
      if (file !== undefined) imports[`${manifest.name}${path.slice(1)}`] = `/packages/${name}/${file.slice(2)}`;
  }
  return { imports };
}

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".map": "application/json",
  ".mjs": "text/javascript",
  ".ts": "text/javascript",
};

/**
 * Serves files on a free port of 127.0.0.1.
 *
 * @param {{ root?: URL, only?: readonly string[], pages?: Record<string, string>, read?: (url: URL) => Promise<string | undefined> }} [options]
 *   `root`: the folder, by default the repository. `only`: the folders in it, as paths, outside of which nothing is served. `pages`: HTML by path, for what is no file. `read`: gives the text of a
 *   file (the URL has the request's query), or undefined for what is there.
 * @returns {Promise<{ url: string, close: () => Promise<void> }>} `url` without a slash at its end
 */
export async function serveFiles({ root: folder = root, only = ["/"], pages = {}, read } = {}) {
  async function respond(request, response) {
    const { pathname, search } = new URL(request.url ?? "/", "http://127.0.0.1");
    // A page that is isolated like this may share memory with its workers.
    const headers = {
      "cache-control": "no-store",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
    };
    const answer = (status, type, body) => {
      response.writeHead(status, { ...headers, "content-type": `${type}; charset=utf-8` });
      response.end(body);
    };
    try {
      const page = pages[pathname];
      if (page !== undefined) return answer(200, TYPES[".html"], page);
      if (!only.some((start) => pathname.startsWith(start))) return answer(404, "text/plain", "Not found.");
      // A pathname has no `..` left in it.
      const file = new URL(`.${pathname}${search}`, folder);
      const text = (await read?.(file)) ?? (await readFile(fileURLToPath(new URL(file.pathname, file))));
      answer(200, TYPES[extname(pathname)] ?? "application/octet-stream", text);
    } catch (error) {
      if (error.code === "ENOENT" || error.code === "EISDIR") return answer(404, "text/plain", "Not found.");
      answer(500, "text/plain", String(error));
    }
  }
  const server = createServer((request, response) => void respond(request, response));
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}
