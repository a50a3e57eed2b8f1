import type { Channel } from "../channel.ts";
import { parseEnvelope } from "../envelope.ts";
import { formatTopic, PubSubError } from "../errors.ts";
import type { PubSubErrorCode } from "../errors.ts";
import { afterArrivals, quietDeadline, randomId } from "../timers.ts";
import type { Filter, Gap } from "../transport.ts";
import { Answers } from "./answers.ts";
import { checkControl, control, filterOf, isControl, parseFrame, takeAddress, VERSIONS } from "./frames.ts";
import type { Control, ControlType, Limits } from "./frames.ts";
import { Line } from "./line.ts";
import { Liveness } from "./liveness.ts";
import { isTold, Outbox } from "./outbox.ts";
import type { Sent, Told } from "./outbox.ts";
import { Output } from "./output.ts";
import type { Outgoing } from "./output.ts";
import { Questions } from "./questions.ts";
import { fromRows, isRows } from "./rows.ts";
import type { SessionOptions, SessionOwner } from "./session-contract.ts";

/** Malformed frames that a link survives; one more ends it. One is forgiven a minute. */
const MAX_MALFORMED = 16;

/** Events that are acknowledged before the turn ends in which they came. */
const ACK_EVERY = 256;

/** How many frames are sent between two looks at what waits in the channel; asking a socket costs. */
const LOOK_EVERY = 64;

/**
 * Forwarded events that may be unacknowledged, in units of `maxUnacknowledged`: more than fit into any buffer on the way, so
 * that only a far end which acknowledges nothing reaches it.
 */
const FORWARDED_FACTOR = 32;

/**
 * One conversation: handshake, events with cumulative acknowledgements, subscriptions, liveness. Both ends are alike. It
 * ends with its channel, or, with a `resumeWindow`, goes on over the next one.
 */
export class Session {
  readonly #owner: SessionOwner;
  readonly #options: Required<Omit<SessionOptions, "heartbeat" | "findSession" | "origin">> &
    Pick<SessionOptions, "heartbeat" | "findSession" | "origin">;
  readonly #outbox: Outbox;
  #nonce = randomId();
  #id = randomId();
  #line: Line | undefined;
  #output: Output | undefined;
  /** Of this channel: the far end's nonce, and whether it has welcomed us. */
  #peerNonce: string | undefined;
  #welcomed = false;
  /** What came was damaged: all that follows is of no use, until the far end has heard that this side begins anew. */
  #deaf = false;
  /** Whether events may be sent on this channel: who has received what is known. */
  #flowing = false;
  /** The far end's session that we are part of, across channels. */
  #farSession: string | undefined;
  #over = false;
  readonly #asked = new Questions();
  readonly #answers: Answers;
  #ackDue = false;
  /** How many events were acknowledged by the last word of it. */
  #lastAck = 0;
  /** Frames sent since the last look at what waits in the channel. */
  #unlooked = 0;
  #malformed = 0;
  /** Something malformed came, which may have been an event: both sides may count differently from there. */
  #miscounted = false;
  #malformedAt = 0;
  readonly #liveness: Liveness;
  #stopHello: () => void = nothing;
  /** Runs since the channel was lost, whatever channels came since: until who has received what is known. */
  #stopWindow: (() => void) | undefined;

