import { readFileSync } from "node:fs";

/** The version of this package; `unknown` where it was bundled away from its manifest. */
export function version(): string {
  try {
    const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    return manifest.version;
  } catch {
    return "unknown";
  }
}
