import { assert, equal, nextEvent, rejects, take } from "../assert.ts";
import type { Conformance } from "../harness.ts";
import { known, live, sequence, window } from "./common.ts";

/** Readiness, order, and who gets what. */
export const delivery: readonly Conformance[] = [
  {
    name: "an event that is published in the instant after subscribe resolved arrives, two hundred times",
    requires: ({ subscribeAck }) => subscribeAck,
    async run(harness) {
      const { near, far } = await harness.open();
      for (let i = 0; i < 200; i++) {
        const events = await near.subscribe("test.ready", `${i}`);
        await far.publish("test.ready", `${i}`, i);
        equal(await take(events, 1), [i]);
        await events.return();
      }
    },
  },
  {
    name: "an event that is published in the instant after subscribe resolved arrives, from the near end to the far",
    requires: ({ subscribeAck }) => subscribeAck,
    async run(harness) {
      const { near, far } = await harness.open();
      for (let i = 0; i < 50; i++) {
        const events = await far.subscribe("test.ready", `${i}`);
        await near.publish("test.ready", `${i}`, i);
        equal(await take(events, 1), [i]);
        await events.return();
      }
    },
  },
  {
    name: "a resolved subscribe is live, also where the subscriber's path is two milliseconds slower",
    requires: ({ subscribeAck }) => subscribeAck,
    needs: ["delays"],
    async run(harness) {
      const { near, far } = await harness.open({ delay: 2 });
      const rounds = Array.from({ length: 100 }, async (_, i) => {
        const events = await near.subscribe("test.ready", `${i}`);
        await far.publish("test.ready", `${i}`, "first");
        await far.publish("test.ready", `${i}`, "second");
        return take(events, 1);
      });
      equal(
        await Promise.all(rounds),
        rounds.map(() => ["first"]),
      );
    },
  },
  {
    name: "without awaiting subscribe, events are lost on a path that is some milliseconds slower (the control)",
    requires: ({ subscribeAck }) => subscribeAck,
    needs: ["delays"],
    async run(harness) {
      // A far end that is told late, as on a busy machine, publishes late too: then it takes a slower path to show it.
      for (const delay of [2, 20, 200]) {
        const { near, far } = await harness.open({ delay });
        const rounds = Array.from({ length: 100 }, async (_, i) => {
          const pending = near.subscribe("test.ready", `${i}`);
          await far.publish("test.ready", `${i}`, "first");
          const events = await pending;
          await far.publish("test.ready", `${i}`, "second");
          return take(events, 1);
        });
        const first = await Promise.all(rounds);
        if (first.flat().includes("second")) return;
      }
      assert(false, "nothing was lost, so the test before this one proves nothing");
    },
  },
  {
    name: "a second subscription of a topic is live when it resolves, also while the first one waits",
    requires: ({ subscribeAck }) => subscribeAck,
    async run(harness) {
      const { near, far } = await harness.open();
      for (let i = 0; i < 20; i++) {
        const first = near.subscribe("test.shared", `${i}`);
        const second = await near.subscribe("test.shared", `${i}`);
        await far.publish("test.shared", `${i}`, i);
        equal(await take(second, 1), [i]);
        equal(await take(await first, 1), [i]);
      }
    },
  },
  {
    name: "a topic that is left and subscribed to again at once is live again when it resolves",
    requires: ({ subscribeAck }) => subscribeAck,
    async run(harness) {
      const { near, far } = await harness.open();
      let events = await near.subscribe("test.again", "");
      for (let i = 0; i < 50; i++) {
        void events.return();
        events = await near.subscribe("test.again", "");
        await far.publish("test.again", "", i);
        equal(await take(events, 1), [i]);
      }
    },
  },
  {
    name: "five thousand events of one topic arrive in the order of publishing",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await live(harness, near, far, "test.order");
      const publishing = window(5000, 500, (i) => far.publish("test.order", "", i));
      equal(await take(events, 5000), sequence(5000), "the order");
      await publishing;
    },
  },
  {
    name: "both ends publish and subscribe at the same time",
    async run(harness) {
      const { near, far } = await harness.open();
      const here = await near.subscribe("test.here", "");
      const there = await far.subscribe("test.there", "");
      await known(harness, near, far);
      const publishing = Promise.all([
        window(500, 100, (i) => far.publish("test.here", "", i)),
        window(500, 100, (i) => near.publish("test.there", "", i)),
      ]);
      equal(await take(here, 500), sequence(500), "what the near end got");
      equal(await take(there, 500), sequence(500), "what the far end got");
      await publishing;
    },
  },
  {
    name: "fifty publishers and fifty subscribers of one topic miss nothing and get nothing twice",
    async run(harness) {
      const { near, far } = await harness.open();
      const subscriptions = await Promise.all(Array.from({ length: 50 }, () => near.subscribe("test.many", "")));
      await known(harness, near, far);
      const publishers = Array.from({ length: 50 }, async (_, publisher) => {
        for (let i = 0; i < 10; i++) await far.publish("test.many", "", [publisher, i]);
      });
      const wanted = Array.from({ length: 500 }, (_, i) => [Math.floor(i / 10), i % 10]);
      for (const events of subscriptions) {
        const seen = (await take(events, 500)) as [number, number][];
        equal(
          seen.sort(([a, b], [c, d]) => a - c || b - d),
          wanted,
        );
      }
      await Promise.all(publishers);
      await far.publish("test.many", "", "last");
      for (const events of subscriptions) equal(await take(events, 1), ["last"], "what follows");
    },
  },
  {
    name: "a hundred topics at once do not mix",
    async run(harness) {
      const { near, far } = await harness.open();
      const subscriptions = await Promise.all(
        Array.from({ length: 100 }, (_, i) => near.subscribe(`test.topic${i % 10}`, `${i}`)),
      );
      await known(harness, near, far);
      await window(1000, 200, (i) => far.publish(`test.topic${i % 10}`, `${i % 100}`, i));
      for (const [i, events] of subscriptions.entries())
        for (let j = 0; j < 10; j++) {
          const { type, id, payload } = await nextEvent(events);
          equal([type, id, payload], [`test.topic${i % 10}`, `${i}`, i + 100 * j]);
        }
    },
  },
  {
    name: "every end gets what any other publishes, its own events included",
    needs: ["more"],
    async run(harness) {
      const { near, far, more = [] } = await harness.open({ more: 2 });
      const ends = [near, far, ...more];
      const subscriptions = await Promise.all(ends.map((end) => end.subscribe("test.everyone", "")));
      await known(harness, near, far);
      for (const [i, end] of ends.entries()) await end.publish("test.everyone", "", i);
      for (const events of subscriptions)
        equal(
          ((await take(events, ends.length)) as number[]).sort((a, b) => a - b),
          sequence(ends.length),
        );
    },
  },
  {
    name: "filters that overlap deliver each event once to each subscription",
    requires: ({ patterns }) => patterns !== "none",
    async run(harness) {
      const { near, far } = await harness.open();
      const subscriptions = await Promise.all([
        near.subscribe("test.a", "1"),
        near.subscribe("test.a", "1"),
        near.subscribe("test.a"),
        near.subscribe("test.*", "1"),
        near.subscribe("test.**"),
        near.subscribe("**"),
      ]);
      await known(harness, near, far);
      for (let i = 0; i < 20; i++) await far.publish("test.a", "1", i);
      for (const events of subscriptions) equal(await take(events, 20), sequence(20));
    },
  },
  {
    name: "a publisher that is subscribed gets its own events, once",
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await near.subscribe("test.own", "");
      await known(harness, near, far);
      for (let i = 0; i < 20; i++) await near.publish("test.own", "", i);
      equal(await take(events, 20), sequence(20));
    },
  },
  {
    name: "a subscription with own: false gets the other end's events alone",
    needs: ["target"],
    async run(harness) {
      const { near, far } = await harness.open();
      const events = await near.subscribe("test.own", "", { own: false });
      await known(harness, near, far);
      for (let i = 0; i < 10; i++) {
        await near.publish("test.own", "", "own");
        await far.publish("test.own", "", i);
      }
      equal(await take(events, 10), sequence(10));
    },
  },
  {
    name: "members of a group share the events",
    requires: ({ groups }) => groups,
    async run(harness) {
      const { near, far } = await harness.open();
      const members = await Promise.all([1, 2, 3].map(() => near.subscribe("test.work", "", { group: "workers" })));
      const everything = await near.subscribe("test.work", "");
      await known(harness, near, far);
      for (let i = 0; i < 30; i++) await far.publish("test.work", "", i);
      equal(await take(everything, 30), sequence(30));
      const shared = (): number => members.reduce((sum, { received }) => sum + received, 0);
      // What is shared may come by another way than what all get.
      while (shared() < 30) await new Promise((resolve) => setTimeout(resolve, 1));
      equal(shared(), 30, "the number of events that members got");
      assert(
        members.every(({ received }) => received > 0),
        "a member was never served",
      );
    },
    otherwise: {
      name: "a group is refused with UNSUPPORTED",
      async run(harness) {
        const { near } = await harness.open();
        await rejects(near.subscribe("test.work", "", { group: "workers" }), "UNSUPPORTED");
        await rejects(
          near.on("test.work", "", () => undefined, { group: "workers" }),
          "UNSUPPORTED",
        );
      },
    },
  },
];
