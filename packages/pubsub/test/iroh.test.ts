import { execFile } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { runInWorld } from "./fixtures/world.ts";

await runInWorld("iroh", new URL("fixtures/iroh-tests.ts", import.meta.url));

test("without the package @number0/iroh, connecting and listening are UNSUPPORTED and say what to install", async () => {
  // Where no folder above has it.
  const folder = await mkdtemp(join(tmpdir(), "iroh-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await cp(fileURLToPath(new URL("../dist", import.meta.url)), folder, { recursive: true });
  const script = `
    import { connectIroh, listenIroh } from "./event-targets/iroh.js";
    const why = ({ code, message }) => ({ code, message });
    const connected = await connectIroh({ id: "", addresses: ["127.0.0.1:9"] }).catch(why);
    const listening = await listenIroh({ onConnection() {} }).catch(why);
    console.log(JSON.stringify([connected, listening]));`;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { cwd: folder });
  const unsupported = { code: "UNSUPPORTED", message: expect.stringContaining("npm install @number0/iroh") as string };
  expect(JSON.parse((await run).stdout)).toEqual([unsupported, unsupported]);
});
