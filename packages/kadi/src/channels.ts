// The topics that a broker uses on its event target, and the channels of KADI that stand for some of them.
import type { Filter } from "@alkdev/pubsub";
import { PubSubError } from "@alkdev/pubsub";
import { checkFilter, excerpt } from "@alkdev/pubsub/transport";
import { CODES, RpcError } from "./json-rpc.ts";

/** What brokers say to one another; the id is the broker's, or empty for all. */
export const BROKERS = "kadi.broker";
/** Before the channel of an event; the id is the network, so that no pattern reaches into another one. */
const EVENT = "kadi.event.";
/** The type of every event. */
export const ALL_EVENTS: string = `${EVENT}**`;

/** @throws RpcError `INVALID_PARAMS` unless the string can be published to */
export function typeOfChannel(channel: string): string {
  if (/[*#]/.test(channel)) throw invalid(channel, "published to: * and # are for subscribing, publish to one channel");
  return checked(channel, EVENT + channel, "published to");
}

/** @throws RpcError `INVALID_PARAMS` unless the string can be subscribed to */
export function typeOfPattern(pattern: string): string {
  const words = pattern.split(".");
  const last = words.pop();
  if (words.some((word) => word.includes("#")) || (last !== "#" && last?.includes("#") === true))
    throw invalid(pattern, "subscribed to: # stands alone at the end, for any number of words");
  if (last === "**") throw invalid(pattern, "subscribed to: write # rather than ** for any number of words");
  words.push(last === "#" ? "**" : (last ?? ""));
  return checked(pattern, EVENT + words.join("."), "subscribed to");
}

/**
 * The channel or pattern that stands for a type or pattern of an event target.
 *
 * @throws PubSubError `UNSUPPORTED` where no channel matches it
 */
export function patternOfType(type: string): string {
  const words = type.split(".");
  for (const prefix of ["kadi", "event"]) {
    const word = words[0];
    if (word === "**") return "#";
    if (word !== prefix && word !== "*") words.length = 0;
    words.shift();
  }
  if (words.length === 0)
    throw new PubSubError(
      "UNSUPPORTED",
      `A KADI broker carries types that begin with ${EVENT} and no others; ${excerpt(type)} is none.`,
    );
  if (words.at(-1) === "**") words.splice(-1, 1, "#");
  return words.join(".");
}

/** The type of an event in a channel that somebody has published to. */
export function typeOfDelivery(channel: string): string {
  return EVENT + channel;
}

/** The channel of an event's type. */
export function channelOfType(type: string): string {
  return type.slice(EVENT.length);
}

function checked(channel: string, type: string, what: string): string {
  try {
    checkFilter({ type } satisfies Filter);
  } catch (error) {
    // The reason without the type that it was found in, which the client did not write.
    const message = error instanceof Error ? error.message : String(error);
    throw invalid(channel, `${what}${message.slice(message.indexOf(": ")).replace(/\.$/, "")}`);
  }
  return type;
}

function invalid(channel: string, why: string): RpcError {
  return new RpcError(CODES.INVALID_PARAMS, `${excerpt(channel)} cannot be ${why}.`);
}
