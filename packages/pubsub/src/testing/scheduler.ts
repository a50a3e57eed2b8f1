// Who decides when a message arrives. The in-memory transport gives every message, acknowledgement and answer to a lane;
// the scheduler decides which lane goes next, and never changes the order within one.
import { Ring } from "../ring.ts";

/** One direction of one connection: what is posted runs in order, each exactly once, unless the lane is cut. */
export interface Lane {
  /** Adds a step at the end. Does nothing once the lane is cut. */
  post(step: () => void): void;
  /** Holds every step back, those posted later too. */
  freeze(): void;
  /** Lets steps run again. */
  thaw(): void;
  /** Drops every step that has not run, and all that are posted later. */
  cut(): void;
}

/** Makes lanes. `delay`: milliseconds that each step of the lane takes longer; a seeded scheduler knows no time. */
export interface Scheduler {
  lane(delay?: number): Lane;
  /** A whole number from 0 up to, not including, `below`; it follows from the seed, where there is one. */
  random(below: number): number;
}

/** A scheduler that runs nothing by itself: whoever holds it takes the steps, in an order that the seed decides. */
export interface SeededScheduler extends Scheduler {
  /** Runs the first step of some lane; false where every lane is empty or frozen. */
  step(): boolean;
  /** Whether no step can be taken. */
  readonly idle: boolean;
}

/**
 * Numbers that look random and repeat with their seed (mulberry32).
 *
 * @returns a function that gives a whole number from 0 up to, not including, `below`
 */
export function createRandom(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) % below) | 0;
  };
}

/** A scheduler whose every choice follows from a whole number, so that a schedule can be repeated. */
export function createSeededScheduler(seed: number): SeededScheduler {
  const random = createRandom(seed);
  const lanes = new Set<SeededLane>();
  return {
    lane: () => new SeededLane(lanes),
    step() {
      const open = [...lanes].filter((lane) => !lane.frozen);
      if (open.length === 0) return false;
      open[random(open.length)]?.run();
      return true;
    },
    get idle() {
      for (const lane of lanes) if (!lane.frozen) return false;
      return true;
    },
    random,
  };
}

/** Steps run by themselves, each in a microtask of its own; where the lane has a delay, in a timer. */
export function createFreeScheduler(): Scheduler {
  return { lane: (delay = 0) => new FreeLane(delay), random: createRandom(1) };
}

class SeededLane implements Lane {
  frozen = false;
  /** The lanes that hold steps, this one among them while it does. */
  readonly #lanes: Set<SeededLane>;
  readonly #steps = new Ring<() => void>();
  #over = false;

  constructor(lanes: Set<SeededLane>) {
    this.#lanes = lanes;
  }

  post(step: () => void): void {
    if (this.#over) return;
    this.#steps.push(step);
    this.#lanes.add(this);
  }

  run(): void {
    const step = this.#steps.shift();
    if (this.#steps.size === 0) this.#lanes.delete(this);
    step?.();
  }

  freeze(): void {
    this.frozen = true;
  }

  thaw(): void {
    this.frozen = false;
  }

  cut(): void {
    this.#over = true;
    this.#steps.clear();
    this.#lanes.delete(this);
  }
}

class FreeLane implements Lane {
  readonly #delay: number;
  readonly #steps = new Ring<() => void>();
  #frozen = false;
  #over = false;

  constructor(delay: number) {
    this.#delay = delay;
  }

  post(step: () => void): void {
    if (this.#over) return;
    this.#steps.push(step);
    this.#schedule();
  }

  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    if (!this.#frozen) return;
    this.#frozen = false;
    for (let i = this.#steps.size; i > 0; i--) this.#schedule();
  }

  cut(): void {
    this.#over = true;
    this.#steps.clear();
  }

  // One turn a step: timers of one length end in the order they began, and so do microtasks.
  #schedule(): void {
    if (this.#delay > 0) setTimeout(this.#run, this.#delay);
    else queueMicrotask(this.#run);
  }

  readonly #run = (): void => {
    if (!this.#frozen) this.#steps.shift()?.();
  };
}
