// Writes the table of transports into README.md from the manifests of real event targets, opened here.
//   node scripts/docs.mjs           writes it
//   node scripts/docs.mjs --check   only says whether it is as it should be (exit 1 if not)
import { EventEmitter } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { MessageChannel } from "node:worker_threads";
import { createPubSub } from "@alkdev/pubsub";
import { createBroadcastChannelEventTarget } from "@alkdev/pubsub/event-target-broadcast-channel";
import { createIrohEventTarget, irohChannel } from "@alkdev/pubsub/event-target-iroh";
import { createMessagePortEventTarget } from "@alkdev/pubsub/event-target-message-port";
import { createAmqpEventTarget } from "@alkdev/pubsub/event-target-amqp";
import { createMqttEventTarget } from "@alkdev/pubsub/event-target-mqtt";
import { createNatsEventTarget } from "@alkdev/pubsub/event-target-nats";
import { createPostgresEventTarget } from "@alkdev/pubsub/event-target-postgres";
import { createRedisEventTarget } from "@alkdev/pubsub/event-target-redis";
import { createParentProcessEventTarget, createStdioEventTarget } from "@alkdev/pubsub/event-target-stdio";
import { createMainThreadEventTarget, createWorkerEventTarget } from "@alkdev/pubsub/event-target-worker";
import { createWebSocketEventTarget } from "@alkdev/pubsub/event-target-websocket";
import { createHubEventTarget, createHubServer } from "@alkdev/hub";
import { WebSocket } from "ws";

const readme = new URL("../README.md", import.meta.url);
const BEGIN = "<!-- transports: written by scripts/docs.mjs -->";
const END = "<!-- /transports -->";

const ready = (target) =>
  target.status === "ready"
    ? target
    : new Promise((resolve, reject) =>
        target.onStatus((status, cause) => (status === "ready" ? resolve(target) : reject(cause))),
      );

/** Both sides of a connection, without the package and a network: an endpoint would send probes into the one that it finds. */
function irohConnection() {
  const pipe = () => {
    const chunks = [];
    let wake = () => undefined;
    const push = async (bytes) => {
      chunks.push(bytes);
      wake();
    };
    const read = async () => {
      while (chunks.length === 0) await new Promise((resolve) => (wake = resolve));
      return chunks.shift();
    };
    return { send: { writeAll: push, finish: () => push([]) }, recv: { read } };
  };
  const [there, back] = [pipe(), pipe()];
  const side = (name, stream) => ({
    side: () => name,
    openBi: async () => stream,
    acceptBi: async () => stream,
    closeReason: () => null,
    closed: () => new Promise(() => undefined),
    close: () => undefined,
  });
  return [side("Client", { send: there.send, recv: back.recv }), side("Server", { send: back.send, recv: there.recv })];
}

