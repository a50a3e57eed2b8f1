import { assert, equal, isError, nextEvent, rejects, take, until, whenStatus } from "../assert.ts";
import type { EventEnvelope } from "../../envelope.ts";
import type { PubSubError } from "../../errors.ts";
import type { Gap } from "../../transport.ts";
import type { Conformance, Harness, OpenOptions, RawPeer } from "../harness.ts";
import { sequence } from "./common.ts";

const GARBAGE: readonly unknown[] = [
  "",
  "{",
  "null",
  "[]x",
  '"text"',
  7,
  true,
  null,
  {},
  { type: 1 },
  { type: "a b", id: "", payload: 1 },
];

async function openRaw(harness: Harness, options?: OpenOptions): Promise<RawPeer> {
  assert(harness.openRaw !== undefined, "the harness has no raw peers");
  return harness.openRaw(options);
}

/** A control frame. */
function control(type: string, payload: unknown): EventEnvelope {
  return { type, id: "", payload };
}

function event(payload: unknown, type: string = "test.peer"): EventEnvelope {
  return { type, id: "", payload };
}

/** Does what an honest peer does at the beginning. */
async function greet(peer: RawPeer, limits: { readonly frame: number } = { frame: 1024 * 1024 }): Promise<void> {
  const { payload } = await peer.receive("$hello");
  peer.send(control("$hello", { nonce: "peer", versions: [1], limits, batch: true }));
  await peer.receive("$welcome");
  peer.send(
    control("$welcome", {
      nonce: (payload as { nonce: string }).nonce,
      version: 1,
      session: "session",
      resumed: false,
      echo: false,
      limits,
    }),
  );
}

/** A live subscription, acknowledged as an honest peer does. */
async function subscribed(peer: RawPeer, onGap?: (gap: Gap) => void): Promise<{ events: Subscription; ref: number }> {
  const pending = peer.near.subscribe("test.peer", "", onGap && { onGap });
  const { payload } = await peer.receive("$subscribe");
  const { ref } = payload as { ref: number };
  peer.send(control("$subscribed", { ref }));
  return { events: await pending, ref };
}

type Subscription = Awaited<ReturnType<RawPeer["near"]["subscribe"]>>;

