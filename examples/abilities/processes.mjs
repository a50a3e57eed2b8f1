// The processes that the examples with a broker need, where there are none yet.
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Starts a program of Node; resolves when it has printed its first line, with what ends it. */
async function start(args, env = {}) {
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const ended = once(child, "exit");
  const first = await Promise.race([once(child.stdout, "data"), ended]);
  if (child.exitCode !== null) throw new Error(`${args[0]} ended with code ${first[0]}.`);
  child.stdout.resume();
  return async () => {
    child.kill();
    await ended;
  };
}

/**
 * Connects a client, and starts what it needs and is not there: the broker, and an ability in a process of its own.
 *
 * @returns what ends the processes that were started
 */
export async function connectAll(client, url, ability) {
  const stops = [];
  const stop = async () => {
    while (stops.length > 0) await stops.pop()();
  };
  try {
    try {
      await client.connect();
    } catch (error) {
      if (error.code !== "NOT_READY") throw error;
      stops.push(await start([file("../../packages/kadi/bin/kadi.js"), "broker", "--port", new URL(url).port || "80"]));
      await client.connect();
    }
    try {
      await client.loadBroker(ability);
    } catch (error) {
      if (error.code !== "OPERATION_NOT_FOUND") throw error;
      stops.push(await start([file("serve-at-broker.mjs"), ability], { KADI_BROKER_URL: url }));
    }
    return stop;
  } catch (error) {
    await stop();
    throw error;
  }
}
