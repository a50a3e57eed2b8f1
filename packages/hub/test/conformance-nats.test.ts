import { runConformance } from "../../pubsub/test/fixtures/conformance.ts";
import { connectNats, startNats } from "../../pubsub/test/fixtures/nats.ts";
import type { Opened } from "../../pubsub/test/fixtures/opened.ts";
import { createNatsEventTarget } from "@alkdev/pubsub/event-target-nats";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { throughHub } from "./fixtures/harness-hub.ts";

/** A NATS, with a connection that its hubs share. */
async function overNats(opened: Opened): Promise<() => AlkEventTarget> {
  const server = await startNats();
  opened.add(() => server.end());
  const connection = await connectNats(server.port);
  opened.add(() => connection.close());
  return () => createNatsEventTarget({ connection, onError: () => undefined });
}

runConformance("through a hub over NATS", () => throughHub(overNats, 1, true));
runConformance("through two hubs over NATS", () => throughHub(overNats, 2, true));
