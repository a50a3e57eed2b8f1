import { PubSubError } from "@alkdev/pubsub";

/** Why a module that stands on MCP's SDK cannot be loaded. @throws PubSubError `UNSUPPORTED`, or what it is otherwise */
export function withoutSdk(cause: unknown): never {
  if ((cause as { code?: unknown }).code !== "ERR_MODULE_NOT_FOUND") throw cause;
  throw new PubSubError(
    "UNSUPPORTED",
    "MCP needs the package @modelcontextprotocol/sdk, which was left out. Install it: npm install @modelcontextprotocol/sdk.",
    { cause },
  );
}
