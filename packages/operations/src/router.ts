import { PayloadError, PubSubError } from "@alkdev/pubsub";
import { deadline as timer, quietDeadline, Recent } from "@alkdev/pubsub/transport";
import { checkCount } from "./caller.ts";
import { messageOf } from "./errors.ts";
import { ALL_CALLS, callEvent, MAX_NAME, readCallEvent, REGISTER, requestId } from "./events.ts";
import type { CallEvent, CallEvents, Identity, Registration, Requested } from "./events.ts";
import { WiredOperations } from "./operations.ts";
import type { Operations } from "./operations-api.ts";
import { PEERS, Peers } from "./peers.ts";
import type {
  JoinOptions,
  RoutedHub,
  RoutedLink,
  Router,
  RouterConnectOptions,
  RouterOptions,
  RouterSpoke,
  RouterStatus,
} from "./router-api.ts";
import { Spoke } from "./spoke.ts";
import type { Route } from "./spoke.ts";
import { PubSubWire } from "./wire.ts";
import type { AnyPubSub, Wire, WireReceiver } from "./wire.ts";

/**
 * Makes a router: beside a hub (`join`), or among PubSubs that lead to one other side each (`connect`).
 *
 * @throws PubSubError `INVALID_OPTION`
 * @example
 * const router = createRouter();
 * for (const worker of workers) router.connect(createPubSub({ eventTarget: createWorkerEventTarget(worker) }));
 * await router.operations.call("hash", { text });
 */
export function createRouter(options: RouterOptions = {}): Router {
  return new SwitchingRouter(options);
}

/** Milliseconds without a sign of life after which another router is gone. */
const LEASE = 15_000;
/** Requests that are remembered, so that one that comes again is not given to another spoke. */
const REMEMBERED = 65_536;

class SwitchingRouter implements Router {
  readonly operations: Operations;
  readonly #options: RouterOptions;
  readonly #grace: number;
  readonly #pending: number;
  readonly #operations: number;
  readonly #spokes = new Set<Spoke>();
  readonly #offers = new Map<string, Spoke[]>();
  readonly #routes = new Map<string, Route>();
  readonly #seen = new Recent<true>(REMEMBERED);
  readonly #ends = new Set<() => void>();
  readonly #wired: WiredOperations;
  readonly #peers: Peers<Spoke> | undefined;
  /** Moves on, so that the equally busy are served in turn. */
  #turn = 0;
  #closing: Promise<void> | undefined;

