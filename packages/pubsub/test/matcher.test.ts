// The index of filters, held against asking every filter in turn.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Matcher } from "../src/matcher.ts";
import type { Entry } from "../src/matcher.ts";
import { matchesFilter } from "../src/topic.ts";

const entry = (type: string, id?: string): Entry => ({ type, id, active: false, order: 0 });

function found(matcher: Matcher<Entry>, type: string, id: string): Entry[] {
  const hit = matcher.match(type, id);
  if (hit === undefined) return [];
  return (Array.isArray(hit) ? (hit as Entry[]) : [hit as Entry]).filter(({ active }) => active);
}

const token = fc.constantFrom("a", "b", "c");
const typeOf = fc.array(token, { minLength: 1, maxLength: 4 }).map((tokens) => tokens.join("."));
const patternOf = fc
  .tuple(fc.array(fc.oneof(token, fc.constant("*")), { maxLength: 3 }), fc.constantFrom([], ["**"], ["a"], ["*"]))
  .map(([tokens, end]) => [...tokens, ...end].join("."))
  .filter((pattern) => pattern !== "");
const idOf = fc.constantFrom("", "1", "2", "__proto__");

type Command =
  | { readonly do: "add"; readonly type: string; readonly id: string | undefined }
  | { readonly do: "delete"; readonly at: number }
  | { readonly do: "match"; readonly type: string; readonly id: string };

const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ do: fc.constant("add" as const), type: patternOf, id: fc.option(idOf, { nil: undefined }) }),
  fc.record({ do: fc.constant("delete" as const), at: fc.nat() }),
  { weight: 2, arbitrary: fc.record({ do: fc.constant("match" as const), type: typeOf, id: idOf }) },
);

describe("the matcher", () => {
  test("finds what asking every filter finds, in the order of adding, through any adding and deleting", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 120 }), (commands) => {
        const matcher = new Matcher<Entry>();
        const held: Entry[] = [];
        for (const command of commands)
          if (command.do === "add") {
            const added = entry(command.type, command.id);
            matcher.add(added);
            held.push(added);
          } else if (command.do === "delete") {
            const [gone] = held.splice(command.at % (held.length || 1), 1);
            if (gone === undefined) continue;
            matcher.delete(gone);
            expect(gone.active).toBe(false);
          } else {
            const envelope = { type: command.type, id: command.id, payload: null };
            const expected = held.filter((filter) => matchesFilter(filter, envelope));
            expect(found(matcher, command.type, command.id)).toEqual(expected);
          }
        expect(new Set(matcher.entries())).toEqual(new Set(held));
        for (const gone of held) matcher.delete(gone);
        expect([...matcher.entries()]).toEqual([]);
        expect(matcher.match("a", "")).toBeUndefined();
      }),
      { numRuns: 2000 },
    );
  });

  test("keeps the order of adding among many filters that match alike", () => {
    const shapes: [string, string?][] = [["a.b", "1"], ["a.b"], ["a.*"], ["a.**", "1"], ["*.b"], ["**"]];
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 5 }), { minLength: 12, maxLength: 60 }), fc.array(fc.nat()), (kinds, gone) => {
        const matcher = new Matcher<Entry>();
        const held = kinds.map((kind) => entry(...(shapes.at(kind) as [string, string?])));
        for (const each of held) matcher.add(each);
        expect(found(matcher, "a.b", "1")).toEqual(held);
        for (const n of gone) {
          if (held.length === 0) break;
          // Deleted, and every other one added again at the end.
          const [each] = held.splice(n % held.length, 1) as [Entry];
          matcher.delete(each);
          if (n % 2 === 0) held.push(each);
          if (n % 2 === 0) matcher.add(each);
          expect(found(matcher, "a.b", "1")).toEqual(held);
        }
      }),
    );
  });

  test("counts a filter once for each time it was added", () => {
    const matcher = new Matcher<Entry>();
    const [first, second] = [entry("a", "1"), entry("a", "1")] as const;
    matcher.add(first);
    matcher.add(second);
    expect(found(matcher, "a", "1")).toEqual([first, second]);
    matcher.delete(first);
    matcher.delete(first);
    expect(found(matcher, "a", "1")).toEqual([second]);
  });

  test("moves an entry that is added again to the end", () => {
    const matcher = new Matcher<Entry>();
    const [first, second] = [entry("a", "1"), entry("*", "1")] as const;
    matcher.add(first);
    matcher.add(second);
    matcher.delete(first);
    matcher.add(first);
    expect(found(matcher, "a", "1")).toEqual([second, first]);
  });

  test("does nothing for an entry that it does not hold", () => {
    const matcher = new Matcher<Entry>();
    matcher.delete(entry("a", "1"));
    matcher.delete(entry("a.*"));
    expect([...matcher.entries()]).toEqual([]);
  });

  test.each(["a", "a.*", "a.**"])(
    "leaves a list that is being read as it was when %s comes and goes, but for the flags",
    (pattern) => {
      const matcher = new Matcher<Entry>();
      const before = [entry(pattern), entry(pattern), entry(pattern)];
      for (const each of before) matcher.add(each);
      const type = pattern === "a" ? "a" : "a.b";
      const list = matcher.match(type, "") as readonly Entry[];
      const read = list.length;
      matcher.add(entry(pattern));
      for (const each of before) matcher.delete(each);
      expect(list.slice(0, read)).toEqual(before);
      expect(found(matcher, type, "")).toHaveLength(1);
    },
  );

  test("answers right for more types and ids than it remembers", () => {
    const matcher = new Matcher<Entry>();
    const wide = entry("t.*");
    matcher.add(wide);
    const exact = Array.from({ length: 3000 }, (_, i) => entry("t.x", String(i)));
    for (const each of exact) matcher.add(each);
    for (let round = 0; round < 2; round++) {
      for (const each of exact) expect(found(matcher, "t.x", each.id!)).toEqual([wide, each]);
      for (let i = 0; i < 10_000; i++) expect(found(matcher, `t.${i}`, "")).toEqual([wide]);
    }
    for (const each of exact) matcher.delete(each);
    for (const each of exact) expect(found(matcher, "t.x", each.id!)).toEqual([wide]);
  });

  test("matches types that are names of what every object has", () => {
    const matcher = new Matcher<Entry>();
    const odd = entry("__proto__.constructor", "__proto__");
    matcher.add(odd);
    expect(found(matcher, "__proto__.constructor", "__proto__")).toEqual([odd]);
    expect(found(matcher, "constructor", "toString")).toEqual([]);
  });
});
