// Publishes events of its own, and calls an ability that it has loaded natively, which publishes others.
import { fileURLToPath } from "node:url";
import { KadiClient, z } from "@alkdev/kadi";

const client = new KadiClient({ name: "relay", version: "1.0.0", role: "ability", transport: "stdio" });
const echo = await client.loadNative("echo-js", { path: fileURLToPath(new URL("../echo-js", import.meta.url)) });

client.registerTool(
  { name: "relay", description: "Lets echo-js say it", input: z.object({ message: z.string() }) },
  async ({ message }) => {
    await client.publishEvent("relay.begun", { message });
    const { length } = await echo.invoke("echo", { message });
    await client.publishEvent("relay.done", { length });
    // What a handler prints goes to the parent's standard error, and breaks nothing.
    console.log(`relayed ${length} characters`);
    return { length };
  },
);

await client.serve();
