// What is peculiar to MessagePorts; the rest is the conformance suite's business.
import { MessageChannel } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import { createMessagePortEventTarget, messagePortChannel } from "@alkdev/pubsub/event-target-message-port";
import type { AlkEventTarget } from "@alkdev/pubsub/transport";
import { Opened } from "./fixtures/conformance.ts";
import { startPortWorker } from "./fixtures/message-port.ts";
import { deferred, settled } from "./pubsub-support.ts";

const opened = new Opened();
afterEach(() => opened.end());

/** A MessagePort as the web has it: events on an EventTarget, held until started. */
class WebPort {
  other!: WebPort;
  started = false;
  closed = false;
  listening = 0;
  readonly #target = new EventTarget();
  readonly #held: unknown[] = [];

  static pair(): [WebPort, WebPort] {
    const [one, two] = [new WebPort(), new WebPort()];
    one.other = two;
    two.other = one;
    return [one, two];
  }

  addEventListener(type: string, listener: (event: MessageEvent) => void): void {
    this.listening++;
    this.#target.addEventListener(type, listener as (event: Event) => void);
  }

  removeEventListener(type: string, listener: (event: MessageEvent) => void): void {
    this.listening--;
    this.#target.removeEventListener(type, listener as (event: Event) => void);
  }

  dispatchEvent(event: Event): boolean {
    return this.#target.dispatchEvent(event);
  }

  postMessage(message: unknown): void {
    const { other } = this;
    other.#held.push(structuredClone(message));
    if (other.started) other.#flow();
  }

  start(): void {
    this.started = true;
    this.#flow();
  }

  close(): void {
    this.closed = true;
  }

