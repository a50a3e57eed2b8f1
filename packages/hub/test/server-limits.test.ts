// What one link may cost the hub and the others: every limit, and who pays for going beyond it.
import { once } from "node:events";
import { createHub } from "@alkdev/hub";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { openClient, openHub, take, until } from "./fixtures/open.ts";
import { dial, envelope } from "./fixtures/peer.ts";
import type { Peer } from "./fixtures/peer.ts";

const MIB = 1024 * 1024;

async function peerOf(url: string): Promise<Peer> {
  const peer = dial(url);
  await peer.shakeHands();
  return peer;
}

/** The TCP socket below, for bytes that no WebSocket would send. */
function tcp(peer: Peer): Socket {
  return Reflect.get(peer.socket, "_socket") as Socket;
}

/** Asks for a subscription and returns the answer's type and code. */
async function ask(peer: Peer, ref: number, type: string): Promise<string> {
  peer.send(envelope("$subscribe", { ref, type }));
  await peer.ping();
  const answer = peer.frames.findLast(({ payload }) => (payload as { ref?: number } | null)?.ref === ref);
  return answer?.type === "$refused" ? (answer.payload as { code: string }).code : (answer?.type ?? "nothing");
}

describe("limits of links", () => {
  test("one link too many is closed with 1013 and LIMIT, and the others stay", async () => {
    const { url, hub } = await openHub({ limits: { links: 2 } });
    const peers = [await peerOf(url), await peerOf(url)];
    const third = dial(url);
    expect(await third.closed).toEqual({ code: 1013, reason: "LIMIT" });
    for (const peer of peers) await peer.ping();
    peers[0]?.socket.terminate();
    await until(() => hub.status().links.length === 1);
    await peerOf(url);
  });

  test("subscriptions beyond the limit are refused with LIMIT, and the link lives on", async () => {
    const { url, hub } = await openHub({ limits: { subscriptions: 3 } });
    const peer = await peerOf(url);
    for (const ref of [1, 2, 3]) expect(await ask(peer, ref, `a.${ref}`)).toBe("$subscribed");
    expect(await ask(peer, 4, "a.4")).toBe("LIMIT");
    expect(await ask(await peerOf(url), 1, "a.1")).toBe("$subscribed");
    peer.send(envelope("a.1", 1), envelope("a.4", 1));
    await peer.ping();
    expect(peer.events.map(({ type }) => type)).toEqual(["a.1"]);
    peer.send(envelope("$unsubscribe", { ref: 1 }));
    expect(await ask(peer, 5, "a.5")).toBe("$subscribed");
    expect(hub.status().subscriptions).toBe(4);
  });

  test("patterns beyond the limit are refused with LIMIT, exact subscriptions are not", async () => {
    const { url } = await openHub({ limits: { patterns: 2 } });
    const peer = await peerOf(url);
    expect(await ask(peer, 1, "a.*")).toBe("$subscribed");
    expect(await ask(peer, 2, "**")).toBe("$subscribed");
    expect(await ask(peer, 3, "b.*")).toBe("LIMIT");
    expect(await ask(peer, 4, "b.c")).toBe("$subscribed");
    peer.send(envelope("$unsubscribe", { ref: 2 }));
    expect(await ask(peer, 5, "b.*")).toBe("$subscribed");
  });

  test("a pattern of too many tokens is refused with LIMIT and takes no place", async () => {
    const { url, hub } = await openHub({ limits: { tokens: 3, patterns: 1 } });
    const peer = await peerOf(url);
    expect(await ask(peer, 1, "*.*.*.*")).toBe("LIMIT");
    expect(await ask(peer, 2, "a.b.c.d.e.f")).toBe("$subscribed");
    expect(await ask(peer, 3, "a.*.**")).toBe("$subscribed");
    expect(hub.status().subscriptions).toBe(2);
  });

  test("a client is told which limit it met and what to do", async () => {
    const { url } = await openHub({ limits: { subscriptions: 1 } });
    const client = openClient(url);
    const first = await client.subscribe("a");
    await expect(client.subscribe("b")).rejects.toMatchObject({
      code: "LIMIT",
      message: expect.stringContaining("limits.subscriptions") as string,
    });
    await client.publish("a", "", 1);
    await take(first, 1);
    expect(client.status).toBe("ready");
  });
});