  constructor(channel: Channel, owner: SessionOwner, options: SessionOptions) {
    this.#owner = owner;
    this.#options = {
      plain: false,
      maxFrame: 1024 * 1024,
      maxUnacknowledged: 131_072,
      maxBuffered: 64 * 1024 * 1024,
      ackTimeout: 10_000,
      echo: false,
      groups: false,
      resumeWindow: 0,
      maxOutbox: 8 * 1024 * 1024,
      ...options,
    };
    this.#outbox = new Outbox(this.#options.maxOutbox, this.#options.ackTimeout);
    this.#answers = new Answers(
      {
        refuse: (at, code, message) => this.#send("$refused", { at, code, message }),
        acknowledge: () => this.#ackSoon(),
        ask: () => this.#ping(),
      },
      this.#options.resumeWindow > 0,
    );
    this.#liveness = new Liveness({
      ask: () => this.#ping(),
      silent: (message) => {
        const cause = new PubSubError("DISCONNECTED", message);
        // Where it only slept, and its pipe does not tell it of the end, it hears why nothing comes any more.
        if (this.resumable) this.#detach(cause, false);
        else this.#end(cause, { code: "SILENT", message });
      },
    });
    this.attach(channel);
  }

  /** The identity that the far end names to go on with this session. */
  get id(): string {
    return this.#id;
  }

  /** Whether the session has a channel. */
  get attached(): boolean {
    return this.#line !== undefined;
  }

  /** Whether the far end keeps this session, so that what is published without a channel has a place to go to. */
  get resumable(): boolean {
    return this.#farSession !== undefined && !this.#over && !this.#miscounted;
  }

  get #limits(): Limits {
    return { frame: this.#options.maxFrame };
  }

  /** Bytes that wait in the channel. */
  get buffered(): number {
    return this.#line?.channel.buffered ?? this.#outbox.bytes;
  }

  /** Goes on over another channel; the one before is ended. */
  attach(channel: Channel): void {
    if (this.#line !== undefined) this.#detach(interrupted("Another channel takes the place of this one."), true);
    this.#begin(new Line(channel, this, this.#options.maxFrame));
    if (this.#options.plain) {
      // Nobody answers in plain mode: ready means that this side is.
      const line = this.#line;
      queueMicrotask(() => {
        if (this.#over || this.#line !== line) return;
        this.#welcomed = true;
        this.#owner.welcomed(
          {
            nonce: "",
            version: 0,
            session: this.#id,
            resumed: false,
            echo: false,
            groups: false,
            limits: this.#limits,
          },
          "new",
        );
      });
    } else this.#sayHello(50);
  }

  #begin(line: Line): void {
    const { maxFrame, plain } = this.#options;
    line.session = this;
    this.#line = line;
    this.#output = new Output(
      line.channel,
      maxFrame,
      plain ? (item) => isTold(item) || item.resolve() : (item) => this.#outbox.sent(item),
      (sent, error) => this.#unsendable(sent, error),
      () => this.#ack(),
    );
    this.#answers.newChannel();
    this.#peerNonce = undefined;
    this.#welcomed = false;
    this.#deaf = false;
    this.#liveness.watch(plain ? 0 : (this.#options.heartbeat ?? line.channel.heartbeat));
  }

  /**
   * Sends an event, or without a channel keeps it for the next one; whoever waits for it is told of its acknowledgement.
   *
   * @returns false in plain mode, where it is done once it is handed over
   * @throws PayloadError, PubSubError `OVERFLOW` (no room), `INTERRUPTED` (no channel and no room)
   */
  publish(sent: Sent): boolean {
    const { plain, maxUnacknowledged, maxBuffered } = this.#options;
    const { outgoing } = sent;
    const { type, id } = outgoing.envelope;
    const output = this.#flowing || plain ? this.#output : undefined;
    const buffered = this.#line?.channel.buffered ?? 0;
    if (buffered > maxBuffered || (output?.waiting ?? 0) + this.#outbox.size >= maxUnacknowledged)
      throw new PubSubError(
        "OVERFLOW",
        `${formatTopic(type, id)} was not published: ${
          buffered > maxBuffered
            ? `${buffered} bytes wait to be sent`
            : `${maxUnacknowledged} events wait for their acknowledgement`
        }. Await publish more often.`,
      );
    // Text is known to be sendable once it is encoded; whether a value can be cloned shows when it is sent.
    if (plain && this.#line?.channel.encoding === "json") {
      output?.event(outgoing, undefined);
      return false;
    }
    if (output !== undefined) {
      output.event(outgoing, sent);
      if (!plain) this.#outbox.watch();
    } else if (!this.#hold(sent))
      throw interrupted(
        `${formatTopic(type, id)} was not published: the connection is interrupted, and what can be kept for its return is full.`,
      );
    return true;
  }

  /**
   * Sends an event that nobody waits for: the hub's fan-out. Not counted against `maxUnacknowledged`. Without a channel it
   * is kept; without room to keep it, the session is over.
   *
   * @param to the subscription of the far end that it is for; default all that match
   *
   * @throws PayloadError
   */
  forward(event: Outgoing, to?: number): void {
    const outgoing = to === undefined ? event : event.for(to);
    const { plain } = this.#options;
    if (this.#output !== undefined && (this.#flowing || plain)) {
      this.#output.event(outgoing, outgoing.unawaited);
      this.#lookForRoom();
    } else if (!this.#hold(outgoing.unawaited))
      this.#end(interrupted("More events came than are kept for a resumption."));
  }

  /** An event turned out to be no clonable value. Where nobody waits for it, it is a gap for the far end. */
  #unsendable(sent: Sent, error: unknown): void {
    sent.reject(error);
    if (sent.awaited) return;
    this.sendGap(undefined, { reason: "overflow", since: Date.now(), until: Date.now(), lost: 1 });
    this.#owner.error(error);
  }

  /** @throws PayloadError */
  #hold(sent: Sent): boolean {
    // Encoded now: what cannot be is refused now, and a payload that changes later does no harm.
    return this.resumable && sent.outgoing.json !== "" && this.#outbox.hold(sent);
  }

  /** After a resumption: the subscriptions that this side still wants. What was on its way to be changed is settled so. */
  keep(refs: readonly number[]): void {
    this.#send("$keep", { refs });
  }

  /** Asks for events. @returns the reference, and a promise of the far end's word */
  subscribe(filter: Filter): { readonly ref: number; readonly live: Promise<void> } {
    const { ref, live } = this.#asked.ask();
    const { type, id, group } = filter;
    this.#send("$subscribe", { ref, type, ...(id !== undefined && { id }), ...(group !== undefined && { group }) });
    return { ref, live };
  }

  unsubscribe(ref: number): void {
    this.#asked.withdraw(ref);
    this.#send("$unsubscribe", { ref });
  }

  /** Tells the far end of a loss, now or, without a channel, in its place among the events that are kept. */
  sendGap(ref: number | undefined, gap: Gap): void {
    const told: Told = { gap: ref === undefined ? gap : { ...gap, ref } };
    if (this.#over || this.#options.plain) return;
    if (this.#flowing) this.#tell(told);
    else if (this.resumable && !this.#outbox.hold(told))
      this.#end(interrupted("More losses came than are kept for a resumption."));
  }

  #tell(told: Told): void {
    this.#output?.control(control("$gap", told.gap), told);
    this.#lookForRoom();
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

  /** @internal A frame from the channel. */
  receive(line: Line, data: unknown): void {
    if (this.#over || line !== this.#line) return;
    this.#liveness.heard();
    // What came and could not be read, as the channel says.
    if (data instanceof PubSubError) return this.#bad(data);
    let value = data;
    try {
      if (line.channel.encoding === "json") {
        if (typeof data !== "object") value = parseFrame(data, this.#options.maxFrame);
      } else if (isRows(data)) value = fromRows(data.payload);
    } catch (error) {
      return this.#bad(error);
    }
    // The line may move to another session in the middle of a frame.
    if (!Array.isArray(value)) return this.#one(value);
    for (const each of value) {
      const { session } = line;
      // What a subscriber did may have replaced the channel: the rest was not received, and is sent again.
      if (session.#line !== line) return;
      session.#one(each);
    }
  }

  /** @internal A frame was handled. A turn may go on for long while more come, and the far end holds on to all of them. */
  received(): void {
    if (this.#answers.answered - this.#lastAck >= ACK_EVERY) this.#ack();
  }

  #one(value: unknown): void {
    if (this.#over) return;
    try {
      if (isControl(value)) {
        if (this.#options.plain) return;
        checkControl(value);
        if (this.#deaf && value.type !== "$welcome" && value.type !== "$bye") return;
        (this.#on[value.type as ControlType] as ((payload: unknown) => void) | undefined)?.(value.payload);
        return;
      }
      if (this.#deaf) return;
      const { value: bare, to } = takeAddress(value);
      const envelope = parseEnvelope(bare);
      const at = ++this.#answers.received;
      const answer = this.#owner.event(envelope, to);
      if (!this.#options.plain) this.#answers.answer(at, answer);
    } catch (error) {
      this.#bad(error);
    }
  }

  readonly #on: { [K in ControlType]: (payload: Control[K]) => void } = {
    $hello: (hello) => {
      const version = Math.max(...VERSIONS.filter((known) => hello.versions.includes(known)), 0);
      if (version === 0)
        return this.#giveUp("VERSION", `This side speaks the versions ${VERSIONS.join(", ")} of the link protocol.`);
      const session = this.#sessionFor(hello);
      const { received = 0 } = hello;
      if (hello.session === session.#id && (session !== this || !this.#flowing) && !session.#canResume(received)) {
        if (session !== this) session.#giveUp("MALFORMED", "Another channel came with a wrong count for this session.");
        return this.#giveUp("MALFORMED", `This side did not send the ${received} events that were received.`);
      }
      if (session !== this) return session.#adopt(this, hello, version);
      const before = this.#peerNonce;
      this.#peerNonce = hello.nonce;
      // Each hello counts as it stands: another program may have been started behind the same pipe.
      this.#output?.peer({ ...hello, limits: { frame: hello.limits?.frame ?? this.#options.maxFrame } });
      const restarted = before !== undefined && before !== hello.nonce;
      if (restarted) this.#restart("The far end restarted");
      const resumed = hello.session === this.#id && !restarted && !this.#miscounted;
      this.#welcome(hello, version, resumed);
      // In this order: one that began anew because of damage hears nothing before its welcome.
      if (restarted) this.#sayHello(50);
      if (resumed) this.#resend(received);
      // Where we asked to go on with a session of the far end, its welcome tells.
      else if (!this.resumable) this.#startAnew();
    },
    $welcome: (welcome) => {
      if (welcome.nonce !== this.#nonce || this.#welcomed) return;
      this.#deaf = false;
      this.#stopHello();
      this.#output?.peer(welcome);
      const asked = this.resumable;
      const resumed = asked && welcome.resumed && welcome.session === this.#farSession;
      if (this.#miscounted && welcome.resumed && !this.#flowing)
        return this.#giveUp("MALFORMED", "Something malformed came before the session could go on.");
      if (resumed && !this.#flowing && !this.#canResume(welcome.received ?? 0))
        return this.#giveUp("MALFORMED", `This side did not send the ${welcome.received} events that were received.`);
      // A session that the far end will not keep is not asked for.
      this.#farSession =
        this.#options.resumeWindow > 0 && (welcome.resumeWindow ?? 0) > 0 ? welcome.session : undefined;
      this.#welcomed = true;
      if (resumed) this.#resend(welcome.received ?? 0);
      else this.#startAnew();
      this.#owner.welcomed(welcome, resumed ? "resumed" : asked ? "expired" : "new");
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
      // One that never said hello, and has nothing to go on with, is at the beginning.
      if (this.#farSession === undefined) this.#startAnew();
      try {
        const answer = this.#owner.subscribe(ref, filterOf(payload));
        if (answer === undefined) subscribed();
        else answer.then(subscribed, refuse);
      } catch (error) {
        refuse(error);
      }
    },
    $subscribed: ({ ref }) => void this.#asked.answer(ref),
    $refused: ({ ref, at, code, message }) => {
      const error = new PubSubError(code, message ?? "The far end refused.");
      if (ref !== undefined) {
        if (!this.#asked.answer(ref, error)) this.#owner.revoked(ref, error);
      } else if (at !== undefined) this.#outbox.refuse(at, error);
    },
    $unsubscribe: ({ ref }) => this.#owner.unsubscribe(ref),
    $ack: ({ received }) => this.#outbox.acknowledge(received),
    $keep: ({ refs }) => this.#owner.keep(new Set(refs)),
    $gap: ({ ref, reason, since, until, lost }) =>
      this.#owner.gap(ref, { reason, since: since ?? Date.now(), until: until ?? Date.now(), lost }),
    $ping: () => this.#send("$pong", null),
    $pong: () => this.#answers.heard(),
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

  #ping(): void {
    if (this.#output !== undefined) this.#answers.asked();
    this.#send("$ping", null);
  }

  /** Counts, reports, and ends the link if it repeats. */
  #bad(error: unknown): void {
    this.#owner.error(error);
    if (this.#over || this.#line?.channel.shared === true) return;
    this.#miscounted = true;
    const now = Date.now();
    this.#malformed = Math.max(0, this.#malformed - (now - this.#malformedAt) / 60_000) + 1;
    this.#malformedAt = now;
    if (this.#malformed > MAX_MALFORMED) this.#giveUp("MALFORMED", `More than ${MAX_MALFORMED} malformed frames.`);
  }

  // ------------------------------------------------------------------------------------ beginning, and going on

  /** The session that a hello is for: this one, or an older one that it names. */
  #sessionFor({ session }: Control["$hello"]): Session {
    if (session === undefined || session === this.#id) return this;
    const found = this.#options.findSession?.(session);
    return found?.resumable === true ? found : this;
  }

  #welcome(hello: Control["$hello"], version: number, resumed: boolean): void {
    const { origin } = this.#options;
    this.#send("$welcome", {
      nonce: hello.nonce,
      version,
      session: this.#id,
      resumeWindow: this.#options.resumeWindow,
      resumed,
      ...(resumed && { received: this.#answers.received }),
      echo: this.#options.echo,
      groups: this.#options.groups,
      ...(origin !== undefined && { origin }),
      limits: this.#limits,
    });
  }

  /** Takes the channel of a session that has just begun: its far end wants to go on with this one. The newest wins. */
  #adopt(newcomer: Session, hello: Control["$hello"], version: number): void {
    const line = newcomer.#line as Line;
    newcomer.#output?.flush();
    newcomer.#line = undefined;
    newcomer.#end(new PubSubError("CLOSED", "The far end goes on with an earlier session."));
    if (this.#line !== undefined) this.#detach(interrupted("The far end came back on another channel."), true);
    // Detaching may find that something is missing after all.
    if (this.#over) return line.channel.close();
    this.#begin(line);
    this.#peerNonce = hello.nonce;
    this.#output?.peer(hello);
    this.#welcome(hello, version, true);
    this.#welcomed = true;
    this.#resend(hello.received ?? 0);
    this.#owner.welcomed(
      {
        nonce: hello.nonce,
        version,
        session: hello.session ?? "",
        resumed: true,
        echo: false,
        groups: false,
        limits: hello.limits,
      },
      "resumed",
    );
  }

  /** Sends again what the far end has not received. It says so twice (hello and welcome); the first counts. */
  #resend(received: number): void {
    if (this.#flowing) return;
    this.#flow();
    this.#sendAll(this.#outbox.resume(received));
    this.#answers.repeat();
    // What was acknowledged while there was no channel, or on its way when it broke.
    if (this.#answers.answered > 0) this.#ackSoon();
  }

  /** A far end that knows nothing of us: counting begins anew. What was never sent is sent now. */
  #startAnew(): void {
    if (this.#flowing) return;
    this.#forgetReceived();
    this.#owner.began();
    this.#flow();
    this.#sendAll(
      this.#outbox.restart(
        interrupted(
          "The connection was interrupted before the far end acknowledged; the event may have been delivered.",
        ),
      ),
    );
  }

  /** Who has received what is known: from now on all goes its way, and the session is not waiting for anybody. */
  #flow(): void {
    this.#flowing = true;
    this.#closeWindow();
  }

  #canResume(received: number): boolean {
    try {
      this.#outbox.check(received);
      return true;
    } catch {
      return false;
    }
  }

  #forgetReceived(): void {
    this.#miscounted = false;
    this.#answers.reset();
    this.#lastAck = 0;
  }

  #sendAll(items: readonly (Sent | Told)[]): void {
    for (const item of items)
      if (isTold(item)) this.#tell(item);
      else
        try {
          this.#output?.event(item.outgoing, item);
        } catch (error) {
          this.#unsendable(item, error);
        }
    if (this.#outbox.size + items.length > 0) this.#outbox.watch();
  }

  /** @internal What came could not be read. The far end takes this side's new nonce for a restart, and forgets as we do. */
  damaged(line: Line, error: unknown): void {
    if (this.#over || line !== this.#line) return;
    this.#liveness.heard();
    this.#bad(error);
    if (this.#over || this.#options.plain) return;
    this.#nonce = randomId();
    this.#deaf = true;
    this.#restart("What the far end sent was damaged");
    this.#sayHello(50);
  }

  /** The conversation begins anew on the same channel, with a hello to follow. What was on its way is lost. */
  #restart(why: string): void {
    this.#welcomed = false;
    this.#flowing = false;
    this.#farSession = undefined;
    const error = interrupted(`${why} before it acknowledged; the event may have been delivered.`);
    rejectAll(this.#output?.takeEvents() ?? [], error);
    rejectAll(this.#outbox.restart(error), error);
    this.#asked.rejectAll(error);
    this.#forgetReceived();
    this.#owner.restarted(why);
  }

  /** @internal */
  lineError(line: Line, error: unknown): void {
    if (!this.#over && line === this.#line) this.#owner.error(error);
  }

  /** @internal */
  lineClosed(line: Line, reason: unknown): void {
    if (this.#over || line !== this.#line) return;
    this.#lose(new PubSubError("DISCONNECTED", "The channel was closed.", { cause: reason }));
  }

  /** The channel is of no use any more: the session waits for another one, or is over. */
  #lose(cause: PubSubError): void {
    if (this.resumable) this.#detach(cause, false);
    else this.#end(cause);
  }

  #detach(cause: PubSubError, replaced: boolean): void {
    const { resumeWindow } = this.#options;
    const gathered = this.#output?.takeEvents() ?? [];
    this.#dropLine();
    this.#asked.rejectAll(interrupted(cause.message, cause));
    let complete = this.#outbox.complete && this.#answers.complete;
    for (const item of gathered)
      if (!this.#outbox.hold(item)) {
        complete = false;
        rejectAll([item], interrupted(cause.message, cause));
      }
    if (!complete) this.#expire();
    else this.#stopWindow ??= quietDeadline(resumeWindow, () => this.#expire());
    if (!this.#over) this.#owner.detached(cause, replaced);
  }

  #closeWindow(): void {
    this.#stopWindow?.();
    this.#stopWindow = undefined;
  }

  /** Too late, or too much is missing: nobody can go on with this session. */
  #expire(): void {
    this.#closeWindow();
    const error = interrupted("The connection did not come back in time; the event may have been delivered.");
    if (this.#options.findSession !== undefined) return this.#end(error);
    this.#outbox.fail(error);
    this.#farSession = undefined;
    this.#id = randomId();
    // A handshake is under way in which this session was named.
    if (this.#line !== undefined) this.#end(error);
  }

  #dropLine(): void {
    this.#stopHello();
    this.#liveness.stop();
    this.#outbox.unwatch();
    const line = this.#line;
    this.#line = undefined;
    this.#output = undefined;
    this.#welcomed = false;
    this.#flowing = false;
    line?.channel.close();
  }

  // -------------------------------------------------------------------------------------------------------- sending

  #send<K extends ControlType>(type: K, payload: Control[K]): void {
    if (this.#over || this.#output === undefined || this.#options.plain) return;
    this.#output.control(control(type, payload));
    this.#lookForRoom();
  }

  /** Ends the link if the far end takes nothing, or acknowledges nothing: what it is owed would grow without bound. */
  #lookForRoom(): void {
    if (++this.#unlooked < LOOK_EVERY) return;
    this.#unlooked = 0;
    if (this.#over) return;
    const { maxBuffered, maxUnacknowledged } = this.#options;
    const maxForwarded = maxUnacknowledged * FORWARDED_FACTOR;
    let message: string;
    if (this.buffered > maxBuffered)
      message = `The far end is too slow: more than ${maxBuffered} bytes waited to be sent to it.`;
    else if (this.#outbox.size > maxForwarded || this.#outbox.bytes > maxBuffered * FORWARDED_FACTOR)
      message = `The far end acknowledges nothing: ${this.#outbox.size} events were sent to it.`;
    else return;
    this.#end(new PubSubError("OVERFLOW", message), { code: "SLOW", message });
  }

  /** Says hello until welcomed: a worker may still be starting, a page may not listen yet. */
  #sayHello(wait: number): void {
    this.#stopHello();
    if (this.#welcomed || this.#over) return;
    this.#send("$hello", {
      nonce: this.#nonce,
      versions: VERSIONS,
      limits: this.#limits,
      batch: true,
      ...(this.#line?.channel.encoding === "clone" && { rows: true }),
      ...(this.#farSession !== undefined &&
        this.resumable && { session: this.#farSession, received: this.#answers.received }),
    });
    this.#stopHello = quietDeadline(wait, () => this.#sayHello(Math.min(wait * 2, 1000)));
  }

  #ackSoon(): void {
    if (this.#ackDue) return;
    this.#ackDue = true;
    afterArrivals(() => {
      this.#ack();
      this.#output?.flush();
    });
  }

  #ack(): void {
    if (!this.#ackDue) return;
    this.#ackDue = false;
    this.#lastAck = this.#answers.answered;
    this.#send("$ack", { received: this.#lastAck });
  }

  /** Ends the session over what the far end does. For the owner that is no end of its own choice. */
  #giveUp(code: "VERSION" | "MALFORMED", message: string): void {
    this.#end(new PubSubError(code, message), { code, message });
  }

  /** Ends the session; with a goodbye, the far end is told why. */
  #end(cause: PubSubError, bye?: { readonly code: string; readonly message: string | undefined }): void {
    if (this.#over) return;
    if (bye !== undefined && !this.#options.plain) {
      // Else what was received and given to all would count as interrupted over there.
      if (this.#ackDue) this.#output?.control(control("$ack", { received: this.#answers.answered }));
      this.#ackDue = false;
      const { code, message } = bye;
      this.#output?.control(control("$bye", { code, ...(message !== undefined && { message }) }));
    }
    this.#output?.flush();
    this.#over = true;
    const gathered = this.#output?.takeEvents() ?? [];
    this.#dropLine();
    this.#closeWindow();
    const error =
      cause.code === "CLOSED"
        ? cause
        : interrupted(
            `The connection ended before the far end acknowledged; the event may have been delivered. ${cause.message}`,
            cause,
          );
    rejectAll(gathered, error);
    this.#outbox.fail(error);
    this.#asked.rejectAll(error);
    this.#owner.over(cause);
  }
}

function interrupted(message: string, cause?: unknown): PubSubError {
  return new PubSubError("INTERRUPTED", message, { cause });
}

function rejectAll(items: readonly (Sent | Told)[], error: PubSubError): void {
  for (const item of items) if (!isTold(item)) item.reject(error);
}

function nothing(): void {}
