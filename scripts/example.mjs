/**
 * Runs an example of the folder `examples`, with the arguments that follow its name.
 *
 *     npm run example                 which there are
 *     npm run example -- worker-pool
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

const folder = new URL("../examples/", import.meta.url);
const main = (name) => fileURLToPath(new URL(`${name}/main.mjs`, folder));
const names = readdirSync(folder).filter((name) => existsSync(main(name)));

const [name, ...rest] = process.argv.slice(2);
if (!names.includes(name)) {
  console.error(
    `example: ${name === undefined ? "which one?" : `there is no ${name};`} There are ${names.join(", ")}.`,
  );
  process.exit(2);
}
const { status } = spawnSync(process.execPath, [main(name), ...rest], { stdio: "inherit" });
process.exitCode = status ?? 1;
