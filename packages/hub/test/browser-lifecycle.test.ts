// In Chromium: pages that are frozen, and pages that are closed.
import { createHubServer } from "@alkdev/hub";
import type { HubServer, HubServerOptions } from "@alkdev/hub";
import { createPubSub } from "@alkdev/pubsub";
import type { PubSub } from "@alkdev/pubsub";
import type { Page } from "playwright-core";
import { describe, expect, onTestFinished, test } from "vitest";
import { TestBrowser } from "../../pubsub/test/fixtures/browser.ts";
import { until } from "./fixtures/open.ts";
import type { SleepyPage } from "./fixtures/browser/sleepy-page.ts";

declare global {
  var sleepy: SleepyPage;
}

const MODULE = "packages/hub/test/fixtures/browser/sleepy-page.ts";
const browser = await TestBrowser.start(MODULE);

/** How long a page may be silent, in milliseconds. */
const HEARTBEAT = 400;

async function start(limits: HubServerOptions["limits"]): Promise<{ server: HubServer; pubsub: PubSub }> {
  const server = await createHubServer({ port: 0, limits: { heartbeat: HEARTBEAT, ...limits } });
  onTestFinished(() => server.close());
  return { server, pubsub: createPubSub({ eventTarget: server.hub.eventTarget }) };
}

async function openPage(beside?: Page): Promise<Page> {
  const page = await browser.page(MODULE, beside);
  onTestFinished(() => page.close());
  return page;
}

async function renderers(): Promise<number[]> {
  const session = await browser.browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
}

/** A page whose process can be stopped: nothing runs in it then, timers included, while its sockets stay open. */
async function openSleeper(url: string): Promise<{ page: Page; freeze: () => void; thaw: () => void }> {
  const before = new Set(await renderers());
  const page = await openPage();
  await page.evaluate((url) => globalThis.sleepy.subscribe({ url }), url);
  const own = (await renderers()).filter((id) => !before.has(id));
  expect(own.length).toBeGreaterThan(0);
  const signal = (name: "SIGSTOP" | "SIGCONT"): void => {
    for (const id of own) process.kill(id, name);
  };
  // Before the page is closed, whatever became of the test.
  onTestFinished(() => signal("SIGCONT"));
  return { page, freeze: () => signal("SIGSTOP"), thaw: () => signal("SIGCONT") };
}

describe("a page that is frozen", () => {
  test("is noticed by the hub's heartbeat, and goes on where it was: it misses nothing", async () => {
    const { server, pubsub } = await start({});
    const { page, freeze, thaw } = await openSleeper(server.url);
    await pubsub.publish("sleep.event", "", "before");
    await page.evaluate(() => globalThis.sleepy.told("before"));
    freeze();
    await until(() => server.hub.status().links.every(({ attached }) => !attached));
    for (const i of [1, 2, 3]) await pubsub.publish("sleep.event", "", i);
    thaw();
    await page.evaluate(() => globalThis.sleepy.told(3));
    expect(await page.evaluate(() => globalThis.sleepy.story)).toEqual(["before", 1, 2, 3]);
  });

  test("for longer than the hub keeps it has a gap where it missed something", async () => {
    const { server, pubsub } = await start({ resumeWindow: 50 });
    const { page, freeze, thaw } = await openSleeper(server.url);
    await pubsub.publish("sleep.event", "", "before");
    await page.evaluate(() => globalThis.sleepy.told("before"));
    freeze();
    await until(() => server.hub.status().links.length === 0);
    await pubsub.publish("sleep.event", "", "missed");
    thaw();
    await until(() => server.hub.status().subscriptions === 1);
    await pubsub.publish("sleep.event", "", "after");
    await page.evaluate(() => globalThis.sleepy.told("after"));
    expect(await page.evaluate(() => globalThis.sleepy.story)).toEqual(["before", "resume-expired", "after"]);
  });
});

describe("a hub in a SharedWorker", () => {
  /** Asks the worker over a way of its own. */
  const links = (page: Page): Promise<number> =>
    page.evaluate(async () => {
      const control = new BroadcastChannel("shared worker");
      const answer = new Promise<MessageEvent<{ value: number }>>((resolve) =>
        control.addEventListener("message", resolve, { once: true }),
      );
      control.postMessage({ call: 1, method: "links", args: [] });
      const { data } = await answer;
      control.close();
      return data.value;
    });

  async function untilLinks(page: Page, count: number): Promise<void> {
    while ((await links(page)) !== count);
  }

  const worker = `${HEARTBEAT}`;

  test("forgets a page that was closed, or loaded again, once that does not answer", async () => {
    const page = await openPage();
    await page.evaluate((worker) => globalThis.sleepy.subscribe({ worker }), worker);
    const closing = await openPage(page);
    const reloading = await openPage(page);
    for (const each of [closing, reloading])
      await each.evaluate((worker) => globalThis.sleepy.subscribe({ worker }), worker);
    expect(await links(page)).toBe(3);
    await closing.close();
    await reloading.reload();
    await untilLinks(page, 1);
    // The one that is there, and answers, is kept.
    await reloading.evaluate((worker) => globalThis.sleepy.subscribe({ worker }), worker);
    expect(await links(page)).toBe(2);
  });
});
