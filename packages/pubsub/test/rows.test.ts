// A batch for channels that clone: whatever form it travels in, the far end reads what clones of its frames would be.
import { createPubSub } from "@alkdev/pubsub";
import { connectLink, defineEventTarget } from "@alkdev/pubsub/transport";
import * as fc from "fast-check";
import { readFileSync } from "node:fs";
import { MessageChannel } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import type { EventEnvelope } from "../src/envelope.ts";
import { control, isControl } from "../src/link/frames.ts";
import { portChannel } from "../src/link/port-channel.ts";
import { fromRows, rowsFrame } from "../src/link/rows.ts";

const value = fc.anything({ withDate: true, withMap: true, withSet: true, withTypedArray: true, withBigInt: true });
const record = fc.oneof(
  fc.record({ seq: fc.nat(), text: fc.string(), more: value }),
  fc.record({ seq: fc.nat(), text: fc.string(), more: value }, { requiredKeys: [] }),
  fc.dictionary(fc.string(), value),
);
const event = fc.record({
  type: fc.constantFrom("a.b", "a.c"),
  id: fc.constantFrom("", "1"),
  payload: fc.oneof({ weight: 3, arbitrary: record }, value),
});
const frame: fc.Arbitrary<object> = fc.oneof(
  { weight: 6, arbitrary: event },
  event.map((envelope) => ({ ...envelope, meta: { origin: "x" } })),
  event.map(({ type, id, payload }) => ({ payload, type, id })),
  fc.nat().map((received) => control("$ack", { received })),
);

const through = (frames: readonly unknown[]): unknown[] => fromRows(structuredClone(rowsFrame(frames)).payload);

describe("rows", () => {
  test("are read as clones of the frames that they were made of", () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 12 }), (frames) => {
        expect(through(frames)).toEqual(structuredClone(frames));
      }),
    );
  });

  test.for([
    [
      "a class's instance",
      new (class Point {
        x = 1;
      })(),
      { x: 1 },
    ],
    ["an object without a prototype", Object.assign(Object.create(null), { x: 1 }), { x: 1 }],
    ["a key that names the prototype", JSON.parse('{"__proto__": {"x": 1}}'), JSON.parse('{"__proto__": {"x": 1}}')],
    ["a key whose value is undefined", { x: undefined, y: 1 }, { x: undefined, y: 1 }],
    ["more keys than are shared", Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, i])), undefined],
    ["no keys", {}, {}],
  ] as const)("carry %s", ([, payload, expected]) => {
    const [first, second] = through([
      { type: "a", id: "", payload },
      { type: "a", id: "", payload },
    ]) as EventEnvelope[];
    expect(first?.payload).toStrictEqual(expected ?? payload);
    expect(second?.payload).toStrictEqual(expected ?? payload);
    expect(Object.getPrototypeOf(first?.payload)).toBe(Object.prototype);
  });

  test.for([
    ["no list", { length: 3 }],
    ["an event without its keys", ["a", ""]],
    ["an event without its values", ["a", "", ["x", "y"], 1]],
    ["an event without its payload", ["a", "", 2]],
    ["keys that are no text", ["a", "", [1], 1]],
    ["keys that are no list", ["a", "", "x", 1]],
    ["a key that names the prototype", ["a", "", ["__proto__"], {}]],
  ] as const)("that hold %s are MALFORMED", ([, rows]) => {
    expect(() => fromRows(rows)).toThrow(expect.objectContaining({ code: "MALFORMED" }));
  });

  test("are what the protocol's page says", () => {
    const page = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
    const [, example = ""] = /```json\n(\{\s*"type": "\$rows".*?)```/s.exec(page) ?? [];
    const parsed = JSON.parse(example) as EventEnvelope;
    expect(fromRows(parsed.payload)).toEqual([
      { type: "session.status", id: "proj_122", payload: null, meta: { origin: "c4" } },
      { type: "session.status", id: "proj_123", payload: { status: "idle", since: 1764349200000 } },
      { type: "session.status", id: "proj_124", payload: { status: "busy", since: 1764349201000 } },
      { type: "session.closed", id: "proj_123", payload: null },
    ]);
    expect(rowsFrame(fromRows(parsed.payload))).toEqual(parsed);
  });
});

/** What a PubSub over a port sends in one turn, to a far end that says so of itself. */
async function sentTo(hello: object): Promise<unknown[]> {
  const { port1, port2 } = new MessageChannel();
  const sent: unknown[] = [];
  const link = connectLink();
  const channel = portChannel(port1);
  let whole: () => void;
  const arrived = new Promise<void>((resolve) => (whole = resolve));
  port2.on("message", (message: unknown) => {
    sent.push(message);
    if (isControl(message) && message.type === "$hello") {
      const { nonce } = message.payload as { nonce: string };
      const answer = { nonce, version: 1, session: "far", resumed: false, limits: { frame: 1e6 } };
      port2.postMessage(
        control("$hello", { nonce: "far", versions: [1], limits: { frame: 1e6 }, batch: true, ...hello }),
      );
      port2.postMessage(control("$welcome", answer));
      port2.postMessage(control("$subscribe", { ref: 1, type: "a" }));
    } else if (JSON.stringify(message).includes('"last"')) whole();
  });
  link.attach(channel);
  const pubsub = createPubSub({ eventTarget: defineEventTarget(link) });
  const subscribed = new Promise<void>((resolve) => {
    port2.on("message", (message) => JSON.stringify(message).includes("$subscribed") && resolve());
  });
  await subscribed;
  // Done once the link is ready, and sent to nobody.
  await pubsub.publish("nobody.asked", "", 0);
  sent.length = 0;
  for (const text of ["first", "last"]) pubsub.publish("a", "", { text }).catch(() => undefined);
  await arrived;
  port1.close();
  port2.close();
  return sent;
}

describe("over a port", () => {
  const first = { type: "a", id: "", payload: { text: "first" } };
  const last = { type: "a", id: "", payload: { text: "last" } };

  test("two events at once go as rows to whoever reads rows", async () => {
    expect(await sentTo({ rows: true })).toEqual([rowsFrame([first, last])]);
  });

  test("they go as an array to whoever does not", async () => {
    expect(await sentTo({})).toEqual([[first, last]]);
  });

  test("rows that cannot be read are reported, and end nothing", async () => {
    const { port1, port2 } = new MessageChannel();
    const link = connectLink();
    link.attach(portChannel(port1));
    let onError!: (error: unknown) => void;
    const problem = new Promise<unknown>((resolve) => (onError = resolve));
    const near = createPubSub({ eventTarget: defineEventTarget(link, { onError }) });
    const far = createPubSub({ eventTarget: defineEventTarget(overPort(port2)) });
    const events = await near.subscribe("a");
    port2.postMessage({ type: "$rows", id: "", payload: ["a", ""] });
    expect(await problem).toMatchObject({ code: "MALFORMED" });
    await far.publish("a", "", 1);
    expect(await events.next()).toMatchObject({ value: { payload: 1 } });
    await far.close();
    await near.close();
    port1.close();
  });
});

function overPort(port: Parameters<typeof portChannel>[0]): ReturnType<typeof connectLink> {
  const link = connectLink();
  link.attach(portChannel(port));
  return link;
}
