/**
 * @module A KADI client and a KADI broker.
 */
export { KadiClient } from "./client.ts";
export type {
  BrokerAddress,
  EventCallback,
  EventLoss,
  KadiClientOptions,
  KadiEvent,
  LoadBrokerOptions,
  LoadedAbility,
  LoadNativeOptions,
  LoadStdioOptions,
  PublishEventOptions,
  SubscribeToEventOptions,
  ToolCallOptions,
  ToolContext,
  ToolDefinition,
  ToolDescription,
  ToolHandler,
  ToolOptions,
  TransportName,
} from "./client-api.ts";
export { OperationError } from "@alkdev/operations";
export { z } from "zod";
export { createKadiBroker } from "./broker.ts";
export type {
  Applicant,
  KadiBroker,
  KadiBrokerLimits,
  KadiBrokerOptions,
  KadiBrokerStatus,
  KadiMcpOptions,
} from "./broker-api.ts";
