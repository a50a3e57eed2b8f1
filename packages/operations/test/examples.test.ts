import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const script = fileURLToPath(new URL("../../../scripts/example.mjs", import.meta.url));
const run = (...args: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } =>
  spawnSync(process.execPath, [script, ...args], { encoding: "utf8", timeout: 60_000 });

test("the pool of workers agrees with itself, measures, and outlives a worker that dies", () => {
  const { status, stdout } = run("worker-pool", "--jobs", "4", "--rounds", "1");
  expect(stdout).toMatch(
    /^4 jobs, 17247 primes, \d+ processors\n1 worker +\d+ ms\n2 workers +\d+ ms\nspeed-up +\d+\.\d\d\n/,
  );
  expect(stdout).toMatch(/a worker that dies: UNAVAILABLE, retryable: true\nthe other one: 25 primes below 100\n$/);
  expect(status).toBe(0);
});

test("an example that there is not is said to be none, and which there are", () => {
  const { status, stderr } = run("no-such-example");
  expect(status).toBe(2);
  expect(stderr).toMatch(/there is no no-such-example; There are .*worker-pool/);
});
