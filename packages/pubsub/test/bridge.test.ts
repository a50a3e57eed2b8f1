// Two event targets joined: what passes, what does not come back, and what is left behind.
import { MessageChannel, Worker } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { bridge, createPubSub } from "@alkdev/pubsub";
import type { Bridge, BridgeOptions, EventEnvelope, Gap, PubSub, Supports } from "@alkdev/pubsub";
import { createMessagePortEventTarget } from "@alkdev/pubsub/event-target-message-port";
import { createWorkerEventTarget } from "@alkdev/pubsub/event-target-worker";
import { createMemoryBroker, createMemoryTransport } from "@alkdev/pubsub/testing";
import type { MemoryBroker, MemoryTransport } from "@alkdev/pubsub/testing";
import { defineEventTarget, payloadTarget } from "@alkdev/pubsub/transport";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { Opened } from "./fixtures/conformance.ts";
import { startWorker } from "./fixtures/worker.ts";
import { deferred, HandTransport, settled, uncaughtDuring } from "./pubsub-support.ts";

const opened = new Opened();
afterEach(() => opened.end());

/** One side of a bridge: the target that is joined, and a PubSub in the same world that is not this target's. */
interface Side {
  readonly target: AlkEventTarget;
  readonly far: PubSub;
}

function overPorts(): Side {
  const { port1, port2 } = new MessageChannel();
  const [target, other] = [createMessagePortEventTarget(port1), createMessagePortEventTarget(port2)];
  opened.add(async () => {
    await Promise.all([target.close(), other.close()]);
    port1.close();
  });
  return { target, far: createPubSub({ eventTarget: other, onGap: "ignore" }) };
}

function connect(
  broker: MemoryBroker,
  supports: Partial<Supports> = {},
): AlkEventTarget & { transport: MemoryTransport } {
  const transport = createMemoryTransport(broker, { supports });
  const target = defineEventTarget(transport);
  opened.add(() => target.close());
  return Object.assign(target, { transport });
}

const inMemory = (supports: Partial<Supports>) => (): Side => {
  const broker = createMemoryBroker();
  return { target: connect(broker, supports), far: createPubSub({ eventTarget: connect(broker) }) };
};

const SIDES: Readonly<Record<string, () => Side>> = {
  "a MessagePort": overPorts,
  "a broker": inMemory({}),
  "a broker that echoes": inMemory({ echo: true }),
  "a broker that echoes and sends a copy for each filter": inMemory({ echo: true, overlap: "per-filter" }),
  "a broker that sends a copy for each filter": inMemory({ overlap: "per-filter" }),
};

async function join(
  first: AlkEventTarget | EventTarget,
  second: AlkEventTarget | EventTarget,
  options?: BridgeOptions,
): Promise<Bridge> {
  const joined = await bridge(first, second, options);
  opened.add(() => joined.close());
  return joined;
}

/** What a PubSub hears, and a way to wait for it. */
class Heard {
  readonly envelopes: EventEnvelope[] = [];
  #wake: (() => void) | undefined;

  static async by(pubsub: PubSub, type: string = "**", id?: string): Promise<Heard> {
    const heard = new Heard();
    await pubsub.on(type, id, (envelope) => {
      heard.envelopes.push(envelope);
      heard.#wake?.();
    });
    return heard;
  }

  get payloads(): unknown[] {
    return this.envelopes.map(({ payload }) => payload).filter((payload) => payload !== "last");
  }

  get sorted(): unknown[] {
    return this.payloads.toSorted((a, b) => (String(a) < String(b) ? -1 : 1));
  }

