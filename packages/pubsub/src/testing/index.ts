/**
 * @module Everything that a transport is held to: a broker in memory that can promise or break any promise, a model of
 * what subscribers must see, and the conformance suite as data for any test runner.
 */
export { createMemoryBroker, createMemoryTransport } from "./memory.ts";
export type {
  MemoryBroker,
  MemoryBrokerOptions,
  MemoryTransport,
  MemoryTransportOptions,
  Resumption,
} from "./memory.ts";
export { createFreeScheduler, createRandom, createSeededScheduler } from "./scheduler.ts";
export type { Lane, Scheduler, SeededScheduler } from "./scheduler.ts";
export { Model } from "./model.ts";
export type { Publication, Seen, TroubleKind, Watched } from "./model.ts";
export { conformanceOf, suite } from "./suite.ts";
export { AssertionError } from "./assert.ts";
export type { Conformance, End, Ends, EndSubscription, Feature, Harness, OpenOptions, RawPeer } from "./harness.ts";
