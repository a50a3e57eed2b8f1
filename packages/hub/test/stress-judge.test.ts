// What the judge of the stress tests finds: each kind of broken promise, and a real loss.
import { describe, expect, test } from "vitest";
import { Journal, verdict } from "./fixtures/stress-bed.ts";
import type { Bed } from "./fixtures/stress-bed.ts";
import { runFault } from "./fixtures/stress-cells.ts";

/** Journals of two ends that kept every promise: ten events each way, the other side heard after the first two. */
const A = ['s "ready"', 'p "" 0 1', 'e "b1" 0 9', 'p "" 2 9', 'o "done" 0 9', 'f ""', 'x "done"', LEFT(0), "z 0"];
const B = ['s "ready"', 'e "a1" 0 1', 'p "" 0 9', 'o "done" 0 9', 'e "a1" 2 9', 'f ""', 'x "done"', LEFT(0), "z 0"];

function LEFT(timers: number): string {
  return `l {"timers":${timers},"pending":0,"listeners":0}`;
}

const GAP = 'g {"reason":"reconnect","since":0,"until":0,"lost":"unknown"}';

function judged(a: readonly string[], b: readonly string[], brokered = false): readonly string[] {
  const journals = [new Journal("a1", `${a.join("\n")}\n`), new Journal("b1", `${b.join("\n")}\n`)];
  return verdict(journals, brokered).problems;
}

/** B with other lines in the place of one. */
function but(line: string, ...others: string[]): string[] {
  return B.flatMap((each) => (each === line ? others : [each]));
}

describe("the judge of the stress tests", () => {
  test("finds nothing where every promise was kept", () => {
    expect(judged(A, B)).toEqual([]);
  });

  test("finds an accepted event that did not come", () => {
    expect(judged(A, but('e "a1" 2 9', 'e "a1" 2 4', 'e "a1" 6 9'))).toEqual([
      "b1 of a1: 5 is missing and no gap stands there",
    ]);
    expect(judged(A, but('e "a1" 2 9', 'e "a1" 2 8'))).toEqual(["b1 of a1: 9 is missing and no gap stands there"]);
  });

  test("accepts it inside a gap, and nowhere else", () => {
    expect(judged(A, but('e "a1" 2 9', 'e "a1" 2 4', GAP, 'e "a1" 6 9'))).toEqual([]);
    expect(judged(A, but('e "a1" 2 9', GAP, 'e "a1" 2 4', 'e "a1" 6 9'))).toHaveLength(1);
  });

  test("finds what came twice, or in another order", () => {
    expect(judged(A, but('e "a1" 2 9', 'e "a1" 2 9', 'e "a1" 9 9'))).toEqual(["b1 of a1: 9 after 9"]);
    expect(judged(A, but('e "a1" 2 9', 'e "a1" 3 3', 'e "a1" 2 2', 'e "a1" 4 9'))).toEqual(
      expect.arrayContaining(["b1 of a1: 2 after 3"]),
    );
  });

  test("finds a publish that never settled, unless its publisher was killed", () => {
    expect(judged(A, but('o "done" 0 9', 'o "done" 0 8'))).toEqual(["a1 of b1: 9 was undefined"]);
    const killed = B.slice(0, 3);
    expect(judged([...A.slice(0, 3), ...A.slice(5)], killed)).toEqual([
      "b1 of a1: 0 was undefined",
      "b1 of a1: 1 was undefined",
    ]);
    expect(judged(A.slice(0, 2), B.slice(0, 2))).toEqual([]);
  });

  test("finds what one that was killed did not get, though its receipt was acknowledged", () => {
    const publisher = [
      's "ready"',
      'p "" 0 1',
      'e "b1" 0 0',
      'p "" 2 4',
      'o "done" 0 4',
      's "interrupted"',
      ...A.slice(5),
    ];
    expect(judged(publisher, ['p "" 0 0', 'e "a1" 0 3'])).toEqual(["b1 of a1: 4 is missing and no gap stands there"]);
    // Through a hub nobody said that it had it.
    expect(judged(publisher, ['p "" 0 0', 'e "a1" 0 3'], true)).toEqual([]);
    expect(judged(publisher, ['p "" 0 0', 'e "a1" 0 2', 'e "a1" 4 4'], true)).toHaveLength(1);
  });

  test("finds rejections without a reason that a fault could give", () => {
    expect(judged(A, but('o "done" 0 9', 'o "done" 0 8', 'o "REFUSED" 9 9'))).toEqual(["a1 of b1: 9 was REFUSED"]);
  });

  test("finds what is left over, what nobody handled, and a process that failed", () => {
    expect(judged(A, but(LEFT(0), LEFT(1)))).toHaveLength(1);
    expect(judged(A, but(LEFT(0)))).toEqual(["b1 did not let go"]);
    expect(judged(A, but("z 0", 'u "unhandledRejection: no"', "z 1"))).toEqual([
      "b1: unhandledRejection: no",
      "b1 exited with 1",
    ]);
  });
});

test("a link without acknowledgements loses what a stopped and killed child did not read, and the judge sees it: the control", async () => {
  const link = { kind: "stdio", reattach: false, plain: true } as const;
  const frozenAndKilled = {
    title: "stopped, and killed without having gone on",
    async apply(this: void, bed: Bed) {
      const [{ end: child }, { end: owner, look }] = [await bed.live("b"), await bed.live("a")];
      child.signal("SIGSTOP");
      await bed.until(async () => (await owner.look()).published > look.published + 500, "500 events more");
      child.signal("SIGKILL");
      return 1;
    },
  };
  const { problems } = await runFault(link, frozenAndKilled, "ends", { events: 300, milliseconds: 0, pause: 10 });
  expect(problems.join()).toMatch(/b1 of a1: \d+ is missing and no gap stands there/);
});
