import type { Sink } from "./core.ts";
import type { Filter } from "./transport.ts";

/** Someone who waits for a filter to become live. */
export interface Waiter {
  readonly stop: () => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One filter of the far end, shared by all sinks that want it. The five steps of subscribing: checked (1) and stored
 * (2) in `subscribe`, the transport made ready (3) in `open`, the filter subscribed and acknowledged (4) in `drive`,
 * the waiters resolved (5).
 */
export class FilterState {
  readonly filter: Filter;
  readonly key: string;
  /** In order of subscribing. */
  readonly sinks: Set<Sink> = new Set();
  readonly waiters: Map<Sink, Waiter> = new Map();
  /** What is so on the far end, as far as we know. */
  phase: "idle" | "subscribing" | "live" | "unsubscribing" = "idle";
  driven = false;
  /** `live` is a guess: a cut left the unsubscribe unanswered. */
  doubtful = false;
  /** Taken away before the tick in which its acknowledgement is known here. */
  revoked = false;
  revocation: unknown;
  /** A resume waits for it before the status is `ready`. */
  resuming = false;
  #list: readonly Sink[] | undefined;
  #turn = 0;

  constructor(sink: Sink, key: string) {
    this.filter = { type: sink.type, id: sink.id, group: sink.group };
    this.key = key;
  }

  /** The sinks as a list that a dispatch may read while sinks come and go. */
  get list(): readonly Sink[] {
    return (this.#list ??= [...this.sinks]);
  }

  /** Asked by a function, since a compiler takes it that nothing changes while one waits. */
  wasRevoked(): boolean {
    return this.revoked;
  }

  /** One sink that wants it, each in its turn: the members of a group on this side are one member to the far end. */
  inTurn(own: boolean): readonly Sink[] {
    const { list } = this;
    for (let i = 0; i < list.length; i++) {
      const sink = list[this.#turn++ % list.length] as Sink;
      if (!own || sink.own) return [sink];
    }
    return [];
  }

  add(sink: Sink): void {
    this.sinks.add(sink);
    this.#list = undefined;
  }

  delete(sink: Sink): boolean {
    this.#list = undefined;
    return this.sinks.delete(sink);
  }
}
