/** A TCP proxy whose way from the client to the server takes a while longer; the way back does not. */
import { connect, createServer } from "node:net";

/**
 * @param {number} port where the server listens
 * @param {number} delayMs
 * @returns {Promise<{ port: number, close: () => Promise<void> }>}
 */
export async function createSlowPath(port, delayMs) {
  /** @type {Set<import("node:net").Socket>} */
  const sockets = new Set();
  const proxy = createServer({ noDelay: true }, (client) => {
    const server = connect({ host: "127.0.0.1", port, noDelay: true });
    // Timers of one duration fire in the order in which they were set, so the bytes stay in order.
    client.on("data", (chunk) => setTimeout(() => server.write(chunk), delayMs));
    client.on("end", () => setTimeout(() => server.end(), delayMs));
    server.pipe(client);
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
      // Either end may go away at any time; "close" follows and ends the other.
      socket.on("error", () => undefined);
    }
  });
  await new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
    proxy.once("error", reject);
    proxy.listen(0, "127.0.0.1", () => resolve());
  });
  const address = proxy.address();
  if (address === null || typeof address === "string") throw new Error("The slow path has no port.");
  return {
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        proxy.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
