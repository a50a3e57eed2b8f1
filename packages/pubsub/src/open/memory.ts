/** `memory:`: what those share that open the same URL in one process. */
import { defineEventTarget } from "../event-target.ts";
import type { EventEnvelope } from "../envelope.ts";
import type { Receiver, Supports, Transport } from "../transport.ts";
import type { Opener } from "./opener.ts";

const SUPPORTS: Supports = {
  publishAck: "hop",
  delivery: "at-most-once",
  lossDetection: "full",
  subscribeAck: true,
  overlap: "once",
  patterns: "native",
  echo: true,
  groups: false,
  replay: false,
  maxPayload: undefined,
};

/** By name: those that are open. */
const spaces = new Map<string, Space>();

// `memory:name` and `memory://name` are one.
export const open: Opener = ({ host, path }, options) =>
  defineEventTarget(new MemoryTransport(host === "" || path === "" ? host + path : `${host}/${path}`), options);

/** Targets that share one space. All see all events in one order, as through a server. */
class Space {
  readonly members: Set<Receiver> = new Set();
  #queue: EventEnvelope[] = [];
  #delivering = false;

  /** What is published by a listener comes after what it was called for, everywhere. */
  publish(envelope: EventEnvelope): void {
    this.#queue.push(envelope);
    if (this.#delivering) return;
    this.#delivering = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift())
      for (const member of this.members) member.deliver(next);
    this.#delivering = false;
  }
}

class MemoryTransport implements Transport {
  readonly supports: Supports = SUPPORTS;
  readonly #name: string;
  #receiver: Receiver | undefined;
  #space: Space | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  open(receiver: Receiver): void {
    let space = spaces.get(this.#name);
    if (space === undefined) spaces.set(this.#name, (space = new Space()));
    space.members.add(receiver);
    this.#space = space;
    this.#receiver = receiver;
  }

  // The core matches.
  subscribe(): void {}

  unsubscribe(): void {}

  publish(envelope: EventEnvelope): void {
    this.#space?.publish(envelope);
  }

  close(): void {
    const space = this.#space;
    if (space === undefined || this.#receiver === undefined) return;
    space.members.delete(this.#receiver);
    if (space.members.size === 0 && spaces.get(this.#name) === space) spaces.delete(this.#name);
  }
}
