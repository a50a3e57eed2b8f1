// The processes that the examples with a broker need, where there are none yet.
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Milliseconds between two attempts, and how many there are where somebody else starts the same. */
const PAUSE = 200;
const ATTEMPTS = 25;

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
 * Uses what is there, and starts it where it is not. Whoever started the same in the same moment may have been faster: then
 * theirs is used, once it is there.
 *
 * @returns what ends the process that was started; undefined where it was there
 */
async function useOrStart(what, use, code, start) {
  const found = async () => {
    try {
      await use();
      return true;
    } catch (error) {
      if (error.code !== code) throw error;
      return false;
    }
  };
  if (await found()) return undefined;
  let stop;
  let problem;
  try {
    stop = await start();
  } catch (error) {
    problem = error;
  }
  for (let i = 0; i < ATTEMPTS; i++) {
    if (await found()) return stop;
    await setTimeout(PAUSE);
  }
  await stop?.();
  throw new Error(
    `${what} is not there and could not be started${problem === undefined ? "." : `: ${problem.message}`}`,
  );
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
    const broker = await useOrStart(
      `A broker at ${url}`,
      () => client.connect(),
      "NOT_READY",
      () => start([file("../../packages/kadi/bin/kadi.js"), "broker", "--port", new URL(url).port || "80"]),
    );
    if (broker !== undefined) stops.push(broker);
    const served = await useOrStart(
      `The ability ${ability}`,
      () => client.loadBroker(ability),
      "OPERATION_NOT_FOUND",
      () => start([file("serve-at-broker.mjs"), ability], { KADI_BROKER_URL: url }),
    );
    if (served !== undefined) stops.push(served);
    return stop;
  } catch (error) {
    await stop();
    await client.disconnect();
    console.error(error.message);
    return process.exit(1);
  }
}