describe("limits of frames", () => {
  test("a frame over the limit is counted as malformed and survived", async () => {
    const { url, hub } = await openHub({ limits: { frame: 1000 } });
    const peer = await peerOf(url);
    peer.send(envelope("$subscribe", { ref: 1, type: "a" }));
    peer.send(envelope("a", "x".repeat(1000)), envelope("a", "€".repeat(330)), envelope("a", "ok"));
    expect((await peer.next("a")).payload).toBe("ok");
    expect(hub.status()).toMatchObject({ malformed: 2, received: 1 });
  });

  test("the limit is that of the hub, also of one that was handed in", async () => {
    const hub = createHub({ limits: { frame: 8 * MIB } });
    onTestFinished(() => hub.close());
    const { url } = await openHub({ hub });
    const [publisher, reader] = [openClient(url, { maxFrame: 8 * MIB }), openClient(url, { maxFrame: 8 * MIB })];
    const events = await reader.subscribe("large");
    await publisher.publish("large", "", "x".repeat(7 * MIB));
    expect((await take(events, 1))[0]?.payload).toHaveLength(7 * MIB);
    expect(hub.status()).toMatchObject({ malformed: 0, received: 1, sent: 1 });
  });

  test("a frame over the hard limit ends its link alone, with 1009", async () => {
    const errors: unknown[] = [];
    const { url, hub } = await openHub({ limits: { frame: 1000 }, onError: (error) => errors.push(error) });
    const [hostile, other] = [await peerOf(url), await peerOf(url)];
    hostile.send(envelope("a", "x".repeat(5000)));
    expect(await hostile.closed).toMatchObject({ code: 1009 });
    await other.ping();
    expect(hub.status().links).toHaveLength(1);
    expect(errors.length).toBeGreaterThan(0);
  });

  test("a frame of 100 MB ends its link and grows the memory by little", async () => {
    const { url, hub } = await openHub();
    const [hostile, other] = [await peerOf(url), await peerOf(url)];
    // Its own copy is there before the measure is taken.
    const frame = Buffer.alloc(100_000_000, 0x20);
    const before = process.memoryUsage().rss;
    let peak = before;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 2);
    onTestFinished(() => clearInterval(watch));
    // Straight into the TCP socket: a header of a masked text frame of that length, and as much as it takes.
    const header = Buffer.alloc(14);
    header.writeUInt8(0x81, 0);
    header.writeUInt8(0xff, 1);
    header.writeBigUInt64BE(BigInt(frame.length), 2);
    const raw = tcp(hostile);
    raw.write(header);
    for (let at = 0; at < frame.length; at += MIB) raw.write(frame.subarray(at, at + MIB));
    expect(await hostile.closed).toMatchObject({ code: expect.any(Number) as number });
    await other.ping();
    await until(() => hub.status().links.length === 1);
    expect((peak - before) / MIB).toBeLessThan(50);
  });

  test("fragments without an end are bounded by the hard limit too", async () => {
    const { url, hub } = await openHub({ limits: { frame: 1000 } });
    const hostile = await peerOf(url);
    for (let i = 0; i < 10; i++) hostile.socket.send("x".repeat(900), { fin: false });
    expect(await hostile.closed).toMatchObject({ code: 1009 });
    await until(() => hub.status().links.length === 0);
  });

  test("broken framing and text that is no UTF-8 end their link alone", async () => {
    const { url, hub } = await openHub();
    const other = await peerOf(url);
    for (const bytes of [
      [0xf1, 0x80, 0, 0, 0, 0],
      [0x01],
      [0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28],
      [0x81, 0x02, 0x61, 0x62],
    ]) {
      const hostile = await peerOf(url);
      tcp(hostile).write(Buffer.from(bytes));
      if (bytes.length === 1) hostile.socket.terminate();
      await hostile.closed;
    }
    await other.ping();
    await until(() => hub.status().links.length === 1);
  });
});

