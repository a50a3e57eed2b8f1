import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";
import type { Harness } from "@alkdev/pubsub/testing";
import { expect } from "vitest";
import { Opened, runConformance } from "./fixtures/conformance.ts";
import { Inbox } from "./fixtures/inbox.ts";
import { over, startSockets } from "./fixtures/websocket.ts";

runConformance("a WebSocket", (): Harness => {
  const opened = new Opened();
  const harness: Harness = {
    supports: {
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
    },
    features: new Set(["target", "serialises", "disconnects", "freezes", "delays", "raw", "binary"]),
    async open({ target: options, onError = () => undefined, delay = 0 } = {}) {
      const sockets = await startSockets(delay);
      opened.add(() => sockets.end());
      const target = over(sockets.connect(), { ...options, onError });
      opened.add(() => target.close());
      const { value: socket } = await sockets.accepted.next();
      const farTarget = over(socket!, { onError: () => undefined });
      opened.add(() => farTarget.close());
      expect(target.supports).toEqual(harness.supports);
      const { proxy } = sockets;
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far: createPubSub({ eventTarget: farTarget, onError: () => undefined }),
        cut: () => proxy.cut(),
        freeze: () => proxy.freeze(),
        thaw: () => proxy.thaw(),
      };
    },
    async openRaw({ target: options, onError = () => undefined } = {}) {
      const sockets = await startSockets();
      opened.add(() => sockets.end());
      const target = over(sockets.connect(), { ...options, onError });
      opened.add(() => target.close());
      const { value: socket } = await sockets.accepted.next();
      const inbox = new Inbox();
      socket!.on("message", (data: Buffer) => inbox.push(JSON.parse(data.toString()) as EventEnvelope));
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        send: (frame) => socket!.send(typeof frame === "string" ? frame : JSON.stringify(frame)),
        sendBytes: (frame) => socket!.send(Buffer.from(JSON.stringify(frame))),
        receive: (type) => inbox.receive(type),
      };
    },
    end: () => opened.end(),
  };
  return harness;
});
