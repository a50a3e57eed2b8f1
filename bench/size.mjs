/** What an application pays for what it imports: bundled, minified and compressed. `node bench/size.mjs` prints it. */
import { realpathSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { table } from "./table.mjs";

const KB = 1000;
const OPERATORS = Object.keys(await import("@alkdev/pubsub/operators"));

async function bundled(code) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  const [{ contents }] = outputFiles;
  return { minified: contents.length, gzip: gzipSync(contents, { level: 9 }).length };
}

const exported = (names, from) => `export { ${names} } from "${from}";`;
const IN_PROCESS = exported("createPubSub", "@alkdev/pubsub");

function row(what, { minified, gzip }, beside, most) {
  const bytes = gzip - (beside?.gzip ?? 0);
  return [
    what,
    beside === undefined ? `${minified}` : "",
    `${beside === undefined ? "" : "+"}${bytes}`,
    most === undefined ? "" : `≤ ${most}`,
    most === undefined ? "" : bytes <= most ? "yes" : "**no**",
  ];
}

/** The table of sizes. */
export async function sizes() {
  const inProcess = await bundled(IN_PROCESS);
  const rows = [row("`createPubSub`, in process", inProcess, undefined, 4 * KB)];
  for (const [name, create] of [
    ["websocket", "createWebSocketEventTarget"],
    ["worker", "createWorkerEventTarget"],
  ]) {
    const both = await bundled(`${IN_PROCESS}${exported(create, `@alkdev/pubsub/event-target-${name}`)}`);
    rows.push(row(`\`${create}\` beside it`, both, inProcess, 3 * KB));
  }
  const operators = (names) => bundled(`${IN_PROCESS}${exported(names.join(", "), "@alkdev/pubsub/operators")}`);
  rows.push(row("`pipe` and `map` beside it: what all operators share", await operators(["pipe", "map"]), inProcess));
  const all = await operators(OPERATORS);
  rows.push(row("all operators beside it", all, inProcess));
  for (const name of OPERATORS) {
    const others = await operators(OPERATORS.filter((other) => other !== name));
    rows.push(row(`\`${name}\` beside the other operators`, all, others, 0.6 * KB));
  }
  return table(["", "minified", "gzip, bytes", "target", "reached"], ["---", "---:", "---:", "---", "---"], rows);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  console.log(await sizes());