  constructor(options: RouterOptions) {
    const { grace = 1000, limits = {}, backplane, lease = LEASE } = options;
    if (typeof grace !== "number" || !(grace >= 0))
      throw new PubSubError("INVALID_OPTION", `grace must be a number of milliseconds, not ${String(grace)}.`);
    if (typeof lease !== "number" || !(lease > 0))
      throw new PubSubError("INVALID_OPTION", `lease must be a number of milliseconds above 0, not ${String(lease)}.`);
    this.#options = options;
    this.#grace = grace;
    this.#pending = limits.pending ?? 10_000;
    this.#operations = limits.operations ?? 1000;
    checkCount("limits.pending", this.#pending);
    checkCount("limits.operations", this.#operations);
    const onError = (error: unknown): void => this.#report(error);
    this.#peers = backplane && this.#openPeers(backplane, lease);
    this.#wired = new WiredOperations(this.#ownPlace(), undefined, { router: true, onError });
    this.operations = this.#wired as unknown as Operations;
  }

  connect(pubsub: AnyPubSub, { identity }: RouterConnectOptions = {}): RouterSpoke {
    this.#checkOpen();
    const wire = new PubSubWire(pubsub, { grace: this.#grace, router: true });
    const spoke = new Spoke(identity, (event) => wire.send(event));
    const id = requestId();
    this.#spokes.add(spoke);
    const close = async (): Promise<void> => {
      this.#ends.delete(end);
      this.#gone(spoke, "The router let go of its spoke.");
      await wire.close();
    };
    const end = (): void => void close();
    this.#ends.add(end);
    wire.open({
      event: (event) => this.#receive(spoke, event),
      lost: ({ message }) => this.#drop(spoke, message),
      away: ({ message }) => this.#isLost(spoke, message),
      ready: () => {
        this.#isBack(spoke);
        // It may have registered before anybody listened here.
        spoke.tell(callEvent("call.listening", { requestId: id }));
      },
      over: ({ message }) => {
        this.#ends.delete(end);
        this.#gone(spoke, message);
      },
      error: (error) => this.#report(error),
    });
    const live = wire.live();
    live.catch(ignore);
    return { live, close };
  }

  join(hub: RoutedHub, { identify = namedOnly }: JoinOptions = {}): () => void {
    this.#checkOpen();
    const spokes = new Map<RoutedLink, Spoke>();
    const stop = hub.divert(ALL_CALLS, (envelope, link) => {
      if (link === undefined)
        throw new PubSubError("REFUSED", "Calls from the hub's own place are made with router.operations.");
      const event = readCallEvent(envelope);
      if (event === undefined) return;
      let spoke = spokes.get(link);
      if (spoke === undefined) {
        spoke = this.#spokeOf(link, identify(link.identity));
        spokes.set(link, spoke);
        void link.closed.then(() => spokes.delete(link));
      }
      this.#receive(spoke, event);
    });
    // What routers say to each other is believed, and a link is no router.
    const stopPeers =
      this.#peers &&
      hub.divert(PEERS, () => {
        throw new PubSubError("REFUSED", `${PEERS} is for routers.`);
      });
    const leave = (): void => {
      stop();
      stopPeers?.();
      this.#ends.delete(leave);
      for (const spoke of spokes.values()) this.#gone(spoke, "The router left the hub.");
    };
    this.#ends.add(leave);
    return leave;
  }

  status(): RouterStatus {
    return {
      operations: Array.from(this.#offers, ([name, { length: spokes }]) => ({ name, spokes })),
      // Its own place is none, and neither are the other routers.
      spokes: this.#spokes.size - 1 - (this.#peers?.size ?? 0),
      routers: this.#peers?.size ?? 0,
      pending: this.#routes.size,
    };
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const spoke of [...this.#spokes]) this.#drop(spoke, "The router was closed.");
    const left = this.#peers?.close();
    // What its own place was told arrives there in the next tick.
    await Promise.resolve();
    await this.operations.close();
    for (const end of [...this.#ends]) end();
    await left;
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new PubSubError("CLOSED", "This router was closed. Make a new one.");
  }

  // ----------------------------------------------------------------------------------------------------- spokes

  #spokeOf(link: RoutedLink, identity: Identity | undefined): Spoke {
    const spoke = new Spoke(identity, (event) => {
      if (!link.send(event)) throw new PubSubError("DISCONNECTED", `It has no subscription to ${event.type}.`);
    });
    this.#spokes.add(spoke);
    link.onAttached((attached) => {
      if (attached) this.#isBack(spoke);
      else this.#isAway(spoke);
    });
    void link.closed.then(({ message }) => this.#gone(spoke, message));
    return spoke;
  }

  /** The wire of the router's own operations, whose other end is the router itself. */
  #ownPlace(): Wire {
    let receiver: WireReceiver;
    const spoke = new Spoke(this.#options.identity, (event) => queueMicrotask(() => receiver.event(event)));
    this.#spokes.add(spoke);
    return {
      ordered: true,
      outOfReach: undefined,
      open: (given) => void (receiver = given),
      live: () => Promise.resolve(),
      send: (event) => {
        this.#receive(spoke, event);
        return Promise.resolve();
      },
      close: () => {
        this.#gone(spoke, "The router was closed.");
        return Promise.resolve();
      },
    };
  }

  /** The other routers of a backplane, each of which is a spoke that offers what its own spokes do. */
  #openPeers(backplane: AnyPubSub, lease: number): Peers<Spoke> {
    return new Peers<Spoke>(backplane, lease, {
      offered: () =>
        Array.from(this.#offers)
          .filter(([, offering]) => offering.some(({ peer }) => !peer))
          .map(([name]) => name),
      joined: (tell) => {
        const spoke = new Spoke(undefined, tell, true);
        this.#spokes.add(spoke);
        return spoke;
      },
      offers: (spoke, operations) => this.#offer(spoke, operations),
      event: (spoke, event) => this.#receive(spoke, event),
      lost: (spoke, message) => this.#drop(spoke, message),
      gone: (spoke, message) => this.#gone(spoke, message),
      error: (error) => this.#report(error),
    });
  }

  #isAway(spoke: Spoke): void {
    spoke.away = true;
    spoke.stopGrace?.();
    const message = "Its spoke has lost its connection.";
    if (this.#grace === 0) this.#isLost(spoke, message);
    else spoke.stopGrace = quietDeadline(this.#grace, () => this.#isLost(spoke, message));
  }

  #isLost(spoke: Spoke, message: string): void {
    spoke.away = spoke.lost = true;
    this.#drop(spoke, message);
  }

  #isBack(spoke: Spoke): void {
    spoke.stopGrace?.();
    spoke.away = spoke.lost = false;
  }

  #gone(spoke: Spoke, message: string): void {
    if (spoke.gone) return;
    spoke.stopGrace?.();
    this.#spokes.delete(spoke);
    this.#offer(spoke, []);
    this.#drop(spoke, message);
    spoke.gone = true;
  }

  /** Nobody can say what became of the requests that a spoke was given; and those that it made, nobody waits for. */
  #drop(spoke: Spoke, message: string): void {
    for (const route of [...spoke.asked]) {
      this.#end(route);
      this.#fail(route, "UNAVAILABLE", `${route.name} may not have been answered: ${message}`);
      this.#abort(route);
    }
    if (spoke.away && !spoke.gone && this.#spokes.has(spoke)) return;
    for (const route of [...spoke.asking]) {
      this.#end(route);
      this.#fail(route, "UNAVAILABLE", message);
      this.#abort(route);
    }
  }

  /** Sets what a spoke offers. */
  #offer(spoke: Spoke, names: readonly string[]): void {
    for (const name of spoke.offers) {
      const left = this.#offers.get(name)?.filter((each) => each !== spoke) ?? [];
      if (left.length > 0) this.#offers.set(name, left);
      else this.#offers.delete(name);
    }
    spoke.offers = [...new Set(names)];
    for (const name of spoke.offers) this.#offers.set(name, [...(this.#offers.get(name) ?? []), spoke]);
    if (!spoke.peer) void this.#peers?.changed();
  }

  #register(spoke: Spoke, { requestId, input }: Requested): void {
    const { instance, operations } = (input ?? {}) as Partial<Registration>;
    const isName = (name: unknown): boolean =>
      typeof name === "string" && name !== "" && name.length <= MAX_NAME && name !== REGISTER;
    const told = (code: string, message: string): void => {
      this.#report(new PubSubError("REFUSED", `A registration was refused: ${message}`));
      spoke.tell(callEvent("call.error", { requestId, code, message }));
    };
    if (!Array.isArray(operations) || !operations.every(isName))
      return told("INVALID_INPUT", `${REGISTER} needs { operations: [names] }.`);
    if (operations.length > this.#operations)
      return told("UNAVAILABLE", `A spoke may offer ${this.#operations} operations (limits.operations).`);
    if (typeof instance === "string") {
      spoke.instance = instance;
      // The same spoke on a new connection: whatever the old one was given, it will not answer.
      for (const other of [...this.#spokes])
        if (other !== spoke && other.instance === instance) {
          this.#offer(other, []);
          this.#drop(other, "Its spoke has connected anew.");
        }
    }
    this.#offer(spoke, operations as readonly string[]);
    const answer = (): void =>
      spoke.tell(callEvent("call.responded", { requestId, output: { operations: spoke.offers } }));
    // Registered is what callers at other routers can reach, too.
    if (this.#peers === undefined) answer();
    else void this.#peers.changed().then(answer);
  }

  // ----------------------------------------------------------------------------------------------------- events

  #receive(spoke: Spoke, event: CallEvent): void {
    if (event.type === "call.requested") return this.#request(spoke, event.payload);
    const route = this.#routes.get(event.id);
    if (route === undefined) {
      if (event.type === "call.aborted") spoke.held.delete(event.id);
      return;
    }
    if (event.type === "call.aborted" && route.caller === spoke) {
      this.#end(route);
      return this.#abort(route);
    }
    if (event.type === "call.credited") {
      if (route.caller === spoke) route.callee.tell(event);
      return;
    }
    if (route.callee !== spoke) {
      // The only one who may answer is whoever was asked.
      return this.#report(new PubSubError("REFUSED", `A ${event.type} came from a spoke that was not asked.`));
    }
    this.#answer(route, event);
  }

  #request(caller: Spoke, request: Requested): void {
    const { requestId: id, operationId: name } = request;
    if (this.#seen.use(id) === true) return;
    this.#seen.set(id, true);
    if (name === REGISTER) return this.#register(caller, request);
    // Another router may have told of it in this very moment.
    if (this.#peers === undefined || caller.peer || this.#offers.has(name) || caller.held.size >= this.#pending)
      return this.#give(caller, request);
    caller.held.add(id);
    void this.#peers.upToDate().then(() => {
      if (caller.held.delete(id) && !caller.gone) this.#give(caller, request);
    });
  }

  #give(caller: Spoke, request: Requested): void {
    const { requestId: id, operationId: name, deadline, window, limit } = request;
    const refuse = (code: string, message: string): void =>
      caller.tell(
        callEvent("call.error", { requestId: id, code, message, ...(code === "UNAVAILABLE" && { retryable: true }) }),
      );
    const known = this.#offers.get(name) ?? [];
    // Of two routers that believe the other has it, neither may pass it on.
    const offering = caller.peer ? known.filter(({ peer }) => !peer) : known;
    if (offering.length === 0) return refuse("OPERATION_NOT_FOUND", `No spoke offers ${name}.`);
    const callee = this.#leastBusy(offering);
    if (callee === undefined) return refuse("UNAVAILABLE", `Every spoke that offers ${name} has lost its connection.`);
    if (caller.asking.size >= this.#pending && !this.#forgetAnswered(caller))
      return refuse("UNAVAILABLE", `${this.#pending} requests of this spoke are under way (limits.pending).`);
    const route: Route = {
      id,
      name,
      caller,
      callee,
      left: limit ?? (window === undefined ? undefined : Infinity),
      answered: false,
      stop: ignore,
    };
    this.#routes.set(id, route);
    caller.asking.add(route);
    callee.asked.add(route);
    if (deadline !== undefined)
      route.stop = timer(Math.max(0, deadline - Date.now()), () => {
        this.#end(route);
        this.#fail(route, "TIMEOUT", `${name} was not answered in time.`);
        this.#abort(route);
      });
    // Who calls is whom their connection belongs to, whatever they say.
    const { identity: _, ...claimed } = request;
    const identity = caller.peer ? request.identity : caller.identity;
    const told = identity === undefined ? claimed : { ...claimed, identity };
    callee.tell(callEvent("call.requested", told), (error) => {
      if (!this.#end(route)) return;
      // It may have arrived all the same.
      if (callee.peer) this.#abort(route);
      if (error instanceof PayloadError) this.#fail(route, "INVALID_INPUT", `The input of ${name}: ${error.message}`);
      else this.#fail(route, "UNAVAILABLE", `${name} could not be asked for: ${messageOf(error)}`);
    });
  }

  #answer(route: Route, event: CallEvent): void {
    if (event.type === "call.responded") {
      route.answered = true;
      if (route.left !== undefined) route.left--;
      if (route.left === 0) this.#end(route);
    } else this.#end(route);
    route.caller.tell(event, (error) => {
      if (!(error instanceof PayloadError)) return;
      this.#end(route);
      this.#fail(route, "HANDLER_ERROR", `An answer of ${route.name}: ${error.message}`);
      this.#abort(route);
    });
  }

  /** Those that are there before those that may come back; of these whoever has the fewest requests, in turn. */
  #leastBusy(offering: readonly Spoke[]): Spoke | undefined {
    const from = this.#turn++;
    let best: Spoke | undefined;
    for (let i = 0; i < offering.length; i++) {
      const spoke = offering[(from + i) % offering.length] as Spoke;
      if (spoke.lost) continue;
      if (best === undefined || Number(spoke.away) - Number(best.away) < 0) best = spoke;
      else if (spoke.away === best.away && spoke.asked.size < best.asked.size) best = spoke;
    }
    return best;
  }

  /** Of a caller that says neither how many answers it wants nor that it reads a stream, an answered request may be over. */
  #forgetAnswered(caller: Spoke): boolean {
    for (const route of caller.asking)
      if (route.answered && route.left === undefined) {
        this.#end(route);
        return true;
      }
    return false;
  }

  #end(route: Route): boolean {
    if (!this.#routes.delete(route.id)) return false;
    route.stop();
    route.caller.asking.delete(route);
    route.callee.asked.delete(route);
    return true;
  }

  #abort({ id, callee }: Route): void {
    callee.tell(callEvent("call.aborted", { requestId: id }));
  }

  #fail({ id, caller }: Route, code: string, message: string): void {
    const payload: CallEvents["call.error"] = {
      requestId: id,
      code,
      message,
      ...(code === "UNAVAILABLE" && { retryable: true }),
    };
    caller.tell(callEvent("call.error", payload));
  }

  #report(error: unknown): void {
    try {
      this.#options.onError?.(error);
    } catch {
      // What listens to errors must not break what reports them.
    }
  }
}

function namedOnly(identity: string | undefined): Identity | undefined {
  return identity === undefined ? undefined : { id: identity, scopes: [] };
}

function ignore(): void {}
