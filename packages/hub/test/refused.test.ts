import { createServer } from "node:net";
import type { AddressInfo, LookupFunction } from "node:net";
import { createHubEventTarget } from "@alkdev/hub";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import type { ClientOptions } from "ws";

/** A host name that stands for two addresses, the way localhost often does. */
class OfTwoAddresses extends WebSocket {
  constructor(url: string) {
    super(url, { autoSelectFamily: true, lookup: bothLoopbacks } as ClientOptions);
  }
}

const bothLoopbacks: LookupFunction = (_host, _options, done) =>
  done(null, [
    { address: "::1", family: 6 },
    { address: "127.0.0.1", family: 4 },
  ]);

test("why a host with several addresses could not be reached is said, although the error has no message", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const target = createHubEventTarget(`ws://localhost:${port}`, {
    firstAttempts: 1,
    WebSocket: OfTwoAddresses,
  });
  const cause = await new Promise<unknown>((resolve) => {
    target.onStatus((status, cause) => {
      if (status === "closed") resolve(cause);
    });
  });
  // Where there is no IPv6 the first address is not refused but unreachable.
  expect(String(cause)).toMatch(/closed with code 1006: E[A-Z]+\)/);
});
