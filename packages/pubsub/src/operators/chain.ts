import { closeAll, open } from "./fuse.ts";
import type { ItemOf, Pipeline } from "./fuse.ts";
import { nest } from "./nest.ts";

/**
 * Gives the items of several sources, one source after another.
 *
 * A source is opened when its turn has come. When the chain is left or one of its sources fails, those that are open already
 * (subscriptions, generators, pipelines, whatever is its own iterator) are closed, read or not; others were never opened.
 *
 * @example
 * for await (const event of chain(history(), subscription)) show(event);
 */
export function chain<T extends readonly AsyncIterable<unknown>[]>(...sources: T): Pipeline<ItemOf<T[number]>> {
  const rest = [...sources];
  const outermost: Iterator<AsyncIterable<unknown>, undefined> = {
    next() {
      const value = rest.shift();
      return value === undefined ? { value, done: true } : { value, done: false };
    },
    return() {
      // A promise of a subscription is on its way to be open.
      const opened = rest.splice(0).filter((source) => "next" in source || "then" in source);
      return closeAll(opened.map((source) => open(source))) as never;
    },
  };
  return nest(outermost, (value, level) => (level === 1 ? open(value as AsyncIterable<unknown>) : undefined));
}