  #flow(): void {
    for (const data of this.#held.splice(0))
      queueMicrotask(() => void this.#target.dispatchEvent(new MessageEvent("message", { data })));
  }
}

type Ports = readonly [MessagePort | WebPort, MessagePort | WebPort];

function over(port: MessagePort | WebPort, onError?: (error: unknown) => void): AlkEventTarget {
  const target = createMessagePortEventTarget(port, onError && { onError });
  opened.add(() => target.close());
  return target;
}

function nodePorts(): [MessagePort, MessagePort] {
  const { port1, port2 } = new MessageChannel();
  opened.add(() => port1.close());
  return [port1, port2];
}

const pubsubOver = (port: MessagePort | WebPort): PubSub => createPubSub({ eventTarget: over(port) });

describe.each<[string, () => Ports]>([
  ["Node's", nodePorts],
  ["the web's", () => WebPort.pair()],
  ["a global MessageChannel's", nodePorts],
])("ports of %s kind", (_, make) => {
  test("carry events both ways, structured clones among them", async () => {
    const [one, two] = make();
    const [near, far] = [pubsubOver(one), pubsubOver(two)];
    const [atNear, atFar] = [await near.subscribe("*"), await far.subscribe("*", "1")];
    const payload = new Map([["at", new Date(0)]]);
    await near.publish("a", "1", payload);
    await far.publish("b", "2", [1]);
    expect((await atFar.next()).value).toEqual({ type: "a", id: "1", payload });
    expect((await atNear.next()).value?.payload).toEqual(payload);
    expect((await atNear.next()).value).toEqual({ type: "b", id: "2", payload: [1] });
  });

  test("are started, and lose nothing that came before: the other side may come later", async () => {
    const [one, two] = make();
    const near = pubsubOver(one);
    const published = near.publish("early", "", 1);
    await settled();
    const far = pubsubOver(two);
    const events = await far.subscribe("late");
    await published;
    await near.publish("late", "", 2);
    expect((await events.next()).value?.payload).toBe(2);
  });

  test("are not closed by close(): they carry what is posted afterwards", async () => {
    const [one, two] = make();
    const [near, far] = [over(one), over(two)];
    await Promise.all([near, far].map((eventTarget) => createPubSub({ eventTarget }).subscribe("ready")));
    await near.close();
    await far.closed;
    const heard = deferred();
    if (two instanceof WebPort) {
      two.addEventListener("message", () => heard.resolve());
      expect(one).toMatchObject({ closed: false });
    } else two.on("message", () => heard.resolve());
    one.postMessage("still here");
    await heard.promise;
  });

  test("tell the other side of close(): it drains, then throws DISCONNECTED", async () => {
    const [one, two] = make();
    const [nearTarget, far] = [over(one), pubsubOver(two)];
    const near = createPubSub({ eventTarget: nearTarget });
    const events = await far.subscribe("a");
    await near.publish("a", "", 1);
    await nearTarget.close();
    expect((await events.next()).value?.payload).toBe(1);
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
    await expect(far.publish("a", "", 2)).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  test("may serve another target after the first is closed on both sides", async () => {
    const [one, two] = make();
    for (let round = 0; round < 3; round++) {
      const targets = [over(one), over(two)] as const;
      const [near, far] = targets.map((eventTarget) => createPubSub({ eventTarget })) as [PubSub, PubSub];
      const events = await far.subscribe("a");
      await near.publish("a", "", round);
      expect((await events.next()).value?.payload).toBe(round);
      await targets[0].close();
      await targets[1].closed;
    }
  });
});

describe("a port that is closed on the other side", () => {
  test("of a worker ends the target with DISCONNECTED, after what had arrived", async () => {
    const ends = startPortWorker();
    opened.add(() => ends.end());
    const near = createPubSub({ eventTarget: ends.target });
    const events = await near.subscribe("a");
    await ends.far.publish("a", "", 1);
    await ends.cut();
    await ends.target.closed;
    expect((await events.next()).value?.payload).toBe(1);
    const error = (await events.next().catch((error: unknown) => error)) as Error;
    expect(error).toMatchObject({ code: "DISCONNECTED" });
    expect(error.cause).toMatchObject({ message: "the port was closed" });
    expect(near.status).toBe("closed");
  });

  test("of a worker that slept for longer than the heartbeat allows is told, when it wakes, that the link has ended", async () => {
    const ends = startPortWorker(0, { heartbeat: 500 });
    opened.add(() => ends.end());
    const near = createPubSub({ eventTarget: ends.target });
    const events = await ends.far.subscribe("a");
    await near.publish("a", "", 1);
    await ends.freeze();
    await ends.target.closed;
    ends.thaw();
    expect((await events.next()).value?.payload).toBe(1);
    await expect(events.next()).rejects.toMatchObject({
      code: "DISCONNECTED",
      message: expect.stringContaining("SILENT") as string,
    });
  });

  test("because its worker was terminated ends it too", async () => {
    const ends = startPortWorker();
    opened.add(() => ends.end());
    const events = await createPubSub({ eventTarget: ends.target }).subscribe("a");
    void ends.worker.terminate();
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  test("on this side by its owner ends it too", async () => {
    const [one, two] = nodePorts();
    const [near, far] = [pubsubOver(one), pubsubOver(two)];
    const subscriptions = [await near.subscribe("a"), await far.subscribe("a")];
    one.close();
    for (const events of subscriptions) await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  test("before anyone answered makes the waiting subscribe reject", async () => {
    const [one, two] = nodePorts();
    const pending = pubsubOver(one).subscribe("a");
    two.close();
    await expect(pending).rejects.toMatchObject({ code: "DISCONNECTED" });
  });

  test("of the web ends it where the platform has a close event", async () => {
    const [one, two] = WebPort.pair();
    const [near] = [pubsubOver(one), pubsubOver(two)];
    const events = await near.subscribe("a");
    one.dispatchEvent(new Event("close"));
    await expect(events.next()).rejects.toMatchObject({ code: "DISCONNECTED" });
  });
});

test("nothing listens on a port any more once its target is closed, and nothing of it arrives", async () => {
  const [one, two] = WebPort.pair();
  const errors: unknown[] = [];
  const [near, far] = [over(one, (error) => errors.push(error)), over(two)];
  await createPubSub({ eventTarget: far }).subscribe("a");
  await near.close();
  await far.closed;
  expect([one.listening, two.listening]).toEqual([0, 0]);
  two.postMessage("garbage");
  await settled();
  expect(errors).toEqual([]);

  const [node, other] = nodePorts();
  await over(node).close();
  expect(["message", "messageerror", "close", "exit"].map((event) => node.listenerCount(event))).toEqual([0, 0, 0, 0]);
  other.close();
});

test("messages that cannot be deserialised, and those of others, are reported, and the link goes on", async () => {
  const [one, two] = WebPort.pair();
  const errors: unknown[] = [];
  const near = createPubSub({ eventTarget: over(one, (error) => errors.push(error)) });
  const far = pubsubOver(two);
  const events = await near.subscribe("a");
  one.dispatchEvent(new MessageEvent("messageerror", { data: null }));
  two.postMessage("hello?");
  await far.publish("a", "", 1);
  expect((await events.next()).value?.payload).toBe(1);
  expect(errors).toMatchObject([{ code: "MALFORMED" }, { code: "MALFORMED" }]);
});

test("what cannot be cloned rejects alone", async () => {
  const [near, far] = nodePorts().map(pubsubOver) as [PubSub, PubSub];
  const events = await far.subscribe("a");
  const published = [1, () => 2, 3].map((payload) => near.publish("a", "", payload));
  const results = await Promise.allSettled(published);
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  await expect(published[1]).rejects.toMatchObject({ code: "PAYLOAD" });
  expect((await events.next()).value?.payload).toBe(1);
  expect((await events.next()).value?.payload).toBe(3);
});

test("the channel says what it is: clones, no heartbeat, nothing that waits", () => {
  const [one] = WebPort.pair();
  expect(messagePortChannel(one)).toMatchObject({ encoding: "clone", heartbeat: 0, buffered: 0 });
  expect(one.started).toBe(false);
});
