// What the sections' clients connect to, in a process of its own: a broker, or a WebSocket server that does no more than send
// back what it gets, or on to whoever connected next. Says where it listens, and ends when its standard input does.
import process from "node:process";
import { createKadiBroker } from "@alkdev/kadi/broker";
import { WebSocketServer } from "ws";

const [, , kind] = process.argv;

const TEXT = { binary: false };

async function raw() {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  const sockets = [];
  server.on("connection", (socket) => {
    const next = sockets.push(socket);
    socket.on("message", (data) => (kind === "echo" ? socket : sockets[next % sockets.length]).send(data, TEXT));
  });
  await new Promise((resolve) => server.once("listening", resolve));
  return `ws://127.0.0.1:${server.address().port}`;
}

// Nobody floods here: what is measured is how much goes through.
const broker = kind === "broker" && (await createKadiBroker({ port: 0, limits: { rate: 1e9 } }));
process.stdout.write(`${broker ? broker.url : await raw()}\n`);
process.stdin.on("end", () => process.exit()).resume();
