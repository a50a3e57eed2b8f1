// What users of a router type.
import type { EventEnvelope, PubSubError } from "@alkdev/pubsub";
import type { Identity } from "./events.ts";
import type { Operations } from "./operations-api.ts";
import type { AnyPubSub } from "./wire.ts";

/** Options of `createRouter`. */
export interface RouterOptions {
  /** Who the router's own place is, for handlers elsewhere. Default: nobody known. */
  readonly identity?: Identity;
  /**
   * Milliseconds that requests wait for a spoke which has lost its connection and may resume; then they are `UNAVAILABLE`.
   * Default 1,000.
   */
  readonly grace?: number;
  /**
   * A PubSub that several routers share, of one application or many: they are one registry then, and a request reaches a spoke
   * of any of them. Whoever can publish `router.peers` there is believed to be a router, also in who calls: hubs on the same
   * backplane must all be joined by one of these routers, which keep their links from it. It is not closed with the router.
   *
   * @example
   * const server = await createHubServer({ backplane: target });
   * createRouter({ backplane: createPubSub({ eventTarget: target }) }).join(server.hub);
   */
  readonly backplane?: AnyPubSub;
  /**
   * Milliseconds without a sign of life after which another router is gone, and requests to it are `UNAVAILABLE`. Default
   * 15,000.
   */
  readonly lease?: number;
  readonly limits?: RouterLimits;
  /** Told of what no call throws: malformed and forged events, registrations that are refused. */
  readonly onError?: (error: unknown) => void;
}

/** What one spoke may cost. */
export interface RouterLimits {
  /** Requests of one spoke that are under way; one more is `UNAVAILABLE`. Default 10,000. */
  readonly pending?: number;
  /** Operations that one spoke may offer; more are refused. Default 1,000. */
  readonly operations?: number;
}

/** Options of `Router.connect`. */
export interface RouterConnectOptions {
  /** Who is on the other side, as the application has authenticated them. Default: nobody known. */
  readonly identity?: Identity;
}

/** A spoke that was connected by a PubSub of its own. */
export interface RouterSpoke {
  /** Resolves once the router hears it. Rejects where that cannot be. */
  readonly live: Promise<void>;
  /** Lets go of it; the PubSub stays open. */
  close(): Promise<void>;
}

/** The part of a hub's link that a router needs; the links of `@alkdev/hub` have it. */
export interface RoutedLink {
  readonly identity: string | undefined;
  readonly attached: boolean;
  readonly closed: Promise<PubSubError>;
  onAttached(listener: (attached: boolean) => void): () => void;
  send(envelope: EventEnvelope): boolean;
}

/** The part of a hub that a router needs; that of `@alkdev/hub` has it. */
export interface RoutedHub {
  divert(type: string, taker: (envelope: EventEnvelope, link: RoutedLink | undefined) => void): () => void;
}

/** Options of `Router.join`. */
export interface JoinOptions {
  /** Who a link of the hub is. Default: its identity, without scopes. */
  readonly identify?: (identity: string | undefined) => Identity | undefined;
}

/** One operation, as `status()` shows it. */
export interface RoutedOperation {
  readonly name: string;
  /** Spokes that offer it, and other routers; requests go to the one that is least busy. */
  readonly spokes: number;
}

/** A router's figures. */
export interface RouterStatus {
  readonly operations: readonly RoutedOperation[];
  readonly spokes: number;
  /** Other routers on the backplane. */
  readonly routers: number;
  /** Requests that are under way. */
  readonly pending: number;
}

/**
 * Gives each request to one spoke that offers its operation, and each answer to whoever asked. Spokes are the links of a hub,
 * the workers of a pool, child processes: whoever makes `createOperations(pubsub, { router: true })` on the other side.
 */
export interface Router extends AsyncDisposable {
  /** The router's own place: calls what spokes offer, and offers to them. */
  readonly operations: Operations;
  /**
   * Adds what is on the other side of a PubSub: a worker, a child process, a socket.
   *
   * @example
   * router.connect(createPubSub({ eventTarget: createWorkerEventTarget(worker) }));
   */
  connect(pubsub: AnyPubSub, options?: RouterConnectOptions): RouterSpoke;
  /**
   * Routes the calls of a hub's links, who are whom the hub knows them as. Other events are none of its business.
   *
   * @returns a function that ends it
   * @example
   * const leave = router.join(server.hub, { identify: (id) => users.get(id) });
   */
  join(hub: RoutedHub, options?: JoinOptions): () => void;
  status(): RouterStatus;
  /** Ends everything at once: callers are told `UNAVAILABLE`. Idempotent. PubSubs and hubs stay open. */
  close(): Promise<void>;
}
