/** One cell of a table, in a process of its own: `node --expose-gc cell.mjs <section> <scenario> <contestant>`. */
import { writeSync } from "node:fs";
import process from "node:process";

const [, , section, scenario, contestant] = process.argv;
const { default: definition } = await import(`./sections/${section}.mjs`);
const result = await definition.measure(definition.contestants[contestant].make, definition.scenarios[scenario]);
writeSync(1, `\n@${JSON.stringify(typeof result === "number" ? { value: result } : result)}\n`);
process.exit(0);
