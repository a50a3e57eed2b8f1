// Requests among spokes: through a router of workers' ports, and beside a hub over WebSockets.
import type { EventEnvelope, PubSub } from "@alkdev/pubsub";
import { createMessagePortEventTarget, messagePortChannel } from "@alkdev/pubsub/event-target-message-port";
import { createHub, createHubEventTarget } from "@alkdev/hub";
import type { Hub } from "@alkdev/hub";
import type { Operations, Router } from "@alkdev/operations";
import { MessageChannel } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { openHub, openProxy } from "../../hub/test/fixtures/open.ts";
import type { Proxy } from "../../pubsub/test/fixtures/proxy.ts";
import { aborted, deferred, failure, open, openPubSub, openRouter, openSpoke, until } from "./fixtures/open.ts";

const offers = (router: Router): Record<string, number> =>
  Object.fromEntries(router.status().operations.map(({ name, spokes }) => [name, spokes]));

/** A spoke of a hub, over a port, with an identity. */
function joinHub(hub: Hub, identity?: string): { readonly operations: Operations; close(): void } {
  const { port1, port2 } = new MessageChannel();
  hub.connect(messagePortChannel(port1), identity);
  onTestFinished(() => port2.close());
  const target = createMessagePortEventTarget(port2);
  return { operations: open(openPubSub(target), { router: true }), close: () => void target.close() };
}

