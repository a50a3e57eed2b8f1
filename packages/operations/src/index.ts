/**
 * @module Calls and streams over any PubSub: each request is carried out once, and no call hangs.
 */
export { createOperations } from "./operations.ts";
export { OperationError } from "./errors.ts";
export type { OperationErrorCode } from "./errors.ts";
export type { CallEvents, Identity, Requested } from "./events.ts";
export type {
  AnyContract,
  CallContext,
  Caller,
  CallNames,
  CallOptions,
  Contract,
  Handler,
  HandleOptions,
  OperationLimits,
  OperationNames,
  Operations,
  OperationsOptions,
  OperationStream,
  StreamNames,
  StreamOptions,
} from "./operations-api.ts";
export type { Issue, JsonSchema, OperationSchema } from "./schema.ts";
export { createRouter } from "./router.ts";
export type {
  JoinOptions,
  RoutedHub,
  RoutedLink,
  RoutedOperation,
  Router,
  RouterConnectOptions,
  RouterLimits,
  RouterOptions,
  RouterSpoke,
  RouterStatus,
} from "./router-api.ts";
