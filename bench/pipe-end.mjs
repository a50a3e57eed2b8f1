// The far end of the pipes that are measured: counts what comes, says when all is there, and sends back what asks for that.
import process from "node:process";
import { isMainThread, parentPort, workerData } from "node:worker_threads";

const kind = isMainThread ? process.argv[2] : workerData.kind;

async function ours() {
  const { createPubSub } = await import("@alkdev/pubsub");
  const eventTarget = isMainThread
    ? (await import("@alkdev/pubsub/event-target-stdio")).createParentProcessEventTarget()
    : (await import("@alkdev/pubsub/event-target-worker")).createMainThreadEventTarget();
  const pubsub = createPubSub({ eventTarget, onError: () => process.exit() });
  let missing = 0;
  await pubsub.on("expect", ({ payload }) => (missing = payload));
  await pubsub.on("session", ({ payload }) => {
    if (payload.ok && --missing === 0) void pubsub.publish("done", "", null);
  });
  await pubsub.on("ask", ({ payload }) => void pubsub.publish("echo", "", payload));
}

function raw(send) {
  let missing = 0;
  const one = (message) => {
    if (message.type === "expect") missing = message.payload;
    else if (message.type === "ask") send(message);
    else if (message.payload.ok && --missing === 0) send({ type: "done" });
  };
  return (message) => {
    if (Array.isArray(message)) for (const each of message) one(each);
    else one(message);
  };
}

if (kind === "ours") await ours();
else if (!isMainThread)
  parentPort.on(
    "message",
    raw((message) => parentPort.postMessage(message)),
  );
else {
  const receive = raw((message) => process.stdout.write(`${JSON.stringify(message)}\n`));
  let rest = "";
  process.stdin.setEncoding("utf8").on("data", (chunk) => {
    // As quick a way to the lines as there is.
    const text = rest === "" ? chunk : rest + chunk;
    let from = 0;
    for (let to = text.indexOf("\n"); to >= 0; to = text.indexOf("\n", from)) {
      receive(JSON.parse(text.slice(from, to)));
      from = to + 1;
    }
    rest = text.slice(from);
  });
}
