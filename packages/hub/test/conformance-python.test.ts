// The conformance suite through a hub whose other spokes are Python processes (examples/python).
import { createHubEventTarget, createHubServer } from "@alkdev/hub";
import type { HubServer } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import type { Harness } from "@alkdev/pubsub/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { Opened, runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import { SPOKE } from "../../pubsub/test/fixtures/pipe.ts";
import { times } from "../../pubsub/test/fixtures/proofs.ts";
import { startProxy } from "../../pubsub/test/fixtures/proxy.ts";
import { startPython } from "../../pubsub/test/fixtures/python.ts";
import type { RemoteEnd } from "../../pubsub/test/fixtures/remote.ts";
import { openClient, openHub } from "./fixtures/open.ts";

// Some tests start ten interpreters, one after the other, on a machine that may have better to do.
vi.setConfig({ testTimeout: 120_000 });

/** How often the instant is tried. */
const INSTANTS = times(10_000, 1000);

const ignore = (): void => undefined;

runConformance("through a hub to Python", (): Harness => {
  const opened = new Opened();
  return {
    supports: { ...SPOKE, maxPayload: 1024 * 1024 },
    features: new Set(["target", "serialises", "more", "reconnects", "freezes", "delays", "restarts", "counts"]),
    async open({ target: options, onError = ignore, delay = 0, more = 0 } = {}) {
      const start = (port: number): Promise<HubServer> => createHubServer({ port, limits: { resumeWindow: 0 } });
      let server = await start(0);
      opened.add(() => server.close());
      const proxy = await startProxy(server.port, { toServer: delay, toClient: delay });
      opened.add(() => proxy.close());
      const target = createHubEventTarget(`ws://127.0.0.1:${proxy.port}`, {
        backoff: { min: 5, max: 50 },
        ...options,
        onError,
      });
      opened.add(() => target.close());
      const spoke = async (): Promise<RemoteEnd> => {
        const python = startPython(server.url, { reconnect: true });
        opened.add(() => python.end());
        // One that still starts would be later than whatever the near end does.
        await python.far.call("ready");
        return python.far;
      };
      const [far, ...others] = await Promise.all([spoke(), ...Array.from({ length: more }, spoke)]);
      return {
        near: createPubSub({ eventTarget: target, onError }),
        target,
        far,
        more: others,
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
    end: () => opened.end(),
  };
});

test(
  `nothing that is published in the instant after subscribe is lost, ${INSTANTS} times, from a spoke here to one in Python`,
  {
    timeout: 300_000,
  },
  async () => {
    const server = await openHub();
    const python = startPython(server.url);
    onTestFinished(() => python.end());
    const near = openClient(server.url);
    await near.on("test.subscribed", async ({ payload }) => {
      await near.publish("test.instant", String(payload), payload);
    });
    expect(await python.far.call("instants", INSTANTS)).toBe(0);
  },
);
