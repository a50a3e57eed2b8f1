import { assert, equal, isError, nextEvent, rejects, take } from "../assert.ts";
import type { Conformance, Harness } from "../harness.ts";
import { known } from "./common.ts";

const ODD_IDS: readonly string[] = [
  "",
  " ",
  "a:b",
  "a.*",
  "**",
  "'",
  '"',
  "\\",
  "`; DROP TABLE events; --",
  "line\nbreak\r\n\ttab",
  "ünï¢ødé – ✓",
  "日本語",
  "👩‍👩‍👧‍👦",
  "\u202eright to left",
  "\u0000\u0001\u007f",
  "__proto__",
  "$hello",
  "e\u0301 is not \u00e9",
  "x".repeat(1024),
  "😀".repeat(256),
];

const PAYLOADS: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e300,
  Number.MAX_SAFE_INTEGER,
  "",
  "text",
  'ünï¢ødé 👩‍👩‍👧‍👦 \u0000 "quoted" \\ \n',
  "\u2028 and \u2029",
  [],
  {},
  [[], [[]], {}],
  [null, true, 0, "", [], {}],
  { "": 0, "a.b": 1, ünï: 2, constructor: 3 },
  { type: "not.the.type", id: "not the id", payload: null, meta: null },
  { nested: { nested: { nested: { nested: [1, [2, [3]]] } } } },
  Array.from({ length: 1000 }, (_, i) => ({ i, text: "x".repeat(10) })),
];

const BAD_TYPES: readonly string[] = [
  "",
  "a..b",
  ".a",
  "a.",
  "a b",
  "a:b",
  "$hello",
  "a\n",
  "*",
  "a.*",
  "a.**",
  "x".repeat(256),
];
const BAD_PATTERNS: readonly string[] = [
  "",
  "a..b",
  "a b",
  "a:b",
  "$hello",
  "$*",
  "**.a",
  "a.b*",
  "***",
  "x".repeat(256),
];

