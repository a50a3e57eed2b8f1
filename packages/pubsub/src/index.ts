/**
 * @module Typed events, published once, reach every subscriber through any transport, and a loss is never silent.
 */
export { createPubSub } from "./pubsub.ts";
export type { Listener, ListenOptions, PubSub, PubSubOptions, SubscribeOptions } from "./api.ts";
export type { PendingSubscription, Subscription } from "./subscription.ts";
export type { BufferOptions, OnGap } from "./queue.ts";
export type { EnvelopeMeta, EventEnvelope, PubSubEventMap, TypedEvent, TypedEventTarget } from "./envelope.ts";
export { isEnvelope, parseEnvelope } from "./envelope.ts";
export { bridge } from "./bridge.ts";
export type { Bridge, BridgeOptions } from "./bridge.ts";
export type { SchemaInputs, SchemaOutputs, Schemas, StandardIssue, StandardResult, StandardSchema } from "./schema.ts";
export type { Sequence } from "./sequence.ts";
export { InvalidTopicError, PayloadError, PubSubError } from "./errors.ts";
export type { PubSubErrorCode } from "./errors.ts";
export type { EnvelopeFor, EventTypes, MatchingTypes } from "./types.ts";
export type { Filter, Gap, Status, Supports } from "./transport.ts";
export * from "./operators/index.ts";
