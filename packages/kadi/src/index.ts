/**
 * @module A KADI broker.
 */
export { createKadiBroker } from "./broker.ts";
export type {
  Applicant,
  KadiBroker,
  KadiBrokerLimits,
  KadiBrokerOptions,
  KadiBrokerStatus,
  KadiMcpOptions,
} from "./broker-api.ts";