/** What a topic may be, what a payload may be, and what a filter lets through. */
export const topics: readonly Conformance[] = [
  {
    name: "any id arrives as it was, and is a topic of its own",
    async run(harness) {
      const { near, far } = await harness.open();
      const subscriptions = await Promise.all(ODD_IDS.map((id) => near.subscribe("test.id", id)));
      await known(harness, near, far);
      for (const id of ODD_IDS) await far.publish("test.id", id, { id });
      for (const [i, events] of subscriptions.entries()) {
        const { id, payload } = await nextEvent(events);
        equal({ id, payload }, { id: ODD_IDS[i], payload: { id: ODD_IDS[i] } });
        equal(events.received, 1, `the number of events for the id ${JSON.stringify(ODD_IDS[i])}`);
      }
    },
  },
  {
    name: "the empty id is a topic of its own, and no id at all is every id",
    requires: ({ patterns }) => patterns !== "none",
    async run(harness) {
      const { near, far } = await harness.open();
      const empty = await near.subscribe("test.id", "");
      const every = await near.subscribe("test.id");
      await known(harness, near, far);
      for (const id of ["a", "", "b", ""]) await far.publish("test.id", id, id);
      await far.publish("test.id", "", "last");
      equal(await take(every, 5), ["a", "", "b", "", "last"]);
      equal(await take(empty, 3), ["", "", "last"]);
    },
    otherwise: {
      name: "a subscription to every id is refused with UNSUPPORTED",
      async run(harness) {
        const { near } = await harness.open();
        await rejects(near.subscribe("test.id"), "UNSUPPORTED");
      },
    },
  },
  {
    name: "a pattern lets through what it matches, and nothing else",
    requires: ({ patterns }) => patterns !== "none",
    async run(harness) {
      const { near, far } = await harness.open();
      const types = ["test", "test.a", "test.b", "test.a.x", "test.a.y.z", "other.a", "testing", "test.A"];
      const wanted: Readonly<Record<string, readonly string[]>> = {
        "test.*": ["test.a", "test.b", "test.A"],
        "test.**": ["test", "test.a", "test.b", "test.a.x", "test.a.y.z", "test.A"],
        "test.*.x": ["test.a.x"],
        "*.a": ["test.a", "other.a"],
        "test.a.**": ["test.a", "test.a.x", "test.a.y.z"],
        "*": ["test", "testing"],
        "**": types,
      };
      const subscriptions = await Promise.all(Object.keys(wanted).map((pattern) => near.subscribe(pattern)));
      await known(harness, near, far);
      for (const type of types) await far.publish(type, "1", type);
      for (const [i, [pattern, matching]] of Object.entries(wanted).entries()) {
        const events = subscriptions[i];
        if (events === undefined) continue;
        equal(sorted(await take(events, matching.length)), sorted(matching), `what ${pattern} let through`);
        if (harness.supports.subscribeAck)
          equal(events.received, matching.length, `the number of events that ${pattern} let through`);
      }
    },
    otherwise: {
      name: "a pattern is refused with UNSUPPORTED",
      async run(harness) {
        const { near } = await harness.open();
        for (const pattern of ["test.*", "test.**", "**", "*"]) {
          await rejects(near.subscribe(pattern), "UNSUPPORTED");
          await rejects(near.subscribe(pattern, "1"), "UNSUPPORTED");
          await rejects(
            near.on(pattern, () => undefined),
            "UNSUPPORTED",
          );
        }
      },
    },
  },
  {
    name: "a pattern with an id lets through what matches both",
    requires: ({ patterns }) => patterns !== "none",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await near.subscribe("test.*", "1");
      await known(harness, near, far);
      for (const [type, id] of [
        ["test.a", "1"],
        ["test.a", "2"],
        ["test.a", ""],
        ["other.a", "1"],
        ["test.b", "1"],
      ] as const)
        await far.publish(type, id, `${type}:${id}`);
      equal(sorted(await take(events, 2)), ["test.a:1", "test.b:1"]);
      equal(events.received, 2, "the number of events");
    },
  },
  {
    name: "a payload arrives unchanged, whatever JSON it is",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await near.subscribe("test.payload", "");
      await known(harness, near, far);
      const payloads = payloadsFor(harness);
      for (const payload of payloads) await far.publish("test.payload", "", payload);
      for (const payload of payloads) equal((await nextEvent(events)).payload, payload);
    },
  },
  {
    name: "a payload arrives unchanged from the near end to the far",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await far.subscribe("test.payload", "");
      await known(harness, near, far);
      const payloads = payloadsFor(harness);
      for (const payload of payloads) await near.publish("test.payload", "", payload);
      for (const payload of payloads) equal((await nextEvent(events)).payload, payload);
    },
  },
  {
    name: "a type or id that cannot be a topic is refused with INVALID_TOPIC, and sends nothing",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await near.subscribe("test.valid", "");
      await known(harness, near, far);
      for (const type of BAD_TYPES) await rejects(near.publish(type, "", 1), "INVALID_TOPIC");
      for (const type of BAD_PATTERNS) {
        await rejects(near.subscribe(type, ""), "INVALID_TOPIC");
        await rejects(
          near.on(type, "", () => undefined),
          "INVALID_TOPIC",
        );
      }
      await rejects(near.publish("test.valid", "x".repeat(1025), 1), "INVALID_TOPIC");
      await rejects(near.subscribe("test.valid", "😀".repeat(257)), "INVALID_TOPIC");
      await far.publish("test.valid", "", "last");
      equal(await take(events, 1), ["last"]);
    },
  },
  {
    name: "undefined is no payload",
    async run(harness) {
      const { near } = await harness.open();
      await rejects(near.publish("test.payload", "", undefined), "PAYLOAD");
    },
  },
  {
    name: "a payload that cannot be carried rejects alone in a burst",
    needs: ["serialises"],
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await far.subscribe("test.payload", "");
      await known(harness, near, far);
      const results = await Promise.allSettled(
        [0, () => 1, 2, Symbol("no"), 4].map((payload) => near.publish("test.payload", "", payload)),
      );
      for (const [i, result] of results.entries()) {
        if (result.status === "rejected") isError(result.reason, "PAYLOAD");
        equal(result.status, i % 2 === 0 ? "fulfilled" : "rejected", `what became of publish ${i}`);
      }
      await near.publish("test.payload", "", 5);
      equal(await take(events, 4), [0, 2, 4, 5]);
    },
  },
  {
    name: "an event that is too large is refused with its size and the limit, and stops no other",
    requires: ({ maxPayload }) => maxPayload !== undefined,
    async run(harness) {
      const { near, far } = await harness.open();
      const limit = harness.supports.maxPayload ?? 0;
      const events = await far.subscribe("test.large", "");
      await known(harness, near, far);
      const large = near.publish("test.large", "", "x".repeat(limit + 1));
      const small = near.publish("test.large", "", "small");
      const { message } = await rejects(large, "PAYLOAD");
      assert(message.includes(String(limit)), `the message does not name the limit: ${message}`);
      assert(/\d+ bytes/.test(message), `the message does not name the size: ${message}`);
      await small;
      equal(await take(events, 1), ["small"]);
    },
  },
  {
    name: "an event that just fits is carried",
    requires: ({ maxPayload }) => maxPayload !== undefined,
    async run(harness) {
      const { near, far } = await harness.open();
      const limit = harness.supports.maxPayload ?? 0;
      const around = JSON.stringify({
        type: "test.large",
        id: "",
        payload: "",
        meta: { origin: "0".repeat(32) },
      }).length;
      const events = await far.subscribe("test.large", "");
      await known(harness, near, far);
      await near.publish("test.large", "", "x".repeat(limit - around));
      const [payload] = await take(events, 1);
      equal((payload as string).length, limit - around, "the length");
    },
  },
];

/** Order is per topic; what comes of several is compared in no order. */
function sorted(texts: readonly unknown[]): string[] {
  return texts.map(String).sort();
}

function payloadsFor({ supports: { maxPayload = Infinity } }: Harness): readonly unknown[] {
  return PAYLOADS.filter((payload) => JSON.stringify(payload).length * 3 + 200 < maxPayload);
}
