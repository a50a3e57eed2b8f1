import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { freePort } from "../../pubsub/test/fixtures/ports.ts";
import { main } from "../src/cli.ts";
import { suggestion } from "../src/cli/arguments.ts";
import { BIN, hubHere, pubsub, start } from "./cli-support.ts";

describe("help", () => {
  test.each([[["--help"]], [["-h"]], [["help"]], [["help", "help"]]])(
    "%j shows the commands on stdout and exits with 0",
    async (args) => {
      const run = pubsub(args);
      expect(await run.ended).toBe(0);
      expect(run.stdout).toContain("Usage: pubsub COMMAND");
      for (const word of ["hub", "tail", "publish", "PUBSUB_URL", "NO_COLOR", "Examples", "Exit codes"])
        expect(run.stdout).toContain(word);
      expect(run.stderr).toBe("");
    },
  );

  test.each([
    [
      ["help", "hub"],
      ["--port", "--host", "--allow-host", "/status", "Examples"],
    ],
    [
      ["tail", "--help"],
      ["--url", "--json", "--count", '{"gap":', "Examples"],
    ],
    [["tail", "a.b", "-h", "--json"], ["Usage: pubsub tail"]],
    [
      ["publish", "-h"],
      ["--url", "NDJSON", `'"text"'`, "null is published", "130", "Examples"],
    ],
    [["--help", "publish"], ["Usage: pubsub publish"]],
  ])("%j shows all about the command", async (args, words) => {
    const run = pubsub(args);
    expect(await run.ended).toBe(0);
    for (const word of words) expect(run.stdout).toContain(word);
    expect(run.stderr).toBe("");
  });

  test("no line of the help is wider than 110 columns", async () => {
    for (const args of [["help"], ["help", "hub"], ["help", "tail"], ["help", "publish"]]) {
      const run = pubsub(args);
      await run.ended;
      expect(run.lines.filter((line) => line.length > 110)).toEqual([]);
    }
  });

  test("--version shows the version of the package", async () => {
    const run = pubsub(["--version"]);
    expect(await run.ended).toBe(0);
    const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    expect(run.stdout).toBe(`${manifest.version}\n`);
  });

  test("help into a closed pipe is no error", async () => {
    const run = start("bash", ["-o", "pipefail", "-c", `"${process.execPath}" "${BIN}" help | true`]);
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe("");
  });
});

