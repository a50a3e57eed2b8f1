// The conformance suite with a far end in Python (examples/python), which knows of this library only what docs/protocol.md says.
import { createPubSub } from "@alkdev/pubsub";
import { stdioChannel } from "@alkdev/pubsub/event-target-stdio";
import type { Harness, OpenOptions } from "@alkdev/pubsub/testing";
import { connectLink, defineEventTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { expect, onTestFinished, test, vi } from "vitest";
import { Opened, runConformance } from "./fixtures/conformance.ts";
import { delayed } from "./fixtures/delayed.ts";
import { PIPE } from "./fixtures/pipe.ts";
import { times } from "./fixtures/proofs.ts";
import { startPython } from "./fixtures/python.ts";
import type { RemoteEnd } from "./fixtures/remote.ts";
import { over, startSockets } from "./fixtures/websocket.ts";

// Some tests start ten interpreters, one after the other, on a machine that may have better to do.
vi.setConfig({ testTimeout: 120_000 });

/** How often each instant is tried. */
const INSTANTS = times(10_000, 1000);

/** Python at the far end of a pipe, and what the world does to that. */
interface Pipe {
  readonly target: AlkEventTarget;
  readonly far: RemoteEnd;
  readonly cut: () => void;
  readonly freeze: () => void;
  readonly thaw: () => void;
  readonly end: () => Promise<void>;
}

async function overWebSocket({ target: options, onError, delay }: OpenOptions = {}): Promise<Pipe> {
  const sockets = await startSockets(delay);
  const { proxy } = sockets;
  const { far, end } = startPython(`ws://127.0.0.1:${proxy.port}`);
  const { value: socket } = await sockets.accepted.next();
  const target = over(socket!, { ...options, ...(onError !== undefined && { onError }) });
  return {
    target,
    far,
    cut: () => proxy.cut(),
    freeze: () => proxy.freeze(),
    thaw: () => proxy.thaw(),
    async end() {
      await target.close();
      await end();
      await sockets.end();
    },
  };
}

async function overStdio({ target: options, onError, delay = 0 }: OpenOptions = {}): Promise<Pipe> {
  const { far, child, end } = startPython("stdio");
  const link = connectLink(options);
  link.attach(delayed(stdioChannel(child), delay));
  const target = defineEventTarget(link, { ...options, eager: true, ...(onError !== undefined && { onError }) });
  return {
    target,
    far,
    cut: () => void child.kill("SIGKILL"),
    freeze: () => void child.kill("SIGSTOP"),
    thaw: () => void child.kill("SIGCONT"),
    async end() {
      await target.close();
      await end();
    },
  };
}

const PIPES = { "a WebSocket": overWebSocket, "standard input and output": overStdio };

for (const [name, openPipe] of Object.entries(PIPES)) {
  runConformance(`Python over ${name}`, (): Harness => {
    const opened = new Opened();
    const harness: Harness = {
      supports: { ...PIPE, maxPayload: 1024 * 1024 },
      features: new Set(["target", "serialises", "disconnects", "freezes", "delays"]),
      async open(options = {}) {
        const { onError = () => undefined } = options;
        const pipe = await openPipe({ ...options, onError });
        opened.add(() => pipe.end());
        // A Python that still starts would be later than whatever the near end does.
        await pipe.far.call("ready");
        expect(pipe.target.supports).toEqual(harness.supports);
        return { ...pipe, near: createPubSub({ eventTarget: pipe.target, onError }) };
      },
      end: () => opened.end(),
    };
    return harness;
  });

  test(
    `nothing that is published in the instant after subscribe is lost, ${INSTANTS} times each way, over ${name}`,
    {
      timeout: 300_000,
    },
    async () => {
      const { target, far, end } = await openPipe();
      onTestFinished(end);
      const near = createPubSub({ eventTarget: target });
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
    },
  );
}
