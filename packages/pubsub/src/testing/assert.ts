// The few assertions of the suite, so that it needs no test runner.
import type { EventEnvelope } from "../envelope.ts";
import { PubSubError } from "../errors.ts";
import type { PubSubErrorCode } from "../errors.ts";
import type { AlkEventTarget } from "../event-target.ts";
import type { Status } from "../transport.ts";
import type { EndSubscription } from "./harness.ts";

/** A promise of the contract that was not kept. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** @throws AssertionError with the message, unless the condition holds */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** @throws AssertionError unless both are the same JSON, whatever the order of their members */
export function equal(actual: unknown, expected: unknown, what: string = "the value"): void {
  const [is, should] = [canonical(actual), canonical(expected)];
  assert(is === should, `${what} is ${excerpt(is)}, and should be ${excerpt(should)}`);
}

/** @throws AssertionError unless the promise rejects with this code; returns the error */
export async function rejects(promise: Promise<unknown>, code: PubSubErrorCode): Promise<PubSubError> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return isError(error, code);
  }
  throw new AssertionError(`it resolved with ${excerpt(canonical(value))}, and should have rejected with ${code}`);
}

/** @throws AssertionError unless the value is a PubSubError with this code */
export function isError(error: unknown, code: PubSubErrorCode): PubSubError {
  assert(
    error instanceof PubSubError && error.code === code,
    `the error is ${error instanceof PubSubError ? `${error.code} (${error.message})` : String(error)}, and should be ${code}`,
  );
  return error;
}

/** The type of the events by which the suite finds out that subscriptions have arrived; `nextEvent` passes them over. */
export const KNOWN = "conformance.known";

/** The payloads of the next events. */
export async function take(events: EndSubscription, count: number): Promise<unknown[]> {
  const payloads: unknown[] = [];
  while (payloads.length < count) payloads.push((await nextEvent(events)).payload);
  return payloads;
}

/** The next event; @throws AssertionError where the subscription is done. */
export async function nextEvent(events: EndSubscription): Promise<EventEnvelope> {
  for (;;) {
    const { done, value } = await events.next();
    assert(done !== true, "the subscription is done, and should have given another event");
    if (value.type !== KNOWN) return value;
  }
}

/** Resolves when the target has (or has had) this status. */
export function whenStatus(target: AlkEventTarget, status: Status): Promise<void> {
  if (target.status === status) return Promise.resolve();
  return new Promise((resolve) => {
    const stop = target.onStatus((now) => {
      if (now !== status) return;
      stop();
      resolve();
    });
  });
}

/** Asks again and again until it is so, for what nobody tells of; @throws AssertionError after two seconds. */
export async function until(condition: () => Promise<boolean> | boolean, what: string): Promise<void> {
  for (const end = Date.now() + 2000; Date.now() < end;) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new AssertionError(`${what}: not so after two seconds`);
}

/** A promise and what settles it. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
}

export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => (resolve = settle));
  return { promise, resolve };
}

function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_, member: unknown) =>
      typeof member === "object" && member !== null && !Array.isArray(member)
        ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
        : member,
    ) ?? String(value)
  );
}

function excerpt(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
