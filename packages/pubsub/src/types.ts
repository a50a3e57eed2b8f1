import type { EventEnvelope } from "./envelope.ts";

/** The event types of a map. */
export type EventTypes<TMap extends object> = keyof TMap & string;

type Tokens<T extends string> = T extends `${infer Head}.${infer Rest}` ? [Head, ...Tokens<Rest>] : [T];

type TokensMatch<TTokens extends unknown[], TPattern extends unknown[]> = TPattern extends ["**"]
  ? true
  : TPattern extends [infer P, ...infer PRest]
    ? TTokens extends [infer T, ...infer TRest]
      ? P extends "*" | T
        ? TokensMatch<TRest, PRest>
        : false
      : false
    : TTokens extends []
      ? true
      : false;

/** Whether a string is not known to the letter (`string`, or a template with holes), so that it may match anything. */
type IsOpen<T extends string> = {} extends Record<T, true> ? true : false;

/**
 * The event types of a map that a pattern can match; `never` where it matches none.
 *
 * @example
 * type T = MatchingTypes<{ "a.b": 1; "a.c": 2; d: 3 }, "a.*">; // "a.b" | "a.c"
 */
export type MatchingTypes<TMap extends object, TPattern extends string> =
  string extends EventTypes<TMap>
    ? string
    : // Of a union of patterns, each for itself.
      TPattern extends unknown
      ? IsOpen<TPattern> extends true
        ? EventTypes<TMap>
        : {
            [K in EventTypes<TMap>]: TokensMatch<Tokens<K>, Tokens<TPattern>> extends true ? K : never;
          }[EventTypes<TMap>]
      : never;

/** The envelopes that a subscription to a type or pattern can give: a union, discriminated by `type`. */
export type EnvelopeFor<TMap extends object, TPattern extends string> =
  MatchingTypes<TMap, TPattern> extends infer K
    ? K extends EventTypes<TMap>
      ? EventEnvelope<K, TMap[K]>
      : never
    : never;

/** The pattern itself where it can match, else a message in the place where the editor shows it. */
export type ValidPattern<TMap extends object, TPattern extends string> = [MatchingTypes<TMap, TPattern>] extends [never]
  ? `No event type of this PubSub matches ${TPattern}`
  : TPattern;
