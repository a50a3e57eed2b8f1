import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** Each package's sub-paths, as the sources they are built from: `@alkdev/pubsub/transport` → `…/src/transport.ts`. */
function sources(): { find: RegExp; replacement: string }[] {
  return ["pubsub", "hub", "operations", "kadi"].flatMap((name) => {
    const folder = new URL(`./packages/${name}/`, import.meta.url);
    const manifest = JSON.parse(readFileSync(new URL("package.json", folder), "utf8")) as {
      exports: Record<string, { default?: string }>;
    };
    return Object.entries(manifest.exports).flatMap(([path, { default: built }]) => {
      if (built === undefined) return [];
      const source = built.replace("./dist/", "./src/").replace(/\.js$/, ".ts");
      return [
        { find: new RegExp(`^@alkdev/${name}${path.slice(1)}$`), replacement: fileURLToPath(new URL(source, folder)) },
      ];
    });
  });
}

export default defineConfig({
  // Tests run against what is built, which is what users get. Only coverage looks at the sources.
  resolve: { alias: process.argv.includes("--coverage") ? sources() : [] },
  test: {
    include: ["packages/*/test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: "forks",
    maxWorkers: 2,
    // Of those that say that they are concurrent: most of their time they wait for a heartbeat.
    maxConcurrency: 8,
    typecheck: {
      enabled: true,
      include: ["packages/*/test/**/*.test-d.ts"],
      tsconfig: "./tsconfig.test.json",
      checker: "tsc",
      // The other files' types are `npm run check`'s business: a test under way need not stop the rest from running.
      ignoreSourceErrors: true,
    },
    coverage: {
      provider: "v8",
      include: ["packages/*/src/**/*.ts"],
      // Tests run the command as a process of its own, which is not seen from here.
      // So they do all that opens an endpoint of iroh, which needs a network of its own.
      exclude: [
        "packages/{hub,kadi}/src/cli.ts",
        "packages/{hub,kadi}/src/cli/**",
        "packages/kadi/src/broker-client.ts",
        // The other end of a pipe: abilities of the tests are processes of their own.
        "packages/kadi/src/serve.ts",
        "packages/pubsub/src/event-targets/iroh*.ts",
      ],
      reporter: ["json-summary", "lcovonly"],
      reportOnFailure: true,
    },
  },
});
