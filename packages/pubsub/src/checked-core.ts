import { DONE } from "./core.ts";
import type { Core, Sink } from "./core.ts";
import type { EventEnvelope } from "./envelope.ts";
import { report } from "./errors.ts";
import { checkPayload, checkSchemas } from "./schema.ts";
import type { Schemas } from "./schema.ts";
import { Numbering, Tracking } from "./sequence.ts";
import type { Filter, Gap, Status, Supports } from "./transport.ts";

/** A sink that sees only what its PubSub's checks let pass. */
class CheckedSink implements Sink {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly group: string | undefined;
  readonly own: boolean;
  readonly owner: object;
  readonly #inner: Sink;
  readonly #core: CheckedCore;
  readonly #tracking: Tracking | undefined;

  constructor(inner: Sink, core: CheckedCore, sequence: boolean) {
    const { type, id, group, own, owner }: Filter & Sink = inner;
    this.type = type;
    this.id = id;
    this.group = group;
    this.own = own;
    this.owner = owner;
    this.#inner = inner;
    this.#core = core;
    // A group's events go to its members in turn: what one of them does not see is no loss.
    if (sequence && group === undefined) this.#tracking = new Tracking(inner);
  }

  live(): void {
    this.#tracking?.live();
  }

  deliver(envelope: EventEnvelope): void {
    const place = this.#tracking?.admit(envelope) ?? true;
    if (place === false) return;
    if (place !== true) this.#inner.gap(place);
    // Whoever is told of a loss may stop.
    if (!this.active) return;
    const checked = this.#core.checked(envelope);
    if (checked !== undefined) this.#inner.deliver(checked);
  }

  gap(gap: Gap): void {
    this.#inner.gap(gap);
  }

  fail(error: unknown): void {
    this.#inner.fail(error);
  }

  end(): void {
    this.#inner.end();
  }
}

/** A core as a PubSub with `schemas` or `sequence` sees it: numbers and checks what goes out and what comes in. */
export class CheckedCore implements Core {
  readonly #inner: Core;
  readonly #schemas: Schemas | undefined;
  readonly #numbering: Numbering | undefined;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #sinks = new Map<Sink, CheckedSink>();
  /** What the schemas made of an envelope, so that it is checked once however many subscriptions get it. */
  readonly #results = new WeakMap<EventEnvelope, EventEnvelope | null>();

  constructor(
    inner: Core,
    schemas: Schemas | undefined,
    sequence: boolean,
    onError: ((error: unknown) => void) | undefined,
  ) {
    if (schemas !== undefined) checkSchemas(schemas);
    this.#inner = inner;
    this.#schemas = schemas;
    this.#numbering = sequence ? new Numbering() : undefined;
    this.#onError = onError;
  }

  get id(): string {
    return this.#inner.id;
  }

  get supports(): Supports {
    const { supports } = this.#inner;
    return this.#numbering === undefined ? supports : { ...supports, lossDetection: "full" };
  }

  get status(): Status {
    return this.#inner.status;
  }

  onStatus(listener: (status: Status, cause: unknown) => void): () => void {
    return this.#inner.onStatus(listener);
  }

  publish(bare: EventEnvelope, owner: object): Promise<void> {
    let envelope = bare;
    try {
      const payload = this.#schemas === undefined ? bare.payload : checkPayload(this.#schemas, bare);
      if (this.#numbering !== undefined) envelope = { ...bare, meta: this.#numbering.next(bare.type, bare.id) };
      if (this.#schemas !== undefined) this.#results.set(envelope, withPayload(envelope, payload));
    } catch (error) {
      return Promise.reject(error);
    }
    const published = this.#inner.publish(envelope, owner);
    if (this.#numbering === undefined || published === DONE) return published;
    return published.catch((error: unknown) => {
      this.#numbering?.failed(envelope, error);
      throw error;
    });
  }

  subscribe(sink: Sink): Promise<void> | undefined {
    const checked = new CheckedSink(sink, this, this.#numbering !== undefined);
    this.#sinks.set(sink, checked);
    const live = this.#inner.subscribe(checked);
    if (live !== undefined) return live.then(() => checked.live());
    checked.live();
    return undefined;
  }

  unsubscribe(sink: Sink): void {
    const checked = this.#sinks.get(sink);
    if (checked === undefined) return;
    this.#sinks.delete(sink);
    this.#inner.unsubscribe(checked);
  }

  settle(owner: object, timeout: number): Promise<void> {
    return this.#inner.settle(owner, timeout);
  }

  sinks(): Iterable<Sink> {
    return this.#sinks.keys();
  }

  /** @internal An envelope with the payload that its schema gives; undefined where it does not fit, which is reported. */
  checked(envelope: EventEnvelope): EventEnvelope | undefined {
    if (this.#schemas === undefined) return envelope;
    const known = this.#results.get(envelope);
    if (known !== undefined) return known ?? undefined;
    let result: EventEnvelope | null = null;
    try {
      result = withPayload(envelope, checkPayload(this.#schemas, envelope));
    } catch (error) {
      report(error, this.#onError);
    }
    this.#results.set(envelope, result);
    return result ?? undefined;
  }
}

function withPayload(envelope: EventEnvelope, payload: unknown): EventEnvelope {
  return payload === envelope.payload ? envelope : { ...envelope, payload };
}