  async until(payload: unknown, times: number = 1): Promise<void> {
    while (this.envelopes.filter((envelope) => envelope.payload === payload).length < times)
      await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

/** Publishes one more event from each, and waits until all have heard them, so that what came before has come. */
async function flush(publishers: readonly PubSub[], heard: readonly Heard[]): Promise<void> {
  for (const publisher of publishers) await publisher.publish("flush", "", "last");
  for (const each of heard) await each.until("last", publishers.length);
  for (let turn = 0; turn < 5; turn++) await settled();
}

describe.each(Object.entries(SIDES))("%s", (_, makeFirst) => {
  describe.each(Object.entries(SIDES))("joined with %s", (_, makeSecond) => {
    test("hears its events at once, every one once, in order and with its id, and the other way round", async () => {
      const [a, b] = [makeFirst(), makeSecond()];
      const [atA, atB] = [await Heard.by(a.far), await Heard.by(b.far)];
      await join(a.target, b.target);
      for (let i = 0; i < 10; i++) {
        void a.far.publish("from.a", String(i % 3), `a ${i}`);
        void b.far.publish("from.b", String(i % 3), `b ${i}`);
      }
      await flush([a.far, b.far], [atA, atB]);
      const each = (from: string) => Array.from({ length: 10 }, (_, i) => `${from} ${i}`);
      for (const heard of [atA, atB]) {
        expect(heard.payloads.filter((payload) => String(payload).startsWith("a"))).toEqual(each("a"));
        expect(heard.payloads.filter((payload) => String(payload).startsWith("b"))).toEqual(each("b"));
      }
      expect(atB.envelopes.filter(({ type }) => type === "from.a").map(({ id }) => id)).toEqual(
        Array.from({ length: 10 }, (_, i) => String(i % 3)),
      );
    });

    test("passes what is published in this process, and doubles it nowhere", async () => {
      const [a, b] = [makeFirst(), makeSecond()];
      const [near, other] = [createPubSub({ eventTarget: a.target }), createPubSub({ eventTarget: b.target })];
      const all = [await Heard.by(near), await Heard.by(other), await Heard.by(a.far), await Heard.by(b.far)];
      await join(a.target, b.target);
      await near.publish("x", "1", "near");
      await other.publish("x", "1", "other");
      await flush([near, other], all);
      for (const heard of all) expect(heard.sorted).toEqual(["near", "other"]);
    });

    test("passes each event once where types overlap", async () => {
      const [a, b] = [makeFirst(), makeSecond()];
      const [atA, atB] = [await Heard.by(a.far), await Heard.by(b.far)];
      await join(a.target, b.target, { types: ["flush", "job.*", "job.done", "*.done", "job.**", "job.*"] });
      await a.far.publish("job.done", "", 1);
      await a.far.publish("task.done", "", 2);
      await a.far.publish("job.a.b", "", 3);
      await b.far.publish("job.done", "", 4);
      await flush([a.far, b.far], [atA, atB]);
      expect(atB.sorted).toEqual([1, 2, 3, 4]);
      expect(atA.sorted).toEqual([1, 2, 3, 4]);
    });

    test("forward passes one way alone", async () => {
      const [a, b] = [makeFirst(), makeSecond()];
      const [atA, atB] = [await Heard.by(a.far), await Heard.by(b.far)];
      await join(a.target, b.target, { direction: "forward" });
      await b.far.publish("x", "", "b");
      await a.far.publish("x", "", "a");
      await flush([a.far], [atA, atB]);
      expect(atA.payloads).toEqual(["a"]);
      expect(atB.sorted).toEqual(["a", "b"]);
    });
  });

  test("twice joined with the same target, by other types too, makes nothing double and no loop", async () => {
    const [a, b] = [makeFirst(), makeFirst()];
    const [atA, atB] = [await Heard.by(a.far), await Heard.by(b.far)];
    await join(a.target, b.target);
    await join(b.target, a.target);
    await a.far.publish("x", "", "a");
    await b.far.publish("x", "", "b");
    await flush([a.far, b.far], [atA, atB]);
    expect(atA.sorted).toEqual(["a", "b"]);
    expect(atB.sorted).toEqual(["a", "b"]);
  });

  test("in a ring of three reaches everyone once", async () => {
    const sides = [makeFirst(), overPorts(), makeFirst()];
    const heard: Heard[] = [];
    for (const { far } of sides) heard.push(await Heard.by(far));
    for (const [i, { target }] of sides.entries()) await join(target, sides.at(i - 1)?.target as AlkEventTarget);
    for (const [i, { far }] of sides.entries()) await far.publish("x", "", i);
    await flush(
      sides.map(({ far }) => far),
      heard,
    );
    for (const each of heard) expect(each.sorted).toEqual([0, 1, 2]);
  });

  test("in the middle of a star passes from each ray to all others, once", async () => {
    const [hub, ...rays] = [makeFirst(), overPorts(), makeFirst(), overPorts()] as const;
    const sides = [hub, ...rays];
    const heard: Heard[] = [];
    for (const { far } of sides) heard.push(await Heard.by(far));
    for (const { target } of rays) await join(hub.target, target);
    for (const [i, { far }] of sides.entries()) await far.publish("x", "", i);
    await flush(
      sides.map(({ far }) => far),
      heard,
    );
    for (const each of heard) expect(each.sorted).toEqual([0, 1, 2, 3]);
  });
});

test("a chain of bridges passes from end to end, and the event says where it has been", async () => {
  const sides = [overPorts(), inMemory({})(), inMemory({ echo: true })(), overPorts()] as const;
  const atEnd = await Heard.by(sides[3].far);
  for (let i = 1; i < sides.length; i++)
    await join(sides.at(i - 1)?.target as AlkEventTarget, sides.at(i)?.target as AlkEventTarget);
  await sides[0].far.publish("x", "", "along");
  await atEnd.until("along");
  const [{ meta } = { meta: undefined }] = atEnd.envelopes;
  expect(meta?.hops).toHaveLength(4);
  expect(new Set(meta?.hops).size).toBe(4);
  expect(meta?.passage).toBeTypeOf("string");
});

test("an event that has been to a target does not return to it, whoever brings it", async () => {
  // The bridges of other processes are stood in for by what they would send.
  const [a, b] = [inMemory({})(), inMemory({})()];
  const atB = await Heard.by(b.far);
  await join(a.target, b.target);
  await a.far.publish("x", "", "out");
  await atB.until("out");
  const hops = atB.envelopes[0]?.meta?.hops as readonly string[];
  const send = async (payload: unknown, meta: unknown): Promise<void> => {
    const broughtBack = { type: "x", id: "", payload, meta };
    const { target } = a;
    target.dispatchEvent(new CustomEvent("x", { detail: broughtBack as EventEnvelope }));
  };
  await send("back", { hops });
  await send("half", { hops: [hops[0], "elsewhere"] });
  await send("malformed", { hops: "x", passage: 7 });
  await send("long", { hops: [1, null], passage: "x".repeat(1e5) });
  await flush([createPubSub({ eventTarget: a.target })], [atB]);
  expect(atB.payloads).toEqual(["out", "half", "malformed", "long"]);
  expect(atB.envelopes[1]?.meta?.hops).toEqual([hops[0], "elsewhere", hops[1]]);
  expect(String(atB.envelopes[3]?.meta?.passage).length).toBeLessThan(65);
});

test("an object that is dispatched twice is two events", async () => {
  const [a, b] = [inMemory({})(), inMemory({})()];
  const atB = await Heard.by(b.far);
  await join(a.target, b.target);
  await join(a.target, b.target);
  const event = () => new CustomEvent("x", { detail });
  const detail: EventEnvelope = { type: "x", id: "", payload: "again" };
  const near = createPubSub({ eventTarget: a.target });
  await near.subscribe("x");
  for (let i = 0; i < 3; i++) a.target.dispatchEvent(event());
  await flush([near], [atB]);
  expect(atB.payloads).toEqual(["again", "again", "again"]);
});

describe("a worker thread", () => {
  test("hears what a broker has, and the broker hears the worker", async () => {
    const worker = startWorker();
    opened.add(() => worker.end());
    const { target, far } = inMemory({ echo: true })();
    await join(worker.target, target, { types: ["job.*"] });
    const inWorker = await worker.far.subscribe("job.*");
    const outside = await Heard.by(far);
    await far.publish("job.asked", "7", "please");
    expect((await inWorker.next()).value).toMatchObject({ type: "job.asked", id: "7", payload: "please" });
    await worker.far.publish("job.done", "7", "done");
    await outside.until("done");
    expect(outside.payloads).toEqual(["please", "done"]);
  });

  test("that exits is reported once, and ends the bridge: the other side has no subscription left", async () => {
    const thread = new Worker("setInterval(() => {}, 1000)", { eval: true });
    // Nobody answers in there; the manifest of plain mode needs nobody.
    const target = createWorkerEventTarget(thread, { plain: true });
    const broker = createMemoryBroker();
    const errors: unknown[] = [];
    const reported = deferred();
    await join(target, connect(broker), {
      types: ["a", "b.*", "c"],
      onError: (error) => (errors.push(error), reported.resolve()),
    });
    expect(broker.filters).toBe(3);
    await thread.terminate();
    await reported.promise;
    await settled();
    expect(errors).toMatchObject([{ code: "DISCONNECTED" }]);
    expect(broker.filters).toBe(0);
  });
});

describe("readiness", () => {
  test("comes when both sides are: an event that is published then, on either, arrives", async () => {
    const [one, two] = [new HandTransport(), new HandTransport()];
    const [a, b] = [defineEventTarget(one), defineEventTarget(two)];
    opened.add(() => Promise.all([a.close(), b.close()]));
    one.subscribing = deferred();
    two.subscribing = deferred();
    let joined = false;
    const joining = join(a, b).then(() => (joined = true));
    await settled();
    two.subscribing.resolve();
    await settled();
    expect(joined).toBe(false);
    one.subscribing.resolve();
    await joining;
    one.receiver.deliver({ type: "x", id: "", payload: 1 });
    two.receiver.deliver({ type: "x", id: "", payload: 2 });
    await settled();
    expect(two.published.map(({ payload }) => payload)).toEqual([1]);
    expect(one.published.map(({ payload }) => payload)).toEqual([2]);
  });

  test.each(["first", "second"])(
    "that the %s side refuses is a rejection, and nothing is left subscribed",
    async (which) => {
      const [bad, good] = [createMemoryBroker(), createMemoryBroker()];
      bad.authorize = (action) => (action === "subscribe" ? "REFUSED" : undefined);
      const sides = [connect(bad), connect(good)] as const;
      const joining = which === "first" ? bridge(...sides, { types: ["a", "b"] }) : bridge(sides[1], sides[0]);
      await expect(joining).rejects.toMatchObject({ code: "REFUSED" });
      await settled();
      expect([bad.filters, good.filters]).toEqual([0, 0]);
    },
  );

  test("that a target cannot have is a rejection: everything over exact topics", async () => {
    const broker = createMemoryBroker();
    const target = connect(broker);
    await expect(bridge(target, new EventTarget())).rejects.toMatchObject({ code: "UNSUPPORTED" });
    await expect(bridge(target, new EventTarget(), { types: ["a"] })).rejects.toMatchObject({ code: "UNSUPPORTED" });
    await settled();
    expect(broker.filters).toBe(0);
  });

  test("of a closed target is a rejection", async () => {
    const broker = createMemoryBroker();
    const [closed, open] = [connect(createMemoryBroker()), connect(broker)];
    await closed.close();
    await expect(bridge(open, closed)).rejects.toMatchObject({ code: "CLOSED" });
    await settled();
    expect(broker.filters).toBe(0);
  });
});

describe("plain EventTargets", () => {
  test("pass topics, one by one, both ways", async () => {
    const { target, far } = inMemory({})();
    const eventTarget = new EventTarget();
    const plain = createPubSub({ eventTarget });
    await join(target, eventTarget, { types: ["flush:", "x:1", "x:"] });
    const [one, bare, last] = [
      await Heard.by(plain, "x", "1"),
      await Heard.by(plain, "x", ""),
      await Heard.by(plain, "flush", ""),
    ];
    const atFar = await Heard.by(far);
    await far.publish("x", "1", "one");
    await far.publish("x", "2", "other");
    await far.publish("x", "", "bare");
    await plain.publish("x", "1", "plain");
    await flush([far], [last]);
    expect(one.sorted).toEqual(["one", "plain"]);
    expect(bare.payloads).toEqual(["bare"]);
    expect(atFar.sorted).toEqual(["bare", "one", "other", "plain"]);
  });

  test("joined with each other, twice and in a ring, hear each event once", async () => {
    const targets = [new EventTarget(), new EventTarget(), new EventTarget()] as const;
    for (const [from, to] of [
      [0, 1],
      [1, 0],
      [1, 2],
      [2, 0],
    ] as const)
      await join(targets[from], targets[to], { types: ["x:"] });
    const heard: Heard[] = [];
    for (const eventTarget of targets) heard.push(await Heard.by(createPubSub({ eventTarget }), "x", ""));
    for (const [payload, eventTarget] of targets.entries())
      await createPubSub({ eventTarget }).publish("x", "", payload);
    for (const { payloads } of heard) expect(payloads).toEqual([0, 1, 2]);
  });

  test("report what is no envelope, and pass the next", async () => {
    const errors: unknown[] = [];
    const [first, second] = [new EventTarget(), new EventTarget()];
    await join(first, second, { types: ["x:"], onError: (error) => errors.push(error) });
    const heard = await Heard.by(createPubSub({ eventTarget: second }), "x", "");
    first.dispatchEvent(new CustomEvent("x", { detail: 1 }));
    first.dispatchEvent(new CustomEvent("x", { detail: { type: "x", id: "", payload: 2 } }));
    expect(heard.payloads).toEqual([2]);
    expect(errors).toMatchObject([{ code: "MALFORMED" }]);
  });
});

describe("close", () => {
  test("frees both sides and leaves both open; again it does nothing", async () => {
    const [one, two] = [createMemoryBroker(), createMemoryBroker()];
    const [a, b] = [connect(one), connect(two)];
    const joined = await bridge(a, b);
    expect([one.filters, two.filters]).toEqual([1, 1]);
    await joined.close();
    await joined.close();
    await joined[Symbol.asyncDispose]();
    await settled();
    expect([one.filters, two.filters]).toEqual([0, 0]);
    expect([a.status, b.status]).toEqual(["ready", "ready"]);
    const heard = await Heard.by(createPubSub({ eventTarget: connect(two) }));
    await createPubSub({ eventTarget: a }).publish("x", "", "apart");
    await createPubSub({ eventTarget: b }).publish("x", "", "last");
    await heard.until("last");
    expect(heard.payloads).toEqual([]);
  });

  test("waits for what is under way", async () => {
    const slow = new HandTransport();
    const target = defineEventTarget(slow);
    const { target: source, far } = inMemory({})();
    opened.add(() => target.close());
    const joined = await join(source, target);
    slow.publishing = deferred();
    await far.publish("x", "", 1);
    await settled();
    let closed = false;
    const closing = joined.close().then(() => (closed = true));
    await settled();
    expect(closed).toBe(false);
    slow.publishing.resolve();
    await closing;
    expect(slow.published).toHaveLength(1);
  });

  test("of one target stops the bridge in silence", async () => {
    const errors: unknown[] = [];
    const broker = createMemoryBroker();
    const [a, b] = [connect(createMemoryBroker()), connect(broker)];
    await join(a, b, { onError: (error) => errors.push(error) });
    await a.close();
    await createPubSub({ eventTarget: b }).publish("x", "", 1);
    await settled();
    expect(errors).toEqual([]);
    expect(broker.filters).toBe(0);
  });

  test("takes no other bridge with it", async () => {
    const [a, b] = [inMemory({})(), inMemory({})()];
    const heard = await Heard.by(b.far);
    const first = await bridge(a.target, b.target);
    await join(a.target, b.target);
    await first.close();
    await a.far.publish("x", "", "still");
    await flush([a.far], [heard]);
    expect(heard.payloads).toEqual(["still"]);
  });
});

describe("onError", () => {
  test("is told of events that cannot be passed on, and the next ones pass", async () => {
    const errors: unknown[] = [];
    const [a, b] = [overPorts(), inMemory({})()];
    const heard = await Heard.by(b.far);
    await join(a.target, b.target, { onError: (error) => errors.push(error) });
    // A bigint can be cloned, and is no JSON.
    await a.far.publish("x", "", 1n);
    await a.far.publish("x", "", 2);
    await flush([a.far], [heard]);
    expect(heard.payloads).toEqual([2]);
    expect(errors).toMatchObject([{ code: "PAYLOAD", type: "x" }]);
  });

  test("is told once of a loss, and of an interruption that may be one", async () => {
    const errors: { code: string; gap?: Gap }[] = [];
    const broker = createMemoryBroker();
    const a = connect(broker);
    const b = inMemory({})();
    const heard = await Heard.by(b.far);
    await join(a, b.target, { types: ["x", "y", "flush"], onError: (error) => errors.push(error as never) });
    const far = createPubSub({ eventTarget: connect(broker) });
    a.transport.cut();
    await settled();
    a.transport.reconnect();
    await settled();
    await flush([far], [heard]);
    expect(errors).toMatchObject([{ code: "GAP", gap: { reason: "reconnect" } }]);
  });

  test("is told when one filter is taken away; the others go on", async () => {
    const errors: unknown[] = [];
    const broker = createMemoryBroker();
    const a = connect(broker);
    const b = inMemory({})();
    const heard = await Heard.by(b.far);
    await join(a, b.target, { types: ["x", "flush"], onError: (error) => errors.push(error) });
    a.transport.revoke({ type: "x" });
    await settled();
    await flush([createPubSub({ eventTarget: connect(broker) })], [heard]);
    expect(errors).toMatchObject([{ code: "REFUSED" }]);
  });

  test("that is missing makes these errors uncaught ones", async () => {
    const [a, b] = [overPorts(), inMemory({})()];
    const heard = await Heard.by(b.far);
    await join(a.target, b.target);
    const uncaught = await uncaughtDuring(async () => {
      await a.far.publish("x", "", 1n);
      await flush([a.far], [heard]);
    });
    expect(uncaught).toMatchObject([{ code: "PAYLOAD" }]);
  });
});

test("numbers pass a bridge: a loss on one side of it is seen on the other", async () => {
  const [a, b] = [inMemory({ lossDetection: "none" })(), overPorts()];
  const from = createMemoryBroker();
  const lossy = connect(from, { lossDetection: "none" });
  await join(lossy, b.target);
  const far = createPubSub({ eventTarget: connect(from), sequence: true });
  const { port1, port2 } = new MessageChannel();
  const [left, right] = [createMessagePortEventTarget(port1), createMessagePortEventTarget(port2)];
  opened.add(async () => {
    await Promise.all([left.close(), right.close()]);
    port1.close();
  });
  await join(b.target, left);
  await join(a.target, left);
  const seen: unknown[] = [];
  const last = deferred();
  await createPubSub({ eventTarget: right, sequence: true }).on(
    "x",
    ({ payload }) => {
      seen.push(payload);
      if (payload === 3) last.resolve();
    },
    { onGap: ({ reason, lost }) => seen.push(`${reason} ${lost}`) },
  );
  await far.publish("x", "", 0);
  await settled();
  lossy.transport.lose(2);
  for (const n of [1, 2, 3]) await far.publish("x", "", n);
  await last.promise;
  expect(seen).toEqual([0, "sequence 2", 3]);
});

test.each([
  ["one target with itself", () => [connect(createMemoryBroker())], {}],
  ["no target", () => [connect(createMemoryBroker()), {}], {}],
  ["null", () => [null, connect(createMemoryBroker())], {}],
  ["a direction that there is not", () => [new EventTarget(), new EventTarget()], { direction: "backward" }],
])("%s is refused with INVALID_OPTION", async (_, sides, options) => {
  const [first, second = first] = sides() as [EventTarget, EventTarget?];
  await expect(bridge(first, second, options as BridgeOptions)).rejects.toMatchObject({
    code: "INVALID_OPTION",
  });
});

test("one target with itself is known in any of its forms", async () => {
  const target = connect(createMemoryBroker());
  const plain = new EventTarget();
  await expect(bridge(target, payloadTarget(target))).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await expect(bridge(plain, plain, { types: ["x:"] })).rejects.toMatchObject({ code: "INVALID_OPTION" });
});

test.each(["", "a b", "$bye", "a*", "**.a", 7, `x:${"i".repeat(1025)}`])("the type %j is refused", async (type) => {
  const joining = bridge(new EventTarget(), new EventTarget(), { types: [type as string] });
  await expect(joining).rejects.toMatchObject({ code: "INVALID_TOPIC" });
});