describe("slow and silent links", () => {
  test("a link that stops reading is closed with SLOW, while another gets everything", async () => {
    const { url, hub } = await openHub({ limits: { buffered: 2 * MIB } });
    const slow = await peerOf(url);
    expect(await ask(slow, 1, "flood")).toBe("$subscribed");
    const fast = openClient(url, {}, { buffer: { limit: 2 ** 20 } });
    const events = await fast.subscribe("flood");
    const publisher = openClient(url);
    slow.socket.pause();
    let published = 0;
    const payload = "x".repeat(4000);
    while (hub.status().slow === 0) {
      await Promise.all(Array.from({ length: 100 }, () => publisher.publish("flood", String(published++), payload)));
      expect(published).toBeLessThan(20_000);
    }
    expect(hub.status().links).toHaveLength(2);
    await publisher.publish("flood", "last", null);
    const all = await take(events, published + 1);
    expect(all.map(({ id }) => id)).toEqual([...Array.from({ length: published }, (_, n) => String(n)), "last"]);
    // Reading again, it learns why.
    slow.socket.resume();
    expect((await slow.next("$bye")).payload).toMatchObject({ code: "SLOW" });
    await slow.closed;
  });

  test("a client that was too slow comes back and has a gap where it missed something", async () => {
    const { url, hub } = await openHub({ limits: { buffered: MIB } });
    const gaps: unknown[] = [];
    const sockets: { pause: () => void; resume: () => void }[] = [];
    class Pausable extends WebSocket {
      constructor(address: string) {
        super(address);
        sockets.push(this);
      }
    }
    const client = openClient(
      url,
      { WebSocket: Pausable },
      { onGap: (gap) => gaps.push(gap), buffer: { limit: 2 ** 20 } },
    );
    const events = await client.subscribe("flood");
    const publisher = openClient(url);
    sockets[0]?.pause();
    let published = 0;
    while (hub.status().slow === 0) {
      await Promise.all(
        Array.from({ length: 100 }, () => publisher.publish("flood", String(published++), "x".repeat(4000))),
      );
      expect(published).toBeLessThan(20_000);
    }
    sockets[0]?.resume();
    await client.reached("interrupted");
    await client.reached("ready");
    await publisher.publish("flood", "last", null);
    let received = 0;
    for await (const { id } of events) {
      if (id === "last") break;
      // In order, and all before the gap.
      expect([id, gaps.length]).toEqual([String(received++), 0]);
    }
    expect(gaps).toMatchObject([{ reason: "reconnect" }]);
    expect(received).toBeLessThan(published);
  });

  test("a peer that asks without end and reads no answer is closed with SLOW", async () => {
    const { url, hub } = await openHub({ limits: { buffered: 256 * 1024 } });
    const hostile = await peerOf(url);
    hostile.socket.pause();
    const hello = JSON.stringify(
      Array.from({ length: 2000 }, () => envelope("$hello", { nonce: "n1", versions: [1] })),
    );
    for (let sent = 0; hub.status().slow === 0; sent++) {
      if (hostile.socket.readyState === hostile.socket.OPEN) hostile.send(hello);
      await new Promise((resolve) => setImmediate(resolve));
      expect(sent).toBeLessThan(100_000);
    }
    expect(hub.status().links).toHaveLength(0);
  });

  test("a socket that never says hello is closed with HANDSHAKE", async () => {
    const { url, hub } = await openHub({ limits: { handshake: 100 } });
    const silent = dial(url);
    const busy = dial(url);
    await busy.opened;
    // Talks, but never welcomes.
    busy.send(envelope("$hello", { nonce: "n", versions: [1] }), envelope("$ping", null));
    for (const peer of [silent, busy]) {
      expect((await peer.next("$bye")).payload).toMatchObject({ code: "HANDSHAKE" });
      await peer.closed;
    }
    expect(hub.status().links).toHaveLength(0);
  });

  test("a link that has shaken hands outlives the handshake's time", async () => {
    const { url } = await openHub({ limits: { handshake: 1000 } });
    const [good, silent] = [await peerOf(url), dial(url)];
    await silent.closed;
    await good.ping();
  });

  test("a TCP connection that is cut in the middle of anything harms nobody", async () => {
    const { url, port, hub } = await openHub();
    const other = await peerOf(url);
    const text = `GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    for (let cut = 1; cut <= text.length; cut += 9) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => undefined);
      await once(socket, "connect");
      socket.write(text.slice(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      socket.resetAndDestroy();
    }
    await other.ping();
    await until(() => hub.status().links.length === 1);
  });
});
