// Hubs by their URLs: what `openEventTarget` of the library makes of this package's client.
import { inspect } from "node:util";
import { createPubSub, PubSubError } from "@alkdev/pubsub";
import { openEventTarget } from "@alkdev/pubsub/open";
import { expect, onTestFinished, test } from "vitest";
import { Opened } from "../../pubsub/test/fixtures/opened.ts";
import { opens } from "../../pubsub/test/fixtures/opens.ts";
import { openHub, openProxy } from "./fixtures/open.ts";

test("a ws: URL opens the client that resumes; once it is closed nothing keeps the process", async () => {
  const server = await openHub({ limits: { resumeWindow: 30_000 } });
  const proxy = await openProxy(server.port);
  const opened = new Opened();
  onTestFinished(() => opened.end());
  const child = opens(opened, [proxy.url]);
  const first = [await child.next(), await child.next()];
  expect(first).toContainEqual({ open: "ready" });
  const events = createPubSub({ eventTarget: server.hub.eventTarget });
  proxy.cut();
  await events.publish("a.b", "meanwhile", 1);
  expect(await child.next()).toEqual({ id: "meanwhile", payload: 1 });
  expect(await child.end()).toEqual([0, []]);
});

test("the query is the hub's; who is not let in is told so, and no error shows what the URL holds", async () => {
  const server = await openHub({
    authenticate: ({ url = "" }) => {
      if (!url.endsWith("/?token=s3cret")) throw new PubSubError("REFUSED", "No such token.");
    },
  });
  await using target = await openEventTarget(`${server.url}/?token=s3cret`);
  expect(target.status).toBe("ready");
  const refused = await openEventTarget(`${server.url.replace("//", "//me:pass@")}/?token=wrong`).catch(String);
  expect(refused).toBe(
    `PubSubError: ${server.url} does not let this client in: the WebSocket closed with code 1006: Unexpected server response: 401. Check user and password, or token.`,
  );
  await server.close();
  const error: unknown = await openEventTarget(`${server.url}/?token=s3cret`).catch((error: unknown) => error);
  expect(error).toMatchObject({
    code: "NOT_READY",
    message: expect.stringMatching(`^${server.url} cannot be reached: .*ECONNREFUSED`) as string,
  });
  expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain("s3cret");
});

test("a server of WebSockets that is no hub is none within connectTimeout", async () => {
  const server = await openHub();
  const proxy = await openProxy(server.port);
  proxy.freeze();
  await expect(openEventTarget(proxy.url, { connectTimeout: 100 })).rejects.toMatchObject({
    code: "NOT_READY",
    message: `${proxy.url} did not answer within 100 ms. Check the address, and that it runs.`,
  });
});
