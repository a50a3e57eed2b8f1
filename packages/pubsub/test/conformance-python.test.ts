// The conformance suite with a far end in Python (examples/python), which knows of this library only what docs/protocol.md says.
import { createPubSub } from "@alkdev/pubsub";
import type { Harness } from "@alkdev/pubsub/testing";
import { expect, onTestFinished, test } from "vitest";
import { Opened, runConformance } from "./fixtures/conformance.ts";
import { startPython } from "./fixtures/python.ts";
import { over, startSockets } from "./fixtures/websocket.ts";

const SUPPORTS: Harness["supports"] = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  overlap: "once",
  patterns: "native",
  echo: false,
  groups: false,
  replay: false,
  maxPayload: 1024 * 1024,
};

/** How often each instant is tried. */
const INSTANTS = 10_000;

async function openWebSocket(
  delay: number = 0,
  options: Parameters<typeof over>[1] = {},
): Promise<{
  target: ReturnType<typeof over>;
  python: ReturnType<typeof startPython>;
  sockets: Awaited<ReturnType<typeof startSockets>>;
  end: () => Promise<void>;
}> {
  const sockets = await startSockets(delay);
  const python = startPython(`ws://127.0.0.1:${sockets.proxy.port}`);
  const { value: socket } = await sockets.accepted.next();
  const target = over(socket!, options);
  return {
    target,
    python,
    sockets,
    async end() {
      await target.close();
      await python.end();
      await sockets.end();
    },
  };
}

runConformance("a WebSocket to Python", (): Harness => {
  const opened = new Opened();
  const harness: Harness = {
    supports: SUPPORTS,
    features: new Set(["target", "serialises", "disconnects", "freezes", "delays"]),
    async open({ target: options, onError = () => undefined, delay } = {}) {
      const { target, python, sockets, end } = await openWebSocket(delay, { ...options, onError });
      opened.add(end);
      await python.far.call("ready");
      expect(target.supports).toEqual(harness.supports);
      const { proxy } = sockets;
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far: python.far,
        cut: () => proxy.cut(),
        freeze: () => proxy.freeze(),
        thaw: () => proxy.thaw(),
      };
    },
    end: () => opened.end(),
  };
  return harness;
});

test(
  `nothing that is published in the instant after subscribe is lost, ${INSTANTS} times each way, over a WebSocket`,
  { timeout: 120_000 },
  async () => {
    const { target, python, end } = await openWebSocket();
    onTestFinished(end);
    await instants(target, python.far);
  },
);

/** Each end subscribes, and the other publishes once it hears of that. */
async function instants(
  eventTarget: ReturnType<typeof over>,
  far: ReturnType<typeof startPython>["far"],
): Promise<void> {
  const near = createPubSub({ eventTarget });
  let lost = 0;
  for (let i = 0; i < INSTANTS; i++) {
    const events = await near.subscribe("test.instant", `${i}`);
    const publishing = ["first", "second"].map((payload) => far.publish("test.instant", `${i}`, payload));
    const { value } = await events.next();
    await Promise.all(publishing);
    if (value?.payload !== "first") lost++;
    await events.return();
  }
  expect(lost).toBe(0);
  await near.on("test.subscribed", async ({ payload }) => {
    await near.publish("test.instant", String(payload), payload);
  });
  expect(await far.call("instants", INSTANTS)).toBe(0);
}