describe("a router", () => {
  test("gives a request to the one spoke that offers the operation, and the answer to whoever asked", async () => {
    const router = openRouter();
    const [adder, timer, caller] = [await openSpoke(router), await openSpoke(router), await openSpoke(router)];
    const seen: string[] = [];
    for (const [name, { pubsub }] of Object.entries({ adder, timer, caller }))
      await pubsub.on(
        "call.*",
        ({ type }: EventEnvelope) => void (type !== "call.listening" && seen.push(`${name} ${type}`)),
        { own: false },
      );
    await adder.operations.handle("math.add", ({ a, b }) => a + b);
    await timer.operations.handle("time.now", () => 7);
    expect(offers(router)).toEqual({ "math.add": 1, "time.now": 1 });
    seen.length = 0;
    expect(await caller.operations.call("math.add", { a: 1, b: 2 })).toBe(3);
    expect(seen).toEqual(["adder call.requested", "caller call.responded"]);
    expect(await router.operations.call("time.now", null)).toBe(7);
    expect(await failure(caller.operations.call("time.zone", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
    await router.operations.handle("router.name", () => "main");
    expect(await timer.operations.call("router.name", null)).toBe("main");
    expect(router.status().pending).toBe(0);
  });

  test("serves several spokes of one operation by who is least busy, and never carries out a request twice", async () => {
    const router = openRouter();
    const ran: string[] = [];
    const gates = [deferred(), deferred()];
    for (const [n, gate] of gates.entries()) {
      const { operations } = await openSpoke(router);
      await operations.handle("work", async (job: string) => {
        ran.push(`${n} ${job}`);
        if (job.startsWith("long")) await gate.promise;
        return n;
      });
    }
    expect(offers(router)).toEqual({ work: 2 });
    const long = router.operations.call("work", "long");
    const short: unknown[] = [];
    for (let n = 0; n < 6; n++) short.push(await router.operations.call("work", `short ${n}`));
    // Whoever has the long one gets nothing while the other one is free.
    expect(new Set(short).size).toBe(1);
    for (const gate of gates) gate.resolve();
    expect(await long).toBe(1 - (short[0] as number));
    const turns = [];
    for (let n = 0; n < 4; n++) turns.push(await router.operations.call("work", `turn ${n}`));
    expect(new Set(turns).size).toBe(2);
    expect(ran.length).toBe(new Set(ran.map((each) => each.slice(2))).size);
  });

  test("says who calls, whatever the caller says", async () => {
    const router = openRouter({ identity: { id: "router", scopes: ["all"] } });
    const service = await openSpoke(router);
    await service.operations.handle("who", (_, { identity }) => identity ?? "nobody");
    const ann = await openSpoke(router, { identity: { id: "ann", scopes: ["read"] } });
    const nobody = await openSpoke(router);
    expect(await ann.operations.call("who", null)).toEqual({ id: "ann", scopes: ["read"] });
    expect(await nobody.operations.call("who", null)).toBe("nobody");
    expect(await router.operations.call("who", null)).toEqual({ id: "router", scopes: ["all"] });
    const answers = await nobody.pubsub.subscribe("call.responded", "forged", { own: false });
    await nobody.pubsub.publish("call.requested", "forged", {
      requestId: "forged",
      operationId: "who",
      identity: { id: "root", scopes: ["all"] },
    });
    expect((await answers.next()).value?.payload).toEqual({ requestId: "forged", output: "nobody" });
  });

  test("takes an answer from nobody but the spoke that was asked, and an abort from nobody but who asked", async () => {
    const router = openRouter();
    const [service, caller, forger] = [await openSpoke(router), await openSpoke(router), await openSpoke(router)];
    const asked = deferred<string>();
    const gate = deferred();
    await service.operations.handle("secret", async (_, { requestId, signal }) => {
      asked.resolve(requestId);
      await gate.promise;
      return signal.aborted;
    });
    const answer = caller.operations.call("secret", null);
    const id = await asked.promise;
    await forger.pubsub.publish("call.responded", id, { requestId: id, output: "forged" });
    await forger.pubsub.publish("call.aborted", id, { requestId: id });
    await forger.pubsub.publish("call.requested", id, { requestId: id, operationId: "secret" });
    expect(await failure(forger.operations.call("none", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
    gate.resolve();
    expect(await answer).toBe(false);
    expect(router.errors).toMatchObject([{ code: "REFUSED" }, { code: "REFUSED" }]);
  });

  test("tells the callers of a spoke that dies at once, and the handlers of a caller that dies", async () => {
    const router = openRouter();
    const [service, caller] = [await openSpoke(router), await openSpoke(router)];
    const begun = deferred();
    await service.operations.handle("hang", async (_, { signal }) => {
      begun.resolve();
      await aborted(signal);
    });
    const call = failure(caller.operations.call("hang", null, { timeout: Infinity }));
    await begun.promise;
    service.die();
    expect(await call).toMatchObject({ code: "UNAVAILABLE", retryable: true });

    const dying = await openSpoke(router);
    const another = await openSpoke(router);
    const [running, ended] = [deferred(), deferred()];
    await another.operations.handle("hang.again", async (_, { signal }) => {
      running.resolve();
      await aborted(signal);
      ended.resolve();
    });
    void failure(dying.operations.call("hang.again", null));
    await running.promise;
    dying.die();
    await ended.promise;
    await until(() => router.status().pending === 0);
  });

  test("refuses a registration that makes no sense, and forgets what is no longer offered", async () => {
    const router = openRouter({ limits: { operations: 2 } });
    const { operations } = await openSpoke(router);
    expect(await failure(operations.call("hub.register", { operations: [7] }))).toMatchObject({
      code: "INVALID_INPUT",
    });
    expect(await failure(operations.handle("hub.register", () => 1))).toMatchObject({ code: "INVALID_OPTION" });
    const stops = [await operations.handle("a", () => 1), await operations.handle("b", () => 1)];
    expect(await failure(operations.handle("c", () => 1))).toMatchObject({ code: "UNAVAILABLE" });
    await until(() => offers(router)["a"] === 1);
    for (const stop of stops) stop();
    await until(() => Object.keys(offers(router)).length === 0);
  });

  test("limits what one spoke has under way", async () => {
    const router = openRouter({ limits: { pending: 2 } });
    const [service, caller] = [await openSpoke(router), await openSpoke(router)];
    const gate = deferred();
    await service.operations.handle("wait", () => gate.promise);
    const calls = [caller.operations.call("wait", 1), caller.operations.call("wait", 2)];
    expect(await failure(caller.operations.call("wait", 3))).toMatchObject({ code: "UNAVAILABLE" });
    gate.resolve();
    await Promise.all(calls);
    // A caller that does not say how many answers it wants leaves its answered requests open: they make room.
    const answers = await caller.pubsub.subscribe("call.responded", undefined, { own: false });
    for (const id of ["r1", "r2", "r3", "r4"]) {
      await caller.pubsub.publish("call.requested", id, { requestId: id, operationId: "wait" });
      expect((await answers.next()).value?.id).toBe(id);
    }
  });

  test("that is closed tells everyone, and takes nothing any more", async () => {
    const router = openRouter();
    const [service, caller] = [await openSpoke(router), await openSpoke(router)];
    const begun = deferred();
    const ended = deferred();
    await service.operations.handle("hang", async (_, { signal }) => {
      begun.resolve();
      await aborted(signal);
      ended.resolve();
    });
    const call = failure(caller.operations.call("hang", null));
    await begun.promise;
    await router.close();
    expect(await call).toMatchObject({ code: "UNAVAILABLE" });
    await ended.promise;
    expect(() => router.connect(caller.pubsub)).toThrow(/closed/);
  });
});

describe("beside a hub", () => {
  test("requests reach only the spoke that offers the operation, with the identity of the link", async () => {
    const hub = createHub();
    onTestFinished(() => hub.close());
    const router = openRouter();
    router.join(hub, { identify: (id) => (id === undefined ? undefined : { id, scopes: [`is-${id}`] }) });
    const [math, time, ann] = [joinHub(hub, "math"), joinHub(hub, "time"), joinHub(hub, "ann")];
    let strays = 0;
    await math.operations.handle("math.add", ({ a, b }, { identity }) => [a + b, identity?.id]);
    await time.operations.handle("time.now", () => ++strays, { access: ["is-ann"] });
    expect(await ann.operations.call("math.add", { a: 1, b: 2 })).toEqual([3, "ann"]);
    expect(strays).toBe(0);
    expect(await ann.operations.call("time.now", null)).toBe(1);
    expect(await failure(math.operations.call("time.now", null))).toMatchObject({ code: "ACCESS_DENIED" });
    expect(await failure(ann.operations.call("time.zone", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
    const here = open(openPubSub(hub.eventTarget), { router: true });
    expect(await failure(here.call("math.add", null))).toMatchObject({ code: "ACCESS_DENIED" });
    math.close();
    await until(() => !("math.add" in offers(router)));
    expect(await failure(ann.operations.call("math.add", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
  });

  test("over the network, handlers see who the server has authenticated, whatever a request claims", async () => {
    const tokens: Readonly<Record<string, string>> = { "1": "ann", "2": "bob" };
    const server = await openHub({
      authenticate: ({ url }) => tokens[new URLSearchParams(url?.split("?")[1]).get("token") ?? ""],
    });
    const router = openRouter();
    router.join(server.hub);
    const connect = (token: string): PubSub => openPubSub(createHubEventTarget(`${server.url}/?token=${token}`));
    const handlers = open(connect("2"), { router: true });
    await handlers.handle("who", (_: unknown, { identity }) => identity?.id ?? null);
    await handlers.handle("who.else", async (_: unknown, context) => context.call("who", null));
    const ann = connect("1");
    expect(await open(ann, { router: true }).call("who", null)).toBe("ann");
    expect(await open(connect("none"), { router: true }).call("who", null)).toBeNull();
    expect(await open(connect("1"), { router: true }).call("who.else", null)).toBe("bob");
    // By hand, as a peer that lies.
    const answers = await ann.subscribe("call.responded", "forged");
    await ann.publish("call.requested", "forged", {
      ...{ requestId: "forged", operationId: "who", input: null, limit: 1 },
      identity: { id: "root", scopes: ["everything"] },
    });
    const { value } = await answers.next();
    expect(value?.payload).toEqual({ requestId: "forged", output: "ann" });
  });

  test("a subscriber to everything sees no call of anybody else", async () => {
    const hub = createHub();
    onTestFinished(() => hub.close());
    openRouter().join(hub);
    const [one, two] = [joinHub(hub), joinHub(hub)];
    const { port1, port2 } = new MessageChannel();
    hub.connect(messagePortChannel(port1));
    const spy = openPubSub(createMessagePortEventTarget(port2));
    onTestFinished(() => port2.close());
    const seen: string[] = [];
    await spy.on("**", ({ type }: EventEnvelope) => void seen.push(type));
    await one.operations.handle("secret", () => "s");
    expect(await two.operations.call("secret", null)).toBe("s");
    await openPubSub(hub.eventTarget).publish("marker", "", null);
    await until(() => seen.length > 0);
    expect(seen).toEqual(["marker"]);
  });
});

describe("a spoke whose connection is cut", () => {
  async function openCut(
    resumeWindow: number,
    grace: number,
  ): Promise<{ proxy: Proxy; router: Router; service: Operations; caller: Operations; reached: () => number }> {
    const server = await openHub({ limits: { resumeWindow } });
    const router = openRouter({ grace });
    router.join(server.hub);
    const proxy = await openProxy(server.port);
    const onError = (): void => undefined;
    const backoff = { min: 5, max: 20 };
    const target = createHubEventTarget(proxy.url, { onError, backoff });
    let ready = 0;
    target.onStatus((status) => void (status === "ready" && ready++));
    const service = open(openPubSub(target), { router: true, grace: 30_000 });
    const caller = open(openPubSub(createHubEventTarget(server.url, { onError })), { router: true });
    return { proxy, router, service, caller, reached: () => ready };
  }

  test("goes on where it was if it resumes: the answer of a pending call arrives", async () => {
    const { proxy, service, caller, reached } = await openCut(30_000, 30_000);
    const [begun, gate] = [deferred(), deferred()];
    await service.handle("slow", async () => {
      begun.resolve();
      await gate.promise;
      return "done";
    });
    const call = caller.call("slow", null);
    await begun.promise;
    proxy.cut();
    gate.resolve();
    expect(await call).toBe("done");
    expect(reached()).toBe(2);
  });

  test("makes its pending calls UNAVAILABLE at once where it cannot resume, and registers again", async () => {
    const { proxy, router, service, caller } = await openCut(0, 30_000);
    const [begun, ended] = [deferred(), deferred()];
    await service.handle("slow", async (_, { signal }) => {
      begun.resolve();
      await aborted(signal);
      ended.resolve();
    });
    await service.handle("quick", () => "again");
    const call = failure(caller.call("slow", null, { timeout: Infinity }));
    await begun.promise;
    proxy.refusing = true;
    proxy.cut();
    expect(await call).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(await failure(caller.call("quick", null))).toMatchObject({ code: "OPERATION_NOT_FOUND" });
    proxy.refusing = false;
    await ended.promise;
    await until(() => offers(router)["quick"] === 1);
    expect(await caller.call("quick", null)).toBe("again");
  });

  test("makes them UNAVAILABLE when it stays away for longer than grace, and is asked again once it is back", async () => {
    const { proxy, service, caller, router } = await openCut(30_000, 20);
    const begun = deferred();
    await service.handle("slow", async (_, { signal }) => {
      begun.resolve();
      await aborted(signal);
    });
    await service.handle("quick", () => "again");
    const call = failure(caller.call("slow", null, { timeout: Infinity }));
    await begun.promise;
    proxy.refusing = true;
    proxy.cut();
    expect(await call).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(await failure(caller.call("quick", null))).toMatchObject({ code: "UNAVAILABLE" });
    proxy.refusing = false;
    let answer: unknown;
    for (; answer === undefined;) answer = await caller.call("quick", null).catch(() => undefined);
    expect(answer).toBe("again");
    expect(offers(router)).toEqual({ slow: 1, quick: 1 });
  });
});
