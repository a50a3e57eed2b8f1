import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { PubSubError } from "@alkdev/pubsub";
import { excerpt } from "@alkdev/pubsub/transport";
import { isObject } from "./json-rpc.ts";

/** What is read of an ability's `agent.json`; all may be absent. */
export interface AgentJson {
  readonly name?: string;
  readonly version?: string;
  readonly description?: string;
  /** The module whose default export is the ability's client, relative to the folder. */
  readonly entrypoint?: string;
  /** `start` is the command that serves the ability over standard input and output, run in its folder. */
  readonly scripts?: Readonly<Record<string, string>>;
}

/** Where an ability is. */
export interface AbilityPlace {
  readonly folder: string;
  /** The module that was named itself, rather than its folder. */
  readonly module: string | undefined;
  readonly agent: AgentJson;
}

/**
 * Finds an ability: at the path, in `abilities/<name>` or `abilities/<name>@<version>` below the working directory, or as a package
 * of that name.
 *
 * @throws PubSubError `INVALID_OPTION` where there is none, or its `agent.json` is none
 */
export function findAbility(name: string, path: string | undefined): AbilityPlace {
  const found = path === undefined ? search(name) : resolve(path);
  if (found === undefined || !existsSync(found))
    throw new PubSubError(
      "INVALID_OPTION",
      found === undefined
        ? `There is no ability ${excerpt(name)}: neither abilities/${name} nor a package of that name. Say where it is: { path }.`
        : `There is nothing at ${found}, where the ability ${excerpt(name)} should be.`,
    );
  const isFolder = statSync(found).isDirectory();
  const folder = isFolder ? found : dirname(found);
  return { folder, module: isFolder ? undefined : found, agent: readAgentJson(folder) };
}

/** The module of an ability. @throws PubSubError `INVALID_OPTION` */
export function moduleOf({ folder, module, agent }: AbilityPlace): string {
  if (module !== undefined) return module;
  const manifest = readJson(join(folder, "package.json"));
  const main = agent.entrypoint ?? (typeof manifest?.["main"] === "string" ? manifest["main"] : undefined);
  const candidates = main === undefined ? ["index.js", "index.mjs"] : [main];
  const found = candidates.map((file) => join(folder, file)).find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new PubSubError(
    "INVALID_OPTION",
    `${folder} has no module ${candidates.join(" or ")}. Name it in agent.json: "entrypoint".`,
  );
}

/** The words of the command that starts an ability. @throws PubSubError `INVALID_OPTION` */
export function commandOf(place: AbilityPlace): [string, ...string[]] {
  const start = place.agent.scripts?.["start"];
  if (start === undefined) return [process.execPath, moduleOf(place), "stdio"];
  // Words, and quotes around those with spaces; no shell, which would stand between us and the process.
  const words = [...start.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, bare]) =>
    String(double ?? single ?? bare),
  );
  const [command, ...args] = words;
  if (command === undefined)
    throw new PubSubError("INVALID_OPTION", `The start script in ${join(place.folder, "agent.json")} is empty.`);
  return [command === "node" ? process.execPath : command, ...args];
}

function search(name: string): string | undefined {
  const all = resolve("abilities");
  if (existsSync(join(all, name))) return join(all, name);
  const versions = existsSync(all) ? readdirSync(all).filter((entry) => entry.startsWith(`${name}@`)) : [];
  const newest = versions.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
  if (newest !== undefined) return join(all, newest);
  for (const folder of createRequire(join(process.cwd(), basename("package.json"))).resolve.paths(name) ?? [])
    if (existsSync(join(folder, name))) return join(folder, name);
  return undefined;
}

function readAgentJson(folder: string): AgentJson {
  return readJson(join(folder, "agent.json")) ?? {};
}

function readJson(file: string): Readonly<Record<string, unknown>> | undefined {
  if (!existsSync(file)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new PubSubError("INVALID_OPTION", `${file} is no JSON.`, { cause });
  }
  if (isObject(value)) return value;
  throw new PubSubError("INVALID_OPTION", `${file} must hold an object.`);
}