describe("a wrong command line exits with 2 before anything is tried, and says what is wrong", () => {
  test.each([
    [[], "a command is missing: hub, tail or publish"],
    [["tial"], 'no command "tial"; did you mean tail?'],
    [["pub"], 'no command "pub"; did you mean publish?'],
    [["help", "hubb"], 'no command "hubb"; did you mean hub?'],
    [["xyzzy"], 'no command "xyzzy"\n'],
    [["--verson"], "no option --verson; did you mean --version?"],
    [["tail", "a", "--cuont", "3"], "no option --cuont; did you mean --count?"],
    [["tail", "a", "--quite-another"], "no option --quite-another\n"],
    [["hub", "--allowhost", "x"], "did you mean --allow-host?"],
    [["tail"], "tail needs a type or a pattern"],
    [["tail", "a", "b", "c"], "quote a pattern"],
    [["tail", "a", "--count", "0"], '--count takes a whole number from 1 on, not "0"'],
    [["tail", "a", "--count", "1.5"], "--count takes a whole number"],
    [["tail", "a", "--count"], "argument missing"],
    [["tail", "a", "--json=yes"], "does not take an argument"],
    [["tail", "a.b*"], "a star stands for a whole token"],
    [["tail", "a", "--url", "localhost:8080"], "use ws://localhost:8080"],
    [["tail", "a", "--url", "https://events.example/"], "use wss://events.example\n"],
    [
      ["tail", "a", "--url", "nonsense"],
      '--url is "nonsense", which is not the address of a hub or a broker; use ws://host:port, ',
    ],
    [["tail", "a", "--url", "memory:"], '--url is "memory:", which is not the address of'],
    [["tail", "a", "--url", "mailto://x"], 'Nothing opens URLs that begin with "mailto:". Known are'],
    [["tail", "a", "--url", "redis:x"], "redis: needs a host, as in redis://localhost:6379"],
    [["hub", "--backplane", "localhost:6379"], '--backplane is "localhost:6379", which'],
    [["publish", "a"], "publish needs a type and an id"],
    [["publish", "a", "b", "{note:", "hi}"], 'there is also "hi}"'],
    [["publish", "a.*", "b"], "it contains a wildcard"],
    [["publish", "a:b", "c", "1"], "it contains a colon"],
    [["publish", "a", "b", "-5"], "put -- before the arguments"],
    [["publish", "a", "b", "some text"], `a string needs quotes inside the shell's: '"some text"'`],
    [["publish", "a", "b", "it's"], String.raw`'"it'\''s"'`],
    [["publish", "a", "b", "{note:1}"], "names and strings need double quotes"],
    [["hub", "--port", "http"], '--port takes a whole number from 0 to 65535, not "http"'],
    [["hub", "--port", "65536"], "--port takes a whole number"],
    [["hub", "8080"], "hub takes options only"],
  ])("%j", async (args, message) => {
    let stderr = "";
    const error = vi.spyOn(process.stderr, "write").mockImplementation((text) => ((stderr += String(text)), true));
    const output = vi.spyOn(process.stdout, "write");
    const code = await main(args).finally(() => error.mockRestore());
    const outputs = output.mock.calls.length;
    output.mockRestore();
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/^pubsub: /);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(outputs).toBe(0);
  });

  test("as a process too", async () => {
    const run = pubsub(["tial"]);
    expect(await run.ended).toBe(2);
    expect(run.stdout).toBe("");
    expect(run.stderr).toBe('pubsub: there is no command "tial"; did you mean tail?\nSee: pubsub help\n');
  });

  test("an address in PUBSUB_URL that is none is called by that name", async () => {
    const run = pubsub(["tail", "a"], { env: { PUBSUB_URL: "nonsense" } });
    expect(await run.ended).toBe(2);
    expect(run.stderr).toContain('PUBSUB_URL is "nonsense"');
  });

  test("only what is near is suggested", () => {
    expect(suggestion("tail", ["tail"])).toBe("; did you mean tail?");
    expect(suggestion("pbulish", ["hub", "tail", "publish"])).toBe("; did you mean publish?");
    expect(suggestion("h", ["hub", "help"])).toBe("; did you mean hub?");
    expect(suggestion("", ["hub"])).toBe("");
    expect(suggestion("abc", ["xyz"])).toBe("");
  });
});

describe("where there is no hub, one line says so at once and the exit code is 1", () => {
  test.each([
    ["tail", "a"],
    ["publish", "a", "b", "1"],
    ["publish", "a", "b", "-"],
  ])("%s %s %s %s", async (...args) => {
    const port = await freePort();
    const run = pubsub([...args, "--url", `ws://localhost:${port}`]);
    expect(await run.ended).toBe(1);
    expect(run.stderr).toBe(
      `pubsub: no hub at ws://localhost:${port} (connection refused); start one with: pubsub hub --port ${port}\n`,
    );
    expect(run.stdout).toBe("");
  });

  test("the address may come from PUBSUB_URL, and --url goes before it", async () => {
    const { url } = await hubHere();
    const nobody = `ws://127.0.0.1:${await freePort()}`;
    const bad = pubsub(["publish", "a", "b"], { env: { PUBSUB_URL: nobody } });
    expect(await bad.ended).toBe(1);
    expect(bad.stderr).toContain(`no hub at ${nobody}`);
    const good = pubsub(["publish", "a", "b"], { env: { PUBSUB_URL: url } });
    expect(await good.ended).toBe(0);
    const better = pubsub(["publish", "a", "b", "--url", url], { env: { PUBSUB_URL: nobody } });
    expect(await better.ended).toBe(0);
  });

  test("a password in the address is not shown", async () => {
    const run = pubsub(["tail", "a", "--url", `ws://me:secret@localhost:${await freePort()}`]);
    expect(await run.ended).toBe(1);
    expect(run.stderr).toContain("no hub at ws://localhost:");
    expect(run.stderr).not.toContain("secret");
  });

  test("a web server that is no hub is told from none", async () => {
    const server = createServer((_, response) => void response.writeHead(404).end());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const run = pubsub(["tail", "a", "--url", `ws://127.0.0.1:${(server.address() as AddressInfo).port}`]);
    expect(await run.ended).toBe(1);
    expect(run.stderr).toContain("(a web server is there, and answered 404)");
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
});
