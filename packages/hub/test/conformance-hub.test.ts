// The conformance suite through a real hub over WebSockets, in front of it a proxy that does what networks do.
import { createHub, createHubEventTarget, createHubServer } from "@alkdev/hub";
import type { HubServer } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import type { EventEnvelope } from "@alkdev/pubsub";
import { workerChannel } from "@alkdev/pubsub/event-target-worker";
import { createMessagePortEventTarget } from "@alkdev/pubsub/event-target-message-port";
import type { Harness } from "@alkdev/pubsub/testing";
import { MessageChannel } from "node:worker_threads";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { Opened, runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import { Inbox } from "../../pubsub/test/fixtures/inbox.ts";
import { createProxy } from "../../pubsub/test/fixtures/proxy.ts";

const SUPPORTS: Harness["supports"] = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "disconnect",
  subscribeAck: true,
  overlap: "once",
  patterns: "native",
  echo: true,
  groups: true,
  replay: false,
  maxPayload: 1024 * 1024,
};

const ignore = (): void => undefined;
const backoff = { min: 5, max: 50 };

// Without resumption, so that every cut is a gap; what resumption adds has tests of its own.
runConformance("through a hub", (): Harness => {
  const opened = new Opened();
  return {
    supports: SUPPORTS,
    features: new Set([
      "target",
      "serialises",
      "more",
      "reconnects",
      "freezes",
      "delays",
      "restarts",
      "counts",
      "raw",
      "binary",
    ]),
    async open({ target: options, onError = ignore, delay = 0, more = 0 } = {}) {
      const start = (port: number): Promise<HubServer> => createHubServer({ port, limits: { resumeWindow: 0 } });
      let server = await start(0);
      opened.add(() => server.close());
      const proxy = await createProxy(server.port, delay);
      opened.add(() => proxy.close());
      const connect = (port: number, given: object = {}): ReturnType<typeof createHubEventTarget> => {
        const target = createHubEventTarget(`ws://127.0.0.1:${port}`, { backoff, onError: ignore, ...given });
        opened.add(() => target.close());
        return target;
      };
      const target = connect(proxy.port, { ...options, onError });
      const direct = (): ReturnType<typeof createPubSub> =>
        createPubSub({ eventTarget: connect(server.port), onError: ignore, onGap: "ignore" });
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far: direct(),
        more: Array.from({ length: more }, direct),
        cut: () => proxy.cut(),
        freeze: () => proxy.freeze(),
        thaw: () => proxy.thaw(),
        async restart() {
          const { port } = server;
          await server.close();
          server = await start(port);
        },
        farFilters: () => server.hub.status().filters,
      };
    },
    async openRaw({ target: options, onError = ignore } = {}) {
      const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
      await once(server, "listening");
      opened.add(() => {
        for (const socket of server.clients) socket.terminate();
        server.close();
      });
      const target = createHubEventTarget(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, {
        backoff: { min: 60_000 },
        ...options,
        onError,
      });
      opened.add(() => target.close());
      const inbox = new Inbox();
      const [socket] = (await once(server, "connection")) as [WebSocket];
      socket.on("message", (data: Buffer) => inbox.push(JSON.parse(data.toString()) as EventEnvelope));
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        send: (frame) => socket.send(typeof frame === "string" ? frame : JSON.stringify(frame)),
        sendBytes: (frame) => socket.send(Buffer.from(JSON.stringify(frame))),
        receive: (type) => inbox.receive(type),
      };
    },
    end: () => opened.end(),
  };
});

runConformance("a hub's own place, and a link over a port", (): Harness => {
  const opened = new Opened();
  return {
    supports: { ...SUPPORTS, lossDetection: "full", echo: false, maxPayload: undefined },
    // What the hub's own place publishes is neither encoded nor cloned for itself, and the core there does the matching.
    features: new Set(["target", "more"]),
    async open({ onError = ignore, more = 0 } = {}) {
      const hub = createHub({ onError });
      opened.add(() => hub.close());
      const link = (): ReturnType<typeof createPubSub> => {
        const { port1, port2 } = new MessageChannel();
        hub.connect(workerChannel(port1));
        const target = createMessagePortEventTarget(port2, { onError: ignore });
        opened.add(async () => {
          await target.close();
          port1.close();
        });
        return createPubSub({ eventTarget: target, onError: ignore });
      };
      return {
        near: createPubSub({ eventTarget: hub.eventTarget, onError }),
        target: hub.eventTarget,
        far: link(),
        more: Array.from({ length: more }, link),
        farFilters: () => hub.status().filters,
      };
    },
    end: () => opened.end(),
  };
});
