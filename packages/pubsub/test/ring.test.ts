// The ring behind every buffer, held against an array that does the same.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Ring } from "../src/ring.ts";

type Step = (ring: Ring<number>, array: number[]) => void;

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.nat().map(
      (n): Step =>
        (ring, array) => (ring.push(n), void array.push(n)),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.nat().map(
      (n): Step =>
        (ring, array) => (ring.unshift(n), void array.unshift(n)),
    ),
  },
  {
    weight: 5,
    arbitrary: fc.constant<Step>((ring, array) => expect(ring.shift()).toBe(array.shift())),
  },
  {
    weight: 1,
    arbitrary: fc.constant<Step>((ring, array) => expect(ring.takeAll()).toEqual(array.splice(0))),
  },
  {
    weight: 1,
    arbitrary: fc.constant<Step>((ring, array) => (ring.clear(), void array.splice(0))),
  },
  {
    weight: 1,
    // More than the size from which a ring gives its array back.
    arbitrary: fc.constant<Step>((ring, array) => {
      for (let i = 0; i < 5000; i++) {
        ring.push(i);
        array.push(i);
      }
    }),
  },
  {
    weight: 3,
    arbitrary: fc.integer({ min: -9, max: 9 }).map(
      (i): Step =>
        (ring, array) =>
          expect(ring.at(i)).toBe(array.at(i)),
    ),
  },
);

describe("a ring", () => {
  test("does what an array does, whatever is asked of it", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const ring = new Ring<number>();
        const array: number[] = [];
        for (const step of steps) {
          step(ring, array);
          expect(ring.size).toBe(array.length);
          expect(ring.at(0)).toBe(array[0]);
          expect(ring.at(-1)).toBe(array.at(-1));
        }
        expect(ring.takeAll()).toEqual(array);
      }),
      { numRuns: 300 },
    );
  });

  test("takes everything out in order when it wraps around its end", () => {
    const ring = new Ring<number>();
    for (let i = 0; i < 8; i++) ring.push(i);
    for (let i = 0; i < 5; i++) ring.shift();
    for (let i = 8; i < 13; i++) ring.push(i);
    expect(ring.takeAll()).toEqual([5, 6, 7, 8, 9, 10, 11, 12]);
    expect(ring.size).toBe(0);
    ring.push(1);
    expect(ring.shift()).toBe(1);
  });

  test("of nothing gives nothing", () => {
    const ring = new Ring<number>();
    expect(ring.shift()).toBeUndefined();
    expect(ring.at(0)).toBeUndefined();
    expect(ring.at(-1)).toBeUndefined();
    expect(ring.takeAll()).toEqual([]);
  });

  test("carries undefined as an item", () => {
    const ring = new Ring<undefined>();
    ring.push(undefined);
    ring.push(undefined);
    expect(ring.size).toBe(2);
    ring.shift();
    expect(ring.size).toBe(1);
  });

  test("that is never empty turns a million times without growing", () => {
    const ring = new Ring<number>();
    for (let i = 0; i < 7; i++) ring.push(i);
    for (let i = 7; i < 1_000_000; i++) {
      ring.push(i);
      if (ring.shift() !== i - 7) expect.unreachable(`the item before ${i} is not where it was`);
    }
    expect(ring.takeAll()).toEqual([999_993, 999_994, 999_995, 999_996, 999_997, 999_998, 999_999]);
  });
});
