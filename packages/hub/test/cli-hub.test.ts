import { createServer } from "node:net";
import type { Server } from "node:net";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHubEventTarget } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import { describe, expect, onTestFinished, test } from "vitest";
import { connect } from "../../pubsub/test/fixtures/event-source.ts";
import { hubHere, pubsub } from "./cli-support.ts";
import type { Run } from "./cli-support.ts";

async function hub(...args: string[]): Promise<{ run: Run; url: string }> {
  const run = pubsub(["hub", "--port", "0", ...args]);
  const [, url = ""] = await run.said("stdout", /^hub: (ws:\S+),.*\n/);
  return { run, url };
}

function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

describe("pubsub hub", () => {
  test("says in one line where it listens and where its figures are", async () => {
    const { run, url } = await hub();
    const status = url.replace("ws:", "http:") + "/status";
    expect(run.stdout).toBe(`hub: ${url}, figures at GET ${status}\n`);
    expect(url).toMatch(/^ws:\/\/127\.0\.0\.1:[1-9]\d*$/);
    const response = await fetch(status);
    expect(await response.json()).toMatchObject({ links: [], received: 0, sent: 0 });
    expect(run.stderr).toBe("");
  });

  test("--events sends what is published as server-sent events, and says goodbye; without it they are off", async () => {
    const off = await hub();
    expect((await fetch(`${off.url.replace("ws:", "http:")}/events?type=**`)).status).toBe(404);
    const { run, url } = await hub("--events");
    const events = `${url.replace("ws:", "http:")}/events?type=**`;
    expect(run.stdout).toContain(`, events at GET ${events}\n`);
    const connection = await connect(events);
    expect(await pubsub(["publish", "a.b", "c", "1", "--url", url]).ended).toBe(0);
    await connection.count(1);
    expect(connection.events).toMatchObject([{ type: "a.b", id: "c", payload: 1 }]);
    run.child.kill("SIGINT");
    expect(await connection.ended).toBe("done");
    expect(connection.end).toMatchObject({ code: "CLOSED" });
    expect(await run.ended).toBe(0);
  });

  test("--token-file lets in only whoever names its token, in the address or in a header", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pubsub-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "token");
    writeFileSync(file, "s3cret\n");
    const { url } = await hub("--token-file", file);
    const status = `${url.replace("ws:", "http:")}/status`;
    expect((await fetch(status)).status).toBe(401);
    expect((await fetch(status, { headers: { authorization: "Bearer wrong" } })).status).toBe(401);
    expect((await fetch(status, { headers: { authorization: "Bearer s3cret" } })).status).toBe(200);
    const refused = pubsub(["publish", "a.b", "c", "1", "--url", url]);
    expect(await refused.ended).toBe(1);
    expect(refused.stderr).toContain("(401); put its token into the address: ?token=");
    const known = pubsub(["publish", "a.b", "c", "1", "--url", `${url}/?token=s3cret`]);
    expect(await known.ended).toBe(0);
    expect(known.stderr).not.toContain("s3cret");
    const empty = pubsub(["hub", "--token-file", folder]);
    expect(await empty.ended).toBe(1);
    expect(empty.stderr).toContain("the token cannot be read");
  });

  test.each(["SIGINT", "SIGTERM"] as const)("%s says goodbye to every link and exits with 0", async (signal) => {
    const { run, url } = await hub();
    await using target = createHubEventTarget(url);
    const pubsub = createPubSub({ eventTarget: target });
    await pubsub.subscribe("a.b");
    const goodbye = new Promise<unknown>((resolve) => {
      target.onStatus((status, cause) => {
        if (status === "interrupted") resolve(cause);
      });
    });
    run.child.kill(signal);
    expect(String(await goodbye)).toContain("(CLOSED)");
    expect(await run.ended).toBe(0);
    expect(run.stderr).toBe("");
  });

  test("a link that is frozen does not keep it from ending", async () => {
    const { run, url } = await hub();
    const frozen = pubsub(["tail", "a.b", "--url", url]);
    await frozen.said("stderr", /^live/);
    frozen.child.kill("SIGSTOP");
    run.child.kill("SIGINT");
    expect(await run.ended).toBe(0);
  });

  test("a port in use is said, with one that is free, and none is taken", async () => {
    const { server } = await hubHere();
    const run = pubsub(["hub", "--port", String(server.port)]);
    expect(await run.ended).toBe(1);
    expect(run.stdout).toBe("");
    expect(run.stderr).toMatch(
      new RegExp(String.raw`^pubsub: port ${server.port} of 127\.0\.0\.1 is in use.*; try: pubsub hub --port \d+\n$`),
    );
    const [, free] = /--port (\d+)/.exec(run.stderr)!;
    expect(Number(free)).toBeGreaterThan(server.port);
  });

  test("a port that is in use too is not the one to try", async () => {
    const { server } = await hubHere();
    const next = await listen(server.port + 1);
    const run = pubsub(["hub", "--port", String(server.port)]);
    expect(await run.ended).toBe(1);
    expect(run.stderr).not.toContain(`--port ${server.port + 1}\n`);
    if (next !== undefined) await new Promise((resolve) => next.close(resolve));
  });

  test("an address that this computer does not have is said", async () => {
    const run = pubsub(["hub", "--port", "0", "--host", "192.0.2.1"]);
    expect(await run.ended).toBe(1);
    expect(run.stderr).toMatch(/^pubsub: 192\.0\.2\.1 is not an address of this computer/);
  });

  test("pages and names are refused unless they are allowed, each by its --allow-host", async () => {
    const { url } = await hub("--allow-host", "one.example", "--allow-host", "two.example");
    const status = `${url.replace("ws:", "http:")}/status`;
    const answers = ["http://one.example", "https://two.example:444", "http://three.example"].map(
      async (origin) => (await fetch(status, { headers: { origin } })).status,
    );
    expect(await Promise.all(answers)).toEqual([200, 200, 403]);
  });

  test("an address that others can reach is warned about on stderr", async () => {
    const { run } = await hub("--host", "0.0.0.0");
    await run.said("stderr", /Whoever can reach 0\.0\.0\.0 can publish and subscribe/);
  });

  test("two hubs on ports of their own, a tail and a publish meet only at the same one", async () => {
    const one = await hub();
    const two = await hub();
    const tail = pubsub(["tail", "a.*", "--count", "1", "--url", one.url]);
    await tail.said("stderr", /^live: a\.\* on /);
    expect(await pubsub(["publish", "a.b", "c", "1", "--url", two.url]).ended).toBe(0);
    expect(await pubsub(["publish", "a.b", "c", "2", "--url", one.url]).ended).toBe(0);
    expect(await tail.ended).toBe(0);
    expect(tail.stdout).toMatch(/ {2}a\.b:c {2}2\n$/);
  });
});
