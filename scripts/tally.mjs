/**
 * Counts vitest JSON reports: `node scripts/tally.mjs <report> <exit status of the run> [<report> <exit status>]…`.
 *
 * The last line is "N passed, N failed". A file that could not be loaded counts as one failure, and so does a run that
 * left no report, or failed outside every test (an unhandled error, a set-up that broke), so that a bad run never reads
 * "0 failed".
 */
import { readFileSync } from "node:fs";
import process from "node:process";

let passed = 0;
let failed = 0;

function count(file, status) {
  let files;
  try {
    files = JSON.parse(readFileSync(file, "utf8")).testResults;
  } catch {
    console.error("The run left no report.");
    failed++;
    return;
  }
  const before = failed;
  for (const { status: outcome, assertionResults: tests } of files) {
    const broken = tests.filter((test) => test.status === "failed").length;
    passed += tests.filter((test) => test.status === "passed").length;
    failed += broken === 0 && outcome === "failed" ? 1 : broken;
  }
  if (failed === before && Number(status) !== 0) {
    console.error(`The run failed outside every test (exit status ${status}).`);
    failed++;
  }
}

const runs = process.argv.slice(2);
for (let i = 0; i < runs.length; i += 2) count(runs[i], runs[i + 1]);
if (passed + failed === 0) console.error("No test ran.");

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
