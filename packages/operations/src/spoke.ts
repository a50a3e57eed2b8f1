// What a router keeps of whoever calls and is called, and of each request.
import type { CallEvent, Identity } from "./events.ts";

/** One request under way, from a spoke to a spoke. */
export interface Route {
  readonly id: string;
  readonly name: string;
  readonly caller: Spoke;
  readonly callee: Spoke;
  /** Answers until it is over; undefined where only the handler knows. */
  left: number | undefined;
  answered: boolean;
  stop: () => void;
}

/** Who calls and is called, however it is connected. */
export class Spoke {
  readonly identity: Identity | undefined;
  readonly #send: (event: CallEvent) => Promise<void> | void;
  readonly asked: Set<Route> = new Set();
  readonly asking: Set<Route> = new Set();
  /** Requests of an operation that nobody is known to offer, while other routers are asked. */
  readonly held: Set<string> = new Set();
  offers: readonly string[] = [];
  instance: string | undefined;
  /** Without its connection; requests to it wait. */
  away = false;
  /** For so long that nobody waits. */
  lost = false;
  gone = false;
  stopGrace: (() => void) | undefined;

  /** Whether it is another router, which says itself who calls. */
  readonly peer: boolean;

  constructor(identity: Identity | undefined, send: (event: CallEvent) => Promise<void> | void, peer: boolean = false) {
    this.identity = identity;
    this.peer = peer;
    this.#send = send;
  }

  /** Sends in order; calls back with what went wrong. */
  tell(event: CallEvent, failed: (error: unknown) => void = ignore): void {
    if (this.gone) return;
    try {
      this.#send(event)?.catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}

function ignore(): void {}
