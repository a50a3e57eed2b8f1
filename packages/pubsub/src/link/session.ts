import type { Channel } from "../channel.ts";
import { excerpt, parseEnvelope, parseJson } from "../envelope.ts";
import type { EventEnvelope } from "../envelope.ts";
import { formatTopic, PayloadError, PubSubError } from "../errors.ts";
import type { PubSubErrorCode } from "../errors.ts";
import { Ring } from "../ring.ts";
import { afterArrivals, every, quietDeadline, randomId } from "../timers.ts";
import { utf8Length } from "../topic.ts";
import type { Filter, Gap } from "../transport.ts";
import { checkControl, control, filterOf, isControl, VERSIONS } from "./frames.ts";
import type { Control, ControlType, Limits } from "./frames.ts";
import { Output } from "./output.ts";
import type { Outgoing } from "./output.ts";

/** Options of one conversation over a channel. All times are in milliseconds. */
export interface SessionOptions {
  /** Envelopes only, no handshake and no acknowledgements: for peers that do not speak the link protocol. */
  readonly plain?: boolean;
  /** Bytes of a frame that this side takes, and the size up to which frames are gathered. Default 1 MiB. */
  readonly maxFrame?: number;
  /** Events sent and not acknowledged; the next publish rejects with `OVERFLOW`. Default 131,072. */
  readonly maxUnacknowledged?: number;
  /**
   * Bytes that may wait in the channel. Beyond, a publish rejects with `OVERFLOW`; where it is forwarded events or answers
   * that nobody takes, the far end is too slow and the link ends with `SLOW`. Default 64 MiB.
   */
  readonly maxBuffered?: number;
  /** How long a publish waits for its acknowledgement before it rejects with `TIMEOUT`; up to twice that. Default 10,000. */
  readonly ackTimeout?: number;
  /** Silence after which the far end is asked, and after as much again given up. 0: never. Default: the channel's. */
  readonly heartbeat?: number;
  /** What `$welcome` says of this side; a hub sends events back to their publisher. */
  readonly echo?: boolean;
}

/** Who holds a session; the session calls it. None of these may throw. */
export interface SessionOwner {
  /** The far end has welcomed us: all may be sent now. Again after it restarted. */
  welcomed(welcome: Control["$welcome"]): void;
  /** The far end has restarted: it knows nothing of us, and its subscriptions are void. `welcomed` follows. */
  restarted(): void;
  /** An event; what is returned refuses it. It counts as received once this returns. */
  event(envelope: EventEnvelope): PubSubError | undefined;
  /** The far end asks for events; a rejection or throw refuses. */
  subscribe(ref: number, filter: Filter): Promise<void> | void;
  unsubscribe(ref: number): void;
  gap(ref: number | undefined, gap: Gap): void;
  /** A live subscription of ours was taken away. */
  revoked(ref: number, error: PubSubError): void;
  /** Something was wrong that concerns no one call. */
  error(error: unknown): void;
  /** The conversation is over; called once, nothing after it. */
  over(cause: PubSubError): void;
}

/** Malformed frames that a link survives; one more ends it. One is forgiven a minute. */
const MAX_MALFORMED = 16;

/** How many frames are sent between two looks at what waits in the channel; asking a socket costs. */
const LOOK_EVERY = 64;

/**
 * Forwarded events that may be unacknowledged, in units of `maxUnacknowledged`: more than fit into any buffer on the way, so
 * that only a far end which acknowledges nothing reaches it.
 */
const FORWARDED_FACTOR = 32;

/** Someone who waits for an answer. */
interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One conversation over one channel: handshake, events with cumulative acknowledgements, subscriptions, liveness.
 * Both ends are alike. It ends with its channel; a reconnect is a new session.
 */
