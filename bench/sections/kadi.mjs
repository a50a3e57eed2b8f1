// Calls and events through one KADI broker, beside WebSockets alone. A contestant: { call(i): promise of an answer to agent i,
// send(i, n): promise once event n of agent i was taken, on(i, listener): what agent i gets, with its number }. The server is
// ../broker-end.mjs.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createPubSub } from "@alkdev/pubsub";
import { WebSocket } from "ws";

const AGENTS = 100;
const TOOLS = 10;
const CALLS = 10_000;
const EVENTS = 100_000;
/** Events of one agent that wait for their acknowledgement. */
const WINDOW = 50;

const INPUT = { message: "The quick brown fox jumps over the lazy dog, twice a day.", seq: 1, ok: true };

async function serve(kind) {
  const child = spawn(process.execPath, [fileURLToPath(new URL("../broker-end.mjs", import.meta.url)), kind], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout.setEncoding("utf8"), "data");
  return line.trim();
}

const each = (make) => Promise.all(Array.from({ length: AGENTS }, (_, i) => make(i)));

async function raw(kind) {
  const url = await serve(kind);
  const sockets = [];
  const listeners = [];
  // One after the other: who connects next is who gets what is sent on.
  for (let i = 0; i < AGENTS; i++) {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    await once(socket, "open");
    socket.on("message", (/** @type {Buffer} */ data) => listeners[i](JSON.parse(data.toString("utf8"))));
    sockets.push(socket);
  }
  return {
    call: (i) =>
      new Promise((resolve) => {
        listeners[i] = resolve;
        sockets[i].send(JSON.stringify({ id: 1, params: INPUT }));
      }),
    on: async (i, listener) => void (listeners[i] = ({ n }) => listener(n)),
    // Taken once the kernel has it; there is no other word.
    send: (i, n) => new Promise((resolve) => sockets[i].send(JSON.stringify({ n, params: INPUT }), resolve)),
  };
}

const contestants = {
  ours: {
    label: "@alkdev/kadi",
    async make() {
      // What the client stands on, too: what a program waits for is both.
      const { openBroker } = await import("../../packages/kadi/dist/broker-connection.js");
      const url = await serve("broker");
      const agents = await each(async (i) => {
        const agent = openBroker(url, { name: `agent ${i}`, onRequest: async ({ toolInput }) => toolInput });
        await agent.register(Array.from({ length: TOOLS }, (_, j) => ({ name: `tool ${i}.${j}` })));
        return agent;
      });
      const events = agents.map(({ eventTarget }) => createPubSub({ eventTarget }));
      const next = (i) => (i + 1) % AGENTS;
      let calls = 0;
      return {
        call: (i) => agents[i].call(`tool ${next(i)}.${calls++ % TOOLS}`, INPUT),
        on: (i, listener) => events[i].on(`kadi.event.load.${i}`, "global", ({ payload }) => listener(payload.n)),
        send: (i, n) => events[i].publish(`kadi.event.load.${next(i)}`, "global", { n, params: INPUT }),
      };
    },
  },
  echo: { label: "ws alone, there and back", make: () => raw("echo") },
  relay: { label: "ws alone, on to the next", make: () => raw("relay") },
};

const quantile = (values, part) => values.toSorted((a, b) => a - b)[Math.floor(values.length * part)];

/** Microseconds of each of so many calls, `atOnce` of them under way. */
async function calls({ call }, atOnce, count) {
  const times = [];
  let left = count;
  await Promise.all(
    Array.from({ length: atOnce }, async (_, caller) => {
      for (let turn = 0; left-- > 0; turn++) {
        const begin = performance.now();
        await call((caller + (atOnce === 1 ? turn : 0)) % AGENTS);
        times.push((performance.now() - begin) * 1000);
      }
    }),
  );
  return times;
}

/** Events a second from each agent to the next; throws unless all arrive in order. */
async function events({ on, send }) {
  const each1 = EVENTS / AGENTS;
  let missing = EVENTS;
  let arrived;
  const all = new Promise((resolve) => (arrived = resolve));
  await each((i) => {
    let expected = 0;
    return on(i, (n) => {
      if (n !== expected++) throw new Error(`agent ${i} got event ${n} instead of ${expected - 1}`);
      if (--missing === 0) arrived();
    });
  });
  const begin = performance.now();
  await each(async (i) => {
    for (let n = 0; n < each1; n += WINDOW)
      await Promise.all(Array.from({ length: Math.min(WINDOW, each1 - n) }, (_, j) => send(i, n + j)));
  });
  await all;
  return (EVENTS / (performance.now() - begin)) * 1000;
}

const latency = (part, atOnce) => ({
  title: `A call, ${atOnce === 1 ? "one at a time" : `${atOnce} at once`}: p${part * 100}`,
  unit: "µs",
  lower: true,
  contestants: ["ours", "echo"],
  ...(part > 0.9 && { targets: { echo: 3 } }),
  part,
  atOnce,
});

export default {
  about:
    "One broker in a process of its own, 100 agents with 10 tools each in another, over 127.0.0.1. A call goes from agent to broker to agent and back: twice the way of the WebSocket beside it. 10,000 calls, 100,000 events, none of them lost. Wall time.",
  unit: "events/s",
  contestants,
  scenarios: {
    "call, p50": latency(0.5, 1),
    "call, p99": latency(0.99, 1),
    "calls, p50": latency(0.5, AGENTS),
    "calls, p99": latency(0.99, AGENTS),
    events: { title: "Events from each agent to the next, acknowledged", contestants: ["ours", "relay"] },
  },
  async measure(make, { part, atOnce }) {
    const contestant = await make();
    if (part === undefined) return events(contestant);
    // Until the compilers have done what they do.
    await calls(contestant, atOnce, CALLS);
    const times = await calls(contestant, atOnce, CALLS);
    if (times.length !== CALLS) throw new Error(`${times.length} of ${CALLS} calls were answered`);
    return quantile(times, part);
  },
};
