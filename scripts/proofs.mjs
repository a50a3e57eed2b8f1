/**
 * What is proved by repetition, in full: 10,000 instants after `subscribe` with Python at the other end, 10,000 random schedules,
 * a million mutated frames. Every run of the tests repeats the same less often. Some minutes.
 */
import { spawnSync } from "node:child_process";
import process from "node:process";

const { status } = spawnSync("npx", ["vitest", "run", "conformance-python", "fuzz", "schedules"], {
  env: { ...process.env, PROOFS: "full" },
  stdio: "inherit",
  shell: process.platform === "win32",
});
process.exitCode = status ?? 1;