/** Peers that lie, or send what is no frame. */
export const peers: readonly Conformance[] = [
  {
    name: "frames may come one by one or in an array, and are delivered in their order",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const { events } = await subscribed(peer);
      peer.send(event(0));
      peer.send([event(1), event(2), control("$ping", null), event(3)]);
      peer.send([]);
      peer.send([event(4)]);
      equal(await take(events, 5), sequence(5));
      await peer.receive("$pong");
    },
  },
  {
    name: "text may come as bytes",
    needs: ["raw", "binary"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const { events } = await subscribed(peer);
      peer.sendBytes?.(event("ünï¢ødé ✓"));
      equal(await take(events, 1), ["ünï¢ødé ✓"]);
    },
  },
  {
    name: "members that nobody knows are kept, in an envelope and in its meta",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const { events } = await subscribed(peer);
      const sent = { ...event(1), meta: { traceparent: "00-1", later: [1] }, version: 2 };
      peer.send(sent);
      equal(await nextEvent(events), sent);
    },
  },
  {
    name: "garbage is reported as MALFORMED, and the link survives it",
    needs: ["raw"],
    async run(harness) {
      const errors: unknown[] = [];
      const peer = await openRaw(harness, { onError: (error) => void errors.push(error) });
      await greet(peer);
      const { events } = await subscribed(peer);
      for (const garbage of GARBAGE) peer.send(garbage);
      peer.send([event(1), { no: "envelope" }, event(2)]);
      equal(await take(events, 2), [1, 2]);
      assert(errors.length >= GARBAGE.length, `only ${errors.length} of ${GARBAGE.length + 1} errors were reported`);
      for (const error of errors) isError(error, "MALFORMED");
      equal(peer.target.status, "ready", "the status");
    },
  },
  {
    name: "a peer that sends nothing but garbage is given up",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const { events } = await subscribed(peer);
      // A pipe that may carry other text too does not mind what looks like no frame at all.
      for (let i = 0; i < 100; i++) peer.send(i % 2 === 0 ? "{" : { type: "no type", id: "", payload: i });
      if (harness.features.has("reconnects")) return whenStatus(peer.target, "interrupted");
      await peer.target.closed;
      await rejects(events.next(), "DISCONNECTED");
    },
  },
  {
    name: "a type that starts with $ reaches no subscriber, whoever forges it",
    requires: ({ patterns }) => patterns !== "none",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const pending = peer.near.subscribe("**");
      const { payload } = await peer.receive("$subscribe");
      peer.send(control("$subscribed", payload));
      const events = await pending;
      for (const type of ["$ping", "$secret", "$.a", "$"]) peer.send({ type, id: "", payload: "forged" });
      peer.send(event("real"));
      equal(await take(events, 1), ["real"]);
    },
  },
  {
    name: "a frame that is larger than this side takes is reported, and the link survives it",
    requires: ({ maxPayload }) => maxPayload !== undefined,
    needs: ["raw"],
    async run(harness) {
      const errors: unknown[] = [];
      const peer = await openRaw(harness, { target: { maxFrame: 4096 }, onError: (error) => void errors.push(error) });
      await greet(peer);
      const { events } = await subscribed(peer);
      peer.send(event("x".repeat(5000)));
      peer.send(event("small"));
      equal(await take(events, 1), ["small"]);
      equal(errors.length, 1, "the number of errors");
      isError(errors[0], "MALFORMED");
    },
  },
  {
    name: "an event that is larger than the far end takes is refused with PAYLOAD",
    requires: ({ maxPayload }) => maxPayload !== undefined,
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer, { frame: 2048 });
      peer.send(control("$subscribe", { ref: 1, type: "test.large" }));
      await peer.receive("$subscribed");
      const large = peer.near.publish("test.large", "", "x".repeat(3000));
      const small = peer.near.publish("test.large", "", "small");
      const { message } = await rejects(large, "PAYLOAD");
      assert(message.includes("2048"), `the message does not name the limit: ${message}`);
      equal((await peer.receive("test.large")).payload, "small");
      peer.send(control("$ack", { received: 1 }));
      await small;
    },
  },
  {
    name: "a peer that says nothing makes a subscribe reject with TIMEOUT or NOT_READY, which says what to check",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness, { target: { subscribeTimeout: 50, connectTimeout: 100 } });
      const error = await peer.near.subscribe("test.peer", "7").then(
        () => undefined,
        (thrown: PubSubError) => thrown,
      );
      assert(error !== undefined && ["TIMEOUT", "NOT_READY"].includes(error.code), String(error));
    },
  },
  {
    name: "a peer that never acknowledges a subscription makes it reject with TIMEOUT, which names the topic",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness, { target: { subscribeTimeout: 50 } });
      await greet(peer);
      await whenStatus(peer.target, "ready");
      const { message } = await rejects(peer.near.subscribe("test.peer", "topic 7"), "TIMEOUT");
      assert(message.includes("test.peer:topic 7"), `the message does not name the topic: ${message}`);
      await peer.receive("$unsubscribe");
    },
  },
  {
    name: "a peer that never acknowledges an event makes its publish reject with TIMEOUT",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness, { target: { ackTimeout: 50 } });
      await greet(peer);
      peer.send(control("$subscribe", { ref: 1, type: "test.peer" }));
      await peer.receive("$subscribed");
      await rejects(peer.near.publish("test.peer", "", 1), "TIMEOUT");
    },
  },
  {
    name: "a peer that refuses a subscription makes it reject with the code and the message that it gave",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const pending = peer.near.subscribe("test.peer", "");
      const { payload } = await peer.receive("$subscribe");
      const { ref } = payload as { ref: number };
      peer.send(control("$refused", { ref, code: "REFUSED", message: "Ask for the permission test.read." }));
      const { message } = await rejects(pending, "REFUSED");
      assert(message.includes("test.read"), `the message is ${message}`);
    },
  },
  {
    name: "a peer that takes a live subscription away ends it: what is buffered drains, then REFUSED is thrown",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const { events, ref } = await subscribed(peer);
      peer.send([event(1), control("$refused", { ref, code: "REFUSED", message: "No longer." })]);
      equal(await take(events, 1), [1]);
      await rejects(events.next(), "REFUSED");
    },
  },
  {
    name: "a loss that the peer tells of stands at its place",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const story: unknown[] = [];
      const { events, ref } = await subscribed(peer, ({ reason, lost }) => void story.push([reason, lost]));
      const now = Date.now();
      peer.send([event(1), control("$gap", { ref, reason: "overflow", since: now, until: now, lost: 3 }), event(2)]);
      for (let i = 0; i < 2; i++) story.push((await nextEvent(events)).payload);
      equal(story, [1, ["overflow", 3], 2]);
    },
  },
  {
    name: "acknowledgements of what was never sent are reported, and settle nothing",
    needs: ["raw"],
    async run(harness) {
      const errors: unknown[] = [];
      const peer = await openRaw(harness, { onError: (error) => void errors.push(error) });
      await greet(peer);
      await whenStatus(peer.target, "ready");
      peer.send(control("$ack", { received: 1000 }));
      await until(() => errors.length > 0, "it was reported");
      isError(errors[0], "MALFORMED");
    },
  },
  {
    name: "a peer that speaks another version alone is left with VERSION",
    needs: ["raw"],
    async run(harness) {
      const peer = await openRaw(harness);
      await peer.receive("$hello");
      peer.send(control("$hello", { nonce: "peer", versions: [999], limits: { frame: 1024 }, batch: true }));
      const { payload } = await peer.receive("$bye");
      equal((payload as { code: string }).code, "VERSION", "the code of $bye");
      await peer.target.closed;
    },
  },
  {
    name: "a peer that says goodbye ends the target: subscriptions drain, then DISCONNECTED is thrown",
    needs: ["raw", "disconnects"],
    async run(harness) {
      const peer = await openRaw(harness);
      await greet(peer);
      const { events } = await subscribed(peer);
      peer.send([event(1), control("$bye", { code: "END" })]);
      await peer.target.closed;
      equal(await take(events, 1), [1]);
      await rejects(events.next(), "DISCONNECTED");
    },
  },
];
