import { checkSignal } from "./abort.ts";
import type { ListenOptions } from "./api.ts";
import type { Backoff } from "./backoff.ts";
import { excerpt, PubSubError } from "./errors.ts";
import type { OnGap } from "./queue.ts";

/** Characters of a group's name; the link protocol takes no more. */
const MAX_GROUP = 1024;

// What is wrong with an option is said when it is given, by name.

export function checkGap(onGap: OnGap | undefined): OnGap | undefined {
  if (onGap === undefined || onGap === "ignore" || typeof onGap === "function") return onGap;
  throw new PubSubError("INVALID_OPTION", `onGap must be a function or 'ignore', not ${excerpt(onGap)}.`);
}

export function checkListening({ signal, onGap, group, own }: ListenOptions): void {
  checkSignal(signal);
  checkGap(onGap);
  if (group !== undefined && (typeof group !== "string" || group === ""))
    throw new PubSubError("INVALID_OPTION", `group must be a string that is not empty, not ${excerpt(group)}.`);
  if (group !== undefined && group.length > MAX_GROUP)
    throw new PubSubError("INVALID_OPTION", `group may have ${MAX_GROUP} characters, this one has ${group.length}.`);
  if (group !== undefined && own === false)
    throw new PubSubError(
      "INVALID_OPTION",
      "group and own: false do not go together: an event of this target's own that falls to it would be lost to the group. Subscribe without the group, or take them.",
    );
  if (own !== undefined && typeof own !== "boolean")
    throw new PubSubError("INVALID_OPTION", `own must be true or false, not ${excerpt(own)}.`);
}

export function checkTimeout(name: string, value: number | undefined): void {
  if (value !== undefined && (typeof value !== "number" || !(value >= 0)))
    throw new PubSubError("INVALID_OPTION", `${name} must be a number of milliseconds, not ${excerpt(value)}.`);
}

export function checkBackoff({ jitter = 0, ...times }: Backoff = {}): void {
  for (const [name, value] of Object.entries(times)) checkTimeout(`backoff.${name}`, value);
  if (typeof jitter !== "number" || !(jitter >= 0 && jitter <= 1))
    throw new PubSubError("INVALID_OPTION", `backoff.jitter must be a number from 0 to 1, not ${excerpt(jitter)}.`);
}

export function checkTarget(target: unknown): EventTarget {
  const candidate = target as Partial<EventTarget> | null;
  if (typeof candidate?.addEventListener === "function" && typeof candidate.dispatchEvent === "function")
    return target as EventTarget;
  throw new PubSubError(
    "INVALID_OPTION",
    "eventTarget must be an EventTarget, or what one of the create…EventTarget functions returned.",
  );
}