/** One row a target: its name, the call that makes it, and a target whose handshake is done. */
async function* targets() {
  yield { name: "in process", call: "createPubSub()", supports: createPubSub().supports };
  const plain = createPubSub({ eventTarget: new EventTarget() });
  yield { name: "any plain `EventTarget`", call: "createPubSub({ eventTarget })", supports: plain.supports };

  const { port1, port2 } = new MessageChannel();
  const worker = createWorkerEventTarget(port1);
  const parent = createMainThreadEventTarget({ port: port2 });
  yield { name: "worker", call: "createWorkerEventTarget(worker)", supports: (await ready(worker)).supports };
  await Promise.all([worker.close(), parent.close()]);
  port1.close();

  const ports = new MessageChannel();
  const one = createMessagePortEventTarget(ports.port1);
  const other = createMessagePortEventTarget(ports.port2);
  yield { name: "MessagePort", call: "createMessagePortEventTarget(port)", supports: (await ready(one)).supports };
  await Promise.all([one.close(), other.close()]);
  ports.port1.close();

  const bus = createBroadcastChannelEventTarget("docs");
  const call = "createBroadcastChannelEventTarget(name)";
  yield { name: "BroadcastChannel", call, supports: (await ready(bus)).supports };
  await bus.close();
  const [down, up] = [new PassThrough(), new PassThrough()];
  const child = createStdioEventTarget(Object.assign(new EventEmitter(), { stdin: down, stdout: up, exitCode: null }));
  const above = createParentProcessEventTarget({ stdin: down, stdout: up });
  yield { name: "child process", call: "createStdioEventTarget(child)", supports: (await ready(child)).supports };
  await Promise.all([child.close(), above.close()]);

  const server = await createHubServer({ port: 0 });
  const socket = createWebSocketEventTarget(new WebSocket(server.url));
  const { echo } = (await ready(socket)).supports;
  // The far end here is a hub, and that one echoes; another socket does not.
  yield {
    name: "WebSocket",
    call: "createWebSocketEventTarget(socket)",
    supports: { ...socket.supports, echo: echo && "hub" },
  };
  const [connecting, accepted] = irohConnection();
  server.hub.connect(irohChannel(accepted), "peer");
  const peer = createIrohEventTarget(connecting);
  const peerSupports = (await ready(peer)).supports;
  yield {
    name: "iroh",
    call: "createIrohEventTarget(connection)",
    supports: { ...peerSupports, echo: peerSupports.echo && "hub" },
  };
  await peer.close();
  // Of these the manifest is the same before they are connected.
  const idle = { status: "wait", options: {} };
  const redis = createRedisEventTarget({ publishClient: idle, subscribeClient: idle });
  yield { name: "Redis", call: "createRedisEventTarget({ … })", supports: redis.supports };
  const cluster = { isCluster: true, ...idle, ssubscribe() {} };
  const clients = { publishClient: cluster, subscribeClient: cluster };
  const ofCluster = createRedisEventTarget(clients);
  yield { name: "Redis Cluster", call: "createRedisEventTarget({ … })", supports: ofCluster.supports };
  const sharded = createRedisEventTarget({ ...clients, sharded: true });
  yield { name: "Redis Cluster, sharded", call: "createRedisEventTarget({ … })", supports: sharded.supports };
  // A server says what it takes at most; this is its default.
  const connection = { flush() {}, status() {}, info: { max_payload: 1024 * 1024 } };
  const nats = createNatsEventTarget({ connection });
  yield { name: "NATS", call: "createNatsEventTarget({ … })", supports: nats.supports };
  for (const [version, protocolVersion] of Object.entries({ 5: 5, "3.1.1": 4 })) {
    const client = { options: { protocolVersion }, removeOutgoingMessage() {}, subscribe() {} };
    const { supports } = createMqttEventTarget({ client });
    yield { name: `MQTT ${version}`, call: "createMqttEventTarget({ … })", supports };
  }
  const pool = { connect() {}, on() {}, off() {}, Client: Object, options: {} };
  const postgres = createPostgresEventTarget({ pool });
  yield { name: "Postgres", call: "createPostgresEventTarget({ … })", supports: postgres.supports };
  const amqp = createAmqpEventTarget({ url: "amqp://127.0.0.1" });
  yield { name: "AMQP (RabbitMQ)", call: "createAmqpEventTarget({ … })", supports: amqp.supports };
  const client = createHubEventTarget(server.url);
  yield { name: "hub, reconnecting", call: "createHubEventTarget(url)", supports: (await ready(client)).supports };
  yield { name: "inside the hub", call: "hub.eventTarget", supports: (await ready(server.hub.eventTarget)).supports };
  await Promise.all([socket.close(), client.close()]);
  await server.close();

  const far = new MessageChannel();
  const plainLink = createWorkerEventTarget(far.port1, { plain: true });
  yield { name: "any of the pipes, plain", call: "…, { plain: true }", supports: (await ready(plainLink)).supports };
  await plainLink.close();
  far.port1.close();
}

const yes = (value) => (value === true ? "yes" : value === false ? "no" : value);
const size = (bytes) => (bytes === undefined ? "–" : bytes % 1048576 === 0 ? `${bytes / 1048576} MiB` : `${bytes} B`);

const rows = [];
for await (const { name, call, supports } of targets())
  rows.push(
    [
      name,
      `\`${call}\``,
      supports.publishAck,
      supports.delivery,
      supports.lossDetection,
      yes(supports.subscribeAck),
      supports.patterns,
      yes(supports.echo),
      yes(supports.groups),
      yes(supports.replay),
      size(supports.maxPayload),
    ].join(" | "),
  );
const table = [
  "| transport | made by | `publishAck` | `delivery` | `lossDetection` | `subscribeAck` | `patterns` | `echo` | `groups` | `replay` | `maxPayload` |",
  "|---|---|---|---|---|---|---|---|---|---|---|",
  ...rows.map((row) => `| ${row} |`),
].join("\n");

const before = readFileSync(readme, "utf8");
const [head, rest = ""] = before.split(BEGIN);
const after = `${head}${BEGIN}\n${table}\n${END}${rest.split(END)[1] ?? ""}`;
if (after === before) process.exit(0);
if (process.argv.includes("--check")) {
  console.error("README.md: the table of transports is not what the manifests say; run `npm run docs`");
  process.exit(1);
}
writeFileSync(readme, after);
console.log("README.md: wrote the table of transports");
