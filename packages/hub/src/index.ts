/**
 * @module A hub where links meet, its WebSocket server, and the client that reconnects.
 */
export { createHub } from "./hub.ts";
export type {
  ConnectOptions,
  Hub,
  HubLimits,
  HubLink,
  HubLinkStatus,
  HubOptions,
  HubStatus,
  Taker,
} from "./hub-api.ts";
export type { EventRouteOptions } from "./event-route.ts";
export { createHubServer } from "./server.ts";
export type { HubServer, HubServerOptions } from "./server.ts";
export { createHubEventTarget } from "./client-node.ts";
export type { Backoff, HubEventTargetOptions, WebSocketClass } from "./client-node.ts";
export { createEventStreams } from "./event-streams.ts";
export type {
  EventStreamLimits,
  EventStreams,
  EventStreamsOptions,
  EventStreamsStatus,
  OpenStreamOptions,
} from "./event-streams.ts";
export type { Grant, Granted } from "./grants.ts";
