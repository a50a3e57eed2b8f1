/** `mqtt:` and `mqtts:`: an MQTT broker, by version 5 of the protocol, with a client of `mqtt`. */
import { createMqttEventTarget } from "../event-targets/mqtt.ts";
import type { MqttClient } from "../event-targets/mqtt.ts";
import { refusalOf } from "../event-targets/mqtt-client.ts";
import { describe } from "../errors.ts";
import { checkPath } from "./address.ts";
import { load, patience } from "./opener.ts";
import type { Opener } from "./opener.ts";

/** What is used of the package, beside what the target does. */
interface MqttModule {
  readonly connect: (options: object) => MqttClient & { end(force: boolean): unknown };
}

/** Milliseconds between two attempts to connect again: the client has one for all. */
const PAUSE = 500;

export const open: Opener = async (address, options, owned) => {
  checkPath(address, /^$/, "none may be");
  const { scheme, host, port, user, password, query } = address;
  const { module } = await load(scheme, "mqtt");
  const client = (module as MqttModule).connect({
    protocol: scheme.slice(0, -1),
    host,
    port: port ?? (scheme === "mqtts:" ? 8883 : 1883),
    protocolVersion: 5,
    connectTimeout: patience(options.connectTimeout),
    reconnectPeriod: PAUSE,
    // Else it would stop for good where a broker says no, and tell nobody.
    reconnectOnConnackError: true,
    // The core asks for all of it anew.
    resubscribe: false,
    ...(user !== undefined && { username: user }),
    ...(password !== undefined && { password }),
  });
  owned.add(() => client.end(true));
  await new Promise<void>((resolve, reject) => {
    client.on("error", reject);
    client.on("close", () => reject(new Error("the broker closed the connection without a word")));
    client.on("connect", () => resolve());
  });
  const { prefix } = query;
  return createMqttEventTarget({ ...options, client, ...(prefix !== undefined && { prefix }) });
};

export function refused(error: unknown): string | undefined {
  return refusalOf(error) && describe(error);
}
