// Publish to topics of four tokens, to subscribers of patterns. A contestant: { on(pattern, listener), publish(topic) };
// both are arrays of tokens; in a pattern "*" is one token and a last "**" the rest. `prepare` makes what `publish` takes.
import { random, rate } from "../measure.mjs";

const IDS = 5000;
const TOPICS = 1 << 16;
const CHECKED = 200;

const contestants = {
  ours: {
    label: "@alkdev/pubsub",
    note: "the second token as the id",
    async make() {
      const { createPubSub } = await import("@alkdev/pubsub");
      const pubsub = createPubSub();
      return {
        on: ([first, id, ...rest], listener) =>
          id === "**"
            ? pubsub.on(`${first}.**`, listener)
            : pubsub.on([first, ...rest].join("."), id === "*" ? undefined : id, listener),
        prepare: ([first, id, ...rest]) => ({ type: [first, ...rest].join("."), id }),
        publish: (topic) => void pubsub.publish(topic.type, topic.id, 1),
      };
    },
  },
  oursTokens: {
    label: "@alkdev/pubsub, all tokens in the type",
    async make() {
      const { createPubSub } = await import("@alkdev/pubsub");
      const pubsub = createPubSub();
      return {
        on: (pattern, listener) => pubsub.on(pattern.join("."), listener),
        prepare: (topic) => topic.join("."),
        publish: (topic) => void pubsub.publish(topic, "", 1),
      };
    },
  },
  eventemitter2: {
    package: "eventemitter2",
    async make() {
      const { default: emitter2 } = await import("eventemitter2");
      const emitter = new emitter2.EventEmitter2({ wildcard: true, delimiter: ".", maxListeners: 0 });
      return {
        on: (pattern, listener) => emitter.on(pattern.join("."), listener),
        prepare: (topic) => topic.join("."),
        publish: (topic) => emitter.emit(topic, 1),
      };
    },
  },
  qlobber: {
    package: "qlobber",
    async make() {
      const { Qlobber } = await import("qlobber");
      const matcher = new Qlobber({ separator: ".", wildcard_one: "*", wildcard_some: "**" });
      return {
        on: (pattern, listener) => matcher.add(pattern.join("."), listener),
        prepare: (topic) => topic.join("."),
        publish(topic) {
          for (const listener of matcher.match(topic)) listener(1);
        },
      };
    },
  },
  limit: {
    label: "limit: a trie and the last 1,024 results, nothing checked",
    make() {
      const newNode = () => ({ next: new Map(), any: undefined, rest: [], here: [] });
      const root = newNode();
      const known = new Map();
      const collect = (node, tokens, at, found) => {
        found.push(...node.rest);
        if (at === tokens.length) {
          found.push(...node.here);
          return;
        }
        if (node.any !== undefined) collect(node.any, tokens, at + 1, found);
        const next = node.next.get(tokens[at]);
        if (next !== undefined) collect(next, tokens, at + 1, found);
      };
      return {
        on(pattern, listener) {
          let node = root;
          for (const token of pattern) {
            if (token === "**") {
              node.rest.push(listener);
              return;
            }
            let next = token === "*" ? node.any : node.next.get(token);
            if (next === undefined) {
              next = newNode();
              if (token === "*") node.any = next;
              else node.next.set(token, next);
            }
            node = next;
          }
          node.here.push(listener);
        },
        prepare: (topic) => topic.join("."),
        publish(topic) {
          let found = known.get(topic);
          if (found === undefined) {
            found = [];
            collect(root, topic.split("."), 0, found);
            if (known.size >= 1024) known.clear();
            known.set(topic, found);
          }
          for (let i = 0; i < found.length; i++) found[i](1);
        },
      };
    },
  },
};

const all = ["ours", "oursTokens", "eventemitter2", "qlobber", "limit"];

const scenarios = {
  tenThousand: {
    title: "10,000 patterns, random topics",
    patterns: 10_000,
    contestants: all,
    targets: { eventemitter2: 1, qlobber: 1 },
  },
  hundredThousand: {
    title: "100,000 patterns, random topics",
    patterns: 100_000,
    contestants: all,
    targets: { eventemitter2: 1, qlobber: 1 },
  },
  hot: {
    title: "100,000 patterns, 500 hot topics",
    patterns: 100_000,
    topics: 500,
    contestants: all,
    targets: { eventemitter2: 10, qlobber: 10 },
  },
};

async function measure(make, { patterns, topics = TOPICS }) {
  const next = random(7);
  const below = (count) => Math.floor(next() * count);
  const randomTopic = () => [`type${below(20)}`, `id${below(IDS)}`, `verb${below(20)}`, "abcde"[below(5)]];
  // Half are exact. Four of them, added first, match very much.
  const all = new Map(
    ["type0.**", "*.*.verb1.a", "type1.*.verb2.*", "type3.*.*.e"].map((text) => [text, text.split(".")]),
  );
  while (all.size < patterns) {
    const [type, id, verb, part] = randomTopic();
    const kind = below(100);
    let pattern = [type, id, verb, part];
    if (kind >= 95) pattern = [type, "*", verb, part];
    else if (kind >= 80) pattern = [type, id, "**"];
    else if (kind >= 70) pattern = ["*", id, verb, part];
    else if (kind >= 50) pattern = [type, id, "*", part];
    all.set(pattern.join("."), pattern);
  }
  const list = [...all.values()];
  // Four of five topics have a pattern that was made for them.
  const instance = (pattern) =>
    randomTopic().map((token, i) => {
      const deep = pattern.indexOf("**");
      return (deep >= 0 && i >= deep) || pattern[i] === "*" ? token : pattern[i];
    });
  const some = Array.from({ length: topics }, () =>
    below(5) > 0 ? instance(list[below(list.length)]) : randomTopic(),
  );

  const contestant = await make();
  const prepared = some.map(contestant.prepare);
  const picks = Array.from({ length: TOPICS }, () => prepared[below(topics)]);
  let hits = 0;
  await Promise.all(list.map((pattern) => contestant.on(pattern, () => hits++)));
  for (let i = 0; i < CHECKED; i++) contestant.publish(picks[i]);
  const check = hits;
  let at = 0;
  const value = await rate((count) => {
    for (let i = 0; i < count; i++) contestant.publish(picks[at++ & (TOPICS - 1)]);
  });
  return { value, check };
}

export default {
  about: "Publish to subscribers of patterns, half of them exact; publishes a second, not awaited.",
  unit: "publishes/s",
  contestants,
  scenarios,
  measure,
};