export class Session {
  readonly #channel: Channel;
  readonly #owner: SessionOwner;
  readonly #options: Required<SessionOptions>;
  readonly #output: Output;
  readonly #nonce = randomId();
  readonly #id = randomId();
  #peerNonce: string | undefined;
  #welcomed = false;
  #over = false;
  #lastRef = 0;
  /** `$subscribe`s without an answer. */
  readonly #asked = new Map<number, Pending>();
  /** Events sent and not acknowledged, oldest first. */
  readonly #unacknowledged = new Ring<Pending>();
  #acknowledged = 0;
  /** The entry of every event that nobody waits for: it has to be counted all the same. */
  readonly #forwarded: Pending = {
    resolve: () => undefined,
    reject: (error) => {
      // Any other error is the end of the conversation, which its owner is told of.
      if (!(error instanceof PayloadError)) return;
      this.sendGap(undefined, { reason: "overflow", since: Date.now(), until: Date.now(), lost: 1 });
      this.#owner.error(error);
    },
  };
  #received = 0;
  #ackDue = false;
  /** Frames sent since the last look at what waits in the channel. */
  #unlooked = 0;
  #malformed = 0;
  #malformedAt = 0;
  #lastHeard = Date.now();
  #pinged = false;
  readonly #stops: (() => void)[] = [];
  #stopHello: () => void = () => undefined;
  #stopAckTimer: (() => void) | undefined;

  constructor(channel: Channel, owner: SessionOwner, options: SessionOptions) {
    this.#channel = channel;
    this.#owner = owner;
    this.#options = {
      plain: false,
      maxFrame: 1024 * 1024,
      maxUnacknowledged: 131_072,
      maxBuffered: 64 * 1024 * 1024,
      ackTimeout: 10_000,
      heartbeat: channel.heartbeat,
      echo: false,
      ...options,
    };
    const sent = this.#options.plain
      ? (pending: Pending) => pending.resolve()
      : (pending: Pending) => this.#unacknowledged.push(pending);
    this.#output = new Output(channel, this.#options.maxFrame, sent);
    channel.open({
      frame: (data) => this.#frame(data),
      closed: (cause) => this.#end(new PubSubError("DISCONNECTED", "The channel was closed.", { cause })),
    });
    if (this.#over) return;
    if (this.#options.plain) {
      // Nobody answers in plain mode: ready means that this side is.
      queueMicrotask(
        () =>
          this.#over ||
          this.#owner.welcomed({
            nonce: "",
            version: 0,
            session: this.#id,
            resumed: false,
            echo: false,
            limits: this.#limits,
          }),
      );
      return;
    }
    this.#sayHello(50);
    const { heartbeat } = this.#options;
    if (heartbeat > 0) this.#stops.push(every(heartbeat / 2, () => this.#beat(heartbeat)));
  }

  get #limits(): Limits {
    return { frame: this.#options.maxFrame };
  }

  /** Bytes that wait in the channel. */
  get buffered(): number {
    return this.#channel.buffered;
  }

  /** Events sent and not acknowledged. */
  get unacknowledged(): number {
    return this.#unacknowledged.size;
  }

  /**
   * Sends an event; resolves on its acknowledgement. In plain mode it is done once it is handed over.
   *
   * @throws PayloadError, PubSubError `OVERFLOW`, at once
   */
  publish(outgoing: Outgoing): Promise<void> | void {
    const { plain, maxUnacknowledged, maxBuffered } = this.#options;
    const { type, id } = outgoing.envelope;
    if (this.#output.waiting + this.#unacknowledged.size >= maxUnacknowledged)
      throw new PubSubError(
        "OVERFLOW",
        `${formatTopic(type, id)} was not published: ${maxUnacknowledged} events wait for their acknowledgement. Await publish more often.`,
      );
    if (this.#channel.buffered > maxBuffered)
      throw new PubSubError(
        "OVERFLOW",
        `${formatTopic(type, id)} was not published: ${this.#channel.buffered} bytes wait to be sent. Await publish more often.`,
      );
    // Text is known to be sendable once it is encoded; whether a value can be cloned shows when it is sent.
    if (plain && this.#channel.encoding === "json") return this.#output.event(outgoing, undefined);
    return new Promise((resolve, reject) => {
      this.#output.event(outgoing, { resolve, reject });
      if (!plain) this.#watchAcks();
    });
  }

  /**
   * Sends an event that nobody waits for: the hub's fan-out. Not counted against `maxUnacknowledged`. One that turns out
   * to be no clonable value is a gap. @throws PayloadError if it is known at once that it cannot be sent
   */
  forward(outgoing: Outgoing): void {
    this.#output.event(outgoing, this.#forwarded);
    this.#lookForRoom();
  }

  /** Asks for events. @returns the reference, and a promise of the far end's word */
  subscribe(filter: Filter): { readonly ref: number; readonly live: Promise<void> } {
    const ref = ++this.#lastRef;
    const live = new Promise<void>((resolve, reject) => this.#asked.set(ref, { resolve, reject }));
    const { type, id, group } = filter;
    this.#send("$subscribe", { ref, type, ...(id !== undefined && { id }), ...(group !== undefined && { group }) });
    return { ref, live };
  }

  unsubscribe(ref: number): void {
    this.#asked.delete(ref);
    this.#send("$unsubscribe", { ref });
  }

  /** Tells the far end of a loss. */
  sendGap(ref: number | undefined, gap: Gap): void {
    this.#send("$gap", ref === undefined ? gap : { ...gap, ref });
  }

  /** Takes a subscription of the far end away. */
  revoke(ref: number, code: PubSubErrorCode, message: string): void {
    this.#send("$refused", { ref, code, message });
  }

  /** Ends the conversation with a word why. */
  close(code: string, message?: string): void {
    this.#end(new PubSubError("CLOSED", message ?? "The link was closed on this side."), { code, message });
  }

  // ------------------------------------------------------------------------------------------------------ receiving

  #frame(data: unknown): void {
    if (this.#over) return;
    this.#lastHeard = Date.now();
    this.#pinged = false;
    let value = data;
    try {
      if (this.#channel.encoding === "json") {
        if (typeof data !== "string") throw new PubSubError("MALFORMED", "A frame that is no text.");
        const { maxFrame } = this.#options;
        if (data.length > maxFrame || (data.length * 3 > maxFrame && utf8Length(data, maxFrame) > maxFrame))
          throw new PubSubError(
            "MALFORMED",
            `A frame of more than ${maxFrame} bytes, which is the limit: ${excerpt(data.slice(0, 100))}.`,
          );
        value = parseJson(data);
      }
    } catch (error) {
      return this.#bad(error);
    }
    if (Array.isArray(value)) for (const each of value) this.#one(each);
    else this.#one(value);
  }

  #one(value: unknown): void {
    if (this.#over) return;
    try {
      if (isControl(value)) {
        if (this.#options.plain) return;
        checkControl(value);
        (this.#on[value.type as ControlType] as ((payload: unknown) => void) | undefined)?.(value.payload);
        return;
      }
      const envelope = parseEnvelope(value);
      this.#received++;
      const refusal = this.#owner.event(envelope);
      if (this.#options.plain) return;
      if (refusal !== undefined)
        this.#send("$refused", { at: this.#received, code: refusal.code, message: refusal.message });
      this.#ackSoon();
    } catch (error) {
      this.#bad(error);
    }
  }

  readonly #on: { [K in ControlType]: (payload: Control[K]) => void } = {
    $hello: (hello) => {
      const version = Math.max(...VERSIONS.filter((known) => hello.versions.includes(known)), 0);
      if (version === 0)
        return this.#giveUp("VERSION", `This side speaks the versions ${VERSIONS.join(", ")} of the link protocol.`);
      const before = this.#peerNonce;
      this.#peerNonce = hello.nonce;
      this.#output.peer(hello.limits?.frame, hello.batch);
      if (before !== undefined && before !== hello.nonce) this.#restart();
      const { echo } = this.#options;
      this.#send("$welcome", {
        nonce: hello.nonce,
        version,
        session: this.#id,
        resumed: false,
        echo,
        limits: this.#limits,
      });
    },
    $welcome: (welcome) => {
      if (welcome.nonce !== this.#nonce || this.#welcomed) return;
      this.#welcomed = true;
      this.#stopHello();
      this.#output.peer(welcome.limits?.frame, undefined);
      this.#owner.welcomed(welcome);
    },
    $subscribe: (payload) => {
      const { ref } = payload;
      const subscribed = (): void => {
        // What came before the subscription and was not for it: its publish resolves before the subscription is live.
        this.#ack();
        this.#send("$subscribed", { ref });
      };
      const refuse = (error: unknown): void => {
        const { code = "REFUSED", message } = error as Partial<PubSubError>;
        this.#send("$refused", { ref, code, ...(message !== undefined && { message }) });
      };
      try {
        const answer = this.#owner.subscribe(ref, filterOf(payload));
        if (answer === undefined) subscribed();
        else answer.then(subscribed, refuse);
      } catch (error) {
        refuse(error);
      }
    },
    $subscribed: ({ ref }) => {
      const pending = this.#asked.get(ref);
      this.#asked.delete(ref);
      pending?.resolve();
    },
    $refused: ({ ref, at, code, message }) => {
      const error = new PubSubError(code, message ?? "The far end refused.");
      if (ref !== undefined) {
        const pending = this.#asked.get(ref);
        this.#asked.delete(ref);
        if (pending === undefined) this.#owner.revoked(ref, error);
        else pending.reject(error);
      } else if (at !== undefined && at > this.#acknowledged)
        this.#unacknowledged.at(at - this.#acknowledged - 1)?.reject(error);
    },
    $unsubscribe: ({ ref }) => this.#owner.unsubscribe(ref),
    $ack: ({ received }) => {
      if (received < this.#acknowledged || received > this.#acknowledged + this.#unacknowledged.size)
        throw new PubSubError(
          "MALFORMED",
          `An acknowledgement of ${received} events, where ${this.#acknowledged + this.#unacknowledged.size} were sent.`,
        );
      for (; this.#acknowledged < received; this.#acknowledged++) this.#unacknowledged.shift()?.resolve();
    },
    $gap: ({ ref, reason, since, until, lost }) =>
      this.#owner.gap(ref, { reason, since: since ?? Date.now(), until: until ?? Date.now(), lost }),
    $ping: () => this.#send("$pong", null),
    $pong: () => undefined,
    $bye: ({ code, message }) => {
      const known = code === "VERSION";
      this.#end(
        new PubSubError(
          known ? "VERSION" : "DISCONNECTED",
          `The far end ended the link${typeof code === "string" ? ` (${code})` : ""}${typeof message === "string" ? `: ${message.replace(/\.$/, "")}` : ""}`,
        ),
      );
    },
  };

  /** Counts, reports, and ends the link if it repeats. */
  #bad(error: unknown): void {
    this.#owner.error(error);
    if (this.#over) return;
    const now = Date.now();
    this.#malformed = Math.max(0, this.#malformed - (now - this.#malformedAt) / 60_000) + 1;
    this.#malformedAt = now;
    if (this.#malformed > MAX_MALFORMED) this.#giveUp("MALFORMED", `More than ${MAX_MALFORMED} malformed frames.`);
  }

  /** The far end is a new one on the same channel. What was on its way to the old one is lost. */
  #restart(): void {
    this.#welcomed = false;
    this.#received = 0;
    this.#rejectPending(
      new PubSubError(
        "INTERRUPTED",
        "The far end restarted before it acknowledged; the event may have been delivered.",
      ),
    );
    this.#acknowledged = 0;
    // It remembers how many had been sent by its last look, which is void now.
    this.#stopAckTimer?.();
    this.#stopAckTimer = undefined;
    this.#owner.restarted();
    this.#sayHello(50);
  }

  // -------------------------------------------------------------------------------------------------------- sending

  #send<K extends ControlType>(type: K, payload: Control[K]): void {
    if (this.#over) return;
    this.#output.control(control(type, payload));
    this.#lookForRoom();
  }

  /** Ends the link if the far end takes nothing: what it is owed would grow without bound. */
  #lookForRoom(): void {
    if (++this.#unlooked < LOOK_EVERY) return;
    this.#unlooked = 0;
    const { maxBuffered, maxUnacknowledged } = this.#options;
    const maxForwarded = maxUnacknowledged * FORWARDED_FACTOR;
    if (this.#over) return;
    let message: string;
    if (this.#channel.buffered > maxBuffered)
      message = `The far end is too slow: more than ${maxBuffered} bytes waited to be sent to it.`;
    else if (this.#unacknowledged.size > maxForwarded)
      message = `The far end acknowledges nothing: more than ${maxForwarded} events were sent to it.`;
    else return;
    this.#end(new PubSubError("OVERFLOW", message), { code: "SLOW", message });
  }

  /** Says hello until welcomed: a worker may still be starting, a page may not listen yet. */
  #sayHello(wait: number): void {
    this.#stopHello();
    if (this.#welcomed || this.#over) return;
    this.#send("$hello", { nonce: this.#nonce, versions: VERSIONS, limits: this.#limits, batch: true });
    this.#stopHello = quietDeadline(wait, () => this.#sayHello(Math.min(wait * 2, 1000)));
  }

  #ackSoon(): void {
    if (this.#ackDue) return;
    this.#ackDue = true;
    afterArrivals(() => {
      this.#ack();
      this.#output.flush();
    });
  }

  #ack(): void {
    if (!this.#ackDue) return;
    this.#ackDue = false;
    this.#send("$ack", { received: this.#received });
  }

  /** One timer for all: whatever was sent before the last look and is still not acknowledged is late. */
  #watchAcks(): void {
    if (this.#stopAckTimer !== undefined) return;
    let seen = this.#acknowledged + this.#unacknowledged.size;
    const { ackTimeout } = this.#options;
    this.#stopAckTimer = every(ackTimeout, () => {
      const late = seen - this.#acknowledged;
      for (let i = 0; i < late; i++)
        this.#unacknowledged
          .at(i)
          ?.reject(
            new PubSubError(
              "TIMEOUT",
              `The far end did not acknowledge the event within ${ackTimeout} ms. It may have been delivered. Likely the far end is frozen, overloaded, or does not speak the link protocol.`,
            ),
          );
      seen = this.#acknowledged + this.#unacknowledged.size;
      if (this.#unacknowledged.size > 0) return;
      this.#stopAckTimer?.();
      this.#stopAckTimer = undefined;
    });
  }

  #beat(heartbeat: number): void {
    const silence = Date.now() - this.#lastHeard;
    // Only silence after a question counts: a process that was itself suspended finds all its clocks late.
    if (silence >= heartbeat * 2 && this.#pinged)
      return this.#end(new PubSubError("DISCONNECTED", `The far end was silent for ${silence} ms and did not answer.`));
    if (silence < heartbeat) return;
    this.#pinged = true;
    this.#send("$ping", null);
  }

  #rejectPending(error: PubSubError): void {
    this.#output.clear(error);
    for (const pending of this.#unacknowledged.takeAll()) pending.reject(error);
    for (const pending of this.#asked.values()) pending.reject(error);
    this.#asked.clear();
  }

  /** Ends the conversation over what the far end does. For the owner that is no end of its own choice. */
  #giveUp(code: "VERSION" | "MALFORMED", message: string): void {
    this.#end(new PubSubError(code, message), { code, message });
  }

  /** Ends the conversation; with a goodbye, the far end is told why. */
  #end(cause: PubSubError, bye?: { readonly code: string; readonly message: string | undefined }): void {
    if (this.#over) return;
    if (bye !== undefined && !this.#options.plain) {
      // Else what was received and given to all would count as interrupted over there.
      if (this.#ackDue) this.#output.control(control("$ack", { received: this.#received }));
      this.#ackDue = false;
      const { code, message } = bye;
      this.#output.control(control("$bye", { code, ...(message !== undefined && { message }) }));
      this.#output.flush();
    }
    this.#over = true;
    this.#stopHello();
    this.#stopAckTimer?.();
    for (const stop of this.#stops) stop();
    this.#channel.close();
    this.#rejectPending(
      cause.code === "CLOSED"
        ? cause
        : new PubSubError(
            "INTERRUPTED",
            `The connection ended before the far end acknowledged; the event may have been delivered. ${cause.message}`,
            { cause },
          ),
    );
    this.#owner.over(cause);
  }
}
