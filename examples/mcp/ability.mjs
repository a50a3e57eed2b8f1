// An agent with tools, by KADI's wire alone: JSON-RPC 2.0 over a WebSocket, in any language.
import { generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { WebSocket } from "ws";

/** Connects to a broker and offers tools; resolves once the broker knows them. */
export async function openAbility(url, name, tools) {
  const socket = new WebSocket(url);
  const answers = new Map();
  let offered = [];
  let lastId = 0;
  const send = (message) => socket.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
  const request = (method, params) =>
    new Promise((resolve, reject) => {
      answers.set(++lastId, { resolve, reject });
      send({ id: lastId, method, params });
    });
  const run = async (id, { toolName, toolInput, callerName }) => {
    const tool = offered.find((each) => each.name === toolName);
    try {
      send({ id, result: await tool.run(toolInput, callerName) });
    } catch (thrown) {
      send({ id, error: { code: -32000, message: thrown.message } });
    }
  };
  socket.on("message", (/** @type {string} */ data) => {
    const { id, method, params, result, error } = JSON.parse(data);
    if (method === "kadi.ability.request") void run(id, params);
    if (method !== undefined) return;
    const { resolve, reject } = answers.get(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error.message));
  });
  await once(socket, "open");
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { nonce } = await request("kadi.session.hello", { role: "ability", name });
  await request("kadi.session.authenticate", {
    publicKey: publicKey.export({ format: "der", type: "spki" }).toString("base64"),
    signature: sign(null, Buffer.from(nonce), privateKey).toString("base64"),
    nonce,
  });
  const offer = (more) => {
    offered = more;
    // What is no JSON does not travel: `run` stays here.
    return request("kadi.agent.register", { tools: more });
  };
  await offer(tools);
  return { offer, close: () => socket.close() };
}
