/**
 * How fused operators read a source that has items ready, without a promise an item.
 *
 * A source that buffers (a `Subscription`, a fused pipeline) may carry this method. The reader calls it as often as it
 * likes, from one consumer only, and never while a `next()` of the same source is pending. It must not throw.
 */
export const poll: unique symbol = Symbol.for("@alkdev/pubsub.poll") as never;

/** What a poll returns when nothing can be had at once. A registered symbol, so that two copies of the library agree. */
export const NOTHING: unique symbol = Symbol.for("@alkdev/pubsub.nothing") as never;

/**
 * How a Subscription hands the gaps that its consumer comes to to someone else than `onGap`: in their place, between the
 * event before and the one after. Not where `onGap` is `'ignore'`; a function is called as well.
 */
export const gapsTo: unique symbol = Symbol.for("@alkdev/pubsub.gapsTo") as never;

/** A source that can be read without waiting. */
export interface Pollable<T> extends AsyncIterator<T, undefined> {
  /**
   * The next item if it is ready, else `NOTHING`. `NOTHING` does not say why: the buffer may be empty, the source may
   * have ended or failed, or a gap may stand at the head. The reader then calls `next()`, which tells.
   */
  [poll](): T | typeof NOTHING;
}
