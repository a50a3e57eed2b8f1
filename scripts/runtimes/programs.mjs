/**
 * The runtimes that the conformance suite is run on, and what of it: `npm run test:runtimes`, after
 * `node scripts/setup.mjs --runtimes` has installed them.
 *
 * They are apart from the root's dependencies because they are large: 700 MB.
 */
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Where they are installed. */
export const folder = fileURLToPath(new URL(".", import.meta.url));

const { arch } = process;
const program = (...path) => join(folder, "node_modules", ...path);
const node = (major) => program(`node${major}-linux-${arch}`, "bin", "node");
const EVERYWHERE = ["in process", "worker", "MessagePort", "WebSocket", "hub", "operations"];
const NODE = [...EVERYWHERE, "BroadcastChannel"];

/** Node 20 is the oldest that is supported. It has no WebSocket of its own, and no Node has Web Workers. */
export const RUNTIMES = {
  node20: { runtime: "Node", program: node(20), args: [], parts: NODE },
  node22: { runtime: "Node", program: node(22), args: [], parts: NODE },
  node24: { runtime: "Node", program: node(24), args: [], parts: NODE },
  bun: {
    runtime: "Bun",
    program: program("@oven", `bun-linux-${arch === "arm64" ? "aarch64" : arch}`, "bin", "bun"),
    args: ["run", "--no-install"],
    parts: [...EVERYWHERE, "BroadcastChannel", "web worker"],
  },
  // Deno's BroadcastChannel drops messages of another thread when more than 256 wait, so no test of it could be trusted.
  deno: {
    runtime: "Deno",
    program: program("@deno", `linux-${arch}-glibc`, "deno"),
    args: ["run", "--allow-all", "--no-remote", "--no-lock", "--node-modules-dir=manual"],
    parts: [...EVERYWHERE, "web worker"],
  },
};
