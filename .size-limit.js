// What an application pays, minified and compressed, for what it imports. The limits are what was measured, and a little:
// who goes over one says why in the commit that raises it. The targets are where this is to go; `node bench/size.mjs`
// shows each part beside the others, every operator too.

const pubsub = (file) => `packages/pubsub/dist/${file}.js`;
const IN_PROCESS = { [pubsub("index")]: "{ createPubSub }" };

/** Sizes are of an ES module, compressed with gzip. */
const entry = (name, imports, limit, more) => ({ name, import: imports, limit, gzip: true, ...more });

export default [
  // Target: 4 kB.
  entry("@alkdev/pubsub: createPubSub, in process", IN_PROCESS, "9.8 kB"),
  entry("@alkdev/pubsub: everything", { [pubsub("index")]: "*" }, "15.6 kB"),
  // Target: 0.6 kB an operator.
  entry(
    "@alkdev/pubsub/operators: pipe, filter, map",
    { [pubsub("operators/index")]: "{ pipe, filter, map }" },
    "1.4 kB",
  ),
  entry("@alkdev/pubsub/operators: everything", { [pubsub("operators/index")]: "*" }, "6 kB"),
  entry("@alkdev/pubsub/transport: defineEventTarget", { [pubsub("transport")]: "{ defineEventTarget }" }, "9.6 kB"),
  entry("@alkdev/pubsub/transport: everything", { [pubsub("transport")]: "*" }, "18.9 kB"),
  // With all that it may load of this package, of which it loads one part, and no client.
  entry("@alkdev/pubsub/open: openEventTarget", { [pubsub("open")]: "{ openEventTarget }" }, "38.3 kB", {
    ignore: ["amqplib"],
  }),
  entry("@alkdev/pubsub/event-stream: toEventStream", { [pubsub("event-stream")]: "{ toEventStream }" }, "3.4 kB"),
  entry("@alkdev/pubsub/testing", { [pubsub("testing/index")]: "*" }, "19 kB"),
  // Target: 3 kB beside createPubSub.
  ...[
    ["broadcast-channel", "createBroadcastChannelEventTarget", "23.9 kB"],
    ["message-port", "createMessagePortEventTarget", "23.7 kB"],
    ["websocket", "createWebSocketEventTarget", "23.8 kB"],
    ["stdio", "createStdioEventTarget", "24.8 kB"],
    ["worker", "createWorkerEventTarget", "23.7 kB"],
    ["iroh", "createIrohEventTarget", "24.8 kB"],
    // With clusters and sharded channels.
    ["redis", "createRedisEventTarget", "24.8 kB"],
    ["nats", "createNatsEventTarget", "19 kB"],
    ["mqtt", "createMqttEventTarget", "19.4 kB"],
    ["postgres", "createPostgresEventTarget", "19.5 kB"],
    ["amqp", "createAmqpEventTarget", "21.4 kB"],
  ].map(([file, create, limit]) =>
    entry(
      `@alkdev/pubsub/event-target-${file}: ${create}, with createPubSub`,
      { ...IN_PROCESS, [pubsub(`event-targets/${file}`)]: `{ ${create} }` },
      limit,
      // Loaded only where it is there.
      { ignore: ["@number0/iroh", "amqplib"] },
    ),
  ),
  entry(
    "@alkdev/operations: createOperations, without the validator of JSON Schema",
    {
      "packages/operations/dist/index.js": "{ createOperations }",
    },
    "9 kB",
    { ignore: ["@cfworker/json-schema"] },
  ),
  entry(
    "@alkdev/operations: everything, with createPubSub",
    {
      ...IN_PROCESS,
      "packages/operations/dist/index.js": "*",
    },
    "26.8 kB",
  ),
  // For Node, where size is of little account; `ws` is not counted.
  entry("@alkdev/hub: everything", { "packages/hub/dist/index.js": "*" }, "29.3 kB", {
    ignore: ["ws"],
    modifyEsbuildConfig: (config) => ({ ...config, platform: "node" }),
  }),
  entry("@alkdev/kadi: everything", { "packages/kadi/dist/index.js": "*" }, "64.3 kB", {
    // MCP's SDK is loaded only where it is wanted.
    ignore: ["ws", "@modelcontextprotocol/*", "zod", "@cfworker/json-schema"],
    modifyEsbuildConfig: (config) => ({ ...config, platform: "node", format: "esm" }),
  }),
];
